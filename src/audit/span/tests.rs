//! What a subscriber sees of operations.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use pollster::block_on;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::with_default;
use tracing::{Event, Metadata, Subscriber};

use super::super::{Audited, Auditor};
#[cfg(feature = "ring")]
use super::*;
use crate::key::Request;
use crate::source::{AnyOf, Caching};
use crate::testing::{FakeKeyManager, Fault, Method, SimulatedRuntime};
use crate::value::error::ErrorKind;
use crate::{DekSource, EncryptionContext, Sealer};

type Fields = BTreeMap<String, String>;

/// A span that was seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) name: String,
    /// The name of the span around it.
    pub(crate) parent: Option<String>,
    pub(crate) fields: Fields,
    has_ended: bool,
}

#[derive(Debug, Default)]
struct Inner {
    spans: Vec<Seen>,
    handles: Vec<usize>,
    /// Which spans are entered. A test uses it in one thread.
    entered: Vec<usize>,
    /// Events, and the span that each was in.
    events: Vec<(Option<String>, Fields)>,
}

/// Remembers spans, and who is in whom.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spans(Arc<Mutex<Inner>>);

struct Into<'f>(&'f mut Fields);

impl Visit for Into<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let text = format!("{value:?}").trim_matches('"').to_owned();
        self.0.insert(field.name().to_owned(), text);
    }
}

fn index(id: &Id) -> usize {
    usize::try_from(id.into_u64()).unwrap() - 1
}

impl Subscriber for Spans {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("waxseal")
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let mut inner = self.0.lock().unwrap();
        let around = match attributes.parent() {
            Some(parent) => Some(index(parent)),
            None => inner.entered.last().copied(),
        };
        let mut seen = Seen {
            name: attributes.metadata().name().to_owned(),
            parent: around.map(|around| inner.spans[around].name.clone()),
            ..Seen::default()
        };
        attributes.record(&mut Into(&mut seen.fields));
        inner.spans.push(seen);
        inner.handles.push(1);
        Id::from_u64(inner.spans.len() as u64)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        let mut inner = self.0.lock().unwrap();
        values.record(&mut Into(&mut inner.spans[index(span)].fields));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut inner = self.0.lock().unwrap();
        let mut fields = Fields::new();
        event.record(&mut Into(&mut fields));
        let around = inner
            .entered
            .last()
            .map(|around| inner.spans[*around].name.clone());
        inner.events.push((around, fields));
    }

    fn enter(&self, span: &Id) {
        self.0.lock().unwrap().entered.push(index(span));
    }

    fn exit(&self, span: &Id) {
        let mut inner = self.0.lock().unwrap();
        let at = inner.entered.iter().rposition(|entered| *entered == index(span));
        inner.entered.remove(at.unwrap());
    }

    fn clone_span(&self, span: &Id) -> Id {
        self.0.lock().unwrap().handles[index(span)] += 1;
        span.clone()
    }

    fn try_close(&self, span: Id) -> bool {
        let mut inner = self.0.lock().unwrap();
        inner.handles[index(&span)] -= 1;
        let has_ended = inner.handles[index(&span)] == 0;
        inner.spans[index(&span)].has_ended = has_ended;
        has_ended
    }
}

impl Spans {
    pub(crate) fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        let done = with_default(self.clone(), work);
        let inner = self.0.lock().unwrap();
        assert!(inner.entered.is_empty(), "{:?}", inner.entered);
        assert!(inner.spans.iter().all(|span| span.has_ended), "{:?}", inner.spans);
        done
    }

    /// The spans so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.0.lock().unwrap().spans.clone()
    }

    fn entered(&self) -> usize {
        self.0.lock().unwrap().entered.len()
    }
}

impl Seen {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }
}

pub(crate) fn names(spans: &[Seen]) -> Vec<(&str, Option<&str>)> {
    let names = spans.iter();
    names
        .map(|span| (span.name.as_str(), span.parent.as_deref()))
        .collect()
}

