//! Keys that were provisioned, after the ring has taken them over, and what an inventory makes of them.

use super::*;
use crate::ring::inventory::Signed;
use crate::ring::record::Record as _;

/// Lets the ring change something else of a scope.
fn touch(shop: &Shop, of: &str) {
    let own = shop.bench.fake("touch");
    let key = shop.bench.went(shop.bench.key(of, &own), &[State::Pending]);
    shop.bench.put(&[&key]);
}

#[test]
fn a_change_of_the_scope_takes_the_key_over_and_nobody_notices() {
    let shop = Shop::new();
    let ring = shop.ring();
    let cached = ring.sealer().build().unwrap();
    let sealed = seal(&cached, "a");
    let handle = block_on(cached.data_key(&context("a"))).unwrap();
    let before = shop.keys("tenant/a")[0].clone();
    touch(&shop, "tenant/a");
    assert!(shop.rows("a").is_empty());
    let after = shop
        .keys("tenant/a")
        .into_iter()
        .find(|key| key.id == before.id)
        .unwrap();
    assert_eq!((after.state, &after.branch), (State::Active, &before.branch));
    assert_eq!(
        (after.history.len(), after.revision, after.due()),
        (2, 2, before.due())
    );
    shop.kms.forget_calls();
    block_on(ring.refresh()).unwrap();
    // Neither leases nor the open key have ended.
    assert!(handle.seal(b"", Aad::none()).is_ok());
    assert_eq!(open(&cached, &sealed, "a").unwrap(), b"hello");
    seal(&uncached(&ring), "a");
    assert_eq!(shop.kms.total(), 0);
    assert_eq!(open(&uncached(&shop.plain()), &sealed, "a").unwrap(), b"hello");
    assert!(block_on(shop.reader().check()).unwrap().findings.is_empty());
}

#[test]
fn what_was_revoked_or_destroyed_is_not_revived_by_its_first_row() {
    use State::{Compromised, Deprecated, Destroyed, Destroying, Retired};
    for path in [
        &[Compromised][..],
        &[Deprecated, Retired],
        &[Deprecated, Retired, Destroying, Destroyed],
    ] {
        let shop = Shop::new();
        let ring = shop.ring();
        let sealer = uncached(&ring);
        let sealed = seal(&sealer, "a");
        let row = shop.rows("a").remove(0);
        let mut key = shop.keys("tenant/a")[0].clone();
        for state in path {
            shop.turn(&mut key, *state);
        }
        // Whoever can write the inventory puts the row back, signed as it is.
        let replay = Replay {
            inner: shop.bench.inventory.clone(),
            row,
        };
        let builder = shop.bench.builder_on(Arc::new(replay.clone()));
        let fresh = uncached(&block_on(builder.provisioner(shop.private()).open()).unwrap());
        shop.kms.forget_calls();
        let expected = match path.last() {
            Some(Compromised) => ErrorKind::KeyRevoked,
            Some(Destroyed) => ErrorKind::KeyDestroyed,
            _ => ErrorKind::KeyRetired,
        };
        assert_eq!(kind(open(&fresh, &sealed, "a")), expected, "{path:?}");
        assert_eq!(refused(&fresh, "a"), ErrorKind::NoKeyForScope, "{path:?}");
        assert_eq!(shop.kms.total(), 0);
        let reader = Reader::new(shop.bench.trust(), Arc::new(replay));
        let reader = reader.with_runtime(Arc::new(shop.bench.runtime.clone()));
        let check = block_on(reader.check()).unwrap();
        assert!(
            check.is_good()
                && check
                    .findings
                    .iter()
                    .any(|finding| finding.what.contains("does not count")),
            "{:?}",
            check.findings
        );
        // An export leaves it out.
        let (_, export) = block_on(reader.export()).unwrap();
        block_on(crate::ring::import(
            &shop.bench.trust(),
            &MemoryInventory::new(),
            &export,
        ))
        .unwrap();
    }
}

/// Returns a provisioned row whenever its scope is read, and lists it.
#[derive(Clone, Debug)]
struct Replay {
    inner: MemoryInventory,
    row: Row,
}

#[async_trait]
impl InventoryLayer for Replay {
    fn inner(&self) -> &dyn Inventory {
        &self.inner
    }

    async fn read(&self, scopes: &[Scope], nodes: &[NodePath]) -> Result<Snapshot> {
        let mut snapshot = self.inner.read(scopes, nodes).await?;
        if scopes.contains(&self.row.scope) {
            snapshot.provisioned = vec![self.row.clone()];
        }
        Ok(snapshot)
    }

    async fn provision(&self, _: u64, _: &Row) -> Result<Row> {
        Ok(self.row.clone())
    }

    async fn scopes_provisioned(&self, after: Option<&Scope>, _: u32) -> Result<Vec<Scope>> {
        let one = Some(self.row.scope.clone()).filter(|scope| after.is_none_or(|after| scope > after));
        Ok(one.into_iter().collect())
    }
}

