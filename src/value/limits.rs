//! Every maximum of format and memory in one table, with its reason.
//!
//! The crate checks each limit before it allocates anything and before it calls a key manager. Limits are the same for
//! writers and readers. [`ALL`] lists them.

use crate::value::error::{Error, ErrorKind, Result};

/// One limit: its name in errors, its maximum, and the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limit {
    /// The name, as in [`ErrorKind::OverLimit`].
    pub name: &'static str,
    /// The maximum.
    pub max: u64,
    /// The reason for this value.
    pub why: &'static str,
}

impl Limit {
    /// Refuses a value above the limit.
    ///
    /// # Errors
    /// [`ErrorKind::OverLimit`] if `value` is above the limit.
    pub fn check(&self, value: usize) -> Result<()> {
        if value as u64 > self.max {
            Err(self.error())
        } else {
            Ok(())
        }
    }

    pub(crate) fn error(&self) -> Error {
        Error::new(ErrorKind::OverLimit {
            limit: self.name,
            max: self.max,
        })
    }
}

macro_rules! limits {
    ($($(#[$doc:meta])* $id:ident = $max:expr, $name:literal, $why:literal;)*) => {
        $($(#[$doc])* pub const $id: Limit = Limit { name: $name, max: $max, why: $why };)*
        /// Every limit.
        pub const ALL: &[Limit] = &[$($id),*];
    };
}

limits! {
    /// Length of the wrap section, in bytes.
    WRAP_SECTION = 65_536, "wrap section length", "sixteen post-quantum stanzas with ids fit twice over; a reader may buffer it";
    /// Stanzas in one envelope.
    STANZAS = 16, "stanza count", "more recipients than anybody has; bounds the work that one envelope can cause";
    /// Calls to backends for opening or re-wrapping one envelope.
    BACKEND_CALLS = 32, "backend calls of an envelope", "each stanza twice; planted stanzas, keys and versions must not multiply; only more wraps that may be ours than these can use them up";
    /// Stanzas wrapped by a passphrase in one envelope.
    PASSPHRASE_STANZAS = 2, "passphrase stanza count", "each one can cost a second of processor time before anything is verified";
    /// Length of a provider name, in bytes.
    PROVIDER = 32, "provider length", "the longest name in use has 15 bytes";
    /// Length of a KEK id, in bytes.
    KEK_ID = 2_048, "KEK id length", "a resource path or key URL of any of the clouds fits with room";
    /// Length of a KEK version, in bytes.
    KEK_VERSION = 255, "KEK version length", "its length field has one byte";
    /// Length of a wrapped DEK, in bytes.
    WRAPPED = 16_384, "wrapped DEK length", "ten times the largest wrap in use (1,616 bytes, ML-KEM-1024)";
    /// Pairs of an encryption context.
    CONTEXT_PAIRS = 64, "context pair count", "AWS KMS and Vault requests stay within their size limits";
    /// Length of the canonical context, in bytes.
    CONTEXT = 8_192, "context length", "the greatest encryption context that AWS KMS takes";
    /// Length of a message's AAD, in bytes.
    AAD = 65_536, "AAD length", "an AAD names a row or an object; data belongs in the payload";
    /// Chunks of one message.
    CHUNKS = 1 << 32, "chunk count", "keeps the AEAD's usage bounds under one message key";
    /// Plaintext bytes of one message.
    MESSAGE = 1 << 46, "message length", "keeps the AEAD's usage bounds under one message key (64 TiB)";
    /// Messages of one session.
    SESSION_MESSAGES = 1 << 20, "messages of a session", "a random 96-bit nonce repeats with a chance of at most 2^-57 in a session";
    /// Sessions of one DEK.
    DEK_SESSIONS = 1 << 24, "sessions of a DEK", "with the limit of a session, nonces repeat with a chance of at most 2^-33 for a DEK";
    /// Sessions of one DEK in a process that was forked after the DEK was obtained.
    FORKED_SESSIONS = 1 << 16, "sessions of a DEK after a fork", "256 forked processes together add at most another 2^24 sessions, so the chance stays at most 2^-32";
    /// PBKDF2 iterations.
    PBKDF2_ITERATIONS = 10_000_000, "PBKDF2 iterations", "about one second of one processor";
    /// Argon2id memory, in KiB.
    ARGON2_MEMORY = 1_048_576, "Argon2id memory (KiB)", "one GiB";
    /// Argon2id passes.
    ARGON2_PASSES = 16, "Argon2id passes", "with the memory limit, some seconds of one processor";
    /// Argon2id lanes.
    ARGON2_LANES = 16, "Argon2id lanes", "the processors of a usual server";
}

/// The minimum number of PBKDF2-HMAC-SHA256 iterations (OWASP Password Storage Cheat Sheet, 2023).
pub const PBKDF2_ITERATIONS_MIN: u32 = 600_000;
/// The minimum Argon2id memory in KiB (OWASP Password Storage Cheat Sheet: 19 MiB).
pub const ARGON2_MEMORY_MIN: u32 = 19_456;
/// The minimum number of Argon2id passes (OWASP Password Storage Cheat Sheet).
pub const ARGON2_PASSES_MIN: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_takes_its_maximum_and_no_more() {
        assert!(STANZAS.check(16).is_ok());
        let error = STANZAS.check(17).unwrap_err();
        assert_eq!(
            error.kind(),
            ErrorKind::OverLimit {
                limit: "stanza count",
                max: 16
            }
        );
    }

    #[test]
    fn names_are_unique() {
        for (i, a) in ALL.iter().enumerate() {
            assert!(ALL.iter().skip(i + 1).all(|b| a.name != b.name), "{}", a.name);
        }
    }
}
