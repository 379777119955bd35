//! Processes of one job that are killed at any moment while an application writes: nothing is lost, and no body changes.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use pollster::block_on;
use waxseal::Sealer;
use waxseal::envelope::Header;
use waxseal::fleet::{Ledger, Limits, RewrapJob, Store, Verify};
use waxseal_sql::fleet::Table;

use crate::place::{Place, context, mover, new, opened, places, seal};
use crate::support::GENEROUS;

/// Where the rows are: the path of a file, or the URL of a database.
const WHERE: &str = "WAXSEAL_SQL_TEST_MOVER";
const JOB: &str = "move all";

fn table() -> Table {
    Table::new("users", "email").context("row", "{id}").kek_id("kek")
}

async fn opened_at(place: &str) -> waxseal::Result<(Arc<dyn Store>, Arc<dyn Ledger>)> {
    #[cfg(feature = "postgres")]
    if place.starts_with("postgres:") {
        let config = waxseal_sql::PostgresConfig::new(&place.into(), "r")?.with_timeout(GENEROUS);
        let store = waxseal_sql::PostgresRows::open(config.clone(), table()).await?;
        return Ok((
            Arc::new(store),
            Arc::new(waxseal_sql::PostgresLedger::open(config, JOB).await?),
        ));
    }
    #[cfg(feature = "sqlite")]
    {
        let config = waxseal_sql::SqliteConfig::new(place).with_timeout(GENEROUS);
        let store = waxseal_sql::SqliteRows::open(config.clone(), table()).await?;
        Ok((
            Arc::new(store),
            Arc::new(waxseal_sql::SqliteLedger::open(config, JOB).await?),
        ))
    }
    #[cfg(not(feature = "sqlite"))]
    unreachable!()
}

/// Does nothing but in a process that is killed, or ends with the job.
#[test]
fn mover_process() {
    let Ok(place) = std::env::var(WHERE) else { return };
    let report = block_on(async {
        let (store, ledger) = opened_at(&place).await?;
        // So that the job lasts longer than the kills.
        let limits = Limits::none().items(const { NonZeroU32::new(400).unwrap() });
        let job = RewrapJob::new(mover(), store)
            .ledger(ledger)
            .workers(2.try_into().unwrap())
            .batch(20.try_into().unwrap())
            .lease(Duration::from_secs(1))
            .limits(limits)
            .verify(Verify::All);
        job.run().await
    });
    let report = report.unwrap();
    assert!(report.is_whole && report.counts.faults() == 0, "{report:?}");
}

fn start(url: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "rows_kills::mover_process", "--nocapture"])
        .env(WHERE, url)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

fn random(below: usize) -> usize {
    let nanos = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos();
    usize::try_from(nanos / 100 % 1_000_003).unwrap() * 7_919 % below
}

fn pair(row: usize) -> (String, String) {
    ("row".to_owned(), row.to_string())
}

/// An application that has the new key already, and writes one row after the other.
fn write(place: &Place, rows: usize, ends: &AtomicBool) -> BTreeMap<usize, String> {
    let sealer = Sealer::new(new());
    let mut written = BTreeMap::new();
    for number in 0.. {
        if ends.load(Ordering::SeqCst) {
            break;
        }
        // Several at once, so that some are those that are being moved.
        let mut statements = String::new();
        for at in 0..20 {
            let row = 1 + (random(rows) + at * 37) % rows;
            let text = format!("written {number} {at}");
            let sealed =
                block_on(sealer.seal(text.as_bytes(), &context(&[("row", &row.to_string())]))).unwrap();
            statements.push_str(&format!(
                "begin; update users set email = {}, kek = 'application' where id = {row}; commit; ",
                place.bytes(&sealed)
            ));
            written.insert(row, text);
        }
        place.run(&statements);
    }
    written
}

fn body(sealed: &[u8]) -> &[u8] {
    &sealed[Header::parse(sealed).unwrap().body_offset()..]
}

fn survives(place: &Place, url: &str, rows: usize, processes: usize, kills: usize) {
    place.run("create table users (id integer primary key, email BYTES, kek text)");
    for chunk in (1..=rows).collect::<Vec<_>>().chunks(500) {
        let values: Vec<_> = chunk
            .iter()
            .map(|row| {
                let sealed = seal(&format!("first {row}"), &[("row", &row.to_string())]);
                format!("({row}, {}, 'old')", place.bytes(&sealed))
            })
            .collect();
        place.run(&format!("insert into users values {}", values.join(", ")));
    }
    let first = place.read("email", "users order by id");
    // The tables, before there are many who would make them.
    drop(place.ledger(JOB));
    let ends = AtomicBool::new(false);
    let (written, inside) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| write(place, rows, &ends));
        let mut children: Vec<Child> = (0..processes).map(|_| start(url)).collect();
        let mut inside = 0;
        for _ in 0..kills {
            std::thread::sleep(Duration::from_millis(50 + random(200) as u64));
            let child = &mut children[random(processes)];
            inside += usize::from(child.try_wait().unwrap().is_none());
            child.kill().unwrap();
            child.wait().unwrap();
            *child = start(url);
        }
        for mut child in children {
            assert!(child.wait().unwrap().success());
        }
        ends.store(true, Ordering::SeqCst);
        (writer.join().unwrap(), inside)
    });
    let last = place.read("email", "users order by id");
    assert_eq!(last.len(), rows);
    for (row, (first, last)) in (1..).zip(first.iter().zip(&last)) {
        let (key, value) = pair(row);
        // Under the new key alone.
        let text = opened(last, &[(&key, &value)]);
        match written.get(&row) {
            Some(written) => assert_eq!(&text, written, "{row}"),
            None => {
                assert_eq!(text, format!("first {row}"));
                assert_eq!(body(first), body(last), "{row}");
            }
        }
    }
    let kek = new().kek().id().to_owned();
    let untrue =
        format!("select cast(count(*) as text) from users where kek <> '{kek}' and kek <> 'application'");
    assert_eq!(place.ask(&untrue), "0");
    let (counts, faults, is_done) = block_on(place.ledger(JOB).sum()).unwrap();
    assert!(is_done && faults.is_empty(), "{counts:?} {faults:?}");
    assert!(
        counts.examined >= rows as u64 && counts.moved() <= rows as u64,
        "{counts:?}"
    );
    println!(
        "{inside} of {kills} kills ended a process; {} rows written by others; {counts:?}",
        written.len()
    );
    assert!(inside > 0);
}

#[test]
fn killed_processes_of_one_job_lose_and_forget_nothing() {
    for place in places() {
        match &place {
            #[cfg(feature = "postgres")]
            Place::Postgres(database) => survives(&place, &database.url(), 5_000, 4, 20),
            #[cfg(feature = "sqlite")]
            Place::Sqlite(file) => survives(&place, file.path().to_str().unwrap(), 600, 2, 10),
        }
    }
}
