//! Branch keys move from one parent to the next.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use waxseal::ErrorKind;
use waxseal::envelope::{AlgorithmClass, WrapAlgorithm};
use waxseal::key::Protection;
use waxseal::ring::profile::{Profiles, Requirements};
use waxseal::testing::Fault;

use super::*;

const TENANTS: [&str; 5] = ["a", "b", "c", "d", "e"];

/// Tenants with branch keys, four of an administrator and one of a provisioner, and what they have sealed; the parent was rotated.
fn rotated() -> (Branches, Vec<(String, Vec<u8>)>, RecordId) {
    let branches = Branches::new(VERSIONED);
    for tenant in &TENANTS[..4] {
        branches.branch(&format!("tenant/{tenant}"));
    }
    let sealer = branches.sealer(true);
    let sealed = TENANTS.map(|tenant| (tenant.to_owned(), branches.seal(&sealer, tenant)));
    let next = branches.rotate_parent();
    (branches, sealed.to_vec(), next)
}

fn all_open(branches: &Branches, sealed: &[(String, Vec<u8>)], case: &str) {
    let sealer = branches.sealer(false);
    for (tenant, sealed) in sealed {
        let opened = branches.bench.run(sealer.open(sealed, &context(tenant)));
        assert_eq!(
            opened.unwrap_or_else(|error| panic!("{case} {tenant}: {error}")),
            b"hello"
        );
    }
}

#[test]
fn every_branch_key_is_wrapped_anew_once_and_stays_the_same_key() {
    let (branches, sealed, next) = rotated();
    all_open(&branches, &sealed, "before");
    branches.bench.fakes.versioned.forget_calls();
    let mut told = Vec::new();
    let admin = branches.bench.admin();
    let what = BranchRewrap::default();
    let job = admin.rewrap_branches(&what, |so_far| told.push(so_far.rewrapped));
    let done = branches.bench.run(job).unwrap();
    assert_eq!(
        (
            done.rewrapped,
            done.taken_over,
            done.current,
            done.failed,
            done.left,
            done.is_stopped
        ),
        (5, 1, 0, 0, 0, false)
    );
    assert_eq!(told.last(), Some(&5));
    // For each: unwrapped, wrapped, and unwrapped again.
    assert_eq!(branches.calls(), (5, 10));
    assert_eq!((branches.under(branches.parent), branches.under(next)), (0, 5));
    let again = branches.rewrap();
    assert_eq!((again.rewrapped, again.current), (0, 5));
    assert_eq!(branches.calls(), (5, 10), "what is done costs no call");
    all_open(&branches, &sealed, "after");
    branches.check();
    // A copy in a backup is under the former parent, and the record says so.
    let record = branches.bench.active("tenant/a");
    let former = &record.branch.as_ref().unwrap().former;
    assert_eq!((former.len(), former[0].parent), (1, branches.parent));
    // Without the former version of the parent.
    branches
        .bench
        .fakes
        .versioned
        .set_state(1, waxseal::key::KekState::Destroyed);
    all_open(&branches, &sealed, "without the former parent");
}

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

#[test]
fn a_job_that_is_killed_anywhere_loses_nothing_and_goes_on() {
    let mut was_killed = 0;
    for polls in 1.. {
        let case = format!("after {polls}");
        let (branches, sealed, next) = rotated();
        let admin = branches.bench.stopping();
        let what = BranchRewrap::default();
        let done = run_until(admin.rewrap_branches(&what, |_| {}), polls);
        all_open(&branches, &sealed, &case);
        branches.check();
        branches.rewrap();
        assert_eq!(
            (branches.under(branches.parent), branches.under(next)),
            (0, 5),
            "{case}"
        );
        all_open(&branches, &sealed, &case);
        if done.is_some() {
            break;
        }
        was_killed = polls;
    }
    assert!(was_killed > 10, "only {was_killed} places");
}

