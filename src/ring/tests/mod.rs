//! What a ring believes of an inventory that lies.

mod lists;
mod provisioned;
mod survey;
mod whole;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use pollster::block_on;

use super::draft::{self, Pen};
use super::inventory::{Change, MemoryInventory, NodePath, Row, Signed, Snapshot};
use super::record::Record;
use super::*;
use crate::envelope::{KekRef, WrapAlgorithm};
use crate::testing::InventoryLayer;
use crate::value::error::{Error, ErrorKind, Result};

fn time(text: &str) -> Time {
    text.parse().unwrap()
}

fn scope(text: &str) -> Scope {
    text.parse().unwrap()
}

/// An active key of a scope.
fn key(scope: &Scope, name: &str) -> KeyRecord {
    let at = time("2026-01-01T00:00:00Z");
    let kek = KekRef::new("local", name, "").unwrap();
    let mut key = KeyRecord::new(
        RecordId::new(at).unwrap(),
        scope.clone(),
        Slot::default(),
        Provenance::new("env:RING_TEST", &kek).unwrap(),
        WrapAlgorithm::XAES_256_GCM,
        Protection::Software,
        ("P90D".parse().unwrap(), "PT24H".parse().unwrap()),
        at,
    );
    go(&mut key, State::Active);
    key
}

fn go(key: &mut KeyRecord, to: State) {
    let from = (!key.history.is_empty()).then_some(key.state);
    key.state = to;
    key.revision += 1;
    key.record_move(Move {
        at: key.created,
        revision: 1,
        from,
        to,
        actor: "test".to_owned(),
        reason: "test".to_owned(),
        evidence: None,
        ticket: None,
        approver: None,
    })
    .unwrap();
}

struct Ring {
    authority: Authority,
    ring: RecordId,
    inventory: MemoryInventory,
}

impl Ring {
    fn new() -> Self {
        let ring = Self {
            authority: Authority::generate().unwrap(),
            ring: RecordId::new(time("2026-01-01T00:00:00Z")).unwrap(),
            inventory: MemoryInventory::new(),
        };
        let settings = Settings::new(ring.ring, ring.authority.public()).unwrap();
        let change = draft::first(&settings, &ring.authority, time("2026-01-01T00:00:00Z"), "test").unwrap();
        block_on(ring.inventory.commit(&change)).unwrap();
        ring
    }

    fn trust(&self) -> Trust {
        Trust::new(self.ring, self.authority.public())
    }

    fn reader(&self) -> Reader {
        Reader::new(self.trust(), Arc::new(self.inventory.clone()))
    }

    fn put(&self, records: &[&KeyRecord]) {
        let scopes: Vec<_> = records.iter().map(|record| record.scope.clone()).collect();
        let trust = self.trust();
        let pen = Pen {
            trust: &trust,
            inventory: &self.inventory,
            authority: &self.authority,
            next: None,
            actor: "test",
            runtime: &crate::runtime::AmbientRuntime,
            witness: None,
            tolerance: std::time::Duration::ZERO,
        };
        block_on(pen.change(&scopes, |_, draft| {
            for record in records {
                draft.put(*record)?;
            }
            Ok(())
        }))
        .unwrap();
    }

    fn whole(&self) -> Snapshot {
        block_on(self.reader().everything()).unwrap().0
    }

    /// What a reader of a changed snapshot says.
    fn read(&self, snapshot: Snapshot, scopes: &[Scope]) -> Result<View> {
        self.trust().verify(snapshot, scopes)
    }
}

/// An inventory that is away after so many changes.
#[derive(Debug)]
struct Away {
    inner: MemoryInventory,
    left: AtomicUsize,
    /// How many nodes were asked for.
    nodes: AtomicUsize,
}

#[async_trait]
impl InventoryLayer for Away {
    fn inner(&self) -> &dyn Inventory {
        &self.inner
    }

    async fn read(&self, scopes: &[Scope], nodes: &[NodePath]) -> Result<Snapshot> {
        self.nodes.fetch_add(nodes.len(), Ordering::SeqCst);
        self.inner.read(scopes, nodes).await
    }

