//! Inventories that list other scopes than there are.

use super::*;

/// How an inventory lies about its scopes.
#[derive(Debug)]
enum Lie {
    /// It never names this one.
    Hides(Scope),
    /// It begins again each time.
    Circles,
    /// It goes back within a page.
    Unsorted,
    /// It invents one after another.
    Invents,
}

#[derive(Debug)]
struct Liar(MemoryInventory, Lie);

#[async_trait]
impl InventoryLayer for Liar {
    fn inner(&self) -> &dyn Inventory {
        &self.0
    }

    async fn scopes_after(&self, after: Option<&Scope>, limit: u32) -> Result<Vec<Scope>> {
        let true_ones = self.0.scopes_after(after, limit).await?;
        Ok(match &self.1 {
            Lie::Hides(hidden) => true_ones.into_iter().filter(|scope| scope != hidden).collect(),
            Lie::Circles => self.0.scopes_after(None, limit).await?,
            Lie::Unsorted => vec![scope("t/1"), scope("t/0")],
            Lie::Invents => {
                let last: u32 = after.map_or(0, |after| {
                    after.as_str().rsplit('/').next().unwrap().parse().unwrap()
                });
                let made = (1..=limit).map(|number| scope(&format!("t/{:012}", last + number)));
                made.collect()
            }
        })
    }
}

fn filled() -> Ring {
    let ring = Ring::new();
    let keys: Vec<_> = (0..3)
        .map(|number| key(&scope(&format!("t/{number}")), &number.to_string()))
        .collect();
    ring.put(&keys.iter().collect::<Vec<_>>());
    ring
}

fn liar(ring: &Ring, lie: Lie) -> Reader {
    Reader::new(ring.trust(), Arc::new(Liar(ring.inventory.clone(), lie)))
}

#[test]
fn an_authority_is_not_dropped_while_a_scope_that_it_signed_is_hidden() {
    let ring = filled();
    let next = Authority::generate().unwrap();
    let lies = liar(&ring, Lie::Hides(scope("t/1")));
    let refused = block_on(rotate_authority(&lies, &ring.authority, &next, "test")).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InventoryInvalid);
    assert!(refused.to_string().contains("missing"), "{refused}");
    let view = block_on(ring.reader().whole()).unwrap();
    assert_eq!(view.settings().authorities().len(), 2);
    assert_eq!(view.all_keys().count(), 3);
    // When nobody lies anymore, it goes on.
    block_on(rotate_authority(&ring.reader(), &ring.authority, &next, "test")).unwrap();
    let view = block_on(ring.reader().whole()).unwrap();
    assert_eq!(view.settings().authorities(), [next.public()]);
    assert_eq!(view.all_keys().count(), 3);
}

#[test]
fn whoever_lists_scopes_without_end_or_order_is_refused() {
    for lie in [Lie::Circles, Lie::Unsorted, Lie::Invents] {
        let ring = filled();
        let reader = liar(&ring, lie);
        let next = Authority::generate().unwrap();
        let errors = [
            block_on(reader.listed()).map(drop).unwrap_err(),
            block_on(reader.whole()).map(drop).unwrap_err(),
            block_on(reader.check()).map(drop).unwrap_err(),
            block_on(rotate_authority(&reader, &ring.authority, &next, "test")).unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::InventoryInvalid, "{reader:?}");
        }
        assert_eq!(block_on(ring.reader().whole()).unwrap().all_keys().count(), 3);
    }
}
