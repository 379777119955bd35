//! A cache over a fake KMS, in simulated time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use waxseal::runtime::{BoxFuture, Monotonic, Runtime};
use waxseal::source::{Cached, Caching};
use waxseal::testing::{FakeKeyManager, Fault, Method, SimulatedRuntime};
use waxseal::{
    EncryptionContext, Envelope, Error, ErrorKind, Plaintext, Result, Sealer, source::AnyOf, source::DekLease,
};

pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const SECOND: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub(crate) struct Bench {
    pub(crate) kms: FakeKeyManager,
    pub(crate) runtime: SimulatedRuntime,
    pub(crate) cache: Cached,
    pub(crate) sealer: Sealer,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(Caching::default())
    }

    pub(crate) fn with(caching: Caching) -> Self {
        let (kms, runtime) = (FakeKeyManager::new("kek"), SimulatedRuntime::new());
        let shared: Arc<dyn Runtime> = Arc::new(runtime.clone());
        let cache = Cached::with_policy(AnyOf::new(kms.clone()), caching, Arc::clone(&shared));
        let builder = Sealer::builder().source(cache.clone()).runtime(shared);
        let sealer = builder.data_key_age(600 * MINUTE).build().unwrap();
        Self {
            kms,
            runtime,
            cache,
            sealer,
        }
    }

    /// Each answer of the KMS takes so long from now on.
    pub(crate) fn takes(&self, time: Duration) {
        self.kms
            .script_always(Fault::Hangs(Arc::new(self.runtime.clone()), time));
    }

    pub(crate) fn runtime_now(&self) -> Monotonic {
        self.runtime.now()
    }

    pub(crate) fn fails(&self, kind: ErrorKind) {
        self.kms.script_always(Fault::Fails(kind));
    }

    pub(crate) fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime
            .run(future)
            .expect("it waits for something that nobody does")
    }

    pub(crate) fn seal(&self, tenant: &str) -> Result<Vec<u8>> {
        self.run(self.sealer.seal(b"hello", &context(tenant)))
    }

    pub(crate) fn open(&self, sealed: &[u8], tenant: &str) -> Result<Plaintext> {
        self.run(self.sealer.open(sealed, &context(tenant)))
    }

    /// What is sealed under a DEK of its own, without the cache.
    pub(crate) fn stored(&self, tenant: &str) -> Vec<u8> {
        let sealed = pollster::block_on(Sealer::new(self.kms.clone()).seal(b"hello", &context(tenant)));
        self.kms.forget_calls();
        sealed.unwrap()
    }

    pub(crate) fn unwraps(&self) -> usize {
        self.kms.count(Method::Unwrap)
    }

    pub(crate) fn generates(&self) -> usize {
        self.kms.count(Method::Generate)
    }

    /// The lease that a sealer gets for opening this.
    pub(crate) fn lease(&self, sealed: &[u8], tenant: &str) -> Arc<DekLease> {
        let envelope = Envelope::parse(sealed).unwrap();
        let opener = self.run(self.sealer.opener(envelope.header(), &context(tenant)));
        Arc::clone(opener.unwrap().lease())
    }

    /// Runs tasks beside one another and gives their results, in order. All begin before any goes on.
    pub(crate) fn all<T: Send + 'static>(
        &self,
        tasks: impl IntoIterator<Item = BoxFuture<'static, T>>,
    ) -> Vec<T> {
        let results = Arc::new(Mutex::new(Vec::new()));
        let mut count = 0;
        for (at, task) in tasks.into_iter().enumerate() {
            let results = Arc::clone(&results);
            self.runtime.spawn(Box::pin(async move {
                let result = task.await;
                results.lock().unwrap().push((at, result));
            }));
            count += 1;
        }
        // In steps, since the clock stands where the last sleep ends.
        for _ in 0..10_000 {
            self.runtime.run_until_idle();
            if results.lock().unwrap().len() == count {
                break;
            }
            self.runtime.advance(Duration::from_millis(100));
        }
        let mut results = std::mem::take(&mut *results.lock().unwrap());
        assert_eq!(results.len(), count, "some never end");
        results.sort_by_key(|(at, _)| *at);
        results.into_iter().map(|(_, result)| result).collect()
    }

    pub(crate) fn opens(&self, sealed: &[u8], tenant: &str) -> BoxFuture<'static, Result<Plaintext>> {
        let (sealer, sealed, context) = (self.sealer.clone(), sealed.to_vec(), context(tenant));
        Box::pin(async move { sealer.open(&sealed, &context).await })
    }

    pub(crate) fn seals(&self, tenant: &str) -> BoxFuture<'static, Result<Vec<u8>>> {
        let (sealer, context) = (self.sealer.clone(), context(tenant));
        Box::pin(async move { sealer.seal(b"hello", &context).await })
    }
}

pub(crate) fn context(tenant: &str) -> EncryptionContext {
    EncryptionContext::new([("tenant", tenant)]).unwrap()
}

pub(crate) fn kind<T>(result: Result<T, Error>) -> ErrorKind {
    result.err().expect("it succeeded").kind()
}

/// The same envelope with another commitment: its wraps are good and its body does not open.
pub(crate) fn altered(sealed: &[u8]) -> Vec<u8> {
    let body = Envelope::parse(sealed).unwrap().header().body_offset();
    let mut altered = sealed.to_vec();
    altered[body + 30] ^= 1;
    altered
}