    async fn commit(&self, change: &Change) -> Result<()> {
        let left = self.left.load(Ordering::SeqCst);
        if left == 0 {
            return Err(Error::new(ErrorKind::Unavailable));
        }
        self.left.store(left - 1, Ordering::SeqCst);
        self.inner.commit(change).await
    }
}

#[test]
fn a_view_shows_what_was_written_and_the_absence_of_the_rest() {
    let ring = Ring::new();
    let (a, b) = (key(&scope("tenant/a"), "1"), key(&scope("tenant/b"), "2"));
    ring.put(&[&a, &b]);
    let reader = ring.reader();
    let view = block_on(reader.scopes(&[scope("tenant/a"), scope("tenant/c")])).unwrap();
    assert_eq!((view.revision(), view.actor()), (2, "test"));
    assert_eq!(*view.keys(&scope("tenant/a"))[0].as_ref(), a);
    assert!(view.keys(&scope("tenant/c")).is_empty() && view.keys(&scope("tenant/b")).is_empty());
    assert_eq!(
        view.active(&scope("tenant/a"), &Slot::default()).unwrap().id,
        a.id
    );
    assert_eq!(block_on(reader.scope_of(b.id)).unwrap().0, scope("tenant/b"));
    let page = block_on(reader.scopes_after(Some(&scope("tenant/a")), 10))
        .unwrap()
        .unwrap();
    assert_eq!(page.all_keys().count(), 1);
    let check = block_on(reader.check()).unwrap();
    assert_eq!((check.scopes, check.keys[1], check.findings), (2, 2, vec![]));
}

#[test]
fn a_check_reads_the_tree_once_and_says_what_it_was_compared_with() {
    let ring = Ring::new();
    let keys: Vec<_> = (0..250)
        .map(|number| key(&scope(&format!("t/{number}")), "k"))
        .collect();
    ring.put(&keys.iter().collect::<Vec<_>>());
    let counted = Arc::new(Away {
        inner: ring.inventory.clone(),
        left: AtomicUsize::new(0),
        nodes: AtomicUsize::new(0),
    });
    let reader = Reader::new(ring.trust(), counted.clone());
    let check = block_on(reader.check()).unwrap();
    assert_eq!((check.scopes, check.keys[1], check.compared), (250, 250, None));
    // And its root once more, to see whether it is still the same.
    assert_eq!(counted.nodes.load(Ordering::SeqCst), tree::all_paths().len() + 1);
    let again = block_on(reader.check()).unwrap();
    assert_eq!(again.compared, Some(check.mark));
}

#[test]
fn of_two_changes_of_one_revision_one_is_decided_again() {
    let ring = Ring::new();
    let (first, second) = (key(&scope("/"), "1"), key(&scope("/"), "2"));
    ring.put(&[&first]);
    let trust = ring.trust();
    let pen = Pen {
        trust: &trust,
        inventory: &ring.inventory,
        authority: &ring.authority,
        next: None,
        actor: "slow",
        runtime: &crate::runtime::AmbientRuntime,
        witness: None,
        tolerance: std::time::Duration::ZERO,
    };
    let mut decided = 0;
    let seen = block_on(pen.change(&[scope("/")], |view, draft| {
        decided += 1;
        if decided == 1 {
            let mut old = first.clone();
            go(&mut old, State::Deprecated);
            ring.put(&[&old, &second]);
        }
        let mut active = view
            .active(&scope("/"), &Slot::default())
            .unwrap()
            .as_ref()
            .clone();
        active.labels.insert("seen".to_owned(), "yes".to_owned());
        active.revision += 1;
        draft.put(&active)?;
        Ok(active.id)
    }))
    .unwrap();
    assert_eq!((decided, seen), (2, second.id));
}

