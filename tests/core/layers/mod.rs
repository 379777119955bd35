//! What the layers around a key manager do, and what the KMS behind them saw.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod failover;
mod resilient;
mod verified;

use std::sync::Arc;
use std::time::Duration;

use pollster::block_on;
use waxseal::layer::{Failover, Resilience, Resilient, Verified};
use waxseal::testing::conformance::{Subject, run};
use waxseal::testing::{FakeKeyManager, Fault, Method, SimulatedRuntime};
use waxseal::{EncryptionContext, ErrorKind, KeyManager, envelope::KekRef, key::Request};

struct Bench {
    kms: FakeKeyManager,
    runtime: Arc<SimulatedRuntime>,
    context: EncryptionContext,
}

impl Bench {
    fn new() -> Self {
        Self {
            kms: FakeKeyManager::new("orders"),
            runtime: Arc::new(SimulatedRuntime::new()),
            context: EncryptionContext::new([("tenant", "acme")]).unwrap(),
        }
    }

    fn resilient(&self, policy: Resilience) -> Resilient<FakeKeyManager> {
        Resilient::with_policy(self.kms.clone(), policy, self.runtime.clone())
    }

    fn hangs(&self, seconds: u64) -> Fault {
        Fault::Hangs(self.runtime.clone(), Duration::from_secs(seconds))
    }
}

#[test]
fn every_layer_keeps_the_contract() {
    let kms = || {
        let kms = FakeKeyManager::new("orders")
            .generating()
            .rewrapping()
            .batching(10);
        kms.rotate_now();
        kms
    };
    let passes = |subject: Subject| {
        let subject = subject.with_older_version(KekRef::new("fake", "orders", "1").unwrap());
        let report = block_on(run(&subject)).unwrap_or_else(|failure| panic!("{failure}"));
        drop(report);
    };
    passes(Subject::new(Resilient::new(kms())));
    passes(Subject::new(
        Failover::new(kms()).or(FakeKeyManager::new("other")),
    ));
    passes(Subject::new(Verified::new(kms())));
    passes(Subject::new(Verified::new(Failover::new(Resilient::new(kms())))));
}

#[test]
fn retries_and_replicas_stay_within_the_calls_of_an_envelope() {
    let bench = Bench::new();
    let (near, far) = (bench.kms.clone(), FakeKeyManager::new("orders"));
    let (_, wrapped) = block_on(near.generate(&Request::new(&bench.context))).unwrap();
    for kms in [&near, &far] {
        kms.script_always(Fault::Fails(ErrorKind::Throttled));
    }
    let resilient = |kms: &FakeKeyManager| {
        Resilient::with_policy(kms.clone(), Resilience::default(), bench.runtime.clone())
    };
    let layers: [Box<dyn KeyManager>; 3] = [
        Box::new(resilient(&near)),
        Box::new(Failover::new(near.clone()).or(far.clone())),
        Box::new(Failover::new(resilient(&near)).or(resilient(&far))),
    ];
    for layer in &layers {
        for left in [0_usize, 1, 2, 5, 32] {
            near.forget_calls();
            far.forget_calls();
            let calls = waxseal::key::CallBudget::new();
            while calls.left() as usize > left {
                calls.take().unwrap();
            }
            let request = Request::new(&bench.context).with_call_budget(&calls);
            let unwrapped = bench
                .runtime
                .run(layer.unwrap(wrapped.as_wrap_ref(), &request))
                .unwrap();
            assert_eq!(unwrapped.unwrap_err().kind(), ErrorKind::Throttled);
            // The first was taken by who asks.
            let made = near.count(Method::Unwrap) + far.count(Method::Unwrap);
            assert!(made > 1 || left == 0, "{layer:?} {left}");
            assert!(made <= left + 1, "{layer:?} {left}: {made}");

            near.forget_calls();
            far.forget_calls();
            let calls = waxseal::key::CallBudget::new();
            while calls.left() as usize > left {
                calls.take().unwrap();
            }
            let request = Request::new(&bench.context).with_call_budget(&calls);
            let items = [(wrapped.as_wrap_ref(), &request)];
            let unwrapped = bench.runtime.run(layer.unwrap_batch(&items)).unwrap();
            assert_eq!(unwrapped[0].as_ref().unwrap_err().kind(), ErrorKind::Throttled);
            let made = near.count(Method::Unwrap) + far.count(Method::Unwrap);
            assert!(made <= left + 1, "{layer:?} {left}: {made}");
        }
    }
}
