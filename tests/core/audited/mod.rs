//! What an auditor sees of a sealer, and what it keeps from being released.

#[cfg(feature = "ring")]
mod administration;
mod canaries;
mod judge;
mod losses;
mod releases;
#[cfg(feature = "ring")]
mod rings;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use async_trait::async_trait;
use pollster::block_on;
use serde_json::Value;
use waxseal::audit::{Action, Auditor, AuditorBuilder, Event, Outcome, Sink};
use waxseal::envelope::{BodyHead, WrapSection, WrapSet};
use waxseal::key::{Authorization, Purpose, Request};
use waxseal::source::{AnyOf, DekLease, Rewrapped};
use waxseal::testing::{FakeKeyManager, Fault, Method};
use waxseal::{Builder, DekSource, EncryptionContext, Error, ErrorKind, Result, Sealer};

/// Keeps events in memory, fails when it is told to, and stands still when it is told to.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    events: Mutex<Vec<Arc<Event>>>,
    batches: AtomicUsize,
    flushes: AtomicUsize,
    fails: AtomicBool,
    stands_still: Mutex<bool>,
    goes_on: Condvar,
}

#[async_trait]
impl Sink for Memory {
    async fn keep(&self, events: &[Arc<Event>]) -> Result<()> {
        let stands = self.0.stands_still.lock().unwrap();
        drop(self.0.goes_on.wait_while(stands, |stands| *stands).unwrap());
        self.0.batches.fetch_add(1, Ordering::SeqCst);
        if self.0.fails.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Io).with_detail("the disk is full"));
        }
        self.0.events.lock().unwrap().extend_from_slice(events);
        Ok(())
    }

    async fn flush(&self) -> Result<()> {
        self.0.flushes.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

impl Memory {
    pub(super) fn events(&self) -> Vec<Arc<Event>> {
        self.0.events.lock().unwrap().clone()
    }

    /// The events since the last call.
    #[cfg(feature = "ring")]
    pub(super) fn take(&self) -> Vec<Arc<Event>> {
        std::mem::take(&mut *self.0.events.lock().unwrap())
    }

    pub(super) fn batches(&self) -> usize {
        self.0.batches.load(Ordering::SeqCst)
    }

    pub(super) fn fail(&self, fails: bool) {
        self.0.fails.store(fails, Ordering::SeqCst);
    }

    pub(super) fn stand_still(&self, stands: bool) {
        *self.0.stands_still.lock().unwrap() = stands;
        self.0.goes_on.notify_all();
    }

    /// What was done, for what, and how it ended.
    pub(super) fn told(&self) -> Vec<(Action, Purpose, Outcome)> {
        let events = self.events();
        let told = events
            .iter()
            .filter_map(|event| Some((event.action(), event.purpose()?, event.outcome())));
        told.collect()
    }
}

pub(super) fn context() -> EncryptionContext {
    EncryptionContext::new([("tenant", "acme"), ("secret", "CANARY-value")]).unwrap()
}

/// A sealer over a fake KMS, audited by this.
pub(super) fn sealer_with(
    build: impl FnOnce(AuditorBuilder) -> AuditorBuilder,
    seal: impl FnOnce(Builder) -> Builder,
) -> (Sealer, FakeKeyManager, Auditor) {
    let kms = FakeKeyManager::new("kek").generating();
    let auditor = build(Auditor::builder()).build().unwrap();
    let builder = Sealer::builder().wrap_with(kms.clone()).audit(auditor.clone());
    (seal(builder).build().unwrap(), kms, auditor)
}

/// What a test logs in its own thread.
pub(super) fn logged<T>(work: impl FnOnce() -> T) -> (T, String) {
    let log = crate::log::Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(log.clone())
        .with_ansi(false)
        .finish();
    let done = tracing::subscriber::with_default(subscriber, work);
    (done, log.text())
}

pub(super) fn required(sink: &Memory) -> (Sealer, FakeKeyManager, Auditor) {
    sealer_with(|auditor| auditor.required(sink.clone()), |builder| builder)
}

#[test]
fn each_access_is_an_event_before_it_is_released() {
    let sink = Memory::default();
    let (sealer, kms, auditor) = sealer_with(
        |auditor| auditor.required(sink.clone()).loggable(["tenant", "absent"]),
        |builder| builder.profile("restricted"),
    );
    let sealer = sealer.acting_as("alice").with_request_id("r-1");
    let sealed = block_on(sealer.seal(b"hello", &context())).unwrap();
    // Nobody had to wait for the auditor's end.
    assert_eq!(sink.events().len(), 1);
    block_on(sealer.open(&sealed, &context())).unwrap();
    block_on(sealer.rewrap(&sealed, &context())).unwrap();
    assert_eq!(
        sink.told(),
        [
            (Action::Generate, Purpose::Seal, Outcome::Success),
            (Action::Unwrap, Purpose::Open, Outcome::Success),
            (Action::Rewrap, Purpose::Rewrap, Outcome::Success),
        ]
    );
    let events = sink.events();
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event.sequence(), number as u64);
        assert_eq!(event.actor(), Some("alice"));
        assert_eq!(event.request_id(), Some("r-1"));
        assert_eq!(event.profile(), Some("restricted"));
        assert_eq!(event.context_digest(), Some(context().digest()));
        assert_eq!(event.context().collect::<Vec<_>>(), [("tenant", "acme")]);
        assert_eq!(event.process(), auditor.process());
        assert_eq!(event.process().pid(), std::process::id());
        assert_eq!(event.keks()[0].kek, kms.kek());
        assert!(event.latency().is_some());
        let json: Value = serde_json::from_str(&event.to_json()).unwrap();
        assert_eq!(json["waxseal.schema"], 1);
        assert_eq!(json["waxseal.sequence"], number);
        assert_eq!(json["user.id"], "alice");
        assert_eq!(json["waxseal.context"], serde_json::json!({ "tenant": "acme" }));
        assert_eq!(json["waxseal.keks"][0]["id"], "kek");
        assert_eq!(json["service.instance.id"], auditor.process().instance());
        assert!(json["time"].as_str().unwrap().ends_with('Z'), "{json}");
    }
    assert!(events[0].named_keks().is_empty());
    assert_eq!(events[1].named_keks()[0].kek.id(), "kek");
    let json: Value = serde_json::from_str(&events[2].to_json()).unwrap();
    assert_eq!(json["event.name"], "waxseal.rewrap");
    assert_eq!(json["waxseal.envelope.keks"][0]["fate"], "replaced");
}

