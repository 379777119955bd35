//! The fixed fields at the head of a body.

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

/// What a body says of how it was sealed, borrowed: suite, chunk size, flags, session id and commitment.
///
/// The commitment holds only under the right DEK and context, and covers everything else here.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BodyHead<'a> {
    bytes: &'a [u8; BODY_HEAD],
    suite: Suite,
    chunk_size: ChunkSize,
}

impl<'a> BodyHead<'a> {
    /// Parses the 52 bytes of a body's head.
    ///
    /// # Errors
    /// `Unsupported` for an unknown suite, chunk exponent or flag, `Malformed` where the zero byte is not zero.
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

    /// The suite.
    #[must_use]
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// The chunk size.
    #[must_use]
    pub fn chunk_size(&self) -> ChunkSize {
        self.chunk_size
    }

    /// Whether the context is stored in the envelope.
    #[must_use]
    pub fn has_stored_context(&self) -> bool {
        self.bytes
            .get(2)
            .is_some_and(|flags| flags & FLAG_STORED_CONTEXT != 0)
    }

    /// The 20 bytes that keys are derived from: suite, exponent, flags, zero and session id.
    #[must_use]
    pub fn head(&self) -> &'a [u8; HEAD] {
        self.bytes.first_chunk().unwrap_or(&[0; HEAD])
    }

    /// The session id. All envelopes of one session show the same.
    #[must_use]
    pub fn session_id(&self) -> &'a [u8; 16] {
        self.head().last_chunk().unwrap_or(&[0; 16])
    }

    /// The commitment to DEK, head and context.
    #[must_use]
    pub fn commitment(&self) -> &'a [u8; 32] {
        self.bytes.last_chunk().unwrap_or(&[0; 32])
    }

    /// All 52 bytes.
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
