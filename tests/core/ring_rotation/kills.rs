//! Processes die between any two steps, and race.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use waxseal::ErrorKind;
use waxseal::ring::{Inventory, KeySource, NewKey, Rollout, Scope, State, Target, Tick};

use super::bench::{Bench, DAY, MINUTE, PLAIN, VERSIONED, path};

/// Polls a future so many times, and drops it. `None` if it did not end.
fn run_until<T>(work: impl Future<Output = T>, polls: usize) -> Option<T> {
    let mut work = pin!(work);
    for _ in 0..polls {
        if let Poll::Ready(done) = work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return Some(done);
        }
    }
    None
}

/// Ticks until nothing is to be done anymore.
fn settle(bench: &Bench) -> Vec<Tick> {
    let mut ticks = Vec::new();
    for _ in 0..4 {
        bench.runtime.advance(3 * MINUTE);
        ticks.push(bench.run(bench.admin().tick(None)).unwrap());
    }
    ticks
}

/// One rotation was done: at the inventory, at the backend, and nothing is half done.
fn check_once(bench: &Bench, uri: &str, case: &str) {
    assert_eq!(bench.states("/"), [State::Deprecated, State::Active], "{case}");
    assert!(bench.view("/").intents(&Scope::root()).is_empty(), "{case}");
    match uri {
        VERSIONED => assert_eq!(bench.versions(uri), 2, "{case}"),
        _ => assert_eq!(bench.fakes.made.lock().unwrap().len(), 1, "{case}"),
    }
    let active = bench.active("/");
    assert_eq!(path(&active), [State::Pending, State::Active], "{case}");
    assert_eq!(
        bench.record(active.predecessor.unwrap()).successor,
        Some(active.id),
        "{case}"
    );
    assert!(
        bench
            .run(bench.admin().orphans(&Scope::root()))
            .unwrap()
            .is_empty(),
        "{case}"
    );
}

#[test]
fn a_rotation_that_is_killed_anywhere_happens_once() {
    for uri in [VERSIONED, PLAIN] {
        let mut was_killed = 0;
        for polls in 1.. {
            let bench = Bench::new();
            bench.key("/", uri);
            bench.runtime.advance(90 * DAY);
            let done = run_until(bench.stopping().tick(None), polls);
            settle(&bench);
            check_once(&bench, uri, &format!("{uri} after {polls}"));
            if done.is_some() {
                break;
            }
            was_killed = polls;
        }
        assert!(was_killed > 30, "{uri}: only {was_killed} places");
    }
}

/// Those who recover are killed, too.
#[test]
fn a_recovery_that_is_killed_anywhere_happens_once() {
    for uri in [VERSIONED, PLAIN] {
        for first in [12, 20, 28] {
            for polls in 1.. {
                let bench = Bench::new();
                bench.key("/", uri);
                bench.runtime.advance(90 * DAY);
                run_until(bench.stopping().tick(None), first);
                bench.runtime.advance(3 * MINUTE);
                let done = run_until(bench.stopping().tick(None), polls);
                settle(&bench);
                check_once(&bench, uri, &format!("{uri} after {first} and {polls}"));
                if done.is_some() {
                    break;
                }
            }
        }
    }
}

/// One stands still at any step, the other ticks at once or after the lease, and then the first goes on with what it holds.
#[test]
fn two_that_race_at_any_step_rotate_once() {
    for (uri, is_late) in [
        (VERSIONED, false),
        (VERSIONED, true),
        (PLAIN, false),
        (PLAIN, true),
    ] {
        for polls in 1.. {
            let case = format!("{uri} late {is_late} after {polls}");
            let bench = Bench::new();
            bench.key("/", uri);
            bench.runtime.advance(90 * DAY);
            let slow = bench.stopping();
            let mut work = pin!(slow.tick(None));
            let mut is_done = false;
            for _ in 0..polls {
                let polled = work.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                is_done = polled.is_ready();
                if is_done {
                    break;
                }
            }
            if is_late {
                bench.runtime.advance(3 * MINUTE);
            }
            let fast = bench.run(bench.admin().tick(None)).unwrap();
            assert!(fast.refused.is_empty(), "{case}: {fast:?}");
            if !is_done {
                let tick = bench.run(work).unwrap();
                assert!(tick.orphans.is_empty(), "{case}: {tick:?}");
                // A race that was lost is no refusal.
                assert!(tick.refused.is_empty(), "{case}: {tick:?}");
            }
            settle(&bench);
            check_once(&bench, uri, &case);
            if is_done {
                break;
            }
        }
    }
}

