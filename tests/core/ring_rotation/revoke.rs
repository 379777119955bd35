//! A key leaks.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use async_trait::async_trait;
use waxseal::envelope::KekRef;
use waxseal::key::{KekAdmin, KekState};
use waxseal::ring::{
    Action, Grounds, Hook, Inventory, KeyRecord, KeySource, Move, NamedReader, NewKey, RecordId, Revocation,
    RingAdmin, Rollout, Scope, State, Target,
};
use waxseal::runtime::Runtime;
use waxseal::testing::{Fault, Method, SimulatedRuntime};
use waxseal::{ErrorKind, Result};

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
        // For good, and once.
        let admin = bench.admin();
        let revision = bench.view("/").revision();
        let again = bench.run(admin.revoke(key, &leak())).unwrap();
        assert_eq!(
            (again.moved.from, again.moved.to, again.successor),
            (State::Compromised, State::Compromised, None)
        );
        assert_eq!(bench.view("/").revision(), revision);
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
    let second = bench.rotate(&target, Rollout::AtOnce);
    let staged = bench.rotate(&target, Rollout::Staged);
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

/// Whoever has it has whatever is sealed under it elsewhere.
#[test]
fn a_kek_that_was_revoked_in_one_scope_comes_into_use_in_no_other() {
    for uri in [VERSIONED, PLAIN] {
        let bench = Bench::new();
        let admin = bench.admin();
        let (key, other) = (bench.key("a", uri), bench.key("b", uri));
        let target = Target::Scope("b".parse().unwrap());
        let second = bench.rotate(&target, Rollout::AtOnce);
        bench.run(admin.revoke(key, &leak())).unwrap();
        let new = |scope: &str| NewKey::new(scope.parse().unwrap(), KeySource::Existing(uri.to_owned()));
        // Where versions are told apart, the newest one is another key.
        if uri == PLAIN {
            let words = refused(bench.run(admin.create(&new("c"))));
            for part in [&*key.to_string(), "scope a", "another KEK"] {
                assert!(words.contains(part), "{words}");
            }
        } else {
            bench.run(admin.create(&new("c"))).unwrap();
        }
        refused(bench.run(admin.adopt(&new("d"), State::Deprecated)));
        refused(bench.run(admin.reinstate(other, "x")));
        assert_eq!(
            (bench.state(other), bench.state(second)),
            (State::Deprecated, State::Active)
        );
        assert!(bench.states("d").is_empty());
    }
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
        assert_eq!(
            bench.run(bench.inventory.next_due()).unwrap(),
            bench.active("/").next_rotation,
            "{case}"
        );
        if is_done {
            break;
        }
    }
}

/// Revoked, and then the process died before it had begun anything.
fn without_a_key(uri: &str) -> (Bench, RecordId) {
    let bench = Bench::new();
    let key = bench.key("/", uri);
    {
        let admin = bench.stopping();
        let revocation = leak();
        let mut work = pin!(admin.revoke(key, &revocation));
        while bench.state(key) != State::Compromised {
            let task = &mut Context::from_waker(Waker::noop());
            assert!(work.as_mut().poll(task).is_pending());
        }
    }
    assert_eq!(bench.states("/"), [State::Compromised]);
    (bench, key)
}

/// A tick goes on, a rotation, and the same command.
#[test]
fn a_slot_that_has_lost_its_key_gets_another_in_each_way() {
    type Way = fn(&Bench, RecordId);
    let ways: [(&str, Way); 5] = [
        ("tick", |bench, _| {
            let verdict = bench.run(bench.admin().verdict(None, None)).unwrap();
            assert_eq!(verdict.due.len(), 1, "{verdict:?}");
            let tick = bench.run(bench.admin().tick(None)).unwrap();
            let done: Vec<_> = tick.done.iter().map(|done| (done.action, done.to)).collect();
            assert_eq!(done, [(Action::Rotate, State::Active)], "{tick:?}");
        }),
        ("the same", |bench, key| {
            let revoked = bench.run(bench.admin().revoke(key, &leak())).unwrap();
            assert_eq!(revoked.successor, Some(bench.active("/").id));
        }),
        ("rotate the key", |bench, key| {
            let target = Target::Key(key);
            bench
                .run(bench.admin().rotate(&target, Rollout::AtOnce, "x"))
                .unwrap();
        }),
        ("rotate the scope", |bench, _| {
            let target = Target::Scope(Scope::root());
            bench
                .run(bench.admin().rotate(&target, Rollout::AtOnce, "x"))
                .unwrap();
        }),
        ("create", |bench, _| {
            bench.key("/", "vault-transit:elsewhere");
        }),
    ];
    for (name, way) in ways {
        let (bench, key) = without_a_key(VERSIONED);
        way(&bench, key);
        assert_eq!(bench.states("/"), [State::Compromised, State::Active], "{name}");
        let (old, new) = (bench.record(key), bench.active("/"));
        assert_eq!((old.successor, old.next_rotation), (Some(new.id), None), "{name}");
        // Nothing is due anymore.
        let tick = bench.run(bench.admin().tick(None)).unwrap();
        assert!(
            tick.done.is_empty() && tick.refused.is_empty(),
            "{name}: {tick:?}"
        );
        assert_eq!(tick.next, new.next_rotation, "{name}");
    }
}

