//! Marks: which revision of a ring somebody has seen.

use std::fmt;

use super::super::tree::Digest;
use crate::value::error::{Error, Result};

/// A revision of a ring that somebody has seen, and the hash of its head. Whoever holds a newer one refuses an older
/// dump of the inventory. As text `REVISION:HEX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mark {
    /// The revision.
    pub revision: u64,
    /// SHA-256 of the head.
    pub head: [u8; 32],
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}",
            self.revision,
            base16ct::lower::encode_string(&self.head)
        )
    }
}

impl std::str::FromStr for Mark {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::argument("a mark is a revision, a colon and 64 hexadecimal digits");
        let (revision, head) = text.split_once(':').ok_or_else(wrong)?;
        let mut bytes = [0; 32];
        let decoded = base16ct::lower::decode(head, &mut bytes).map_err(|_| wrong())?;
        if decoded.len() != 32 {
            return Err(wrong());
        }
        Ok(Self {
            revision: revision.parse().map_err(|_| wrong())?,
            head: bytes,
        })
    }
}

pub(crate) fn hex(digest: &Digest) -> String {
    base16ct::lower::encode_string(digest)
}

pub(crate) fn of_hex(text: &str) -> Option<Digest> {
    let mut digest = [0; 32];
    match base16ct::lower::decode(text, &mut digest) {
        Ok(decoded) if decoded.len() == 32 => Some(digest),
        _ => None,
    }
}
