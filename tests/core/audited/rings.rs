//! What a ring adds: its scope, its keys, its revision.

use pollster::block_on;
use serde_json::Value;
use waxseal::audit::{Action, Auditor, Outcome};
use waxseal::{EncryptionContext, ErrorKind};

use super::Memory;
use crate::ring_support::Ring;

#[test]
fn events_of_a_ring_name_its_scope_key_and_revision() {
    let ring = Ring::new(|settings| settings.scope_template = "tenant/{tenant}".parse().unwrap());
    ring.key("tenant/acme", "ACME");
    let opened = block_on(ring.builder().without_watching().open()).unwrap();
    let sink = Memory::default();
    let auditor = Auditor::builder()
        .required(sink.clone())
        .loggable(["tenant"])
        .build()
        .unwrap();
    let sealer = opened.sealer().audit(auditor).build().unwrap();
    let acme = EncryptionContext::new([("tenant", "acme")]).unwrap();
    let sealed = block_on(sealer.seal(b"hello", &acme)).unwrap();
    block_on(sealer.open(&sealed, &acme)).unwrap();
    let status = opened.status().unwrap();
    let events = sink.events();
    assert_eq!(events.len(), 2);
    for event in &events {
        assert_eq!(event.scope(), Some("tenant/acme"));
        assert_eq!(event.ring_revision(), Some(status.mark.revision));
        assert_eq!(event.keks()[0].keys.len(), 1, "{event:?}");
        assert!(event.exposed().is_empty());
        let json: Value = serde_json::from_str(&event.to_json()).unwrap();
        assert_eq!(json["waxseal.ring.id"], event.ring().unwrap());
        assert_eq!(
            json["waxseal.keks"][0]["keys"][0],
            event.keks()[0].keys[0].as_str()
        );
    }
    assert_eq!(events[1].named_keks()[0].keys, events[1].keks()[0].keys);
    // A refusal of the ring asks no KMS, and is an event.
    let other = EncryptionContext::new([("tenant", "umbrella")]).unwrap();
    block_on(sealer.seal(b"", &other)).unwrap_err();
    let event = sink.events().pop().unwrap();
    assert_eq!(event.action(), Action::Generate);
    assert_eq!(event.outcome(), Outcome::Refused(ErrorKind::NoKeyForScope));
    assert_eq!(event.scope(), Some("tenant/umbrella"));
}
