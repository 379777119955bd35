//! The envelope's bytes: parsing and writing. This module has no keys, no I/O except in [`HeaderBuf`], and no cryptography
//! except the digest of a stored context.
//!
//! An envelope has two separate parts. The *wrap section* says who can get the DEK; the *body* is the
//! sealed payload. A re-wrap replaces the wrap section and leaves every byte of the body unchanged. The *header* is
//! everything before the chunks.
//!
//! ```text
//! "WAX" 1 | kind | W u24 | wrap section or DEK id (W bytes) |            <- replaced by a re-wrap
//! suite exponent flags 0 | session id | commitment | nonce | [context] | chunks
//! ```
//!
//! [`manual::envelope_format`](crate::manual::envelope_format) specifies the format.
#![deny(clippy::indexing_slicing)]

mod algorithm;
mod body;
mod chunks;
mod cursor;
mod read;
#[cfg(any(feature = "futures-io", feature = "tokio"))]
pub(crate) mod read_async;
mod wrap_section;
mod write;

use std::fmt;

pub use algorithm::{AlgorithmClass, WrapAlgorithm};
pub use body::BodyHead;
pub(crate) use body::{BODY_FIXED, BODY_HEAD, FLAG_STORED_CONTEXT, HEAD};
pub use chunks::ChunkSize;
pub(crate) use chunks::Cut;
use cursor::Cursor;
pub use read::HeaderBuf;
pub use wrap_section::{WrapRef, WrapSection};
pub(crate) use write::push_stored_context;
pub use write::{KekRef, WrapSet, WrappedDek, Wraps};

use crate::value::context;
use crate::value::error::{Error, ErrorKind, Operation, Result};
use crate::value::limits;

/// The first three bytes of every envelope.
const MAGIC: &[u8; 3] = b"WAX";
/// The version that this crate reads and writes.
pub const VERSION: u8 = 1;
/// Length of magic, version, kind and W.
pub(crate) const PREFIX_FIXED: usize = 8;
const KIND_ATTACHED: u8 = 1;
const KIND_DETACHED: u8 = 2;

// spec: KEY-7 untested: there is no DEK store here yet, and a DEK out of an envelope never seals (KEY-6)
/// The id of a DEK whose wrap section is in a DEK store and not in the envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DekId(pub [u8; 16]);

/// Where an envelope's wraps are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WrapsRef<'a> {
    /// In the envelope.
    Attached(WrapSection<'a>),
    /// In a DEK store, under this id.
    Detached(DekId),
}

/// Everything of an envelope before its chunks, parsed and borrowed.
///
/// A re-wrap and an inspection need only the header, so neither reads the payload.
///
/// ```
/// use waxseal::{EncryptionContext, Kek, blocking::Sealer, backend::local::LocalKey, envelope::Header};
///
/// let sealer = Sealer::new(LocalKey::new(&Kek::generate()?));
/// let sealed = sealer.seal(&[0; 100_000], &EncryptionContext::new([("tenant", "acme")])?)?;
/// // The first bytes are enough, and no key is needed.
/// let header = Header::parse(&sealed[..1000])?;
/// for wrap in header.wrap_section()?.stanzas() {
///     println!("{} {} {}", wrap.provider, wrap.kek_id, wrap.kek_version);
/// }
/// assert_eq!(header.body().chunk_size().bytes(), 65_536);
/// # Ok::<(), waxseal::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    bytes: &'a [u8],
    wraps: WrapsRef<'a>,
    body: BodyHead<'a>,
    nonce: &'a [u8; 12],
    stored_context: Option<&'a [u8]>,
    body_offset: usize,
}

