//! The key ring: all keys of one deployment, their states, and the evidence for each move.

mod approval;
mod authority;
mod backends;
mod branch;
mod check;
mod clock;
pub mod config;
mod correct;
mod draft;
pub mod evidence;
mod id;
pub mod inventory;
#[cfg(feature = "testing")]
pub(crate) mod large;
mod lifecycle;
mod line;
pub mod profile;
mod provisioned;
mod reader;
mod record;
mod rotation;
mod scope;
mod shred_receipt;
mod source;
mod survey;
mod time;
mod transfer;
mod tree;
mod unbelieved;
mod upkeep;
mod view;
mod witness;

pub use approval::{Approval, Expires, MAX_APPROVAL, MAX_APPROVAL_AGE, NewApproval};
pub use authority::{Authority, AuthorityKey};
pub use backends::{Backends, UriBackends};
pub use check::{Check, Finding};
pub use correct::{Corrected, correct_clock};
pub use id::RecordId;
pub use inventory::Inventory;
pub use lifecycle::{RewrappedFrom, STATES, State, StateRow, Transition, Wraps};
pub use reader::Reader;
pub use record::{
    BeforeShred, Branch, Canary, Cancelled, ClockCorrection, Exported, FormerParent, Intent, IntentStep,
    KeyRecord, Move, NamedReader, NextMove, Protection, Provenance, Provisioning, RetireBy, Settings,
    Telling, Tombstone, WrappedKey,
};
pub use rotation::{
    Action, Affected, AffectedScope, BranchRewrap, BranchesRewrapped, Done, DroppedRows, Due, Event,
    Evidence, EvidenceSource, ExposedBranch, ExposedBranches, Gate, Grounds, Hook, KeyKind, KeySource,
    LaggingReader, Moved, NewKey, Orphan, Preset, Refused, RemovedProvisioners, Revocation, Revoked,
    RingAdmin, Rollout, Rotated, Rotation, Shredded, Shredding, Simulated, SimulatedCount, SimulatedMove,
    Simulation, Successor, TakenOver, Target, Tick, Unfinished, Verdict,
};
pub use scope::{Scope, ScopeTemplate, Slot};
pub use shred_receipt::{ParentCopy, ShredCount, ShredKey, ShredReceipt, ShredStage, Unreached};
pub use source::{Builder as KeyRingBuilder, KeyRing, Status};
pub use survey::Survey;
pub use time::{Period, Time};
pub use transfer::import;
pub use unbelieved::Unbelieved;
pub use upkeep::{rotate_authority, set_settings};
pub use view::{Mark, Trust, View};
pub use witness::Operation;
#[cfg(feature = "audit")]
pub(crate) use witness::{Act, Deed, Ended, RecordMove, Witness, Witnessed};

#[cfg(test)]
mod tests;
