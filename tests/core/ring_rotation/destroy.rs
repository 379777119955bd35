//! Keys are destroyed slowly, with evidence, and can be saved.

use std::time::Duration;

use waxseal::ErrorKind;
use waxseal::envelope::KekRef;
use waxseal::key::{KekAdmin, KekState};
use waxseal::ring::{Grounds, KeySource, NewKey, RecordId, Rollout, Scope, State, Target};
use waxseal::testing::{Fault, Method};

use super::bench::{Bench, DAY, MINUTE, PLAIN, VERSIONED};
use super::retire::{nothing, refused, rotated};

/// A key that is being destroyed, after its cooling-off.
pub(super) fn cooled(bench: &Bench) -> RecordId {
    let key = retired(bench, "/");
    let good = nothing(bench, key, bench.now());
    bench.run(bench.admin().destroy(key, &good, "x")).unwrap();
    bench.runtime.advance(7 * DAY);
    key
}

/// A key of this scope that was retired, of the KEK without versions. Another one is active in its place.
pub(super) fn retired(bench: &Bench, scope: &str) -> RecordId {
    let first = bench.key(scope, PLAIN);
    bench
        .run(bench.admin().rotate(&Target::Key(first), Rollout::AtOnce, "x"))
        .unwrap();
    bench.runtime.advance(2 * DAY);
    bench
        .run(bench.admin().retire(first, Grounds::Force, "x"))
        .unwrap();
    first
}

/// The state of that KEK, as its backend says.
pub(super) fn at_backend(bench: &Bench) -> KekState {
    let kek = KekRef::new("vault-transit", "plain-orders", "").unwrap();
    bench.run(bench.fakes.plain.describe(&kek)).unwrap().state
}

fn new(scope: &str) -> NewKey {
    NewKey::new(scope.parse().unwrap(), KeySource::Existing(PLAIN.to_owned()))
}

#[test]
fn destroying_takes_evidence_time_and_the_backend() {
    let bench = Bench::new();
    let key = rotated(&bench, PLAIN);
    let (admin, kms) = (bench.admin(), &bench.fakes.plain);
    bench.runtime.advance(2 * DAY);
    let good = nothing(&bench, key, bench.now());
    let words = refused(bench.run(admin.destroy(key, &good, "x")));
    assert!(words.contains("deprecated does not become destroying"), "{words}");
    bench.run(admin.retire(key, Grounds::Force, "x")).unwrap();
    let good = nothing(&bench, key, bench.now());
    let mut bad = good.clone();
    bad.sole = 1;
    refused(bench.run(admin.destroy(key, &bad, "x")));
    bench.run(admin.destroy(key, &good, "x")).unwrap();
    bench.runtime.advance(6 * DAY);
    assert!(
        bench.run(admin.tick(None)).unwrap().done.is_empty(),
        "it cools off"
    );
    refused(bench.run(admin.attest_destroyed(key, "too early")));
    // Taken back, and begun again.
    assert_eq!(
        bench.run(admin.cancel_destroy(key, "wait")).unwrap().to,
        State::Retired
    );
    // Whoever has saved it had a reason.
    refused(bench.run(admin.destroy(key, &good, "x")));
    let good = nothing(&bench, key, bench.now());
    bench.run(admin.destroy(key, &good, "x")).unwrap();
    bench.runtime.advance(7 * DAY);
    assert_eq!(kms.count(Method::ScheduleDestroy), 0);
    // The answer is lost. Nobody tells it again before it is sure that this call is over, and then it is seen that it was told.
    kms.script_for(
        Method::ScheduleDestroy,
        Fault::LosesAnswer(ErrorKind::Unavailable),
    );
    let tick = bench.run(admin.tick(None)).unwrap();
    assert_eq!(tick.refused.len(), 1, "{tick:?}");
    let tick = bench.run(admin.tick(None)).unwrap();
    assert_eq!((tick.refused.len(), tick.done.len()), (0, 0), "{tick:?}");
    bench.runtime.advance(3 * MINUTE);
    assert_eq!(bench.run(admin.tick(None)).unwrap().done.len(), 1);
    assert_eq!(kms.count(Method::ScheduleDestroy), 1);
    let record = bench.record(key);
    assert!(record.destruction_told && record.state == State::Destroying);
    bench.runtime.advance(DAY);
    bench.run(admin.tick(None)).unwrap();
    let record = bench.record(key);
    assert_eq!(
        (record.state, record.destroyed.is_some()),
        (State::Destroyed, true)
    );
    assert_eq!(kms.count(Method::ScheduleDestroy), 1);
    assert_eq!(bench.run(admin.tick(None)).unwrap().done.len(), 0);
}

