//! Google Cloud KMS.
mod client;
mod config;
mod credentials;
mod keys;
mod map;
mod names;

pub use client::Client;
pub use config::{Auth, Config};
pub use keys::GcpKeys;

/// The provider name in stanzas.
pub const PROVIDER: &str = "gcp-kms";
