//! A parent ends when nothing hangs on it anymore, and an export has what hung on it.

use waxseal::ErrorKind;
use waxseal::ring::RetireBy;
use waxseal::ring::evidence::Census;

use super::*;

#[test]
fn a_parent_is_not_retired_while_branch_keys_are_under_it() {
    let branches = Branches::with(VERSIONED, |settings| settings.retire = RetireBy::OverlapEnd);
    let (bench, admin) = (&branches.bench, branches.bench.admin());
    for tenant in ["a", "b", "c", "d", "e"] {
        branches.branch(&format!("tenant/{tenant}"));
    }
    let old = branches.parent;
    branches.rotate_parent();
    bench.runtime.advance(2 * DAY);
    let grounds = [Grounds::OverlapEnd, Grounds::Force];
    for grounds in grounds {
        let words = refused(bench.run(admin.retire(old, grounds, "x")));
        for part in [
            "5 branch keys",
            "tenant/a, tenant/b, tenant/c and others",
            "waxseal ring rewrap-branches --scope /",
        ] {
            assert!(words.contains(part), "{words}");
        }
    }
    let words = refused(branches.retire(old));
    assert!(words.contains("5 branch keys"), "{words}");
    // The end of the overlap retires nothing by itself, and a tick says why.
    let tick = bench.run(admin.tick(None)).unwrap();
    assert!(
        tick.refused
            .iter()
            .any(|refused| refused.key == old && refused.reason.contains("branch keys")),
        "{tick:?}"
    );
    assert_eq!(bench.state(old), State::Deprecated);
    assert_eq!(branches.rewrap().rewrapped, 5);
    assert_eq!(branches.retire(old).unwrap(), State::Retired);
    branches.check();
}

#[test]
fn a_parent_is_not_destroyed_before_an_export_has_what_left_it() {
    let branches = Branches::new(VERSIONED);
    let (bench, admin) = (&branches.bench, branches.bench.admin());
    branches.branch("tenant/a");
    let sealed = branches.seal(&branches.sealer(false), "a");
    let old = branches.parent;
    let (_, before) = bench.run(admin.reader().export()).unwrap();
    assert_eq!(bench.run(admin.remember_export(&before)).unwrap().actor, "alice");
    branches.rotate_parent();
    bench.runtime.advance(2 * DAY);
    let left = bench.run(bench.inventory.revision()).unwrap() + 1;
    branches.rewrap();
    branches.retire(old).unwrap();
    bench.runtime.advance(MINUTE);
    let words = refused(branches.destroy(old));
    assert!(
        words.contains(&format!("until revision {left}")) && words.contains("waxseal ring export"),
        "{words}"
    );
    // The same export again is not newer, and one that was changed is none.
    bench.run(admin.remember_export(&before)).unwrap();
    refused(branches.destroy(old));
    let (_, export) = bench.run(admin.reader().export()).unwrap();
    let changed = String::from_utf8(export.clone())
        .unwrap()
        .replacen("tenant/a", "tenant/b", 1);
    for bad in [changed.as_bytes(), b"{}".as_slice(), &export[..export.len() / 2]] {
        let error = bench.run(admin.remember_export(bad)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InventoryInvalid, "{error}");
    }
    let other = Branches::new(VERSIONED);
    let (_, foreign) = other.bench.run(other.bench.admin().reader().export()).unwrap();
    bench.run(admin.remember_export(&foreign)).unwrap_err();
    refused(branches.destroy(old));
    let remembered = bench.run(admin.remember_export(&export)).unwrap();
    assert!(remembered.revision >= left, "{remembered:?}");
    // It is kept by every change after it.
    branches.branch("tenant/b");
    assert_eq!(bench.view("/").exported(), Some(&remembered));
    bench.runtime.advance(MINUTE);
    assert_eq!(branches.destroy(old).unwrap(), State::Destroying);
    bench.runtime.advance(8 * DAY);
    for _ in 0..3 {
        bench.run(admin.tick(None)).unwrap();
        bench.runtime.advance(DAY);
    }
    bench
        .fakes
        .versioned
        .set_state(1, waxseal::key::KekState::Destroyed);
    branches.opens(&sealed, "a").unwrap();
    branches.check();
}

/// A parent from which nothing has moved needs no export.
#[test]
fn a_parent_without_branch_keys_needs_no_export() {
    let branches = Branches::new(VERSIONED);
    let bench = &branches.bench;
    let old = branches.parent;
    let only = branches.branch("tenant/a");
    branches.rotate_parent();
    let next = bench.rotate(&Target::Key(only), Rollout::AtOnce);
    bench.runtime.advance(2 * DAY);
    branches.retire(only).unwrap();
    bench.runtime.advance(MINUTE);
    branches.destroy(only).unwrap();
    let words = refused(branches.retire(old));
    assert!(words.contains("1 branch key is"), "{words}");
    bench.runtime.advance(8 * DAY);
    bench.run(bench.admin().tick(None)).unwrap();
    assert_eq!(
        (bench.state(only), bench.state(next)),
        (State::Destroyed, State::Active)
    );
    branches.retire(old).unwrap();
    bench.runtime.advance(MINUTE);
    assert_eq!(branches.destroy(old).unwrap(), State::Destroying);
}

