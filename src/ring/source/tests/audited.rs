//! What the ring asks by itself, and what it decided by, as events.

use super::branch::Shop;
use super::*;
use crate::audit::remembered::Remembered;
use crate::audit::{Action, Auditor, Event, Outcome};
use crate::key::Purpose;
use crate::testing::{Fault, Method};

fn auditor(events: &Remembered, bench: &Bench) -> Auditor {
    let runtime = Arc::new(bench.runtime.clone());
    let builder = Auditor::builder().required(events.clone()).runtime(runtime);
    builder.build().unwrap()
}

fn told(events: &[Arc<Event>]) -> Vec<(Action, Option<Purpose>, &'static str)> {
    let told = events
        .iter()
        .map(|event| (event.action(), event.purpose(), event.outcome().name()));
    told.collect()
}

#[test]
fn a_parent_that_wraps_or_unwraps_a_branch_key_is_an_event() {
    let shop = Shop::new();
    let events = Remembered::default();
    let auditor = auditor(&events, &shop.bench);
    let sealer = shop.ring().sealer().audit(auditor.clone()).build().unwrap();
    let sealed = seal(&sealer, "a");
    let first = events.take();
    assert_eq!(
        told(&first),
        [
            (Action::Wrap, Some(Purpose::Seal), "success"),
            (Action::Generate, Some(Purpose::Seal), "success"),
        ]
    );
    let id = &shop.rows("a")[0].id.to_string();
    assert_eq!(first[0].branch(), Some(id.as_str()));
    assert_eq!(first[0].keys(), [shop.parent.id.to_string()]);
    assert_eq!(first[0].keks()[0].kek, shop.parent.provenance.kek().unwrap());
    assert!(first[0].ring_revision().is_some());
    // Another process has it opened by the parent, once.
    let plain = shop.plain();
    let other = plain.sealer().audit(auditor).build().unwrap();
    open(&other, &sealed, "a").unwrap();
    let second = events.take();
    assert_eq!(
        told(&second),
        [
            (Action::Unwrap, Some(Purpose::Open), "success"),
            (Action::Unwrap, Some(Purpose::Open), "success"),
        ]
    );
    assert_eq!(
        (second[0].branch(), second[1].branch()),
        (Some(id.as_str()), None)
    );
    // By which revision it was decided, for whoever looks for uses after a revocation.
    assert_eq!(
        second[0].ring_revision(),
        Some(plain.status().unwrap().mark.revision)
    );
    // A failure is one, too, and names no KEK that did it.
    shop.bench.runtime.advance(Duration::from_secs(400));
    shop.kms
        .script_for(Method::Unwrap, Fault::Fails(ErrorKind::Denied));
    open(&other, &sealed, "a").unwrap_err();
    let third = events.take();
    assert_eq!(third[0].outcome(), Outcome::Denied(ErrorKind::Denied));
    assert!(third[0].keks().is_empty() && third[0].branch().is_some());
    // What cannot be written down is not kept in memory either.
    events.fail(true);
    assert_eq!(kind(open(&other, &sealed, "a")), ErrorKind::Audit);
    assert_eq!(plain.status().unwrap().branch_keys, 0);
}

#[test]
fn a_probe_is_an_event() {
    let bench = Bench::new();
    bench.active("tenant/a", "old");
    let pending = bench.went(bench.key("tenant/a", &bench.fake("new")), &[State::Pending]);
    bench.put(&[&pending]);
    let events = Remembered::default();
    let ring = block_on(bench.builder().reader("web").open()).unwrap();
    let sealer = ring.sealer().audit(auditor(&events, &bench)).build().unwrap();
    seal(&sealer, "a");
    events.take();
    block_on(ring.beat()).unwrap();
    let probed = events.take();
    assert_eq!(told(&probed), [(Action::Probe, Some(Purpose::Probe), "success")]);
    assert_eq!(probed[0].keys(), [pending.id.to_string()]);
    assert_eq!(probed[0].actor(), Some("web"));
    assert_eq!(
        probed[0].ring_revision(),
        Some(ring.status().unwrap().mark.revision)
    );
}

#[test]
fn no_scope_shows_a_value_that_is_not_loggable() {
    let bench = Bench::new();
    let (_, fake) = bench.active("tenant/CANARY-tenant", "one");
    let events = Remembered::default();
    let auditor = auditor(&events, &bench);
    let ring = bench.open();
    let sealer = ring.sealer().audit(auditor).build().unwrap();
    let sealed = seal(&sealer, "CANARY-tenant");
    fake.script_for(Method::Unwrap, Fault::Fails(ErrorKind::Denied));
    open(&sealer, &sealed, "CANARY-tenant").unwrap_err();
    open(&sealer, &sealed, "CANARY-tenant").unwrap();
    seal(&uncached(&ring), "CANARY-tenant");
    let kept = events.take();
    assert_eq!(kept.len(), 3);
    for event in &kept {
        let shown = format!("{}\n{event:?}\n{event:#?}", event.to_json());
        assert!(!shown.contains("CANARY"), "{shown}");
        assert_eq!(event.scope(), None);
        assert_eq!(event.scope_template(), Some("tenant/{tenant}"));
        assert!(event.scope_digest().is_some());
        assert!(event.ring_revision().is_some());
    }
    // With the key named as loggable it is shown.
    let auditor = Auditor::builder().required(events.clone()).loggable(["tenant"]);
    let sealer = bench.open().sealer().audit(auditor.build().unwrap());
    open(&sealer.build().unwrap(), &sealed, "CANARY-tenant").unwrap();
    assert_eq!(events.take()[0].scope(), Some("tenant/CANARY-tenant"));
}

