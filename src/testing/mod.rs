//! For tests: of this crate, of applications, and of key managers outside this crate.
//!
//! | to | take |
//! |---|---|
//! | test a [`KeyManager`](crate::KeyManager) of your own against its contract | [`conformance`] |
//! | see what a sealer asks of a KMS, and make the KMS fail | [`FakeKeyManager`] |
//! | test what depends on time, without waiting | [`SimulatedRuntime`] |
//! | test what reads variables, without touching the process | [`FakeEnvironment`] |
//! | test an `Inventory` of your own against its contract (feature `ring`) | `inventory_conformance` |
//! | have a ring with many keys (feature `ring`) | `large_ring` |
//! | make an inventory fail or lie (feature `ring`) | `InventoryLayer` |
//! | let a year pass for a key ring (feature `ring`) | `ClockedInventory` |
//!
//! Decorators and policies of your own: see the examples `audit`, `tenants` and `two_wraps`.
//!
//! Nothing here is for production: a [`FakeKeyManager`] keeps its keys in memory and derives them from a
//! name.

#[cfg(feature = "ring")]
mod clocked;
pub mod conformance;
mod environment;
mod fake;
#[cfg(feature = "ring")]
pub mod inventory_conformance;
#[cfg(feature = "ring")]
mod layer;
mod runtime;

#[cfg(feature = "ring")]
pub use clocked::ClockedInventory;
pub use environment::FakeEnvironment;
pub use fake::{Call, FakeKeyManager, Fault, Method};
#[cfg(feature = "ring")]
pub use layer::InventoryLayer;
pub use runtime::SimulatedRuntime;

#[cfg(feature = "ring")]
pub use crate::ring::large::large_ring;