impl<'a> Header<'a> {
    /// Parses the header at the start of `bytes`, whatever follows it. Allocates nothing.
    ///
    /// # Errors
    /// `Malformed` with field and offset if the bytes are not a header or end inside it; `UnsupportedVersion` if
    /// the format has a later version; `Unsupported` if the kind, suite, chunk size or a flag is unknown; `OverLimit` if a length or count is
    /// above its limit.
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        Self::parse_inner(bytes).map_err(|error| error.with_operation(Operation::Parse))
    }

    fn parse_inner(bytes: &'a [u8]) -> Result<Self> {
        let mut cursor = Cursor::new(bytes, 0);
        let (kind, len) = parse_prefix(&mut cursor)?;
        let section_at = cursor.offset();
        let section = cursor.take(len, "wrap section")?;
        let wraps = match kind {
            Kind::Attached => WrapsRef::Attached(WrapSection::parse_at(section, section_at)?),
            Kind::Detached => {
                let id = section
                    .try_into()
                    .map_err(|_| Error::malformed("DEK id", section_at))?;
                WrapsRef::Detached(DekId(id))
            }
        };
        let body_offset = cursor.offset();
        let body = BodyHead::read(&mut cursor)?;
        let nonce = cursor.array("nonce")?;
        let stored_context = if body.has_stored_context() {
            let len = cursor.u16("stored context")?;
            limits::CONTEXT.check(len)?;
            let at = cursor.offset();
            let stored = cursor.take(len, "stored context")?;
            context::check_canonical(stored).map_err(|error| match error.kind() {
                ErrorKind::Malformed { offset, .. } => Error::malformed("stored context", at + offset),
                _ => error,
            })?;
            Some(stored)
        } else {
            None
        };
        let bytes = bytes.get(..cursor.offset()).unwrap_or_default();
        Ok(Self {
            bytes,
            wraps,
            body,
            nonce,
            stored_context,
            body_offset,
        })
    }

    /// Returns how many bytes to fetch from the start of the envelope to get the header, or `None` if `prefix` contains the
    /// whole header. If it returns a length, fetch that many bytes and ask again. Two or three rounds are enough.
    ///
    /// For programs that read only the start of a column or object: 4,096 bytes contain most headers.
    ///
    /// # Errors
    /// The same kinds as [`parse`](Header::parse), under the same conditions, for the fields that `prefix` contains.
    pub fn missing(prefix: &[u8]) -> Result<Option<usize>> {
        Self::missing_inner(prefix).map_err(|error| error.with_operation(Operation::Parse))
    }

    fn missing_inner(prefix: &[u8]) -> Result<Option<usize>> {
        if prefix.len() < PREFIX_FIXED {
            // Every byte that is there is checked, so that foreign data is refused at its first byte.
            parse_magic(&mut Cursor::new(prefix, 0), prefix.len())?;
            return Ok(Some(PREFIX_FIXED));
        }
        let mut cursor = Cursor::new(prefix, 0);
        let (kind, len) = parse_prefix(&mut cursor)?;
        let fixed = PREFIX_FIXED + len + BODY_FIXED;
        if prefix.len() < fixed {
            return Ok(Some(fixed));
        }
        let section = cursor.take(len, "wrap section")?;
        if matches!(kind, Kind::Attached) {
            // In the order of parsing: a wrong W must not be reported as a fault of the body.
            WrapSection::parse_at(section, PREFIX_FIXED)?;
        }
        let body = BodyHead::read(&mut cursor)?;
        if !body.has_stored_context() {
            return Ok(None);
        }
        cursor.take(BODY_FIXED - BODY_HEAD, "nonce")?;
        if cursor.rest().len() < 2 {
            return Ok(Some(fixed + 2));
        }
        let len = cursor.u16("stored context")?;
        limits::CONTEXT.check(len)?;
        Ok((cursor.rest().len() < len).then_some(fixed + 2 + len))
    }

    /// Returns where the wraps are, which say who can get the DEK.
    #[must_use]
    pub fn wraps(&self) -> WrapsRef<'a> {
        self.wraps
    }

    /// Returns the wrap section of an attached envelope.
    ///
    /// # Errors
    /// `Unsupported` if the envelope is detached, so that its wrap section is in a DEK store.
    pub fn wrap_section(&self) -> Result<WrapSection<'a>> {
        match self.wraps {
            WrapsRef::Attached(section) => Ok(section),
            WrapsRef::Detached(_) => Err(Error::unsupported("a detached envelope without a DEK store")),
        }
    }

    /// Returns how the body was sealed.
    #[must_use]
    pub fn body(&self) -> BodyHead<'a> {
        self.body
    }

    /// Returns the nonce of the message.
    #[must_use]
    pub fn nonce(&self) -> &'a [u8; 12] {
        self.nonce
    }

    /// Returns the canonical context stored in the envelope, if there is one. A reader never takes its context from
    /// the envelope: a stored context is for jobs that re-wrap values whose context they do not know.
    #[must_use]
    pub fn stored_context(&self) -> Option<&'a [u8]> {
        self.stored_context
    }

    /// Refuses a stored context that is not the context of this digest. An envelope without a stored context passes.
    ///
    /// # Errors
    /// `ContextMismatch` if a context is stored and has another digest.
    pub fn check_stored_context(&self, digest: &[u8; 32]) -> Result<()> {
        match self.stored_context {
            // A digest of public data needs no constant time.
            Some(stored) if context::digest(stored) != *digest => Err(Error::new(ErrorKind::ContextMismatch)),
            _ => Ok(()),
        }
    }

    /// Returns the length of the header in bytes. The chunks begin there.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "a header is never empty")]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Returns where the body begins. A re-wrap replaces only the bytes before this offset.
    #[must_use]
    pub fn body_offset(&self) -> usize {
        self.body_offset
    }

    /// Returns the bytes of the header, as they were parsed.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Writes the header again from its fields. Returns the bytes that were parsed.
    ///
    /// # Errors
    /// `OverLimit` if a length is above its limit, which does not happen to a header that [`parse`](Header::parse) returned.
    pub fn write(&self) -> Result<Vec<u8>> {
        let (wraps, padding) = match self.wraps {
            WrapsRef::Attached(section) => (
                Wraps::Attached(WrapSet::from_section(&section)),
                section.padding(),
            ),
            WrapsRef::Detached(id) => (Wraps::Detached(id), 0),
        };
        let mut out = wraps.prefix(padding)?;
        out.extend_from_slice(self.body.as_bytes());
        out.extend_from_slice(self.nonce);
        if let Some(stored) = self.stored_context {
            push_stored_context(&mut out, stored)?;
        }
        Ok(out)
    }
}

