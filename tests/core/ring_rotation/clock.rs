//! Clocks that are wrong: that of the inventory, that of one machine, and both.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use waxseal::ring::evidence::{Census, CensusReceipt, Covered};
use waxseal::ring::inventory::{MemoryInventory, NodePath, Snapshot};
use waxseal::ring::{
    Event, Evidence, EvidenceSource, Grounds, Inventory, KeySource, NewKey, Reader, RecordId, RetireBy,
    RingAdmin, Rollout, Scope, Settings, State, Target, Time, Trust, correct_clock, rotate_authority,
    set_settings,
};
use waxseal::runtime::Runtime;
use waxseal::testing::{InventoryLayer, SimulatedRuntime};
use waxseal::{Error, ErrorKind, Result};

use super::bench::{Bench, DAY, MINUTE, PLAIN, VERSIONED};

/// A machine whose clock is so far ahead of the inventory's, or behind it.
fn machine(bench: &Bench, ahead: bool, by: Duration) -> Arc<SimulatedRuntime> {
    let now = bench.runtime.wall_clock();
    let its = if ahead { now + by } else { now - by };
    Arc::new(SimulatedRuntime::starting_at(its))
}

fn everything() -> Target {
    Target::Scope(Scope::root())
}

fn disagree<T: std::fmt::Debug>(result: Result<T>) -> Error {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ClocksDisagree, "{error}");
    assert!(!error.is_retryable());
    error
}

fn rotated(bench: &Bench) -> RecordId {
    let first = bench.key("/", VERSIONED);
    bench
        .run(bench.admin().rotate(&everything(), Rollout::AtOnce, "x"))
        .unwrap();
    first
}

/// A census of a store with one envelope that is under no key of the ring's provider.
fn census(bench: &Bench) -> CensusReceipt {
    let reader = bench.reader(false);
    let covers = vec![Covered::Store("values".into())];
    let census = bench.run(Census::begin(&reader, &bench.authority, "nightly", covers));
    census.unwrap().finish().unwrap()
}

fn about(bench: &Bench, receipt: &CensusReceipt, key: RecordId) -> Evidence {
    let view = bench.view("/");
    let evidence = receipt.verify(&view).unwrap().about(view.key(key).unwrap());
    evidence.unwrap().allowing_empty()
}

fn retire(bench: &Bench, evidence: &Evidence) -> Result<waxseal::ring::Moved> {
    bench.run(
        bench
            .admin()
            .retire(evidence.key, Grounds::Evidence(evidence), "x"),
    )
}

