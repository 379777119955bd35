//! The backends: one folder for each place where KEKs are kept.

#[cfg(feature = "gcp-kms")]
pub mod gcp_kms;
pub mod local;
#[cfg(feature = "vault-transit")]
pub mod vault_transit;
