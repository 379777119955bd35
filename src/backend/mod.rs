//! The backends: one folder for each place where KEKs are kept.

#[cfg(feature = "aws-kms")]
pub mod aws_kms;
#[cfg(feature = "azure-key-vault")]
pub mod azure_key_vault;
#[cfg(feature = "gcp-kms")]
pub mod gcp_kms;
pub mod kek_uri;
pub mod local;
#[cfg(feature = "pkcs11")]
pub mod pkcs11;
mod shared;
#[cfg(feature = "vault-transit")]
pub mod vault_transit;