/// The backend called it off, and has enabled the KEK again: it opens what it opened before.
#[test]
fn what_the_backend_was_told_is_called_off_there() {
    let bench = Bench::new();
    let key = cooled(&bench);
    let admin = bench.admin();
    bench.run(admin.tick(None)).unwrap();
    assert_eq!(at_backend(&bench), KekState::PendingDestruction);
    let moved = bench.run(admin.cancel_destroy(key, "we need it")).unwrap();
    assert_eq!((moved.from, moved.to), (State::Destroying, State::Retired));
    assert_eq!(at_backend(&bench), KekState::Enabled);
    let record = bench.record(key);
    let last = record.history.last().unwrap();
    assert_eq!((last.reason.as_str(), last.to), ("we need it", State::Retired));
    assert!(!record.destruction_told && record.destruction_telling.is_none());
    bench.run(admin.reinstate(key, "x")).unwrap();
    bench.run(admin.reinstate(key, "x")).unwrap();
    assert_eq!(bench.active("/").id, key);
    assert_eq!(bench.run(admin.tick(None)).unwrap().refused.len(), 0);
}

#[test]
fn a_kek_that_was_disabled_before_stays_disabled_when_it_is_saved() {
    let bench = Bench::new();
    let key = cooled(&bench);
    let kek = KekRef::new("vault-transit", "plain-orders", "").unwrap();
    bench.run(bench.fakes.plain.disable(&kek)).unwrap();
    bench.run(bench.admin().tick(None)).unwrap();
    assert_eq!(at_backend(&bench), KekState::PendingDestruction);
    bench.run(bench.admin().cancel_destroy(key, "x")).unwrap();
    assert_eq!(at_backend(&bench), KekState::Disabled);
}

#[test]
fn a_backend_that_cannot_call_it_off_is_named_with_what_to_do() {
    let bench = Bench::new();
    let key = cooled(&bench);
    let (admin, kms) = (bench.admin(), &bench.fakes.plain);
    bench.run(admin.tick(None)).unwrap();
    let unsupported = ErrorKind::Unsupported { feature: "that" };
    kms.script_for(Method::CancelDestroy, Fault::Fails(unsupported));
    let words = refused(bench.run(admin.cancel_destroy(key, "we need it")));
    assert!(
        words.contains("own means") && words.contains("cancel here again"),
        "{words}"
    );
    // It is kept in mind: as soon as somebody has done it there, a tick goes on.
    assert_eq!(bench.state(key), State::Destroying);
    let kek = KekRef::new("vault-transit", "plain-orders", "").unwrap();
    bench.run(kms.cancel_destroy(&kek)).unwrap();
    let tick = bench.run(admin.tick(None)).unwrap();
    assert_eq!(
        (tick.done.len(), tick.done[0].to),
        (1, State::Retired),
        "{tick:?}"
    );
    assert_eq!(at_backend(&bench), KekState::Enabled);
    assert_eq!(bench.record(key).history.last().unwrap().reason, "we need it");
}