impl fmt::Debug for Header<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Header")
            .field("wraps", &self.wraps)
            .field("body", &self.body)
            .field("len", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

/// A whole envelope, parsed and borrowed: a [`Header`] and its chunks.
///
/// ```
/// # use waxseal::{EncryptionContext, Envelope, Kek, blocking::Sealer, backend::local::LocalKey};
/// # let sealer = Sealer::new(LocalKey::new(&Kek::generate()?));
/// # let sealed = sealer.seal(b"alice@example.com", &EncryptionContext::empty())?;
/// let envelope = Envelope::parse(&sealed)?;
/// assert_eq!(envelope.plaintext_len(), 17);
/// assert_eq!(envelope.header().wrap_section()?.count(), 1);
/// assert!(Envelope::parse(b"alice@example.com").is_err());
/// # Ok::<(), waxseal::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Envelope<'a> {
    header: Header<'a>,
    chunks: &'a [u8],
    cut: Cut,
}

impl<'a> Envelope<'a> {
    /// Parses `bytes`, which must be exactly one envelope. Allocates nothing and needs no key.
    ///
    /// # Errors
    /// The same kinds as [`Header::parse`], under the same conditions; `Malformed` if no payload has chunks of that length.
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        let header = Header::parse(bytes)?;
        let chunks = bytes.get(header.len()..).unwrap_or_default();
        let cut = Cut::of_sealed(header.body.chunk_size(), chunks.len(), header.len())
            .map_err(|error| error.with_operation(Operation::Parse))?;
        Ok(Self { header, chunks, cut })
    }

    /// The bytes that every envelope begins with, whatever its version.
    pub const MAGIC: [u8; 3] = *b"WAX";

    /// Returns whether these bytes are an envelope of this crate: for columns in which some values are still plaintext.
    ///
    /// It parses the whole header, checks the length of the chunks, and needs no key. Anybody who can write a value can make
    /// a plaintext look like an envelope. So use this to choose what to migrate, and never to decide whether to trust a
    /// value: when every value is sealed, call [`open`](crate::Sealer::open) without this check. It returns `false` for an envelope of a later
    /// version of the format, for an envelope that was cut off and for an altered header. If a value
    /// begins with [`MAGIC`](Self::MAGIC) but is not an envelope, examine it before you seal it again.
    ///
    /// ```
    /// # use waxseal::{EncryptionContext, Envelope, Kek, blocking::Sealer, backend::local::LocalKey};
    /// let sealer = Sealer::new(LocalKey::new(&Kek::generate()?));
    /// let sealed = sealer.seal(b"alice", &EncryptionContext::empty())?;
    /// assert!(Envelope::is_envelope(&sealed));
    /// assert!(!Envelope::is_envelope(b"alice"));
    /// assert!(!Envelope::is_envelope(&sealed[..sealed.len() - 6]));
    /// # Ok::<(), waxseal::Error>(())
    /// ```
    #[must_use]
    pub fn is_envelope(bytes: &[u8]) -> bool {
        Envelope::parse(bytes).is_ok()
    }

    /// Returns the header: everything before the chunks.
    #[must_use]
    pub fn header(&self) -> &Header<'a> {
        &self.header
    }

    /// Returns the sealed chunks, each followed by its tag.
    #[must_use]
    pub fn chunks(&self) -> &'a [u8] {
        self.chunks
    }

    /// Returns the number of chunks.
    #[must_use]
    pub fn chunk_count(&self) -> usize {
        self.cut.count()
    }

    /// Returns the length of the plaintext, in bytes. The length is not authenticated until the envelope is opened.
    #[must_use]
    pub fn plaintext_len(&self) -> usize {
        self.cut.plaintext_len()
    }

    pub(crate) fn cut(&self) -> Cut {
        self.cut
    }
}

