//! What approvals allow, and each way in which one does not count.

mod branches;

use State::{Active, Compromised, Deprecated, Destroyed, Destroying, Retired};
use pollster::block_on;

use super::*;
use crate::key::Authorization;
use crate::ring::branch::{self, Asking, Place};
use crate::ring::{Approval, Expires, NewApproval, Reader, correct_clock, set_settings};
use crate::testing::Method;
use crate::value::error::ApprovalFault;

const HOUR: Duration = Duration::from_secs(3600);

/// A ring with an approver, a key that went out of use, and what is under it.
struct Case {
    bench: Bench,
    approver: Authority,
    old: KeyRecord,
    fake: FakeKeyManager,
    sealed: Vec<u8>,
    ring: KeyRing,
    sealer: Sealer,
}

impl Case {
    fn new(states: &[State]) -> Self {
        let bench = Bench::new();
        let approver = Authority::generate().unwrap();
        let fake = bench.fake("old");
        let old = bench.went(bench.key("tenant/a", &fake), states);
        bench.put(&[&old]);
        bench.active("tenant/a", "new");
        let sealed = block_on(Sealer::new(fake.clone()).seal(b"hello", &context("a"))).unwrap();
        fake.forget_calls();
        let ring = bench.open();
        let case = Self {
            sealer: uncached(&ring),
            approver,
            old,
            fake,
            sealed,
            ring,
            bench,
        };
        case.approvers(&[&case.approver]);
        case
    }

    fn revoked() -> Self {
        Self::new(&[Active, Deprecated, Compromised])
    }

    fn reader(&self) -> Reader {
        Reader::new(self.bench.trust(), Arc::new(self.bench.inventory.clone()))
            .with_runtime(Arc::new(self.bench.runtime.clone()))
    }

    fn approvers(&self, approvers: &[&Authority]) {
        let listed: Vec<_> = approvers.iter().map(|approver| approver.public()).collect();
        block_on(set_settings(
            &self.reader(),
            &self.bench.authority,
            "test",
            |settings| settings.approvers.clone_from(&listed),
        ))
        .unwrap();
        block_on(self.ring.refresh()).unwrap();
    }

    fn issue(&self, expires: &str) -> Approval {
        self.issue_of(self.old.id, expires, &self.approver).unwrap()
    }

    fn issue_of(&self, key: RecordId, expires: &str, by: &Authority) -> Result<Approval> {
        let new = NewApproval::new(key, "INC-7", "carol", expires.parse().unwrap());
        block_on(new.issue(&self.reader(), by))
    }

    fn rewrap(&self, approvals: &[&Approval]) -> Result<crate::sealer::NewWraps> {
        let approvals = approvals.iter().map(|approval| approval.authorization());
        let sealer = self.sealer.authorized_by(approvals);
        block_on(sealer.rewrap(&self.sealed, &context("a")))
    }

    /// What a re-wrap is refused for. The key was not asked.
    fn fault(&self, approvals: &[&Approval]) -> ApprovalFault {
        let error = self.rewrap(approvals).unwrap_err();
        assert_eq!(self.fake.total(), 0, "{error:?}");
        assert!(!error.is_retryable() && error.detail().is_some(), "{error:?}");
        fault(&error)
    }

    fn moved(&mut self, to: State) {
        self.bench.go(&mut self.old, to);
        self.old.history.last_mut().unwrap().revision = self.bench.revision() + 1;
        self.bench.put(&[&self.old]);
        block_on(self.ring.refresh()).unwrap();
    }
}

impl Bench {
    fn revision(&self) -> u64 {
        block_on(self.inventory.revision()).unwrap()
    }
}

fn fault(error: &Error) -> ApprovalFault {
    match error.kind() {
        ErrorKind::ApprovalRefused { fault } => fault,
        _ => panic!("{error:?}"),
    }
}

fn changed(approval: &Approval, from: &str, to: &str) -> Approval {
    let text = String::from_utf8(approval.as_bytes().to_vec()).unwrap();
    assert!(text.contains(from), "{text}");
    Approval::from_bytes(text.replace(from, to).as_bytes()).unwrap()
}