#[test]
fn what_is_destroyed_already_cannot_be_saved() {
    let bench = Bench::new();
    let key = cooled(&bench);
    bench.run(bench.admin().tick(None)).unwrap();
    bench.runtime.advance(DAY);
    let words = refused(bench.run(bench.admin().cancel_destroy(key, "too late")));
    assert!(words.contains("has destroyed"), "{words}");
    bench.run(bench.admin().tick(None)).unwrap();
    assert_eq!(bench.state(key), State::Destroyed);
}

/// Whoever saves a KEK at its backend is not overruled.
#[test]
fn a_kek_that_was_saved_at_its_backend_is_not_told_again() {
    let bench = Bench::new();
    let key = cooled(&bench);
    let (admin, kms) = (bench.admin(), &bench.fakes.plain);
    bench.run(admin.tick(None)).unwrap();
    let kek = KekRef::new("vault-transit", "plain-orders", "").unwrap();
    bench.run(kms.cancel_destroy(&kek)).unwrap();
    bench.runtime.advance(2 * DAY);
    let tick = bench.run(admin.tick(None)).unwrap();
    assert!(tick.refused[0].reason.contains("called it off there"), "{tick:?}");
    assert_eq!(kms.count(Method::ScheduleDestroy), 1);
    bench.run(admin.cancel_destroy(key, "so be it")).unwrap();
    assert_eq!(bench.state(key), State::Retired);
}

#[test]
fn a_backend_that_cannot_destroy_is_attested() {
    let bench = Bench::new();
    let key = cooled(&bench);
    let (admin, kms) = (bench.admin(), &bench.fakes.plain);
    let unsupported = ErrorKind::Unsupported {
        feature: "destroying",
    };
    kms.script_for(Method::ScheduleDestroy, Fault::Fails(unsupported));
    let tick = bench.run(admin.tick(None)).unwrap();
    assert!(tick.refused[0].reason.contains("attest"), "{tick:?}");
    assert!(bench.record(key).destruction_telling.is_none(), "nobody was told");
    // It cannot be found: perhaps these credentials do not see it.
    kms.script_for(Method::Describe, Fault::Fails(ErrorKind::KeyNotFound));
    bench.run(admin.tick(None)).unwrap();
    assert_eq!(bench.state(key), State::Destroying);
    // It is plainly there, whatever somebody attests.
    let words = refused(bench.run(admin.attest_destroyed(key, "I pulled the card")));
    assert!(words.contains("enabled"), "{words}");
    kms.script_for(Method::Describe, Fault::Fails(ErrorKind::Unavailable));
    let moved = bench
        .run(admin.attest_destroyed(key, "I pulled the card"))
        .unwrap();
    assert_eq!(moved.warnings.len(), 1, "nobody could be asked");
    let record = bench.record(key);
    assert_eq!(record.state, State::Destroyed);
    let said = &record.history.last().unwrap().reason;
    assert!(
        said.starts_with("I pulled the card") && said.contains("could not be asked"),
        "{said}"
    );
}

#[test]
fn a_kek_that_is_gone_is_attested_without_a_warning() {
    let bench = Bench::new();
    let key = cooled(&bench);
    bench
        .fakes
        .plain
        .script_for(Method::Describe, Fault::Fails(ErrorKind::KeyNotFound));
    let moved = bench
        .run(bench.admin().attest_destroyed(key, "shredded"))
        .unwrap();
    assert_eq!((moved.to, moved.warnings.len()), (State::Destroyed, 0));
    assert_eq!(bench.record(key).history.last().unwrap().reason, "shredded");
}

#[test]
fn a_kek_that_is_another_key_too_is_not_destroyed() {
    let bench = Bench::new();
    let other = bench.key("elsewhere", PLAIN);
    let key = rotated(&bench, PLAIN);
    let admin = bench.admin();
    bench.runtime.advance(2 * DAY);
    bench.run(admin.retire(key, Grounds::Force, "x")).unwrap();
    let good = nothing(&bench, key, bench.now());
    // Also if the index of the inventory does not know of it.
    for admin in [bench.admin(), bench.with_lying_index()] {
        let words = refused(bench.run(admin.destroy(key, &good, "x")));
        assert!(words.contains(&other.to_string()), "{words}");
    }
}

