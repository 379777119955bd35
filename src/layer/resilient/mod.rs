//! Deadlines, retries, a circuit breaker, and a bound on calls at once.

mod breaker;
mod policy;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use breaker::{Breaker, Seen};
pub use policy::Resilience;

use crate::envelope::{KekRef, WrapRef, WrappedDek};
use crate::key::{Capabilities, KeyManager, Recognition, Request, Unwrapped};
use crate::runtime::{AmbientRuntime, BoxFuture, Monotonic, Runtime, with_timeout};
use crate::value::error::{Error, ErrorKind, Result};
use crate::value::secret::Dek;

/// A key manager that gives up in time, tries again after errors that may pass, and leaves a backend alone that is down.
///
/// *Deadline.* A call ends with `TimedOut` within [`Resilience::deadline`], or by the request's own deadline if that is
/// earlier. Each try ends within [`Resilience::attempt`].
///
/// *Retries.* Only retryable errors are tried again. The delay doubles each time, and a random part of it is waited
/// ("full jitter", AWS Architecture Blog, 2015), or the time that the backend asked for. A retry is not begun if it could
/// not end before the deadline, or if the request's [budget of calls](crate::key::CallBudget) is used up. All methods of
/// a key manager may be repeated.
///
/// *Circuit breaker.* After [`Resilience::breaker`] failures in a row that indicate an outage (`Unavailable`, or a
/// used-up [`Resilience::attempt`]), calls fail with `Unavailable` immediately, without any retry, for a while. Then one
/// call is let through to see. [`Error::retry_after`] returns how long the pause is. Any answer of the backend closes the
/// breaker, also a refusal or a wrap that does not open. If a caller's own deadline ends a try earlier, that says nothing
/// about the backend.
///
/// *Concurrent calls.* At most [`Resilience::calls`]. The others wait for their turn, within their deadline.
///
/// # Cancel safety
/// A dropped call gives back its turn. The try that was under way is dropped where it stands.
pub struct Resilient<K> {
    inner: K,
    policy: Resilience,
    runtime: Arc<dyn Runtime>,
    breaker: Arc<Breaker>,
    turns: Arc<async_lock::Semaphore>,
}

impl<K: KeyManager> Resilient<K> {
    /// Wraps `inner` with the default [`Resilience`], on the [`AmbientRuntime`].
    #[must_use]
    pub fn new(inner: K) -> Self {
        Self::with_policy(inner, Resilience::default(), Arc::new(AmbientRuntime))
    }

    /// Wraps `inner` with this policy, and with the clocks and sleep of this runtime.
    #[must_use]
    pub fn with_policy(inner: K, policy: Resilience, runtime: Arc<dyn Runtime>) -> Self {
        let turns = Arc::new(async_lock::Semaphore::new(policy.calls.max(1)));
        Self {
            inner,
            policy,
            runtime,
            breaker: Arc::default(),
            turns,
        }
    }

