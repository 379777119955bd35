//! Keys are created, adopted, rotated, promoted, taken back and reinstated.

use waxseal::ErrorKind;
use waxseal::ring::{Event, KeySource, NewKey, Preset, Rollout, Scope, State, Target};
use waxseal::testing::{Fault, Method};

use super::bench::{Bench, DAY, PLAIN, VERSIONED, path};
use State::{Active, Deprecated, Destroyed, Pending, Retired};

fn slot_of(scope: &str) -> Target {
    Target::Scope(scope.parse().unwrap())
}

#[test]
fn an_inventory_takes_one_ring() {
    let bench = Bench::new();
    let again = waxseal::ring::RingAdmin::init_with_runtime(
        &bench.inventory,
        &bench.runtime,
        &bench.authority,
        "bob",
        |_| {},
    );
    let error = bench.run(again).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
}

#[test]
fn the_first_key_is_active_and_the_second_waits() {
    let bench = Bench::new();
    let first = bench.key("/", VERSIONED);
    let record = bench.record(first);
    assert_eq!(path(&record), [Pending, Active]);
    assert_eq!(
        (record.provenance.id.as_str(), record.provenance.version.as_str()),
        ("orders", "1")
    );
    assert_eq!(record.next_rotation.unwrap().since(bench.now()), 90 * DAY);
    assert_eq!(record.history[1].actor, "alice");

    let second = bench.key("/", PLAIN);
    assert_eq!(
        bench.record(second).provenance.version,
        "",
        "an unwrap proves none"
    );
    assert_eq!(bench.states("/"), [Active, Pending]);
    // Nobody promotes it but a person.
    let tick = bench.run(bench.admin().tick(None)).unwrap();
    assert!(tick.done.is_empty() && tick.refused.is_empty(), "{tick:?}");
    bench.run(bench.admin().promote(second, "it is time")).unwrap();
    assert_eq!(bench.states("/"), [Deprecated, Active]);
    let (first, second) = (bench.record(first), bench.record(second));
    assert_eq!(
        (first.successor, second.predecessor),
        (Some(second.id), Some(first.id))
    );
    assert_eq!(first.retirement_due.unwrap().since(bench.now()), DAY);

    // The same KEK a second time.
    let new = NewKey::new(Scope::root(), KeySource::Existing(PLAIN.to_owned()));
    let error = bench.run(bench.admin().create(&new)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LifecycleRefused, "{error}");
}

#[test]
fn a_kek_that_does_not_open_what_it_wraps_never_becomes_a_key() {
    let bench = Bench::new();
    bench.fakes.versioned.script_for(Method::Unwrap, Fault::WrongDek);
    let new = NewKey::new(Scope::root(), KeySource::Existing(VERSIONED.to_owned()));
    let error = bench.run(bench.admin().create(&new)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidAnswer);
    assert!(bench.states("/").is_empty());
    // Nor does one that may not be asked about.
    bench
        .fakes
        .versioned
        .script_for(Method::Describe, Fault::Fails(ErrorKind::Denied));
    assert_eq!(
        bench.run(bench.admin().create(&new)).unwrap_err().kind(),
        ErrorKind::Denied
    );
    assert!(bench.states("/").is_empty());
}

#[test]
fn a_kek_is_made_where_another_one_is() {
    let bench = Bench::with(|settings| settings.preset = Some(Preset::BaselineProd));
    let mut new = NewKey::new("t/a".parse().unwrap(), KeySource::MadeBeside(PLAIN.to_owned()));
    new.labels.insert("kind".to_owned(), "signing".to_owned());
    let made = bench.run(bench.admin().create(&new)).unwrap();
    assert_eq!(made.to, Active);
    let record = bench.record(made.key);
    assert_eq!(record.provenance.id, format!("waxseal-{}", record.id));
    assert_eq!(record.cadence.to_string(), "P90D");
    assert!(bench.view("t/a").intents(&new.scope).is_empty());

    // Beside an active key it waits for somebody.
    let second = bench.run(bench.admin().create(&new)).unwrap();
    bench.run(bench.admin().tick(None)).unwrap();
    assert_eq!((second.to, bench.state(second.key)), (Pending, Pending));

    new.labels.clear();
    new.scope = "t/b".parse().unwrap();
    let made = bench.run(bench.admin().create(&new)).unwrap();
    assert_eq!(bench.record(made.key).cadence.to_string(), "P1Y");
}

