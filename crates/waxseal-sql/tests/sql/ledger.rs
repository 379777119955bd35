//! Jobs that several workers and processes share.

use std::sync::Arc;
use std::time::Duration;

use pollster::block_on;
use waxseal::ErrorKind;
use waxseal::fleet::{Claim, Claimed, Counts, Fault, FaultClass, Held, Ledger, Plan, Range, Step};
use waxseal_sql::fleet::Table;

use crate::place::{job, opened, places, seal};

const LONG: Duration = Duration::from_secs(3600);

fn plan(purpose: &str) -> Plan {
    let json = format!(
        "{{\"store\": \"rows:users.email\", \"range\": {{\"after\": null, \"until\": \"z\"}}, \"is_dry_run\": false, \"purpose\": \"{purpose}\"}}"
    );
    serde_json::from_str(&json).unwrap()
}

fn parts() -> Vec<Range> {
    vec![Range::all().up_to("m"), Range::all().from_after("m").up_to("z")]
}

fn claim(ledger: &Arc<dyn Ledger>, lease: Duration) -> Claim {
    match block_on(ledger.claim("w", lease)).unwrap() {
        Claimed::Part(claim) => claim,
        other => panic!("{other:?}"),
    }
}

fn step(cursor: Option<&str>, is_done: bool, examined: u64) -> Step {
    let mut step = Step::default();
    step.cursor = cursor.map(str::to_owned);
    step.is_done = is_done;
    step.counts.examined = examined;
    step
}

#[test]
fn the_first_of_many_begins_a_job_and_another_plan_is_refused() {
    for place in places() {
        let ledger = place.ledger("a job");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| block_on(place.ledger("a job").begin(&plan("one"), parts())).unwrap());
            }
        });
        assert_eq!(
            place.ask("select cast(count(*) as text) from waxseal_job_part"),
            "2"
        );
        let error = block_on(ledger.begin(&plan("other"), parts())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(
            error.to_string().contains("purpose is one, and not other"),
            "{error}"
        );
        // Another name is another job.
        block_on(place.ledger("another job").begin(&plan("other"), parts())).unwrap();
        block_on(ledger.begin(&plan("one"), Vec::new())).unwrap();
        assert_eq!(
            place.ask("select cast(count(*) as text) from waxseal_job_part"),
            "4"
        );
    }
}

#[test]
fn parts_are_with_one_worker_each_and_go_on_behind_the_last_step() {
    for place in places() {
        let (one, other) = (place.ledger("j"), place.ledger("j"));
        assert!(matches!(block_on(one.claim("w", LONG)).unwrap(), Claimed::Done));
        block_on(one.begin(&plan(""), parts())).unwrap();
        let first = claim(&one, LONG);
        let second = claim(&other, LONG);
        assert_eq!((first.part, &first.rest), (0, &parts()[0]));
        assert_eq!((second.part, &second.rest), (1, &parts()[1]));
        assert!(matches!(block_on(one.claim("w", LONG)).unwrap(), Claimed::Busy));
        let held = block_on(one.advance(&first, step(Some("c"), false, 3))).unwrap();
        assert_eq!(held, Held::Yes);
        assert_eq!(block_on(one.renew(&first)).unwrap(), Held::Yes);
        block_on(one.release(&first)).unwrap();
        let again = claim(&other, LONG);
        assert_eq!(
            (again.part, again.rest.after(), again.rest.until()),
            (0, Some("c"), Some("m"))
        );
        assert!(again.fence > first.fence);
        // Whoever gave it back has it no more.
        assert_eq!(
            block_on(one.advance(&first, step(Some("d"), true, 9))).unwrap(),
            Held::Lost
        );
        assert_eq!(
            block_on(other.advance(&again, step(None, true, 4))).unwrap(),
            Held::Yes
        );
        assert_eq!(
            block_on(other.advance(&second, step(Some("x"), true, 5))).unwrap(),
            Held::Yes
        );
        assert!(matches!(block_on(one.claim("w", LONG)).unwrap(), Claimed::Done));
        let (counts, faults, is_done) = block_on(one.sum()).unwrap();
        assert_eq!((counts.examined, faults.len(), is_done), (12, 0, true));
        assert_eq!(
            place.ask("select last_id from waxseal_job_part order by part"),
            "c\nx"
        );
    }
}

