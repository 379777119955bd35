//! How often a version of a KEK has wrapped with a random IV.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::mechanism::Mechanism;
use crate::value::error::{Error, ErrorKind, Result};

/// The maximum number of wraps of one version with AES-GCM and random 96-bit IVs (NIST SP 800-38D, 8.3).
pub(super) const WRAPS: u64 = 1 << 32;

/// The counts of this process for all its clients, by token, label, version and mechanism.
#[derive(Default)]
pub(super) struct Counts(Mutex<HashMap<String, Arc<Count>>>);

#[derive(Default)]
struct Count {
    wraps: AtomicU64,
    is_proved: AtomicBool,
}

/// What this process has done with one version.
#[derive(Clone)]
pub(super) struct Budget(Arc<Count>);

impl Budget {
    /// Returns the budget of a version, which all clients of this process share.
    pub(super) fn of(counts: &Counts, token: &str, label: &str, version: &str, mechanism: Mechanism) -> Self {
        let name = format!("{token}\0{label}\0{version}\0{}", mechanism.feature());
        let mut counts = counts.0.lock().unwrap_or_else(PoisonError::into_inner);
        Self(Arc::clone(counts.entry(name).or_default()))
    }

    /// Returns whether a wrap under this version has opened.
    pub(super) fn is_proved(&self) -> bool {
        self.0.is_proved.load(Ordering::Relaxed)
    }

    /// Records that a wrap under this version has opened.
    pub(super) fn prove(&self) {
        self.0.is_proved.store(true, Ordering::Relaxed);
    }

    /// Takes one wrap from the budget.
    pub(super) fn take(&self) -> Result<()> {
        let taken = self
            .0
            .wraps
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
                (count < WRAPS).then_some(count + 1)
            });
        taken.map(|_| ()).map_err(|_| {
            Error::new(ErrorKind::BudgetExhausted {
                budget: "wraps of a KEK version",
            })
            .with_detail("rotate the KEK")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: ALG-14
    #[test]
    fn the_last_wrap_is_given_and_no_more() {
        let counts = Counts::default();
        let of = |version| Budget::of(&counts, "token", "a", version, Mechanism::AesGcm);
        let budget = of("01");
        budget.0.wraps.store(WRAPS - 1, Ordering::Relaxed);
        // Another client of the same key has the same count; another version has its own.
        assert!(of("01").take().is_ok());
        assert_eq!(
            budget.take().unwrap_err().kind(),
            ErrorKind::BudgetExhausted {
                budget: "wraps of a KEK version"
            }
        );
        assert!(of("02").take().is_ok());
        of("02").prove();
        assert!(of("02").is_proved() && !of("01").is_proved());
    }
}