#[test]
fn releases_of_a_cache_tell_the_ring() {
    let bench = Bench::new();
    let (key, _) = bench.active("tenant/a", "one");
    let events = Remembered::default();
    let runtime = Arc::new(bench.runtime.clone());
    let auditor = Auditor::builder()
        .required(events.clone())
        .releases()
        .runtime(runtime);
    let sealer = bench
        .open()
        .sealer()
        .audit(auditor.build().unwrap())
        .build()
        .unwrap();
    let sealed = seal(&sealer, "a");
    for _ in 0..3 {
        open(&sealer, &sealed, "a").unwrap();
    }
    let kept = events.take();
    let releases = kept.iter().filter(|event| event.action() == Action::Release);
    let releases: Vec<_> = releases.collect();
    assert_eq!(releases.len(), 4);
    for event in releases {
        assert_eq!(event.ring(), Some(bench.ring.to_string().as_str()));
        assert!(event.ring_revision().is_some() && event.scope_digest().is_some());
        assert_eq!(event.keks()[0].keys, [key.id.to_string()]);
    }
}

#[test]
fn the_revision_is_the_one_that_was_decided_by() {
    let bench = Bench::new();
    let (_, fake) = bench.active("tenant/a", "one");
    let events = Remembered::default();
    let ring = bench.open();
    let sealer = ring.sealer().audit(auditor(&events, &bench)).build().unwrap();
    let sealed = seal(&sealer, "a");
    events.take();
    let decided = ring.status().unwrap().mark.revision;
    // While the KMS thinks about it, the ring is changed, and the process hears of it.
    let hangs = Fault::Hangs(Arc::new(bench.runtime.clone()), Duration::from_secs(1));
    fake.script_for(Method::Unwrap, hangs);
    let context = context("a");
    let other = uncached(&ring);
    drop(other);
    let mut opening = Box::pin(sealer.open(&sealed, &context));
    let mut task = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(std::future::Future::poll(opening.as_mut(), &mut task).is_pending());
    bench.active("tenant/b", "two");
    block_on(ring.refresh()).unwrap();
    assert!(ring.status().unwrap().mark.revision > decided);
    bench.runtime.advance(Duration::from_secs(2));
    block_on(opening).unwrap();
    let kept = events.take();
    assert_eq!(kept[0].action(), Action::Unwrap);
    assert_eq!(kept[0].ring_revision(), Some(decided));
}

#[test]
fn the_span_of_an_access_shows_the_scope_as_its_event_does() {
    use crate::audit::tests_spans::{Spans, names};
    let shop = Shop::new();
    let (events, spans) = (Remembered::default(), Spans::default());
    spans.during(|| {
        let auditor = auditor(&events, &shop.bench);
        let sealer = shop.ring().sealer().audit(auditor).build().unwrap();
        seal(&sealer, "CANARY-tenant");
    });
    let seen = spans.seen();
    // The parent that wraps the branch key is asked for the sealer.
    assert_eq!(
        names(&seen),
        [
            ("waxseal.generate", None),
            ("waxseal.wrap", Some("waxseal.generate")),
        ]
    );
    for (span, event) in seen.iter().zip(events.take().iter().rev()) {
        let digest = event
            .scope_digest()
            .map(|digest| base16ct::lower::encode_string(digest));
        assert!(digest.is_some() && span.field("waxseal.scope.digest") == digest.as_deref());
        assert!(event.scope_template().is_some());
        assert_eq!(span.field("waxseal.scope.template"), event.scope_template());
        assert_eq!(span.field("waxseal.outcome"), Some("success"));
    }
    assert!(!format!("{seen:?}").contains("CANARY"), "{seen:?}");
}

#[test]
fn an_open_under_a_stale_inventory_says_so() {
    let bench = Bench::new();
    let _ = bench.active("tenant/a", "a");
    let moody = Moody::new(&bench);
    let ring = block_on(bench.builder_on(Arc::new(moody.clone())).open()).unwrap();
    let events = Remembered::default();
    let auditor = auditor(&events, &bench);
    let none = Caching {
        seal_entries: 0,
        open_entries: 0,
        ..ring.caching()
    };
    let sealer = ring.sealer().cache(none).audit(auditor).build().unwrap();
    let sealed = seal(&sealer, "a");
    moody.be(Mood::Away);
    bench.runtime.advance(Duration::from_secs(59));
    open(&sealer, &sealed, "a").unwrap();
    bench.runtime.advance(Duration::from_secs(1));
    open(&sealer, &sealed, "a").unwrap();
    assert_eq!(
        kind(block_on(sealer.seal(b"", &context("a")))),
        ErrorKind::InventoryStale
    );
    moody.be(Mood::Fine);
    block_on(ring.refresh()).unwrap();
    open(&sealer, &sealed, "a").unwrap();
    let kept = events.take();
    let outages: Vec<Vec<_>> = kept.iter().map(|event| event.outages().collect()).collect();
    let stale = vec![crate::audit::Outage::Inventory];
    assert_eq!(outages, [vec![], vec![], stale, vec![], vec![]]);
    assert!(kept[2].to_json().contains(r#""waxseal.outage":["inventory"]"#));
}