/// Those that only a provisioner has signed count as well, though no head counts them.
#[test]
fn a_first_key_of_a_provisioner_keeps_its_parent() {
    let branches = Branches::new(VERSIONED);
    let bench = &branches.bench;
    let sealed = branches.seal(&branches.sealer(true), "a");
    let old = branches.parent;
    assert_eq!(branches.under(old), 0);
    branches.rotate_parent();
    bench.runtime.advance(2 * DAY);
    let words = refused(branches.retire(old));
    assert!(
        words.contains("1 branch key is") && words.contains("tenant/a"),
        "{words}"
    );
    let done = branches.rewrap();
    assert_eq!((done.rewrapped, done.taken_over, done.left), (1, 1, 0));
    let left = bench.run(bench.inventory.revision()).unwrap();
    branches.retire(old).unwrap();
    bench.runtime.advance(MINUTE);
    // An export of before has it under the old key alone.
    let words = refused(branches.destroy(old));
    assert!(words.contains(&format!("until revision {left}")), "{words}");
    let (_, export) = bench.run(bench.admin().reader().export()).unwrap();
    bench.run(bench.admin().remember_export(&export)).unwrap();
    assert_eq!(branches.destroy(old).unwrap(), State::Destroying);
    branches.opens(&sealed, "a").unwrap();
}

#[test]
fn a_census_counts_branch_keys_under_their_parents() {
    let branches = Branches::new(PLAIN);
    let bench = &branches.bench;
    branches.branch("tenant/a");
    branches.branch("tenant/b");
    branches.seal(&branches.sealer(true), "c");
    let gone = branches.branch("tenant/d");
    let old = branches.parent;
    let next = branches.rotate_parent();
    branches.branch("tenant/e");
    let staged = bench.rotate(&Target::Key(gone), Rollout::Staged);
    bench.run(bench.admin().take_back(staged, "x")).unwrap();
    bench.runtime.advance(2 * DAY);
    let reader = bench.reader(false);
    let covers = vec![Covered::BranchKeys, Covered::Store("users".to_owned())];
    let census = Census::begin(&reader, &bench.authority, "census", covers);
    let receipt = bench.run(census).unwrap().finish().unwrap();
    let counts = |id: RecordId| {
        let counts = receipt.keys().iter().find(|count| count.key == id).unwrap();
        (counts.items, counts.sole)
    };
    assert_eq!((counts(old), counts(next)), ((4, 4), (1, 1)));
    assert_eq!(receipt.covers()[0].items, 5);
    assert_eq!(receipt.covers()[1].items, 0);
    assert_eq!(receipt.items(), 5);
    assert_eq!(receipt.not_covered(), ["backups", "dek-stores"]);
    let view = bench.run(reader.scopes(&[scope("/")])).unwrap();
    let verified = receipt.verify(&view).unwrap();
    let evidence = waxseal::ring::EvidenceSource::about(&verified, &branches.record(old)).unwrap();
    let words = refused(bench.run(bench.admin().retire(old, Grounds::Evidence(&evidence), "x")));
    assert!(
        words.contains("not one envelope in branch-keys, store:users"),
        "{words}"
    );
    let evidence = evidence.allowing_empty();
    let words = refused(bench.run(bench.admin().retire(old, Grounds::Evidence(&evidence), "x")));
    assert!(
        words.contains("4 items would become unreadable") && words.contains("the branch key"),
        "{words}"
    );
}

/// Whoever is below a parent goes with it, and a check says so: the ring is good all the same.
#[test]
fn a_check_names_branch_keys_whose_parent_is_revoked() {
    let branches = Branches::new(VERSIONED);
    let (bench, admin) = (&branches.bench, branches.bench.admin());
    let id = branches.branch("tenant/a");
    let revocation = waxseal::ring::Revocation::new("T-1", "bob", "leaked");
    bench.run(admin.revoke(branches.parent, &revocation)).unwrap();
    let check = bench.run(bench.reader(false).check()).unwrap();
    let named: Vec<_> = check
        .findings
        .iter()
        .filter(|found| found.record == Some(id))
        .collect();
    assert!(
        named.len() == 1 && !named[0].is_error && named[0].what.contains("needs rotation"),
        "{:?}",
        check.findings
    );
    assert!(check.is_good());
    // It is rotated, and what is not active needs nothing.
    bench.run(admin.tick(None)).unwrap();
    branches.check();
    let check = bench.run(bench.reader(false).check()).unwrap();
    assert!(
        check.findings.iter().all(|found| found.record != Some(id)),
        "{:?}",
        check.findings
    );
    // Provisioned, and not taken over yet.
    let branches = Branches::new(VERSIONED);
    branches.seal(&branches.sealer(true), "a");
    let check = branches.bench.run(branches.bench.reader(false).check()).unwrap();
    assert!(check.is_good());
    assert_eq!(check.provisioned, 1);
    assert!(
        check
            .findings
            .iter()
            .any(|found| found.what.contains("keys tick")),
        "{:?}",
        check.findings
    );
}