    /// Returns when a call that begins now must have ended.
    fn deadline(&self, requests: &[&Request<'_>]) -> Monotonic {
        let own = self.runtime.now() + self.policy.deadline;
        requests
            .iter()
            .filter_map(|request| request.deadline())
            .fold(own, Monotonic::min)
    }

    fn left(&self, deadline: Monotonic) -> Result<Duration> {
        let left = deadline.0.saturating_sub(self.runtime.now().0);
        if left.is_zero() {
            Err(self.timed_out())
        } else {
            Ok(left)
        }
    }

    fn timed_out(&self) -> Error {
        Error::new(ErrorKind::TimedOut).with_provider(self.inner.provider().to_owned())
    }

    /// One try: in its turn, within its time, and only while the breaker lets it.
    async fn attempt<T>(
        &self,
        deadline: Monotonic,
        work: BoxFuture<'_, T>,
        failed: fn(&T) -> Option<ErrorKind>,
    ) -> Try<T> {
        let left = match self.left(deadline) {
            Ok(left) => left,
            Err(error) => return Try::Final(error),
        };
        let turn = with_timeout(&*self.runtime, Some(left), async {
            Ok(self.turns.acquire_arc().await)
        });
        let Ok(_turn) = turn.await else {
            return Try::Final(self.timed_out());
        };
        let permit = match self.breaker.enter(self.runtime.now()) {
            Ok(permit) => permit,
            Err(wait) => {
                let error = Error::new(ErrorKind::Unavailable)
                    .with_provider(self.inner.provider().to_owned())
                    .with_detail(
                        "the key manager failed several times in a row, so it is not asked for a while",
                    )
                    .with_retry_after(wait);
                return Try::Final(error);
            }
        };
        let left = match self.left(deadline) {
            Ok(left) => left,
            Err(error) => return Try::Final(error),
        };
        let time = left.min(self.policy.attempt);
        let answer = with_timeout(&*self.runtime, Some(time), async { Ok(work.await) }).await;
        let kind = match &answer {
            Ok(answer) => failed(answer),
            Err(_) => Some(ErrorKind::TimedOut),
        };
        let seen = match kind {
            Some(ErrorKind::Unavailable) => Seen::Outage,
            Some(ErrorKind::TimedOut) if left < self.policy.attempt => Seen::Nothing,
            Some(ErrorKind::TimedOut) => Seen::Outage,
            _ => Seen::Answer,
        };
        permit.leave(seen, self.runtime.now(), &self.policy);
        match answer {
            Ok(answer) => Try::Answered(answer),
            Err(_) => Try::TimedOut,
        }
    }

    /// Waits before try number `retry` (from 1), unless that would pass the deadline or the breaker is open.
    async fn back_off(&self, retry: u32, error: Error, deadline: Monotonic) -> Result<()> {
        if self.breaker.is_open(self.runtime.now()) {
            return Err(error);
        }
        let delay = self
            .policy
            .delay(retry)
            .max(error.retry_after().unwrap_or_default());
        match self.left(deadline) {
            Ok(left) if left > delay => {
                self.runtime.sleep(delay).await;
                Ok(())
            }
            _ => Err(error),
        }
    }

    /// Tries until the call works, the error is one that stays, or no time or try is left.
    async fn call<'a, T>(
        &'a self,
        request: &Request<'_>,
        work: impl Fn() -> BoxFuture<'a, Result<T>>,
    ) -> Result<T> {
        let deadline = self.deadline(&[request]);
        let mut retry = 0;
        loop {
            let answer = self
                .attempt(deadline, work(), |answer| answer.as_ref().err().map(Error::kind))
                .await;
            let error = match answer {
                Try::Answered(Ok(answer)) => return Ok(answer),
                Try::Answered(Err(error)) => error,
                Try::TimedOut => self.timed_out(),
                Try::Final(error) => return Err(error),
            };
            retry += 1;
            if !error.is_retryable() || retry > self.policy.retries || request.take_call().is_err() {
                return Err(error);
            }
            self.back_off(retry, error, deadline).await?;
        }
    }

