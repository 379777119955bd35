//! Limits of time and number.

use std::time::Duration;

use crate::value::entropy;

/// How a [`Resilient`](super::Resilient) behaves. Change what should differ from the default:
///
/// ```
/// use std::time::Duration;
/// use waxseal::layer::Resilience;
///
/// let policy = Resilience { retries: 5, deadline: Duration::from_secs(3), ..Resilience::default() };
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resilience {
    /// A call with all its tries ends within this time. 10 seconds by default.
    pub deadline: Duration,
    /// One try ends within this time. 3 seconds by default.
    pub attempt: Duration,
    /// How many tries may follow the first. 3 by default.
    pub retries: u32,
    /// The delay before the first retry, of which a random part is waited. It doubles with each retry. 100 ms by default.
    pub backoff: Duration,
    /// The greatest delay. 2 seconds by default.
    pub backoff_max: Duration,
    /// After this many outages in a row, calls fail immediately. 0 means never. 5 by default.
    pub breaker: u32,
    /// How long calls fail then. 5 seconds by default.
    pub breaker_open: Duration,
    /// How many calls may be under way at once. 64 by default.
    pub calls: usize,
}

impl Default for Resilience {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(10),
            attempt: Duration::from_secs(3),
            retries: 3,
            backoff: Duration::from_millis(100),
            backoff_max: Duration::from_secs(2),
            breaker: 5,
            breaker_open: Duration::from_secs(5),
            calls: 64,
        }
    }
}

impl Resilience {
    /// Returns the delay before retry number `retry`, from 1: a random part of the current delay.
    pub(super) fn delay(&self, retry: u32) -> Duration {
        let factor = 1_u32.checked_shl(retry.saturating_sub(1)).unwrap_or(u32::MAX);
        let most = self.backoff.saturating_mul(factor).min(self.backoff_max);
        // Without randomness the whole delay is waited.
        let part = entropy::array().map_or(u32::MAX, u32::from_ne_bytes);
        most.mul_f64(f64::from(part) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_grows_to_its_bound_and_is_a_random_part_of_it() {
        let policy = Resilience::default();
        let longest = |retry| (0..2000).map(|_| policy.delay(retry)).max().unwrap();
        assert!(longest(1) <= Duration::from_millis(100) && longest(1) > Duration::from_millis(50));
        assert!(longest(3) <= Duration::from_millis(400) && longest(3) > Duration::from_millis(200));
        assert!(longest(40) <= Duration::from_secs(2) && longest(40) > Duration::from_secs(1));
        assert!((0..2000).map(|_| policy.delay(1)).min().unwrap() < Duration::from_millis(50));
    }
}
