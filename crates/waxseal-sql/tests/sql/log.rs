//! Audit logs that several processes write: one order, nothing lost in a kill, and no other history.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use pollster::block_on;
use waxseal::audit::{
    Auditor, Event, LogEnd, LogKey, LogReader, Published, Sink, TileFolder, Wrong, publish,
};
use waxseal::testing::FakeKeyManager;
use waxseal::{EncryptionContext, ErrorKind, Result, Sealer, blocking};
use waxseal_sql::{PostgresConfig, PostgresLog, PostgresLogReader};

use crate::support::{CANARY, Database, GENEROUS};

const ORIGIN: &str = "log.example/shared";
/// The URL of the database of a writer that is killed.
const WHERE: &str = "WAXSEAL_SQL_TEST_LOG";

fn key() -> LogKey {
    LogKey::from_seed(ORIGIN, &[7; 32]).unwrap()
}

fn create(database: &Database) -> PostgresLog {
    block_on(PostgresLog::create(database.config("r"), key())).unwrap()
}

fn open(database: &Database) -> Result<PostgresLog> {
    block_on(PostgresLog::open(database.config("r"), key()))
}

/// Keeps the events that it is given.
#[derive(Clone, Debug, Default)]
struct Caught(Arc<Mutex<Vec<Arc<Event>>>>);

#[async_trait]
impl Sink for Caught {
    async fn keep(&self, events: &[Arc<Event>]) -> Result<()> {
        self.0.lock().unwrap().extend_from_slice(events);
        Ok(())
    }
}

/// An event of an own process each time.
fn event() -> Arc<Event> {
    let caught = Caught::default();
    let auditor = Auditor::builder().required(caught.clone()).build().unwrap();
    seal(&auditor, 1).unwrap();
    caught.0.lock().unwrap().pop().unwrap()
}

/// Seals values with keys of their own, which is an event each.
fn seal(auditor: &Auditor, count: usize) -> Result<()> {
    let builder = Sealer::builder().wrap_with(FakeKeyManager::new("kek"));
    let sealer = blocking::Sealer::from(builder.audit(auditor.clone()).build()?);
    let context = EncryptionContext::new([("tenant", "acme")])?;
    for _ in 0..count {
        sealer.seal(b"hello", &context)?;
    }
    Ok(())
}

fn keep(log: &PostgresLog, count: usize) -> Result<()> {
    block_on(log.keep(&vec![event(); count]))
}

fn published(database: &Database, folder: &Path) -> Result<Published> {
    block_on(async {
        let reader = PostgresLogReader::open(database.config("r"), &key().verifier()).await?;
        publish(&reader, &key().verifier(), &TileFolder::new(folder)).await
    })
}

/// Makes a copy, verifies it, and returns its records.
fn verified(database: &Database) -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    published(database, folder.path()).unwrap();
    let reader = LogReader::open(folder.path()).unwrap();
    let verdict = reader.verify(&key().verifier(), None).unwrap();
    assert!(verdict.is_sound(), "{verdict:?}");
    let mut records = Vec::new();
    reader
        .each_record(|_, record| {
            records.push(record.to_vec());
            Ok(())
        })
        .unwrap();
    assert_eq!(records.len() as u64, verdict.size);
    records
}

fn run(database: &Database, sql: &str) {
    block_on(database.run(sql));
}

#[test]
fn several_writers_make_one_log_that_others_verify() {
    let Some(database) = Database::new() else { return };
    drop(create(&database));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let auditor = Auditor::builder().required(open(&database).unwrap());
                let auditor = auditor.build().unwrap();
                std::thread::scope(|scope| {
                    for _ in 0..4 {
                        scope.spawn(|| seal(&auditor, 25).unwrap());
                    }
                });
                block_on(auditor.close()).unwrap();
            });
        }
    });
    let records = verified(&database);
    assert_eq!(records.len(), 400);
    // Each in the order of its own process, and none of them twice.
    let mut sequences = waxseal::audit::Sequences::default();
    for record in &records {
        assert_eq!(sequences.follow(record), None);
    }
    // Many statements later, a copy grows by what is new.
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(published(&database, folder.path()).unwrap().added, 400);
    keep(&open(&database).unwrap(), 1_000).unwrap();
    assert_eq!(published(&database, folder.path()).unwrap().added, 1_000);
    assert_eq!(published(&database, folder.path()).unwrap().files, 0);
}