#[test]
fn each_version_of_an_adopted_kek_becomes_a_key() {
    let bench = Bench::new();
    bench.fakes.versioned.rotate_now();
    bench.fakes.versioned.rotate_now();
    let new = NewKey::new(Scope::root(), KeySource::Existing(VERSIONED.to_owned()));
    let keys = bench.run(bench.admin().adopt(&new, Active)).unwrap();
    let versions: Vec<_> = keys.iter().map(|key| key.provenance.version.as_str()).collect();
    assert_eq!(versions, ["3", "2", "1"]);
    assert_eq!(
        bench.states("/"),
        [Deprecated, Deprecated, Active],
        "the oldest first"
    );
    assert!(keys.iter().all(|key| key.has_wrapped));
    assert_eq!(keys[0].predecessor, Some(keys[1].id));

    let new = NewKey::new(Scope::root(), KeySource::Existing(PLAIN.to_owned()));
    let error = bench.run(bench.admin().adopt(&new, Active)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LifecycleRefused);
    bench.run(bench.admin().adopt(&new, Deprecated)).unwrap();
    for state in [Pending, Retired, Destroyed] {
        let error = bench.run(bench.admin().adopt(&new, state)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
}

#[test]
fn a_rotation_makes_a_version_where_unwraps_prove_it_and_else_a_kek() {
    for (uri, is_versioned) in [(VERSIONED, true), (PLAIN, false)] {
        let bench = Bench::new();
        let first = bench.key("/", uri);
        let rotated = bench
            .run(bench.admin().rotate(&slot_of("/"), Rollout::AtOnce, "by hand"))
            .unwrap();
        let [rotated] = rotated.as_slice() else {
            panic!("{rotated:?}")
        };
        assert_eq!((rotated.state, rotated.predecessor), (Active, first));
        assert!(rotated.hindered.is_none() && rotated.orphans.is_empty());
        assert_eq!(bench.states("/"), [Deprecated, Active]);
        let new = bench.record(rotated.key);
        assert_eq!(path(&new), [Pending, Active]);
        assert_eq!(new.history[1].reason, "by hand");
        match is_versioned {
            true => assert_eq!(new.provenance.version, "2"),
            false => {
                assert_eq!(new.provenance.id, format!("waxseal-{}", new.id));
                assert_eq!(bench.fakes.made.lock().unwrap().len(), 1);
            }
        }
        assert!(bench.view("/").intents(&Scope::root()).is_empty());
        // Only what is active can be rotated.
        let error = bench
            .run(
                bench
                    .admin()
                    .rotate(&Target::Key(first), Rollout::AtOnce, "again"),
            )
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LifecycleRefused);
    }
}

#[test]
fn scopes_that_share_a_kek_never_share_a_version() {
    let bench = Bench::new();
    for scope in ["a", "b", "c"] {
        bench.key(scope, VERSIONED);
        let target = slot_of(scope);
        let rotated = bench
            .run(bench.admin().rotate(&target, Rollout::AtOnce, "x"))
            .unwrap();
        assert!(rotated[0].orphans.is_empty(), "what others have is no orphan");
    }
    let mut versions: Vec<_> = ["a", "b", "c"]
        .map(|scope| bench.active(scope).provenance.version.clone())
        .into();
    versions.sort();
    versions.dedup();
    assert_eq!(versions.len(), 3, "{versions:?}");
}

#[test]
fn staged_and_canary_keys_wait_for_somebody() {
    for rollout in [Rollout::Staged, Rollout::Canary(10)] {
        let bench = Bench::new();
        bench.key("/", VERSIONED);
        let rotated = bench
            .run(bench.admin().rotate(&slot_of("/"), rollout, "x"))
            .unwrap();
        assert_eq!(bench.states("/"), [Active, Pending]);
        let key = bench.record(rotated[0].key);
        let is_canary = rollout != Rollout::Staged;
        assert_eq!(
            (key.canary.map(|canary| canary.percent), key.has_wrapped),
            (is_canary.then_some(10), is_canary)
        );
        // A second one has no place, nor does a scheduled one.
        bench.runtime.advance(91 * DAY);
        let error = bench
            .run(bench.admin().rotate(&slot_of("/"), Rollout::AtOnce, "x"))
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LifecycleRefused);
        let tick = bench.run(bench.admin().tick(None)).unwrap();
        assert!(tick.done.is_empty());
        assert!(tick.refused[0].reason.contains(&key.id.to_string()), "{tick:?}");

        // Taken back: what has wrapped must go on opening.
        let back = bench.run(bench.admin().take_back(key.id, "it fails")).unwrap();
        assert_eq!(back.to, if is_canary { Deprecated } else { Destroyed });
        assert_eq!(bench.active("/").successor, None);
        // The rotation that was due all the time.
        let tick = bench.run(bench.admin().tick(None)).unwrap();
        assert_eq!(tick.done.len(), 1, "{tick:?}");
        assert_eq!(bench.active("/").provenance.version, "3");
    }
}

