//! One row that nobody believes hinders nobody but its own scope, and an administrator deletes it.

use std::sync::Mutex;

use async_trait::async_trait;

use super::*;
use crate::ring::inventory::{Inventory, NodePath};
use crate::ring::{Grounds, RingAdmin, UriBackends};
use crate::testing::InventoryLayer;

impl Shop {
    fn insert(&self, row: &Row) {
        block_on(self.ring.inventory.provision(self.revision(), row)).unwrap();
    }

    /// A row of somebody who has no key that counts.
    fn junk(&self, of: &str) -> Row {
        let thief = Authority::from_seed(&[9; 32]);
        crate::ring::provisioned::to_row(&self.first(of), self.ring.ring, &thief).unwrap()
    }

    fn admin(&self) -> RingAdmin {
        self.admin_on(Arc::new(self.ring.inventory.clone()))
    }

    fn admin_on(&self, inventory: Arc<dyn Inventory>) -> RingAdmin {
        let reader = Reader::new(self.ring.trust(), inventory);
        let authority = Arc::new(Authority::from_seed(&self.ring.authority.expose_seed()));
        RingAdmin::new(reader, authority, Arc::new(UriBackends::new()), "alice")
    }

    fn keys_of(&self, of: &str) -> Result<usize> {
        let view = block_on(self.ring.trust().read(&self.ring.inventory, &[scope(of)]))?;
        Ok(view.keys(&scope(of)).len())
    }

    fn close(&self) {
        self.settings(|settings| settings.provision.as_mut().unwrap().closed = true)
            .unwrap();
    }

    /// Drops what is not believed, and returns how many rows and what was saved of them before.
    fn drop_all(&self, only: Option<&str>, records: &[RecordId]) -> (u64, Vec<RecordId>, usize) {
        let (only, mut saved) = (only.map(scope), Vec::new());
        let admin = self.admin();
        let dropped = admin.drop_unbelieved(only.as_ref(), records, |rows| {
            saved.extend(rows.iter().map(|row| row.id));
            Ok(())
        });
        let dropped = block_on(dropped).unwrap();
        (dropped.rows, saved, dropped.undecided.len())
    }
}

#[test]
fn what_looks_at_the_whole_ring_goes_on_and_names_it() {
    let shop = Shop::new();
    let (good, junk) = (shop.row(&shop.first("tenant/a")), shop.junk("tenant/b"));
    shop.insert(&good);
    shop.insert(&junk);
    let reader = shop.ring.reader();
    let (snapshot, _) = block_on(reader.everything()).unwrap();
    assert_eq!(snapshot.provisioned, [good]);
    let whole = block_on(reader.whole()).unwrap();
    assert_eq!(whole.keys(&scope("tenant/a")).len(), 1);
    for found in [whole.unbelieved, block_on(reader.unbelieved()).unwrap()] {
        assert_eq!(found.scopes, 1);
        assert_eq!(found.named[0].0, scope("tenant/b"));
    }
    let check = block_on(reader.check()).unwrap();
    let wrong = check.findings.iter().filter(|finding| finding.is_error);
    let wrong: Vec<_> = wrong.map(|finding| finding.scope.clone()).collect();
    assert_eq!(wrong, [Some(scope("tenant/b"))]);
    // Whoever wants this scope gets nothing, and nobody seals there.
    assert_eq!(
        shop.keys_of("tenant/b").unwrap_err().kind(),
        ErrorKind::InventoryInvalid
    );
    // A tick takes over the others.
    assert_eq!(block_on(shop.admin().take_over_provisioned(10)).unwrap().keys, 1);
}

#[test]
fn a_parent_does_not_end_before_it_is_known_what_they_are() {
    let shop = Shop::new();
    let mut parent = shop.parent.clone();
    go(&mut parent, State::Deprecated);
    shop.ring.put(&[&parent]);
    shop.insert(&shop.junk("tenant/b"));
    let admin = shop.admin();
    let retire = || block_on(admin.retire(parent.id, Grounds::Force, "gone"));
    let error = retire().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LifecycleRefused);
    assert!(error.to_string().contains("drop-unbelieved"), "{error}");
    shop.drop_all(None, &[]);
    assert_eq!(retire().unwrap().key, parent.id);
}

