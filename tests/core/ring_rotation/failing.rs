//! Backends that fail, and what they leave behind.

use std::time::Duration;

use waxseal::ErrorKind;
use waxseal::ring::{Action, IntentStep, Rollout, Scope, State, Target};
use waxseal::testing::{Fault, Method};

use super::bench::{Bench, MINUTE, PLAIN, VERSIONED};

fn root() -> Target {
    Target::Scope(Scope::root())
}

/// Each call of a backend, each way to fail: afterwards there is one successor, and nothing half done.
#[test]
fn whatever_call_fails_a_later_tick_ends_the_rotation() {
    let faults = || {
        [
            Fault::Fails(ErrorKind::Unavailable),
            Fault::Fails(ErrorKind::Denied),
            Fault::LosesAnswer(ErrorKind::TimedOut),
        ]
    };
    for (uri, make) in [(VERSIONED, Method::Rotate), (PLAIN, Method::Create)] {
        for method in [make, Method::Describe, Method::Wrap, Method::Unwrap] {
            for fault in faults() {
                let case = format!("{uri} {method:?} {fault:?}");
                let bench = Bench::new();
                bench.key("/", uri);
                let kms = bench.fakes.manager(uri);
                kms.script_for(method, fault);
                let first = bench.run(bench.admin().rotate(&root(), Rollout::AtOnce, "x"));
                kms.heal();
                // What was only seen, and nothing begun, is not done later on its own.
                let is_begun = !bench.view("/").intents(&Scope::root()).is_empty();
                let is_made = bench.states("/").len() == 2;
                assert!(first.is_err() || is_made, "{case}");
                bench.runtime.advance(3 * MINUTE);
                let tick = bench.run(bench.admin().tick(None)).unwrap();
                assert!(
                    tick.refused.is_empty() && tick.orphans.is_empty(),
                    "{case}: {tick:?}"
                );
                if is_begun || is_made {
                    assert_eq!(bench.states("/"), [State::Deprecated, State::Active], "{case}");
                } else {
                    assert_eq!(bench.states("/"), [State::Active], "{case}");
                }
                assert!(bench.view("/").intents(&Scope::root()).is_empty(), "{case}");
                let versions = if is_begun || is_made { 2 } else { 1 };
                match uri {
                    VERSIONED => assert_eq!(bench.versions(uri), versions, "{case}"),
                    _ => assert!(bench.fakes.made.lock().unwrap().len() < 2, "{case}"),
                }
                assert!(
                    bench
                        .run(bench.admin().orphans(&Scope::root()))
                        .unwrap()
                        .is_empty(),
                    "{case}"
                );
            }
        }
    }
}

#[test]
fn a_key_that_fails_its_probe_is_not_promoted() {
    let bench = Bench::new();
    bench.key("/", VERSIONED);
    let kms = &bench.fakes.versioned;
    for fault in [
        Fault::WrongDek,
        Fault::OtherKek("orders-2".to_owned()),
        Fault::GarbageWrap,
    ] {
        kms.script_for(Method::Wrap, fault.clone());
        match bench.states("/").len() {
            1 => {
                let rotated = bench
                    .run(bench.admin().rotate(&root(), Rollout::AtOnce, "x"))
                    .unwrap();
                assert!(rotated[0].hindered.is_some(), "{fault:?}");
            }
            _ => assert_eq!(
                bench.run(bench.admin().tick(None)).unwrap().refused.len(),
                1,
                "{fault:?}"
            ),
        }
        assert_eq!(bench.states("/"), [State::Active, State::Pending], "{fault:?}");
    }
    bench.run(bench.admin().tick(None)).unwrap();
    assert_eq!(bench.states("/"), [State::Deprecated, State::Active]);
}

/// A canary wraps as soon as it is in the ring, so it is probed before.
#[test]
fn a_canary_that_fails_its_probe_never_wraps() {
    let bench = Bench::new();
    bench.key("/", VERSIONED);
    bench.fakes.versioned.script_for(Method::Unwrap, Fault::WrongDek);
    let error = bench
        .run(bench.admin().rotate(&root(), Rollout::Canary(10), "x"))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidAnswer);
    assert_eq!(bench.states("/"), [State::Active]);
    bench.runtime.advance(3 * MINUTE);
    bench.run(bench.admin().tick(None)).unwrap();
    assert_eq!(bench.states("/"), [State::Active, State::Pending]);
    assert_eq!(bench.versions(VERSIONED), 2);
}

#[test]
fn nobody_interferes_while_a_lease_runs_and_anybody_goes_on_afterwards() {
    let bench = Bench::new();
    let first = bench.key("/", VERSIONED);
    bench
        .fakes
        .versioned
        .script_for(Method::Rotate, Fault::Fails(ErrorKind::Unavailable));
    let failed = bench.run(bench.admin().rotate(&root(), Rollout::Staged, "x"));
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::Unavailable);
    let view = bench.view("/");
    let [intent] = view.intents(&Scope::root()) else {
        panic!("one is there")
    };
    assert_eq!((intent.predecessor, intent.fence), (Some(first), 1));
    assert_eq!(
        intent.step,
        IntentStep::NewVersion {
            newest: "1".to_owned()
        }
    );

    let error = bench
        .run(bench.admin().rotate(&root(), Rollout::AtOnce, "y"))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(bench.run(bench.admin().tick(None)).unwrap().done.is_empty());
    let error = bench.run(bench.admin().abandon(intent.id, "x")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    bench.runtime.advance(Duration::from_secs(120));
    let tick = bench.run(bench.admin().tick(None)).unwrap();
    assert_eq!(
        (tick.done.len(), tick.done[0].action),
        (1, Action::Recover),
        "{tick:?}"
    );
    // As it was begun: it stays pending.
    assert_eq!(bench.states("/"), [State::Active, State::Pending]);
    assert_eq!(bench.versions(VERSIONED), 2);
}

#[test]
fn what_was_given_up_and_what_others_made_is_an_orphan_and_never_used() {
    let bench = Bench::new();
    bench.key("/", VERSIONED);
    let kms = &bench.fakes.versioned;
    // It was made, and nobody heard of it.
    kms.script_for(Method::Rotate, Fault::LosesAnswer(ErrorKind::Unavailable));
    bench
        .run(bench.admin().rotate(&root(), Rollout::AtOnce, "x"))
        .unwrap_err();
    let intent = bench.view("/").intents(&Scope::root())[0].id;
    bench.runtime.advance(3 * MINUTE);
    bench
        .run(bench.admin().abandon(intent, "the backend moves"))
        .unwrap();
    bench.run(bench.admin().abandon(intent, "twice")).unwrap();
    assert!(bench.run(bench.admin().tick(None)).unwrap().done.is_empty());
    let orphans = bench.run(bench.admin().orphans(&Scope::root())).unwrap();
    assert_eq!(orphans.len(), 2, "{orphans:?}");
    assert_eq!(
        (orphans[0].intent, orphans[0].kek.as_str()),
        (Some(intent), "orders")
    );
    assert_eq!((orphans[1].intent, orphans[1].version.as_str()), (None, "2"));

    // Somebody beside the ring makes another one between the look and the rotation's answer.
    let rotated = bench
        .run(bench.admin().rotate(&root(), Rollout::AtOnce, "x"))
        .unwrap();
    assert_eq!(
        bench.record(rotated[0].key).provenance.version,
        "3",
        "not the orphan"
    );
    let orphans = bench.run(bench.admin().orphans(&Scope::root())).unwrap();
    assert_eq!(orphans.iter().filter(|orphan| orphan.version == "2").count(), 1);
    assert_eq!(orphans.len(), 2);
}
