//! The backends: one folder for each place where KEKs are kept.

pub mod local;
#[cfg(feature = "vault-transit")]
pub mod vault_transit;
