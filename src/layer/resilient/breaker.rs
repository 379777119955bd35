//! A circuit breaker.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::policy::Resilience;
use crate::runtime::Monotonic;

#[derive(Default)]
pub(super) struct Breaker(Mutex<State>);

#[derive(Default)]
struct State {
    /// Outages in a row.
    failures: u32,
    /// Calls fail until then.
    open_until: Option<Monotonic>,
    /// One call is under way to see whether the backend is back.
    probing: bool,
}

/// The right to make one call. If it is dropped without an answer, the call counts as none.
pub(super) struct Permit<'b> {
    breaker: &'b Breaker,
    probes: bool,
}

impl Breaker {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is one assignment: nothing is half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether calls fail at once.
    pub(super) fn is_open(&self, now: Monotonic) -> bool {
        self.lock().open_until.is_some_and(|until| now < until)
    }

    /// Lets a call through, or returns how long to wait.
    pub(super) fn enter(&self, now: Monotonic) -> Result<Permit<'_>, Duration> {
        let mut state = self.lock();
        let Some(until) = state.open_until else {
            return Ok(Permit {
                breaker: self,
                probes: false,
            });
        };
        if now < until {
            return Err(until.0.saturating_sub(now.0));
        }
        if state.probing {
            return Err(Duration::ZERO);
        }
        state.probing = true;
        Ok(Permit {
            breaker: self,
            probes: true,
        })
    }
}

/// What a call has shown of the backend.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// The backend answers, even if it refuses.
    Answer,
    /// The backend cannot be reached, or has used up the time that the policy gives each try.
    Outage,
    /// Nothing, because the caller had less time than that.
    Nothing,
}

impl Permit<'_> {
    /// Ends the call.
    pub(super) fn leave(self, seen: Seen, now: Monotonic, policy: &Resilience) {
        let mut state = self.breaker.lock();
        match seen {
            Seen::Nothing => return,
            Seen::Answer => {
                state.failures = 0;
                state.open_until = None;
                return;
            }
            Seen::Outage => {}
        }
        state.failures = state.failures.saturating_add(1);
        if policy.breaker > 0 && (self.probes || state.failures >= policy.breaker) {
            state.open_until = Some(now + policy.breaker_open);
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if self.probes {
            self.breaker.lock().probing = false;
        }
    }
}
