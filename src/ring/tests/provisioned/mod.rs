//! What a reader believes of keys that provisioners have signed.

mod unbelieved;

use super::*;
use crate::backend::local::LocalKey;
use crate::key::Purpose;
use crate::ring::branch::{self, Asking, Place};
use crate::ring::record::BRANCHES;
use crate::value::secret::Kek;

/// A ring with a parent in `/` and a provisioner.
struct Shop {
    ring: Ring,
    parent: KeyRecord,
    provisioner: Authority,
    kms: LocalKey,
}

/// A name for what is wrong, and how a good record becomes it.
type Edit = (&'static str, fn(&mut KeyRecord));

impl Shop {
    fn new() -> Self {
        let ring = Ring::new();
        let kms = LocalKey::new(&Kek::from_bytes(&[7; 32]));
        let mut parent = key(&Scope::root(), kms.kek_id());
        parent.history[0].revision = 2;
        ring.put(&[&parent]);
        let shop = Self {
            ring,
            parent,
            provisioner: Authority::generate().unwrap(),
            kms,
        };
        let public = shop.provisioner.public();
        shop.settings(|settings| {
            settings.scope_template = "tenant/{tenant}".parse().unwrap();
            settings.provision = Some(Provisioning::on_first_use(Scope::root(), vec![public]));
        })
        .unwrap();
        shop
    }

    /// As whoever has the authority can, and not by the front door.
    fn settings(&self, edit: impl Fn(&mut Settings) + Send + Sync) -> Result<()> {
        let trust = self.ring.trust();
        let pen = Pen {
            trust: &trust,
            inventory: &self.ring.inventory,
            authority: &self.ring.authority,
            next: None,
            actor: "test",
            runtime: &crate::runtime::AmbientRuntime,
            witness: None,
            tolerance: std::time::Duration::ZERO,
        };
        block_on(pen.change(&[], |view, draft| {
            let mut settings = view.settings().as_ref().clone();
            edit(&mut settings);
            draft.set_settings(settings)
        }))
    }

    fn revision(&self) -> u64 {
        block_on(self.ring.inventory.revision()).unwrap()
    }

    /// The first key of a scope, as a provisioner makes it.
    fn first(&self, of: &str) -> KeyRecord {
        let (of, at) = (scope(of), time("2026-11-01T00:00:00Z"));
        let place = Place {
            ring: self.ring.ring,
            scope: &of,
            key: RecordId::new(at).unwrap(),
        };
        let asking = Asking {
            parent: &self.parent,
            manager: &self.kms,
            purpose: Purpose::Seal,
            deadline: None,
        };
        let (_, branch) = block_on(asking.make(place)).unwrap();
        let periods = ("P90D".parse().unwrap(), "PT24H".parse().unwrap());
        let mut first = branch::record(place, Slot::default(), &self.parent, branch, periods, at);
        first.in_ring_since = self.revision();
        first.has_wrapped = true;
        first.activated = Some(at);
        first.next_rotation = Some(first.cadence.after(at).unwrap());
        go(&mut first, State::Active);
        first.history[0].revision = first.in_ring_since;
        first
    }

    /// What a reader makes of a row that the inventory holds in the place of a provisioned one.
    fn read(&self, row: Row) -> Result<View> {
        let asked = [row.scope.clone()];
        let inventory = self.copy();
        inventory.replace(&Snapshot {
            provisioned: vec![row],
            ..block_on(self.ring.reader().everything()).unwrap().0
        });
        block_on(self.ring.trust().read(&inventory, &asked))
    }

    fn copy(&self) -> MemoryInventory {
        MemoryInventory::new()
    }

    fn row(&self, record: &KeyRecord) -> Row {
        let signed = crate::ring::provisioned::to_row(record, self.ring.ring, &self.provisioner);
        // What is no record at all is not signed by a good provisioner, but by a bad one.
        signed.unwrap_or_else(|_| {
            let body = crate::ring::record::to_body(record).unwrap();
            let signed = self
                .provisioner
                .sign(self.ring.ring, "provisioned", body)
                .unwrap();
            record.row_of(signed)
        })
    }
}

#[test]
fn a_first_key_is_believed() {
    let shop = Shop::new();
    let first = shop.first("tenant/a");
    let view = shop.read(shop.row(&first)).unwrap();
    assert_eq!(*view.keys(&first.scope)[0].as_ref(), first);
    assert!(view.is_provisioned(first.id));
    assert_eq!(view.parent(&first).unwrap().unwrap().id, shop.parent.id);
    assert_eq!(first.min_reader, BRANCHES);
    let rest = block_on(shop.ring.trust().read(&shop.ring.inventory, &[scope("tenant/b")])).unwrap();
    assert!(rest.keys(&scope("tenant/b")).is_empty());
}

#[test]
fn a_provisioner_that_oversteps_is_not_believed() {
    let edits: &[Edit] = &[
        ("a scope that no context has", |key| key.scope = scope("other/a")),
        ("a wider scope", |key| key.scope = scope("tenant")),
        ("a slot", |key| key.slot = "other".parse().unwrap()),
        ("a state", |key| key.state = State::Pending),
        ("a history", |key| key.history[0].to = State::Pending),
        ("no history", |key| key.history.clear()),
        ("a longer history", |key| {
            let again = Move {
                from: Some(State::Active),
                ..key.history[0].clone()
            };
            key.history.push(again);
        }),
        ("evidence", |key| key.history[0].evidence = Some("00".to_owned())),
        ("a ticket", |key| key.history[0].ticket = Some("1".to_owned())),
        ("another revision of the move", |key| key.history[0].revision = 1),
        ("a revision to come", |key| {
            key.in_ring_since += 1;
            key.history[0].revision += 1;
        }),
        ("a revision before its parent", |key| {
            key.in_ring_since = 1;
            key.history[0].revision = 1;
        }),
        ("no revision", |key| {
            key.in_ring_since = 0;
            key.history[0].revision = 0;
        }),
        ("a predecessor", |key| {
            key.predecessor = Some(key.branch.as_ref().unwrap().parent);
        }),
        ("a successor", |key| {
            key.successor = Some(key.branch.as_ref().unwrap().parent);
        }),
        ("a canary share", |key| {
            let share = serde_json::json!({"percent": 5, "since": "2026-01-01T00:00:00Z"});
            key.canary = Some(serde_json::from_value(share).unwrap());
        }),
        ("staged", |key| key.staged = true),
        ("never wrapped", |key| key.has_wrapped = false),
        ("a later due", |key| key.next_rotation = None),
        ("labels", |key| {
            drop(key.labels.insert("a".to_owned(), "b".to_owned()));
        }),
        ("written twice", |key| key.revision = 2),
        ("better protection", |key| key.protection = Protection::Hardware),
        ("another class", |key| {
            let branch = key.branch.as_mut().unwrap();
            branch.wrapped.algorithm = WrapAlgorithm::from_id(200).to_string();
        }),
        ("another parent", |key| {
            key.branch.as_mut().unwrap().parent = RecordId::new(time("2026-01-01T00:00:00Z")).unwrap();
        }),
        ("a parent of another scope", |key| {
            key.branch.as_mut().unwrap().parent_scope = scope("tenant/z");
        }),
        ("a wrap that names another KEK", |key| {
            key.branch.as_mut().unwrap().wrapped.id = "another".to_owned();
        }),
        ("former parents", |key| {
            let branch = key.branch.clone().unwrap();
            key.branch = Some(branch.clone().following(&branch));
        }),
        ("no branch key", |key| key.branch = None),
        ("a KEK at a backend", |key| {
            key.branch = None;
            key.provenance = Provenance::new("env:X", &KekRef::new("local", "x", "").unwrap()).unwrap();
        }),
        ("an older reader", |key| key.min_reader = 1),
    ];
    let shop = Shop::new();
    for (what, edit) in edits {
        let mut bad = shop.first("tenant/a");
        edit(&mut bad);
        let error = shop.read(shop.row(&bad)).map(|view| view.keys(&bad.scope).len());
        let error = error.expect_err(what);
        assert_eq!(error.kind(), ErrorKind::InventoryInvalid, "{what}: {error}");
        assert!(error.to_string().contains(&bad.id.to_string()), "{what}: {error}");
    }
    let mut newer = shop.first("tenant/a");
    newer.min_reader = record::READER + 1;
    let error = shop.read(shop.row(&newer)).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unsupported { .. }));
}

