//! How many calls one envelope may cause.

#[cfg(feature = "vault-transit")]
use std::any::Any;
use std::sync::atomic::{AtomicU32, Ordering};
#[cfg(feature = "vault-transit")]
use std::sync::{Arc, Mutex, PoisonError};

use crate::value::error::{Error, ErrorKind, Result};
use crate::value::limits;

/// The calls to backends that one operation on one envelope may still make.
///
/// A source makes one budget for each open or re-wrap, and takes a call from the budget before it
/// asks a key manager. If a key manager needs more than one call for one answer (to try several versions or
/// several keys), it takes each further call with [`Request::take_call`](super::Request::take_call). So an envelope
/// with planted stanzas cannot multiply the calls.
///
/// A source can [reserve](Self::reserve) calls for the stanzas that it has not tried yet, so that the further calls for one stanza
/// leave a first call for every other stanza.
#[derive(Debug)]
pub struct CallBudget {
    left: AtomicU32,
    /// Calls that only the source takes.
    reserved: AtomicU32,
    /// What one stanza's calls have shown that holds for the others, by whom it is about.
    #[cfg(feature = "vault-transit")]
    notes: Mutex<Vec<(String, Note)>>,
}

#[cfg(feature = "vault-transit")]
type Note = Arc<dyn Any + Send + Sync>;

impl Default for CallBudget {
    fn default() -> Self {
        Self {
            left: AtomicU32::new(u32::try_from(limits::BACKEND_CALLS.max).unwrap_or(u32::MAX)),
            reserved: AtomicU32::new(0),
            #[cfg(feature = "vault-transit")]
            notes: Mutex::default(),
        }
    }
}

impl CallBudget {
    /// Makes a full budget: [`limits::BACKEND_CALLS`] calls.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one call: for a source, the first call for a stanza.
    ///
    /// # Errors
    /// `BudgetExhausted` if no call is left.
    pub fn take(&self) -> Result<()> {
        self.take_beyond(0)
    }

    /// Takes one call that is not reserved: for a key manager, a further call for a stanza.
    ///
    /// # Errors
    /// `BudgetExhausted` if no call is left, or if every call that is left is reserved.
    pub fn take_further(&self) -> Result<()> {
        self.take_beyond(self.reserved.load(Ordering::Relaxed))
    }

    /// Reserves this many calls, instead of those that were reserved before. [`take`](Self::take) takes reserved calls too.
    pub fn reserve(&self, calls: usize) {
        let calls = u32::try_from(calls).unwrap_or(u32::MAX);
        self.reserved.store(calls, Ordering::Relaxed);
    }

    fn take_beyond(&self, least: u32) -> Result<()> {
        let one_less = |left: u32| left.checked_sub(1).filter(|rest| *rest >= least);
        self.left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less)
            .map(|_| ())
            .map_err(|_| exhausted())
    }

    /// Returns how many calls are left, with those that are reserved.
    #[must_use]
    pub fn left(&self) -> u32 {
        self.left.load(Ordering::Relaxed)
    }

    /// Returns how many calls are left that are not reserved.
    #[must_use]
    pub fn left_further(&self) -> u32 {
        self.left().saturating_sub(self.reserved.load(Ordering::Relaxed))
    }
}

/// What has to be asked once for an envelope, however many of its stanzas raise the question.
#[cfg(feature = "vault-transit")]
impl CallBudget {
    /// What was noted about this one.
    pub(crate) fn noted<T: Any + Send + Sync>(&self, about: &str) -> Option<Arc<T>> {
        let notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        let found = notes.iter().find(|(noted, _)| noted == about);
        found.and_then(|(_, note)| Arc::clone(note).downcast().ok())
    }

    pub(crate) fn note<T: Any + Send + Sync>(&self, about: String, note: Arc<T>) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.push((about, note));
    }
}

fn exhausted() -> Error {
    Error::new(ErrorKind::BudgetExhausted {
        budget: limits::BACKEND_CALLS.name,
    })
    .with_detail("the envelope needs more calls to backends than one envelope may cause: remove wraps or KEKs that nobody needs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn further_calls_leave_what_is_reserved() {
        let budget = CallBudget::new();
        budget.reserve(30);
        assert_eq!(budget.left_further(), 2);
        assert!(budget.take_further().is_ok() && budget.take_further().is_ok());
        assert!(budget.take_further().is_err());
        assert_eq!((budget.left(), budget.left_further()), (30, 0));
        budget.take().unwrap();
        budget.reserve(28);
        assert!(budget.take_further().is_ok());
        // More than there are leaves nothing, and is no error for who takes the first calls.
        budget.reserve(usize::MAX);
        assert!(budget.take_further().is_err() && budget.take().is_ok());
    }

    #[test]
    fn no_more_calls_than_the_limit() {
        let budget = CallBudget::new();
        for _ in 0..limits::BACKEND_CALLS.max {
            budget.take().unwrap();
        }
        assert_eq!(budget.left(), 0);
        budget.reserve(0);
        assert!(budget.take_further().is_err());
        let kind = budget.take().unwrap_err().kind();
        assert_eq!(
            kind,
            ErrorKind::BudgetExhausted {
                budget: "backend calls of an envelope"
            }
        );
    }
}
