//! A branch key goes through the states as any other key.

use waxseal::ErrorKind;
use waxseal::ring::{Revocation, TakenOver};

use super::*;

#[test]
fn a_branch_key_is_made_under_its_parent_and_nothing_at_a_backend() {
    let branches = Branches::new(VERSIONED);
    branches.bench.fakes.versioned.forget_calls();
    let id = branches.branch("tenant/a");
    // Wrapped, and unwrapped again; and unwrapped once more for the probe before it is active.
    assert_eq!(branches.calls(), (1, 2));
    assert!(branches.bench.fakes.made.lock().unwrap().is_empty());
    let (record, parent) = (branches.record(id), branches.record(branches.parent));
    assert_eq!(
        (record.provenance.provider.as_str(), &record.provenance.id),
        ("branch", &id.to_string())
    );
    let branch = record.branch.as_ref().unwrap();
    assert_eq!((branch.parent, &branch.parent_scope), (parent.id, &parent.scope));
    assert_eq!(branch.wrapped.id, parent.provenance.id);
    assert_eq!(
        (record.state, record.protection),
        (State::Active, parent.protection)
    );
    assert_eq!(branches.under(parent.id), 1);
    let sealed = branches.seal(&branches.sealer(false), "a");
    branches.opens(&sealed, "a").unwrap();
    branches.check();
    // The context of its wrap names the ring, the scope and the key, so that no other wrap takes its place.
    let calls = branches.bench.fakes.versioned.calls();
    let wrap = calls.iter().find(|call| call.method == Method::Wrap).unwrap();
    assert_eq!(wrap.context.get("waxseal-scope"), Some("tenant/a"));
    assert_eq!(wrap.context.get("waxseal-key"), Some(id.to_string().as_str()));
}