#[test]
fn a_kek_that_is_being_destroyed_cannot_be_registered_anywhere() {
    let bench = Bench::new();
    let key = retired(&bench, "/");
    let good = nothing(&bench, key, bench.now());
    bench.run(bench.admin().destroy(key, &good, "x")).unwrap();
    for admin in [bench.admin(), bench.with_lying_index()] {
        let words = refused(bench.run(admin.create(&new("elsewhere"))));
        assert!(words.contains(&key.to_string()), "{words}");
        refused(bench.run(admin.adopt(&new("elsewhere"), State::Deprecated)));
    }
    // Another KEK is not meant.
    bench.key("elsewhere", VERSIONED);
    bench.run(bench.admin().cancel_destroy(key, "x")).unwrap();
    bench.run(bench.admin().create(&new("third"))).unwrap();
}

/// Two scopes had one KEK, and both are done with it: the backend is told when both are being destroyed, and both end.
#[test]
fn a_kek_that_two_retired_keys_share_is_destroyed_with_both() {
    let bench = Bench::new();
    let (first, second) = (retired(&bench, "a"), retired(&bench, "b"));
    let (admin, kms) = (bench.admin(), &bench.fakes.plain);
    let begin = |key: RecordId, digest: &str| {
        let mut evidence = nothing(&bench, key, bench.now());
        evidence.digest = digest.repeat(32);
        bench.run(admin.destroy(key, &evidence, "x")).unwrap()
    };
    let moved = begin(first, "01");
    assert!(
        moved.warnings[0].to_string().contains(&second.to_string()),
        "{moved:?}"
    );
    bench.runtime.advance(7 * DAY);
    let tick = bench.run(admin.tick(None)).unwrap();
    assert!(tick.refused[0].reason.contains(&second.to_string()), "{tick:?}");
    assert_eq!(kms.count(Method::ScheduleDestroy), 0);
    // The second cools off for itself.
    assert!(begin(second, "02").warnings.is_empty());
    let tick = bench.run(admin.tick(None)).unwrap();
    assert_eq!((tick.refused.len(), kms.count(Method::ScheduleDestroy)), (1, 0));
    bench.runtime.advance(7 * DAY);
    bench.run(admin.tick(None)).unwrap();
    assert_eq!(kms.count(Method::ScheduleDestroy), 1);
    assert!(bench.record(first).destruction_told && bench.record(second).destruction_told);

    // One of them is saved: then the other waits again.
    bench.run(admin.cancel_destroy(second, "wait")).unwrap();
    assert_eq!(at_backend(&bench), KekState::Enabled);
    assert_eq!(bench.state(second), State::Retired);
    assert!(!bench.record(first).destruction_told);
    bench.runtime.advance(30 * DAY);
    let tick = bench.run(admin.tick(None)).unwrap();
    assert!(tick.refused[0].reason.contains(&second.to_string()), "{tick:?}");
    assert_eq!(at_backend(&bench), KekState::Enabled);

    begin(second, "03");
    bench.runtime.advance(7 * DAY);
    bench.run(admin.tick(None)).unwrap();
    bench.runtime.advance(DAY);
    bench.run(admin.tick(None)).unwrap();
    for (key, digest) in [(first, "01"), (second, "03")] {
        let record = bench.record(key);
        assert_eq!(record.state, State::Destroyed);
        let evidence = record.history.iter().rev().find_map(|made| made.evidence.clone());
        assert_eq!(evidence, Some(digest.repeat(32)));
    }
}

