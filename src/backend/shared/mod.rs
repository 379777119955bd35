//! What several backends need.

pub(super) mod secret_file;
#[cfg(any(feature = "azure-key-vault", feature = "gcp-kms", feature = "vault-transit"))]
pub(super) mod tokio_io;
