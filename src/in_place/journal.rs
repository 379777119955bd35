//! The journal's bytes.
//!
//! ```text
//! "WAXJ" 2 | file length u64 | P u32 | body (64) | old front (P) | new front (P) | SHA-256 of all that
//! ```

use sha2::{Digest, Sha256};

use crate::envelope::{BODY_FIXED, Header, PREFIX_FIXED};
use crate::value::error::{Error, Result};
use crate::value::limits;

const MAGIC: &[u8; 5] = b"WAXJ\x02";
const CHECKSUM: usize = 32;
const FIXED: usize = MAGIC.len() + 8 + 4 + BODY_FIXED + CHECKSUM;

/// The longest front of an envelope: everything before its body.
fn front_max() -> usize {
    PREFIX_FIXED + usize::try_from(limits::WRAP_SECTION.max).unwrap_or(usize::MAX - PREFIX_FIXED)
}

/// The longest journal, in bytes.
pub(super) fn len_max() -> usize {
    FIXED + 2 * front_max()
}

/// The state of a re-wrap that goes on.
pub(super) struct Journal<'a> {
    /// Length of the file, in bytes.
    pub(super) file_len: u64,
    /// The fixed fields of the body, which say whose front it is.
    pub(super) body: &'a [u8],
    pub(super) old: &'a [u8],
    /// As long as the old one.
    pub(super) new: &'a [u8],
}

impl<'a> Journal<'a> {
    pub(super) fn encode(&self) -> Result<Vec<u8>> {
        let len = u32::try_from(self.old.len()).map_err(|_| limits::WRAP_SECTION.error())?;
        let mut out = Vec::with_capacity(FIXED + 2 * self.old.len());
        let (file_len, len) = (self.file_len.to_be_bytes(), len.to_be_bytes());
        for part in [MAGIC, file_len.as_slice(), &len, self.body, self.old, self.new] {
            out.extend_from_slice(part);
        }
        let checksum = Sha256::digest(&out);
        out.extend_from_slice(&checksum);
        Ok(out)
    }

    /// Returns `Malformed` for everything except a whole journal.
    pub(super) fn decode(bytes: &'a [u8]) -> Result<Self> {
        Self::decode_inner(bytes).ok_or_else(malformed)
    }

    fn decode_inner(bytes: &'a [u8]) -> Option<Self> {
        let (content, checksum) = bytes.split_last_chunk::<CHECKSUM>()?;
        if Sha256::digest(content).as_slice() != checksum {
            return None;
        }
        let rest = content.strip_prefix(MAGIC)?;
        let (file_len, rest) = rest.split_first_chunk::<8>()?;
        let file_len = u64::from_be_bytes(*file_len);
        let (len, rest) = rest.split_first_chunk::<4>()?;
        let len = usize::try_from(u32::from_be_bytes(*len)).ok()?;
        let (body, rest) = rest.split_at_checked(BODY_FIXED)?;
        let (old, new) = rest.split_at_checked(len)?;
        let journal = Self {
            file_len,
            body,
            old,
            new,
        };
        let is_front = |front: &[u8]| {
            // Also its own length: what is restored must be what readers accept.
            front.len() == len && Header::missing(&[front, body].concat()).is_ok() && is_whole(front)
        };
        (len <= front_max() && is_front(old) && is_front(new)).then_some(journal)
    }
}

/// Whether a front names its own length.
fn is_whole(front: &[u8]) -> bool {
    let told = front.get(5..PREFIX_FIXED).map(|len| {
        len.iter()
            .fold(0, |sum: usize, byte| sum << 8 | usize::from(*byte))
    });
    told.is_some_and(|told| told + PREFIX_FIXED == front.len())
}

pub(super) fn malformed() -> Error {
    Error::malformed("journal", 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::local::LocalKey;
    use crate::{EncryptionContext, Kek, blocking::Sealer};

    #[test]
    fn a_journal_is_whole_or_refused() {
        let sealer = Sealer::new(LocalKey::new(&Kek::generate().unwrap()));
        let sealed = sealer.seal(b"x", &EncryptionContext::empty()).unwrap();
        let at = Header::parse(&sealed).unwrap().body_offset();
        let (old, rest) = sealed.split_at(at);
        let mut new = old.to_vec();
        new[at - 1] ^= 1;
        let body = &rest[..BODY_FIXED];
        let journal = |old, new, body| {
            let file_len = 7;
            let journal = Journal {
                file_len,
                body,
                old,
                new,
            };
            journal.encode().unwrap()
        };
        let bytes = journal(old, &new, body);
        assert!(bytes.len() <= len_max());
        let read = Journal::decode(&bytes).unwrap();
        assert_eq!(
            (read.old, read.new, read.body, read.file_len),
            (old, new.as_slice(), body, 7)
        );
        for end in 0..bytes.len() {
            assert!(Journal::decode(&bytes[..end]).is_err(), "{end}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Journal::decode(&bytes).is_err(), "{bit}");
        }
        // With a good checksum, and not what it should be.
        let mut foreign = old.to_vec();
        foreign[0] = b'X';
        let mut longer = old.to_vec();
        longer[7] += 1;
        for (old, new) in [
            (foreign.as_slice(), old),
            (old, &foreign),
            (old, &longer),
            (old, &old[1..]),
            (&[], &[]),
        ] {
            assert!(Journal::decode(&journal(old, new, body)).is_err());
        }
        assert!(Journal::decode(&journal(old, old, &[0xff; BODY_FIXED])).is_err());
    }
}
