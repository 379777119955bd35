//! A gate is asked before a successor becomes active.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use async_trait::async_trait;
use pollster::block_on;
use waxseal::envelope::KekRef;
use waxseal::key::{KekAdmin, KekState};
use waxseal::ring::inventory::MemoryInventory;
use waxseal::ring::{
    Action, Authority, Gate, Grounds, Inventory, KeySource, NamedReader, NewKey, Reader, RecordId,
    Revocation, RingAdmin, Rollout, Scope, State, Successor, Target, Trust,
};
use waxseal::runtime::Runtime;
use waxseal::testing::{FakeKeyManager, Fault, Method, SimulatedRuntime};
use waxseal::{EncryptionContext, Error, ErrorKind, Result};

use super::bench::{Bench, DAY, MINUTE, PLAIN, VERSIONED};
use super::retire::refused;

/// What the gate does.
#[derive(Clone, Debug)]
enum Does {
    Permits,
    Refuses,
    Hangs(SimulatedRuntime),
}

/// Seals and opens with what it is asked about, and remembers it.
#[derive(Debug)]
struct Tries {
    does: Mutex<Does>,
    asked: Mutex<Vec<(RecordId, Option<RecordId>)>>,
    opened: AtomicUsize,
}

impl Tries {
    fn new(does: Does) -> Arc<Self> {
        Arc::new(Self {
            does: Mutex::new(does),
            asked: Mutex::default(),
            opened: AtomicUsize::new(0),
        })
    }

    fn asked(&self) -> Vec<(RecordId, Option<RecordId>)> {
        self.asked.lock().unwrap().clone()
    }
}

#[async_trait]
impl Gate for Tries {
    async fn check(&self, successor: &Successor) -> Result<()> {
        assert_eq!(successor.key().state, State::Pending);
        let replaces = successor.replaces().map(|key| key.id);
        self.asked.lock().unwrap().push((successor.key().id, replaces));
        let (sealer, context) = (successor.sealer(), EncryptionContext::new([("purpose", "gate")])?);
        let sealed = sealer.seal(b"probe", &context).await?;
        assert_eq!(sealer.open(&sealed, &context).await?, b"probe");
        self.opened.fetch_add(1, Ordering::SeqCst);
        let does = self.does.lock().unwrap().clone();
        match does {
            Does::Permits => Ok(()),
            Does::Refuses => Err(Error::new(ErrorKind::PolicyRefused).with_detail("the canary sings")),
            Does::Hangs(runtime) => {
                runtime.sleep(DAY).await;
                Ok(())
            }
        }
    }
}

fn gated(bench: &Bench, gate: &Arc<Tries>) -> RingAdmin {
    let gate: Arc<Tries> = Arc::clone(gate);
    bench.admin().with_gate(gate).with_gate_deadline(MINUTE)
}

fn root() -> Target {
    Target::Scope(Scope::root())
}

fn leak() -> Revocation {
    Revocation::new("INC-7", "carol", "it was in a log")
}

#[test]
fn a_gate_uses_the_successor_before_it_becomes_active() {
    for uri in [VERSIONED, PLAIN] {
        let bench = Bench::new();
        let first = bench.key("/", uri);
        let gate = Tries::new(Does::Permits);
        let rotated = bench
            .run(gated(&bench, &gate).rotate(&root(), Rollout::AtOnce, "x"))
            .unwrap();
        assert_eq!(rotated[0].state, State::Active);
        assert_eq!(gate.asked(), [(rotated[0].key, Some(first))]);
        assert_eq!(gate.opened.load(Ordering::SeqCst), 1);
        assert!(!bench.active("/").awaits_gate);
        // A tick asks, and so does a promotion by hand. The way back does not wait.
        bench.runtime.advance(91 * DAY);
        bench.run(gated(&bench, &gate).tick(None)).unwrap();
        assert_eq!(gate.asked().len(), 2);
        let second = bench.active("/").id;
        let staged = bench.rotate(&root(), Rollout::Staged);
        bench.run(gated(&bench, &gate).promote(staged, "x")).unwrap();
        assert_eq!(gate.asked()[2], (staged, Some(second)));
        bench.run(gated(&bench, &gate).reinstate(second, "x")).unwrap();
        assert_eq!(gate.asked().len(), 3);
    }
}

