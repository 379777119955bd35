//! What a source of DEKs has seen when it decided about a request, for an event about it.

use std::sync::{Mutex, PoisonError};

use crate::envelope::KekRef;

/// What a ring knew.
#[derive(Clone, Debug)]
pub(crate) struct Sighted {
    pub(crate) ring: String,
    pub(crate) revision: u64,
    /// `None` for a context that has no scope in the ring.
    pub(crate) scope: Option<SightedScope>,
    /// The keys of the scope, by KEK, as far as they are at hand.
    pub(crate) keys: Vec<(KekRef, String)>,
    /// Keys that the wraps name and that were compromised once.
    pub(crate) exposed: Vec<String>,
}

/// A scope, and which values of a context stand in it.
#[derive(Clone, Debug)]
pub(crate) struct SightedScope {
    pub(crate) scope: String,
    pub(crate) digest: [u8; 32],
    /// `None` if nobody knows of which template it is.
    pub(crate) template: Option<String>,
    /// The context keys whose values stand in it.
    pub(crate) values_of: Vec<String>,
}

/// A place where whoever decides leaves what was seen.
#[derive(Debug, Default)]
pub(crate) struct Sighting(Mutex<Option<Sighted>>);

impl Sighting {
    pub(crate) fn leave(&self, sighted: Sighted) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(sighted);
    }

    pub(crate) fn take(&self) -> Option<Sighted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