#[test]
fn they_are_saved_and_deleted_and_the_scope_is_free_again() {
    let shop = Shop::new();
    let good = shop.row(&shop.first("tenant/a"));
    let junk = [shop.junk("tenant/b"), shop.junk("tenant/c")];
    shop.insert(&good);
    junk.iter().for_each(|row| shop.insert(row));
    assert_eq!(shop.drop_all(Some("tenant/a"), &[]), (0, Vec::new(), 0));
    assert_eq!(shop.drop_all(Some("tenant/c"), &[]), (1, vec![junk[1].id], 0));
    assert_eq!(shop.drop_all(None, &[]), (1, vec![junk[0].id], 0));
    assert_eq!(block_on(shop.ring.reader().unbelieved()).unwrap().scopes, 0);
    assert_eq!(
        (
            shop.keys_of("tenant/a").unwrap(),
            shop.keys_of("tenant/b").unwrap()
        ),
        (1, 0)
    );
    // What cannot be saved is not deleted.
    shop.insert(&junk[0]);
    let admin = shop.admin();
    let full = |_: &[&Row]| Err(Error::new(ErrorKind::Io));
    assert_eq!(
        block_on(admin.drop_unbelieved(None, &[], full))
            .unwrap_err()
            .kind(),
        ErrorKind::Io
    );
    assert_eq!(block_on(shop.ring.reader().unbelieved()).unwrap().scopes, 1);
}

#[test]
fn of_two_that_would_be_believed_a_person_chooses() {
    let shop = Shop::new();
    let rows = ["tenant/a", "tenant/a"].map(|of| shop.row(&shop.first(of)));
    shop.insert(&rows[0]);
    let admin = shop.admin_on(Arc::new(Doubled {
        inner: shop.ring.inventory.clone(),
        row: rows[1].clone(),
    }));
    let drop_of = |records: &[RecordId]| {
        let mut saved = Vec::new();
        let dropped = admin.drop_unbelieved(None, records, |rows| {
            saved.extend(rows.iter().map(|row| row.id));
            Ok(())
        });
        (block_on(dropped).unwrap().undecided, saved)
    };
    assert_eq!(drop_of(&[]), (vec![scope("tenant/a")], Vec::new()));
    assert_eq!(drop_of(&[rows[1].id]), (Vec::new(), vec![rows[1].id]));
    assert_eq!(shop.keys_of("tenant/a").unwrap(), 1);
}

/// Returns another row beside the one that is there.
#[derive(Debug)]
struct Doubled {
    inner: MemoryInventory,
    row: Row,
}

#[async_trait]
impl InventoryLayer for Doubled {
    fn inner(&self) -> &dyn Inventory {
        &self.inner
    }

    async fn read(&self, scopes: &[Scope], nodes: &[NodePath]) -> Result<Snapshot> {
        let mut snapshot = self.inner.read(scopes, nodes).await?;
        if scopes.contains(&self.row.scope) {
            snapshot.provisioned.push(self.row.clone());
        }
        Ok(snapshot)
    }
}

/// Adds a row after each change of the ring.
struct Thief {
    inner: MemoryInventory,
    rows: Mutex<Vec<Row>>,
}

impl std::fmt::Debug for Thief {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Thief")
    }
}

#[async_trait]
impl InventoryLayer for Thief {
    fn inner(&self) -> &dyn Inventory {
        &self.inner
    }

    async fn commit(&self, change: &Change) -> Result<()> {
        self.inner.commit(change).await?;
        let row = self.rows.lock().unwrap().pop();
        if let Some(row) = row {
            let revision = self.inner.revision().await?;
            self.inner.provision(revision, &row).await?;
        }
        Ok(())
    }
}

#[test]
fn a_stolen_key_of_a_provisioner_is_taken_out_although_the_thief_goes_on() {
    let shop = Shop::new();
    let [a, b, c] = ["tenant/a", "tenant/b", "tenant/c"].map(|of| shop.row(&shop.first(of)));
    shop.insert(&a);
    let provisioner = shop.provisioner.public();
    let thief = |rows: Vec<Row>| {
        shop.admin_on(Arc::new(Thief {
            inner: shop.ring.inventory.clone(),
            rows: Mutex::new(rows),
        }))
    };
    let remove = |admin: &RingAdmin, gives_up| block_on(admin.remove_provisioners(&[provisioner], gives_up));
    // While keys are made.
    let error = remove(&shop.admin(), true).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LifecycleRefused);
    shop.close();
    let error = remove(&thief(vec![b.clone()]), false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LifecycleRefused);
    assert!(error.to_string().contains("tenant/b"), "{error}");
    // The next time that one is taken over, and another comes.
    let removed = remove(&thief(vec![c.clone()]), true).unwrap();
    assert_eq!((removed.taken_over, removed.given_up), (1, 1));
    assert_eq!(removed.named, [(scope("tenant/c"), c.id)]);
    assert_eq!(
        (
            shop.keys_of("tenant/a").unwrap(),
            shop.keys_of("tenant/b").unwrap()
        ),
        (1, 1)
    );
    assert_eq!(
        shop.keys_of("tenant/c").unwrap_err().kind(),
        ErrorKind::InventoryInvalid
    );
    let view = block_on(shop.ring.reader().scopes(&[])).unwrap();
    assert!(view.settings().provision.is_none());
    assert_eq!(shop.drop_all(None, &[]), (1, vec![c.id], 0));
}

