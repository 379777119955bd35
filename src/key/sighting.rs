//! What a source of DEKs has seen when it decided about a request, for an event about it.

use std::sync::atomic::{AtomicU8, Ordering};
#[cfg(feature = "ring")]
use std::sync::{Mutex, PoisonError};

#[cfg(feature = "ring")]
use crate::envelope::KekRef;

/// Why a DEK was released though something that is usually asked could not be: each is allowed by whoever has configured it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outage {
    /// The key manager could not be reached, and a cache has released what it had kept past its end: `Caching::outage`.
    Cache,
    /// The inventory of the ring could not be confirmed for so long that nothing is sealed anymore, and what was known of it still opens:
    /// `max_stale_open` of its settings.
    Inventory,
    /// Another manager of the KEK has answered, because one before it could not: [`Failover`](crate::layer::Failover).
    Failover,
}

impl Outage {
    /// Returns its name: `"cache"`. The names are stable.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cache => "cache",
            Self::Inventory => "inventory",
            Self::Failover => "failover",
        }
    }
}

/// Several of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outages(u8);

impl Outages {
    pub(crate) const ALL: [Outage; 3] = [Outage::Cache, Outage::Inventory, Outage::Failover];

    pub(crate) const fn with(self, outage: Outage) -> Self {
        Self(self.0 | 1 << outage as u8)
    }

    pub(crate) const fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = Outage> {
        let is_there = move |outage: &Outage| self.0 & (1 << *outage as u8) != 0;
        Self::ALL.into_iter().filter(is_there)
    }
}

/// What a ring knew.
#[cfg(feature = "ring")]
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
    /// Whether the keys are known for opening only: for sealing they were not confirmed for too long.
    pub(crate) is_stale: bool,
}

/// A scope, and which values of a context stand in it.
#[cfg(feature = "ring")]
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
pub(crate) struct Sighting {
    #[cfg(feature = "ring")]
    sighted: Mutex<Option<Sighted>>,
    outages: AtomicU8,
}

impl Sighting {
    #[cfg(feature = "ring")]
    pub(crate) fn leave(&self, sighted: Sighted) {
        *self.sighted.lock().unwrap_or_else(PoisonError::into_inner) = Some(sighted);
    }

    #[cfg(feature = "ring")]
    pub(crate) fn take(&self) -> Option<Sighted> {
        self.sighted.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(crate) fn met(&self, outage: Outage) {
        let met = Outages::default().with(outage);
        self.outages.fetch_or(met.0, Ordering::Relaxed);
    }

    pub(crate) fn outages(&self) -> Outages {
        Outages(self.outages.load(Ordering::Relaxed))
    }
}