#[test]
fn a_key_that_is_made_is_made_once_wherever_it_is_killed() {
    for polls in 1.. {
        let bench = Bench::new();
        let new = NewKey::new(Scope::root(), KeySource::MadeBeside(PLAIN.to_owned()));
        let done = run_until(bench.stopping().create(&new), polls);
        settle(&bench);
        let states = bench.states("/");
        let made = bench.fakes.made.lock().unwrap().len();
        assert!(bench.view("/").intents(&Scope::root()).is_empty());
        match states.as_slice() {
            [] => assert_eq!(made, 0, "nothing was begun after {polls}"),
            [State::Active] => assert_eq!(made, 1, "after {polls}"),
            states => panic!("{states:?} after {polls}"),
        }
        if let Some(done) = done {
            done.unwrap();
            break;
        }
    }
}

/// Who was taken over from changes nothing, and says so.
#[test]
fn an_old_fence_opens_nothing() {
    let bench = Bench::new();
    bench.key("/", VERSIONED);
    let slow = bench.stopping();
    let target = Target::Scope(Scope::root());
    let mut work = pin!(slow.rotate(&target, Rollout::AtOnce, "slow"));
    // Until the backend has made the version.
    for _ in 0..1000 {
        assert!(
            work.as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_pending()
        );
        if bench.versions(VERSIONED) == 2 {
            break;
        }
    }
    let view = bench.view("/");
    let intent = view.intents(&Scope::root())[0].id;
    bench.runtime.advance(3 * MINUTE);
    bench.run(bench.admin().abandon(intent, "it hangs")).unwrap();
    let before = bench.run(bench.inventory.revision()).unwrap();
    let error = bench.run(work).unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Conflict | ErrorKind::TimedOut),
        "{error}"
    );
    assert_eq!(bench.run(bench.inventory.revision()).unwrap(), before);
    assert_eq!(bench.states("/"), [State::Active]);
}

/// One stands still after the backend's answer, another has taken over and stands still, too. The first can record nothing; the second can.
#[test]
fn only_the_newest_fence_records_what_was_made() {
    let bench = Bench::new();
    bench.key("/", VERSIONED);
    bench.runtime.advance(90 * DAY);
    let (first, second) = (bench.stopping(), bench.stopping());
    let target = Target::Scope(Scope::root());
    let mut slow = pin!(first.rotate(&target, Rollout::AtOnce, "slow"));
    let mut task = Context::from_waker(Waker::noop());
    while bench.versions(VERSIONED) == 1 {
        assert!(slow.as_mut().poll(&mut task).is_pending());
    }
    bench.runtime.advance(3 * MINUTE);
    let mut fast = pin!(second.tick(None));
    while bench.view("/").intents(&Scope::root())[0].fence == 1 {
        assert!(fast.as_mut().poll(&mut task).is_pending());
    }
    let before = bench.run(bench.inventory.revision()).unwrap();
    let error = bench.run(slow).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert_eq!(bench.run(bench.inventory.revision()).unwrap(), before);
    let tick = bench.run(fast).unwrap();
    assert_eq!(tick.refused.len(), 0, "{tick:?}");
    check_once(&bench, VERSIONED, "the second");
}

/// Promotions and moves by hand, at once with a tick: whoever is second is refused, and the states stay legal.
#[test]
fn moves_that_race_leave_one_active_key() {
    for polls in 1.. {
        let bench = Bench::new();
        let first = bench.key("/", VERSIONED);
        let staged = bench.rotate(&Target::Key(first), Rollout::Staged);
        let slow = bench.stopping();
        let mut work = pin!(slow.promote(staged, "slow"));
        let mut is_done = false;
        for _ in 0..polls {
            is_done = work
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_ready();
            if is_done {
                break;
            }
        }
        let back = bench.run(bench.admin().take_back(staged, "fast"));
        let promoted = if is_done { None } else { Some(bench.run(work)) };
        let states = bench.states("/");
        match (&back, promoted) {
            (Ok(_), Some(Err(error))) => {
                assert_eq!(error.kind(), ErrorKind::LifecycleRefused, "{error}");
                assert_eq!(states, [State::Active, State::Destroyed]);
            }
            (Err(error), _) => {
                assert_eq!(error.kind(), ErrorKind::LifecycleRefused, "{error}");
                assert_eq!(states, [State::Deprecated, State::Active]);
            }
            (Ok(_), other) => panic!("after {polls}: {other:?} {states:?}"),
        }
        if is_done {
            break;
        }
    }
}