/// It fails again and again, and is told each time.
#[test]
fn a_tick_says_why_there_is_no_successor() {
    let (bench, key) = without_a_key(VERSIONED);
    let rotate = Fault::Fails(ErrorKind::Denied);
    bench.fakes.versioned.script_for(Method::Rotate, rotate);
    let tick = bench.run(bench.admin().tick(None)).unwrap();
    assert_eq!(tick.refused.len(), 1, "{tick:?}");
    assert_eq!(
        (tick.refused[0].key, tick.refused[0].action),
        (key, Action::Rotate)
    );
    bench.runtime.advance(3 * MINUTE);
    bench.run(bench.admin().tick(None)).unwrap();
    assert_eq!(bench.states("/"), [State::Compromised, State::Active]);
    assert_eq!(bench.versions(VERSIONED), 2);
}

/// What one process has begun, the same command goes on with when the lease is over.
#[test]
fn the_same_command_takes_over_what_was_begun() {
    let bench = Bench::new();
    let key = bench.key("/", VERSIONED);
    let fails = Fault::Fails(ErrorKind::Unavailable);
    bench.fakes.versioned.script_for(Method::Rotate, fails);
    assert!(
        bench
            .run(bench.admin().revoke(key, &leak()))
            .unwrap()
            .without_successor
            .is_some()
    );
    let early = bench.run(bench.admin().revoke(key, &leak())).unwrap();
    assert_eq!(early.without_successor.unwrap().kind(), ErrorKind::Conflict);
    bench.runtime.advance(3 * MINUTE);
    let late = bench.run(bench.admin().revoke(key, &leak())).unwrap();
    assert_eq!(late.successor, Some(bench.active("/").id), "{late:?}");
    assert_eq!(
        path(&bench.record(key)),
        [State::Pending, State::Active, State::Compromised]
    );
}

/// Nothing takes its place by itself: neither what waits, nor what is being made. Whoever wants one after all says so.
#[test]
fn without_a_successor_what_waits_goes_on_waiting() {
    let mut alone = leak();
    alone.successor = false;
    // One that waits for a reader.
    let bench = Bench::with(|settings| settings.readers = vec![NamedReader::new("billing")]);
    let key = bench.key("/", VERSIONED);
    let target = Target::Key(key);
    let next = bench.rotate(&target, Rollout::AtOnce);
    bench.run(bench.admin().revoke(key, &alone)).unwrap();
    assert!(bench.run(bench.admin().tick(None)).unwrap().done.is_empty());
    assert_eq!(bench.states("/"), [State::Compromised, State::Pending]);
    let revoked = bench.run(bench.admin().revoke(key, &leak())).unwrap();
    assert_eq!(revoked.successor, Some(next));
    // One that somebody is making.
    let bench = Bench::new();
    let key = bench.key("/", VERSIONED);
    let fails = Fault::Fails(ErrorKind::Unavailable);
    bench.fakes.versioned.script_for(Method::Rotate, fails);
    bench
        .run(bench.admin().rotate(&Target::Key(key), Rollout::AtOnce, "x"))
        .unwrap_err();
    bench.run(bench.admin().revoke(key, &alone)).unwrap();
    bench.runtime.advance(3 * MINUTE);
    bench.run(bench.admin().tick(None)).unwrap();
    assert_eq!(bench.states("/"), [State::Compromised, State::Pending]);
    assert!(bench.run(bench.admin().tick(None)).unwrap().done.is_empty());
}

