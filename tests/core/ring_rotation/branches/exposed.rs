//! A parent leaks, and with it the branch keys that are or were wrapped under it.

use waxseal::ErrorKind;
use waxseal::ring::{Action, Affected, Revocation, Revoked, Simulation};

use super::*;

fn leak() -> Revocation {
    Revocation::new("INC-7", "carol", "it was in a log")
}

impl Branches {
    fn revoke(&self, key: RecordId) -> Revoked {
        self.bench.run(self.bench.admin().revoke(key, &leak())).unwrap()
    }

    fn tick(&self) -> waxseal::ring::Tick {
        self.bench.run(self.bench.admin().tick(None)).unwrap()
    }

    fn is_exposed(&self, id: RecordId) -> bool {
        let record = self.record(id);
        !self
            .bench
            .view(record.scope.as_str())
            .exposed_by(&record)
            .is_empty()
    }

    /// A ring with a branch key of each tenant that was wrapped under the first parent, and is under another one now.
    fn moved(tenants: &[&str]) -> (Self, Vec<RecordId>, RecordId) {
        let branches = Self::new(VERSIONED);
        let ids = tenants
            .iter()
            .map(|tenant| branches.branch(&format!("tenant/{tenant}")));
        let ids = ids.collect();
        let next = branches.rotate_parent();
        assert_eq!(branches.rewrap().rewrapped, tenants.len() as u64);
        (branches, ids, next)
    }
}

#[test]
fn a_branch_key_of_a_leaked_former_parent_is_exposed_and_a_tick_rotates_it() {
    let (branches, ids, next) = Branches::moved(&["a", "b"]);
    let bench = &branches.bench;
    let sealed = branches.seal(&branches.sealer(false), "a");
    let simulated = Simulation::Revoke(branches.parent);
    let simulated = bench.run(bench.reader(false).simulate(&simulated, &[])).unwrap();
    let of_tenants: Vec<_> = simulated
        .scopes
        .iter()
        .filter(|affected| affected.why == Affected::FormerBranch)
        .map(|affected| affected.scope.to_string())
        .collect();
    assert_eq!(of_tenants, ["tenant/a", "tenant/b"]);
    assert!(
        simulated
            .unreadable
            .iter()
            .any(|text| text.contains("2 branch keys were wrapped under it before")),
        "{simulated:?}"
    );
    assert!(!branches.is_exposed(ids[0]));

    let revoked = branches.revoke(branches.parent);
    let found = &revoked.branches;
    assert_eq!(
        (found.keys, found.active, found.stopped),
        (2, 2, 0),
        "{revoked:?}"
    );
    assert!(
        found
            .named
            .iter()
            .all(|one| !one.is_under && ids.contains(&one.key))
    );
    assert!(branches.is_exposed(ids[0]));
    // What is stored opens, and counts as exposed.
    branches.opens(&sealed, "a").unwrap();
    let ring = branches.ring(false);
    bench
        .run(sealer(&ring).open(sealed.as_slice(), &context("a")))
        .unwrap();
    assert_eq!(ring.status().unwrap().exposed_opens, 1);
    let check = bench.run(bench.reader(false).check()).unwrap();
    assert!(check.is_good());
    assert!(
        check
            .findings
            .iter()
            .any(|found| found.record == Some(ids[0]) && found.what.contains("needs rotation")),
        "{:?}",
        check.findings
    );

    let tick = branches.tick();
    assert_eq!(tick.exposed, 2, "{tick:?}");
    assert!(tick.refused.is_empty() && tick.problems.is_empty(), "{tick:?}");
    for (id, of) in ids.iter().zip(["tenant/a", "tenant/b"]) {
        let active = bench.active(of);
        assert_eq!(
            (active.predecessor, branches.parent_of(active.id)),
            (Some(*id), next)
        );
        assert!(!branches.is_exposed(active.id));
        assert_eq!(bench.state(*id), State::Deprecated);
        let old = branches.record(*id);
        let why = &old.history.last().unwrap().reason;
        assert!(why.contains("was revoked (ticket INC-7)"), "{why}");
    }
    // Once.
    let tick = branches.tick();
    assert!(tick.done.is_empty() && tick.exposed == 0, "{tick:?}");
    assert_eq!(branches.record(branches.parent).branches_due, None);
    branches.opens(&sealed, "a").unwrap();
    branches.check();
    // What was rotated does not come back into use.
    let words = refused(bench.run(bench.admin().reinstate(ids[0], "x")));
    assert!(
        words.contains("is exposed") && words.contains("keys rotate"),
        "{words}"
    );
    assert_eq!(bench.state(ids[0]), State::Deprecated);
}

