//! What an event never shows: keys, plaintexts, AADs, and values of a context.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use base64ct::{Base64, Base64Unpadded, Encoding};
use pollster::block_on;
use waxseal::audit::{Action, Audited, Auditor, Event, Outcome};
use waxseal::envelope::{BodyHead, WrapSection, WrapSet};
use waxseal::key::Request;
use waxseal::source::{AnyOf, Caching, DekLease, Rewrapped};
use waxseal::testing::{FakeKeyManager, Fault, Method, SimulatedRuntime};
use waxseal::{DekSource, ErrorKind, Result, Sealer};

use super::{Memory, context, logged};

/// Remembers each DEK that goes through it.
#[derive(Debug)]
struct Spy {
    inner: AnyOf,
    deks: Arc<Mutex<Vec<[u8; 32]>>>,
}

impl Spy {
    fn saw(&self, lease: &DekLease) {
        self.deks.lock().unwrap().push(*lease.dek().expose_bytes());
    }
}

#[async_trait]
impl DekSource for Spy {
    async fn seal_dek(&self, request: &Request<'_>) -> Result<(Arc<DekLease>, WrapSet)> {
        let (lease, wraps) = self.inner.seal_dek(request).await?;
        self.saw(&lease);
        Ok((lease, wraps))
    }

    async fn open_dek(
        &self,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> Result<Arc<DekLease>> {
        let lease = self.inner.open_dek(wraps, body, request).await?;
        self.saw(&lease);
        Ok(lease)
    }

    async fn rewrap(
        &self,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> Result<Rewrapped> {
        let rewrapped = self.inner.rewrap(wraps, body, request).await?;
        rewrapped.lease().into_iter().for_each(|lease| self.saw(lease));
        Ok(rewrapped)
    }
}

#[test]
fn no_event_shows_a_key_a_plaintext_an_aad_or_a_value() {
    let sink = Memory::default();
    let deks = Arc::new(Mutex::new(Vec::new()));
    let kms = FakeKeyManager::new("kek").generating();
    let (wraps, lines) = logged(|| {
        let auditor = Auditor::builder()
            .required(sink.clone())
            .tracing()
            .releases()
            .loggable(["tenant"]);
        let auditor = auditor.build().unwrap();
        let spy = Spy {
            inner: AnyOf::new(kms.clone()),
            deks: Arc::clone(&deks),
        };
        let builder = Sealer::builder().source(spy).audit(auditor.clone());
        let sealer = builder.cache(Caching::default()).build().unwrap();
        let context = context();
        let bound = context.with_aad(b"CANARY-aad");
        let sealed = block_on(sealer.seal(b"CANARY-plaintext", bound)).unwrap();
        for _ in 0..3 {
            block_on(sealer.open(&sealed, bound)).unwrap();
        }
        let rewrapped = block_on(sealer.rewrap(&sealed, &context)).unwrap();
        let prefix = rewrapped.prefix().to_vec();
        for kind in [ErrorKind::Denied, ErrorKind::Unavailable, ErrorKind::KeyRevoked] {
            kms.script_for(Method::Unwrap, Fault::Fails(kind));
            block_on(sealer.rewrap(&sealed, &context)).unwrap_err();
        }
        // An operation that nobody waits for.
        let source = Audited::accesses(AnyOf::new(kms.clone()), auditor.clone());
        let hangs = Fault::Hangs(Arc::new(SimulatedRuntime::new()), Duration::from_secs(60));
        kms.script_for(Method::Generate, hangs);
        let request = Request::new(&context);
        let mut hanging = Box::pin(source.seal_dek(&request));
        let mut task = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(hanging.as_mut().poll(&mut task).is_pending());
        drop(hanging);
        let is_there = |event: &Arc<Event>| event.outcome() == Outcome::Abandoned;
        while !sink.events().iter().any(is_there) {
            std::thread::yield_now();
        }
        // Events that are lost, and the gap that tells of them.
        sink.fail(true);
        block_on(sealer.open(&sealed, bound)).unwrap_err();
        sink.fail(false);
        block_on(auditor.close()).unwrap();
        prefix
    });
    let events = sink.events();
    for action in [
        Action::Generate,
        Action::Unwrap,
        Action::Rewrap,
        Action::Release,
        Action::Gap,
    ] {
        assert!(events.iter().any(|event| event.action() == action), "{action:?}");
    }
    let outcomes = [
        Outcome::Success,
        Outcome::Denied(ErrorKind::Denied),
        Outcome::Failed(ErrorKind::Unavailable),
        Outcome::Refused(ErrorKind::KeyRevoked),
        Outcome::Abandoned,
    ];
    for outcome in outcomes {
        assert!(
            events.iter().any(|event| event.outcome() == outcome),
            "{outcome:?}"
        );
    }
    let mut shown = lines;
    for event in &events {
        let _ = writeln!(shown, "{}\n{event:?}\n{event:#?}", event.to_json());
    }
    assert!(shown.contains("acme") && !wraps.is_empty());
    let mut canaries = vec!["CANARY".to_owned()];
    for dek in deks.lock().unwrap().iter() {
        let list: Vec<String> = dek.iter().map(u8::to_string).collect();
        canaries.extend([
            hex::encode(dek),
            hex::encode_upper(dek),
            Base64::encode_string(dek),
            Base64Unpadded::encode_string(dek),
            list.join(", "),
            list.join(","),
        ]);
    }
    assert!(canaries.len() > 12);
    for canary in canaries {
        assert!(!shown.contains(&canary), "an event shows {canary}");
    }
    // The form in which a list would show is the one that was looked for.
    assert!(format!("{:?}", [1_u8, 2]).contains("1, 2"));
}