    /// The same for a batch: items that failed and may pass are tried again, together and without the rest.
    async fn call_batch<'a, I: Copy, T>(
        &'a self,
        items: &[I],
        requests: &[&Request<'_>],
        work: impl for<'b> Fn(&'b [I]) -> BoxFuture<'b, Vec<Result<T>>>,
    ) -> Vec<Result<T>> {
        let deadline = self.deadline(requests);
        let mut results: Vec<Option<Result<T>>> = items.iter().map(|_| None).collect();
        let mut open: Vec<usize> = (0..items.len()).collect();
        let mut retry = 0;
        while !open.is_empty() {
            let chosen: Vec<I> = open.iter().filter_map(|at| items.get(*at).copied()).collect();
            let failed = |answers: &Vec<Result<T>>| {
                let mut kinds = answers
                    .iter()
                    .map(|answer| answer.as_ref().err().map(Error::kind));
                // One answer is enough to know that the backend is there.
                kinds
                    .clone()
                    .all(|kind| kind.is_some())
                    .then(|| kinds.next().flatten())
                    .flatten()
            };
            let (answers, is_final) = match self.attempt(deadline, work(&chosen), failed).await {
                Try::Answered(answers) => (answers, false),
                Try::TimedOut => (open.iter().map(|_| Err(self.timed_out())).collect(), false),
                Try::Final(error) => (open.iter().map(|_| Err(error.copy())).collect(), true),
            };
            let may_retry = !is_final && retry < self.policy.retries;
            let mut again = Vec::new();
            let mut last = None;
            let mut answers = answers.into_iter();
            for at in open {
                let answer = answers
                    .next()
                    .unwrap_or_else(|| Err(Error::new(ErrorKind::InvalidAnswer)));
                if let Err(error) = &answer
                    && may_retry
                    && error.is_retryable()
                    && requests
                        .get(at)
                        .is_some_and(|request| request.take_call().is_ok())
                {
                    again.push(at);
                    last = Some(error.copy());
                }
                if let Some(result) = results.get_mut(at) {
                    *result = Some(answer);
                }
            }
            open = again;
            retry += 1;
            let Some(error) = last else {
                break;
            };
            if self.back_off(retry, error, deadline).await.is_err() {
                break;
            }
        }
        let missing = || Err(Error::new(ErrorKind::InvalidAnswer));
        results
            .into_iter()
            .map(|result| result.unwrap_or_else(missing))
            .collect()
    }
}

/// How a try ended.
enum Try<T> {
    Answered(T),
    /// The try was begun and has used up its time.
    TimedOut,
    /// The try was not begun, and no other try of this call will be: no time is left, or the breaker is open.
    Final(Error),
}

#[async_trait]
impl<K: KeyManager> KeyManager for Resilient<K> {
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

    /// The pinned manager has the same policy, and shares breaker and turns.
    fn pinned_to(&self, kek: &KekRef) -> Result<Arc<dyn KeyManager>> {
        Ok(Arc::new(Resilient {
            inner: self.inner.pinned_to(kek)?,
            policy: self.policy,
            runtime: Arc::clone(&self.runtime),
            breaker: Arc::clone(&self.breaker),
            turns: Arc::clone(&self.turns),
        }))
    }

    async fn generate(&self, request: &Request<'_>) -> Result<(Dek, WrappedDek)> {
        self.call(request, || self.inner.generate(request)).await
    }

    async fn wrap(&self, dek: &Dek, request: &Request<'_>) -> Result<WrappedDek> {
        self.call(request, || self.inner.wrap(dek, request)).await
    }

    async fn unwrap(&self, wrapped: WrapRef<'_>, request: &Request<'_>) -> Result<Unwrapped> {
        self.call(request, || self.inner.unwrap(wrapped, request)).await
    }

    async fn rewrap(&self, wrapped: WrapRef<'_>, request: &Request<'_>) -> Result<Option<WrappedDek>> {
        self.call(request, || self.inner.rewrap(wrapped, request)).await
    }

    async fn wrap_batch(&self, items: &[(&Dek, &Request<'_>)]) -> Vec<Result<WrappedDek>> {
        let requests: Vec<_> = items.iter().map(|(_, request)| *request).collect();
        self.call_batch(items, &requests, |items| self.inner.wrap_batch(items))
            .await
    }

    async fn unwrap_batch(&self, items: &[(WrapRef<'_>, &Request<'_>)]) -> Vec<Result<Unwrapped>> {
        let requests: Vec<_> = items.iter().map(|(_, request)| *request).collect();
        self.call_batch(items, &requests, |items| self.inner.unwrap_batch(items))
            .await
    }

    async fn rewrap_batch(&self, items: &[(WrapRef<'_>, &Request<'_>)]) -> Vec<Result<Option<WrappedDek>>> {
        let requests: Vec<_> = items.iter().map(|(_, request)| *request).collect();
        self.call_batch(items, &requests, |items| self.inner.rewrap_batch(items))
            .await
    }
}

impl<K: fmt::Debug> fmt::Debug for Resilient<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resilient")
            .field("inner", &self.inner)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}
