//! What several backends need.
#![cfg_attr(
    not(all(
        feature = "aws-kms",
        feature = "azure-key-vault",
        feature = "gcp-kms",
        feature = "pkcs11",
        feature = "vault-transit"
    )),
    allow(dead_code, unused_imports, reason = "each backend uses its own part of it")
)]

#[cfg(any(
    feature = "aws-kms",
    feature = "azure-key-vault",
    feature = "gcp-kms",
    feature = "pkcs11",
    feature = "vault-transit"
))]
pub(super) mod answer;
#[cfg(any(
    feature = "aws-kms",
    feature = "azure-key-vault",
    feature = "gcp-kms",
    feature = "vault-transit"
))]
pub(super) mod door;
#[cfg(feature = "gcp-kms")]
pub(super) mod for_all;
#[cfg(any(
    feature = "aws-kms",
    feature = "azure-key-vault",
    feature = "gcp-kms",
    feature = "vault-transit"
))]
pub(super) mod http;
#[cfg(any(feature = "aws-kms", feature = "azure-key-vault", feature = "gcp-kms"))]
pub(super) mod idempotency;
pub(crate) mod secret_file;
