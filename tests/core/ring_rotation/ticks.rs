//! Ticks do what is due, once; verdicts only say it.

use std::time::{Duration, SystemTime};

use waxseal::ring::{Action, Inventory, Rollout, Scope, State, Target};
use waxseal::testing::{Fault, Method};
use waxseal::{ErrorKind, ring::RetireBy};

use super::bench::{Bench, DAY, VERSIONED};

#[test]
fn a_key_is_rotated_once_however_many_periods_have_passed() {
    let bench = Bench::with(|settings| settings.retire = RetireBy::OverlapEnd);
    bench.key("/", VERSIONED);
    let due = bench.active("/").next_rotation.unwrap();
    bench.runtime.advance(89 * DAY);
    let tick = bench.run(bench.admin().tick(None)).unwrap();
    assert_eq!((tick.done.len(), tick.next), (0, Some(due)));
    bench.runtime.advance(1000 * DAY);
    let tick = bench.run(bench.admin().tick(None)).unwrap();
    assert_eq!(tick.done.len(), 1);
    assert_eq!(
        bench.active("/").next_rotation.unwrap().since(bench.now()),
        90 * DAY
    );
    assert_eq!(tick.next.unwrap().since(bench.now()), DAY, "the overlap");
    let tick = bench.run(bench.admin().tick(None)).unwrap();
    assert_eq!(tick.done.len(), 0);
    assert_eq!(bench.versions(VERSIONED), 2);
    bench.runtime.advance(DAY);
    bench.run(bench.admin().tick(None)).unwrap();
    assert_eq!(bench.states("/"), [State::Retired, State::Active]);
}

#[test]
fn a_clock_that_jumps_back_undoes_nothing() {
    let bench = Bench::new();
    bench.key("/", VERSIONED);
    bench.runtime.advance(90 * DAY);
    bench.run(bench.admin().tick(None)).unwrap();
    let before = bench.active("/");
    bench.runtime.set_wall_clock(SystemTime::UNIX_EPOCH);
    assert!(bench.run(bench.admin().tick(None)).unwrap().done.is_empty());
    assert_eq!(bench.active("/"), before);
    let rotated = bench
        .run(
            bench
                .admin()
                .rotate(&Target::Scope(Scope::root()), Rollout::AtOnce, "x"),
        )
        .unwrap();
    let record = bench.record(rotated[0].key);
    assert!(record.created >= before.activated.unwrap());
}

#[test]
fn a_verdict_changes_nothing_and_says_what_a_tick_does() {
    let bench = Bench::with(|settings| settings.retire = RetireBy::OverlapEnd);
    for scope in ["a", "b", "c"] {
        bench.key(scope, VERSIONED);
    }
    let later = bench.now().saturating_add(90 * DAY);
    let revision = bench.run(bench.inventory.revision()).unwrap();
    let calls = bench.fakes.versioned.total();
    let verdict = bench.run(bench.admin().verdict(Some(later), None)).unwrap();
    assert_eq!(verdict.due.len(), 3);
    assert!(
        verdict
            .due
            .iter()
            .all(|due| due.action == Action::Rotate && due.hindered.is_none())
    );
    assert!(
        bench
            .run(bench.admin().verdict(None, None))
            .unwrap()
            .due
            .is_empty()
    );
    assert_eq!(bench.run(bench.inventory.revision()).unwrap(), revision);
    assert_eq!(bench.fakes.versioned.total(), calls);
    bench.runtime.advance(90 * DAY);
    assert_eq!(bench.run(bench.admin().tick(None)).unwrap().done.len(), 3);
}

#[test]
fn what_fails_for_one_key_does_not_keep_the_others_waiting() {
    let bench = Bench::new();
    for scope in ["a", "b", "c"] {
        bench.key(scope, VERSIONED);
    }
    bench.runtime.advance(90 * DAY);
    bench
        .fakes
        .versioned
        .script_for(Method::Rotate, Fault::Fails(ErrorKind::Denied));
    let tick = bench.run(bench.admin().tick(None)).unwrap();
    assert_eq!((tick.done.len(), tick.refused.len()), (2, 1), "{tick:?}");
    assert!(tick.refused[0].reason.contains("denied"));
}

/// Hundreds of keys wait for evidence for ever. They do not stand in front of what can be done.
#[test]
fn what_is_hindered_stands_in_nobodys_way() {
    let bench = Bench::new();
    for number in 0..300 {
        let scope = format!("s/{number}");
        let first = bench.key(&scope, VERSIONED);
        bench
            .run(bench.admin().rotate(&Target::Key(first), Rollout::AtOnce, "x"))
            .unwrap();
    }
    bench.runtime.advance(2 * DAY);
    bench.key("last", VERSIONED);
    bench.runtime.advance(88 * DAY - Duration::from_secs(1));
    let due = bench.run(bench.admin().verdict(None, None)).unwrap();
    assert_eq!(due.due.len(), 300);
    bench
        .run(bench.admin().report(
            waxseal::ring::Event::Policy,
            &Target::Scope("last".parse().unwrap()),
            "x",
        ))
        .unwrap();
    let tick = bench.run(bench.admin().tick(None)).unwrap();
    assert_eq!((tick.done.len(), tick.refused.len()), (1, 300));
}