#[test]
fn a_rewrap_under_an_approval_moves_what_is_under_the_key_and_nothing_opens_there() {
    for (states, refused) in [
        (&[Active, Deprecated, Compromised][..], ErrorKind::KeyRevoked),
        (&[Active, Deprecated, Retired][..], ErrorKind::KeyRetired),
    ] {
        let case = Case::new(states);
        let error = case.rewrap(&[]).unwrap_err();
        assert_eq!(error.kind(), refused);
        assert!(error.detail().unwrap().contains("ring approve"), "{error:?}");
        assert_eq!(case.fake.total(), 0);
        let approval = case.issue("PT1H");
        let new = case.rewrap(&[&approval]).unwrap();
        assert_eq!(case.fake.count(Method::Unwrap), 1);
        let [used] = new.authorizations() else {
            panic!("{:?}", new.authorizations())
        };
        assert_eq!((used.ticket.as_str(), used.approver.as_str()), ("INC-7", "carol"));
        assert_eq!(used.subject, case.old.id.to_string());
        assert_eq!(used.document(), approval.as_bytes());
        let moved = new.splice(&case.sealed).unwrap();
        assert_eq!(keks(&moved), ["new"]);
        assert_eq!(open(&case.sealer, &moved, "a").unwrap(), b"hello");
        // The approval opens nothing, with a cache or without.
        for sealer in [&case.sealer, &case.ring.sealer().build().unwrap()] {
            let sealer = sealer.authorized_by([approval.authorization()]);
            assert_eq!(kind(open(&sealer, &case.sealed, "a")), refused);
            block_on(sealer.rewrap(&case.sealed, &context("a"))).unwrap();
            assert_eq!(kind(open(&sealer, &case.sealed, "a")), refused);
        }
        // Where it is not needed it is not used.
        let again = case.sealer.authorized_by([approval.authorization()]);
        let again = block_on(again.rewrap(&moved, &context("a"))).unwrap();
        assert!(again.authorizations().is_empty());
    }
}

#[test]
fn many_values_are_moved_and_each_says_so() {
    let case = Case::revoked();
    let approval = case.issue("PT10M");
    let sealer = case.sealer.authorized_by([approval.authorization()]);
    let mut rewrapper = sealer.rewrapper();
    for _ in 0..3 {
        let new = block_on(rewrapper.rewrap(&case.sealed, &context("a")))
            .unwrap()
            .unwrap();
        assert_eq!(new.authorizations().len(), 1);
    }
    assert_eq!((rewrapper.counts().authorized, rewrapper.counts().reused), (3, 2));
    assert_eq!(case.fake.count(Method::Unwrap), 1);
    // What it remembers is over with the approval.
    case.bench.runtime.advance(Duration::from_secs(600));
    let error = block_on(rewrapper.rewrap(&case.sealed, &context("a"))).unwrap_err();
    assert_eq!(fault(&error), ApprovalFault::Expired);
    assert_eq!(case.fake.count(Method::Unwrap), 1);
}

#[test]
fn a_rewrapper_forgets_what_a_former_approver_has_allowed() {
    let case = Case::revoked();
    let sealer = case.sealer.authorized_by([case.issue("P1D").authorization()]);
    let mut rewrapper = sealer.rewrapper();
    block_on(rewrapper.rewrap(&case.sealed, &context("a"))).unwrap();
    case.approvers(&[]);
    let error = block_on(rewrapper.rewrap(&case.sealed, &context("a"))).unwrap_err();
    assert_eq!(fault(&error), ApprovalFault::UnknownSigner);
    assert_eq!(case.fake.count(Method::Unwrap), 1);
}

#[test]
fn an_approval_ends_when_it_says() {
    let case = Case::revoked();
    let approval = case.issue("PT1H");
    case.bench.runtime.advance(HOUR - Duration::from_secs(1));
    block_on(case.ring.refresh()).unwrap();
    assert!(case.rewrap(&[&approval]).is_ok());
    case.fake.forget_calls();
    case.bench.runtime.advance(Duration::from_secs(1));
    assert_eq!(case.fault(&[&approval]), ApprovalFault::Expired);
    // Beside one that is good, it does not matter.
    let good = case.issue("PT1H");
    assert!(case.rewrap(&[&approval, &good]).is_ok());
}

