//! Azure.

mod client;
mod config;
mod credentials;
mod keys;
mod map;
mod names;
mod resolve;
mod transport;
mod versions;

pub use client::Client;
pub use config::{Auth, Config};
pub use keys::AzureKeys;

use crate::envelope::WrapAlgorithm;

/// The provider name in stanzas.
pub const PROVIDER: &str = "azure-key-vault";

/// What the vault wraps with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// Wrap algorithm 18: an RSA key of 2048 bits or more, in a vault or a managed HSM.
    #[default]
    RsaOaep256,
    /// Wrap algorithm 19: a symmetric key of 256 bits, which only a managed HSM has.
    A256Kw,
}

impl Algorithm {
    /// The wrap algorithm.
    #[must_use]
    pub const fn wrap_algorithm(self) -> WrapAlgorithm {
        match self {
            Self::RsaOaep256 => WrapAlgorithm::AZURE_RSA_OAEP_256,
            Self::A256Kw => WrapAlgorithm::AZURE_A256KW,
        }
    }

    /// As the service calls it.
    const fn name(self) -> &'static str {
        match self {
            Self::RsaOaep256 => "RSA-OAEP-256",
            Self::A256Kw => "A256KW",
        }
    }
}
