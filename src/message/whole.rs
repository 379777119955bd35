//! Seals and opens whole messages.

use zeroize::Zeroize;

use super::chunk::{Chunk, Chunks, Run};
use super::opened::OpenedInPlace;
use super::session::Session;
use crate::envelope::Cut;
use crate::message::parallel::{self, Parallel};
use crate::value::aad::Aad;
use crate::value::aead::{AeadKey, TAG};
use crate::value::error::Result;

/// From this size on, in bytes, a fresh buffer comes from the system as zeroed pages, which cost less than zeroing what
/// is about to be overwritten.
pub(super) const FRESH_PAGES: usize = 32 * 1024;

/// One message, to be sealed or to be opened: its session, its nonce and its AAD.
///
/// A message to be opened comes from a [`VerifiedHeader`](super::VerifiedHeader). A message to be sealed comes from a
/// [`Session`] that was started in this process and has counted the message.
#[derive(Clone, Copy)]
pub(crate) struct Message<'m> {
    session: &'m Session,
    nonce: &'m [u8; 12],
    aad: Aad<'m>,
    parallel: Option<&'m Parallel>,
}

impl<'m> Message<'m> {
    pub(super) fn new(session: &'m Session, nonce: &'m [u8; 12], aad: Aad<'m>) -> Self {
        Self {
            session,
            nonce,
            aad,
            parallel: None,
        }
    }

    /// The same message, on several threads if it is large.
    pub(crate) fn on(mut self, parallel: Option<&'m Parallel>) -> Self {
        self.parallel = parallel;
        self
    }

    /// Returns the only chunk of a message of one chunk.
    pub(super) fn one(&self) -> Chunk<'m> {
        Chunk {
            key: &self.session.aead,
            nonce: self.nonce,
            aad: self.aad,
        }
    }

    /// Returns the chunks of a message of several chunks, under its key.
    pub(super) fn many<'k>(&self, key: &'k AeadKey) -> Chunks<'k>
    where
        'm: 'k,
    {
        Chunks {
            key,
            aad: self.aad,
            size: self.session.chunk_size().bytes(),
        }
    }

    pub(super) fn key(&self) -> Result<AeadKey> {
        self.session.message_key(self.nonce)
    }

    /// Seals `plaintext` to `out`, which has the length of its sealed chunks.
    pub(super) fn seal_to(&self, plaintext: &[u8], cut: Cut, out: &mut [u8]) -> Result<()> {
        if cut.is_single() {
            return self.one().seal(plaintext, out);
        }
        let key = self.key()?;
        let chunks = self.many(&key);
        let piece = chunks.per_piece();
        let pairs = plaintext
            .chunks(chunks.size * piece)
            .zip(out.chunks_mut((chunks.size + TAG) * piece));
        let len = plaintext.len();
        parallel::each(self.parallel, len, pairs.enumerate(), |(at, (plaintext, out))| {
            chunks.seal(Run::new(at * piece, cut.count()), plaintext, out)
        })
    }

    /// Seals in place: `buffer` holds the plaintext where the cut's ranges say, with room for the tags.
    pub(super) fn seal_in_place(&self, buffer: &mut [u8], cut: Cut) -> Result<()> {
        if cut.is_single() {
            return self.one().seal_in_place(buffer);
        }
        let key = self.key()?;
        let chunks = self.many(&key);
        let piece = chunks.per_piece();
        let pieces = buffer.chunks_mut((chunks.size + TAG) * piece).enumerate();
        parallel::each(self.parallel, cut.plaintext_len(), pieces, |(at, buffer)| {
            chunks.seal_in_place(Run::new(at * piece, cut.count()), buffer)
        })
    }

    /// Opens the chunks and appends the plaintext to `out`. After an error `out` is as it was.
    pub(crate) fn open_to_vec(&self, chunks: &[u8], cut: Cut, out: &mut Vec<u8>) -> Result<()> {
        let start = out.len();
        let opened = self.open_to(chunks, cut, room(out, cut.plaintext_len()));
        if opened.is_err() {
            out.truncate(start);
        }
        opened
    }

    /// Opens the chunks to `out`, which has the length of their plaintext. After an error `out` is wiped.
    pub(crate) fn open_to(&self, chunks: &[u8], cut: Cut, out: &mut [u8]) -> Result<()> {
        // Earlier chunks are open when a later chunk fails, and a library may leave the bytes of a chunk that failed.
        // None of them is released.
        let mut out = Unverified(out);
        if cut.is_single() {
            self.one().open(chunks, out.0)?;
            out.release();
            return Ok(());
        }
        let key = self.key()?;
        let keyed = self.many(&key);
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

    /// Opens the chunks where they lie. After an error they are wiped.
    pub(crate) fn open_in_place<'b>(&self, chunks: &'b mut [u8], cut: Cut) -> Result<OpenedInPlace<'b>> {
        let mut opened = Unverified(chunks);
        self.open_chunks_in_place(opened.0, cut)?;
        Ok(OpenedInPlace::new(opened.release(), cut))
    }

    fn open_chunks_in_place(&self, buffer: &mut [u8], cut: Cut) -> Result<()> {
        if cut.is_single() {
            return self.one().open_in_place(buffer);
        }
        let key = self.key()?;
        let keyed = self.many(&key);
        let piece = keyed.per_piece();
        let pieces = buffer.chunks_mut((keyed.size + TAG) * piece).enumerate();
        parallel::each(self.parallel, cut.plaintext_len(), pieces, |(at, buffer)| {
            keyed.open_in_place(Run::new(at * piece, cut.count()), buffer).1
        })
    }
}

/// Appends `len` bytes to a vector and returns them, to be overwritten. The vector grows by more than it needs, so that many
/// small values one after another do not move all of them each time.
pub(crate) fn room(out: &mut Vec<u8>, len: usize) -> &mut [u8] {
    let start = out.len();
    if out.capacity() == 0 && len >= FRESH_PAGES {
        *out = vec![0; len];
    } else {
        out.resize(start + len, 0);
    }
    out.get_mut(start..).unwrap_or_default()
}

/// A place for plaintext before all of it was verified. If it is dropped as such, after an error or a panic, it is wiped.
struct Unverified<'b>(&'b mut [u8]);

impl<'b> Unverified<'b> {
    fn release(&mut self) -> &'b mut [u8] {
        std::mem::take(&mut self.0)
    }
}

impl Drop for Unverified<'_> {
    fn drop(&mut self) {
        // An empty slice is not wiped: the C library's masked stores to its address cost more than opening a small value.
        if !self.0.is_empty() {
            self.0.zeroize();
        }
    }
}