#[test]
fn a_limit_stops_it_and_the_next_run_goes_on() {
    let (branches, sealed, next) = rotated();
    let admin = branches.bench.admin();
    let mut what = BranchRewrap::default();
    (what.limit, what.at_once) = (Some(2), 1);
    for (run, left) in [(1, 2), (2, 0)] {
        let done = branches.bench.run(admin.rewrap_branches(&what, |_| {})).unwrap();
        assert_eq!(
            (done.rewrapped, done.is_stopped, done.left),
            (2, true, left),
            "{run}"
        );
    }
    let done = branches.bench.run(admin.rewrap_branches(&what, |_| {})).unwrap();
    assert_eq!((done.rewrapped, done.is_stopped, done.left), (1, false, 0));
    assert_eq!(branches.under(next), 5);
    all_open(&branches, &sealed, "after");
    what.at_once = 65;
    let error = branches
        .bench
        .run(admin.rewrap_branches(&what, |_| {}))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn two_jobs_at_any_step_do_each_key_once() {
    for polls in 1.. {
        let (branches, sealed, next) = rotated();
        let slow = branches.bench.stopping();
        let what = BranchRewrap::default();
        let mut work = pin!(slow.rewrap_branches(&what, |_| {}));
        let mut done = None;
        for _ in 0..polls {
            if let Poll::Ready(ready) = work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                done = Some(ready);
                break;
            }
        }
        let other = branches.rewrap();
        let is_done = done.is_some();
        let own = done.unwrap_or_else(|| branches.bench.run(work)).unwrap();
        assert_eq!(own.rewrapped + other.rewrapped, 5, "after {polls}");
        assert_eq!(branches.under(next), 5);
        all_open(&branches, &sealed, "after both");
        if is_done {
            break;
        }
    }
}

#[test]
fn what_the_kms_answers_wrongly_is_never_committed() {
    for (method, fault) in [
        (Method::Wrap, Fault::WrongDek),
        (Method::Wrap, Fault::GarbageWrap),
        (Method::Wrap, Fault::OtherKek("another".to_owned())),
        (Method::Unwrap, Fault::WrongDek),
        (Method::Unwrap, Fault::Fails(ErrorKind::Denied)),
    ] {
        let (branches, sealed, next) = rotated();
        branches.bench.fakes.versioned.script_for(method, fault.clone());
        let done = branches.rewrap();
        assert_eq!(
            (done.rewrapped, done.failed, done.problems.len()),
            (4, 1, 1),
            "{fault:?}"
        );
        // The one of a provisioner is not among what the head counts.
        assert!(done.left <= 1);
        all_open(&branches, &sealed, "after a wrong answer");
        assert_eq!(branches.rewrap().rewrapped, 1);
        assert_eq!(branches.under(next), 5);
        all_open(&branches, &sealed, "after the next run");
    }
}

#[test]
fn a_kms_that_is_away_ends_the_job_and_what_was_done_stays() {
    let (branches, sealed, next) = rotated();
    let admin = branches.bench.admin();
    let mut what = BranchRewrap::default();
    what.at_once = 1;
    let fake = &branches.bench.fakes.versioned;
    // The first two are done, and the third is not.
    for _ in 0..2 {
        fake.script_for(
            Method::Wrap,
            Fault::Hangs(Arc::new(branches.bench.runtime.clone()), MINUTE / 60),
        );
    }
    fake.script_for(Method::Wrap, Fault::Fails(ErrorKind::Unavailable));
    let error = branches
        .bench
        .run(admin.rewrap_branches(&what, |_| {}))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(branches.under(next), 2);
    all_open(&branches, &sealed, "while it is away");
    assert_eq!(branches.rewrap().rewrapped, 3);
}

/// Under a parent that is out of use nothing is unwrapped, and everything else goes on.
#[test]
fn a_branch_key_under_a_revoked_parent_is_named() {
    let (branches, _, next) = rotated();
    let revocation = waxseal::ring::Revocation::new("T-1", "bob", "leaked");
    let admin = branches.bench.admin();
    branches
        .bench
        .run(admin.revoke(branches.parent, &revocation))
        .unwrap();
    branches.branch("tenant/f");
    branches.bench.fakes.versioned.forget_calls();
    let done = branches.rewrap();
    assert_eq!((done.rewrapped, done.current, done.failed), (0, 1, 5));
    assert_eq!(branches.calls(), (0, 0));
    let (of, why) = &done.problems[0];
    assert!(of.as_str().starts_with("tenant/"));
    assert!(
        why.to_string().contains("compromised") && why.to_string().contains("keys rotate"),
        "{why}"
    );
    // Which is what helps.
    let fresh = branches
        .bench
        .rotate(&Target::Scope(scope("tenant/a")), Rollout::AtOnce);
    assert_eq!(branches.parent_of(fresh), next);
}

