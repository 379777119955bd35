//! What provisioners have made, an authority takes over.

use waxseal::ErrorKind;

use super::*;

#[test]
fn a_tick_takes_over_what_provisioners_have_made() {
    let branches = Branches::new(VERSIONED);
    let (bench, admin) = (&branches.bench, branches.bench.admin());
    let sealer = branches.sealer(true);
    let tenants: Vec<String> = (0..150).map(|number| format!("t{number}")).collect();
    let sealed: Vec<Vec<u8>> = tenants
        .iter()
        .map(|tenant| branches.seal(&sealer, tenant))
        .collect();
    let check = bench.run(bench.reader(false).check()).unwrap();
    assert_eq!((check.provisioned, branches.under(branches.parent)), (150, 0));
    let revision = bench.run(bench.inventory.revision()).unwrap();
    bench.fakes.versioned.forget_calls();
    let tick = bench.run(admin.tick(None)).unwrap();
    assert_eq!(tick.taken_over, 150);
    assert_eq!(branches.calls(), (0, 0), "it needs no key");
    // In batches: two changes.
    assert_eq!(bench.run(bench.inventory.revision()).unwrap(), revision + 2);
    assert_eq!(branches.under(branches.parent), 150);
    assert!(
        bench
            .run(bench.inventory.scopes_provisioned(None, 10))
            .unwrap()
            .is_empty()
    );
    for (tenant, sealed) in tenants.iter().zip(&sealed).step_by(29) {
        branches.opens(sealed, tenant).unwrap();
    }
    let record = bench.active("tenant/t0");
    assert_eq!(record.history.last().unwrap().actor, "alice");
    assert_eq!(record.in_ring_since + 2, revision + 2);
    // Nothing is left for the next one.
    let again = bench.run(admin.tick(None)).unwrap();
    assert_eq!(again.taken_over, 0);
    branches.check();
}

#[test]
fn a_limit_bounds_what_is_taken_over_at_once() {
    let branches = Branches::new(VERSIONED);
    let sealer = branches.sealer(true);
    for tenant in ["a", "b", "c"] {
        branches.seal(&sealer, tenant);
    }
    let admin = branches.bench.admin();
    for (limit, taken) in [(0, 0), (2, 2), (2, 1), (2, 0)] {
        let done = branches.bench.run(admin.take_over_provisioned(limit)).unwrap();
        assert_eq!(done.keys, taken);
    }
    assert_eq!(branches.under(branches.parent), 3);
}

/// Whatever an administrator does to such a scope takes its key over first.
#[test]
fn each_change_of_a_scope_takes_its_first_key_over() {
    let branches = Branches::new(VERSIONED);
    let bench = &branches.bench;
    let sealed = branches.seal(&branches.sealer(true), "a");
    let first = bench.active("tenant/a").id;
    let second = bench.rotate(&Target::Scope(scope("tenant/a")), Rollout::AtOnce);
    assert_eq!(
        (bench.state(first), bench.state(second)),
        (State::Deprecated, State::Active)
    );
    assert_eq!(branches.under(branches.parent), 2);
    branches.opens(&sealed, "a").unwrap();
    let sealed = branches.seal(&branches.sealer(true), "b");
    let first = bench.active("tenant/b").id;
    let revocation = waxseal::ring::Revocation::new("T-1", "bob", "leaked");
    bench.run(bench.admin().revoke(first, &revocation)).unwrap();
    assert_eq!(bench.state(first), State::Compromised);
    assert_eq!(
        branches.opens(&sealed, "b").unwrap_err().kind(),
        ErrorKind::KeyRevoked
    );
    branches.check();
}

/// What was taken over and is deleted afterwards is noticed; what is replayed counts for nothing.
#[test]
fn after_that_a_deletion_is_noticed_and_a_replay_is_not_believed() {
    let branches = Branches::new(VERSIONED);
    let (bench, admin) = (&branches.bench, branches.bench.admin());
    branches.seal(&branches.sealer(true), "a");
    let of = [scope("tenant/a")];
    let before = bench.run(bench.inventory.read(&of, &[])).unwrap();
    let row = before.provisioned[0].clone();
    bench.run(admin.tick(None)).unwrap();
    let first = bench.active("tenant/a").id;
    let mut revocation = waxseal::ring::Revocation::new("T-1", "bob", "leaked");
    revocation.successor = false;
    bench.run(admin.revoke(first, &revocation)).unwrap();
    // An inventory that puts the row back, beside the records.
    let replaying: Arc<dyn Inventory> = Arc::new(Replaying {
        inner: bench.inventory.clone(),
        row,
    });
    let sealer = sealer(&branches.ring_on(replaying, true));
    let error = bench.run(sealer.seal(b"x", &context("a"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoKeyForScope, "{error}");
}

/// Returns a provisioned row that was taken over.
#[derive(Debug)]
struct Replaying {
    inner: MemoryInventory,
    row: waxseal::ring::inventory::Row,
}

#[async_trait::async_trait]
impl waxseal::testing::InventoryLayer for Replaying {
    fn inner(&self) -> &dyn Inventory {
        &self.inner
    }

    async fn read(
        &self,
        scopes: &[Scope],
        nodes: &[waxseal::ring::inventory::NodePath],
    ) -> Result<waxseal::ring::inventory::Snapshot> {
        let mut snapshot = self.inner.read(scopes, nodes).await?;
        if scopes.contains(&self.row.scope) {
            snapshot.provisioned.push(self.row.clone());
        }
        Ok(snapshot)
    }
}
