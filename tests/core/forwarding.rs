//! Whatever stands around a key manager or a source forwards every method: a counting one proves it.
//!
//! A decorator that forgets `unwrap_batch` still works, through the trait's default, and a hundred calls are made
//! in place of one. Nothing but counting shows that.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::sync::Arc;

use pollster::block_on;
use waxseal::envelope::BodyHead;
use waxseal::testing::{FakeKeyManager, Method};
use waxseal::{
    DekSource, EncryptionContext, Envelope, KeyManager, Result, envelope::KekRef, envelope::WrapSection,
    envelope::WrapSet, key::Request, source::AnyOf, source::DekLease, value::Dek,
};

use crate::audit::{AuditMode, AuditedKeys, AuditedSource, MemorySink};
use crate::tenants::ScopeRouter;

const METHODS: [Method; 7] = [
    Method::Generate,
    Method::Wrap,
    Method::Unwrap,
    Method::Rewrap,
    Method::WrapBatch,
    Method::UnwrapBatch,
    Method::RewrapBatch,
];

fn counting() -> FakeKeyManager {
    FakeKeyManager::new("kek").generating().rewrapping().batching(10)
}

/// Calls every method once, and sees that each arrived as itself.
fn forwards(what: &str, counting: &FakeKeyManager, decorated: &dyn KeyManager) {
    let context = EncryptionContext::new([("a", "b")]).unwrap();
    let request = Request::new(&context).with_actor("alice").with_request_id("r-1");
    assert_eq!(decorated.provider(), counting.provider(), "{what}");
    assert_eq!(decorated.capabilities(), counting.capabilities(), "{what}");

    let (dek, generated) = block_on(decorated.generate(&request)).unwrap();
    let stanza = generated.as_wrap_ref();
    assert!(!decorated.recognizes(stanza).is_no(), "{what}");
    let mut foreign = stanza;
    foreign.provider = "other";
    assert!(decorated.recognizes(foreign).is_no(), "{what}");

    let wrapped = block_on(decorated.wrap(&dek, &request)).unwrap();
    assert!(
        block_on(decorated.unwrap(wrapped.as_wrap_ref(), &request))
            .unwrap()
            .dek
            .ct_eq(&dek)
    );
    assert!(block_on(decorated.rewrap(stanza, &request)).unwrap().is_some());
    let other = Dek::generate().unwrap();
    let batch = block_on(decorated.wrap_batch(&[(&dek, &request), (&other, &request)]));
    let batch: Vec<_> = batch.into_iter().map(Result::unwrap).collect();
    let items: Vec<_> = batch
        .iter()
        .map(|wrapped| (wrapped.as_wrap_ref(), &request))
        .collect();
    let opened = block_on(decorated.unwrap_batch(&items));
    let opened: Vec<_> = opened.into_iter().map(Result::unwrap).collect();
    assert!(
        matches!(opened.as_slice(), [a, b] if a.dek.ct_eq(&dek) && b.dek.ct_eq(&other)),
        "{what}"
    );
    let moved = block_on(decorated.rewrap_batch(&items));
    assert!(moved.into_iter().all(|new| new.unwrap().is_some()), "{what}");

    for method in METHODS {
        assert_eq!(counting.count(method), 1, "{what}: {method:?}");
    }
    for call in counting.calls() {
        assert_eq!(call.actor.as_deref(), Some("alice"), "{what}: {:?}", call.method);
        assert_eq!(call.request_id.as_deref(), Some("r-1"));
    }
}

#[test]
fn an_arc_forwards_every_method() {
    let fake = counting();
    forwards("Arc<T>", &fake, &Arc::new(fake.clone()));
    let fake = counting();
    let object: Arc<dyn KeyManager> = Arc::new(fake.clone());
    forwards("Arc<dyn KeyManager>", &fake, &object);
}

#[test]
fn an_audit_around_keys_forwards_every_method_and_records_each_item() {
    let (fake, sink) = (counting(), MemorySink::default());
    let audited = AuditedKeys::new(fake.clone(), Arc::new(sink.clone()), AuditMode::Required);
    forwards("AuditedKeys", &fake, &audited);
    // Four single calls, and three batches of two.
    assert_eq!(sink.records().len(), 4 + 3 * 2);
    assert!(
        sink.records()
            .iter()
            .all(|record| record.actor.as_deref() == Some("alice"))
    );
}

