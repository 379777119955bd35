//! What ends the use of a DEK: revocation, age, and a pulse that stops.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use crate::runtime::{Monotonic, Runtime};
use crate::value::error::{Error, ErrorKind, Result};

/// An end that never comes: 584 years after the runtime's origin.
const NEVER: u64 = u64::MAX;

fn nanos(at: Monotonic) -> u64 {
    u64::try_from(at.0.as_nanos()).unwrap_or(NEVER)
}

fn is_over(ends: u64, now: Monotonic) -> bool {
    ends != NEVER && nanos(now) >= ends
}

fn monotonic(nanos: u64) -> Option<Monotonic> {
    (nanos != NEVER).then(|| Monotonic(Duration::from_nanos(nanos)))
}

/// A deadline that somebody prolongs, shared by all leases that depend on it.
///
/// Whoever learns of revocations (for example a key ring that reads its inventory) prolongs the pulse with each
/// successful read. If that stops, everything that depends on the pulse ends at its next operation: handles, caches and
/// streams.
///
/// ```
/// # use std::time::Duration;
/// use waxseal::runtime::Monotonic;
/// use waxseal::source::Pulse;
///
/// let pulse = Pulse::until(Monotonic(Duration::from_secs(10)));
/// pulse.prolong(Monotonic(Duration::from_secs(20)));
/// assert!(pulse.check(Monotonic(Duration::from_secs(15))).is_ok());
/// assert!(pulse.check(Monotonic(Duration::from_secs(20))).is_err());
/// ```
#[derive(Clone, Debug)]
pub struct Pulse {
    end: Arc<AtomicU64>,
    /// Another one that must not have stopped either.
    other: Option<Arc<AtomicU64>>,
}

impl Pulse {
    /// Makes a pulse that stops at `end`, in the time of the runtime that asks, unless somebody prolongs it.
    #[must_use]
    pub fn until(end: Monotonic) -> Self {
        Self {
            end: Arc::new(AtomicU64::new(nanos(end))),
            other: None,
        }
    }

    /// Returns a pulse that stops when the first of two stops. Whoever prolongs the two prolongs it.
    #[cfg(feature = "ring")]
    pub(crate) fn with(&self, other: &Self) -> Self {
        Self {
            end: Arc::clone(&self.end),
            other: Some(Arc::clone(&other.end)),
        }
    }

    /// Moves the end of the pulse to `end`. An end that is earlier than the current end changes nothing.
    pub fn prolong(&self, end: Monotonic) {
        self.end.fetch_max(nanos(end), Ordering::SeqCst);
    }

    /// Returns when the pulse stops.
    #[must_use]
    pub fn end(&self) -> Monotonic {
        Monotonic(Duration::from_nanos(self.nanos()))
    }

    fn nanos(&self) -> u64 {
        let own = self.end.load(Ordering::Relaxed);
        let other = self.other.as_ref();
        other.map_or(own, |other| own.min(other.load(Ordering::Relaxed)))
    }

    /// Refuses the use of a pulse that has stopped.
    ///
    /// # Errors
    /// `LeaseExpired` at the end of the pulse and after it.
    pub fn check(&self, now: Monotonic) -> Result<()> {
        if nanos(now) >= self.nanos() {
            return Err(Error::new(ErrorKind::LeaseExpired)
                .with_detail("nobody has confirmed recently that its keys may still be used"));
        }
        Ok(())
    }
}

/// What a lease shares with the streams under it.
#[derive(Debug)]
struct Shared {
    is_set: AtomicBool,
    ends: AtomicU64,
    pulse: OnceLock<Pulse>,
}

impl Shared {
    fn new(ends: u64) -> Self {
        Self {
            is_set: AtomicBool::new(false),
            ends: AtomicU64::new(ends),
            pulse: OnceLock::new(),
        }
    }

