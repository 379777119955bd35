//! Shredding is killed at any step, and races.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use waxseal::ErrorKind;
use waxseal::envelope::KekRef;
use waxseal::key::{KekAdmin, KekState};
use waxseal::ring::{Revocation, Rollout, State, Target};

use super::bench::{Bench, DAY, MINUTE, PLAIN};
use super::destroy::at_backend;
use super::shred::{SCOPE, calm, erasure, scope, shred};

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

/// A scope with a deprecated and an active key, each a KEK of its own.
fn two_keys() -> Bench {
    let bench = calm();
    let first = bench.key(SCOPE, PLAIN);
    bench.rotate(&Target::Key(first), Rollout::AtOnce);
    bench
}

/// The KEKs of the scope at their backend.
fn keks(bench: &Bench) -> Vec<KekState> {
    let view = bench.view(SCOPE);
    let keys = view.keys(&scope()).iter().filter(|key| !key.taken_back);
    keys.map(|key| {
        let kek = KekRef::new("vault-transit", &key.provenance.id, "").unwrap();
        bench.run(bench.fakes.plain.describe(&kek)).unwrap().state
    })
    .collect()
}

/// The scope is shredded, and ticks end it.
fn check_ends(bench: &Bench, case: &str) {
    assert!(bench.view(SCOPE).tombstone(&scope()).is_some(), "{case}");
    for _ in 0..4 {
        bench.runtime.advance(4 * DAY);
        bench.run(bench.admin().tick(None)).unwrap();
    }
    assert!(
        bench.states(SCOPE).iter().all(|state| *state == State::Destroyed),
        "{case}: {:?}",
        bench.states(SCOPE)
    );
    assert!(
        keks(bench).iter().all(|state| *state == KekState::Destroyed),
        "{case}"
    );
    assert!(
        bench.run(bench.reader(false).check()).unwrap().is_good(),
        "{case}"
    );
}

/// The keys are what they were, and stay so.
fn check_saved(bench: &Bench, case: &str) {
    for _ in 0..2 {
        assert!(bench.view(SCOPE).tombstone(&scope()).is_none(), "{case}");
        assert_eq!(bench.states(SCOPE), [State::Deprecated, State::Active], "{case}");
        assert_eq!(keks(bench), [KekState::Enabled; 2], "{case}");
        bench.runtime.advance(10 * DAY);
        let tick = bench.run(bench.admin().tick(None)).unwrap();
        assert!(tick.done.is_empty(), "{case}: {tick:?}");
    }
}

#[test]
fn a_shredding_that_is_killed_anywhere_is_done_or_not_begun() {
    let mut both = [false; 2];
    for polls in 1.. {
        let case = format!("after {polls}");
        let bench = two_keys();
        let done = poll(pin!(bench.stopping().shred(&scope(), &erasure())), polls);
        let is_done = bench.view(SCOPE).tombstone(&scope()).is_some();
        both[usize::from(is_done)] = true;
        match is_done {
            true => assert_eq!(bench.states(SCOPE), [State::Retired; 2], "{case}"),
            false => assert_eq!(bench.states(SCOPE), [State::Deprecated, State::Active], "{case}"),
        }
        // Once more ends it.
        shred(&bench);
        check_ends(&bench, &case);
        if done.is_some() {
            break;
        }
    }
    assert_eq!(both, [true; 2]);
}

#[test]
fn a_destruction_that_is_killed_anywhere_goes_on_or_is_cancelled() {
    for cancels in [false, true] {
        let mut was_killed = 0;
        for polls in 1.. {
            let case = format!("cancels {cancels} after {polls}");
            let bench = two_keys();
            shred(&bench);
            bench.runtime.advance(7 * DAY);
            let done = poll(pin!(bench.stopping().tick(None)), polls);
            match cancels {
                false => {
                    bench.runtime.advance(3 * MINUTE);
                    check_ends(&bench, &case);
                }
                true => {
                    for _ in 0..3 {
                        match bench.run(bench.admin().cancel_shred(&scope(), "save it")) {
                            Ok(_) => break,
                            Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict, "{case}: {error}"),
                        }
                        bench.runtime.advance(3 * MINUTE);
                    }
                    check_saved(&bench, &case);
                }
            }
            if done.is_some() {
                break;
            }
            was_killed = polls;
        }
        assert!(was_killed > 20, "only {was_killed} places");
    }
}

