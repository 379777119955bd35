//! Notes of many tenants over HTTP, in PostgreSQL, each tenant under a key of its own. Two replicas of the application run under load while
//! an administrator rotates and shreds keys.
//!
//! ```text
//! scripts/services up postgres; eval "$(scripts/services env postgres)"
//! cargo run -p waxseal-cli --features postgres --example axum_tenants
//! ```
//!
//! `app.rs` and `notes.rs` are the application, `ring.rs` opens the ring, and the others drive it. `DATABASE_URL` names another database: everything is
//! in a schema of its own there, which is gone at the end.

mod app;
mod load;
mod notes;
mod ring;

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, PgPool};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use waxseal::ring::{BranchRewrap, KeyRing, RecordId, Rollout, Scope, Shredding, Target};

use app::App;
use load::{Load, token_of};
use notes::Notes;
use ring::{Ring, scope_of};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const TENANTS: [&str; 6] = ["acme", "globex", "hooli", "initech", "stark", "umbrella"];
/// One that comes when the parent was rotated.
const LATE: &str = "wonka";
/// How many answers each tenant gets in each part.
const ENOUGH: usize = 40;
/// How often the job is run, at most.
const RUNS: usize = 20;

#[tokio::main]
async fn main() -> Result<()> {
    let variables = ["DATABASE_URL", "WAXSEAL_TEST_POSTGRES"];
    let Some(url) = variables.into_iter().find_map(|name| std::env::var(name).ok()) else {
        return Err("DATABASE_URL names no PostgreSQL database. To get one: \
            scripts/services up postgres; eval \"$(scripts/services env postgres)\""
            .into());
    };
    run(&url).await
}

/// In a schema of its own, which is gone afterwards.
pub(crate) async fn run(url: &str) -> Result<()> {
    let pool = PgPool::connect_with(url.parse::<PgConnectOptions>()?).await?;
    let schema = format!("axum_tenants_{}", std::process::id());
    let sql = |sql: &str| AssertSqlSafe(format!("{sql} {schema}"));
    sqlx::raw_sql(sql("create schema")).execute(&pool).await?;
    let mark = if url.contains('?') { '&' } else { '?' };
    let done = drive(&format!("{url}{mark}options[search_path]={schema}")).await;
    let drop = format!("drop schema {schema} cascade");
    sqlx::raw_sql(AssertSqlSafe(drop)).execute(&pool).await?;
    done
}