fn context() -> EncryptionContext {
    EncryptionContext::new([("tenant", "CANARY-tenant")]).unwrap()
}

fn auditor() -> Auditor {
    Auditor::builder().tracing().build().unwrap()
}

#[test]
fn each_access_has_a_span_under_the_name_of_its_event() {
    let kms = FakeKeyManager::new("kek").generating();
    let spans = Spans::default();
    spans.during(|| {
        let builder = Sealer::builder().wrap_with(kms.clone()).audit(auditor());
        let sealer = builder.cache(Caching::default()).build().unwrap();
        let sealer = sealer.acting_as("CANARY-actor").with_request_id("r-1");
        let around = tracing::info_span!(target: "waxseal::test", "the application");
        let _in_it = around.enter();
        let context = context();
        let bound = context.with_aad(b"CANARY-aad");
        let sealed = block_on(sealer.seal(b"CANARY-plaintext", bound)).unwrap();
        // From the second one on the cache answers, and that has no span.
        for _ in 0..3 {
            block_on(sealer.open(&sealed, bound)).unwrap();
        }
        kms.script_for(Method::Unwrap, Fault::Fails(ErrorKind::Denied));
        block_on(sealer.rewrap(&sealed, &context)).unwrap_err();
    });
    let seen = spans.seen();
    let application = Some("the application");
    assert_eq!(
        names(&seen),
        [
            ("the application", None),
            ("waxseal.generate", application),
            ("waxseal.unwrap", application),
            ("waxseal.rewrap", application),
        ]
    );
    let of = |field| seen[1..].iter().map(move |span| span.field(field));
    assert!(of("waxseal.action").eq(["generate", "unwrap", "rewrap"].map(Some)));
    assert!(of("waxseal.purpose").eq(["seal", "open", "rewrap"].map(Some)));
    assert!(of("waxseal.request.id").all(|id| id == Some("r-1")));
    assert!(of("waxseal.outcome").eq(["success", "success", "denied"].map(Some)));
    assert!(of("error.type").eq([None, None, Some("denied")]));
    assert!(!format!("{seen:?}").contains("CANARY"), "{seen:?}");
    // The line about an event is in its span.
    let inner = spans.0.lock().unwrap();
    let lines: Vec<_> = inner
        .events
        .iter()
        .filter_map(|(span, _)| span.as_deref())
        .collect();
    assert_eq!(lines, ["waxseal.generate", "waxseal.unwrap", "waxseal.rewrap"]);
}

/// Keeps nothing.
#[derive(Debug)]
struct Broken;

#[async_trait::async_trait]
impl super::super::Sink for Broken {
    async fn keep(&self, _: &[Arc<super::super::Event>]) -> crate::Result<()> {
        Err(crate::Error::new(ErrorKind::Io))
    }
}

#[test]
fn an_event_that_is_not_kept_is_what_went_wrong() {
    let spans = Spans::default();
    spans.during(|| {
        let auditor = Auditor::builder().required(Broken).build().unwrap();
        let builder = Sealer::builder().wrap_with(FakeKeyManager::new("kek"));
        let sealer = builder.audit(auditor).build().unwrap();
        let error = block_on(sealer.seal(b"", &context())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Audit);
    });
    let seen = spans.seen();
    assert_eq!(seen[0].field("waxseal.outcome"), Some("failed"));
    assert_eq!(seen[0].field("error.type"), Some("audit"));
}

