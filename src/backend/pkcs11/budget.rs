//! How often a version of a KEK has wrapped with a random IV.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use crate::value::error::{Error, ErrorKind, Result};

/// Wraps of one version with AES-GCM and random 96-bit IVs (NIST SP 800-38D, 8.3).
pub(super) const WRAPS: u64 = 1 << 32;

/// The counts of this process, by token, label and version: whatever clients there are.
static COUNTS: LazyLock<Mutex<HashMap<String, Arc<AtomicU64>>>> = LazyLock::new(Mutex::default);

/// The count of one version.
#[derive(Clone)]
pub(super) struct Budget(Arc<AtomicU64>);

impl Budget {
    /// The budget of a version, the same for everybody in this process.
    pub(super) fn of(token: &str, label: &str, version: &str) -> Self {
        let name = format!("{token}\0{label}\0{version}");
        let mut counts = COUNTS.lock().unwrap_or_else(PoisonError::into_inner);
        Self(Arc::clone(counts.entry(name).or_default()))
    }

    /// Takes one wrap out of the budget.
    pub(super) fn take(&self) -> Result<()> {
        let taken = self
            .0
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
        let budget = Budget::of("budget test", "a", "01");
        budget.0.store(WRAPS - 1, Ordering::Relaxed);
        // Another client of the same key has the same count; another version has its own.
        assert!(Budget::of("budget test", "a", "01").take().is_ok());
        assert_eq!(
            budget.take().unwrap_err().kind(),
            ErrorKind::BudgetExhausted {
                budget: "wraps of a KEK version"
            }
        );
        assert!(Budget::of("budget test", "a", "02").take().is_ok());
    }
}