    fn check(&self, now: Monotonic) -> Result<()> {
        if is_over(self.ends.load(Ordering::Relaxed), now) {
            return Err(Error::new(ErrorKind::LeaseExpired));
        }
        self.pulse.get().map_or(Ok(()), |pulse| pulse.check(now))
    }
}

/// What a stream asks before each chunk: whether its lease still lasts.
#[derive(Clone, Debug)]
pub(crate) struct StopFlag {
    shared: Arc<Shared>,
    clock: Option<Arc<dyn Runtime>>,
}

impl Default for StopFlag {
    fn default() -> Self {
        Self {
            shared: Arc::new(Shared::new(NEVER)),
            clock: None,
        }
    }
}

impl StopFlag {
    pub(crate) fn set(&self) {
        self.shared.is_set.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.shared.is_set.load(Ordering::Relaxed)
    }

    /// # Errors
    /// - `KeyRevoked` after a revocation
    /// - `LeaseExpired` at the end of the time for streams, or if the pulse has stopped
    pub(crate) fn check(&self) -> Result<()> {
        check_stop(&self.shared.is_set)?;
        self.clock
            .as_ref()
            .map_or(Ok(()), |clock| self.shared.check(clock.now()))
    }
}

/// A flag that keeps nothing alive. It is there while the lease is, or anything that works under the lease.
#[derive(Debug)]
pub(crate) struct WeakStopFlag(Weak<Shared>);

impl WeakStopFlag {
    pub(crate) fn new(flag: &StopFlag) -> Self {
        Self(Arc::downgrade(&flag.shared))
    }

    pub(crate) fn is_there(&self) -> bool {
        self.0.strong_count() > 0
    }

    pub(crate) fn upgrade(&self) -> Option<StopFlag> {
        let shared = self.0.upgrade()?;
        Some(StopFlag { shared, clock: None })
    }
}

/// Whether a lease has ended, with a flag for others, made when the first of them asks.
#[derive(Debug)]
pub(crate) struct Stop {
    is_set: AtomicBool,
    ends: AtomicU64,
    streams_end: AtomicU64,
    pulse: OnceLock<Pulse>,
    shared: Mutex<Option<Arc<Shared>>>,
}

impl Default for Stop {
    fn default() -> Self {
        Self {
            is_set: AtomicBool::new(false),
            ends: AtomicU64::new(NEVER),
            streams_end: AtomicU64::new(NEVER),
            pulse: OnceLock::new(),
            shared: Mutex::new(None),
        }
    }
}

