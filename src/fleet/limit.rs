//! How much a job does in a second.

use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::runtime::{Monotonic, Runtime};

/// What a job does in a second at most, all its workers together. Without limits by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Items that are examined.
    pub items: Option<NonZeroU32>,
    /// Bytes of fronts that are read or written.
    pub bytes: Option<NonZeroU32>,
    /// Calls to the KMS. A re-wrap that is not known counts as two: an unwrap and a wrap.
    pub calls: Option<NonZeroU32>,
}

impl Limits {
    /// No limits.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Limits the items.
    #[must_use]
    pub fn items(mut self, in_a_second: NonZeroU32) -> Self {
        self.items = Some(in_a_second);
        self
    }

    /// Limits the bytes.
    #[must_use]
    pub fn bytes(mut self, in_a_second: NonZeroU32) -> Self {
        self.bytes = Some(in_a_second);
        self
    }

    /// Limits the calls.
    #[must_use]
    pub fn calls(mut self, in_a_second: NonZeroU32) -> Self {
        self.calls = Some(in_a_second);
        self
    }
}

/// A token bucket. What is taken before it is there is waited for, so that one large batch passes, too.
#[derive(Debug)]
pub(super) struct Bucket {
    in_a_second: Option<f64>,
    state: Mutex<Option<Level>>,
}

#[derive(Clone, Copy, Debug)]
struct Level {
    tokens: f64,
    at: Monotonic,
}

impl Bucket {
    pub(super) fn new(in_a_second: Option<NonZeroU32>) -> Self {
        Self {
            in_a_second: in_a_second.map(|number| f64::from(number.get())),
            state: Mutex::default(),
        }
    }

    /// Takes tokens, and waits until they are there.
    pub(super) async fn take(&self, runtime: &dyn Runtime, tokens: u64) {
        if let Some(wait) = self.debit(runtime.now(), tokens) {
            runtime.sleep(wait).await;
        }
    }

    /// Takes tokens, and returns how long to wait for them.
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