/// What is pinned is decorated as it was before: none of its calls passes by the audit.
#[test]
fn an_audit_around_keys_stays_around_pinned_ones() {
    let (fake, sink) = (counting(), MemorySink::default());
    let audited = AuditedKeys::new(fake.clone(), Arc::new(sink.clone()), AuditMode::Required);
    let kek = KekRef::new("fake", "kek", "1").unwrap();
    forwards("AuditedKeys, pinned", &fake, &*audited.pinned_to(&kek).unwrap());
    assert_eq!(sink.records().len(), 4 + 3 * 2);
}

#[test]
fn one_record_that_is_not_kept_spoils_its_item() {
    let (fake, sink) = (counting(), MemorySink::default());
    let audited = AuditedKeys::new(fake, Arc::new(sink.clone()), AuditMode::Required);
    let context = EncryptionContext::empty();
    let request = Request::new(&context);
    let dek = Dek::generate().unwrap();
    sink.set_failing(true);
    let results = block_on(audited.wrap_batch(&[(&dek, &request), (&dek, &request)]));
    assert_eq!(results.len(), 2);
    for result in results {
        assert_eq!(result.unwrap_err().kind(), waxseal::ErrorKind::Audit);
    }
}

/// A source that counts.
#[derive(Debug)]
struct Counting {
    inner: AnyOf,
    counts: std::sync::Mutex<[usize; 3]>,
}

#[async_trait::async_trait]
impl DekSource for Counting {
    async fn seal_dek(&self, request: &Request<'_>) -> Result<(Arc<DekLease>, WrapSet)> {
        self.counts.lock().unwrap()[0] += 1;
        self.inner.seal_dek(request).await
    }

    async fn open_dek(&self, w: WrapSection<'_>, b: BodyHead<'_>, r: &Request<'_>) -> Result<Arc<DekLease>> {
        self.counts.lock().unwrap()[1] += 1;
        self.inner.open_dek(w, b, r).await
    }

    async fn rewrap(
        &self,
        w: WrapSection<'_>,
        b: BodyHead<'_>,
        r: &Request<'_>,
    ) -> Result<waxseal::source::Rewrapped> {
        self.counts.lock().unwrap()[2] += 1;
        self.inner.rewrap(w, b, r).await
    }

    fn may_keep(&self, request: &Request<'_>) -> bool {
        request.actor() != Some("unkept")
    }
}

#[test]
fn sources_around_sources_forward_every_method() {
    type Decorate = fn(Arc<Counting>) -> Arc<dyn DekSource>;
    let decorators: [(&str, Decorate); 4] = [
        ("Arc<T>", |inner| inner),
        ("Cached", |inner| Arc::new(waxseal::source::Cached::new(inner))),
        ("AuditedSource", |inner| {
            Arc::new(AuditedSource::new(
                inner,
                Arc::new(MemorySink::default()),
                AuditMode::Required,
            ))
        }),
        ("ScopeRouter", |inner| {
            Arc::new(ScopeRouter::by("a").route("b", inner))
        }),
    ];
    for (what, decorate) in decorators {
        let counting = Arc::new(Counting {
            inner: AnyOf::new(FakeKeyManager::new("kek")),
            counts: std::sync::Mutex::default(),
        });
        let source = decorate(Arc::clone(&counting));
        let context = EncryptionContext::new([("a", "b")]).unwrap();
        let request = Request::new(&context);
        assert!(source.may_keep(&request), "{what}");
        assert!(!source.may_keep(&request.with_actor("unkept")), "{what}");
        let sealer = waxseal::blocking::Sealer::from_source(source);
        let sealed = sealer.seal(b"x", &context).unwrap();
        assert!(Envelope::parse(&sealed).is_ok());
        sealer.open(&sealed, &context).unwrap();
        sealer.rewrap(&sealed, &context).unwrap();
        assert_eq!(*counting.counts.lock().unwrap(), [1, 1, 1], "{what}");
    }
}
