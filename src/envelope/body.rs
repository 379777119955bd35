//! The fixed fields at the start of a body.

use std::fmt;

use super::chunks::ChunkSize;
use super::cursor::Cursor;
use crate::value::error::{Error, Result};
use crate::value::suite::Suite;

/// Length of the head: suite, exponent, flags, zero and session id.
pub(crate) const HEAD: usize = 20;
/// Length of the head and the commitment.
pub(crate) const BODY_HEAD: usize = HEAD + 32;
/// Length of the fixed fields: head, commitment and nonce.
pub(crate) const BODY_FIXED: usize = BODY_HEAD + 12;

/// Flag bit 0: the context is stored in the envelope.
pub(crate) const FLAG_STORED_CONTEXT: u8 = 1;

/// How a body was sealed, borrowed: suite, chunk size, flags, session id and commitment.
///
/// The commitment matches only under the right DEK and context, and covers all other fields.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BodyHead<'a> {
    bytes: &'a [u8; BODY_HEAD],
    suite: Suite,
    chunk_size: ChunkSize,
}

impl<'a> BodyHead<'a> {
    /// Parses these fields from the first 52 bytes of a body.
    ///
    /// # Errors
    /// `Unsupported` if the suite, the chunk exponent or a flag is unknown; `Malformed` if the zero byte is not zero.
    pub fn parse(bytes: &'a [u8; BODY_HEAD]) -> Result<Self> {
        Self::parse_at(bytes, 0)
    }

    pub(super) fn parse_at(bytes: &'a [u8; BODY_HEAD], offset: usize) -> Result<Self> {
        let [suite, exponent, flags, zero, ..] = *bytes;
        let suite = Suite::from_id(suite).ok_or_else(|| Error::unsupported("the envelope's suite"))?;
        let chunk_size = ChunkSize::from_exponent(exponent)
            .ok_or_else(|| Error::unsupported("the envelope's chunk exponent"))?;
        if flags & !FLAG_STORED_CONTEXT != 0 {
            return Err(Error::unsupported("a flag of the envelope"));
        }
        if zero != 0 {
            return Err(Error::malformed("zero byte", offset + 3));
        }
        Ok(Self {
            bytes,
            suite,
            chunk_size,
        })
    }

    pub(super) fn read(cursor: &mut Cursor<'a>) -> Result<Self> {
        let offset = cursor.offset();
        Self::parse_at(cursor.array("body head")?, offset)
    }

    /// Returns the suite.
    #[must_use]
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// Returns the chunk size.
    #[must_use]
    pub fn chunk_size(&self) -> ChunkSize {
        self.chunk_size
    }

    /// Returns whether the context is stored in the envelope.
    #[must_use]
    pub fn has_stored_context(&self) -> bool {
        self.bytes
            .get(2)
            .is_some_and(|flags| flags & FLAG_STORED_CONTEXT != 0)
    }

    /// Returns the 20 bytes from which keys are derived: suite, exponent, flags, zero and session id.
    #[must_use]
    pub fn head(&self) -> &'a [u8; HEAD] {
        self.bytes.first_chunk().unwrap_or(&[0; HEAD])
    }

    /// Returns the session id, which is the same in all envelopes of one session.
    #[must_use]
    pub fn session_id(&self) -> &'a [u8; 16] {
        self.head().last_chunk().unwrap_or(&[0; 16])
    }

    /// Returns the commitment to DEK, head and context.
    #[must_use]
    pub fn commitment(&self) -> &'a [u8; 32] {
        self.bytes.last_chunk().unwrap_or(&[0; 32])
    }

    /// Returns all 52 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8; BODY_HEAD] {
        self.bytes
    }
}

impl fmt::Debug for BodyHead<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyHead")
            .field("suite", &self.suite)
            .field("chunk_size", &self.chunk_size.bytes())
            .field("has_stored_context", &self.has_stored_context())
            .finish_non_exhaustive()
    }
}