#[test]
fn a_successor_that_is_refused_waits_and_nobody_else_promotes_it() {
    for does in [
        |_: &Bench| Does::Refuses,
        |bench: &Bench| Does::Hangs(bench.runtime.clone()),
    ] {
        let bench = Bench::new();
        let first = bench.key("/", VERSIONED);
        let gate = Tries::new(does(&bench));
        let admin = gated(&bench, &gate);
        let rotated = bench.run(admin.rotate(&root(), Rollout::AtOnce, "x")).unwrap();
        let next = rotated[0].key;
        let why = rotated[0].hindered.as_ref().unwrap();
        assert_eq!(why.kind(), ErrorKind::LifecycleRefused);
        let why = why.detail().unwrap();
        assert!(
            why.contains("keys promote") && why.contains(&next.to_string()),
            "{why}"
        );
        let expected = match *gate.does.lock().unwrap() {
            Does::Refuses => "the canary sings",
            _ => "did not answer within 60s",
        };
        assert!(why.contains(expected), "{why}");
        assert_eq!(
            (bench.state(first), bench.state(next)),
            (State::Active, State::Pending)
        );
        // Somebody who has no gate leaves it alone, and says why.
        let tick = bench.run(bench.admin().tick(None)).unwrap();
        assert!(tick.done.is_empty(), "{tick:?}");
        assert_eq!(
            (tick.refused[0].key, tick.refused[0].action),
            (next, Action::Promote)
        );
        assert!(tick.refused[0].reason.contains("--gate"), "{tick:?}");
        // The same gate is asked again, and again refuses.
        let tick = bench.run(admin.tick(None)).unwrap();
        assert!(tick.done.is_empty() && tick.refused.len() == 1, "{tick:?}");
        assert_eq!(gate.asked().len(), 2);
        *gate.does.lock().unwrap() = Does::Permits;
        let tick = bench.run(admin.tick(None)).unwrap();
        assert_eq!((tick.done[0].key, tick.done[0].to), (next, State::Active));
        assert!(!bench.record(next).awaits_gate);
    }
}

#[test]
fn a_person_may_promote_what_a_gate_has_refused_or_take_it_back() {
    let bench = Bench::new();
    bench.key("/", VERSIONED);
    let gate = Tries::new(Does::Refuses);
    let rotated = bench
        .run(gated(&bench, &gate).rotate(&root(), Rollout::AtOnce, "x"))
        .unwrap();
    bench.run(bench.admin().take_back(rotated[0].key, "x")).unwrap();
    let rotated = bench
        .run(gated(&bench, &gate).rotate(&root(), Rollout::AtOnce, "x"))
        .unwrap();
    refused(bench.run(gated(&bench, &gate).promote(rotated[0].key, "x")));
    bench
        .run(bench.admin().promote(rotated[0].key, "looked at by hand"))
        .unwrap();
    assert_eq!(bench.active("/").id, rotated[0].key);
}

/// Looks at the ring while it is asked.
#[derive(Debug)]
struct Looks {
    inventory: MemoryInventory,
    ring: RecordId,
    authority: Arc<Authority>,
    revoked: RecordId,
    seen: Mutex<Option<State>>,
}

#[async_trait]
impl Gate for Looks {
    async fn check(&self, successor: &Successor) -> Result<()> {
        assert_eq!(successor.replaces().map(|key| key.id), Some(self.revoked));
        let inventory: Arc<dyn Inventory> = Arc::new(self.inventory.clone());
        let reader = Reader::new(Trust::new(self.ring, self.authority.public()), inventory);
        let (_, view) = reader.scope_of(self.revoked).await?;
        *self.seen.lock().unwrap() = view.key(self.revoked).map(|key| key.state);
        Err(Error::new(ErrorKind::PolicyRefused))
    }
}