#[test]
fn a_promotion_can_be_undone_and_done_again() {
    let bench = Bench::new();
    let first = bench.key("/", VERSIONED);
    let rotated = bench
        .run(bench.admin().rotate(&slot_of("/"), Rollout::Canary(5), "x"))
        .unwrap();
    let second = rotated[0].key;
    bench
        .run(bench.admin().set_canary(second, Some(50), "wider"))
        .unwrap();
    assert_eq!(bench.record(second).canary.unwrap().percent, 50);
    bench.run(bench.admin().promote(second, "good")).unwrap();
    assert_eq!(bench.record(second).canary, None);
    bench.run(bench.admin().reinstate(first, "not good")).unwrap();
    assert_eq!(bench.states("/"), [Active, Deprecated]);
    let old = bench.record(first);
    assert_eq!(
        (old.deprecated.is_some(), old.retirement_due, old.successor),
        (true, None, None)
    );
    bench
        .run(bench.admin().reinstate(second, "good after all"))
        .unwrap();
    assert_eq!(bench.states("/"), [Deprecated, Active]);
    assert_eq!(
        path(&bench.record(first)),
        [Pending, Active, Deprecated, Active, Deprecated]
    );
    // What is active needs no reinstatement, and what is pending is promoted.
    let error = bench.run(bench.admin().reinstate(second, "x")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LifecycleRefused);
    let error = bench.run(bench.admin().promote(second, "x")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LifecycleRefused);
}

#[test]
fn an_event_makes_a_rotation_due_now() {
    let bench = Bench::new();
    let first = bench.key("/", VERSIONED);
    let due = bench
        .run(
            bench
                .admin()
                .report(Event::Personnel, &slot_of("/"), "bob has left"),
        )
        .unwrap();
    assert_eq!(due, [first]);
    let verdict = bench.run(bench.admin().verdict(None, None)).unwrap();
    assert_eq!(verdict.due.len(), 1);
    bench.run(bench.admin().tick(None)).unwrap();
    assert_eq!(bench.states("/"), [Deprecated, Active]);
    assert_eq!(bench.active("/").history[1].reason, "personnel: bob has left");
}

/// Who reports twice reports once: a history is not endless.
#[test]
fn an_event_of_a_key_that_is_due_changes_nothing() {
    let bench = Bench::new();
    let first = bench.key("/", VERSIONED);
    let (admin, target) = (bench.admin(), slot_of("/"));
    let report = || {
        let reported = admin.report(Event::Policy, &target, "we look again");
        assert_eq!(bench.run(reported).unwrap(), [first]);
    };
    report();
    let (moves, due) = (
        bench.record(first).history.len(),
        bench.record(first).next_rotation,
    );
    for _ in 0..600 {
        report();
    }
    assert_eq!(bench.record(first).history.len(), moves);
    assert_eq!(bench.record(first).next_rotation, due);
    bench.run(bench.admin().tick(None)).unwrap();
    assert_eq!(bench.states("/"), [Deprecated, Active]);
}

/// All of them are begun, or none.
#[test]
fn several_targets_are_rotated_together_or_not_at_all() {
    let bench = Bench::new();
    for scope in ["a", "b", "c"] {
        bench.key(scope, VERSIONED);
    }
    let waiting = bench.rotate(&slot_of("c"), Rollout::Staged);
    let versions = bench.versions(VERSIONED);
    for bad in ["c", "nowhere"] {
        let targets = [slot_of("a"), slot_of("b"), slot_of(bad)];
        bench
            .run(bench.admin().rotate_all(&targets, Rollout::AtOnce, "x"))
            .unwrap_err();
        assert_eq!(
            (bench.states("a"), bench.states("b")),
            (vec![Active], vec![Active])
        );
        assert_eq!(bench.versions(VERSIONED), versions, "{bad}");
        assert!(bench.view("a").intents(&"a".parse().unwrap()).is_empty());
    }
    bench.run(bench.admin().take_back(waiting, "x")).unwrap();
    // One fails half way: it is named, the others are done, and a tick does the rest. A scope that is named twice is one.
    let targets = [slot_of("a"), slot_of("b"), slot_of("a"), slot_of("c")];
    bench
        .fakes
        .versioned
        .script_for(Method::Rotate, Fault::Fails(ErrorKind::Unavailable));
    let rotation = bench
        .run(bench.admin().rotate_all(&targets, Rollout::AtOnce, "x"))
        .unwrap();
    assert_eq!(
        (rotation.rotated.len(), rotation.unfinished.len()),
        (2, 1),
        "{rotation:?}"
    );
    let unfinished = &rotation.unfinished[0];
    assert_eq!(
        (unfinished.scope.as_str(), unfinished.error.kind()),
        ("a", ErrorKind::Unavailable)
    );
    assert_eq!(bench.states("b"), [Deprecated, Active]);
    bench.runtime.advance(super::bench::MINUTE * 3);
    bench.run(bench.admin().tick(None)).unwrap();
    assert_eq!(bench.states("a"), [Deprecated, Active]);
    assert_eq!(bench.active("a").id, unfinished.key);
}
