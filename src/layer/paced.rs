//! No more calls in a second than was said.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use crate::envelope::{KekRef, WrapRef, WrappedDek};
use crate::key::{Capabilities, KeyManager, Recognition, Request, Unwrapped};
use crate::runtime::{AmbientRuntime, Monotonic, Runtime};
use crate::value::error::{Error, ErrorKind, Result};
use crate::value::secret::Dek;

/// How many calls there may be in a second, and how many there were. Clones share both, so several managers can keep one pace.
#[derive(Clone, Debug)]
pub struct Pace(Arc<Kept>);

#[derive(Debug)]
struct Kept {
    bucket: Bucket,
    calls: AtomicU64,
}

impl Pace {
    /// So many calls in a second. What was not used of one second can be used in the next.
    #[must_use]
    pub fn of(calls_in_a_second: NonZeroU32) -> Self {
        Self::new(Some(calls_in_a_second))
    }

    /// As many as there are, which are counted.
    #[must_use]
    pub fn unlimited() -> Self {
        Self::new(None)
    }

    fn new(in_a_second: Option<NonZeroU32>) -> Self {
        Self(Arc::new(Kept {
            bucket: Bucket::new(in_a_second),
            calls: AtomicU64::new(0),
        }))
    }

    /// Returns how many calls were let through, whatever came of them.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.0.calls.load(Ordering::Relaxed)
    }
}

/// A key manager that is asked no oftener than its [`Pace`] says: a call waits for its turn. Put it around
/// [`Resilient`](super::Resilient), whose time for a call does not begin before its turn. What that one tries again takes no turn of its own.
///
/// A call whose turn would come after the request's deadline is not made: `TimedOut`, retryable, with the time to wait. Each item of a batch counts
/// as a call, although some backends send them together.
#[derive(Debug)]
pub struct Paced<K> {
    inner: K,
    pace: Pace,
    runtime: Arc<dyn Runtime>,
}

impl<K: KeyManager> Paced<K> {
    /// Makes a layer around `inner`.
    #[must_use]
    pub fn new(inner: K, pace: Pace) -> Self {
        Self {
            inner,
            pace,
            runtime: Arc::new(AmbientRuntime),
        }
    }

    /// Waits on this runtime, instead of that of whoever calls.
    #[must_use]
    pub fn with_runtime(mut self, runtime: Arc<dyn Runtime>) -> Self {
        self.runtime = runtime;
        self
    }

    /// Waits for the turn of so many calls, of which the first one has this deadline. If it comes too late, the error says how long it takes.
    async fn turn(&self, calls: usize, deadline: Option<Monotonic>) -> Result<(), Duration> {
        let (calls, now) = (calls as u64, self.runtime.now());
        if let Some(wait) = self.pace.0.bucket.debit(now, calls) {
            if deadline.is_some_and(|deadline| now + wait > deadline) {
                self.pace.0.bucket.give_back(calls);
                return Err(wait);
            }
            self.runtime.sleep(wait).await;
        }
        self.pace.0.calls.fetch_add(calls, Ordering::Relaxed);
        Ok(())
    }

    async fn one(&self, request: &Request<'_>) -> Result<()> {
        self.turn(1, request.deadline()).await.map_err(too_late)
    }

    /// The errors of a batch whose turn comes too late.
    async fn all<T>(
        &self,
        deadlines: impl ExactSizeIterator<Item = Option<Monotonic>>,
    ) -> Option<Vec<Result<T>>> {
        let calls = deadlines.len();
        let wait = self.turn(calls, deadlines.flatten().min()).await.err()?;
        Some((0..calls).map(|_| Err(too_late(wait))).collect())
    }
}

fn too_late(wait: Duration) -> Error {
    Error::new(ErrorKind::TimedOut)
        .with_retryable(true)
        .with_retry_after(wait)
        .with_detail("the turn of this call comes after its deadline")
}