#[test]
fn an_answer_that_comes_after_the_end_is_not_used() {
    let case = Case::revoked();
    let approval = case.issue("PT10S");
    let runtime = case.bench.runtime.clone();
    let late = crate::testing::Fault::Hangs(Arc::new(runtime.clone()), Duration::from_secs(11));
    case.fake.script_always(late);
    let sealer = case.sealer.authorized_by([approval.authorization()]);
    let sealed = case.sealed.clone();
    let rewrap = async move { sealer.rewrap(&sealed, &context("a")).await };
    let error = runtime.run(rewrap).unwrap().unwrap_err();
    assert_eq!(fault(&error), ApprovalFault::Expired);
    assert_eq!(case.fake.count(Method::Unwrap), 1);
}

#[test]
fn who_may_approve_is_asked_at_each_use() {
    let case = Case::revoked();
    let (approval, other) = (case.issue("P1D"), Authority::generate().unwrap());
    case.approvers(&[&other]);
    assert_eq!(case.fault(&[&approval]), ApprovalFault::UnknownSigner);
    // Nor does anybody whom nobody lists issue one, nor the authority itself.
    for signer in [&case.approver, &case.bench.authority] {
        let error = case.issue_of(case.old.id, "P1D", signer).unwrap_err();
        assert_eq!(fault(&error), ApprovalFault::UnknownSigner);
    }
    case.approvers(&[&other, &case.approver]);
    assert!(case.rewrap(&[&approval]).is_ok());
    let error = block_on(set_settings(
        &case.reader(),
        &case.bench.authority,
        "test",
        |settings| {
            settings.approvers.push(case.bench.authority.public());
        },
    ));
    assert_eq!(kind(error), ErrorKind::InvalidArgument);
}

#[test]
fn an_approval_is_for_one_key_of_one_ring() {
    let case = Case::revoked();
    let fake = case.bench.fake("third");
    let third = case.bench.went(
        case.bench.key("tenant/a", &fake),
        &[Active, Deprecated, Compromised],
    );
    case.bench.put(&[&third]);
    block_on(case.ring.refresh()).unwrap();
    let of_third = case.issue_of(third.id, "P1D", &case.approver).unwrap();
    assert_eq!(case.fault(&[&of_third]), ApprovalFault::OtherKey);
    assert!(case.rewrap(&[&of_third, &case.issue("P1D")]).is_ok());
    case.fake.forget_calls();

    let elsewhere = Case::revoked();
    let foreign = elsewhere.issue("P1D");
    let error = foreign.verify(&block_on(case.reader().scopes(&[])).unwrap(), case.bench.now());
    assert_eq!(fault(&error.unwrap_err()), ApprovalFault::OtherRing);
    // Even if it names this key, and if this ring lists its signer.
    case.approvers(&[&case.approver, &elsewhere.approver]);
    let named = changed(&foreign, &elsewhere.old.id.to_string(), &case.old.id.to_string());
    assert_eq!(case.fault(&[&named]), ApprovalFault::OtherRing);
    let ours = changed(
        &named,
        &elsewhere.bench.ring.to_string(),
        &case.bench.ring.to_string(),
    );
    assert_eq!(case.fault(&[&ours]), ApprovalFault::Altered);
}

#[test]
fn what_was_altered_or_is_no_approval_does_not_count() {
    let case = Case::revoked();
    let approval = case.issue("PT1H");
    let times = (approval.expires(), approval.expires().saturating_add(HOUR));
    let longer = changed(&approval, &times.0.to_string(), &times.1.to_string());
    assert_eq!(case.fault(&[&longer]), ApprovalFault::Altered);
    let ticket = changed(&approval, "INC-7", "INC-8");
    assert_eq!(case.fault(&[&ticket]), ApprovalFault::Altered);
    for document in [&b""[..], b"{}", b"INC-7"] {
        let claim = Authorization::new("INC-7", "carol").with_document(document);
        let error = block_on(
            case.sealer
                .authorized_by([claim])
                .rewrap(&case.sealed, &context("a")),
        );
        assert_eq!(fault(&error.unwrap_err()), ApprovalFault::Malformed);
        assert_eq!(case.fake.total(), 0);
    }
}

