//! How many calls one envelope may cause.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::value::error::{Error, ErrorKind, Result};
use crate::value::limits;

/// The calls to backends that one operation on one envelope may still make.
///
/// A source makes one for each [`Request`](super::Request) it opens or re-wraps for, and takes a call from it before it
/// asks a key manager. A key manager that makes more than one call for one question (it tries several versions, or
/// several keys) takes each further call with [`Request::take_call`](super::Request::take_call), so that an envelope
/// with planted stanzas cannot multiply the two.
#[derive(Debug)]
pub struct CallBudget(AtomicU32);

impl Default for CallBudget {
    fn default() -> Self {
        Self(AtomicU32::new(
            u32::try_from(limits::BACKEND_CALLS.max).unwrap_or(u32::MAX),
        ))
    }
}

impl CallBudget {
    /// The calls that one envelope may cause: [`limits::BACKEND_CALLS`].
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one call.
    ///
    /// # Errors
    /// `BudgetExhausted` where none is left.
    pub fn take(&self) -> Result<()> {
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
            .map(|_| ())
            .map_err(|_| exhausted())
    }

    /// How many calls are left.
    #[must_use]
    pub fn left(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

fn exhausted() -> Error {
    Error::new(ErrorKind::BudgetExhausted {
        budget: limits::BACKEND_CALLS.name,
    })
    .with_detail("the envelope has more wraps that may be ours than calls to spend on it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_calls_than_the_limit() {
        let budget = CallBudget::new();
        for _ in 0..limits::BACKEND_CALLS.max {
            budget.take().unwrap();
        }
        assert_eq!(budget.left(), 0);
        let kind = budget.take().unwrap_err().kind();
        assert_eq!(
            kind,
            ErrorKind::BudgetExhausted {
                budget: "backend calls of an envelope"
            }
        );
    }
}
