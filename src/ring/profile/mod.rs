//! Profiles: what data of a class demands of keys, contexts and caches.
//!
//! # Design
//! [`Requirements`] are a set of demands, and no rank: of two, neither needs to be the stricter. [`Requirements::stricter`] is
//! their meet, which demands what either demands. So several profiles can hold for one value, and no order among them decides.
//!
//! *Whose word counts.* Profiles, and which scope or context has which, come from a file of the reader's own ([`Profiles`]), never
//! from the inventory: whoever writes the database can weaken nothing. What a key is (class, protection, slot, whether it was ever
//! compromised) comes from the ring's signed records; with key managers alone, from their capabilities. What an envelope says
//! of itself is believed only where that refuses something.
//!
//! *One property, three questions.* Sealing: each wrap that is made counts, so the weakest one decides (of k shares: fewer than k
//! may lack it). Opening: a wrap that opened has it; a key that lacks it is not asked. Re-wrapping: the new section has
//! it, stanzas that stay included, and no new wrap lacks what the wrap that opened has.
//!
//! *Where.* A source enforces, since it knows the keys: [`KeyRing`](super::KeyRing), or `Profiled` around key managers. What only
//! a [`Sealer`](crate::Sealer) knows (whether the context is stored) comes with the request; what a cache must not keep, the
//! source says by [`DekSource::may_keep`](crate::DekSource::may_keep), and refuses if it is asked for keeping all the same.
//!
//! ```
//! use waxseal::ring::profile::Profiles;
//!
//! let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/profiles.toml"));
//! let profiles = Profiles::parse(text, "profiles.toml")?;
//! assert_eq!(profiles.names().collect::<Vec<_>>(), ["confidential", "internal", "restricted"]);
//! # Ok::<(), waxseal::Error>(())
//! ```

mod check;
mod choice;
mod explain;
mod facts;
mod file;
mod plain;
mod requirements;
mod rewrap;
#[cfg(test)]
mod tests;

pub(in crate::ring) use check::CONTEXT;
pub use choice::{Profiles, ScopePattern};
pub use explain::{ExplainedWrap, Explanation};
pub(in crate::ring) use facts::{Facts, was_compromised};
pub(crate) use plain::Profiled;
pub use requirements::{Requirements, StoredContext, Wraps};
pub(in crate::ring) use rewrap::Rewrap;

pub use crate::source::Unmet;
