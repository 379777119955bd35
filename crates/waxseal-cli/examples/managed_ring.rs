//! A year of a key ring in a few seconds: SQLite in a temporary folder, local keys, and a simulated clock.
//!
//! ```text
//! cargo run -p waxseal-cli --example managed_ring
//! ```

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use waxseal::EncryptionContext;
use waxseal::Sealer;
use waxseal::ring::evidence::{Census, CensusReceipt, Covered};
use waxseal::ring::{
    Authority, KeyRing, KeySource, NewKey, Reader, RingAdmin, Rollout, Scope, Target, Tick, UriBackends,
};
use waxseal::runtime::Runtime;
use waxseal::testing::SimulatedRuntime;
use waxseal_sql::{SqliteConfig, SqliteInventory};

const DAY: Duration = Duration::from_secs(86_400);

/// What an application stores: sealed values by their name.
type Store = BTreeMap<String, Vec<u8>>;

fn main() -> Result<(), Box<dyn Error>> {
    pollster::block_on(run())
}

async fn run() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let keys = folder.path().join("keys");
    std::fs::create_dir(&keys)?;
    let clock = SimulatedRuntime::starting_at(SystemTime::from(
        "2026-01-01T00:00:00Z".parse::<waxseal::ring::Time>()?,
    ));

    // Day one: an inventory, an authority that signs every record, and one key for everything.
    let config = SqliteConfig::new(folder.path().join("ring.db")).with_runtime(Arc::new(clock.clone()));
    let inventory = Arc::new(SqliteInventory::create(config).await?);
    let authority = Arc::new(Authority::generate()?);
    let trust = RingAdmin::init_with_runtime(&*inventory, &clock, &authority, "you", |settings| {
        settings.overlap = "P7D".parse().unwrap_or(settings.overlap);
    })
    .await?;
    let backends = Arc::new(UriBackends::new().allow(&format!("file:{}/*", keys.display()))?);
    let reader = Reader::new(trust, inventory.clone());
    let admin = RingAdmin::new(reader, authority.clone(), backends.clone(), "the nightly job")
        .with_runtime(Arc::new(clock.clone()));
    let place = KeySource::MadeBeside(format!("file:{}/key", keys.display()));
    let first = admin.create(&NewKey::new(Scope::root(), place)).await?;
    say(&clock, &format!("created  {} ({})", first.key, first.to));

    // The application knows the ring and no key.
    let trust = waxseal::ring::Trust::new(admin.reader().trust().ring(), authority.public());
    let ring = KeyRing::builder(trust, inventory, backends)
        .without_watching()
        .open()
        .await?;
    let sealer = ring.sealer().build()?;
    let context = EncryptionContext::new([("table", "users")])?;
    let mut store = Store::new();
    let whole = Target::Scope(Scope::root());
    let mut canary = None;

    for day in 1..=365_u32 {
        clock.advance(DAY);
        if day % 10 == 1 {
            let name = format!("user {day}");
            store.insert(name.clone(), sealer.seal(name.as_bytes(), &context).await?);
        }
        if day == 135 {
            // Between two scheduled rotations somebody tries another key on half of the contexts, and takes it for all a week later.
            let rotated = admin.rotate(&whole, Rollout::Canary(50), "a canary").await?;
            canary = rotated.first().map(|rotated| rotated.key);
            say(
                &clock,
                "rotate   by hand: the successor wraps for half of the contexts",
            );
        }
        if day == 142
            && let Some(key) = canary.take()
        {
            let moved = admin.promote(key, "the canary was good").await?;
            say(
                &clock,
                &format!("promote  {} ({}, was {})", moved.key, moved.to, moved.from),
            );
            ring.refresh().await?;
            rewrap(&sealer, &mut store, &context).await?;
        }
        let tick = admin.tick(None).await?;
        ring.refresh().await?;
        tell(&clock, &tick);
        if tick
            .done
            .iter()
            .any(|done| done.action == waxseal::ring::Action::Rotate)
        {
            let moved = rewrap(&sealer, &mut store, &context).await?;
            say(
                &clock,
                &format!("rewrap   {moved} values are under the new key; no payload was touched"),
            );
        }
        if tick
            .refused
            .iter()
            .any(|refused| refused.action == waxseal::ring::Action::Retire)
        {
            // The overlap is over. Evidence decides: a count of what is under which key, which needs no key.
            let receipt = count(&admin, &authority, &store).await?;
            say(
                &clock,
                &format!(
                    "census   {} values, whole: {}",
                    receipt.items(),
                    receipt.is_whole()
                ),
            );
            let view = admin.reader().scopes(&[]).await?;
            let verified = receipt.verify(&view)?;
            tell(&clock, &admin.tick(Some(&verified)).await?);
            ring.refresh().await?;
        }
        if day % 7 == 0 {
            for (name, sealed) in &store {
                assert_eq!(&*sealer.open(sealed, &context).await?, name.as_bytes());
            }
        }
    }

    println!("\nafter a year, {} values, and each of them opens:", store.len());
    let view = admin.reader().scopes(&[Scope::root()]).await?;
    for key in view.all_keys() {
        let history: Vec<String> = key
            .history
            .iter()
            .map(|entry| {
                format!(
                    "{} {}",
                    entry.at.to_string().get(..10).unwrap_or_default(),
                    entry.to
                )
            })
            .collect();
        println!("{}  {}", key.id, history.join(" -> "));
    }
    Ok(())
}

/// Puts each value under the key that is active now: new wraps before the same body.
async fn rewrap(sealer: &Sealer, store: &mut Store, context: &EncryptionContext) -> waxseal::Result<usize> {
    for sealed in store.values_mut() {
        let new = sealer.rewrap(sealed, context).await?;
        let body = sealed.split_off(new.replaces());
        *sealed = [new.prefix(), &body].concat();
    }
    Ok(store.len())
}

async fn count(admin: &RingAdmin, authority: &Authority, store: &Store) -> waxseal::Result<CensusReceipt> {
    let covers = vec![Covered::Store("users".into())];
    let mut census = Census::begin(admin.reader(), authority, "the nightly job", covers).await?;
    census.add_all(store);
    census.finish()
}

fn tell(clock: &SimulatedRuntime, tick: &Tick) {
    for done in &tick.done {
        let from = done.from.map_or_else(String::new, |from| format!(", was {from}"));
        say(
            clock,
            &format!("{:<8} {} ({}{from})", done.action.name(), done.key, done.to),
        );
    }
    for refused in &tick.refused {
        say(
            clock,
            &format!("not yet  {}: {}", refused.action.name(), refused.reason),
        );
    }
}

fn say(clock: &SimulatedRuntime, what: &str) {
    let now = waxseal::ring::Time::try_from(clock.wall_clock()).map(|now| now.to_string());
    println!(
        "{}  {what}",
        now.unwrap_or_default().get(..10).unwrap_or_default()
    );
}