/// A key manager that does not answer at once.
fn slow(runtime: &SimulatedRuntime) -> Arc<Audited> {
    let kms = FakeKeyManager::new("kek").generating();
    let waits = || Fault::Hangs(Arc::new(runtime.clone()), Duration::from_secs(1));
    kms.script(waits());
    kms.script(waits());
    Arc::new(Audited::accesses(AnyOf::new(kms), auditor()))
}

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn a_span_is_left_at_each_wait_and_ends_with_its_operation() {
    let (spans, runtime) = (Spans::default(), SimulatedRuntime::new());
    spans.during(|| {
        let source = slow(&runtime);
        let context = context();
        let request = Request::new(&context);
        let mut one = Box::pin(source.seal_dek(&request));
        assert!(poll(one.as_mut()).is_pending());
        assert_eq!(spans.entered(), 0);
        // The second one begins while the first one waits, and is not in it.
        let mut two = Box::pin(source.seal_dek(&request));
        assert!(poll(two.as_mut()).is_pending());
        let seen = spans.seen();
        assert_eq!(
            names(&seen),
            [("waxseal.generate", None), ("waxseal.generate", None)]
        );
        assert_eq!(seen[0].field("waxseal.outcome"), None);
        runtime.advance(Duration::from_secs(1));
        assert!(matches!(poll(two.as_mut()), Poll::Ready(Ok(_))));
        let outcome = |index: usize| spans.seen()[index].fields.get("waxseal.outcome").cloned();
        assert_eq!((outcome(0), outcome(1)), (None, Some("success".to_owned())));
        // Nobody waits for the first one.
        drop(one);
        assert_eq!(outcome(0).as_deref(), Some("abandoned"));
    });
}

#[cfg(feature = "ring")]
#[test]
fn the_span_of_each_operation_has_its_name() {
    let spans = Spans::default();
    spans.during(|| {
        for operation in OPERATIONS {
            let beginning = Beginning {
                action: Action::Ring(*operation),
                purpose: None,
                request_id: None,
            };
            drop(beginning.span());
        }
    });
    let named = spans.seen();
    let named: Vec<_> = named.iter().map(|span| span.name.clone()).collect();
    let expected = OPERATIONS.iter();
    let expected: Vec<_> = expected
        .map(|operation| format!("waxseal.ring.{}", operation.name()))
        .collect();
    assert_eq!(named, expected);
}

#[cfg(feature = "ring")]
#[test]
fn what_is_done_to_a_ring_has_spans_within_each_other() {
    use crate::ring::inventory::MemoryInventory;
    use crate::ring::{Authority, Reader, RingAdmin, set_settings};
    let spans = Spans::default();
    spans.during(|| {
        let (inventory, authority) = (MemoryInventory::new(), Authority::generate().unwrap());
        let auditor = auditor();
        let made = RingAdmin::init_audited(&inventory, &authority, "CANARY", &auditor, |_| ());
        let trust = block_on(made).unwrap();
        let again = RingAdmin::init_audited(&inventory, &authority, "CANARY", &auditor, |_| ());
        assert_eq!(block_on(again).unwrap_err().kind(), ErrorKind::Configuration);
        let reader = Reader::new(trust, Arc::new(inventory)).audited_by(&auditor);
        let set = set_settings(&reader, &authority, "CANARY", |settings| {
            settings.max_stale_open = "PT2M".parse().unwrap();
        });
        block_on(set).unwrap();
        let ring = reader.trust().ring();
        let job = block_on(auditor.begin(Operation::Census, ring, "CANARY")).unwrap();
        block_on(job.within(async {
            drop(tracing::info_span!(target: "waxseal::test", "a file"));
        }));
        block_on(job.end(false)).unwrap();
    });
    let seen = spans.seen();
    assert_eq!(
        names(&seen),
        [
            ("waxseal.ring.init", None),
            ("waxseal.ring.change", Some("waxseal.ring.init")),
            ("waxseal.ring.init", None),
            ("waxseal.ring.set", None),
            ("waxseal.ring.change", Some("waxseal.ring.set")),
            ("waxseal.ring.census", None),
            ("a file", Some("waxseal.ring.census")),
        ]
    );
    let outcomes: Vec<_> = seen.iter().map(|span| span.field("waxseal.outcome")).collect();
    assert_eq!(
        outcomes,
        [
            Some("success"),
            Some("success"),
            Some("failed"),
            Some("success"),
            Some("success"),
            Some("incomplete"),
            None
        ]
    );
    assert_eq!(seen[2].field("error.type"), Some("configuration"));
    assert!(!format!("{seen:?}").contains("CANARY"), "{seen:?}");
}
