//! The key ring: all keys of one deployment, their states, and the evidence for each move.

mod id;
pub mod inventory;
mod lifecycle;
mod scope;
mod time;

pub use id::RecordId;
pub use inventory::Inventory;
pub use lifecycle::{RewrappedFrom, STATES, State, StateRow, Transition, Wraps};
pub use scope::{Scope, ScopeTemplate, Slot};
pub use time::{Period, Time};
