//! Writers that are killed at any moment: afterwards the inventory holds the old revision or the new one, entirely.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use waxseal::ring::inventory::{Change, Snapshot};
use waxseal::ring::{Inventory, Scope, State};
use waxseal_sql::{SqliteConfig, SqliteInventory};

use crate::support::{change, key, signed};

/// Where the writer writes: the path of a file, or the URL of a database.
const WHERE: &str = "WAXSEAL_SQL_TEST_WRITER";
const SCOPES: [&str; 5] = ["a", "b", "c", "d", "e"];
const NODES: [&str; 3] = ["", "a", "fff"];

/// A change that says its revision everywhere.
fn uniform(follows: u64) -> Change {
    let text = format!("{:020}", follows + 1);
    let rows = (1..).zip(SCOPES).map(|(number, scope)| {
        let mut row = key(number, scope, State::Active);
        row.revision = follows + 1;
        // Large enough that a change is several pages.
        row.signed = signed(&text.repeat(200));
        row
    });
    let mut change = change(follows, rows.collect());
    change.head = signed(&text);
    change.settings = Some(signed(&text));
    for path in NODES {
        change.nodes.insert(path.to_owned(), text.clone().into_bytes());
    }
    change
}

fn check(snapshot: &Snapshot) {
    let text = format!("{:020}", snapshot.revision).into_bytes();
    assert_eq!(snapshot.head.as_ref().unwrap().body, text);
    assert_eq!(snapshot.settings.as_ref().unwrap().body, text);
    assert_eq!(
        (snapshot.rows.len(), snapshot.nodes.len()),
        (SCOPES.len(), NODES.len())
    );
    for row in &snapshot.rows {
        assert_eq!(
            (row.revision, &row.signed.body),
            (snapshot.revision, &text.repeat(200))
        );
    }
    assert!(snapshot.nodes.values().all(|node| *node == text));
}

/// Writes until it is killed, and says after each change which revision it has made.
async fn write(inventory: &dyn Inventory) -> waxseal::Result<()> {
    let mut revision = inventory.revision().await?;
    loop {
        inventory.commit(&uniform(revision)).await?;
        revision += 1;
        println!("\nmade {revision}");
    }
}

/// Does nothing but in the process that is killed.
#[test]
fn writer() {
    let Ok(place) = std::env::var(WHERE) else { return };
    let written = pollster::block_on(async {
        #[cfg(feature = "postgres")]
        if place.starts_with("postgres:") {
            let config =
                waxseal_sql::PostgresConfig::new(&place.into(), "r")?.with_timeout(crate::support::GENEROUS);
            return write(&waxseal_sql::PostgresInventory::connect(config).await?).await;
        }
        let config = SqliteConfig::new(&*place).with_timeout(crate::support::GENEROUS);
        write(&SqliteInventory::open(config).await?).await
    });
    written.unwrap();
}

/// Runs a writer, kills it when it has made a change and as many microseconds more, and returns the last revision that it said.
fn kill_after(place: &str, micros: u64) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kills::writer", "--nocapture"])
        .env(WHERE, place)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let mut made = |line: String| {
        line.strip_prefix("made ")
            .map(|text| text.parse::<u64>().unwrap())
    };
    let first = lines.find_map(&mut made).expect("the writer made nothing");
    std::thread::sleep(Duration::from_micros(micros));
    child.kill().unwrap();
    child.wait().unwrap();
    lines.filter_map(made).last().unwrap_or(first)
}

/// Up to 20 ms, which is more than a change takes.
fn random_micros() -> u64 {
    let nanos = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos();
    (u64::try_from(nanos % 1_000_003).unwrap() * 7_919) % 20_000
}

/// After each kill the inventory holds what was said to be made, or one change more.
fn survives(place: &str, kills: u64, open: impl AsyncFn() -> Box<dyn Inventory>) {
    let scopes: Vec<Scope> = SCOPES.iter().map(|scope| scope.parse().unwrap()).collect();
    let mut interrupted = 0;
    for _ in 0..kills {
        let said = kill_after(place, random_micros());
        pollster::block_on(async {
            let inventory = open().await;
            let snapshot = inventory.read(&scopes, &NODES.map(str::to_owned)).await.unwrap();
            check(&snapshot);
            assert!(
                (said..=said + 1).contains(&snapshot.revision),
                "{said} {}",
                snapshot.revision
            );
            interrupted += snapshot.revision - said;
            assert_eq!(inventory.revision().await.unwrap(), snapshot.revision);
            inventory.commit(&uniform(snapshot.revision)).await.unwrap();
        });
    }
    println!("{interrupted} of {kills} changes were made and not said to be");
}

#[test]
fn sqlite_holds_the_old_or_the_new_revision_after_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ring.db");
    drop(pollster::block_on(SqliteInventory::create(&*path)).unwrap());
    survives(path.to_str().unwrap(), 200, async || {
        Box::new(
            SqliteInventory::open(SqliteConfig::new(&*path).with_timeout(crate::support::GENEROUS))
                .await
                .unwrap(),
        ) as Box<dyn Inventory>
    });
}

#[cfg(feature = "postgres")]
#[test]
fn postgres_holds_the_old_or_the_new_revision_after_a_kill() {
    let Some(database) = crate::support::Database::new() else {
        return;
    };
    let open = async || {
        let inventory = waxseal_sql::PostgresInventory::create(database.config("r"))
            .await
            .unwrap();
        Box::new(inventory) as Box<dyn Inventory>
    };
    pollster::block_on(open());
    survives(&database.url(), 100, open);
}
