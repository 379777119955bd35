//! Reading a whole ring, however large it is and however often it is changed.

use std::sync::Mutex;

use super::*;
use crate::ring::{RingAdmin, UriBackends};

/// Somebody changes the ring after each of the first reads.
#[derive(Debug)]
struct Busy {
    inner: MemoryInventory,
    changes: Mutex<Vec<Change>>,
    most: AtomicUsize,
}

#[async_trait]
impl InventoryLayer for Busy {
    fn inner(&self) -> &dyn Inventory {
        &self.inner
    }

    async fn read(&self, scopes: &[Scope], nodes: &[NodePath]) -> Result<Snapshot> {
        self.most.fetch_max(scopes.len(), Ordering::SeqCst);
        let read = self.inner.read(scopes, nodes).await;
        let change = self.changes.lock().unwrap().pop();
        if let Some(change) = change {
            self.inner.commit(&change).await?;
        }
        read
    }
}

#[test]
fn a_ring_that_changes_while_it_is_read_is_read_page_by_page_and_of_one_revision() {
    let ring = Ring::new();
    let mut keys: Vec<_> = (0..1_203)
        .map(|number| key(&scope(&format!("t/{number}")), &number.to_string()))
        .collect();
    ring.put(&keys.iter().collect::<Vec<_>>());
    // The changes, made on a copy: a key moves, one comes, one goes with its scope.
    let copy = MemoryInventory::new();
    block_on(copy.restore(&ring.whole())).unwrap();
    let recorded = Recording {
        inner: copy,
        changes: Mutex::default(),
    };
    let pen = |change: &mut (dyn FnMut(&mut draft::Draft<'_>) -> Result<()> + Send), of: &str| {
        let trust = ring.trust();
        let pen = Pen {
            trust: &trust,
            inventory: &recorded,
            authority: &ring.authority,
            next: None,
            actor: "test",
            runtime: &crate::runtime::AmbientRuntime,
            witness: None,
            tolerance: std::time::Duration::ZERO,
        };
        block_on(pen.change(&[scope(of)], |_, draft| change(draft))).unwrap();
    };
    go(&mut keys[7], State::Deprecated);
    let new = key(&scope("t/new"), "new");
    pen(&mut |draft| draft.put(&keys[7]), "t/7");
    pen(&mut |draft| draft.put(&new), "t/new");
    let busy = Arc::new(Busy {
        inner: ring.inventory.clone(),
        changes: Mutex::new(recorded.changes.into_inner().unwrap().into_iter().rev().collect()),
        most: AtomicUsize::new(0),
    });
    let reader = Reader::new(ring.trust(), Arc::clone(&busy) as Arc<dyn Inventory>);
    let view = block_on(reader.whole()).unwrap();
    assert_eq!((view.all_keys().count(), view.scopes.len()), (1_204, 1_204));
    assert_eq!(view.key(keys[7].id).unwrap().state, State::Deprecated);
    assert!(busy.most.load(Ordering::SeqCst) <= 500);
    let (snapshot, same) = block_on(reader.everything()).unwrap();
    assert_eq!((snapshot.rows.len(), same.mark()), (1_204, view.mark()));
    ring.read(snapshot, &[scope("t/new"), scope("t/7")]).unwrap();
}

/// Keeps what is committed.
#[derive(Debug)]
struct Recording {
    inner: MemoryInventory,
    changes: Mutex<Vec<Change>>,
}

#[async_trait]
impl InventoryLayer for Recording {
    fn inner(&self) -> &dyn Inventory {
        &self.inner
    }

    async fn commit(&self, change: &Change) -> Result<()> {
        self.changes.lock().unwrap().push(change.clone());
        self.inner.commit(change).await
    }
}

/// One scope has more rows than anybody reads.
#[derive(Debug)]
struct Flooded(MemoryInventory);

#[async_trait]
impl InventoryLayer for Flooded {
    fn inner(&self) -> &dyn Inventory {
        &self.0
    }

    async fn read(&self, scopes: &[Scope], nodes: &[NodePath]) -> Result<Snapshot> {
        if scopes.iter().any(|scope| scope.as_str() == "t/1") {
            return Err(Error::new(ErrorKind::OverLimit {
                limit: "rows of one call",
                max: 200_000,
            }));
        }
        self.0.read(scopes, nodes).await
    }
}

#[test]
fn a_scope_that_is_too_large_to_be_read_is_named_and_the_others_are_looked_at() {
    let ring = Ring::new();
    let keys: Vec<_> = (0..3)
        .map(|number| key(&scope(&format!("t/{number}")), &number.to_string()))
        .collect();
    ring.put(&keys.iter().collect::<Vec<_>>());
    let reader = Reader::new(ring.trust(), Arc::new(Flooded(ring.inventory.clone())));
    let check = block_on(reader.check()).unwrap();
    assert_eq!((check.scopes, check.keys.iter().sum::<usize>()), (3, 2));
    let [finding] = &check.findings[..] else {
        panic!("{check:?}")
    };
    assert_eq!(finding.scope, Some(scope("t/1")));
}

#[test]
fn an_export_from_before_the_inventory_was_taken_back_is_not_remembered() {
    let ring = Ring::new();
    ring.put(&[&key(&Scope::root(), "one")]);
    let older = ring.whole();
    let (_, before) = block_on(ring.reader().export()).unwrap();
    ring.put(&[&key(&scope("lost"), "two")]);
    let (_, lost) = block_on(ring.reader().export()).unwrap();
    // Somebody goes back, and the ring goes on from there, past the revision of the export.
    ring.inventory.replace(&older);
    for name in ["three", "four"] {
        ring.put(&[&key(&scope(name), name)]);
    }
    let authority = Arc::new(Authority::from_seed(&ring.authority.expose_seed()));
    let admin = RingAdmin::new(ring.reader(), authority, Arc::new(UriBackends::new()), "alice");
    let error = block_on(admin.remember_export(&lost)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InventoryInvalid);
    assert!(error.to_string().contains("another history"), "{error}");
    block_on(admin.remember_export(&before)).unwrap();
}