/// Every field of a row and of what is signed, changed in each way that keeps its form.
fn changed_rows(row: &Row, other: &Row) -> Vec<(&'static str, Row)> {
    let change = |name: &'static str, edit: &dyn Fn(&mut Row)| {
        let mut changed = row.clone();
        edit(&mut changed);
        assert_ne!(&changed, row, "{name}");
        (name, changed)
    };
    let older = Record::to_row(&key(&row.scope, "9"), other.id, &Authority::generate().unwrap()).unwrap();
    vec![
        change("id", &|row| {
            row.id = RecordId::new(time("2026-02-01T00:00:00Z")).unwrap();
        }),
        change("kind", &|row| row.kind = inventory::RecordKind::Intent),
        change("slot", &|row| row.slot = "other".parse().unwrap()),
        change("state", &|row| row.state = Some(State::Deprecated)),
        change("no state", &|row| row.state = None),
        change("revision", &|row| row.revision += 1),
        change("kek", &|row| row.kek = other.kek.clone()),
        change("no kek", &|row| row.kek = None),
        change("due", &|row| row.due = Some(time("2030-01-01T00:00:00Z"))),
        change("body", &|row| {
            let body = String::from_utf8(row.signed.body.clone()).unwrap();
            row.signed.body = body.replace("\"active\"", "\"pending\"").into_bytes();
        }),
        change("white space", &|row| row.signed.body.push(b' ')),
        change("signer", &|row| row.signed.signer = older.signed.signer),
        change("signature", &|row| row.signed.signature[0] ^= 1),
        change("signed by another", &|row| row.signed = older.signed.clone()),
        change("signed for another scope", &|row| {
            row.signed = other.signed.clone();
        }),
    ]
}

#[test]
fn changed_columns_are_named_and_never_used() {
    let ring = Ring::new();
    let (a, b) = (key(&scope("tenant/a"), "1"), key(&scope("tenant/b"), "2"));
    ring.put(&[&a, &b]);
    let whole = ring.whole();
    let at = |id| whole.rows.iter().position(|row| row.id == id).unwrap();
    for (name, changed) in changed_rows(&whole.rows[at(a.id)], &whole.rows[at(b.id)]) {
        let mut snapshot = whole.clone();
        snapshot.rows[at(a.id)] = changed.clone();
        let error = ring
            .read(snapshot.clone(), std::slice::from_ref(&a.scope))
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InventoryInvalid, "{name}");
        let text = error.to_string();
        assert!(
            text.contains(&a.id.to_string()) || text.contains(&changed.id.to_string()),
            "{name}: {text}"
        );
        // The others can still be used.
        ring.read(snapshot, std::slice::from_ref(&b.scope)).unwrap();
    }
}

#[test]
fn rows_that_are_swapped_copied_deleted_or_older_are_named() {
    let ring = Ring::new();
    let (a, b) = (key(&scope("tenant/a"), "1"), key(&scope("tenant/b"), "2"));
    ring.put(&[&a, &b]);
    let older = ring.whole();
    let mut later = a.clone();
    later.labels.insert("team".to_owned(), "x".to_owned());
    later.revision += 1;
    ring.put(&[&later]);
    let whole = ring.whole();
    let refused = |snapshot: Snapshot, what: &str, record: RecordId| {
        let error = ring.read(snapshot, std::slice::from_ref(&a.scope)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InventoryInvalid, "{what}");
        assert!(error.to_string().contains(&record.to_string()), "{what}: {error}");
    };
    // One row alone is taken back to what was signed before.
    let mut mixed = whole.clone();
    mixed.rows = older.rows.clone();
    refused(mixed, "older", a.id);
    let mut deleted = whole.clone();
    deleted.rows.retain(|row| row.id != a.id);
    refused(deleted, "deleted", a.id);
    let mut copied = whole.clone();
    let mut copy = whole.rows.iter().find(|row| row.id == b.id).unwrap().clone();
    copy.scope = a.scope.clone();
    copied.rows.push(copy);
    refused(copied, "copied", b.id);
    let mut swapped = whole.clone();
    for row in &mut swapped.rows {
        row.scope = if row.scope == a.scope {
            b.scope.clone()
        } else {
            a.scope.clone()
        };
    }
    refused(swapped, "swapped", b.id);
}