#[test]
fn a_key_that_moves_on_takes_another_approval() {
    let mut case = Case::new(&[Active, Deprecated, Retired]);
    let approval = case.issue("P1D");
    assert!(case.rewrap(&[&approval]).is_ok());
    case.fake.forget_calls();
    case.moved(Compromised);
    assert_eq!(case.fault(&[&approval]), ApprovalFault::KeyMoved);
    let view = block_on(case.reader().scopes(&[scope("tenant/a")])).unwrap();
    let error = approval.verify(&view, case.bench.now()).unwrap_err();
    assert_eq!(fault(&error), ApprovalFault::KeyMoved);
    let another = case.issue("P1D");
    assert!(case.rewrap(&[&another]).is_ok());
}

#[test]
fn nothing_helps_a_key_that_is_destroyed_and_nothing_is_needed_for_a_good_one() {
    let mut case = Case::revoked();
    let approval = case.issue("P1D");
    for state in [Destroying, Destroyed] {
        case.moved(state);
        let error = case.rewrap(&[&approval]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::KeyDestroyed);
        assert!(error.detail().unwrap().contains("no approval helps"), "{error:?}");
        assert_eq!(case.fake.total(), 0);
        let error = case.issue_of(case.old.id, "P1D", &case.approver).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LifecycleRefused);
    }
    let case = Case::new(&[Active, Deprecated]);
    let error = case.issue_of(case.old.id, "P1D", &case.approver).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LifecycleRefused);
    assert!(error.detail().unwrap().contains("needs no approval"), "{error:?}");
}

#[test]
fn an_approval_lasts_a_week_at_most_and_not_backwards() {
    let case = Case::revoked();
    let issued = |expires: &str| case.issue_of(case.old.id, expires, &case.approver);
    assert_eq!(fault(&issued("P7DT1S").unwrap_err()), ApprovalFault::TooLong);
    let past = case.bench.now().to_string();
    assert_eq!(fault(&issued(&past).unwrap_err()), ApprovalFault::Expired);
    assert_eq!(fault(&issued("PT0S").unwrap_err()), ApprovalFault::Expired);
    assert!(case.rewrap(&[&issued("P7D").unwrap()]).is_ok());
    let end = case.bench.now().saturating_add(HOUR);
    assert_eq!(issued(&end.to_string()).unwrap().expires(), end);
    assert!("tomorrow".parse::<Expires>().is_err() && "P".parse::<Expires>().is_err());
    let mut nameless = NewApproval::new(case.old.id, " ", "carol", "PT1H".parse().unwrap());
    let empty = block_on(nameless.issue(&case.reader(), &case.approver));
    assert_eq!(kind(empty), ErrorKind::InvalidArgument);
    nameless.ticket = "INC-7\n".to_owned();
    let line = block_on(nameless.issue(&case.reader(), &case.approver));
    assert_eq!(kind(line), ErrorKind::InvalidArgument);
}

/// A machine whose clock is this many seconds after that of the inventory, or before.
fn elsewhere(case: &Case, seconds: i64) -> Sealer {
    let wall = case.bench.runtime.wall_clock();
    let by = Duration::from_secs(seconds.unsigned_abs());
    let wall = if seconds < 0 { wall - by } else { wall + by };
    let runtime = Arc::new(SimulatedRuntime::starting_at(wall));
    uncached(&block_on(case.bench.builder().runtime(runtime).open()).unwrap())
}

fn rewrap_by(sealer: &Sealer, case: &Case, approval: &Approval) -> Result<crate::sealer::NewWraps> {
    let sealer = sealer.authorized_by([approval.authorization()]);
    block_on(sealer.rewrap(&case.sealed, &context("a")))
}

/// Whichever clock is wrong, nobody uses an approval for longer.
#[test]
fn a_clock_that_is_behind_does_not_prolong_an_approval_nor_does_one_that_is_ahead() {
    let case = Case::revoked();
    let approval = case.issue("PT1H");
    for seconds in [-600, 600] {
        let error = rewrap_by(&elsewhere(&case, seconds), &case, &approval).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ClocksDisagree, "{seconds}");
    }
    for seconds in [-200, 200] {
        assert!(rewrap_by(&elsewhere(&case, seconds), &case, &approval).is_ok());
    }
    case.fake.forget_calls();
    case.bench.runtime.advance(HOUR - Duration::from_secs(100));
    let error = rewrap_by(&elsewhere(&case, 200), &case, &approval).unwrap_err();
    assert_eq!(fault(&error), ApprovalFault::Expired);
    case.bench.runtime.advance(Duration::from_secs(100));
    let error = rewrap_by(&elsewhere(&case, -200), &case, &approval).unwrap_err();
    assert_eq!(fault(&error), ApprovalFault::Expired);
    assert_eq!(case.fake.total(), 0);
}

