//! Sources of DEKs: who wraps, with how many keys, and what is kept.

mod any_of;
pub(crate) mod at_hand;
#[cfg(feature = "cache")]
mod cache;
mod dek_source;
pub(crate) mod lease;
mod rewrapped;
pub(crate) mod unmet;

pub use crate::message::Pulse;
pub use any_of::AnyOf;
#[cfg(feature = "ring")]
pub(crate) use cache::flight;
#[cfg(feature = "cache")]
pub use cache::{CacheStats, Cached, Caching, OnDenial};
pub use dek_source::DekSource;
pub use lease::{DekLease, Leases};
pub use rewrapped::{Currency, Fate, Rewrapped, StanzaFate};
pub use unmet::Unmet;