#[test]
fn a_revoked_key_is_out_of_use_whatever_a_gate_says_and_only_its_successor_waits() {
    let bench = Bench::new();
    let key = bench.key("/", VERSIONED);
    let looks = Arc::new(Looks {
        inventory: bench.inventory.clone(),
        ring: bench.ring,
        authority: Arc::clone(&bench.authority),
        revoked: key,
        seen: Mutex::default(),
    });
    let gate: Arc<Looks> = Arc::clone(&looks);
    let revoked = bench
        .run(bench.admin().with_gate(gate).revoke(key, &leak()))
        .unwrap();
    assert_eq!(*looks.seen.lock().unwrap(), Some(State::Compromised));
    assert_eq!((revoked.moved.to, revoked.successor), (State::Compromised, None));
    refused(Err::<(), _>(revoked.without_successor.unwrap()));
    assert_eq!(bench.states("/"), [State::Compromised, State::Pending]);
    // Neither a tick nor the same revocation goes past it without a gate.
    let tick = bench.run(bench.admin().tick(None)).unwrap();
    assert!(tick.done.is_empty() && !tick.refused.is_empty(), "{tick:?}");
    let again = bench.run(bench.admin().revoke(key, &leak())).unwrap();
    assert!(refused(Err::<(), _>(again.without_successor.unwrap())).contains("--gate"));
    assert_eq!(bench.states("/"), [State::Compromised, State::Pending]);
    // With one, they do.
    let permits = Tries::new(Does::Permits);
    let tick = bench.run(gated(&bench, &permits).tick(None)).unwrap();
    assert!(tick.refused.is_empty(), "{tick:?}");
    assert_eq!(bench.states("/"), [State::Compromised, State::Active]);
    assert_eq!(permits.asked(), [(bench.active("/").id, Some(key))]);
    assert_eq!(bench.versions(VERSIONED), 2, "nothing was made twice");
}

#[test]
fn the_same_revocation_once_more_asks_the_gate_once_more() {
    let bench = Bench::new();
    let key = bench.key("/", PLAIN);
    let gate = Tries::new(Does::Hangs(bench.runtime.clone()));
    let before = bench.runtime.elapsed();
    let revoked = bench.run(gated(&bench, &gate).revoke(key, &leak())).unwrap();
    assert!(revoked.without_successor.is_some());
    assert_eq!(bench.runtime.elapsed().saturating_sub(before), MINUTE);
    *gate.does.lock().unwrap() = Does::Permits;
    let again = bench.run(gated(&bench, &gate).revoke(key, &leak())).unwrap();
    assert_eq!(again.successor, Some(bench.active("/").id));
    assert_eq!(bench.fakes.made.lock().unwrap().len(), 1);
    refused(bench.run(bench.admin().retire(key, Grounds::Force, "x")));
}

/// A process that dies while the gate is asked has told the ring that it was.
#[test]
fn whoever_dies_at_any_step_leaves_a_successor_that_the_gate_still_decides_about() {
    let mut died_at_the_gate = 0;
    for polls in 1.. {
        let bench = Bench::new();
        let first = bench.key("/", VERSIONED);
        let gate = Tries::new(Does::Refuses);
        let asked: Arc<Tries> = Arc::clone(&gate);
        let admin = bench.stopping().with_gate(asked);
        let is_done = {
            let target = root();
            let mut work = pin!(admin.rotate(&target, Rollout::AtOnce, "x"));
            let mut poll = || {
                work.as_mut()
                    .poll(&mut Context::from_waker(Waker::noop()))
                    .is_ready()
            };
            (0..polls).any(|_| poll())
        };
        bench.runtime.advance(3 * MINUTE);
        died_at_the_gate += usize::from(!gate.asked().is_empty());
        // Whatever was begun, and whether the gate was asked or not yet.
        for _ in 0..2 {
            bench.run(bench.admin().tick(None)).unwrap();
            assert_eq!(bench.active("/").id, first, "after {polls}");
        }
        *gate.does.lock().unwrap() = Does::Permits;
        for _ in 0..3 {
            bench.run(gated(&bench, &gate).tick(None)).unwrap();
        }
        if bench.states("/").len() > 1 {
            assert_eq!(
                bench.states("/"),
                [State::Deprecated, State::Active],
                "after {polls}"
            );
        }
        if is_done {
            break;
        }
    }
    assert!(died_at_the_gate > 0);
}

#[test]
fn a_gate_is_not_asked_about_a_key_that_does_not_wrap() {
    let bench = Bench::new();
    bench.key("/", VERSIONED);
    let gate = Tries::new(Does::Permits);
    let staged = bench.rotate(&root(), Rollout::Staged);
    bench
        .fakes
        .versioned
        .script_always(Fault::Fails(ErrorKind::KeyDisabled));
    let error = bench.run(gated(&bench, &gate).promote(staged, "x")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyDisabled);
    assert!(gate.asked().is_empty() && !block_on(bench.admin().key(staged)).unwrap().awaits_gate);
}