#[test]
fn a_key_of_a_disabled_kek_is_not_reinstated() {
    let bench = Bench::new();
    let key = retired(&bench, "/");
    let kek = KekRef::new("vault-transit", "plain-orders", "").unwrap();
    let (admin, kms) = (bench.admin(), &bench.fakes.plain);
    bench.run(kms.disable(&kek)).unwrap();
    let words = refused(bench.run(admin.reinstate(key, "x")));
    assert!(
        words.contains("disabled") && words.contains("enable it there"),
        "{words}"
    );
    assert_eq!(bench.state(key), State::Retired);
    bench.run(kms.enable(&kek)).unwrap();
    bench.run(admin.reinstate(key, "x")).unwrap();
    bench.run(kms.disable(&kek)).unwrap();
    refused(bench.run(admin.reinstate(key, "x")));
    assert_eq!(bench.state(key), State::Deprecated);
}

/// The KEK was there before the ring, and is there after it was taken back.
#[test]
fn a_kek_that_was_taken_back_can_be_registered_again() {
    let bench = Bench::new();
    bench.key("/", VERSIONED);
    let admin = bench.admin();
    let waiting = bench.key("/", PLAIN);
    bench.run(admin.take_back(waiting, "not yet")).unwrap();
    let record = bench.record(waiting);
    assert!(record.taken_back && record.destroyed.is_none());
    assert_eq!(bench.fakes.plain.count(Method::ScheduleDestroy), 0);
    let again = bench.run(admin.create(&new("/"))).unwrap();
    assert_eq!(again.to, State::Pending);
    bench.run(admin.promote(again.key, "now")).unwrap();
    assert_eq!(bench.active("/").provenance.id, "plain-orders");
    // A key that has wrapped is not out of the ring.
    let scope = Target::Scope(Scope::root());
    let canary = bench.run(admin.rotate(&scope, Rollout::Canary(10), "x")).unwrap()[0].key;
    bench.run(admin.take_back(canary, "x")).unwrap();
    assert!(!bench.record(canary).taken_back);
}

/// However often a key was moved, it can come to its end.
#[test]
fn no_history_is_so_long_that_a_key_cannot_end() {
    let bench = Bench::with(|settings| settings.cooling_off = "PT1S".parse().unwrap());
    let first = bench.key("/", PLAIN);
    let admin = bench.admin();
    let second = bench
        .run(admin.rotate(&Target::Key(first), Rollout::AtOnce, "x"))
        .unwrap()[0]
        .key;
    let mut turns = 0;
    let error = loop {
        turns += 1;
        assert!(turns < 1000);
        let back = match bench.state(first) {
            State::Active => second,
            _ => first,
        };
        match bench.run(admin.reinstate(back, "again")) {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(error.kind(), ErrorKind::OverLimit { .. }), "{error}");
    let (old, active) = match bench.state(first) {
        State::Deprecated => (first, second),
        _ => (second, first),
    };
    // The one that is active is rotated once more, and ends like the other.
    bench
        .run(admin.rotate(&Target::Key(active), Rollout::AtOnce, "x"))
        .unwrap();
    bench.runtime.advance(2 * DAY);
    for key in [old, active] {
        bench.run(admin.retire(key, Grounds::Force, "x")).unwrap();
        // And can be saved, as long as there is room to destroy it again.
        let mut saved = 0;
        loop {
            let good = nothing(&bench, key, bench.now());
            bench.run(admin.destroy(key, &good, "x")).unwrap();
            bench.runtime.advance(Duration::from_secs(2));
            if bench.run(admin.cancel_destroy(key, "x")).is_err() {
                break;
            }
            saved += 1;
        }
        assert!(saved > 3, "{saved}");
        bench.run(admin.tick(None)).unwrap();
        assert!(bench.record(key).destruction_told, "{key}");
        bench.runtime.advance(2 * DAY);
        bench.run(admin.tick(None)).unwrap();
        assert_eq!(bench.state(key), State::Destroyed);
    }
}