#[test]
fn an_inventory_that_answers_a_provision_with_another_row_makes_nobody_seal() {
    let shop = Shop::new();
    let sealer = uncached(&shop.ring());
    seal(&sealer, "a");
    let row = shop.rows("a").remove(0);
    type Edit = fn(&mut Row);
    let edits: [Edit; 5] = [
        // That of another tenant, as it is or with another name.
        |_| {},
        |row| row.scope = scope("tenant/b"),
        |row| row.signed.signature[0] ^= 1,
        |row| row.signed = Signed::new(b"{}".to_vec(), row.signed.signer, row.signed.signature),
        |row| row.id = RecordId::new("2026-01-01T00:00:00Z".parse().unwrap()).unwrap(),
    ];
    for edit in edits {
        let mut row = row.clone();
        edit(&mut row);
        #[derive(Debug)]
        struct Liar(MemoryInventory, Row);
        #[async_trait]
        impl InventoryLayer for Liar {
            fn inner(&self) -> &dyn Inventory {
                &self.0
            }
            async fn provision(&self, _: u64, _: &Row) -> Result<Row> {
                Ok(self.1.clone())
            }
        }
        let liar = Liar(shop.bench.inventory.clone(), row);
        let builder = shop.bench.builder_on(Arc::new(liar));
        let liar = uncached(&block_on(builder.provisioner(shop.private()).open()).unwrap());
        assert_eq!(refused(&liar, "b"), ErrorKind::Conflict);
        assert!(shop.rows("b").is_empty());
    }
}

#[test]
fn a_deleted_row_is_not_noticed_before_it_was_taken_over_and_then_is() {
    let shop = Shop::new();
    let ring = shop.ring();
    let sealer = uncached(&ring);
    let sealed = seal(&sealer, "a");
    let row = shop.rows("a").remove(0);
    rewrite(&shop.bench, |whole| {
        whole.provisioned.retain(|other| other.id != row.id);
    });
    // Whoever has the key goes on; a fresh process makes another, and cannot open what was sealed before.
    assert_eq!(open(&sealer, &sealed, "a").unwrap(), b"hello");
    let fresh = uncached(&shop.ring());
    assert_ne!(keks(&seal(&fresh, "a")), keks(&sealed));
    assert_eq!(kind(open(&fresh, &sealed, "a")), ErrorKind::NoUsableKey);
    // One that was taken over cannot go without a word.
    let shop = Shop::new();
    seal(&uncached(&shop.ring()), "a");
    touch(&shop, "tenant/a");
    let id = shop.keys("tenant/a")[0].id;
    rewrite(&shop.bench, |whole| whole.rows.retain(|row| row.id != id));
    assert_eq!(refused(&uncached(&shop.ring()), "a"), ErrorKind::InventoryInvalid);
}

/// Changes what the inventory holds, as whoever can write the tables can.
fn rewrite(bench: &Bench, edit: impl FnOnce(&mut Snapshot)) {
    let whole = Reader::new(bench.trust(), Arc::new(bench.inventory.clone()));
    let (mut whole, _) = block_on(whole.everything()).unwrap();
    edit(&mut whole);
    bench.inventory.replace(&whole);
}

#[test]
fn an_export_holds_what_was_provisioned() {
    let shop = Shop::new();
    let sealer = uncached(&shop.ring());
    let sealed: Vec<_> = ["a", "b", "c"]
        .map(|tenant| (tenant, seal(&sealer, tenant)))
        .to_vec();
    touch(&shop, "tenant/b");
    let (mark, export) = block_on(shop.reader().export()).unwrap();
    let copy = MemoryInventory::with_runtime(Arc::new(shop.bench.runtime.clone()));
    assert_eq!(
        block_on(crate::ring::import(&shop.bench.trust(), &copy, &export)).unwrap(),
        mark
    );
    let ring = uncached(&block_on(shop.bench.builder_on(Arc::new(copy.clone())).open()).unwrap());
    for (tenant, sealed) in &sealed {
        assert_eq!(open(&ring, sealed, tenant).unwrap(), b"hello");
    }
    let scopes = block_on(copy.scopes_provisioned(None, 10)).unwrap();
    assert_eq!(scopes, [scope("tenant/a"), scope("tenant/c")]);
    // One that was changed, or that has records besides, is refused.
    let text = String::from_utf8(export).unwrap();
    let mut changed: serde_json::Value = serde_json::from_str(&text).unwrap();
    changed["provisioned"][0]["scope"] = "tenant/z".into();
    let empty = MemoryInventory::new;
    let import = |value: &serde_json::Value| {
        block_on(crate::ring::import(
            &shop.bench.trust(),
            &empty(),
            &serde_json::to_vec(value).unwrap(),
        ))
    };
    assert_eq!(kind(import(&changed)), ErrorKind::InventoryInvalid);
    let mut twice: serde_json::Value = serde_json::from_str(&text).unwrap();
    let row = twice["provisioned"][0].clone();
    twice["provisioned"].as_array_mut().unwrap().push(row);
    assert_eq!(kind(import(&twice)), ErrorKind::InventoryInvalid);
}