#[test]
fn both_clocks_set_back_do_not_bring_an_approval_back() {
    let case = Case::revoked();
    let (approval, begun) = (case.issue("PT1H"), case.bench.runtime.wall_clock());
    case.bench.runtime.advance(2 * HOUR);
    let mut more = case.old.clone();
    more.revision += 1;
    case.bench.put(&[&more]);
    case.bench
        .runtime
        .set_wall_clock(begun + Duration::from_secs(600));
    let error = rewrap_by(&elsewhere(&case, 0), &case, &approval).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ClocksDisagree);
    assert!(error.detail().unwrap().contains("last changed"), "{error:?}");
    // Nor is another one issued by such clocks.
    let error = case.issue_of(case.old.id, "PT1H", &case.approver).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ClocksDisagree);
    assert_eq!(case.fake.total(), 0);
}

#[test]
fn an_approval_by_clocks_that_were_ahead_lasts_no_longer_than_it_was_to() {
    let case = Case::revoked();
    let right = case.bench.runtime.wall_clock();
    case.bench.runtime.set_wall_clock(right + 1000 * HOUR);
    // Nobody has changed the ring by that clock: nothing is to be corrected.
    let future = case.issue("PT2H");
    case.bench.runtime.set_wall_clock(right);
    let error = rewrap_by(&elsewhere(&case, 0), &case, &future).unwrap_err();
    assert_eq!(fault(&error), ApprovalFault::NotYetIssued);

    case.bench.runtime.set_wall_clock(right + 1000 * HOUR);
    let mut more = case.old.clone();
    more.revision += 1;
    case.bench.put(&[&more]);
    let approval = case.issue("PT2H");
    case.bench.runtime.set_wall_clock(right);
    let error = rewrap_by(&elsewhere(&case, 0), &case, &approval).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ClocksDisagree);
    block_on(correct_clock(
        &case.reader(),
        &case.bench.authority,
        "test",
        "a wrong clock",
    ))
    .unwrap();
    assert!(rewrap_by(&elsewhere(&case, 0), &case, &approval).is_ok());
    case.fake.forget_calls();
    case.bench.runtime.advance(2 * HOUR);
    let error = rewrap_by(&elsewhere(&case, 0), &case, &approval).unwrap_err();
    assert_eq!(fault(&error), ApprovalFault::Expired);
    assert_eq!(case.fake.total(), 0);
}

/// The version of a key that an envelope names is a claim: what has unwrapped counts.
#[test]
fn an_approval_of_one_version_serves_no_other() {
    let bench = Bench::new();
    let (mut one, fake) = bench.active("tenant/a", "a");
    fake.rotate_now();
    let sealed = {
        let sealer = uncached(&bench.open());
        seal(&sealer, "a")
    };
    let mut two = bench.went(bench.key("tenant/a", &fake), &[State::Pending]);
    bench.promote(&mut one, &mut two);
    fake.rotate_now();
    let second = {
        let sealer = uncached(&bench.open());
        seal(&sealer, "a")
    };
    let mut three = bench.went(bench.key("tenant/a", &fake), &[State::Pending]);
    bench.promote(&mut two, &mut three);
    for key in [&mut one, &mut two] {
        bench.go(key, Compromised);
        bench.put(&[key]);
    }
    let ring = bench.open();
    let approver = Authority::generate().unwrap();
    let mut case = Case {
        old: one,
        fake,
        sealed,
        sealer: uncached(&ring),
        ring,
        bench,
        approver,
    };
    case.approvers(&[&case.approver]);
    let approval = case.issue("PT1H");
    assert_eq!(case.rewrap(&[&approval]).unwrap().authorizations().len(), 1);
    case.fake.forget_calls();
    case.sealed = second;
    assert_eq!(case.fault(&[&approval]), ApprovalFault::OtherKey);
    let of_two = case.issue_of(two.id, "PT1H", &case.approver).unwrap();
    let new = case.rewrap(&[&approval, &of_two]).unwrap();
    assert_eq!(new.authorizations()[0].subject, two.id.to_string());
    assert_eq!(new.authorizations().len(), 1);
}