/// Those who save are killed, too. A tick goes on with what they have committed.
#[test]
fn a_cancellation_that_is_killed_anywhere_is_done_or_not_begun() {
    for is_told in [false, true] {
        let mut both = [false; 2];
        for polls in 1.. {
            let case = format!("told {is_told} after {polls}");
            let bench = two_keys();
            shred(&bench);
            if is_told {
                bench.runtime.advance(7 * DAY);
                bench.run(bench.admin().tick(None)).unwrap();
            }
            let done = poll(pin!(bench.stopping().cancel_shred(&scope(), "save it")), polls);
            bench.runtime.advance(3 * MINUTE);
            bench.run(bench.admin().tick(None)).unwrap();
            let is_saved = bench.view(SCOPE).tombstone(&scope()).is_none();
            both[usize::from(is_saved)] = true;
            match is_saved {
                true => check_saved(&bench, &case),
                false => {
                    let expected = if is_told {
                        State::Destroying
                    } else {
                        State::Retired
                    };
                    assert_eq!(bench.states(SCOPE), [expected; 2], "{case}");
                    check_ends(&bench, &case);
                }
            }
            if done.is_some() {
                break;
            }
        }
        assert_eq!(both, [true; 2], "told {is_told}");
    }
}

/// One rotates and stands still at any step, another shreds, and the first goes on: no key of the scope is left in use.
#[test]
fn a_shredding_wins_against_whatever_else_is_at_work() {
    for (what, orders) in [
        ("rotate", &[false, true][..]),
        ("stage", &[false]),
        ("revoke", &[false]),
        ("tick", &[false]),
    ] {
        for &is_late in orders {
            for polls in 1.. {
                let case = format!("{what} late {is_late} after {polls}");
                let bench = Bench::with(|settings| {
                    let cadence = if what == "tick" { "P1D" } else { "P900D" };
                    settings.cadence = cadence.parse().unwrap();
                });
                let key = bench.key(SCOPE, PLAIN);
                bench.runtime.advance(2 * DAY);
                let slow = bench.stopping();
                let leak = Revocation::new("INC", "carol", "leaked");
                let target = Target::Key(key);
                let work = async {
                    match what {
                        "rotate" => drop(slow.rotate(&target, Rollout::AtOnce, "x").await),
                        "stage" => drop(slow.rotate(&target, Rollout::Staged, "x").await),
                        "revoke" => drop(slow.revoke(key, &leak).await),
                        _ => drop(slow.tick(None).await),
                    }
                };
                let mut work = pin!(work);
                let is_done = poll(work.as_mut(), polls).is_some();
                if is_late {
                    bench.runtime.advance(3 * MINUTE);
                }
                shred(&bench);
                if !is_done {
                    bench.run(work);
                }
                let in_use = bench.states(SCOPE);
                let in_use = in_use.iter().filter(|state| state.row().unwraps).count();
                assert_eq!(in_use, 0, "{case}: {:?}", bench.states(SCOPE));
                check_ends(&bench, &case);
                if is_done {
                    break;
                }
            }
        }
    }
}

/// One ticks and stands still at any step, another cancels, and the first goes on: the keys are saved.
#[test]
fn whoever_cancels_wins_against_whoever_destroys() {
    for is_late in [false, true] {
        for polls in 1.. {
            let case = format!("late {is_late} after {polls}");
            let bench = two_keys();
            shred(&bench);
            bench.runtime.advance(7 * DAY);
            let slow = bench.stopping();
            let mut work = pin!(slow.tick(None));
            let is_done = poll(work.as_mut(), polls).is_some();
            if is_late {
                bench.runtime.advance(3 * MINUTE);
            }
            let first = bench.run(bench.admin().cancel_shred(&scope(), "save it"));
            if let Err(error) = &first {
                assert_eq!(error.kind(), ErrorKind::Conflict, "{case}: {error}");
            }
            if !is_done {
                bench.run(work).unwrap();
            }
            if first.is_err() {
                bench.runtime.advance(3 * MINUTE);
                bench.run(bench.admin().tick(None)).unwrap();
            }
            check_saved(&bench, &case);
            assert_eq!(at_backend(&bench), KekState::Enabled, "{case}");
            if is_done {
                break;
            }
        }
    }
}

/// Two shred at once: one does it, the other finds it done.
#[test]
fn two_that_shred_write_one_tombstone() {
    for polls in 1.. {
        let bench = two_keys();
        let slow = bench.stopping();
        let request = erasure();
        let of = scope();
        let mut work = pin!(slow.shred(&of, &request));
        let done = poll(work.as_mut(), polls);
        let is_done = done.is_some();
        let fast = shred(&bench);
        let slow = match done {
            Some(done) => done.unwrap(),
            None => bench.run(work).unwrap(),
        };
        assert_eq!(fast.tombstone.id, slow.tombstone.id);
        if is_done {
            break;
        }
    }
}
