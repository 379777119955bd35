//! The key ring: all keys of one deployment, their states, and the evidence for each move.

mod authority;
mod backends;
mod draft;
mod id;
pub mod inventory;
mod lifecycle;
mod record;
mod scope;
mod source;
mod time;
mod tree;
mod view;

pub use authority::{Authority, AuthorityKey};
pub use backends::Backends;
pub use id::RecordId;
pub use inventory::Inventory;
pub use lifecycle::{RewrappedFrom, STATES, State, StateRow, Transition, Wraps};
pub use record::{Canary, Intent, IntentStep, KeyRecord, Move, Protection, Provenance, RetireBy, Settings};
pub use scope::{Scope, ScopeTemplate, Slot};
pub use source::{Builder as KeyRingBuilder, KeyRing, Status};
pub use time::{Period, Time};
pub use view::{Mark, Trust, View};
