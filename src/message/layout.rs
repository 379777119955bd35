//! Where the parts of an envelope lie.

use std::ops::Range;

use super::sealing::Sealing;
use crate::envelope::{BODY_FIXED, ChunkSize, Cut};
use crate::value::context::EncryptionContext;
use crate::value::error::{Error, Result};

/// Where the parts of an envelope lie that is sealed in place. [`DataKey::layout`](crate::DataKey::layout) returns it.
///
/// ```
/// # use waxseal::{EncryptionContext, Kek, blocking::Sealer, backend::local::LocalKey};
/// # let sealer = Sealer::new(LocalKey::new(&Kek::generate()?));
/// # let key = sealer.data_key(&EncryptionContext::new([("tenant", "acme")])?)?;
/// let layout = key.layout(100_000)?;
/// // Two chunks, with 16 bytes for a tag behind each.
/// assert_eq!(layout.plaintext_ranges().len(), 2);
/// assert_eq!(layout.envelope_len(), layout.header_len() + 100_000 + 2 * 16);
/// # Ok::<(), waxseal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    header: usize,
    cut: Cut,
}

impl Layout {
    pub(crate) fn new(
        sealing: Sealing,
        context: &EncryptionContext,
        prefix: usize,
        plaintext: usize,
    ) -> Result<Self> {
        let stored = if sealing.store_context {
            2 + context.canonical().len()
        } else {
            0
        };
        Self::with_stored(sealing.chunk_size, stored, prefix, plaintext)
    }

    /// The layout with this many bytes of stored context.
    pub(super) fn with_stored(
        chunk_size: ChunkSize,
        stored: usize,
        prefix: usize,
        plaintext: usize,
    ) -> Result<Self> {
        let cut = Cut::of_plaintext(chunk_size, plaintext)?;
        Ok(Self {
            header: prefix + BODY_FIXED + stored,
            cut,
        })
    }

    /// Returns the length of the whole envelope, in bytes.
    #[must_use]
    pub fn envelope_len(&self) -> usize {
        self.header + self.cut.sealed_len()
    }

    /// Returns the length of the header, in bytes. The first chunk begins there.
    #[must_use]
    pub fn header_len(&self) -> usize {
        self.header
    }

    /// Returns where each chunk of the plaintext lies in the envelope's buffer, in order. A payload of up to one chunk is
    /// one range. After each range there are 16 bytes for its tag.
    pub fn plaintext_ranges(&self) -> impl ExactSizeIterator<Item = Range<usize>> + use<> {
        let header = self.header;
        self.cut
            .ranges()
            .map(move |range| range.start + header..range.end + header)
    }

    pub(crate) fn cut(&self) -> Cut {
        self.cut
    }

    pub(crate) fn check(&self, buffer: &[u8]) -> Result<()> {
        let (needed, given) = (self.envelope_len(), buffer.len());
        if needed == given {
            return Ok(());
        }
        Err(Error::argument(format!(
            "the buffer must have exactly the {needed} bytes of the envelope's layout, got {given}"
        )))
    }
}