/// The gate could not be asked, since a reader cannot use the key yet. It decides all the same, later.
#[test]
fn a_successor_that_waits_for_readers_waits_for_the_gate_as_well() {
    let bench = Bench::with(|settings| settings.readers = vec![NamedReader::new("billing")]);
    let first = bench.key("/", VERSIONED);
    let gate = Tries::new(Does::Permits);
    let rotated = bench
        .run(gated(&bench, &gate).rotate(&root(), Rollout::AtOnce, "x"))
        .unwrap();
    assert!(
        rotated[0].hindered.is_some() && gate.asked().is_empty(),
        "{rotated:?}"
    );
    let next = rotated[0].key;
    assert!(bench.record(next).awaits_gate);
    let tick = bench
        .run(bench.admin().skipping_reader("billing").tick(None))
        .unwrap();
    assert!(tick.refused[0].reason.contains("--gate"), "{tick:?}");
    assert_eq!(bench.active("/").id, first);
    let ticks = gated(&bench, &gate).skipping_reader("billing");
    bench.run(ticks.tick(None)).unwrap();
    assert_eq!((bench.active("/").id, gate.asked().len()), (next, 1));
    // So does a promotion by hand that is refused because of a reader.
    let admin = bench.admin().skipping_reader("billing");
    let staged = bench.run(admin.rotate(&root(), Rollout::Staged, "x")).unwrap();
    assert!(!bench.record(staged[0].key).awaits_gate);
    refused(bench.run(gated(&bench, &gate).promote(staged[0].key, "x")));
    assert!(bench.record(staged[0].key).awaits_gate);
}

/// A process that dies anywhere in a revocation leaves a successor that the gate still decides about, or none yet.
#[test]
fn whoever_dies_in_a_revocation_leaves_its_successor_to_the_gate() {
    for uri in [VERSIONED, PLAIN] {
        let mut waited = 0;
        for polls in 1.. {
            let bench = Bench::new();
            let first = bench.key("/", uri);
            let gate = Tries::new(Does::Refuses);
            let asked: Arc<Tries> = Arc::clone(&gate);
            let admin = bench.stopping().with_gate(asked);
            let is_done = {
                let revocation = leak();
                let mut work = pin!(admin.revoke(first, &revocation));
                (0..polls).any(|_| {
                    let task = &mut Context::from_waker(Waker::noop());
                    work.as_mut().poll(task).is_ready()
                })
            };
            bench.runtime.advance(3 * MINUTE);
            if bench.state(first) == State::Compromised {
                waited += 1;
                for _ in 0..2 {
                    let tick = bench.run(bench.admin().tick(None)).unwrap();
                    assert!(!tick.refused.is_empty(), "after {polls}: {tick:?}");
                    bench.runtime.advance(3 * MINUTE);
                }
                // Nor does a rotation go past it.
                let _ = bench.run(bench.admin().rotate(&root(), Rollout::AtOnce, "x"));
                assert_eq!(
                    bench.states("/"),
                    [State::Compromised, State::Pending],
                    "after {polls}"
                );
                *gate.does.lock().unwrap() = Does::Permits;
                bench.run(gated(&bench, &gate).tick(None)).unwrap();
                let (old, new) = (bench.record(first), bench.active("/"));
                assert_eq!(gate.asked().last(), Some(&(new.id, Some(first))), "after {polls}");
                assert!(!old.awaits_gate && !new.awaits_gate, "after {polls}");
            }
            if is_done {
                break;
            }
        }
        assert!(waited > 5, "{waited}");
    }
}

#[test]
fn a_revocation_leaves_what_waits_already_to_the_gate() {
    let bench = Bench::new();
    let key = bench.key("/", VERSIONED);
    let staged = bench.rotate(&root(), Rollout::Staged);
    // It dies when the key is revoked.
    {
        let admin = bench.stopping().with_gate(Tries::new(Does::Permits));
        let revocation = leak();
        let mut work = pin!(admin.revoke(key, &revocation));
        while bench.state(key) != State::Compromised {
            let task = &mut Context::from_waker(Waker::noop());
            assert!(work.as_mut().poll(task).is_pending());
        }
    }
    assert!(bench.record(staged).awaits_gate);
    let again = bench.run(bench.admin().revoke(key, &leak())).unwrap();
    assert!(refused(Err::<(), _>(again.without_successor.unwrap())).contains("--gate"));
    // A person may.
    bench
        .run(bench.admin().promote(staged, "looked at by hand"))
        .unwrap();
    assert_eq!(bench.active("/").id, staged);
    assert!(!bench.record(key).awaits_gate);
}