#[test]
fn nothing_is_signed_while_the_clocks_disagree() {
    for ahead in [true, false] {
        let bench = Bench::new();
        let key = rotated(&bench);
        bench.runtime.advance(2 * DAY);
        let evidence = about(&bench, &census(&bench), key);
        bench
            .run(bench.admin().retire(key, Grounds::Evidence(&evidence), "x"))
            .unwrap();
        let evidence = about(&bench, &census(&bench), key);
        bench.run(bench.admin().destroy(key, &evidence, "x")).unwrap();
        let revision = bench.run(bench.inventory.revision()).unwrap();

        let wrong = machine(&bench, ahead, 5 * MINUTE + Duration::from_secs(1));
        let (admin, reader) = (
            bench.admin().with_runtime(wrong.clone()),
            bench.reader(false).with_runtime(wrong.clone()),
        );
        let error = disagree(bench.run(admin.rotate(&everything(), Rollout::AtOnce, "x")));
        for time in [bench.now(), Time::try_from(wrong.wall_clock()).unwrap()] {
            assert!(error.to_string().contains(&time.to_string()), "{error}");
        }
        let active = bench.active("/").id;
        disagree(bench.run(admin.tick(None)));
        disagree(bench.run(admin.verdict(None, None)));
        disagree(bench.run(admin.cancel_destroy(key, "x")));
        disagree(bench.run(admin.report(Event::Policy, &Target::Key(active), "x")));
        disagree(bench.run(admin.create(&NewKey::new(
            "other".parse().unwrap(),
            KeySource::Existing(PLAIN.to_owned()),
        ))));
        disagree(
            bench.run(set_settings(&reader, &bench.authority, "x", |settings| {
                settings.readers = vec![waxseal::ring::NamedReader::new("app")];
            })),
        );
        let next = waxseal::ring::Authority::generate().unwrap();
        disagree(bench.run(rotate_authority(&reader, &bench.authority, &next, "x")));
        disagree(bench.run(correct_clock(&reader, &bench.authority, "x", "x")));
        let covers = vec![Covered::Store("values".into())];
        disagree(bench.run(Census::begin(&reader, &bench.authority, "x", covers)));
        let inventory =
            waxseal::ring::inventory::MemoryInventory::with_runtime(Arc::new(bench.runtime.clone()));
        disagree(bench.run(RingAdmin::init_with_runtime(
            &inventory,
            &*wrong,
            &next,
            "x",
            |_| {},
        )));
        assert_eq!(bench.run(bench.inventory.revision()).unwrap(), revision);
        // A look at the ring says it, and finds nothing that cannot be used.
        let check = bench.run(reader.check()).unwrap();
        assert!(
            check.is_good() && check.findings[0].what.contains("clock"),
            "{check:?}"
        );

        // What is within the tolerance is signed.
        let near = machine(&bench, ahead, 5 * MINUTE);
        let admin = bench.admin().with_runtime(near.clone());
        bench
            .run(admin.rotate(&everything(), Rollout::AtOnce, "x"))
            .unwrap();
        assert!(
            bench
                .run(bench.reader(false).with_runtime(near).check())
                .unwrap()
                .findings
                .is_empty()
        );
    }
}

#[test]
fn a_clock_that_is_ahead_ends_no_cooling_off() {
    let bench = Bench::new();
    let key = rotated(&bench);
    bench.runtime.advance(2 * DAY);
    let evidence = about(&bench, &census(&bench), key);
    retire(&bench, &evidence).unwrap();
    let evidence = about(&bench, &census(&bench), key);
    bench.run(bench.admin().destroy(key, &evidence, "x")).unwrap();
    // Somebody puts the clock of the database forward. Every machine says another time.
    let here = machine(&bench, true, Duration::ZERO);
    bench.runtime.set_wall_clock(here.wall_clock() + 30 * DAY);
    let admin = bench.admin().with_runtime(here.clone());
    disagree(bench.run(admin.tick(None)));
    disagree(bench.run(admin.attest_destroyed(key, "x")));
    assert_eq!(bench.state(key), State::Destroying);
    bench.runtime.set_wall_clock(here.wall_clock());
    assert!(bench.run(admin.tick(None)).unwrap().done.is_empty());
}

#[test]
fn whoever_says_so_lets_clocks_be_further_apart() {
    let bench = Bench::new();
    let key = bench.key("/", VERSIONED);
    let far = machine(&bench, true, 40 * MINUTE);
    let reader = bench.reader(false).with_runtime(far.clone());
    let before = bench.view("/").settings().evidence_wait();
    bench
        .run(set_settings(&reader, &bench.authority, "x", |settings| {
            settings.clock_tolerance = "PT1H".parse().unwrap();
        }))
        .unwrap();
    let admin = bench.admin().with_runtime(far);
    bench
        .run(admin.rotate(&everything(), Rollout::AtOnce, "x"))
        .unwrap();
    // The later of the two is when the key stopped, so that evidence need not wait for the other one.
    assert_eq!(bench.view("/").settings().evidence_wait(), before);
    let stopped = bench.record(key).deprecated.unwrap();
    assert_eq!(stopped, bench.now().saturating_add(40 * MINUTE));
    assert_eq!(bench.state(key), State::Deprecated);
}

