//! The registry of wrap algorithms.

use std::fmt;

/// How a DEK is wrapped: a number of the format's registry.
///
/// This version keeps numbers that it does not know. A reader skips a stanza with such a number, and returns no
/// error. The numbers 224 to 255 are for private use by key managers outside this crate.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WrapAlgorithm(u8);

/// The kind of cryptography of a wrap. Classes are sets of properties, not an order of strength.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AlgorithmClass {
    /// Symmetric keys only.
    Symmetric,
    /// Public-key cryptography that a quantum computer breaks.
    Classical,
    /// Classical and post-quantum together: both must be broken.
    Hybrid,
    /// Post-quantum cryptography only.
    PostQuantum,
}

impl AlgorithmClass {
    /// Returns its name: `symmetric`, `classical`, `hybrid` or `post-quantum`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Symmetric => "symmetric",
            Self::Classical => "classical",
            Self::Hybrid => "hybrid",
            Self::PostQuantum => "post-quantum",
        }
    }

    /// Returns whether wraps of this class resist a quantum computer.
    #[must_use]
    pub const fn withstands_quantum(self) -> bool {
        !matches!(self, Self::Classical)
    }

    /// Returns whether wraps of this class rely on more than the new post-quantum schemes.
    #[must_use]
    pub const fn withstands_new_attacks(self) -> bool {
        !matches!(self, Self::PostQuantum)
    }

    /// Returns whether this class lacks a property that `other` has.
    ///
    /// This is not an order: `Classical` and `PostQuantum` each lack a property of the other.
    #[must_use]
    pub const fn is_weaker_than(self, other: Self) -> bool {
        (other.withstands_quantum() && !self.withstands_quantum())
            || (other.withstands_new_attacks() && !self.withstands_new_attacks())
    }
}

macro_rules! registry {
    ($($(#[$doc:meta])* $id:ident = $number:literal, $name:literal, $class:ident, $len:expr;)*) => {
        impl WrapAlgorithm {
            $($(#[$doc])* pub const $id: Self = Self($number);)*

            /// Returns the name, if the number is known.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 { $($number => Some($name),)* _ => None }
            }

            /// Returns the class, if the number is known. The claim of an envelope proves nothing: only the
            /// class of a stanza that opened counts.
            #[must_use]
            pub const fn class(self) -> Option<AlgorithmClass> {
                match self.0 { $($number => Some(AlgorithmClass::$class),)* _ => None }
            }

            /// Returns the exact length of the wrapped DEK in bytes, if the format fixes it.
            #[must_use]
            pub const fn wrapped_len(self) -> Option<usize> {
                match self.0 { $($number => $len,)* _ => None }
            }
        }
    };
}

registry! {
    /// XAES-256-GCM (C2SP) under a local 256-bit KEK.
    XAES_256_GCM = 1, "xaes-256-gcm", Symmetric, Some(72);
    /// PBKDF2-HMAC-SHA256 of a passphrase, then XAES-256-GCM.
    PBKDF2_XAES_256_GCM = 2, "pbkdf2-hmac-sha256+xaes-256-gcm", Symmetric, Some(92);
    /// Argon2id of a passphrase, then XAES-256-GCM.
    ARGON2ID_XAES_256_GCM = 3, "argon2id+xaes-256-gcm", Symmetric, Some(100);
    /// AWS KMS symmetric key, the context as pairs.
    AWS_KMS = 16, "aws-kms", Symmetric, None;
    /// Google Cloud KMS symmetric key.
    GCP_KMS = 17, "gcp-kms", Symmetric, None;
    /// Azure Key Vault RSA-OAEP-256.
    AZURE_RSA_OAEP_256 = 18, "azure-rsa-oaep-256", Classical, None;
    /// Azure Managed HSM A256KW.
    AZURE_A256KW = 19, "azure-a256kw", Symmetric, None;
    /// Vault or OpenBao Transit, aes256-gcm96.
    VAULT_TRANSIT = 20, "vault-transit", Symmetric, None;
    /// Vault or OpenBao Transit data key under a derived key.
    VAULT_TRANSIT_DERIVED = 21, "vault-transit-derived", Symmetric, None;
    /// AWS KMS symmetric key, the context as a digest only.
    AWS_KMS_DIGEST = 22, "aws-kms-digest", Symmetric, None;
    /// PKCS#11 AES-GCM.
    PKCS11_AES_GCM = 32, "pkcs11-aes-gcm", Symmetric, Some(60);
    /// PKCS#11 AES-KEY-WRAP-PAD (RFC 5649).
    PKCS11_AES_KWP = 33, "pkcs11-aes-kwp", Symmetric, None;
    /// PKCS#11 RSA-OAEP with SHA-256.
    PKCS11_RSA_OAEP_256 = 34, "pkcs11-rsa-oaep-256", Classical, None;
    /// X-Wing (X25519 and ML-KEM-768).
    X_WING = 48, "x-wing", Hybrid, Some(1168);
    /// ML-KEM-768 (FIPS 203).
    ML_KEM_768 = 49, "ml-kem-768", PostQuantum, Some(1136);
    /// ML-KEM-1024 (FIPS 203).
    ML_KEM_1024 = 50, "ml-kem-1024", PostQuantum, Some(1616);
    /// RSA-OAEP with SHA-256 to a local public key.
    RSA_OAEP_256 = 51, "rsa-oaep-256", Classical, None;
}

impl WrapAlgorithm {
    /// Returns the algorithm with this number, known or not.
    #[must_use]
    // spec: ALG-3 untested: a key manager outside of this crate chooses its number; those here have constants
    // spec: ALG-8, ALG-9, ALG-10 untested: no key manager here encapsulates yet
    pub const fn from_id(id: u8) -> Self {
        Self(id)
    }

    /// Returns the number.
    #[must_use]
    pub const fn id(self) -> u8 {
        self.0
    }

    /// Returns whether the number is for private use (224 to 255).
    #[must_use]
    pub const fn is_private(self) -> bool {
        self.0 >= 224
    }

    /// Returns whether unwrapping derives a key from a passphrase, which is slow on purpose.
    #[must_use]
    pub const fn is_passphrase(self) -> bool {
        matches!(self, Self::PBKDF2_XAES_256_GCM | Self::ARGON2ID_XAES_256_GCM)
    }

    /// Returns the option of a key URI that selects this algorithm, if a KEK can be used with several algorithms.
    pub(crate) const fn option(self) -> Option<&'static str> {
        Some(match self {
            Self::PBKDF2_XAES_256_GCM => "kdf=pbkdf2",
            Self::ARGON2ID_XAES_256_GCM => "kdf=argon2id",
            Self::AWS_KMS => "context=pairs",
            Self::AWS_KMS_DIGEST => "context=digest",
            Self::AZURE_RSA_OAEP_256 | Self::PKCS11_RSA_OAEP_256 => "algorithm=RSA-OAEP-256",
            Self::AZURE_A256KW => "algorithm=A256KW",
            Self::VAULT_TRANSIT => "mode=encrypt",
            Self::VAULT_TRANSIT_DERIVED => "mode=datakey",
            Self::PKCS11_AES_GCM => "algorithm=AES-GCM",
            Self::PKCS11_AES_KWP => "algorithm=AES-KEY-WRAP-PAD",
            _ => return None,
        })
    }
}

impl fmt::Display for WrapAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

impl fmt::Debug for WrapAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WrapAlgorithm({self})")
    }
}
