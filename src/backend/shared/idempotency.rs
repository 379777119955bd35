//! Digests of idempotency keys, which mark what was done for a key: the key itself may be private.

use sha2::{Digest, Sha256};

/// Returns a digest of 43 characters of base64url.
#[cfg(any(feature = "aws-kms", feature = "azure-key-vault"))]
pub(in crate::backend) fn digest(idempotency_key: &str) -> String {
    use base64ct::{Base64UrlUnpadded, Encoding};
    let digest: [u8; 32] = Sha256::digest(idempotency_key).into();
    Base64UrlUnpadded::encode_string(&digest)
}

/// Returns a digest of 32 lower-case letters and digits, for places that take no others.
#[cfg(feature = "gcp-kms")]
pub(in crate::backend) fn small_digest(idempotency_key: &str) -> String {
    let digest = Sha256::digest(idempotency_key);
    base16ct::lower::encode_string(digest.get(..16).unwrap_or_default())
}
