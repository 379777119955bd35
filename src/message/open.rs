//! Opening whole messages.

use std::fmt;

use zeroize::Zeroize;

use super::chunk_nonces;
use super::keys::{SessionKeys, message_key};
use crate::aead::{AeadKey, TAG};
use crate::envelope::{BodyHead, Cut, Header};
use crate::error::{Error, Result};
use crate::limits;
use crate::secret::Dek;

/// What is needed to open one message, beside its chunks.
pub(crate) struct Message<'a> {
    pub(crate) dek: &'a Dek,
    pub(crate) keys: &'a SessionKeys,
    pub(crate) body: BodyHead<'a>,
    pub(crate) nonce: &'a [u8; 12],
    pub(crate) digest: &'a [u8; 32],
    pub(crate) aad: &'a [u8],
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
        }
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
        if out.capacity() == 0 {
            // Zeroed pages from the system cost less than zeroing what is about to be overwritten.
            *out = vec![0; cut.plaintext_len()];
        } else {
            out.resize(start + cut.plaintext_len(), 0);
        }
        let room = out.get_mut(start..).unwrap_or_default();
        let result = self.open_chunks(chunks, cut, room);
        if result.is_err() {
            // Earlier chunks were opened, and a library may leave what failed behind: nothing is released.
            room.zeroize();
            out.truncate(start);
        }
        result
    }

    fn open_chunks(&self, chunks: &[u8], cut: Cut, out: &mut [u8]) -> Result<()> {
        if cut.is_single() {
            let (body, tag) = chunks.split_last_chunk::<TAG>().ok_or_else(Error::cannot_open)?;
            return self.keys.aead.open_to(self.nonce, self.aad, body, tag, out);
        }
        let key = self.message_key()?;
        let size = self.body.chunk_size().bytes();
        let pairs = chunks.chunks(size + TAG).zip(out.chunks_mut(size));
        for (nonce, (chunk, out)) in chunk_nonces(cut.count()).zip(pairs) {
            let (body, tag) = chunk.split_last_chunk::<TAG>().ok_or_else(Error::cannot_open)?;
            key.open_to(&nonce, self.aad, body, tag, out)?;
        }
        Ok(())
    }

    /// Opens the chunks where they are. On an error they are wiped.
    pub(crate) fn open_in_place<'b>(&self, chunks: &'b mut [u8], cut: Cut) -> Result<OpenedInPlace<'b>> {
        limits::AAD.check(self.aad.len())?;
        match self.open_chunks_in_place(chunks, cut) {
            Ok(()) => Ok(OpenedInPlace { bytes: chunks, cut }),
            Err(error) => {
                chunks.zeroize();
                Err(error)
            }
        }
    }

    fn open_chunks_in_place(&self, chunks: &mut [u8], cut: Cut) -> Result<()> {
        if cut.is_single() {
            return open_chunk(&self.keys.aead, self.nonce, self.aad, chunks);
        }
        let key = self.message_key()?;
        let chunks = chunks.chunks_mut(self.body.chunk_size().bytes() + TAG);
        for (nonce, chunk) in chunk_nonces(cut.count()).zip(chunks) {
            open_chunk(&key, &nonce, self.aad, chunk)?;
        }
        Ok(())
    }
}

fn open_chunk(key: &AeadKey, nonce: &[u8; 12], aad: &[u8], chunk: &mut [u8]) -> Result<()> {
    let (body, tag) = chunk
        .split_last_chunk_mut::<TAG>()
        .ok_or_else(Error::cannot_open)?;
    key.open_in_place(nonce, aad, body, tag)
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