#[test]
fn a_writer_that_is_far_behind_follows() {
    let Some(database) = Database::new() else { return };
    let slow = create(&database);
    keep(&slow, 3).unwrap();
    let fast = open(&database).unwrap();
    for _ in 0..11 {
        keep(&fast, 1_000).unwrap();
    }
    keep(&slow, 2).unwrap();
    assert_eq!(slow.checkpoint().size(), 11_005);
    keep(&fast, 1).unwrap();
    assert_eq!(verified(&database).len(), 11_006);
}

#[test]
fn a_log_that_was_taken_back_or_signed_anew_gets_no_more_records() {
    let Some(database) = Database::new() else { return };
    let log = create(&database);
    let folder = tempfile::tempdir().unwrap();
    keep(&log, 300).unwrap();
    run(
        &database,
        "create table old_log as select * from waxseal_log; create table old_record as select * from waxseal_log_record",
    );
    keep(&log, 10).unwrap();
    published(&database, folder.path()).unwrap();
    let restore = |to: &str| {
        run(
            &database,
            &format!(
                "delete from waxseal_log_record; delete from waxseal_log; insert into waxseal_log select * from {to}_log; \
                insert into waxseal_log_record select * from {to}_record"
            ),
        );
    };
    run(
        &database,
        "create table new_log as select * from waxseal_log; create table new_record as select * from waxseal_log_record",
    );
    restore("old");
    let refused = |done: Result<()>, what: &str| {
        let error = done.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Audit, "{error}");
        assert!(error.to_string().contains(what), "{error}");
    };
    refused(keep(&log, 1), "has 300 records, and had 310");
    refused(
        published(&database, folder.path()).map(drop),
        "has 300 records, and its copy has 310",
    );
    // Whoever was started afterwards has seen nothing else, and goes on: the same number of records, and another history.
    let fresh = open(&database).unwrap();
    keep(&fresh, 20).unwrap();
    refused(keep(&log, 1), "another history");
    refused(
        published(&database, folder.path()).map(drop),
        "no continuation of its copy",
    );
    restore("new");
    keep(&log, 1).unwrap();
    assert_eq!(published(&database, folder.path()).unwrap().added, 1);
    refused(keep(&fresh, 1), "had 320");
    run(
        &database,
        "delete from waxseal_log_record; delete from waxseal_log",
    );
    refused(keep(&log, 1), "deleted");
    assert_eq!(open(&database).unwrap_err().kind(), ErrorKind::Configuration);
}