impl fmt::Debug for Envelope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Envelope")
            .field("header", &self.header)
            .field("plaintext_len", &self.plaintext_len())
            .finish_non_exhaustive()
    }
}

enum Kind {
    Attached,
    Detached,
}

/// Checks magic and version, as far as `available` bytes go.
fn parse_magic(cursor: &mut Cursor<'_>, available: usize) -> Result<()> {
    let magic = cursor.take(available.min(MAGIC.len()), "magic")?;
    if !MAGIC.starts_with(magic) {
        return Err(Error::malformed("magic", 0));
    }
    if available > MAGIC.len() {
        let version = cursor.u8("version")?;
        if version != VERSION {
            return Err(Error::new(ErrorKind::UnsupportedVersion { version }));
        }
    }
    Ok(())
}

fn parse_prefix(cursor: &mut Cursor<'_>) -> Result<(Kind, usize)> {
    let available = cursor.rest().len();
    parse_magic(cursor, available)?;
    if available <= MAGIC.len() {
        return Err(cursor.malformed("magic"));
    }
    let kind = match cursor.u8("kind")? {
        KIND_ATTACHED => Kind::Attached,
        KIND_DETACHED => Kind::Detached,
        _ => return Err(Error::unsupported("the envelope's kind")),
    };
    let at = cursor.offset();
    let len = cursor.u24("wrap section length")?;
    limits::WRAP_SECTION.check(len)?;
    if matches!(kind, Kind::Detached) && len != 16 {
        return Err(Error::malformed("wrap section length", at));
    }
    Ok((kind, len))
}

#[cfg(test)]
mod tests;