#[test]
fn failures_are_events_by_kind() {
    let sink = Memory::default();
    let (sealer, kms, _) = required(&sink);
    let sealed = block_on(sealer.seal(b"hello", &context())).unwrap();
    let other = EncryptionContext::new([("tenant", "other")]).unwrap();
    let cases = [
        (ErrorKind::Denied, Outcome::Denied(ErrorKind::Denied), "denied"),
        (
            ErrorKind::Throttled,
            Outcome::Failed(ErrorKind::Throttled),
            "throttled",
        ),
        (
            ErrorKind::KeyRevoked,
            Outcome::Refused(ErrorKind::KeyRevoked),
            "key_revoked",
        ),
    ];
    for (kind, outcome, name) in cases {
        kms.script_for(Method::Unwrap, Fault::Fails(kind));
        let error = block_on(sealer.open(&sealed, &context())).unwrap_err();
        assert_eq!(error.kind(), kind);
        let event = sink.events().pop().unwrap();
        assert_eq!((event.action(), event.outcome()), (Action::Unwrap, outcome));
        assert!(event.keks().is_empty());
        assert_eq!(event.named_keks()[0].kek.id(), "kek");
        let json: Value = serde_json::from_str(&event.to_json()).unwrap();
        assert_eq!(json["error.type"], name);
        assert_eq!(json["waxseal.outcome"], outcome.name());
    }
    // The KMS was asked: the wrap is bound to another context.
    block_on(sealer.open(&sealed, &other)).unwrap_err();
    let event = sink.events().pop().unwrap();
    assert_eq!(event.outcome(), Outcome::Failed(ErrorKind::CannotOpen));
    // What is no envelope asks nobody, so it is no event.
    let before = sink.events().len();
    block_on(sealer.open(b"no envelope", &context())).unwrap_err();
    assert_eq!(sink.events().len(), before);
}

