//! Layers around a [`KeyManager`](crate::KeyManager), each one a key manager again.
//!
//! | layer | what it adds |
//! |---|---|
//! | `Resilient` (feature `resilience`) | a deadline, retries with backoff, a circuit breaker, a bound on calls at once |
//! | [`Failover`] | other managers of the same KEK to unwrap with when one is down |
//! | [`Paced`] | no more calls in a second than its [`Pace`] says, which counts them |
//! | [`Verified`] | the first wrap under each KEK version is read back before it is used |
//!
//! Around one manager put `Verified` outermost and `Resilient` innermost:
//! `Verified::new(Failover::new(Resilient::new(near)).or(Resilient::new(far)))`. No backend of this crate retries
//! by itself, so no retry is done twice.
//!
//! And around a [`DekSource`](crate::DekSource), a source again:
//!
//! | layer | what it adds |
//! |---|---|
//! | `Cached` (feature `cache`) | DEKs that are kept for a while: one request at a time, refreshes, invalidation |

mod failover;
mod paced;
#[cfg(feature = "resilience")]
mod resilient;
mod verified;

pub use failover::Failover;
#[cfg(feature = "fleet")]
pub(crate) use paced::Bucket;
pub use paced::{Pace, Paced};
#[cfg(feature = "resilience")]
pub use resilient::{Resilience, Resilient};
pub use verified::Verified;