#[test]
fn who_signs_and_as_what_counts() {
    let shop = Shop::new();
    let first = shop.first("tenant/a");
    let good = shop.row(&first);
    let others = [
        Authority::generate().unwrap(),
        Authority::from_seed(&shop.ring.authority.expose_seed()),
    ];
    for other in &others {
        // Not even the authority signs in a provisioner's place.
        let row = crate::ring::provisioned::to_row(&first, shop.ring.ring, other).unwrap();
        assert_eq!(shop.read(row).unwrap_err().kind(), ErrorKind::InventoryInvalid);
    }
    for kind in ["key", "head", "provisione", "heartbeat"] {
        let body = crate::ring::record::to_body(&first).unwrap();
        let signed = shop.provisioner.sign(shop.ring.ring, kind, body).unwrap();
        let error = shop.read(first.row_of(signed)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InventoryInvalid, "{kind}");
    }
    let elsewhere = crate::ring::provisioned::to_row(&first, shop.parent.id, &shop.provisioner).unwrap();
    assert_eq!(
        shop.read(elsewhere).unwrap_err().kind(),
        ErrorKind::InventoryInvalid
    );
    for (name, changed) in changed_rows(&good, &shop.row(&shop.first("tenant/b"))) {
        let read = shop.read(changed);
        let keys = read.as_ref().map(|view| view.all_keys().count());
        assert!(keys.is_err(), "{name}");
    }
    // As a row of the tree it is nothing either.
    let mut whole = shop.ring.whole();
    whole.rows.push(good.clone());
    let asked = [first.scope.clone()];
    assert!(shop.ring.read(whole, &asked).is_err());
    // A second one: nobody chooses.
    let mut whole = shop.ring.whole();
    whole.provisioned = vec![good, shop.row(&shop.first("tenant/a"))];
    let inventory = shop.copy();
    inventory.replace(&whole);
    let mut second = whole.provisioned[1].clone();
    second.slot = "other".parse().unwrap();
    whole.provisioned[1] = second;
    let asked = [first.scope, Scope::root()];
    assert!(shop.ring.read(whole, &asked).is_err());
}

