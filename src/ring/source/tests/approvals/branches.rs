//! Approvals of branch keys and of their parents.

use super::*;

/// A branch key that was followed by another key, what is under it, and the key that it is wrapped under.
fn branched() -> (Case, KeyRecord) {
    let bench = Bench::new();
    let (parent, fake) = bench.active("tenant", "parent");
    let of = scope("tenant/a");
    let place = Place {
        ring: bench.ring,
        scope: &of,
        key: RecordId::new(bench.now()).unwrap(),
    };
    let asking = Asking {
        parent: &parent,
        manager: &fake,
        purpose: crate::key::Purpose::Seal,
        deadline: None,
    };
    let (_, branch) = block_on(asking.make(place)).unwrap();
    let periods = ("P90D".parse().unwrap(), "PT24H".parse().unwrap());
    let made = branch::record(place, Slot::default(), &parent, branch, periods, bench.now());
    let mut old = bench.went(made, &[Active]);
    bench.put(&[&old]);
    let ring = bench.open();
    let sealed = seal(&uncached(&ring), "a");
    assert_eq!(keks(&sealed), [old.id.to_string()]);
    let mut new = bench.went(bench.key("tenant/a", &bench.fake("new")), &[State::Pending]);
    bench.promote(&mut old, &mut new);
    let ring = bench.open();
    fake.forget_calls();
    let case = Case {
        sealer: uncached(&ring),
        approver: Authority::generate().unwrap(),
        old,
        fake,
        sealed,
        ring,
        bench,
    };
    case.approvers(&[&case.approver]);
    (case, parent)
}

impl Case {
    fn went(&self, key: &mut KeyRecord, to: State) {
        self.bench.go(key, to);
        key.history.last_mut().unwrap().revision = self.bench.revision() + 1;
        self.bench.put(&[key]);
        block_on(self.ring.refresh()).unwrap();
    }
}

#[test]
fn an_approval_of_the_parent_or_of_the_branch_key_moves_what_is_under_the_branch_key() {
    let (case, mut parent) = branched();
    case.went(&mut parent, Compromised);
    let error = case.rewrap(&[]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyRevoked);
    assert!(
        error.detail().unwrap().contains(&parent.id.to_string()),
        "{error:?}"
    );
    for named in [parent.id, case.old.id] {
        let approval = case.issue_of(named, "PT1M", &case.approver).unwrap();
        for _ in 0..2 {
            let new = case.rewrap(&[&approval]).unwrap();
            assert_eq!(new.authorizations()[0].subject, named.to_string());
            assert_eq!(
                open(&case.sealer, &new.splice(&case.sealed).unwrap(), "a").unwrap(),
                b"hello"
            );
        }
        // One call for both, and the branch key in memory opens nothing.
        assert_eq!(case.fake.count(Method::Unwrap), 1);
        assert_eq!(kind(open(&case.sealer, &case.sealed, "a")), ErrorKind::KeyRevoked);
        // It is kept for no longer than the approval lasts.
        case.bench.runtime.advance(Duration::from_secs(60));
        case.fake.forget_calls();
        assert_eq!(case.fault(&[&approval]), ApprovalFault::Expired);
        let again = case.issue_of(named, "PT1M", &case.approver).unwrap();
        assert!(case.rewrap(&[&again]).is_ok());
        assert_eq!(case.fake.count(Method::Unwrap), 1);
        case.bench.runtime.advance(Duration::from_secs(60));
        case.fake.forget_calls();
    }
}

#[test]
fn an_approval_of_the_parent_does_not_serve_a_branch_key_that_was_revoked_itself() {
    let (mut case, mut parent) = branched();
    case.went(&mut parent, Retired);
    let of_retired = case.issue_of(parent.id, "P1D", &case.approver).unwrap();
    assert!(case.rewrap(&[&of_retired]).is_ok());
    case.went(&mut parent, Compromised);
    assert_eq!(
        case.rewrap(&[&of_retired])
            .map_err(|error| fault(&error))
            .unwrap_err(),
        ApprovalFault::KeyMoved
    );
    let of_parent = case.issue_of(parent.id, "P1D", &case.approver).unwrap();
    assert!(case.rewrap(&[&of_parent]).is_ok());
    case.fake.forget_calls();
    case.moved(Compromised);
    assert_eq!(case.fault(&[&of_parent]), ApprovalFault::OtherKey);
    let of_branch = case.issue("P1D");
    assert!(case.rewrap(&[&of_branch]).is_ok());
    // Nothing helps when the parent is gone.
    case.went(&mut parent, Destroying);
    let error = case.rewrap(&[&of_branch]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyDestroyed);
    let error = case.issue_of(case.old.id, "P1D", &case.approver).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LifecycleRefused);
}

/// Who approved the use of a branch key did not know of what came later over the key that it is wrapped under.
#[test]
fn an_approval_of_a_branch_key_does_not_outlive_the_revocation_of_its_parent() {
    let (mut case, mut parent) = branched();
    case.moved(Retired);
    let of_branch = case.issue("P1D");
    assert!(case.rewrap(&[&of_branch]).is_ok());
    // The parent was followed, and still unwraps: that asks for nothing.
    let mut next = case.bench.went(
        case.bench.key("tenant", &case.bench.fake("next")),
        &[State::Pending],
    );
    case.bench.promote(&mut parent, &mut next);
    block_on(case.ring.refresh()).unwrap();
    assert!(case.rewrap(&[&of_branch]).is_ok());
    for state in [Retired, Compromised] {
        let before = case.issue("P1D");
        assert!(case.rewrap(&[&before]).is_ok());
        case.went(&mut parent, state);
        case.fake.forget_calls();
        for approval in [&of_branch, &before] {
            assert_eq!(case.fault(&[approval]), ApprovalFault::KeyMoved);
            let view = block_on(case.reader().scopes(&[scope("tenant/a")])).unwrap();
            let error = approval.verify(&view, case.bench.now()).unwrap_err();
            assert_eq!(fault(&error), ApprovalFault::KeyMoved);
            assert!(
                error.detail().unwrap().contains(&parent.id.to_string()),
                "{error:?}"
            );
        }
        let after = case.issue("P1D");
        assert!(case.rewrap(&[&after]).is_ok());
        let view = block_on(case.reader().scopes(&[scope("tenant/a")])).unwrap();
        after.verify(&view, case.bench.now()).unwrap();
    }
}
