//! How a key on a token wraps.

use crate::envelope::WrapAlgorithm;
use crate::key::Binds;

/// How a key wraps. Configuration decides it. Use each key with one mechanism only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mechanism {
    /// `CKM_AES_GCM` under an AES-256 key: wrap algorithm 32. The default.
    #[default]
    AesGcm,
    /// `CKM_AES_KEY_WRAP_PAD` (RFC 5649) under an AES-256 key: wrap algorithm 33. A token that knows it only by its
    /// name since PKCS#11 3.0, `CKM_AES_KEY_WRAP_KWP`, is `Unsupported`.
    AesKeyWrapPad,
    /// `CKM_RSA_PKCS_OAEP` with SHA-256 and MGF1-SHA-256 under an RSA key of at least 2048 bits: wrap algorithm 34.
    RsaOaep256,
}

impl Mechanism {
    /// Returns the wrap algorithm of the format.
    #[must_use]
    pub fn algorithm(self) -> WrapAlgorithm {
        match self {
            Self::AesGcm => WrapAlgorithm::PKCS11_AES_GCM,
            Self::AesKeyWrapPad => WrapAlgorithm::PKCS11_AES_KWP,
            Self::RsaOaep256 => WrapAlgorithm::PKCS11_RSA_OAEP_256,
        }
    }

    pub(super) fn binds(self) -> Binds {
        match self {
            Self::AesGcm => Binds::Aad,
            Self::AesKeyWrapPad | Self::RsaOaep256 => Binds::Embedded,
        }
    }

    /// Returns the mechanism with this name in a URI.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        match name {
            "AES-GCM" => Some(Self::AesGcm),
            "AES-KEY-WRAP-PAD" => Some(Self::AesKeyWrapPad),
            "RSA-OAEP-256" => Some(Self::RsaOaep256),
            _ => None,
        }
    }

    /// Returns the rights that a key needs to wrap and to unwrap, by their names in the standard.
    pub(super) fn rights(self) -> [&'static str; 2] {
        match self {
            Self::AesGcm | Self::RsaOaep256 => ["CKA_ENCRYPT", "CKA_DECRYPT"],
            Self::AesKeyWrapPad => ["CKA_WRAP", "CKA_UNWRAP"],
        }
    }

    /// Names the mechanism in an error about a token that does not support it.
    pub(super) fn feature(self) -> &'static str {
        match self {
            Self::AesGcm => "AES-GCM on this token",
            Self::AesKeyWrapPad => "AES key wrap with padding on this token",
            Self::RsaOaep256 => "RSA-OAEP with SHA-256 on this token",
        }
    }
}