#[test]
fn a_census_that_had_read_the_ring_before_a_key_stopped_shows_nothing_whatever_it_says_of_the_time() {
    let bench = Bench::new();
    let key = bench.key("/", VERSIONED);
    let early = census(&bench);
    bench
        .run(bench.admin().rotate(&everything(), Rollout::AtOnce, "x"))
        .unwrap();
    bench.runtime.advance(2 * DAY);
    let mut evidence = about(&bench, &early, key);
    // As by a clock that was ahead.
    evidence.began = bench.now();
    let error = retire(&bench, &evidence).unwrap_err();
    assert!(error.to_string().contains("revision"), "{error}");
    let tick = bench
        .run(bench.admin().tick(Some(&One(evidence.clone()))))
        .unwrap();
    assert_eq!((tick.done.len(), tick.refused.len()), (0, 1), "{tick:?}");
    // At the revision with which it stopped it is late enough.
    evidence.revision = bench.record(key).history.last().unwrap().revision;
    retire(&bench, &evidence).unwrap();
}

struct One(Evidence);

impl EvidenceSource for One {
    fn about(&self, key: &waxseal::ring::KeyRecord) -> Option<Evidence> {
        (key.id == self.0.key).then(|| self.0.clone())
    }
}

#[test]
fn a_census_of_the_future_does_not_count() {
    let bench = Bench::new();
    let key = rotated(&bench);
    bench.runtime.advance(2 * DAY);
    let mut evidence = about(&bench, &census(&bench), key);
    evidence.began = bench.now().saturating_add(6 * MINUTE);
    let error = retire(&bench, &evidence).unwrap_err();
    assert!(error.to_string().contains("a clock was wrong"), "{error}");
    evidence.began = bench.now().saturating_add(5 * MINUTE);
    retire(&bench, &evidence).unwrap();
}

#[test]
fn evidence_waits_for_what_former_settings_allowed() {
    let lowerings: [fn(&mut Settings); 4] = [
        |settings| settings.lease_age = "PT5M".parse().unwrap(),
        |settings| settings.stream_age = "PT1H".parse().unwrap(),
        |settings| settings.store_delay = "PT0S".parse().unwrap(),
        |settings| {
            settings.max_stale = "PT1M".parse().unwrap();
            settings.max_stale_open = "PT1M".parse().unwrap();
        },
    ];
    for lower in lowerings {
        let bench = Bench::with(|settings| {
            settings.lease_age = "P1D".parse().unwrap();
            settings.stream_age = "P1D".parse().unwrap();
            settings.store_delay = "P1D".parse().unwrap();
            settings.max_stale = "P1D".parse().unwrap();
            settings.max_stale_open = "P1D".parse().unwrap();
        });
        let settings = || bench.view("/").settings().clone();
        let first = bench.key("/", VERSIONED);
        let long = settings().evidence_wait();
        bench.runtime.advance(DAY);
        let lowered = bench.now();
        pollster::block_on(set_settings(&bench.reader(false), &bench.authority, "x", lower)).unwrap();
        assert!(settings().evidence_wait() < long);
        bench.runtime.advance(MINUTE);
        bench
            .run(bench.admin().rotate(&everything(), Rollout::AtOnce, "x"))
            .unwrap();
        bench.runtime.advance(5 * DAY);
        // A process that had read the former settings just before may seal until then.
        let until = lowered.saturating_add(long);
        let stopped = bench.record(first).deprecated.unwrap();
        let until = until.max(stopped.saturating_add(settings().evidence_wait()));
        let mut evidence = about(&bench, &census(&bench), first);
        evidence.began = until;
        assert!(retire(&bench, &evidence).is_err());
        evidence.began = until.saturating_add(Duration::from_secs(1));
        retire(&bench, &evidence).unwrap();
    }
}

