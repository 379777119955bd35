//! A key leaks.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};

use waxseal::ErrorKind;
use waxseal::envelope::KekRef;
use waxseal::key::{KekAdmin, KekState};
use waxseal::ring::{Grounds, NamedReader, Revocation, Rollout, Scope, State, Target};
use waxseal::testing::{Fault, Method};

use super::bench::{Bench, MINUTE, PLAIN, VERSIONED, path};
use super::retire::refused;

fn leak() -> Revocation {
    Revocation::new("INC-7", "carol", "it was in a log")
}

#[test]
fn a_revoked_key_is_out_of_use_and_a_successor_takes_its_place() {
    for uri in [VERSIONED, PLAIN] {
        let bench = Bench::with(|settings| settings.readers = vec![NamedReader::new("billing")]);
        let key = bench.key("/", uri);
        let revoked = bench.run(bench.admin().revoke(key, &leak())).unwrap();
        assert_eq!(
            (revoked.moved.from, revoked.moved.to),
            (State::Active, State::Compromised)
        );
        assert!(
            revoked.without_successor.is_none() && !revoked.disabled,
            "{revoked:?}"
        );
        let active = bench.active("/");
        assert_eq!(revoked.successor, Some(active.id), "no reader was waited for");
        assert_eq!(active.predecessor, Some(key));
        let last = bench.record(key).history.last().unwrap().clone();
        assert_eq!(
            (
                last.ticket.as_deref(),
                last.approver.as_deref(),
                last.reason.as_str()
            ),
            (Some("INC-7"), Some("carol"), "it was in a log")
        );
        // For good.
        let admin = bench.admin();
        refused(bench.run(admin.revoke(key, &leak())));
        refused(bench.run(admin.reinstate(key, "x")));
        refused(bench.run(admin.retire(key, Grounds::Force, "x")));
        assert!(bench.run(admin.tick(None)).unwrap().done.is_empty());
    }
}

#[test]
fn whoever_wants_no_successor_gets_none() {
    let bench = Bench::new();
    let key = bench.key("/", VERSIONED);
    let mut alone = leak();
    alone.successor = false;
    let revoked = bench.run(bench.admin().revoke(key, &alone)).unwrap();
    assert!(revoked.successor.is_none() && revoked.without_successor.is_none());
    assert_eq!(bench.states("/"), [State::Compromised]);
    assert_eq!(bench.versions(VERSIONED), 1);
    let error = bench
        .run(
            bench
                .admin()
                .rotate(&Target::Scope(Scope::root()), Rollout::AtOnce, "x"),
        )
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoKeyForScope);
}

#[test]
fn the_key_that_waits_takes_over_and_old_keys_need_nobody() {
    let bench = Bench::new();
    let first = bench.key("/", VERSIONED);
    let target = Target::Scope(Scope::root());
    let second = bench
        .run(bench.admin().rotate(&target, Rollout::AtOnce, "x"))
        .unwrap()[0]
        .key;
    let staged = bench
        .run(bench.admin().rotate(&target, Rollout::Staged, "x"))
        .unwrap()[0]
        .key;
    let revoked = bench.run(bench.admin().revoke(first, &leak())).unwrap();
    assert!(revoked.successor.is_none());
    assert_eq!(
        (bench.state(first), bench.active("/").id),
        (State::Compromised, second)
    );
    let revoked = bench.run(bench.admin().revoke(second, &leak())).unwrap();
    assert_eq!(revoked.successor, Some(staged));
    assert_eq!(bench.active("/").id, staged);
    assert_eq!(bench.versions(VERSIONED), 3);
}

/// The backend is away: the key is revoked all the same, and a tick makes the successor later.
#[test]
fn a_revocation_waits_for_no_backend() {
    let bench = Bench::new();
    let key = bench.key("/", VERSIONED);
    bench
        .fakes
        .versioned
        .script_for(Method::Rotate, Fault::Fails(ErrorKind::Unavailable));
    let mut disabling = leak();
    disabling.disable_at_backend = true;
    bench
        .fakes
        .versioned
        .script_for(Method::Disable, Fault::Fails(ErrorKind::Denied));
    let revoked = bench.run(bench.admin().revoke(key, &disabling)).unwrap();
    let kind = |error: &Option<waxseal::Error>| error.as_ref().map(waxseal::Error::kind);
    assert_eq!(kind(&revoked.without_successor), Some(ErrorKind::Unavailable));
    assert_eq!(kind(&revoked.not_disabled), Some(ErrorKind::Denied));
    assert_eq!(bench.state(key), State::Compromised);
    bench.runtime.advance(3 * MINUTE);
    bench.run(bench.admin().tick(None)).unwrap();
    assert_eq!(bench.states("/"), [State::Compromised, State::Active]);
}

#[test]
fn the_backend_disables_it_if_it_is_told_to_and_other_keys_of_the_kek_are_named() {
    let bench = Bench::new();
    let key = bench.key("/", PLAIN);
    let other = bench.key("elsewhere", PLAIN);
    let mut disabling = leak();
    disabling.disable_at_backend = true;
    let revoked = bench.run(bench.admin().revoke(key, &disabling)).unwrap();
    assert!(revoked.disabled, "{revoked:?}");
    assert_eq!(revoked.same_kek, [other]);
    let kek = KekRef::new("vault-transit", "plain-orders", "").unwrap();
    let state = bench.run(bench.fakes.plain.describe(&kek)).unwrap().state;
    assert_eq!(state, KekState::Disabled);
}

/// Killed anywhere, it has happened or not; and if it has, a successor comes.
#[test]
fn a_revocation_that_is_killed_anywhere_is_whole() {
    for polls in 1.. {
        let case = format!("after {polls}");
        let bench = Bench::new();
        let key = bench.key("/", PLAIN);
        let is_done = {
            let admin = bench.stopping();
            let revocation = leak();
            let mut work = pin!(admin.revoke(key, &revocation));
            (0..polls).any(|_| {
                let task = &mut Context::from_waker(Waker::noop());
                work.as_mut().poll(task).is_ready()
            })
        };
        bench.runtime.advance(3 * MINUTE);
        bench.run(bench.admin().tick(None)).unwrap();
        match bench.state(key) {
            State::Active => assert_eq!(bench.states("/"), [State::Active], "{case}"),
            State::Compromised => match bench.states("/").as_slice() {
                // Before the successor was begun nobody knows of it: the slot is empty, and whoever seals is told.
                [State::Compromised] => assert!(!is_done, "{case}"),
                [State::Compromised, State::Active] => {
                    assert_eq!(
                        path(&bench.active("/")),
                        [State::Pending, State::Active],
                        "{case}"
                    );
                }
                states => panic!("{case}: {states:?}"),
            },
            state => panic!("{case}: {state}"),
        }
        if is_done {
            break;
        }
    }
}
