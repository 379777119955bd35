//! Destroying and saving are killed at any step, and race.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use waxseal::ErrorKind;
use waxseal::key::KekState;
use waxseal::ring::{KeySource, NewKey, RecordId, State};

use super::bench::{Bench, DAY, MINUTE, PLAIN};
use super::destroy::{at_backend, cooled, retired};
use super::retire::nothing;

/// Polls a future so many times. Returns what it ended with.
fn poll<T>(work: Pin<&mut impl Future<Output = T>>, polls: usize) -> Option<T> {
    let mut work = work;
    for _ in 0..polls {
        if let Poll::Ready(done) = work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return Some(done);
        }
    }
    None
}

/// Cancels until it is done.
fn save(bench: &Bench, key: RecordId, case: &str) {
    for _ in 0..3 {
        match bench.run(bench.admin().cancel_destroy(key, "save it")) {
            Ok(moved) => {
                assert_eq!(moved.to, State::Retired, "{case}");
                return;
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict, "{case}: {error}"),
        }
        bench.runtime.advance(3 * MINUTE);
    }
    panic!("{case}: not saved");
}

/// The key is in the ring, and its KEK at the backend; and stays so.
fn check_saved(bench: &Bench, key: RecordId, case: &str) {
    for _ in 0..2 {
        assert_eq!(
            (bench.state(key), at_backend(bench)),
            (State::Retired, KekState::Enabled),
            "{case}"
        );
        bench.runtime.advance(10 * DAY);
        let tick = bench.run(bench.admin().tick(None)).unwrap();
        assert!(tick.done.is_empty(), "{case}: {tick:?}");
    }
}

#[test]
fn a_destruction_that_is_killed_anywhere_can_be_called_off() {
    let mut was_killed = 0;
    for polls in 1.. {
        let case = format!("after {polls}");
        let bench = Bench::with(|settings| settings.cadence = "P900D".parse().unwrap());
        let key = cooled(&bench);
        let done = poll(pin!(bench.stopping().tick(None)), polls);
        save(&bench, key, &case);
        check_saved(&bench, key, &case);
        if done.is_some() {
            break;
        }
        was_killed = polls;
    }
    assert!(was_killed > 10, "only {was_killed} places");
}

#[test]
fn a_destruction_that_is_killed_anywhere_is_done_once() {
    for polls in 1.. {
        let case = format!("after {polls}");
        let bench = Bench::with(|settings| settings.cadence = "P900D".parse().unwrap());
        let key = cooled(&bench);
        let done = poll(pin!(bench.stopping().tick(None)), polls);
        for _ in 0..3 {
            bench.runtime.advance(3 * MINUTE);
            bench.run(bench.admin().tick(None)).unwrap();
        }
        assert!(bench.record(key).destruction_told, "{case}");
        assert_eq!(at_backend(&bench), KekState::PendingDestruction, "{case}");
        bench.runtime.advance(DAY);
        bench.run(bench.admin().tick(None)).unwrap();
        assert_eq!(bench.state(key), State::Destroyed, "{case}");
        if done.is_some() {
            break;
        }
    }
}

/// Those who save are killed, too. A tick goes on with what they have committed.
#[test]
fn a_cancellation_that_is_killed_anywhere_is_done_or_not_begun() {
    for polls in 1.. {
        let case = format!("after {polls}");
        let bench = Bench::with(|settings| settings.cadence = "P900D".parse().unwrap());
        let key = cooled(&bench);
        bench.run(bench.admin().tick(None)).unwrap();
        let done = poll(pin!(bench.stopping().cancel_destroy(key, "save it")), polls);
        bench.run(bench.admin().tick(None)).unwrap();
        match bench.state(key) {
            State::Destroying => {
                assert!(bench.record(key).destruction_cancelled.is_none(), "{case}");
                assert_eq!(at_backend(&bench), KekState::PendingDestruction, "{case}");
            }
            _ => check_saved(&bench, key, &case),
        }
        if done.is_some() {
            break;
        }
    }
}

/// One tells the backend and stands still at any step, another one saves the key, and then the first goes on.
#[test]
fn whoever_saves_a_key_wins_against_whoever_destroys_it() {
    for is_late in [false, true] {
        for polls in 1.. {
            let case = format!("late {is_late} after {polls}");
            let bench = Bench::with(|settings| settings.cadence = "P900D".parse().unwrap());
            let key = cooled(&bench);
            let slow = bench.stopping();
            let mut work = pin!(slow.tick(None));
            let is_done = poll(work.as_mut(), polls).is_some();
            if is_late {
                bench.runtime.advance(3 * MINUTE);
            }
            let first = bench.run(bench.admin().cancel_destroy(key, "save it"));
            if let Err(error) = &first {
                assert_eq!(error.kind(), ErrorKind::Conflict, "{case}: {error}");
            }
            if !is_done {
                bench.run(work).unwrap();
            }
            if first.is_err() {
                // A tick goes on with it, when nobody tells the backend any more.
                bench.runtime.advance(3 * MINUTE);
                bench.run(bench.admin().tick(None)).unwrap();
            }
            check_saved(&bench, key, &case);
            if is_done {
                break;
            }
        }
    }
}

/// A KEK becomes a key of another scope, or is destroyed: never both.
#[test]
fn a_kek_is_registered_or_destroyed_but_not_both() {
    let register = |bench: &Bench| {
        let scope = "elsewhere".parse().unwrap();
        let new = NewKey::new(scope, KeySource::Existing(PLAIN.to_owned()));
        bench.run(bench.admin().create(&new)).is_ok()
    };
    let destroy = |bench: &Bench, key: RecordId| {
        let good = nothing(bench, key, bench.now());
        let is_begun = bench.run(bench.admin().destroy(key, &good, "x")).is_ok();
        bench.runtime.advance(7 * DAY);
        bench.run(bench.admin().tick(None)).unwrap();
        is_begun
    };
    let check = |bench: &Bench, case: &str| {
        bench.runtime.advance(20 * DAY);
        bench.run(bench.admin().tick(None)).unwrap();
        let is_there = bench.states("elsewhere") == [State::Active];
        assert_eq!(is_there, at_backend(bench) == KekState::Enabled, "{case}");
    };
    let long = || Bench::with(|settings| settings.cadence = "P900D".parse().unwrap());
    // Whoever begins to destroy stands still.
    for polls in 1.. {
        let bench = long();
        let key = retired(&bench, "/");
        let good = nothing(&bench, key, bench.now());
        let slow = bench.stopping();
        let mut work = pin!(slow.destroy(key, &good, "x"));
        let is_done = poll(work.as_mut(), polls).is_some();
        register(&bench);
        if !is_done {
            let _ = bench.run(work);
        }
        check(&bench, &format!("destroyer after {polls}"));
        if is_done {
            break;
        }
    }
    // Whoever registers stands still.
    for polls in 1.. {
        let bench = long();
        let key = retired(&bench, "/");
        let slow = bench.stopping();
        let scope = "elsewhere".parse().unwrap();
        let new = NewKey::new(scope, KeySource::Existing(PLAIN.to_owned()));
        let mut work = pin!(slow.create(&new));
        let is_done = poll(work.as_mut(), polls).is_some();
        destroy(&bench, key);
        if !is_done {
            let _ = bench.run(work);
        }
        check(&bench, &format!("registrar after {polls}"));
        if is_done {
            break;
        }
    }
}