#[test]
fn branch_keys_of_a_leaked_parent_seal_again_after_a_tick_and_no_reader_is_waited_for() {
    let branches = Branches::with(VERSIONED, |settings| {
        settings.readers = vec![waxseal::ring::NamedReader::new("billing")];
    });
    let bench = &branches.bench;
    let id = branches.branch("tenant/a");
    let sealed = branches.seal(&branches.sealer(false), "a");
    let simulated = Simulation::Revoke(branches.parent);
    let simulated = bench.run(bench.reader(false).simulate(&simulated, &[])).unwrap();
    assert!(
        simulated
            .unreadable
            .iter()
            .any(|text| text.contains("nothing is sealed in those scopes")),
        "{simulated:?}"
    );
    let revoked = branches.revoke(branches.parent);
    let found = &revoked.branches;
    assert_eq!(
        (found.keys, found.active, found.stopped),
        (1, 1, 1),
        "{revoked:?}"
    );
    let sealer = branches.sealer(false);
    let error = bench.run(sealer.seal(b"x", &context("a"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoKeyForScope);
    let words = error.to_string();
    for part in [
        id.to_string(),
        branches.parent.to_string(),
        "keys tick".to_owned(),
        "tenant/a".to_owned(),
    ] {
        assert!(words.contains(&part), "{words}");
    }
    assert_eq!(
        branches.opens(&sealed, "a").unwrap_err().kind(),
        ErrorKind::KeyRevoked
    );
    // A re-wrap of the branch key is no way out, and says what is.
    let job = branches.rewrap();
    let words = job.problems[0].1.to_string();
    assert!(
        job.failed == 1 && words.contains("keys rotate") && !words.contains("reinstate"),
        "{words}"
    );
    let tick = branches.tick();
    let actions: Vec<Action> = tick.done.iter().map(|done| done.action).collect();
    assert_eq!(actions, [Action::Branches, Action::Rotate], "{tick:?}");
    let sealed = branches.seal(&branches.sealer(false), "a");
    branches.opens(&sealed, "a").unwrap();
    assert_eq!(
        branches.parent_of(bench.active("tenant/a").id),
        revoked.successor.unwrap()
    );
    branches.check();
}

/// Without a parent none can be made: a tick begins nothing, and says what is missing.
#[test]
fn branch_keys_wait_for_another_parent() {
    let branches = Branches::new(VERSIONED);
    let bench = &branches.bench;
    let id = branches.branch("tenant/a");
    let mut alone = leak();
    alone.successor = false;
    bench.run(bench.admin().revoke(branches.parent, &alone)).unwrap();
    let tick = branches.tick();
    assert!(tick.done.is_empty() && tick.exposed == 0, "{tick:?}");
    assert!(
        tick.refused[0].action == Action::Branches
            && tick.refused[0].reason.contains("no active key in slot default"),
        "{tick:?}"
    );
    let verdict = bench.run(bench.admin().verdict(None, None)).unwrap();
    assert_eq!(verdict.due.len(), 1, "{verdict:?}");
    let next = bench.key("/", PLAIN);
    branches.tick();
    let active = bench.active("tenant/a");
    assert_eq!(
        (active.predecessor, branches.parent_of(active.id)),
        (Some(id), next)
    );
}

/// First keys that nobody has taken over yet are found, too.
#[test]
fn a_first_key_of_a_provisioner_is_rotated_when_its_parent_leaks() {
    let branches = Branches::new(VERSIONED);
    let bench = &branches.bench;
    branches.seal(&branches.sealer(true), "a");
    let first = bench.active("tenant/a").id;
    let revoked = branches.revoke(branches.parent);
    assert_eq!(revoked.branches.stopped, 1, "{revoked:?}");
    let tick = branches.tick();
    assert_eq!(tick.exposed, 1, "{tick:?}");
    let active = bench.active("tenant/a");
    assert_eq!(active.predecessor, Some(first));
    let sealed = branches.seal(&branches.sealer(false), "a");
    branches.opens(&sealed, "a").unwrap();
    branches.check();
}

/// What waits to follow an exposed key and is exposed itself is taken back, or named if somebody has to decide.
#[test]
fn an_exposed_branch_key_does_not_become_active() {
    let (branches, ids, _) = Branches::moved(&["a"]);
    let bench = &branches.bench;
    let tenant = Target::Scope(scope("tenant/a"));
    let staged = bench.rotate(&tenant, Rollout::Staged);
    let parent = branches.parent_of(staged);
    branches.rotate_parent();
    branches.rewrap();
    let revoked = branches.revoke(parent);
    assert_eq!(revoked.branches.keys, 2, "{revoked:?}");
    let words = refused(bench.run(bench.admin().promote(staged, "x")));
    assert!(words.contains(&format!("keys take-back {staged}")), "{words}");
    let tick = branches.tick();
    assert!(
        tick.refused
            .iter()
            .any(|refused| refused.action == Action::Rotate && refused.reason.contains("take it back")),
        "{tick:?}"
    );
    assert_eq!(bench.state(ids[0]), State::Active);
    bench.run(bench.admin().take_back(staged, "x")).unwrap();
    branches.tick();
    assert_eq!(bench.state(ids[0]), State::Deprecated);
    assert!(!branches.is_exposed(bench.active("tenant/a").id));
    branches.check();
}

#[test]
fn a_tick_that_dies_anywhere_loses_no_exposed_branch_key() {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};
    for polls in (1..400).step_by(7) {
        let branches = Branches::new(VERSIONED);
        let bench = &branches.bench;
        let ids = ["a", "b"].map(|tenant| branches.branch(&format!("tenant/{tenant}")));
        branches.revoke(branches.parent);
        let is_done = {
            let admin = bench.stopping();
            let mut work = pin!(admin.tick(None));
            (0..polls).any(|_| {
                let task = &mut Context::from_waker(Waker::noop());
                work.as_mut().poll(task).is_ready()
            })
        };
        bench.runtime.advance(3 * MINUTE);
        branches.tick();
        for id in ids {
            let active = bench.active(branches.record(id).scope.as_str());
            assert_eq!(active.predecessor, Some(id), "after {polls}");
        }
        branches.check();
        if is_done {
            return;
        }
    }
    panic!("the tick never ended");
}