#[test]
fn a_worker_whose_lease_is_over_notes_nothing_once_another_one_has_its_part() {
    for place in places() {
        let ledger = place.ledger("j");
        block_on(ledger.begin(&plan(""), vec![Range::all()])).unwrap();
        let late = claim(&ledger, Duration::ZERO);
        // Nobody has taken it yet.
        assert_eq!(
            block_on(ledger.advance(&late, step(Some("a"), false, 1))).unwrap(),
            Held::Yes
        );
        let next = claim(&ledger, LONG);
        assert_eq!((next.rest.after(), next.fence), (Some("a"), late.fence + 1));
        assert_eq!(block_on(ledger.renew(&late)).unwrap(), Held::Lost);
        assert_eq!(
            block_on(ledger.advance(&late, step(Some("b"), true, 100))).unwrap(),
            Held::Lost
        );
        block_on(ledger.release(&late)).unwrap();
        assert!(matches!(
            block_on(ledger.claim("w", LONG)).unwrap(),
            Claimed::Busy
        ));
        assert_eq!(
            block_on(ledger.advance(&next, step(Some("c"), true, 1))).unwrap(),
            Held::Yes
        );
        let (counts, _, is_done) = block_on(ledger.sum()).unwrap();
        assert_eq!((counts.examined, is_done), (2, true));
    }
}

#[test]
fn faults_are_named_in_order_up_to_a_limit_and_all_are_counted() {
    for place in places() {
        let ledger = place.ledger("j");
        block_on(ledger.begin(&plan(""), parts())).unwrap();
        let (first, second) = (claim(&ledger, LONG), claim(&ledger, LONG));
        let faulty = |ids: std::ops::Range<u32>| {
            let mut step = step(None, false, 0);
            step.counts.tampered = ids.len() as u64;
            step.faults = ids
                .map(|id| Fault::new(id.to_string(), FaultClass::UnknownKey, "it's \"so\""))
                .collect();
            step
        };
        let notes = [(&second, 20_000..29_999), (&first, 0..2), (&first, 2..4)];
        for (claim, ids) in notes {
            assert_eq!(block_on(ledger.advance(claim, faulty(ids))).unwrap(), Held::Yes);
        }
        let (counts, faults, is_done) = block_on(ledger.sum()).unwrap();
        assert_eq!((counts.tampered, faults.len(), is_done), (10_003, 10_000, false));
        let ids: Vec<_> = faults.iter().take(2).map(|fault| fault.id.as_str()).collect();
        assert_eq!(ids, ["0", "20000"]);
        assert_eq!(faults[0], Fault::new("0", FaultClass::UnknownKey, "it's \"so\""));
        let whole = Counts::default();
        assert_eq!(counts.moved(), whole.moved());
    }
}

#[test]
fn a_job_is_paused_resumed_and_canceled_by_whoever_watches_over_it() {
    for place in places() {
        let ledger = place.ledger("j");
        let admin = place.watch("j");
        assert_eq!(admin.state(), None);
        assert_eq!(admin.set("pause").unwrap_err().kind(), ErrorKind::Configuration);
        block_on(ledger.begin(&plan(""), parts())).unwrap();
        assert_eq!(admin.state().as_deref(), Some("Running"));
        let (first, second) = (claim(&ledger, LONG), claim(&ledger, LONG));
        admin.set("pause").unwrap();
        assert_eq!(
            block_on(ledger.advance(&first, step(Some("a"), false, 1))).unwrap(),
            Held::Released
        );
        assert!(matches!(
            block_on(ledger.claim("w", LONG)).unwrap(),
            Claimed::Busy
        ));
        // The last step of a part ends it as always.
        assert_eq!(
            block_on(ledger.advance(&second, step(Some("z"), true, 1))).unwrap(),
            Held::Yes
        );
        admin.set("resume").unwrap();
        let again = claim(&ledger, LONG);
        assert_eq!((again.part, again.rest.after()), (0, Some("a")));
        admin.set("cancel").unwrap();
        assert_eq!(
            block_on(ledger.advance(&again, step(Some("b"), false, 1))).unwrap(),
            Held::Released
        );
        assert!(matches!(
            block_on(ledger.claim("w", LONG)).unwrap(),
            Claimed::Done
        ));
        let (counts, _, is_done) = block_on(ledger.sum()).unwrap();
        assert_eq!((counts.examined, is_done), (3, false));
        assert_eq!(admin.state().as_deref(), Some("Canceled"));
    }
}