#[test]
fn a_provisioner_is_not_dropped_while_keys_count_because_of_it() {
    let shop = Shop::new();
    let row = shop.row(&shop.first("tenant/a"));
    block_on(shop.ring.inventory.provision(shop.revision(), &row)).unwrap();
    let reader = shop.ring.reader();
    let set = |edit: fn(&mut Settings)| block_on(set_settings(&reader, &shop.ring.authority, "test", edit));
    let drops: [fn(&mut Settings); 3] = [
        |settings| settings.provision = None,
        |settings| settings.provision.as_mut().unwrap().parent = scope("system"),
        |settings| {
            settings.provision.as_mut().unwrap().keys = vec![Authority::from_seed(&[3; 32]).public()];
        },
    ];
    // While more may come, and while one is there.
    for drop in drops {
        let error = set(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LifecycleRefused, "{error}");
        assert!(error.to_string().contains("close that first"), "{error}");
    }
    set(|settings| settings.provision.as_mut().unwrap().closed = true).unwrap();
    for drop in drops {
        let error = set(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LifecycleRefused);
        assert!(error.to_string().contains("tick"), "{error}");
    }
    // Another may be added at any time.
    set(|settings| {
        let more = Authority::from_seed(&[4; 32]).public();
        settings.provision.as_mut().unwrap().keys.push(more);
    })
    .unwrap();
    let other = key(&scope("tenant/a"), "other");
    let mut other = other;
    (other.state, other.history[0].to) = (State::Pending, State::Pending);
    shop.ring.put(&[&other]);
    for drop in drops {
        set(drop).unwrap();
        set(|settings| settings.provision = None).unwrap();
        let public = shop.provisioner.public();
        shop.settings(|settings| {
            settings.provision = Some(Provisioning::on_first_use(Scope::root(), vec![public]));
            settings.provision.as_mut().unwrap().closed = true;
        })
        .unwrap();
    }
    // What was taken over is what it was.
    let view = block_on(shop.ring.trust().read(&shop.ring.inventory, &[scope("tenant/a")])).unwrap();
    assert_eq!(
        view.active(&scope("tenant/a"), &Slot::default()).unwrap().id,
        row.id
    );
}

#[test]
fn settings_that_provision_wrongly_are_refused() {
    let shop = Shop::new();
    type Change = (&'static str, fn(&mut Settings));
    let edits: [Change; 5] = [
        ("no keys", |settings| {
            settings.provision.as_mut().unwrap().keys.clear();
        }),
        ("the same key twice", |settings| {
            let keys = &mut settings.provision.as_mut().unwrap().keys;
            keys.push(keys[0]);
        }),
        ("a key of the authority", |settings| {
            let own = settings.authorities[0];
            settings.provision.as_mut().unwrap().keys.push(own);
        }),
        ("a parent that contexts have", |settings| {
            settings.provision.as_mut().unwrap().parent = scope("tenant/a");
        }),
        ("beside a wider scope that serves", |settings| {
            settings.otherwise = vec![Scope::root()];
        }),
    ];
    for (what, edit) in edits {
        let error = shop.settings(edit).expect_err(what);
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{what}");
    }
    // Readers of version 1 leave such a ring alone.
    let view = block_on(shop.ring.trust().read(&shop.ring.inventory, &[])).unwrap();
    assert_eq!(view.settings().min_reader, BRANCHES);
    shop.settings(|settings| settings.provision = None).unwrap();
    let view = block_on(shop.ring.trust().read(&shop.ring.inventory, &[])).unwrap();
    assert_eq!(view.settings().min_reader, 1);
}
