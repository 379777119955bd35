//! How a KEK is derived from a passphrase.

use argon2::{Algorithm, Argon2, Params, Version};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::envelope::WrapAlgorithm;
use crate::value::error::{Error, ErrorKind, Result};
use crate::value::limits::{self, Limit};
use crate::value::secret::Kek;

/// Length of a salt, in bytes.
pub(super) const SALT: usize = 16;

/// How a KEK is derived from a passphrase, and at what cost.
///
/// Each wrap contains the cost, so you can raise the cost later and still open older envelopes. Costs
/// outside the limits are refused before any work, in configuration and in envelopes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kdf {
    /// PBKDF2-HMAC-SHA256 (RFC 8018).
    Pbkdf2 {
        /// 600,000 to 10,000,000.
        iterations: u32,
    },
    /// Argon2id version 0x13 (RFC 9106).
    Argon2id {
        /// KiB: 19,456 to 1,048,576.
        memory: u32,
        /// 2 to 16.
        passes: u32,
        /// 1 to 16. This crate does not run lanes in parallel.
        lanes: u32,
    },
}

impl Kdf {
    /// PBKDF2 with 600,000 iterations (OWASP Password Storage Cheat Sheet): 60 to 80 ms. The default.
    pub const PBKDF2: Self = Self::Pbkdf2 {
        iterations: limits::PBKDF2_ITERATIONS_MIN,
    };
    /// Argon2id with 64 MiB, 3 passes and 4 lanes (RFC 9106, second recommended option).
    pub const ARGON2ID: Self = {
        let (memory, passes, lanes) = Self::ARGON2ID_COST;
        Self::Argon2id {
            memory,
            passes,
            lanes,
        }
    };

    /// Memory, passes and lanes of [`ARGON2ID`](Self::ARGON2ID).
    pub(crate) const ARGON2ID_COST: (u32, u32, u32) = (65_536, 3, 4);

    pub(super) fn algorithm(self) -> WrapAlgorithm {
        match self {
            Self::Pbkdf2 { .. } => WrapAlgorithm::PBKDF2_XAES_256_GCM,
            Self::Argon2id { .. } => WrapAlgorithm::ARGON2ID_XAES_256_GCM,
        }
    }

    pub(crate) fn check(self) -> Result<()> {
        match self {
            Self::Pbkdf2 { iterations } => within(
                iterations,
                limits::PBKDF2_ITERATIONS_MIN,
                &limits::PBKDF2_ITERATIONS,
            ),
            Self::Argon2id {
                memory,
                passes,
                lanes,
            } => {
                within(memory, limits::ARGON2_MEMORY_MIN, &limits::ARGON2_MEMORY)?;
                within(passes, limits::ARGON2_PASSES_MIN, &limits::ARGON2_PASSES)?;
                within(lanes, 1, &limits::ARGON2_LANES)
            }
        }
    }

    /// Writes the cost, which stands before a wrap.
    pub(super) fn write(self, out: &mut Vec<u8>) {
        match self {
            Self::Pbkdf2 { iterations } => out.extend_from_slice(&iterations.to_be_bytes()),
            Self::Argon2id {
                memory,
                passes,
                lanes,
            } => {
                for cost in [memory, passes, lanes] {
                    out.extend_from_slice(&cost.to_be_bytes());
                }
            }
        }
    }

    /// Returns the cost of a wrap of this kind, if it is within the limits, and the bytes after it.
    pub(super) fn read(self, wrapped: &[u8]) -> Result<(Self, &[u8])> {
        let malformed = || Error::malformed("wrapped DEK", 0);
        let u32_of = |bytes: &[u8; 4]| u32::from_be_bytes(*bytes);
        let (kdf, rest) = match self {
            Self::Pbkdf2 { .. } => {
                let (iterations, rest) = wrapped.split_first_chunk().ok_or_else(malformed)?;
                (
                    Self::Pbkdf2 {
                        iterations: u32_of(iterations),
                    },
                    rest,
                )
            }
            Self::Argon2id { .. } => {
                let (memory, rest) = wrapped.split_first_chunk().ok_or_else(malformed)?;
                let (passes, rest) = rest.split_first_chunk().ok_or_else(malformed)?;
                let (lanes, rest) = rest.split_first_chunk().ok_or_else(malformed)?;
                let (memory, passes, lanes) = (u32_of(memory), u32_of(passes), u32_of(lanes));
                (
                    Self::Argon2id {
                        memory,
                        passes,
                        lanes,
                    },
                    rest,
                )
            }
        };
        kdf.check()?;
        Ok((kdf, rest))
    }

    pub(super) fn derive(self, passphrase: &SecretString, salt: &[u8; SALT]) -> Result<Kek> {
        let passphrase = passphrase.expose_secret().as_bytes();
        let mut key = Zeroizing::new([0; 32]);
        match self {
            Self::Pbkdf2 { iterations } => {
                pbkdf2::pbkdf2_hmac::<Sha256>(passphrase, salt, iterations, key.as_mut_slice());
            }
            Self::Argon2id {
                memory,
                passes,
                lanes,
            } => {
                let failed =
                    |error: argon2::Error| Error::argument("Argon2id refused its cost").with_source(error);
                let params = Params::new(memory, passes, lanes, Some(32)).map_err(failed)?;
                Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
                    .hash_password_into(passphrase, salt, key.as_mut_slice())
                    .map_err(failed)?;
            }
        }
        Ok(Kek::from_bytes(&key))
    }
}

impl Default for Kdf {
    fn default() -> Self {
        Self::PBKDF2
    }
}

fn within(value: u32, least: u32, most: &Limit) -> Result<()> {
    if value < least {
        return Err(Error::new(ErrorKind::OverLimit {
            limit: most.name,
            max: most.max,
        })
        .with_detail(format!("{value} is below the minimum of {least}")));
    }
    most.check(value as usize)
}