async fn drive(url: &str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let secret = url.to_owned().into();
    let ring = Ring::create(&secret, folder.path()).await?;
    say("the ring has one key, the parent of all others");
    let pool = PgPoolOptions::new().max_connections(8);
    let notes = Notes::create(pool.connect(url).await?).await?;
    let tokens = TENANTS.iter().chain([&LATE]);
    let tokens = tokens.map(|tenant| (token_of(tenant), (*tenant).to_owned()));
    let tokens = Arc::new(tokens.collect());

    // Two replicas, as two processes would be: each has a ring, caches and a connection of its own.
    let (mut addresses, mut replicas, mut serving) = (Vec::new(), Vec::new(), JoinSet::new());
    for _ in 0..2 {
        let replica = ring.open(&secret).await?;
        let app = App {
            sealer: replica.sealer().build()?,
            notes: notes.clone(),
            tokens: Arc::clone(&tokens),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        addresses.push(format!("http://{}", listener.local_addr()?));
        replicas.push(replica);
        serving.spawn(app::run(listener, app));
    }
    let mut load = Load::on(addresses)?;
    let begun = Instant::now();
    for tenant in TENANTS {
        load.begin(tenant);
    }
    load.seen.more(&TENANTS, ENOUGH).await?;
    let first = first_keys(&ring).await?;
    say(
        "6 tenants wrote their first note at both replicas at once: each has one key, and nobody was asked for it",
    );
    refuses_strangers(&load).await?;

    rotate_parent(&ring, &mut load).await?;
    rotate_tenant(&ring, &load, &notes, &replicas, first).await?;
    shred(&ring, &load, &notes).await?;

    load.end().await?;
    serving.shutdown().await;
    let wrong = load
        .seen
        .wrong
        .lock()
        .map_err(|_| "a client has panicked")?
        .join("\n");
    check(wrong.is_empty(), &wrong)?;
    say(&format!(
        "{} requests in {:?}: none failed, and {} were answered by 410 Gone",
        load.seen.good(),
        begun.elapsed(),
        load.seen.gone()
    ));
    Ok(())
}

/// Each tenant has one key, whichever replica met it first. Returns that of the first tenant.
async fn first_keys(ring: &Ring) -> Result<RecordId> {
    let mut first = None;
    for tenant in TENANTS {
        let (keys, _) = ring.keys(tenant).await?;
        let [key] = keys.as_slice() else {
            return Err(format!("{tenant} has {} keys", keys.len()).into());
        };
        first.get_or_insert(key.id);
    }
    first.ok_or_else(|| "there are no tenants".into())
}

async fn refuses_strangers(load: &Load) -> Result<()> {
    let (status, _) = load.get(0, "a-token-of-nobody", "0-0").await?;
    check(status == 401, "a stranger is refused")?;
    say("a token of nobody is 401 Unauthorized; no client can name a tenant");
    Ok(())
}

/// The parent gets a successor, and then the tenants' keys are wrapped under it.
async fn rotate_parent(ring: &Ring, load: &mut Load) -> Result<()> {
    let rotated = ring
        .admin
        .rotate(&Target::Scope(Scope::root()), Rollout::AtOnce, "a drill")
        .await?;
    let parent = rotated
        .first()
        .map(|rotated| rotated.key)
        .ok_or("the parent was not rotated")?;
    load.begin(LATE);
    load.seen.more(&TENANTS, ENOUGH).await?;
    load.seen.more(&[LATE], ENOUGH).await?;
    let (_, late) = ring.keys(LATE).await?;
    let (_, early) = ring.keys("acme").await?;
    check(
        late == Some(parent) && early != Some(parent),
        "only a new tenant is under the new parent",
    )?;
    say(
        "the parent was rotated under load: a new tenant's key is under the new one, and those of the others stay as they are",
    );
    let done = ring
        .admin
        .rewrap_branches(&BranchRewrap::default(), |_| {})
        .await?;
    check(
        done.left == 0 && done.failed == 0,
        "no key is left under the old parent",
    )?;
    for tenant in TENANTS {
        let (_, under) = ring.keys(tenant).await?;
        check(under == Some(parent), "each key is under the new parent")?;
    }
    load.seen.more(&TENANTS, ENOUGH).await?;
    say(&format!(
        "rewrap-branches wrapped {} keys under the new parent: the old one can be retired; no note was touched",
        done.rewrapped
    ));
    Ok(())
}

/// One tenant gets another key, and its notes are moved to that one.
async fn rotate_tenant(
    ring: &Ring,
    load: &Load,
    notes: &Notes,
    replicas: &[KeyRing],
    before: RecordId,
) -> Result<()> {
    let target = Target::Scope(scope_of("acme")?);
    ring.admin
        .rotate(&target, Rollout::AtOnce, "somebody has left")
        .await?;
    // The replicas would see it within a quarter of a second.
    for replica in replicas {
        replica.refresh().await?;
    }
    let sealer = replicas
        .first()
        .ok_or("there are no replicas")?
        .sealer()
        .build()?;
    let (mut examined, mut moved) = (0, 0);
    // A request that was under way when the key was rotated may write under the one before even after the job has passed, so the job is run
    // again until nothing is left there.
    for run in 1.. {
        let counts = notes.rewrap(&sealer).await?;
        check(counts.failed == 0, "each note is re-wrapped")?;
        examined += counts.examined;
        moved += counts.rewrapped + counts.reused;
        load.seen.more(&TENANTS, ENOUGH).await?;
        if !notes.is_used("acme", before).await? {
            break;
        }
        check(run < RUNS, "no note is written under the key before any more")?;
    }
    say(&format!(
        "the key of acme was rotated under load: the job looked at {examined} notes, and moved {moved} to the new key"
    ));
    Ok(())
}

/// One tenant leaves, and its notes with it. The rows are still there, and nothing opens them.
async fn shred(ring: &Ring, load: &Load, notes: &Notes) -> Result<()> {
    let [neighbors @ .., leaving] = TENANTS.as_slice() else {
        return Err("there are no tenants".into());
    };
    let why = Shredding::new("DSR-17", "the contract has ended");
    ring.admin.shred(&scope_of(leaving)?, &why).await?;
    let asked = Instant::now();
    for replica in 0..2 {
        while load.get(replica, &token_of(leaving), "0-0").await?.0 != 410 {
            check(
                asked.elapsed() < Duration::from_secs(30),
                "a replica still opens what was shredded",
            )?;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    let there = notes.get(leaving, "0-0").await?;
    check(there.is_some(), "the row is still there")?;
    say(&format!(
        "{leaving} was shredded: its notes are 410 Gone at both replicas after {:?}",
        asked.elapsed()
    ));
    load.seen.more(neighbors, ENOUGH).await?;
    say("its neighbors go on");
    Ok(())
}

fn check(holds: bool, what: &str) -> Result<()> {
    match holds {
        true => Ok(()),
        false => Err(format!("this does not hold: {what}").into()),
    }
}

fn say(what: &str) {
    println!("{what}");
}