#[test]
fn what_comes_after_the_settings_have_closed_it_is_not_believed() {
    let shop = Shop::new();
    let before = shop.row(&shop.first("tenant/a"));
    shop.insert(&before);
    shop.close();
    let late = shop.first("tenant/b");
    assert_eq!(late.in_ring_since, shop.revision());
    // As whoever has the key of a provisioner and may insert rows adds it.
    shop.insert(&shop.row(&late));
    let error = shop.keys_of("tenant/b").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InventoryInvalid);
    assert!(error.to_string().contains("drop-unbelieved"), "{error}");
    assert_eq!(shop.keys_of("tenant/a").unwrap(), 1);
    // Other settings do not change since when, and it hinders nobody who removes its provisioner.
    shop.settings(|settings| settings.overlap = "PT48H".parse().unwrap())
        .unwrap();
    shop.keys_of("tenant/b").unwrap_err();
    assert_eq!(block_on(shop.admin().take_over_provisioned(10)).unwrap().keys, 1);
    let (reader, authority) = (shop.ring.reader(), &shop.ring.authority);
    let remove = set_settings(&reader, authority, "test", |settings| settings.provision = None);
    block_on(remove).unwrap();
    assert_eq!(shop.drop_all(None, &[]), (1, vec![late.id], 0));
    assert_eq!(shop.keys_of("tenant/b").unwrap(), 0);
}

#[test]
fn whoever_takes_a_key_over_believes_none_of_its_dates_and_periods() {
    let shop = Shop::new();
    let mut first = shop.first("tenant/a");
    // As whoever has stolen the key of a provisioner makes it.
    let late = time("2126-01-01T00:00:00Z");
    (first.cadence, first.overlap) = ("P100Y".parse().unwrap(), "P100Y".parse().unwrap());
    (first.created, first.activated, first.history[0].at) = (late, Some(late), late);
    first.next_rotation = Some(first.cadence.after(late).unwrap());
    block_on(shop.ring.inventory.provision(shop.revision(), &shop.row(&first))).unwrap();
    let admin = shop.admin();
    assert_eq!(block_on(admin.take_over_provisioned(10)).unwrap().keys, 1);
    let view = block_on(shop.ring.reader().scopes(&[scope("tenant/a")])).unwrap();
    let (own, now) = (view.key(first.id).unwrap(), view.changed());
    assert_eq!(
        (own.cadence.to_string(), own.overlap.to_string()),
        ("P90D".to_owned(), "PT24H".to_owned())
    );
    assert_eq!(own.activated, Some(now));
    assert_eq!(own.next_rotation, Some(own.cadence.after(now).unwrap()));
}

#[test]
fn what_may_be_a_key_is_not_deleted() {
    // Whoever changes the parent makes nobody delete what is under it.
    let shop = Shop::new();
    let good = shop.row(&shop.first("tenant/a"));
    shop.insert(&good);
    let mut whole = shop.ring.whole();
    let parent = whole.rows.iter_mut().find(|row| row.id == shop.parent.id);
    parent.unwrap().revision += 1;
    shop.ring.inventory.replace(&whole);
    assert_eq!(block_on(shop.ring.reader().unbelieved()).unwrap().scopes, 1);
    assert_eq!(shop.drop_all(None, &[]), (0, Vec::new(), 1));
    // Nor does one who has an older library.
    let shop = Shop::new();
    let mut newer = shop.first("tenant/a");
    newer.min_reader = u32::MAX;
    shop.insert(&shop.row(&newer));
    assert_eq!(block_on(shop.ring.reader().unbelieved()).unwrap().scopes, 1);
    assert_eq!(shop.drop_all(None, &[]), (0, Vec::new(), 1));
    assert_eq!(shop.drop_all(None, &[newer.id]), (1, vec![newer.id], 0));
}

#[test]
fn a_survey_has_first_keys_and_names_what_is_not_believed() {
    let shop = Shop::new();
    let first = shop.first("tenant/a");
    shop.insert(&shop.row(&first));
    shop.insert(&shop.junk("tenant/b"));
    let mut survey = Survey::new();
    let reader = shop.ring.reader();
    for _ in 0..2 {
        block_on(survey.refresh(&reader, |key, is_provisioned| (key.id, is_provisioned))).unwrap();
        let kept: Vec<_> = survey.keys().map(|(_, kept)| *kept).collect();
        assert_eq!(kept, [(shop.parent.id, false), (first.id, true)]);
        let findings: Vec<_> = survey.findings().map(|(scope, _)| scope.as_str()).collect();
        assert_eq!((survey.scopes(), findings), (2, vec!["tenant/b"]));
    }
    assert_eq!(block_on(shop.admin().take_over_provisioned(10)).unwrap().keys, 1);
    block_on(survey.refresh(&reader, |key, is_provisioned| (key.id, is_provisioned))).unwrap();
    let kept: Vec<_> = survey.keys().map(|(_, kept)| *kept).collect();
    assert_eq!(kept, [(shop.parent.id, false), (first.id, false)]);
}