#[test]
fn what_was_changed_in_the_tables_is_found() {
    let Some(database) = Database::new() else { return };
    let log = create(&database);
    keep(&log, 10).unwrap();
    let changes = [
        // Behind the checkpoint.
        "insert into waxseal_log_record select origin, 10, leaf, record from waxseal_log_record where number = 1",
        "update waxseal_log set checkpoint = 'no note'::bytea",
        "update waxseal_log set checkpoint = convert_to(replace(convert_from(checkpoint, 'UTF8'), E'\\n10\\n', E'\\n11\\n'), 'UTF8')",
    ];
    for change in changes {
        run(
            &database,
            &format!("create table kept as select * from waxseal_log; {change}"),
        );
        let error = keep(&log, 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Audit, "{change}: {error}");
        run(
            &database,
            "delete from waxseal_log_record where number > 9; update waxseal_log set checkpoint = kept.checkpoint from kept; drop table kept",
        );
    }
    keep(&log, 1).unwrap();
    // The edge that a process begins with.
    run(
        &database,
        "update waxseal_log set edge = overlay(edge placing '\\x00'::bytea from 3)",
    );
    let error = open(&database).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Audit, "{error}");
    // A process that knows it writes another one.
    keep(&log, 1).unwrap();
    drop(open(&database).unwrap());
    // Records that nobody has hashed since: a copy does, and the log itself can be looked at.
    let folder = tempfile::tempdir().unwrap();
    let verdict = || {
        block_on(async {
            let key = key().verifier();
            let reader = PostgresLogReader::open(database.config("r"), &key).await?;
            waxseal::audit::verify(&reader, &key, None).await
        })
        .unwrap()
    };
    assert!(verdict().is_sound(), "{:?}", verdict());
    for (change, wrong) in [
        (
            "update waxseal_log_record set record = 'x'::bytea where number = 5",
            Wrong::Altered,
        ),
        ("delete from waxseal_log_record where number = 5", Wrong::Missing),
    ] {
        run(&database, change);
        let finding = verdict().findings[0].clone();
        assert_eq!((finding.what, finding.record), (wrong, Some(5)), "{finding}");
        let error = published(&database, folder.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Audit, "{error}");
        assert!(error.to_string().contains("record 5"), "{error}");
        assert!(!folder.path().join("checkpoint").exists());
    }
}

#[test]
fn a_log_of_another_key_and_one_that_is_not_there_are_said_to_be() {
    let Some(database) = Database::new() else { return };
    let error = open(&database).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("audit init"), "{error}");
    drop(create(&database));
    // Made again, it is the same.
    drop(create(&database));
    let stranger = || LogKey::from_seed(ORIGIN, &[8; 32]).unwrap();
    let error = block_on(PostgresLog::open(database.config("r"), stranger())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Audit, "{error}");
    let error = block_on(PostgresLog::create(database.config("r"), stranger())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Audit, "{error}");
    let error = block_on(PostgresLogReader::open(
        database.config("r"),
        &stranger().verifier(),
    ))
    .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Audit, "{error}");
    let other = LogKey::generate("log.example/other").unwrap();
    let error = block_on(PostgresLog::open(database.config("r"), other)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    let printed = format!("{:?}", open(&database).unwrap());
    assert!(printed.contains(ORIGIN) && !printed.contains(CANARY), "{printed}");
}

#[test]
fn nothing_is_released_while_the_database_does_not_answer() {
    let Some(database) = Database::new() else { return };
    drop(create(&database));
    let config = PostgresConfig::new(&database.url().into(), "r").unwrap();
    let config = config.with_timeout(Duration::from_millis(500));
    let log = block_on(PostgresLog::open(config, key())).unwrap();
    let auditor = Auditor::builder().required(log).build().unwrap();
    seal(&auditor, 1).unwrap();
    let held = database.hold("select 1 from waxseal_log for update");
    let error = seal(&auditor, 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Audit, "{error}");
    drop(held);
    block_on(database.end_connections());
    // It goes on, with a gap for what was not kept.
    for attempt in 0.. {
        match seal(&auditor, 1) {
            Ok(()) => break,
            Err(error) => assert!(attempt < 50, "{error}"),
        }
    }
    block_on(auditor.close()).unwrap();
    let records = verified(&database);
    assert!(records.len() >= 3, "{}", records.len());
    let gaps = records
        .iter()
        .filter(|record| String::from_utf8_lossy(record).contains("waxseal.lost"));
    assert!(gaps.count() >= 1);
}

