//! When a KMS or a store has too much to do, all workers of a job wait.

use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::runtime::{Monotonic, Runtime};
use crate::value::error::{Error, ErrorKind, Result};

/// The first pause, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// How often a question is asked again.
pub(crate) const TRIES: u32 = 8;

#[derive(Debug, Default)]
pub(crate) struct Brake(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    until: Option<Monotonic>,
    pause: Option<Duration>,
}

impl Brake {
    /// Whether it is worth asking again after an error.
    pub(crate) fn is_for(error: &Error) -> bool {
        error.is_retryable()
            && matches!(
                error.kind(),
                ErrorKind::Throttled | ErrorKind::Unavailable | ErrorKind::TimedOut | ErrorKind::Store
            )
    }

    /// Somebody met an error: everybody waits, each time twice as long, or as long as the other side says.
    pub(crate) fn hit(&self, now: Monotonic, error: &Error) {
        let mut state = self.lock();
        if state.until.is_some_and(|until| now < until) {
            // The same burst.
            return;
        }
        let pause = state.pause.map_or(PAUSE.0, |pause| (pause * 2).min(PAUSE.1));
        state.pause = Some(pause);
        let pause = error
            .retry_after()
            .map_or(pause, |after| after.max(pause).min(PAUSE.1));
        state.until = Some(now + pause);
    }

    /// Something went well.
    pub(crate) fn ease(&self, now: Monotonic) {
        let mut state = self.lock();
        if state.pause.is_some() && state.until.is_none_or(|until| now >= until) {
            state.pause = state
                .pause
                .map(|pause| pause / 2)
                .filter(|pause| *pause >= PAUSE.0);
        }
    }

    pub(crate) async fn wait(&self, runtime: &dyn Runtime) {
        let left = || {
            let until = self.lock().until?;
            until
                .0
                .checked_sub(runtime.now().0)
                .filter(|left| !left.is_zero())
        };
        while let Some(left) = left() {
            runtime.sleep(left).await;
        }
    }

    /// Asks, and asks again after what `again` says is worth it, each time when the pause is over.
    pub(crate) async fn patiently<T, F: Future<Output = Result<T>>>(
        &self,
        runtime: &dyn Runtime,
        again: impl Fn(&Error) -> bool,
        ask: impl Fn() -> F,
    ) -> Result<T> {
        let mut tries = 0;
        loop {
            self.wait(runtime).await;
            match ask().await {
                Err(error) if again(&error) && tries < TRIES => {
                    tries += 1;
                    self.hit(runtime.now(), &error);
                }
                answer => {
                    if answer.is_ok() {
                        self.ease(runtime.now());
                    }
                    return answer;
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_a_burst_counts_once() {
        let brake = Brake::default();
        let throttled = Error::new(ErrorKind::Throttled).with_retryable(true);
        let at = |millis| Monotonic(Duration::from_millis(millis));
        let until = || brake.lock().until.unwrap();
        brake.hit(at(0), &throttled);
        brake.hit(at(50), &throttled);
        assert_eq!(until(), at(100));
        brake.hit(at(100), &throttled);
        assert_eq!(until(), at(300));
        brake.ease(at(300));
        brake.hit(at(300), &throttled);
        assert_eq!(until(), at(500));
        let asked = Error::new(ErrorKind::Throttled)
            .with_retryable(true)
            .with_retry_after(Duration::from_secs(5));
        brake.hit(at(500), &asked);
        assert_eq!(until(), at(5_500));
        assert!(!Brake::is_for(&Error::new(ErrorKind::Denied)));
    }
}