#[test]
fn the_end_of_an_overlap_waits_for_caches_and_streams_as_long_as_evidence_does() {
    let bench = Bench::with(|settings| {
        settings.retire = RetireBy::OverlapEnd;
        settings.overlap = "PT1M".parse().unwrap();
    });
    let key = rotated(&bench);
    let wait = bench.view("/").settings().evidence_wait();
    assert!(wait > Duration::from_secs(3600));
    bench.runtime.advance(wait);
    let tick = bench.run(bench.admin().tick(None)).unwrap();
    assert_eq!((tick.done.len(), tick.refused.len()), (0, 1), "{tick:?}");
    assert!(tick.refused[0].reason.contains("may seal under it"), "{tick:?}");
    let error = bench
        .run(bench.admin().retire(key, Grounds::OverlapEnd, "x"))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LifecycleRefused);
    bench.runtime.advance(Duration::from_secs(1));
    assert_eq!(bench.run(bench.admin().tick(None)).unwrap().done.len(), 1);
}

/// One machine with one clock: nothing tells that it is wrong, until it is right again.
#[test]
fn a_ring_whose_time_is_ahead_waits_and_is_set_back_by_a_signed_act() {
    let bench = Bench::new();
    let (key, staged) = (rotated(&bench), bench.key("b", PLAIN));
    bench.runtime.advance(2 * DAY);
    let right: SystemTime = bench.runtime.wall_clock();
    bench.runtime.set_wall_clock(right + 365 * DAY);
    // A move, and a census, by the wrong clock.
    let second = bench.active("/").id;
    bench
        .run(bench.admin().rotate(&everything(), Rollout::AtOnce, "x"))
        .unwrap();
    bench.run(bench.admin().retire(key, Grounds::Force, "x")).unwrap();
    let of_the_future = census(&bench);
    bench
        .run(
            bench
                .admin()
                .destroy(key, &about(&bench, &of_the_future, key), "x"),
        )
        .unwrap();
    let due = bench.record(key).destruction_due.unwrap();

    bench.runtime.set_wall_clock(right);
    assert!(bench.view("/").changed() > bench.now());
    let check = bench.run(bench.reader(false).check()).unwrap();
    assert!(
        check
            .findings
            .iter()
            .any(|finding| finding.what.contains("ring clock --correct")),
        "{check:?}"
    );
    // It goes on, at the time that it has, and nothing is over before its time.
    bench
        .run(
            bench
                .admin()
                .set_canary(bench.rotate(&Target::Key(staged), Rollout::Staged), Some(5), "x"),
        )
        .unwrap();
    assert!(bench.view("b").changed() > bench.now());
    bench.runtime.advance(8 * DAY);
    assert!(bench.run(bench.admin().attest_destroyed(key, "x")).is_err());
    let late = about(&bench, &census(&bench), second);
    assert!(
        retire(&bench, &late).is_err(),
        "by the ring's time it began before the key stopped"
    );

    let reader = bench.reader(false);
    let corrected = bench
        .run(correct_clock(
            &reader,
            &bench.authority,
            "alice",
            "the battery was empty",
        ))
        .unwrap();
    assert_eq!(corrected.to, bench.now());
    assert!(corrected.keys >= 3, "{corrected:?}");
    let view = bench.view("/");
    assert!(view.changed() <= bench.now());
    let kept = view.settings().clock_corrections();
    assert_eq!(
        (kept.len(), kept[0].reason.as_str()),
        (1, "the battery was empty")
    );
    assert!(
        bench
            .run(bench.reader(false).check())
            .unwrap()
            .findings
            .is_empty()
    );
    for key in view.all_keys() {
        let dates = [key.next_rotation, key.retirement_due, key.destruction_due];
        for date in dates.into_iter().flatten() {
            assert!(date <= bench.now().saturating_add(90 * DAY), "{key:?}");
        }
    }
    let record = bench.record(key);
    assert!(record.destruction_due.unwrap() < due);
    assert_eq!(record.destruction_due.unwrap().since(bench.now()), 7 * DAY);
    assert!(record.history.last().unwrap().reason.contains("wrong clock"));
    // Again changes nothing.
    let again = bench
        .run(correct_clock(&reader, &bench.authority, "alice", "again"))
        .unwrap();
    assert_eq!(again.keys, 0);
    assert_eq!(bench.view("/").settings().clock_corrections().len(), 1);

    // What claims a time after the correction, and was made before, shows nothing even when that time has come.
    let wait = bench.view("/").settings().evidence_wait();
    assert!(retire(&bench, &late).is_err());
    bench.runtime.advance(DAY.max(wait) + Duration::from_secs(1));
    let good = about(&bench, &census(&bench), second);
    bench.runtime.advance(400 * DAY);
    let stale = about(&bench, &of_the_future, second);
    let error = retire(&bench, &stale).unwrap_err();
    assert!(error.to_string().contains("set back"), "{error}");
    retire(&bench, &good).unwrap();
}