#[test]
fn a_parent_is_of_a_wider_scope_and_is_active() {
    let branches = Branches::new(VERSIONED);
    for parent in ["tenant/a", "tenant/b"] {
        let error = branches.try_branch("tenant/a", Some(parent)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(error.to_string().contains("wider scope"), "{error}");
    }
    let error = branches.try_branch("tenant/a", Some("system")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoKeyForScope, "{error}");
    // What was begun is finished when there is one.
    branches.bench.key("system", PLAIN);
    branches.bench.runtime.advance(3 * MINUTE);
    branches.bench.run(branches.bench.admin().tick(None)).unwrap();
    let active = branches.bench.active("tenant/a");
    assert_eq!(active.branch.as_ref().unwrap().parent_scope, scope("system"));
    // A branch key wraps no other.
    let system = branches.try_branch("system/x", Some("system")).unwrap();
    assert_eq!(branches.record(system).state, State::Active);
    let error = branches.try_branch("tenant/c", Some("system/x")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LifecycleRefused, "{error}");
    assert!(error.to_string().contains("branch key itself"), "{error}");
}

#[test]
fn a_branch_key_is_rotated_staged_promoted_reinstated_and_revoked() {
    let branches = Branches::new(VERSIONED);
    let (bench, admin) = (&branches.bench, branches.bench.admin());
    let first = branches.branch("tenant/a");
    let sealed = branches.seal(&branches.sealer(false), "a");
    let tenant = Target::Scope(scope("tenant/a"));
    let second = bench.rotate(&tenant, Rollout::AtOnce);
    assert_eq!(
        (bench.state(first), bench.state(second)),
        (State::Deprecated, State::Active)
    );
    assert_ne!(
        branches.record(first).branch.as_ref().unwrap().wrapped.bytes,
        branches.record(second).branch.as_ref().unwrap().wrapped.bytes
    );
    branches.opens(&sealed, "a").unwrap();
    // Under the parent that is active by now.
    let parent = branches.rotate_parent();
    let staged = bench.rotate(&tenant, Rollout::Staged);
    assert_eq!(bench.state(staged), State::Pending);
    assert_eq!(
        (branches.parent_of(second), branches.parent_of(staged)),
        (branches.parent, parent)
    );
    assert_eq!((branches.under(branches.parent), branches.under(parent)), (2, 1));
    bench.run(admin.promote(staged, "x")).unwrap();
    assert_eq!(bench.state(second), State::Deprecated);
    bench.run(admin.reinstate(second, "x")).unwrap();
    assert_eq!(
        (bench.state(second), bench.state(staged)),
        (State::Active, State::Deprecated)
    );
    let canary = bench.rotate(&tenant, Rollout::Canary(100));
    let by_canary = branches.seal(&branches.sealer(false), "a");
    bench.run(admin.promote(canary, "x")).unwrap();
    branches.opens(&by_canary, "a").unwrap();
    // Taken back before it wrapped: nothing of it stays.
    let waiting = bench.rotate(&tenant, Rollout::Staged);
    bench.run(admin.take_back(waiting, "x")).unwrap();
    let gone = branches.record(waiting);
    assert!(gone.taken_back && gone.branch.as_ref().unwrap().wrapped.bytes.is_empty());
    assert!(bench.run(admin.orphans(&scope("tenant/a"))).unwrap().is_empty());
    let revocation = Revocation::new("T-1", "bob", "leaked");
    let revoked = bench.run(admin.revoke(canary, &revocation)).unwrap();
    assert_eq!(bench.state(canary), State::Compromised);
    let successor = revoked.successor.unwrap();
    assert_eq!(bench.state(successor), State::Active);
    assert!(branches.record(successor).branch.is_some());
    assert_eq!(
        branches.opens(&by_canary, "a").unwrap_err().kind(),
        ErrorKind::KeyRevoked
    );
    branches.check();
}

/// What the KMS answers wrongly is in no record.
#[test]
fn a_wrap_that_does_not_unwrap_to_the_same_key_is_never_committed() {
    use waxseal::testing::Fault;
    for (method, fault, kind) in [
        (Method::Wrap, Fault::WrongDek, ErrorKind::InvalidAnswer),
        (Method::Wrap, Fault::GarbageWrap, ErrorKind::CannotOpen),
        (
            Method::Wrap,
            Fault::OtherKek("another".to_owned()),
            ErrorKind::InvalidAnswer,
        ),
        (Method::Unwrap, Fault::WrongDek, ErrorKind::InvalidAnswer),
        (Method::Wrap, Fault::Fails(ErrorKind::Denied), ErrorKind::Denied),
    ] {
        let branches = Branches::new(VERSIONED);
        branches.bench.fakes.versioned.script_for(method, fault.clone());
        let error = branches.try_branch("tenant/a", None).unwrap_err();
        assert_eq!(error.kind(), kind, "{fault:?}: {error}");
        assert!(branches.bench.states("tenant/a").is_empty());
        assert_eq!(branches.under(branches.parent), 0);
        // A tick goes on with what was begun.
        branches.bench.runtime.advance(3 * MINUTE);
        branches.bench.run(branches.bench.admin().tick(None)).unwrap();
        assert_eq!(branches.bench.states("tenant/a"), [State::Active], "{fault:?}");
        let sealed = branches.seal(&branches.sealer(false), "a");
        branches.opens(&sealed, "a").unwrap();
    }
}

/// After evidence and the cooling-off nothing opens with it, and no backend was asked.
#[test]
fn a_destroyed_branch_key_has_no_bytes_anymore() {
    let branches = Branches::new(VERSIONED);
    let (bench, admin) = (&branches.bench, branches.bench.admin());
    let first = branches.branch("tenant/a");
    let second = bench.rotate(&Target::Key(first), Rollout::AtOnce);
    let wrapped = branches.record(first).branch.as_ref().unwrap().wrapped.clone();
    bench.runtime.advance(2 * DAY);
    assert_eq!(branches.retire(first).unwrap(), State::Retired);
    refused(bench.run(admin.destroy(
        first,
        &Evidence::nothing_under(first, (1, bench.now()), 1, String::new()),
        "x",
    )));
    bench.runtime.advance(MINUTE);
    assert_eq!(branches.destroy(first).unwrap(), State::Destroying);
    // It can be saved until the cooling-off is over.
    bench.run(admin.cancel_destroy(first, "x")).unwrap();
    assert_eq!(branches.record(first).branch.as_ref().unwrap().wrapped, wrapped);
    bench.runtime.advance(MINUTE);
    branches.destroy(first).unwrap();
    refused(bench.run(admin.attest_destroyed(first, "x")));
    let tick = bench.run(admin.tick(None)).unwrap();
    assert!(tick.done.is_empty(), "{tick:?}");
    bench.fakes.versioned.forget_calls();
    bench.runtime.advance(8 * DAY);
    let tick = bench.run(admin.tick(None)).unwrap();
    assert!(
        tick.done
            .iter()
            .any(|done| done.key == first && done.to == State::Destroyed),
        "{tick:?}"
    );
    assert_eq!(branches.calls(), (0, 0));
    let record = branches.record(first);
    let branch = record.branch.as_ref().unwrap();
    assert!(branch.wrapped.bytes.is_empty());
    // What it was wrapped under is known for good: a copy in a backup opens with that.
    assert_eq!(
        (branch.parent, &branch.wrapped.id),
        (branches.parent, &wrapped.id)
    );
    assert_eq!(branches.under(branches.parent), 1);
    branches.check();
    assert_eq!(bench.state(second), State::Active);
    let none: TakenOver = bench.run(admin.take_over_provisioned(10)).unwrap();
    assert_eq!(none.keys, 0);
}