#[test]
fn head_settings_nodes_and_revision_are_of_one_moment() {
    let ring = Ring::new();
    let a = key(&scope("/"), "1");
    ring.put(&[&a]);
    let older = ring.whole();
    block_on(set_settings(
        &ring.reader(),
        &ring.authority,
        "test",
        |settings| {
            settings.max_stale = "PT10S".parse().unwrap();
        },
    ))
    .unwrap();
    let mut later = a.clone();
    later.revision += 1;
    later.labels.insert("x".to_owned(), "y".to_owned());
    ring.put(&[&later]);
    let whole = ring.whole();
    let refused = |what: &str, edit: &dyn Fn(&mut Snapshot)| {
        let mut snapshot = whole.clone();
        edit(&mut snapshot);
        let error = ring.read(snapshot, &[scope("/")]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InventoryInvalid, "{what}: {error}");
    };
    refused("revision", &|s| s.revision += 1);
    refused("an older head", &|s| s.head = older.head.clone());
    refused("an older head and its revision", &|s| {
        s.head = older.head.clone();
        s.revision = older.revision;
    });
    refused("older settings", &|s| s.settings = older.settings.clone());
    refused("settings as head", &|s| s.head = s.settings.clone());
    refused("no settings", &|s| s.settings = None);
    refused("no head", &|s| s.head = None);
    refused("a signature", &|s| s.head.as_mut().unwrap().signature[3] ^= 1);
    refused("another's", &|s| {
        let body = s.settings.as_ref().unwrap().body.clone();
        s.settings = Some(
            Authority::generate()
                .unwrap()
                .sign(ring.ring, "settings", body)
                .unwrap(),
        );
    });
    refused("older nodes", &|s| s.nodes = older.nodes.clone());
    for path in whole.nodes.keys() {
        refused("a node is missing", &|s| drop(s.nodes.remove(path)));
    }
    refused("a succession", &|s| {
        s.successions.push(Signed::new(b"{}".to_vec(), [0; 32], [0; 64]));
    });
    // All of it of one older moment is what a fresh process cannot know, and one with a mark can.
    ring.read(older.clone(), &[scope("/")]).unwrap();
    let trust = ring.trust();
    trust.verify(whole.clone(), &[scope("/")]).unwrap();
    let error = trust.verify(older.clone(), &[scope("/")]).unwrap_err();
    assert!(error.to_string().contains("taken back"), "{error}");
    let mark = trust.mark().unwrap().to_string().parse().unwrap();
    assert!(ring.trust().with_mark(mark).verify(older, &[scope("/")]).is_err());
    assert!(
        Trust::new(RecordId::new(a.created).unwrap(), ring.authority.public())
            .verify(whole.clone(), &[])
            .is_err()
    );
    assert!(
        Trust::new(ring.ring, Authority::generate().unwrap().public())
            .verify(whole, &[])
            .is_err()
    );
}

#[test]
fn a_record_that_needs_a_newer_reader_is_not_used() {
    let ring = Ring::new();
    let mut a = key(&scope("/"), "1");
    a.min_reader = record::READER + 1;
    ring.put(&[&a]);
    let error = block_on(ring.reader().scopes(&[scope("/")])).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unsupported { .. }), "{error}");
    assert!(error.to_string().contains("update waxseal"), "{error}");
}

#[test]
fn check_names_each_record_that_is_gone_or_changed() {
    let ring = Ring::new();
    let keys: Vec<_> = ["a", "b", "c"]
        .iter()
        .map(|name| key(&scope(&format!("t/{name}")), name))
        .collect();
    ring.put(&keys.iter().collect::<Vec<_>>());
    let mut whole = ring.whole();
    // All of scope a is gone, and b is changed.
    whole.rows.retain(|row| row.scope != keys[0].scope);
    whole
        .rows
        .iter_mut()
        .find(|row| row.scope == keys[1].scope)
        .unwrap()
        .revision = 7;
    let inventory = MemoryInventory::new();
    block_on(inventory.restore(&whole)).unwrap();
    let check = block_on(Reader::new(ring.trust(), Arc::new(inventory)).check()).unwrap();
    assert!(!check.is_good());
    let named = |id: RecordId| {
        let names = |finding: &&Finding| finding.what.contains(&id.to_string());
        check.findings.iter().filter(names).count()
    };
    assert_eq!(
        (named(keys[0].id), named(keys[1].id), named(keys[2].id)),
        (1, 1, 0),
        "{check:#?}"
    );
}