impl Stop {
    fn with_shared<T>(&self, work: impl FnOnce(&mut Option<Arc<Shared>>) -> T) -> T {
        // Each change is one store: nothing is half done.
        work(&mut self.shared.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set(&self) {
        self.with_shared(|shared| {
            self.is_set.store(true, Ordering::SeqCst);
            if let Some(shared) = shared {
                shared.is_set.store(true, Ordering::SeqCst);
            }
        });
    }

    pub(crate) fn is_set(&self) -> bool {
        self.is_set.load(Ordering::Relaxed)
    }

    /// Ends the lease at `end`, and its streams at `streams`, unless they end before that.
    pub(crate) fn end_by(&self, end: Monotonic, streams: Monotonic) {
        self.with_shared(|shared| {
            self.ends.fetch_min(nanos(end), Ordering::Relaxed);
            self.streams_end.fetch_min(nanos(streams), Ordering::Relaxed);
            if let Some(shared) = shared {
                shared.ends.fetch_min(nanos(streams), Ordering::Relaxed);
            }
        });
    }

    pub(crate) fn ends_at(&self) -> Option<Monotonic> {
        monotonic(self.ends.load(Ordering::Relaxed))
    }

    #[cfg(feature = "cache")]
    pub(crate) fn pulse(&self) -> Option<&Pulse> {
        self.pulse.get()
    }

    /// Sets the pulse, and returns whether there was none before.
    pub(crate) fn stand_on(&self, pulse: Pulse) -> bool {
        self.with_shared(|shared| {
            if let Some(shared) = shared {
                let _ = shared.pulse.set(pulse.clone());
            }
            self.pulse.set(pulse).is_ok()
        })
    }

    /// Refuses a lease that was revoked. Reads no clock.
    pub(crate) fn check(&self) -> Result<()> {
        check_stop(&self.is_set)
    }

    /// # Errors
    /// - `KeyRevoked` after a revocation
    /// - `LeaseExpired` at the end of the lease, or if the pulse has stopped
    pub(crate) fn check_at(&self, now: Monotonic) -> Result<()> {
        self.check()?;
        if is_over(self.ends.load(Ordering::Relaxed), now) {
            return Err(Error::new(ErrorKind::LeaseExpired));
        }
        self.pulse.get().map_or(Ok(()), |pulse| pulse.check(now))
    }

    /// Returns a flag that is set when this lease is revoked, and ends in the time of `clock`.
    pub(crate) fn flag(&self, clock: Option<&Arc<dyn Runtime>>) -> StopFlag {
        let shared = self.with_shared(|shared| {
            let shared = shared.get_or_insert_with(|| {
                let new = Shared::new(self.streams_end.load(Ordering::Relaxed));
                new.is_set.store(self.is_set(), Ordering::SeqCst);
                if let Some(pulse) = self.pulse.get() {
                    let _ = new.pulse.set(pulse.clone());
                }
                Arc::new(new)
            });
            Arc::clone(shared)
        });
        StopFlag {
            shared,
            clock: clock.cloned(),
        }
    }
}

fn check_stop(is_set: &AtomicBool) -> Result<()> {
    if is_set.load(Ordering::Relaxed) {
        Err(Error::new(ErrorKind::KeyRevoked))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::AmbientRuntime;

    fn at(seconds: u64) -> Monotonic {
        Monotonic(Duration::from_secs(seconds))
    }

    #[test]
    fn a_flag_is_set_with_what_it_came_from_whichever_was_first() {
        let stop = Stop::default();
        let before = stop.flag(None);
        assert!(before.check().is_ok() && stop.check().is_ok());
        stop.set();
        for checked in [before.check(), stop.flag(None).check(), stop.check()] {
            assert_eq!(checked.unwrap_err().kind(), ErrorKind::KeyRevoked);
        }
        let stopped = Stop::default();
        stopped.set();
        assert!(stopped.flag(None).check().is_err());
    }

    #[test]
    fn ends_and_pulses_reach_the_flags_that_are_out() {
        let clock: Arc<dyn Runtime> = Arc::new(AmbientRuntime);
        let now = clock.now();
        let ended = |result: Result<()>| result.is_err_and(|error| error.kind() == ErrorKind::LeaseExpired);
        for first in [true, false] {
            let (stop, late) = (Stop::default(), now + Duration::from_secs(3600));
            let flag = first.then(|| stop.flag(Some(&clock)));
            stop.end_by(now, late);
            let flag = flag.unwrap_or_else(|| stop.flag(Some(&clock)));
            assert!(ended(stop.check_at(now)) && flag.check().is_ok());
            stop.end_by(late, now);
            assert!(ended(flag.check()), "{first}");
        }
        for first in [true, false] {
            let (stop, pulse) = (Stop::default(), Pulse::until(now));
            let flag = first.then(|| stop.flag(Some(&clock)));
            assert!(stop.stand_on(pulse.clone()) && !stop.stand_on(Pulse::until(at(9))));
            let flag = flag.unwrap_or_else(|| stop.flag(Some(&clock)));
            assert!(ended(stop.check_at(now)) && ended(flag.check()), "{first}");
            pulse.prolong(now + Duration::from_secs(3600));
            assert!(stop.check_at(now).is_ok() && flag.check().is_ok(), "{first}");
            // It is never taken back.
            pulse.prolong(now);
            assert_eq!(pulse.end(), now + Duration::from_secs(3600));
        }
    }
}