#[test]
fn several_processes_make_one_report_and_move_each_row_once() {
    const ROWS: usize = 200;
    let pair = [("table", "users")];
    for place in places() {
        place.run("create table users (id integer primary key, email BYTES)");
        for row in 1..=ROWS {
            let sealed = place.bytes(&seal(&row.to_string(), &pair));
            place.run(&format!("insert into users values ({row}, {sealed})"));
        }
        let table = Table::new("users", "email").context("table", "users");
        // Each has what a process of its own would have.
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let store = place.open(table.clone()).unwrap();
                    let job = job(&store).ledger(place.ledger("j")).purpose("to the new key");
                    let report = block_on(job.run()).unwrap();
                    assert!(report.is_whole && report.counts.faults() == 0, "{report:?}");
                });
            }
        });
        let (counts, _, is_done) = block_on(place.ledger("j").sum()).unwrap();
        assert_eq!(
            (counts.examined, counts.moved(), is_done),
            (ROWS as u64, ROWS as u64, true)
        );
        for (row, sealed) in (1..).zip(place.read("email", "users order by id")) {
            assert_eq!(opened(&sealed, &pair), row.to_string());
        }
        let store = place.open(table).unwrap();
        let other = job(&store).ledger(place.ledger("j")).purpose("to another key");
        let error = block_on(other.run()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
    }
}

#[cfg(feature = "postgres")]
#[test]
fn a_mover_works_at_jobs_and_a_reader_cannot() {
    let Some(database) = crate::support::Database::new() else {
        return;
    };
    block_on(async {
        waxseal_sql::PostgresLedger::create(database.config("r"), "j")
            .await
            .unwrap();
        let [reader, ..] = database.roles().await;
        let mover = reader.replace("reader", "mover");
        let ledger = waxseal_sql::PostgresLedger::open(database.config_as(&mover, "r"), "j")
            .await
            .unwrap();
        ledger.begin(&plan(""), vec![Range::all()]).await.unwrap();
        let Claimed::Part(claim) = ledger.claim("w", LONG).await.unwrap() else {
            panic!()
        };
        let mut fault = step(None, false, 1);
        fault.faults.push(Fault::new("1", FaultClass::Denied, "x"));
        assert_eq!(ledger.advance(&claim, fault).await.unwrap(), Held::Yes);
        assert_eq!(ledger.renew(&claim).await.unwrap(), Held::Yes);
        ledger.release(&claim).await.unwrap();
        ledger.pause().await.unwrap();
        ledger.sum().await.unwrap();
        let no = [
            "delete from waxseal_job",
            "delete from waxseal_job_part",
            "update waxseal_job_fault set id = ''",
            "select from waxseal_ring",
        ];
        database.denies(&mover, &no).await;
        let ledger = waxseal_sql::PostgresLedger::open(database.config_as(&reader, "r"), "j")
            .await
            .unwrap();
        assert_eq!(ledger.sum().await.unwrap_err().kind(), ErrorKind::Denied);
    });
}

#[test]
fn a_name_that_no_job_can_have_is_refused() {
    #[cfg(feature = "sqlite")]
    for name in ["", "a\n", &"x".repeat(256)] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jobs.db");
        let error = block_on(waxseal_sql::SqliteLedger::create(&path, name)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(!path.exists());
    }
}
