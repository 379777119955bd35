//! Releases under an outage policy.

use std::sync::Arc;
use std::time::Duration;

use pollster::block_on;

use super::super::remembered::Remembered;
use super::super::{Action, Auditor, AuditorBuilder, Outage, Outcome};
use crate::layer::Failover;
use crate::runtime::Runtime;
use crate::source::Caching;
use crate::testing::{FakeKeyManager, Fault, Method, SimulatedRuntime};
use crate::value::error::{ErrorKind, Result};
use crate::{Builder, EncryptionContext, Sealer};

const MINUTE: Duration = Duration::from_secs(60);

/// The events since the last call: what was done, how it ended, and what it was done without.
fn told(sink: &Remembered) -> Vec<(Action, Outcome, Vec<Outage>)> {
    let events = sink.take();
    let told = events
        .iter()
        .map(|event| (event.action(), event.outcome(), event.outages().collect()));
    told.collect()
}

struct Bench {
    runtime: SimulatedRuntime,
    sink: Remembered,
    sealer: Sealer,
    sealed: Vec<u8>,
}

impl Bench {
    fn new(
        wrap: impl FnOnce(Builder, Arc<dyn Runtime>) -> Builder,
        audit: impl FnOnce(AuditorBuilder) -> AuditorBuilder,
    ) -> Self {
        let (runtime, sink) = (SimulatedRuntime::new(), Remembered::default());
        let shared: Arc<dyn Runtime> = Arc::new(runtime.clone());
        let auditor = Auditor::builder().required(sink.clone());
        let auditor = audit(auditor.runtime(Arc::clone(&shared))).build().unwrap();
        let builder = wrap(Sealer::builder(), Arc::clone(&shared));
        let sealer = builder.runtime(shared).audit(auditor).build().unwrap();
        let sealed = block_on(sealer.seal(b"hello", &context())).unwrap();
        Self {
            runtime,
            sink,
            sealer,
            sealed,
        }
    }

    fn open(&self) -> Result<()> {
        block_on(self.sealer.open(&self.sealed, &context())).map(drop)
    }
}

fn context() -> EncryptionContext {
    EncryptionContext::new([("tenant", "acme")]).unwrap()
}

fn tolerant() -> Caching {
    Caching {
        outage: 10 * MINUTE,
        ..Caching::default()
    }
}

const OPENED: (Action, Outcome) = (Action::Unwrap, Outcome::Success);

#[test]
fn what_a_cache_releases_past_its_end_is_an_event_before_it_is_released() {
    let kms = FakeKeyManager::new("kek").generating();
    let bench = Bench::new(
        |builder, _| builder.wrap_with(kms.clone()).cache(tolerant()),
        |auditor| auditor,
    );
    bench.open().unwrap();
    bench.open().unwrap();
    told(&bench.sink);
    kms.script_always(Fault::Fails(ErrorKind::Unavailable));
    bench.runtime.advance(6 * MINUTE);
    bench.open().unwrap();
    bench.open().unwrap();
    let release = || (Action::Release, Outcome::Success, vec![Outage::Cache]);
    let failed = Outcome::Failed(ErrorKind::Unavailable);
    assert_eq!(
        told(&bench.sink),
        [(Action::Unwrap, failed, vec![]), release(), release()]
    );
    bench.sink.fail(true);
    assert_eq!(bench.open().unwrap_err().kind(), ErrorKind::Audit);
    bench.sink.fail(false);
    kms.heal();
    bench.runtime.advance(MINUTE);
    bench.open().unwrap();
    assert!(told(&bench.sink).contains(&(OPENED.0, OPENED.1, vec![])));
    // What is kept again is no event.
    bench.open().unwrap();
    assert!(told(&bench.sink).is_empty());
}

#[test]
fn with_releases_it_is_one_event() {
    let kms = FakeKeyManager::new("kek").generating();
    let bench = Bench::new(
        |builder, _| builder.wrap_with(kms.clone()).cache(tolerant()),
        AuditorBuilder::releases,
    );
    bench.open().unwrap();
    kms.script_always(Fault::Fails(ErrorKind::Unavailable));
    told(&bench.sink);
    bench.open().unwrap();
    bench.runtime.advance(6 * MINUTE);
    bench.open().unwrap();
    let releases = told(&bench.sink);
    let releases = releases.iter().filter(|event| event.0 == Action::Release);
    let outages: Vec<_> = releases.map(|event| event.2.clone()).collect();
    assert_eq!(outages, [vec![], vec![Outage::Cache]]);
}

#[test]
fn another_manager_than_usual_says_so() {
    let first = FakeKeyManager::new("kek").generating();
    let second = first.sibling("kek");
    let bench = Bench::new(
        |builder, runtime| {
            let failover = Failover::new(first.clone()).or(second.clone());
            builder.wrap_with(failover.with_runtime(runtime))
        },
        |auditor| auditor,
    );
    bench.open().unwrap();
    first.script_for(Method::Unwrap, Fault::Fails(ErrorKind::Unavailable));
    bench.open().unwrap();
    // It is not asked first for a while.
    bench.open().unwrap();
    bench.runtime.advance(MINUTE);
    bench.open().unwrap();
    let told: Vec<_> = told(&bench.sink).into_iter().map(|event| event.2).collect();
    let by_another = || vec![Outage::Failover];
    assert_eq!(told, [vec![], vec![], by_another(), by_another(), vec![]]);
}
