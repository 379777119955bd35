//! How long evidence waits, and what a change that is late does to that.

use std::sync::Arc;
use std::time::Duration;

use waxseal::ring::evidence::{Census, Covered};
use waxseal::ring::{Event, Grounds, Inventory, Rollout, Scope, Settings, Target, Time, set_settings};
use waxseal::runtime::Runtime;
use waxseal::testing::SimulatedRuntime;
use waxseal::{ErrorKind, Result};

use super::bench::{Bench, DAY, MINUTE, PLAIN, VERSIONED};
use super::retire::{nothing, refused, rotated};

const SECOND: Duration = Duration::from_secs(1);

fn everything() -> Target {
    Target::Scope(Scope::root())
}

fn settings(bench: &Bench) -> Arc<Settings> {
    bench.view("/").settings().clone()
}

fn short(settings: &mut Settings) {
    settings.max_stale = "PT1S".parse().unwrap();
    settings.max_stale_open = "PT1S".parse().unwrap();
    settings.lease_age = "PT1S".parse().unwrap();
}

/// Whoever tries the life of a key in a minute can: no part of the wait is out of reach.
#[test]
fn a_wait_is_as_short_as_the_settings_make_it() {
    let wait = |edit: fn(&mut Settings)| settings(&Bench::with(edit)).evidence_wait();
    assert_eq!(
        wait(|settings| {
            short(settings);
            settings.stream_age = "PT0S".parse().unwrap();
        }),
        4 * SECOND
    );
    assert_eq!(wait(short), 16 * SECOND);
    // 1 minute, 5 minutes, 1 hour, and 6 seconds.
    assert_eq!(wait(|_| {}), 66 * MINUTE + 6 * SECOND);
    // The change itself gets a tenth of the longest staleness, up to a minute.
    let far = wait(|settings| {
        settings.max_stale = "P1D".parse().unwrap();
        settings.max_stale_open = "P1D".parse().unwrap();
    });
    assert_eq!(far, DAY + 65 * MINUTE + MINUTE);
}

#[test]
fn a_new_ring_takes_its_stream_age_from_its_leases_unless_somebody_says_it() {
    let made = |edit: fn(&mut Settings)| settings(&Bench::with(edit)).stream_age.to_string();
    assert_eq!(made(|_| {}), "PT1H");
    assert_eq!(made(short), "PT12S");
    assert_eq!(
        made(|settings| settings.lease_age = "P1D".parse().unwrap()),
        "PT1H"
    );
    let by_hand = made(|settings| {
        short(settings);
        settings.stream_age = "PT1H".parse().unwrap();
    });
    assert_eq!(by_hand, "PT1H");
    // Later nothing follows from anything.
    let bench = Bench::new();
    let reader = bench.reader(false);
    let set = set_settings(&reader, &bench.authority, "x", |settings| {
        settings.lease_age = "PT1S".parse().unwrap();
    });
    pollster::block_on(set).unwrap();
    assert_eq!(settings(&bench).stream_age.to_string(), "PT1H");
}

/// A database that lies, or one host that is wrong, gains nothing: neither lets a key stop before it did, or a census begin after it did.
#[test]
fn a_key_stops_by_the_later_clock_and_a_census_begins_by_the_earlier_one() {
    for ahead in [true, false] {
        let bench = Bench::new();
        let key = bench.key("/", VERSIONED);
        let wall = bench.runtime.wall_clock();
        let off = 4 * MINUTE;
        let wrong: Arc<dyn Runtime> = Arc::new(SimulatedRuntime::starting_at(if ahead {
            wall + off
        } else {
            wall - off
        }));
        let its = Time::try_from(wrong.wall_clock()).unwrap();
        let admin = bench.admin().with_runtime(Arc::clone(&wrong));
        bench
            .run(admin.rotate(&everything(), Rollout::AtOnce, "x"))
            .unwrap();
        assert_eq!(bench.record(key).deprecated.unwrap(), its.max(bench.now()));
        let reader = bench.reader(false).with_runtime(wrong);
        let covers = vec![Covered::Store("values".into())];
        let census = bench.run(Census::begin(&reader, &bench.authority, "nightly", covers));
        assert_eq!(census.unwrap().finish().unwrap().started(), its.min(bench.now()));
    }
}

/// The time of a change is asked for before the change is made: evidence waits for as long as a change may take, and no change takes longer.
#[test]
fn a_change_that_does_not_arrive_in_time_is_given_up() {
    let bench = Bench::new();
    let key = bench.key("/", VERSIONED);
    let report = |by: Duration| {
        let admin = bench.late(by);
        bench.run(admin.report(Event::Policy, &everything(), "x"))
    };
    let revision = || bench.run(bench.inventory.revision()).unwrap();
    let before = revision();
    let error = report(6 * SECOND + Duration::from_millis(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(error.to_string().contains("max_stale"), "{error}");
    assert_eq!(revision(), before);
    assert_eq!(report(5 * SECOND).unwrap(), [key]);
    assert_eq!(revision(), before + 1);
    // Decided anew, by another time.
    bench.key("b", PLAIN);
    let (began, before) = (bench.now(), revision());
    let admin = bench.late_for(MINUTE, false, 1);
    let other = Target::Scope("b".parse().unwrap());
    bench.run(admin.report(Event::Policy, &other, "x")).unwrap();
    assert_eq!(revision(), before + 1);
    assert_eq!(bench.view("/").changed(), began.saturating_add(6 * SECOND));
}

/// What was given up arrives all the same: nobody knows when, so evidence waits from when that was seen.
#[test]
fn a_change_that_arrives_late_lets_evidence_wait_from_then_on() {
    let bench = Bench::new();
    let key = bench.key("/", VERSIONED);
    let began = bench.now();
    let admin = bench.late_for(MINUTE, true, 1);
    bench.run(admin.promote(staged(&bench), "x")).unwrap();
    assert_eq!(bench.record(key).deprecated, Some(began));
    let noted = began.saturating_add(6 * SECOND);
    assert_eq!(bench.view("/").changed(), noted);
    bench.runtime.advance(2 * DAY);
    let wait = settings(&bench).evidence_wait();
    let retire = |began: Time| -> Result<_> {
        let evidence = nothing(&bench, key, began);
        bench.run(bench.admin().retire(key, Grounds::Evidence(&evidence), "x"))
    };
    let until = noted.saturating_add(wait);
    let words = refused(retire(until));
    assert!(words.contains("and not before"), "{words}");
    retire(until.saturating_add(SECOND)).unwrap();
}

/// A successor that waits.
fn staged(bench: &Bench) -> waxseal::ring::RecordId {
    let staged = bench.run(bench.admin().rotate(&everything(), Rollout::Staged, "x"));
    staged.unwrap()[0].key
}

#[test]
fn a_wait_of_seconds_is_over_after_seconds() {
    let bench = Bench::with(|settings| {
        short(settings);
        settings.stream_age = "PT0S".parse().unwrap();
        settings.overlap = "PT0S".parse().unwrap();
    });
    let key = rotated(&bench, VERSIONED);
    bench.runtime.advance(5 * SECOND);
    let evidence = nothing(&bench, key, bench.now());
    bench
        .run(bench.admin().retire(key, Grounds::Evidence(&evidence), "x"))
        .unwrap();
}
