//! The command-line tool, as a process: what it reads, writes, says and leaves behind.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

#[cfg(feature = "audit")]
mod audit;
#[cfg(feature = "audit")]
mod audit_copies;
#[cfg(feature = "postgres")]
mod axum_tenants;
#[cfg(feature = "azure-key-vault")]
mod azure;
#[cfg(feature = "object-store")]
#[path = "../../../../tests/support/s3.rs"]
mod buckets;
#[cfg(all(feature = "aws-kms", feature = "gcp-kms"))]
mod cloud;
mod codes;
mod doctor;
mod files;
#[cfg(feature = "fleet")]
mod fleet;
mod inspect;
mod interop;
#[cfg(target_os = "linux")]
mod key_sources;
mod keys;
mod live;
#[cfg(target_os = "linux")]
mod memory;
mod refused;
#[cfg(target_os = "linux")]
mod replaced;
mod rewrap;
#[cfg(feature = "ring")]
mod ring;
#[cfg(all(unix, feature = "ring"))]
mod ring_runbooks;
mod round_trip;
#[cfg(all(unix, feature = "aws-kms", feature = "vault-transit"))]
mod runbooks;
#[path = "../../../../tests/support/live.rs"]
mod servers;
#[cfg(target_os = "linux")]
mod signals;
#[cfg(target_os = "linux")]
mod streams;
#[cfg(target_os = "linux")]
mod terminal;
mod tool;

#[cfg(feature = "azure-key-vault")]
#[path = "../../../../tests/support/fake_azure_key_vault/mod.rs"]
mod fake_azure_key_vault;