#[test]
fn a_logger_adds_and_changes_nothing_and_an_auditor_reads() {
    let Some(database) = Database::new() else { return };
    let log = create(&database);
    let _ = block_on(database.roles());
    let [logger, auditor] = database.log_roles();
    let of_role = block_on(PostgresLog::open(database.config_as(&logger, "r"), key())).unwrap();
    keep(&of_role, 3).unwrap();
    keep(&log, 1).unwrap();
    keep(&of_role, 3).unwrap();
    let changes = [
        "delete from waxseal_log_record",
        "update waxseal_log_record set record = ''",
        "delete from waxseal_log",
        "insert into waxseal_log values ('a', 0, 'a', '')",
        "select * from waxseal_row",
        "truncate waxseal_log_record",
    ];
    block_on(database.denies(&logger, &changes));
    block_on(database.denies(&auditor, &changes));
    block_on(database.denies(
        &auditor,
        &[
            "update waxseal_log set size = 0",
            "insert into waxseal_log_record values ('a', 0, '', '')",
        ],
    ));
    let verifier = key().verifier();
    let reader = PostgresLogReader::open(database.config_as(&auditor, "r"), &verifier);
    let folder = tempfile::tempdir().unwrap();
    let copied = block_on(publish(
        &block_on(reader).unwrap(),
        &key().verifier(),
        &TileFolder::new(folder.path()),
    ));
    assert_eq!(copied.unwrap().added, 7);
    let of_auditor = block_on(PostgresLog::open(database.config_as(&auditor, "r"), key())).unwrap();
    assert_eq!(keep(&of_auditor, 1).unwrap_err().kind(), ErrorKind::Denied);
}

/// Does nothing but in the process that is killed.
#[test]
fn writer() {
    let Ok(url) = std::env::var(WHERE) else { return };
    let config = PostgresConfig::new(&url.into(), "r")
        .unwrap()
        .with_timeout(GENEROUS);
    let log = block_on(PostgresLog::open(config, key())).unwrap();
    let event = event();
    for size in (1_usize..).map(|turn| turn % 37 + 1) {
        block_on(log.keep(&vec![Arc::clone(&event); size])).unwrap();
        println!("\nkept {}", log.checkpoint().size());
    }
}

#[test]
fn what_was_kept_is_there_after_a_kill() {
    let Some(database) = Database::new() else { return };
    drop(create(&database));
    let bystander = open(&database).unwrap();
    for round in 0..20_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "log::writer", "--nocapture"])
            .env(WHERE, database.url())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut kept = lines.map_while(Result::ok).filter_map(|line| {
            let size = line.strip_prefix("kept ")?;
            Some(size.parse::<u64>().unwrap())
        });
        let first = kept.next().expect("the writer kept nothing");
        std::thread::sleep(Duration::from_micros(round * 1_931 % 20_000));
        child.kill().unwrap();
        child.wait().unwrap();
        let said = kept.last().unwrap_or(first);
        let verifier = key().verifier();
        let reader = PostgresLogReader::open(database.config("r"), &verifier);
        let size = waxseal::audit::LogSource::checkpoint(&block_on(reader).unwrap()).size();
        assert!((said..=said + 37).contains(&size), "{said} {size}");
        // Whoever lives goes on.
        keep(&bystander, 1).unwrap();
    }
    verified(&database);
}

#[test]
fn an_end_that_was_made_in_a_database_is_that_of_the_library() {
    let Some(database) = Database::new() else { return };
    let log = create(&database);
    let event = event();
    block_on(log.keep(&vec![Arc::clone(&event); 300])).unwrap();
    let records = vec![event.to_record().as_bytes().to_vec(); 300];
    let end = LogEnd::begin(&key()).add(&records, &key()).unwrap();
    assert_eq!(log.checkpoint(), *end.checkpoint());
    let leaf = hex(&LogEnd::leaf(&records[0]));
    let same = format!("select count(*)::text from waxseal_log_record where encode(leaf, 'hex') = '{leaf}'");
    assert_eq!(block_on(database.ask(&same)), "300");
    let edge = "select encode(edge, 'hex') from waxseal_log";
    assert_eq!(block_on(database.ask(edge)), hex(&end.edge()));
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