#[test]
fn a_time_that_is_right_is_not_corrected() {
    let bench = Bench::new();
    let key = rotated(&bench);
    let revision = bench.run(bench.inventory.revision()).unwrap();
    let refused = bench
        .run(correct_clock(&bench.reader(false), &bench.authority, "x", "x"))
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::LifecycleRefused);
    assert_eq!(bench.run(bench.inventory.revision()).unwrap(), revision);
    assert_eq!(bench.state(key), State::Deprecated);
}

/// One scope does not verify.
#[derive(Debug)]
struct Broken(MemoryInventory, Scope);

#[async_trait]
impl InventoryLayer for Broken {
    fn inner(&self) -> &dyn Inventory {
        &self.0
    }

    async fn read(&self, scopes: &[Scope], nodes: &[NodePath]) -> Result<Snapshot> {
        if scopes.contains(&self.1) {
            return Err(Error::new(ErrorKind::InventoryInvalid).with_detail("it was changed"));
        }
        self.0.read(scopes, nodes).await
    }
}

#[test]
fn a_scope_that_does_not_verify_keeps_no_other_from_the_correction_of_the_clock() {
    let bench = Bench::new();
    let right: SystemTime = bench.runtime.wall_clock();
    bench.runtime.set_wall_clock(right + 365 * DAY);
    for scope in ["a", "b", "c"] {
        bench.key(scope, PLAIN);
    }
    bench.runtime.set_wall_clock(right);
    let bad: Scope = "b".parse().unwrap();
    let layer = Arc::new(Broken(bench.inventory.clone(), bad.clone()));
    let trust = Trust::new(bench.ring, bench.authority.public());
    let reader = Reader::new(trust, layer).with_runtime(Arc::new(bench.runtime.clone()));
    let corrected = bench
        .run(correct_clock(&reader, &bench.authority, "alice", "the battery"))
        .unwrap();
    assert_eq!(corrected.keys, 2);
    let [(scope, error)] = &corrected.problems[..] else {
        panic!("{corrected:?}")
    };
    assert_eq!((scope, error.kind()), (&bad, ErrorKind::InventoryInvalid));
    // Once it can be read, it is corrected, too.
    let rest = bench
        .run(correct_clock(
            &bench.reader(false),
            &bench.authority,
            "alice",
            "the battery",
        ))
        .unwrap();
    assert_eq!((rest.keys, rest.problems.len()), (1, 0));
}

#[test]
fn a_reason_that_no_history_takes_is_refused_before_anything_is_signed() {
    let bench = Bench::new();
    let right: SystemTime = bench.runtime.wall_clock();
    bench.runtime.set_wall_clock(right + 365 * DAY);
    let key = bench.key("/", PLAIN);
    bench.runtime.set_wall_clock(right);
    let revision = bench.run(bench.inventory.revision()).unwrap();
    let reader = bench.reader(false);
    let correct = |reason: &str| bench.run(correct_clock(&reader, &bench.authority, "alice", reason));
    for reason in ["two\nlines", &"x".repeat(901)] {
        assert_eq!(correct(reason).unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
    assert_eq!(bench.run(bench.inventory.revision()).unwrap(), revision);
    let longest = "x".repeat(900);
    assert_eq!(correct(&longest).unwrap().keys, 1);
    assert!(
        bench
            .record(key)
            .history
            .last()
            .unwrap()
            .reason
            .contains(&longest)
    );
}