/// Looks a second later whether the KEK of the revoked key is disabled.
#[derive(Debug)]
struct Later {
    runtime: SimulatedRuntime,
    kms: FakeKeyManager,
    kek: KekRef,
    seen: Mutex<Option<KekState>>,
}

#[async_trait]
impl Gate for Later {
    async fn check(&self, _: &Successor) -> Result<()> {
        self.runtime.sleep(Duration::from_secs(1)).await;
        *self.seen.lock().unwrap() = Some(self.kms.describe(&self.kek).await?.state);
        Err(Error::new(ErrorKind::PolicyRefused))
    }
}

#[test]
fn the_backend_disables_a_revoked_key_while_the_gate_is_asked() {
    for uri in [VERSIONED, PLAIN] {
        let bench = Bench::new();
        let key = bench.key("/", uri);
        let kms = bench.fakes.manager(uri);
        let later = Arc::new(Later {
            runtime: bench.runtime.clone(),
            kms: kms.clone(),
            kek: bench.record(key).provenance.kek().unwrap(),
            seen: Mutex::default(),
        });
        // A server that does not disable the newest version of a KEK, as Vault.
        let newest = ErrorKind::Unsupported {
            feature: "disabling the active version",
        };
        if uri == VERSIONED {
            kms.script_for(Method::Disable, Fault::Fails(newest));
        }
        let gate: Arc<Later> = Arc::clone(&later);
        let mut disabling = leak();
        disabling.disable_at_backend = true;
        let revoked = bench
            .run(bench.admin().with_gate(gate).revoke(key, &disabling))
            .unwrap();
        assert!(
            revoked.without_successor.is_some() && revoked.disabled,
            "{revoked:?}"
        );
        assert_eq!(*later.seen.lock().unwrap(), Some(KekState::Disabled), "{uri}");
        let calls = if uri == VERSIONED { 2 } else { 1 };
        assert_eq!(kms.count(Method::Disable), calls, "{uri}");
        // Without a successor there is no newer version, and nothing is waited for.
        let bench = Bench::new();
        let key = bench.key("/", uri);
        let kms = bench.fakes.manager(uri);
        kms.script_for(Method::Disable, Fault::Fails(newest));
        disabling.successor = false;
        let revoked = bench.run(bench.admin().revoke(key, &disabling)).unwrap();
        assert_eq!(revoked.not_disabled.map(|error| error.kind()), Some(newest));
        assert_eq!(kms.count(Method::Disable), 1, "{uri}");
    }
}

#[test]
fn a_key_for_a_slot_that_has_none_is_tried_as_any_other() {
    let bench = Bench::new();
    let gate = Tries::new(Does::Refuses);
    let admin = gated(&bench, &gate);
    let new = NewKey::new(Scope::root(), KeySource::Existing(PLAIN.to_owned()));
    let words = refused(bench.run(admin.create(&new)));
    assert!(words.contains("the canary sings"), "{words}");
    assert_eq!(bench.states("/"), [State::Pending]);
    // Nobody else makes it active by itself.
    bench.run(bench.admin().tick(None)).unwrap();
    assert_eq!(bench.states("/"), [State::Pending]);
    *gate.does.lock().unwrap() = Does::Permits;
    let key = gate.asked()[0].0;
    assert_eq!(bench.run(admin.promote(key, "mended")).unwrap().to, State::Active);
    // The same after the slot has lost its key.
    let mut alone = leak();
    alone.successor = false;
    bench.run(admin.revoke(key, &alone)).unwrap();
    let new = NewKey::new(Scope::root(), KeySource::Existing(VERSIONED.to_owned()));
    let made = bench.run(admin.create(&new)).unwrap();
    assert_eq!((made.to, gate.asked().len()), (State::Active, 3));
}

#[test]
fn a_canary_is_tried_before_it_wraps() {
    let bench = Bench::new();
    bench.key("/", VERSIONED);
    let pending = bench.rotate(&root(), Rollout::Staged);
    let gate = Tries::new(Does::Refuses);
    let admin = gated(&bench, &gate);
    refused(bench.run(admin.set_canary(pending, Some(10), "a share")));
    assert!(bench.record(pending).canary.is_none());
    *gate.does.lock().unwrap() = Does::Permits;
    bench.run(admin.set_canary(pending, Some(10), "a share")).unwrap();
    assert_eq!(gate.asked().len(), 2);
    // Ending it asks nobody.
    bench.run(admin.set_canary(pending, None, "enough")).unwrap();
    assert_eq!(gate.asked().len(), 2);
}
