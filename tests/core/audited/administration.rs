//! What is done to a ring: each operation once, and each change before it is made and after it.

use std::sync::Arc;

use pollster::block_on;
use serde_json::Value;
use waxseal::audit::{Action, Auditor, Event, Outcome};
use waxseal::ring::{
    Grounds, Inventory, KeySource, NewKey, Operation, Reader, Revocation, RingAdmin, Rollout, Scope,
    Shredding, Target, set_settings,
};
use waxseal::value::entropy;
use waxseal::{ErrorKind, Result};

use super::{Memory, logged};
use crate::ring_support::Ring;

const TENANT: &str = "tenant/CANARY-acme";

struct Office {
    ring: Ring,
    sink: Memory,
    auditor: Auditor,
    admin: RingAdmin,
}

impl Office {
    fn new() -> Self {
        let ring = Ring::new(|settings| settings.scope_template = "tenant/{tenant}".parse().unwrap());
        let sink = Memory::default();
        let auditor = Auditor::builder()
            .required(sink.clone())
            .tracing()
            .build()
            .unwrap();
        let admin = admin(&ring, &auditor);
        Self {
            ring,
            sink,
            auditor,
            admin,
        }
    }

    /// The name of an environment variable with a new KEK.
    fn kek(&self, name: &str) -> KeySource {
        let kek: [u8; 32] = entropy::array().unwrap();
        self.ring.environment.set(name, &hex::encode(kek));
        KeySource::Existing(format!("env:{name}"))
    }

    fn create(&self, name: &str) -> Result<waxseal::ring::Moved> {
        let new = NewKey::new(TENANT.parse().unwrap(), self.kek(name));
        block_on(self.admin.create(&new))
    }

    /// The events since the last call, without the probes of KEKs.
    fn told(&self) -> Vec<(&'static str, &'static str)> {
        let events = self.events();
        let told = events.iter().map(|event| match event.action() {
            Action::Ring(operation) => (operation.name(), event.outcome().name()),
            action => (action.name(), event.outcome().name()),
        });
        told.filter(|(name, _)| *name != "probe").collect()
    }

    fn events(&self) -> Vec<Arc<Event>> {
        self.sink.take()
    }

    fn revision(&self) -> u64 {
        block_on(self.ring.inventory.revision()).unwrap()
    }
}

fn reader(ring: &Ring, auditor: &Auditor) -> Reader {
    let inventory: Arc<dyn Inventory> = Arc::new(ring.inventory.clone());
    Reader::new(ring.trust(), inventory).audited_by(auditor)
}

fn admin(ring: &Ring, auditor: &Auditor) -> RingAdmin {
    RingAdmin::new(
        reader(ring, auditor),
        Arc::clone(&ring.authority),
        ring.backends(),
        "alice",
    )
}