#[async_trait]
impl<K: KeyManager> KeyManager for Paced<K> {
    fn provider(&self) -> &str {
        self.inner.provider()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn recognizes(&self, wrapped: WrapRef<'_>) -> Recognition {
        self.inner.recognizes(wrapped)
    }

    fn identity(&self) -> Option<String> {
        self.inner.identity()
    }

    fn pinned_to(&self, kek: &KekRef) -> Result<Arc<dyn KeyManager>> {
        let pinned = Paced::new(self.inner.pinned_to(kek)?, self.pace.clone());
        Ok(Arc::new(pinned.with_runtime(Arc::clone(&self.runtime))))
    }

    async fn generate(&self, request: &Request<'_>) -> Result<(Dek, WrappedDek)> {
        self.one(request).await?;
        self.inner.generate(request).await
    }

    async fn wrap(&self, dek: &Dek, request: &Request<'_>) -> Result<WrappedDek> {
        self.one(request).await?;
        self.inner.wrap(dek, request).await
    }

    async fn unwrap(&self, wrapped: WrapRef<'_>, request: &Request<'_>) -> Result<Unwrapped> {
        self.one(request).await?;
        self.inner.unwrap(wrapped, request).await
    }

    async fn rewrap(&self, wrapped: WrapRef<'_>, request: &Request<'_>) -> Result<Option<WrappedDek>> {
        // Where there is no call of that kind, none is made.
        if self.inner.capabilities().rewraps {
            self.one(request).await?;
        }
        self.inner.rewrap(wrapped, request).await
    }

    async fn wrap_batch(&self, items: &[(&Dek, &Request<'_>)]) -> Vec<Result<WrappedDek>> {
        match self
            .all(items.iter().map(|(_, request)| request.deadline()))
            .await
        {
            Some(errors) => errors,
            None => self.inner.wrap_batch(items).await,
        }
    }

    async fn unwrap_batch(&self, items: &[(WrapRef<'_>, &Request<'_>)]) -> Vec<Result<Unwrapped>> {
        match self
            .all(items.iter().map(|(_, request)| request.deadline()))
            .await
        {
            Some(errors) => errors,
            None => self.inner.unwrap_batch(items).await,
        }
    }

    async fn rewrap_batch(&self, items: &[(WrapRef<'_>, &Request<'_>)]) -> Vec<Result<Option<WrappedDek>>> {
        if !self.inner.capabilities().rewraps {
            return self.inner.rewrap_batch(items).await;
        }
        match self
            .all(items.iter().map(|(_, request)| request.deadline()))
            .await
        {
            Some(errors) => errors,
            None => self.inner.rewrap_batch(items).await,
        }
    }
}

/// A token bucket. What is taken before it is there is waited for, so that one large batch passes, too.
#[derive(Debug)]
pub(crate) struct Bucket {
    in_a_second: Option<f64>,
    state: Mutex<Option<Level>>,
}

#[derive(Clone, Copy, Debug)]
struct Level {
    tokens: f64,
    at: Monotonic,
}

impl Bucket {
    pub(crate) fn new(in_a_second: Option<NonZeroU32>) -> Self {
        Self {
            in_a_second: in_a_second.map(|number| f64::from(number.get())),
            state: Mutex::default(),
        }
    }

    /// Takes tokens, and waits until they are there.
    #[cfg(feature = "fleet")]
    pub(crate) async fn take(&self, runtime: &dyn Runtime, tokens: u64) {
        if let Some(wait) = self.debit(runtime.now(), tokens) {
            runtime.sleep(wait).await;
        }
    }

    /// Puts back what was taken and not used.
    #[allow(clippy::cast_precision_loss, reason = "a rate is no exact number")]
    fn give_back(&self, tokens: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(level) = state.as_mut() {
            level.tokens += tokens as f64;
        }
    }

    /// Takes tokens, and returns how long to wait for them. `None` if they are there.
    #[allow(clippy::cast_precision_loss, reason = "a rate is no exact number")]
    fn debit(&self, now: Monotonic, tokens: u64) -> Option<Duration> {
        let in_a_second = self.in_a_second?;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let level = state.get_or_insert(Level { tokens: 0.0, at: now });
        let passed = now.0.saturating_sub(level.at.0).as_secs_f64();
        level.tokens = (level.tokens + passed * in_a_second).min(in_a_second) - tokens as f64;
        level.at = now;
        (level.tokens < 0.0).then(|| Duration::from_secs_f64(-level.tokens / in_a_second))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::local::LocalKey;
    use crate::testing::SimulatedRuntime;
    use crate::value::context::EncryptionContext;
    use crate::{Kek, Sealer};

    #[test]
    fn several_managers_keep_one_pace_and_all_calls_are_counted() {
        let runtime = Arc::new(SimulatedRuntime::new());
        let pace = Pace::of(NonZeroU32::new(20).unwrap());
        let paced = || {
            let key = LocalKey::new(&Kek::generate().unwrap());
            Paced::new(key, pace.clone()).with_runtime(runtime.clone())
        };
        let one = Sealer::builder().runtime(runtime.clone()).wrap_with(paced());
        let other = Sealer::builder().runtime(runtime.clone()).wrap_with(paced());
        let (one, other) = (one.build().unwrap(), other.build().unwrap());
        let began = runtime.now();
        let context = EncryptionContext::empty();
        runtime
            .run(async {
                for _ in 0..50 {
                    let sealed = one.seal(b"x", &context).await.unwrap();
                    one.open(&sealed, &context).await.unwrap();
                    other.seal(b"x", &context).await.unwrap();
                }
            })
            .unwrap();
        assert_eq!(pace.calls(), 150);
        let took = runtime.now().0 - began.0;
        assert!((7..=8).contains(&took.as_secs()), "{took:?}");
        assert_eq!(Pace::unlimited().calls(), 0);
    }

    #[test]
    fn a_call_whose_turn_comes_too_late_is_not_made() {
        let runtime = Arc::new(SimulatedRuntime::new());
        let pace = Pace::of(NonZeroU32::new(1).unwrap());
        let key = LocalKey::new(&Kek::generate().unwrap());
        let paced = Paced::new(key, pace.clone()).with_runtime(runtime.clone());
        let context = EncryptionContext::empty();
        let soon = runtime.now() + Duration::from_millis(500);
        let request = Request::new(&context).with_deadline(soon);
        let error = runtime.run(paced.generate(&request)).unwrap().unwrap_err();
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::TimedOut, true));
        assert_eq!(error.retry_after(), Some(Duration::from_secs(1)));
        assert_eq!(pace.calls(), 0);
        // Its turn is nobody's.
        let request = Request::new(&context);
        assert!(runtime.run(paced.generate(&request)).unwrap().is_ok());
    }

    #[test]
    fn no_second_has_more_than_its_tokens_and_what_was_saved() {
        let bucket = Bucket::new(NonZeroU32::new(100));
        let at = |millis| Monotonic(Duration::from_millis(millis));
        assert_eq!(bucket.debit(at(0), 50), Some(Duration::from_millis(500)));
        assert_eq!(bucket.debit(at(500), 10), Some(Duration::from_millis(100)));
        // No more is saved than one second has.
        assert_eq!(bucket.debit(at(60_000), 100), None);
        assert_eq!(bucket.debit(at(60_000), 100), Some(Duration::from_secs(1)));
        assert_eq!(Bucket::new(None).debit(at(0), 1 << 40), None);
    }
}