/// Every state that the table lets become compromised does; the others say what to do.
#[test]
fn a_key_is_revoked_in_each_state_of_the_table() {
    let bench = Bench::new();
    let old = bench.key("/", VERSIONED);
    let target = Target::Scope(Scope::root());
    let active = bench.rotate(&target, Rollout::AtOnce);
    let staged = bench.rotate(&target, Rollout::Staged);
    let revoked = bench.run(bench.admin().revoke(staged, &leak())).unwrap();
    assert_eq!((revoked.moved.from, revoked.successor), (State::Pending, None));
    assert_eq!(bench.record(active).successor, None, "nothing follows it anymore");
    bench
        .run(bench.admin().rotate(&target, Rollout::AtOnce, "x"))
        .unwrap();
    bench.run(bench.admin().retire(old, Grounds::Force, "x")).unwrap();
    for (key, state) in [(old, State::Retired), (active, State::Deprecated)] {
        let revoked = bench.run(bench.admin().revoke(key, &leak())).unwrap();
        assert_eq!((revoked.moved.from, revoked.successor), (state, None));
        assert_eq!(bench.state(key), State::Compromised);
        assert_eq!(
            bench.record(key).revocation().unwrap().approver.as_deref(),
            Some("carol")
        );
    }
    // A key that was taken back is gone.
    let other = bench.key("b", PLAIN);
    let target = Target::Key(other);
    let staged = bench.rotate(&target, Rollout::Staged);
    bench.run(bench.admin().take_back(staged, "x")).unwrap();
    refused(bench.run(bench.admin().revoke(staged, &leak())));
    for (ticket, approver, reason) in [("", "b", "c"), ("a", " ", "c"), ("a", "b", "")] {
        let error = bench.run(
            bench
                .admin()
                .revoke(other, &Revocation::new(ticket, approver, reason)),
        );
        assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
    assert_eq!(bench.state(other), State::Active);
}

/// Vetoes whatever can be vetoed, hangs whenever it is told something, and remembers what.
#[derive(Debug)]
struct Enemy(SimulatedRuntime, Mutex<Vec<&'static str>>);

#[async_trait]
impl Hook for Enemy {
    async fn before_promote(&self, _: &KeyRecord, _: Option<&KeyRecord>) -> Result<()> {
        Err(waxseal::Error::new(ErrorKind::PolicyRefused))
    }

    async fn on_revoke(&self, key: &KeyRecord, made: &Move) -> Result<()> {
        assert_eq!(
            (key.state, made.ticket.as_deref()),
            (State::Compromised, Some("INC-7"))
        );
        self.1.lock().unwrap().push("revoked");
        self.0.sleep(Duration::from_secs(3_600)).await;
        Ok(())
    }

    async fn after_move(&self, _: &KeyRecord, made: &Move) -> Result<()> {
        self.1.lock().unwrap().push(made.to.name());
        Err(waxseal::Error::new(ErrorKind::Io))
    }
}

#[test]
fn hooks_are_told_of_a_revocation_and_neither_veto_nor_delay_anything() {
    let bench = Bench::new();
    let key = bench.key("/", VERSIONED);
    let hook = Arc::new(Enemy(bench.runtime.clone(), Mutex::default()));
    let admin = bench.admin().with_hook(hook.clone());
    let before = bench.runtime.now();
    let revoked = bench.run(admin.revoke(key, &leak())).unwrap();
    assert_eq!(revoked.successor, Some(bench.active("/").id), "{revoked:?}");
    // As long as a hook may take.
    assert_eq!(bench.runtime.now().0 - before.0, Duration::from_secs(30));
    let at = |id| bench.record(id).history.last().unwrap().at;
    assert!(
        at(bench.active("/").id).since(at(key)) < Duration::from_secs(1),
        "it has waited for the hook"
    );
    assert_eq!(*hook.1.lock().unwrap(), ["revoked", "active", "compromised"]);
    assert_eq!(revoked.moved.warnings.len(), 3, "{revoked:?}");
    // Nor is the hook asked when a tick goes on.
    let (bench, _) = without_a_key(VERSIONED);
    let hook = Arc::new(Enemy(bench.runtime.clone(), Mutex::default()));
    bench.run(bench.admin().with_hook(hook).tick(None)).unwrap();
    assert_eq!(bench.states("/"), [State::Compromised, State::Active]);
}

/// Ticks as soon as it hears of it.
#[derive(Debug)]
struct Ticks(RingAdmin);

#[async_trait]
impl Hook for Ticks {
    async fn on_revoke(&self, _: &KeyRecord, _: &Move) -> Result<()> {
        let tick = self.0.tick(None).await?;
        assert_eq!(tick.done.len(), 1, "{tick:?}");
        Ok(())
    }
}

#[test]
fn one_successor_comes_whoever_makes_it() {
    fn can_be_spawned(_: impl Send) {}
    let bench = Bench::new();
    let key = bench.key("/", VERSIONED);
    can_be_spawned(bench.admin().revoke(key, &leak()));
    let admin = bench.admin().with_hook(Arc::new(Ticks(bench.admin())));
    let revoked = bench.run(admin.revoke(key, &leak())).unwrap();
    assert_eq!(revoked.successor, Some(bench.active("/").id), "{revoked:?}");
    assert!(revoked.moved.warnings.is_empty(), "{revoked:?}");
    assert_eq!(bench.states("/"), [State::Compromised, State::Active]);
    assert_eq!(bench.versions(VERSIONED), 2);
}