#[test]
fn an_approval_that_a_request_names_is_in_its_event() {
    let sink = Memory::default();
    let auditor = Auditor::builder().required(sink.clone()).build().unwrap();
    let source = waxseal::audit::Audited::accesses(AnyOf::new(FakeKeyManager::new("kek")), auditor);
    let (given, context) = (
        [Authorization::new("INC-7", "bob").with_subject("a key")],
        context(),
    );
    let request = Request::new(&context).with_authorizations(&given);
    block_on(source.seal_dek(&request)).unwrap();
    let event = sink.events().pop().unwrap();
    assert_eq!(event.authorizations(), &given);
    let json: Value = serde_json::from_str(&event.to_json()).unwrap();
    assert_eq!(json["waxseal.authorizations"][0]["ticket"], "INC-7");
    assert_eq!(json["waxseal.authorizations"][0]["subject"], "a key");
}

/// Says that each re-wrap used an approval.
#[derive(Debug)]
struct Approved(AnyOf);

#[async_trait]
impl DekSource for Approved {
    async fn seal_dek(&self, request: &Request<'_>) -> Result<(Arc<DekLease>, WrapSet)> {
        self.0.seal_dek(request).await
    }

    async fn open_dek(
        &self,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> Result<Arc<DekLease>> {
        self.0.open_dek(wraps, body, request).await
    }

    async fn rewrap(
        &self,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> Result<Rewrapped> {
        let used = Authorization::new("INC-8", "carol").with_document(&b"CANARY"[..]);
        let rewrapped = self.0.rewrap(wraps, body, request).await?;
        Ok(rewrapped.with_authorizations(vec![used]))
    }
}

#[test]
fn an_approval_that_a_source_has_used_is_in_the_event_of_the_rewrap() {
    let sink = Memory::default();
    let auditor = Auditor::builder().required(sink.clone()).build().unwrap();
    let source = Approved(AnyOf::new(FakeKeyManager::new("kek")));
    let sealer = Sealer::builder().source(source).audit(auditor).build().unwrap();
    let sealed = block_on(sealer.seal(b"hello", &context())).unwrap();
    block_on(sealer.rewrap(&sealed, &context())).unwrap();
    let events = sink.events();
    assert!(events[0].used_authorizations().is_empty());
    assert_eq!(
        events[1].used_authorizations(),
        [Authorization::new("INC-8", "carol")]
    );
    let json: Value = serde_json::from_str(&events[1].to_json()).unwrap();
    assert_eq!(json["waxseal.authorizations.used"][0]["approver"], "carol");
    assert!(!json.to_string().contains("CANARY"));
}

#[test]
fn an_auditor_that_writes_nowhere_is_refused_and_so_is_one_around_a_cache() {
    let error = Auditor::builder().build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    let keys = (0..17).map(|number| number.to_string());
    let error = Auditor::builder().tracing().loggable(keys).build().unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::OverLimit { .. }), "{error}");
    let auditor = Auditor::builder().tracing().build().unwrap();
    let cached = waxseal::source::Cached::new(AnyOf::new(FakeKeyManager::new("kek")));
    let error = Sealer::builder()
        .source(cached)
        .audit(auditor)
        .build()
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
}
