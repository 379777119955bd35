//! Pages to read before you trust this crate with data.
//!
//! | page | for |
//! |---|---|
//! | [`operating`] | contexts, data keys, the cache, rotation, streams, what to log |
//! | [`threat_model`] | what is promised, against whom, and what is not |
#![cfg_attr(
    feature = "ring",
    doc = "| [`profiles`] | what data of each class demands of keys, contexts and caches |"
)]
#![cfg_attr(
    feature = "ring",
    doc = "| [`key_ring`] | running a key ring: rotation, canary, retirement, backup |"
)]
#![cfg_attr(
    feature = "ring",
    doc = "| [`shredding`] | making all data of a tenant unreadable, and what that does not reach |"
)]
#![cfg_attr(
    feature = "ring",
    doc = "| [`tenants`] | a key for each tenant: scopes, branch keys on first use, what they cost, moving one |"
)]
#![cfg_attr(
    feature = "audit",
    doc = "| [`evidence`] | what the audit log holds, what it proves and what not, and who keeps which checkpoint |"
)]
//! | [`errors`] | what each kind of error means, who is to blame, and what to do |
//! | [`key_manager`] | how to connect another KMS or HSM |
//! | [`performance`] | what to call, what to turn, and what it costs |
//! | [`envelope_format`] | the specification of the envelope's bytes |
#![cfg_attr(
    feature = "audit",
    doc = "| [`audit_log`] | the specification of audit events and of the audit log |"
)]
//! | [`design`] | the reasons for the design |

pub mod errors;
#[cfg(feature = "audit")]
pub mod evidence;
pub mod key_manager;
#[cfg(feature = "ring")]
pub mod key_ring;
pub mod operating;
#[cfg(feature = "ring")]
pub mod profiles;
#[cfg(feature = "ring")]
pub mod shredding;
#[cfg(feature = "ring")]
pub mod tenants;
pub mod threat_model;

#[doc = include_str!("../../docs/PERFORMANCE.md")]
pub mod performance {}

#[doc = include_str!("../../docs/spec/envelope-v1.md")]
pub mod envelope_format {}

#[cfg(feature = "audit")]
#[doc = include_str!("../../docs/spec/audit-v1.md")]
pub mod audit_log {}

#[doc = include_str!("../../docs/DESIGN.md")]
pub mod design {}