#[test]
fn each_operation_is_an_event_and_each_change_is_two() {
    let office = Office::new();
    let first = office.create("ONE").unwrap().key;
    let events = office.events();
    let last = events.last().unwrap();
    assert_eq!(last.action(), Action::Ring(Operation::Create));
    assert_eq!(last.outcome(), Outcome::Success);
    assert_eq!(last.keys(), [first.to_string()]);
    assert_eq!(last.actor(), Some("alice"));
    assert_eq!(last.ring_revision(), Some(office.revision()));
    assert!(last.latency().is_some());
    let changes: Vec<_> = events
        .iter()
        .filter(|event| event.action() == Action::Ring(Operation::Change))
        .collect();
    let [intended, made] = changes[..] else {
        panic!("{changes:?}")
    };
    assert_eq!(
        (intended.outcome(), made.outcome()),
        (Outcome::Intended, Outcome::Success)
    );
    // What is intended names the head by which anybody can tell whether it came.
    let view = block_on(office.admin.reader().scopes(&[])).unwrap();
    for change in [intended, made] {
        assert_eq!(change.ring_revision(), Some(view.revision()));
        assert_eq!(change.ring_head(), Some(&view.mark().head));
        let [moved] = change.moves() else {
            panic!("{change:?}")
        };
        assert_eq!(
            (moved.record, moved.from, moved.to),
            ("key", None, Some("active"))
        );
        assert_eq!(moved.id, first.to_string());
    }
    // A KEK was probed, and that was an access.
    let probe = events.iter().find(|event| event.action() == Action::Probe);
    assert_eq!(probe.unwrap().keks().len(), 1);
    let json: Value = serde_json::from_str(&made.to_json()).unwrap();
    assert_eq!(json["event.name"], "waxseal.ring.change");
    assert_eq!(json["waxseal.moves"][0]["to"], "active");
    assert_eq!(json["user.id"], "alice");

    // What is refused before anything is signed is an event alone.
    block_on(office.admin.promote(first, "again")).unwrap_err();
    assert_eq!(office.told(), [("promote", "refused")]);
    block_on(office.admin.retire(first, Grounds::Force, "no")).unwrap_err();
    let event = office.events().pop().unwrap();
    assert_eq!(
        (event.grounds(), event.outcome()),
        (Some("force"), Outcome::Refused(ErrorKind::LifecycleRefused))
    );
    let target = Target::Scope(TENANT.parse().unwrap());
    block_on(office.admin.rotate(&target, Rollout::AtOnce, "a drill")).unwrap_err();
    assert!(office.told().contains(&("rotate", "failed")));

    let revocation = Revocation::new("INC-7", "carol", "lost");
    block_on(office.admin.revoke(first, &revocation)).unwrap();
    let events = office.events();
    let revoke = events.last().unwrap();
    assert_eq!(revoke.action(), Action::Ring(Operation::Revoke));
    let authorization = &revoke.authorizations()[0];
    assert_eq!(
        (&*authorization.ticket, &*authorization.approver),
        ("INC-7", "carol")
    );
    let moved = events.iter().flat_map(|event| event.moves()).next().unwrap();
    assert_eq!((moved.from, moved.to), (Some("active"), Some("compromised")));
    assert_eq!(
        (moved.ticket.as_deref(), moved.approver.as_deref()),
        (Some("INC-7"), Some("carol"))
    );

    let reader = reader(&office.ring, &office.auditor);
    block_on(set_settings(&reader, &office.ring.authority, "bob", |settings| {
        settings.overlap = "P40D".parse().unwrap();
    }))
    .unwrap();
    let events = office.events();
    assert!(events[0].replaces_settings());
    assert_eq!(
        (events[2].action(), events[2].actor()),
        (Action::Ring(Operation::Set), Some("bob"))
    );
    block_on(office.admin.tick(None)).unwrap();
    assert_eq!(office.told().last(), Some(&("tick", "success")));
    let scope: Scope = TENANT.parse().unwrap();
    block_on(office.admin.shred(&scope, &Shredding::new("DSR-1", "erasure"))).unwrap();
    let events = office.events();
    let shred = events.last().unwrap();
    assert_eq!(shred.authorizations()[0].ticket, "DSR-1");
    assert!(shred.scope_digest().is_some());
    assert!(
        events
            .iter()
            .any(|event| event.moves().iter().any(|moved| moved.record == "tombstone"))
    );
}

#[test]
fn what_cannot_be_written_down_is_not_done() {
    let office = Office::new();
    let before = office.revision();
    office.sink.fail(true);
    assert_eq!(office.create("ONE").unwrap_err().kind(), ErrorKind::Audit);
    assert_eq!(office.revision(), before);
    let reader = reader(&office.ring, &office.auditor);
    let set = set_settings(&reader, &office.ring.authority, "bob", |settings| {
        settings.overlap = "P40D".parse().unwrap();
    });
    assert_eq!(block_on(set).unwrap_err().kind(), ErrorKind::Audit);
    assert_eq!(office.revision(), before);
    office.sink.fail(false);
    office.create("ONE").unwrap();
    assert_eq!(office.revision(), before + 1);
}

#[test]
fn no_event_of_administration_shows_a_tenant_or_a_reason() {
    let office = Office::new();
    let (events, lines) = logged(|| {
        let first = office.create("ONE").unwrap().key;
        block_on(
            office
                .admin
                .revoke(first, &Revocation::new("INC-7", "carol", "CANARY-reason")),
        )
        .unwrap();
        block_on(
            office
                .admin
                .cancel_shred(&TENANT.parse().unwrap(), "CANARY-reason"),
        )
        .unwrap_err();
        block_on(office.admin.tick(None)).unwrap();
        let shredding = Shredding::new("DSR-1", "CANARY-reason");
        block_on(office.admin.shred(&TENANT.parse().unwrap(), &shredding)).unwrap();
        office.events()
    });
    assert!(events.len() > 8 && lines.contains("INC") | !lines.is_empty());
    for event in &events {
        let shown = format!("{}\n{event:?}\n{event:#?}", event.to_json());
        assert!(!shown.contains("CANARY"), "{shown}");
    }
    let audit = lines.lines().filter(|line| line.contains("waxseal::audit"));
    for line in audit {
        assert!(!line.contains("CANARY"), "{line}");
    }
}

#[test]
fn a_job_is_two_events_and_one_that_goes_away_says_so() {
    let office = Office::new();
    let begun = || block_on(office.auditor.begin(Operation::Census, office.ring.id, "alice")).unwrap();
    block_on(begun().end(true)).unwrap();
    drop(begun());
    block_on(office.auditor.close()).unwrap();
    assert_eq!(
        office.told(),
        [
            ("census", "intended"),
            ("census", "success"),
            ("census", "intended"),
            ("census", "abandoned")
        ]
    );
}
