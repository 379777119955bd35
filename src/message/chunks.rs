//! The chunks of one message of several.

use super::chunk_nonce;
use crate::value::aead::{AeadKey, TAG};
use crate::value::error::{Error, Result};

/// Fewer bytes than this are not worth taking from the others: about three microseconds of work.
const PIECE: usize = 64 * 1024;

/// Seals and opens chunks that follow one another in a message of several chunks.
#[derive(Clone, Copy)]
pub(super) struct Chunks<'a> {
    pub(super) key: &'a AeadKey,
    pub(super) aad: &'a [u8],
    /// Plaintext bytes of a full chunk.
    pub(super) size: usize,
}

/// Which chunks: the index of the first, and that of the message's final one.
#[derive(Clone, Copy)]
pub(super) struct Run {
    pub(super) first: u64,
    pub(super) last: u64,
}

impl Run {
    /// Beginning at `first`, in a message of `count` chunks.
    pub(super) fn new(first: usize, count: usize) -> Self {
        Self {
            first: first as u64,
            last: (count as u64).wrapping_sub(1),
        }
    }

    /// Beginning at `first`, `len` bytes of sealed chunks, of which the last is the message's final one or not.
    pub(super) fn of(first: u64, is_last: bool, len: usize, size: usize) -> Self {
        let count = len.div_ceil(size + TAG) as u64;
        let last = if is_last {
            first.saturating_add(count).wrapping_sub(1)
        } else {
            u64::MAX
        };
        Self { first, last }
    }

    fn nonces(self) -> impl Iterator<Item = [u8; 12]> {
        (self.first..=self.last).map(move |index| chunk_nonce(index, index == self.last))
    }
}

impl Chunks<'_> {
    /// How many chunks one thread takes at a time.
    pub(super) fn per_piece(&self) -> usize {
        (PIECE / self.size).max(1)
    }

    pub(super) fn seal(&self, run: Run, plaintext: &[u8], out: &mut [u8]) -> Result<()> {
        let pairs = plaintext.chunks(self.size).zip(out.chunks_mut(self.size + TAG));
        for (nonce, (chunk, out)) in run.nonces().zip(pairs) {
            let (body, tag) = out.split_at_mut_checked(chunk.len()).ok_or_else(refused)?;
            self.key
                .seal_to(&nonce, self.aad, chunk, body, tag)
                .map_err(|_| refused())?;
        }
        Ok(())
    }

    pub(super) fn seal_in_place(&self, run: Run, chunks: &mut [u8]) -> Result<()> {
        for (nonce, chunk) in run.nonces().zip(chunks.chunks_mut(self.size + TAG)) {
            seal_chunk(self.key, &nonce, self.aad, chunk)?;
        }
        Ok(())
    }

    pub(super) fn open(&self, run: Run, chunks: &[u8], out: &mut [u8]) -> Result<()> {
        let pairs = chunks.chunks(self.size + TAG).zip(out.chunks_mut(self.size));
        for (nonce, (chunk, out)) in run.nonces().zip(pairs) {
            let (body, tag) = chunk.split_last_chunk::<TAG>().ok_or_else(Error::cannot_open)?;
            self.key.open_to(&nonce, self.aad, body, tag, out)?;
        }
        Ok(())
    }

    /// Opens where they lie, and says how many opened before one did not.
    pub(super) fn open_in_place(&self, run: Run, chunks: &mut [u8]) -> (usize, Result<()>) {
        let mut opened = 0;
        for (nonce, chunk) in run.nonces().zip(chunks.chunks_mut(self.size + TAG)) {
            if let Err(error) = open_chunk(self.key, &nonce, self.aad, chunk) {
                return (opened, Err(error));
            }
            opened += 1;
        }
        (opened, Ok(()))
    }
}

/// Seals one chunk: its plaintext, with room for the tag behind it.
pub(super) fn seal_chunk(key: &AeadKey, nonce: &[u8; 12], aad: &[u8], chunk: &mut [u8]) -> Result<()> {
    let (body, tag) = chunk.split_last_chunk_mut::<TAG>().ok_or_else(refused)?;
    *tag = key.seal_in_place(nonce, aad, body).map_err(|_| refused())?;
    Ok(())
}

/// Opens one chunk where it lies.
pub(super) fn open_chunk(key: &AeadKey, nonce: &[u8; 12], aad: &[u8], chunk: &mut [u8]) -> Result<()> {
    let (body, tag) = chunk
        .split_last_chunk_mut::<TAG>()
        .ok_or_else(Error::cannot_open)?;
    key.open_in_place(nonce, aad, body, tag)
}

/// No AEAD library refuses a chunk of at most 16 MiB, short of running out of memory.
pub(super) fn refused() -> Error {
    Error::argument("the AEAD refused to seal")
}
