//! Ticks do what is due, once; verdicts only say it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use waxseal::Result;
use waxseal::ring::inventory::{MemoryInventory, NodePath, Snapshot};
use waxseal::ring::{
    Action, Hook, Inventory, KeyRecord, Move, Reader, RingAdmin, Rollout, Scope, State, Target, Trust,
};
use waxseal::testing::{Fault, InventoryLayer, Method, SimulatedRuntime};
use waxseal::{ErrorKind, ring::RetireBy};

use super::bench::{Bench, DAY, MINUTE, VERSIONED};

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

/// One record was changed by somebody else: its scope is a problem, and the others are not.
#[test]
fn a_scope_that_does_not_verify_does_not_keep_the_others_waiting() {
    let bench = Bench::new();
    for scope in ["a", "b"] {
        bench.key(scope, VERSIONED);
    }
    bench.runtime.advance(90 * DAY);
    let broken = Spoiled(bench.inventory.clone());
    let trust = Trust::new(bench.ring, bench.authority.public());
    let admin = RingAdmin::new(
        Reader::new(trust, Arc::new(broken)),
        Arc::clone(&bench.authority),
        Arc::new(bench.fakes.clone()),
        "alice",
    )
    .with_runtime(Arc::new(bench.runtime.clone()));
    let verdict = bench.run(admin.verdict(None, None)).unwrap();
    assert_eq!((verdict.due.len(), verdict.due[0].scope.as_str()), (1, "b"));
    let [(scope, error)] = &verdict.problems[..] else {
        panic!("{verdict:?}")
    };
    assert_eq!((scope.as_str(), error.kind()), ("a", ErrorKind::InventoryInvalid));
    let tick = bench.run(admin.tick(None)).unwrap();
    assert_eq!((tick.done.len(), tick.problems.len()), (1, 1), "{tick:?}");
    let (scope, error) = &tick.problems[0];
    assert_eq!((scope.as_str(), error.kind()), ("a", ErrorKind::InventoryInvalid));
    assert_eq!(bench.states("b"), [State::Deprecated, State::Active]);
}

/// Hands out records of scope `a` that nobody has signed.
#[derive(Debug)]
struct Spoiled(MemoryInventory);

#[async_trait]
impl InventoryLayer for Spoiled {
    fn inner(&self) -> &dyn Inventory {
        &self.0
    }

    async fn read(&self, scopes: &[Scope], nodes: &[NodePath]) -> Result<Snapshot> {
        let mut read = self.0.read(scopes, nodes).await?;
        for row in read.rows.iter_mut().filter(|row| row.scope.as_str() == "a") {
            row.signed.body.push(b' ');
        }
        Ok(read)
    }
    async fn scopes_of_kek(&self, provider: &str, kek_id: &str, limit: u32) -> Result<Vec<Scope>> {
        // The spoiled scope has a KEK of its own, as far as the others see.
        let scopes = self.0.scopes_of_kek(provider, kek_id, limit).await?;
        Ok(scopes.into_iter().filter(|scope| scope.as_str() != "a").collect())
    }
}

/// A hook that takes its time.
#[derive(Debug)]
struct Slow(SimulatedRuntime);

#[async_trait]
impl Hook for Slow {
    async fn after_move(&self, _: &KeyRecord, _: &Move) -> Result<()> {
        self.0.advance(Duration::from_secs(2));
        Ok(())
    }
}

/// A cadence of nothing worth the name, and still a tick rotates once.
#[test]
fn a_tick_rotates_a_key_once_however_short_its_cadence_is() {
    let bench = Bench::with(|settings| settings.cadence = "PT1S".parse().unwrap());
    bench.key("/", VERSIONED);
    bench.runtime.advance(DAY);
    // What is done after a move takes longer than the cadence.
    let slow = bench.admin().with_hook(Arc::new(Slow(bench.runtime.clone())));
    let tick = bench.run(slow.tick(None)).unwrap();
    let actions: Vec<_> = tick.done.iter().map(|done| done.action).collect();
    assert_eq!(actions, [Action::Rotate], "{tick:?}");
    assert_eq!(bench.versions(VERSIONED), 2);
    // The next one is for the next tick.
    let tick = bench.run(bench.admin().tick(None)).unwrap();
    assert_eq!((tick.done.len(), bench.versions(VERSIONED)), (1, 3), "{tick:?}");
}

/// A hook refuses, a reader lags: that is no race, whoever else ticks.
#[test]
fn what_is_refused_is_not_said_to_be_done_by_others() {
    let bench = Bench::new();
    bench.key("/", VERSIONED);
    bench.runtime.advance(90 * DAY);
    bench
        .fakes
        .versioned
        .script_for(Method::Rotate, Fault::Fails(ErrorKind::Denied));
    let tick = bench.run(bench.admin().tick(None)).unwrap();
    assert_eq!((tick.refused.len(), tick.by_others.len()), (1, 0), "{tick:?}");
    // It is still held, and nothing is due for others: they are told until when.
    let held = bench.view("/").intents(&Scope::root())[0].clone();
    let tick = bench.run(bench.admin().tick(None)).unwrap();
    assert_eq!((tick.refused.len(), tick.done.len()), (0, 0), "{tick:?}");
    let others: Vec<_> = tick
        .by_others
        .iter()
        .map(|due| (due.key, due.action, due.held_until))
        .collect();
    assert_eq!(others, [(held.key, Action::Recover, Some(held.lease_until))]);
    bench.runtime.advance(3 * MINUTE);
    let tick = bench.run(bench.admin().tick(None)).unwrap();
    let done: Vec<_> = tick.done.iter().map(|done| (done.key, done.action)).collect();
    assert_eq!(done, [(held.key, Action::Recover), (held.key, Action::Promote)]);
    assert_eq!(tick.by_others.len(), 0, "{tick:?}");
}

#[test]
fn ticks_and_rotations_can_be_spawned() {
    fn is_send<T: Send>(_: T) {}
    let bench = Bench::new();
    let admin = bench.admin();
    is_send(admin.tick(None));
    is_send(admin.verdict(None, None));
    is_send(admin.rotate(&Target::Scope(Scope::root()), Rollout::AtOnce, "x"));
}

/// Hundreds of keys wait for evidence for ever. They do not stand in front of what can be done.
#[test]
fn what_is_hindered_stands_in_nobodys_way() {
    let bench = Bench::new();
    for number in 0..260 {
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
    assert_eq!(due.due.len(), 260);
    bench
        .run(bench.admin().report(
            waxseal::ring::Event::Policy,
            &Target::Scope("last".parse().unwrap()),
            "x",
        ))
        .unwrap();
    let tick = bench.run(bench.admin().tick(None)).unwrap();
    assert_eq!((tick.done.len(), tick.refused.len()), (1, 260));
}
