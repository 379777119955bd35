//! Each backend against servers, emulators, tokens and fakes, a module for each.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

#[cfg(feature = "aws-kms")]
mod aws_kms;
#[cfg(feature = "azure-key-vault")]
mod azure_key_vault;
#[cfg(all(feature = "gcp-kms", feature = "vault-transit"))]
mod examples;
#[cfg(feature = "gcp-kms")]
mod gcp_kms;
mod kek_uri;
#[cfg(all(
    feature = "aws-kms",
    feature = "azure-key-vault",
    feature = "gcp-kms",
    feature = "vault-transit"
))]
mod network;
#[cfg(feature = "pkcs11")]
mod pkcs11;
#[cfg(all(
    feature = "aws-kms",
    feature = "azure-key-vault",
    feature = "gcp-kms",
    feature = "pkcs11",
    feature = "vault-transit"
))]
mod ring;
#[cfg(all(feature = "ring", feature = "vault-transit"))]
mod ring_source;
#[cfg(feature = "vault-transit")]
mod vault_transit;

#[path = "../support/counted.rs"]
mod counted;
#[cfg(feature = "azure-key-vault")]
#[path = "../support/fake_azure_key_vault/mod.rs"]
mod fake_azure_key_vault;
#[cfg(feature = "gcp-kms")]
#[path = "../support/fake_gcp_kms/mod.rs"]
mod fake_gcp_kms;
#[cfg(any(feature = "aws-kms", feature = "gcp-kms", feature = "vault-transit"))]
#[path = "../support/fault_proxy.rs"]
mod fault_proxy;
#[path = "../support/live.rs"]
mod live;
#[cfg(any(feature = "aws-kms", feature = "gcp-kms", feature = "vault-transit"))]
#[path = "../support/own_server.rs"]
mod own_server;
#[path = "../support/siblings.rs"]
mod siblings;
