//! Opening whole messages.

use std::fmt;

use zeroize::Zeroize;

use super::chunks::{Chunks, Run, open_chunk};
use super::keys::{SessionKeys, message_key};
use super::session::FRESH_PAGES;
use crate::envelope::{BodyHead, Cut, Header};
use crate::message::parallel::{self, Parallel};
use crate::value::aead::{AeadKey, TAG};
use crate::value::error::{Error, Result};
use crate::value::limits;
use crate::value::secret::Dek;

/// What is needed to open one message, beside its chunks.
pub(crate) struct Message<'a> {
    pub(crate) dek: &'a Dek,
    pub(crate) keys: &'a SessionKeys,
    pub(crate) body: BodyHead<'a>,
    pub(crate) nonce: &'a [u8; 12],
    pub(crate) digest: &'a [u8; 32],
    pub(crate) aad: &'a [u8],
    pub(crate) parallel: Option<&'a Parallel>,
}

impl<'a> Message<'a> {
    pub(crate) fn new(
        dek: &'a Dek,
        keys: &'a SessionKeys,
        header: &Header<'a>,
        digest: &'a [u8; 32],
        aad: &'a [u8],
    ) -> Self {
        Self {
            dek,
            keys,
            body: header.body(),
            nonce: header.nonce(),
            digest,
            aad,
            parallel: None,
        }
    }

    /// The same, on several threads where it is large.
    pub(crate) fn on(mut self, parallel: Option<&'a Parallel>) -> Self {
        self.parallel = parallel;
        self
    }

    pub(crate) fn message_key(&self) -> Result<AeadKey> {
        message_key(
            self.body.suite(),
            self.dek,
            self.body.head(),
            self.nonce,
            self.digest,
        )
    }

    /// Opens the chunks and appends the plaintext to `out`. On an error `out` is as it was.
    pub(crate) fn open_to(&self, chunks: &[u8], cut: Cut, out: &mut Vec<u8>) -> Result<()> {
        limits::AAD.check(self.aad.len())?;
        let start = out.len();
        if out.capacity() == 0 && cut.plaintext_len() >= FRESH_PAGES {
            // Zeroed pages from the system cost less than zeroing what is about to be overwritten.
            *out = vec![0; cut.plaintext_len()];
        } else {
            out.resize(start + cut.plaintext_len(), 0);
        }
        // Earlier chunks are opened when a later one fails, and a library may leave what failed behind: nothing
        // of it is released.
        let room = Unverified(out.get_mut(start..).unwrap_or_default());
        match self.open_chunks(chunks, cut, room) {
            Ok(()) => Ok(()),
            Err(error) => {
                out.truncate(start);
                Err(error)
            }
        }
    }

    /// Opens the chunks to `out`, which has the length that their cut gives. On an error it is wiped.
    pub(crate) fn open_to_slice(&self, chunks: &[u8], cut: Cut, out: &mut [u8]) -> Result<()> {
        limits::AAD.check(self.aad.len())?;
        self.open_chunks(chunks, cut, Unverified(out))
    }

    fn open_chunks(&self, chunks: &[u8], cut: Cut, mut out: Unverified<'_>) -> Result<()> {
        if cut.is_single() {
            let (body, tag) = chunks.split_last_chunk::<TAG>().ok_or_else(Error::cannot_open)?;
            self.keys.aead.open_to(self.nonce, self.aad, body, tag, out.0)?;
            out.release();
            return Ok(());
        }
        let key = self.message_key()?;
        let keyed = self.chunks(&key);
        let piece = keyed.per_piece();
        let pairs = chunks
            .chunks((keyed.size + TAG) * piece)
            .zip(out.0.chunks_mut(keyed.size * piece));
        let len = cut.plaintext_len();
        parallel::each(self.parallel, len, pairs.enumerate(), |(at, (chunks, out))| {
            keyed.open(Run::new(at * piece, cut.count()), chunks, out)
        })?;
        out.release();
        Ok(())
    }

    /// Opens the chunks where they are. On an error they are wiped.
    pub(crate) fn open_in_place<'b>(&self, chunks: &'b mut [u8], cut: Cut) -> Result<OpenedInPlace<'b>> {
        limits::AAD.check(self.aad.len())?;
        let mut opened = Unverified(chunks);
        self.open_chunks_in_place(opened.0, cut)?;
        let bytes = opened.release();
        Ok(OpenedInPlace { bytes, cut })
    }

    fn open_chunks_in_place(&self, buffer: &mut [u8], cut: Cut) -> Result<()> {
        if cut.is_single() {
            return open_chunk(&self.keys.aead, self.nonce, self.aad, buffer);
        }
        let key = self.message_key()?;
        let keyed = self.chunks(&key);
        let piece = keyed.per_piece();
        let pieces = buffer.chunks_mut((keyed.size + TAG) * piece).enumerate();
        parallel::each(self.parallel, cut.plaintext_len(), pieces, |(at, buffer)| {
            keyed.open_in_place(Run::new(at * piece, cut.count()), buffer).1
        })
    }

    fn chunks<'k>(&self, key: &'k AeadKey) -> Chunks<'k>
    where
        'a: 'k,
    {
        let size = self.body.chunk_size().bytes();
        Chunks {
            key,
            aad: self.aad,
            size,
        }
    }
}

/// Where plaintext comes to lie before all of it was verified: wiped where it is dropped as such, after an error
/// or a panic.
struct Unverified<'b>(&'b mut [u8]);

impl<'b> Unverified<'b> {
    fn release(&mut self) -> &'b mut [u8] {
        std::mem::take(&mut self.0)
    }
}

impl Drop for Unverified<'_> {
    fn drop(&mut self) {
        // Not left to the wiping: the C library's masked stores to the address of an empty slice cost more than
        // opening a small value.
        if !self.0.is_empty() {
            self.0.zeroize();
        }
    }
}

/// Plaintext that was opened where its envelope lay, in the caller's buffer.
///
/// It is not wiped when dropped: the buffer is the caller's. `Debug` gives the length only.
pub struct OpenedInPlace<'b> {
    bytes: &'b mut [u8],
    cut: Cut,
}

impl<'b> OpenedInPlace<'b> {
    /// Length of the plaintext, in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.cut.plaintext_len()
    }

    /// Whether the plaintext is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The plaintext, chunk by chunk, without moving a byte. One piece for a payload of up to one chunk.
    pub fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        self.cut
            .ranges()
            .map(|range| self.bytes.get(range).unwrap_or_default())
    }

    /// The plaintext in one piece. Moves the chunks of a longer payload together; one chunk is not moved.
    #[must_use]
    pub fn into_contiguous(self) -> &'b mut [u8] {
        let mut end = 0;
        for range in self.cut.ranges() {
            let len = range.len();
            self.bytes.copy_within(range, end);
            end += len;
        }
        self.bytes.get_mut(..end).unwrap_or_default()
    }
}

impl fmt::Debug for OpenedInPlace<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpenedInPlace({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::ChunkSize;

    #[test]
    fn debug_of_what_was_opened_in_place_gives_lengths_only() {
        let mut bytes = [0xab; 20];
        let cut = Cut::of_plaintext(ChunkSize::default(), 4).unwrap();
        let opened = OpenedInPlace {
            bytes: &mut bytes,
            cut,
        };
        assert_eq!(format!("{opened:?}"), "OpenedInPlace(4 bytes)");
    }
}