#[test]
fn an_export_is_whole_and_as_believable_as_its_inventory() {
    let ring = Ring::new();
    let keys: Vec<_> = (0..20)
        .map(|number| key(&scope(&format!("t/{number}")), &number.to_string()))
        .collect();
    ring.put(&keys.iter().collect::<Vec<_>>());
    let (mark, export) = block_on(ring.reader().export()).unwrap();
    let inventory = MemoryInventory::new();
    assert_eq!(
        block_on(import(&ring.trust(), &inventory, &export)).unwrap(),
        mark
    );
    let reader = Reader::new(ring.trust(), Arc::new(inventory.clone()));
    assert_eq!(block_on(reader.export()).unwrap(), (mark, export.clone()));
    // Into one that holds a ring, of another ring, and older than what was seen.
    let again = block_on(import(&ring.trust(), &inventory, &export)).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Conflict);
    let other = Trust::new(
        RecordId::new(time("2026-01-01T00:00:00Z")).unwrap(),
        ring.authority.public(),
    );
    assert!(block_on(import(&other, &MemoryInventory::new(), &export)).is_err());
    let newer = Mark {
        revision: mark.revision + 1,
        ..mark
    };
    assert!(
        block_on(import(
            &ring.trust().with_mark(newer),
            &MemoryInventory::new(),
            &export
        ))
        .is_err()
    );
    // Each line changed or taken away.
    let text = String::from_utf8(export).unwrap();
    let lines: Vec<_> = text.lines().collect();
    // What is null need not be there.
    for index in (0..lines.len()).filter(|index| !lines[*index].contains("null")) {
        let mut fewer = lines.clone();
        fewer.remove(index);
        let empty = MemoryInventory::new();
        assert!(
            block_on(import(&ring.trust(), &empty, fewer.join("\n").as_bytes())).is_err(),
            "{}",
            lines[index]
        );
        assert_eq!(block_on(empty.revision()).unwrap(), 0);
    }
}

#[test]
fn an_authority_follows_another_and_can_be_interrupted_anywhere() {
    for away_after in 0..4 {
        let ring = Ring::new();
        let keys: Vec<_> = (0..120)
            .map(|number| key(&scope(&format!("t/{number}")), &number.to_string()))
            .collect();
        ring.put(&keys.iter().collect::<Vec<_>>());
        let next = Authority::generate().unwrap();
        let away = Arc::new(Away {
            inner: ring.inventory.clone(),
            left: AtomicUsize::new(away_after),
            nodes: AtomicUsize::new(0),
        });
        let reader = Reader::new(ring.trust(), away);
        let interrupted = block_on(rotate_authority(&reader, &ring.authority, &next, "test"));
        assert_eq!(interrupted.unwrap_err().kind(), ErrorKind::Unavailable);
        // Whoever trusts the old key reads all the time.
        assert!(block_on(ring.reader().check()).unwrap().is_good());
        block_on(rotate_authority(&ring.reader(), &ring.authority, &next, "test")).unwrap();
        for trusted in [ring.authority.public(), next.public()] {
            let reader = Reader::new(Trust::new(ring.ring, trusted), Arc::new(ring.inventory.clone()));
            let view = block_on(reader.whole()).unwrap();
            assert_eq!(view.authority(), next.public());
            assert_eq!(view.settings().authorities(), [next.public()]);
            let signers = view.scopes.values().flat_map(|scope| scope.signers.values());
            assert!(
                signers
                    .into_iter()
                    .all(|signer| signer == next.public().as_bytes())
            );
            let check = block_on(reader.check()).unwrap();
            assert!(check.is_good());
            assert_eq!(check.findings.len(), usize::from(trusted != next.public()));
        }
        let refused = block_on(set_settings(
            &ring.reader(),
            &ring.authority,
            "test",
            |settings| {
                settings.max_stale = "PT1S".parse().unwrap();
            },
        ));
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Configuration);
    }
}

#[test]
fn the_scope_template_stands_once_there_are_keys() {
    let ring = Ring::new();
    let set = |template: &str| {
        block_on(set_settings(
            &ring.reader(),
            &ring.authority,
            "test",
            |settings| {
                settings.scope_template = template.parse().unwrap();
            },
        ))
    };
    set("tenant/{tenant}").unwrap();
    ring.put(&[&key(&scope("tenant/a"), "1")]);
    let revision = block_on(ring.inventory.revision()).unwrap();
    set("tenant/{tenant}").unwrap();
    assert_eq!(
        block_on(ring.inventory.revision()).unwrap(),
        revision,
        "nothing changed"
    );
    assert_eq!(set("/").unwrap_err().kind(), ErrorKind::LifecycleRefused);
}