/// Other parents are left alone if one is named.
#[test]
fn a_job_can_be_of_one_parent_scope() {
    let (branches, _, next) = rotated();
    let system = branches.bench.key("system", PLAIN);
    branches.try_branch("tenant/x", Some("system")).unwrap();
    let successor = branches
        .bench
        .rotate(&Target::Scope(scope("system")), Rollout::AtOnce);
    let mut what = BranchRewrap::default();
    what.parent = Some(scope("system"));
    let admin = branches.bench.admin();
    let done = branches.bench.run(admin.rewrap_branches(&what, |_| {})).unwrap();
    assert_eq!((done.rewrapped, done.current, done.left), (1, 0, 0));
    assert_eq!((branches.under(system), branches.under(successor)), (0, 1));
    assert_eq!(branches.under(next), 0);
    what.parent = Some(Scope::root());
    let done = branches.bench.run(admin.rewrap_branches(&what, |_| {})).unwrap();
    assert_eq!((done.rewrapped, branches.under(next)), (5, 5));
}

/// Whether a profile lets this tenant seal.
fn seals(branches: &Branches, demands: Requirements, tenant: &str) -> bool {
    let profiles = Profiles::new().define("p", demands).unwrap();
    let builder = branches.builder().profiles(profiles.everywhere("p").unwrap());
    let sealer = sealer(&branches.bench.run(builder.open()).unwrap());
    let sealed = branches.bench.run(sealer.seal(b"hello", &context(tenant)));
    match sealed {
        Ok(_) => true,
        Err(error) => {
            let unmet = ErrorKind::ProfileRefused {
                requirement: "classes",
            };
            assert_eq!(error.kind(), unmet, "{error}");
            false
        }
    }
}

#[test]
fn a_better_parent_makes_no_branch_key_better() {
    let rsa = |kms: FakeKeyManager| kms.with_algorithm(WrapAlgorithm::RSA_OAEP_256);
    let mut branches = Branches::under_kms(rsa);
    let plain = branches.bench.fakes.plain.clone();
    branches.bench.fakes.plain = plain.with_algorithm(WrapAlgorithm::PKCS11_AES_KWP);
    branches.branch("tenant/a");
    branches.move_parent(PLAIN);
    assert_eq!(branches.rewrap().rewrapped, 1);
    branches.branch("tenant/b");
    // It was wrapped under RSA, and whoever has a copy of that wrap breaks RSA.
    let symmetric = || Requirements::new().allowing([AlgorithmClass::Symmetric]);
    assert!(!seals(&branches, symmetric(), "a") && seals(&branches, symmetric(), "b"));
    let both = [AlgorithmClass::Symmetric, AlgorithmClass::Classical];
    assert!(seals(&branches, Requirements::new().allowing(both), "a"));
    // A new branch key of the tenant is as good as its parent.
    let target = Target::Scope(scope("tenant/a"));
    branches.bench.rotate(&target, Rollout::AtOnce);
    assert!(seals(&branches, symmetric(), "a"));
}

#[test]
fn a_parent_in_hardware_takes_back_no_copy_that_was_wrapped_in_software() {
    let branches = Branches::new(PLAIN);
    let key = branches.branch("tenant/a");
    let parent = branches.move_parent(VERSIONED);
    assert_eq!(branches.record(parent).protection, Protection::Software);
    // The KMS says better of a third one.
    let mut branches = branches;
    branches.bench.fakes.versioned = branches
        .bench
        .fakes
        .versioned
        .clone()
        .with_protection(Protection::Hardware);
    let parent = branches.rotate_parent();
    assert_eq!(branches.record(parent).protection, Protection::Hardware);
    assert_eq!(branches.rewrap().rewrapped, 1);
    assert_eq!(branches.record(key).protection, Protection::Software);
    let fresh = branches.branch("tenant/b");
    assert_eq!(branches.record(fresh).protection, Protection::Hardware);
}

#[test]
fn a_weaker_parent_is_taken_only_if_asked_for() {
    let hardware = |kms: FakeKeyManager| kms.with_protection(Protection::Hardware);
    let branches = Branches::under_kms(hardware);
    let key = branches.branch("tenant/a");
    branches.move_parent(PLAIN);
    let refused = branches.rewrap();
    assert_eq!((refused.rewrapped, refused.failed, refused.left), (0, 1, 1));
    let problem = refused.problems[0].1.to_string();
    assert!(problem.contains("weaker"), "{problem}");
    assert_eq!(branches.record(key).protection, Protection::Hardware);
    let mut what = BranchRewrap::default();
    what.allow_weaker = true;
    let admin = branches.bench.admin();
    let done = branches.bench.run(admin.rewrap_branches(&what, |_| {})).unwrap();
    assert_eq!((done.rewrapped, done.failed, done.left), (1, 0, 0));
    assert_eq!(branches.record(key).protection, Protection::Software);
}
