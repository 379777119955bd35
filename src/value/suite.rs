//! The algorithms that seal a payload.

use std::fmt;
use std::str::FromStr;

use crate::value::error::{Error, Result};

/// The algorithms that seal a payload: an AEAD and HKDF-SHA-256.
///
/// The number of a variant is its number in the envelope.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum Suite {
    /// AES-256-GCM (NIST SP 800-38D) with HKDF-SHA-256 (RFC 5869). The default.
    #[default]
    Aes256Gcm = 1,
    /// ChaCha20-Poly1305 (RFC 8439) with HKDF-SHA-256 (RFC 5869).
    ChaCha20Poly1305 = 2,
}

impl Suite {
    /// Returns the number in the envelope.
    #[must_use]
    pub const fn id(self) -> u8 {
        self as u8
    }

    /// Returns the suite with this number in an envelope, or `None` if there is none.
    #[must_use]
    pub const fn from_id(id: u8) -> Option<Self> {
        match id {
            1 => Some(Self::Aes256Gcm),
            2 => Some(Self::ChaCha20Poly1305),
            _ => None,
        }
    }

    /// Returns the name, as [`FromStr`] takes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aes256Gcm => "aes-256-gcm",
            Self::ChaCha20Poly1305 => "chacha20-poly1305",
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Suite {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        [Self::Aes256Gcm, Self::ChaCha20Poly1305]
            .into_iter()
            .find(|suite| suite.name() == name)
            .ok_or_else(|| Error::argument("a suite must be aes-256-gcm or chacha20-poly1305"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_and_name_lead_back() {
        for suite in [Suite::Aes256Gcm, Suite::ChaCha20Poly1305] {
            assert_eq!(Suite::from_id(suite.id()), Some(suite));
            assert_eq!(suite.name().parse::<Suite>().unwrap(), suite);
        }
        assert_eq!(Suite::from_id(0), None);
        assert_eq!(Suite::from_id(3), None);
        assert!("AES".parse::<Suite>().is_err());
    }
}
