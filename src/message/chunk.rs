//! The chunks of a message: which key and nonce each has, and the four calls of the AEAD.

use crate::value::aad::Aad;
use crate::value::aead::{AeadKey, TAG};
use crate::value::error::{Error, Result};

/// Fewer bytes than this are not worth taking from other threads: about three microseconds of work.
const PIECE: usize = 64 * 1024;

/// Returns the nonce of chunk `index` of a message of several chunks.
fn chunk_nonce(index: u64, last: bool) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[3..11].copy_from_slice(&index.to_be_bytes());
    nonce[11] = u8::from(last);
    nonce
}

/// One chunk: its key, its nonce and the message's AAD.
#[derive(Clone, Copy)]
pub(super) struct Chunk<'a> {
    pub(super) key: &'a AeadKey,
    pub(super) nonce: &'a [u8; 12],
    pub(super) aad: Aad<'a>,
}

impl Chunk<'_> {
    /// Seals `plaintext` to `out`, which has room for it and its tag.
    pub(super) fn seal(&self, plaintext: &[u8], out: &mut [u8]) -> Result<()> {
        let (body, tag) = out.split_at_mut_checked(plaintext.len()).ok_or_else(refused)?;
        self.key
            .seal_to(self.nonce, self.aad.as_bytes(), plaintext, body, tag)
            .map_err(|_| refused())
    }

    /// Seals the plaintext where it lies, in front of the room for its tag.
    pub(super) fn seal_in_place(&self, chunk: &mut [u8]) -> Result<()> {
        let (body, tag) = chunk.split_last_chunk_mut::<TAG>().ok_or_else(refused)?;
        *tag = self
            .key
            .seal_in_place(self.nonce, self.aad.as_bytes(), body)
            .map_err(|_| refused())?;
        Ok(())
    }

    /// Opens `chunk` to `out`, which has the length of its plaintext. After an error the content of `out` is unspecified.
    pub(super) fn open(&self, chunk: &[u8], out: &mut [u8]) -> Result<()> {
        let (body, tag) = chunk.split_last_chunk::<TAG>().ok_or_else(Error::altered)?;
        self.key
            .open_to(self.nonce, self.aad.as_bytes(), body, tag, out)
            .map_err(|_| Error::altered())
    }

    /// Opens a chunk where it lies. After an error its content is unspecified.
    pub(super) fn open_in_place(&self, chunk: &mut [u8]) -> Result<()> {
        let (body, tag) = chunk.split_last_chunk_mut::<TAG>().ok_or_else(Error::altered)?;
        self.key
            .open_in_place(self.nonce, self.aad.as_bytes(), body, tag)
            .map_err(|_| Error::altered())
    }
}

/// Which chunks of a message: the index of the first, and that of the message's final one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Run {
    first: u64,
    last: u64,
}

impl Run {
    /// The chunks from `first` on, in a message of `count` chunks.
    pub(super) fn new(first: usize, count: usize) -> Self {
        Self {
            first: first as u64,
            last: (count as u64).wrapping_sub(1),
        }
    }

    /// `count` chunks from `first` on, of which the last is the message's final chunk or not.
    pub(super) fn of(first: u64, count: u64, is_last: bool) -> Self {
        let last = if is_last {
            first.saturating_add(count).wrapping_sub(1)
        } else {
            u64::MAX
        };
        Self { first, last }
    }

    #[cfg(test)]
    pub(super) fn first(self) -> u64 {
        self.first
    }

    /// Whether it is the whole of a message of one chunk.
    pub(super) fn is_single(self) -> bool {
        self.first == 0 && self.last == 0
    }

    fn nonces(self) -> impl Iterator<Item = [u8; 12]> {
        (self.first..=self.last).map(move |index| chunk_nonce(index, index == self.last))
    }
}

/// The chunks of a message of several chunks, which have a key of their own and counters for nonces.
#[derive(Clone, Copy)]
pub(super) struct Chunks<'a> {
    pub(super) key: &'a AeadKey,
    pub(super) aad: Aad<'a>,
    /// Plaintext bytes of a full chunk.
    pub(super) size: usize,
}

impl Chunks<'_> {
    /// How many chunks one thread takes at a time.
    pub(super) fn per_piece(&self) -> usize {
        (PIECE / self.size).max(1)
    }

    fn chunk<'n>(&'n self, nonce: &'n [u8; 12]) -> Chunk<'n> {
        Chunk {
            key: self.key,
            nonce,
            aad: self.aad,
        }
    }

    pub(super) fn seal(&self, run: Run, plaintext: &[u8], out: &mut [u8]) -> Result<()> {
        let mut pairs = plaintext.chunks(self.size).zip(out.chunks_mut(self.size + TAG));
        run.nonces()
            .zip(&mut pairs)
            .try_for_each(|(nonce, (chunk, out))| self.chunk(&nonce).seal(chunk, out))
    }

    pub(super) fn seal_in_place(&self, run: Run, chunks: &mut [u8]) -> Result<()> {
        run.nonces()
            .zip(chunks.chunks_mut(self.size + TAG))
            .try_for_each(|(nonce, chunk)| self.chunk(&nonce).seal_in_place(chunk))
    }

    pub(super) fn open(&self, run: Run, chunks: &[u8], out: &mut [u8]) -> Result<()> {
        run.nonces()
            .zip(chunks.chunks(self.size + TAG).zip(out.chunks_mut(self.size)))
            .try_for_each(|(nonce, (chunk, out))| self.chunk(&nonce).open(chunk, out))
    }

    /// Opens chunks where they lie, and returns how many opened before one did not.
    pub(super) fn open_in_place(&self, run: Run, chunks: &mut [u8]) -> (usize, Result<()>) {
        let mut opened = 0;
        for (nonce, chunk) in run.nonces().zip(chunks.chunks_mut(self.size + TAG)) {
            if let Err(error) = self.chunk(&nonce).open_in_place(chunk) {
                return (opened, Err(error));
            }
            opened += 1;
        }
        (opened, Ok(()))
    }
}

/// This does not happen short of running out of memory: no AEAD library refuses a chunk of at most 16 MiB.
pub(super) fn refused() -> Error {
    Error::argument("the AEAD refused to seal")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_nonce_is_index_and_end() {
        assert_eq!(chunk_nonce(0x0102, false), [0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0]);
        assert_eq!(
            chunk_nonce(u64::MAX, true),
            [0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255, 1]
        );
    }

    #[test]
    fn only_a_message_of_one_chunk_is_single() {
        assert!(Run::new(0, 1).is_single() && Run::of(0, 1, true).is_single());
        for run in [
            Run::new(0, 2),
            Run::new(1, 2),
            Run::of(0, 1, false),
            Run::of(0, 2, true),
            Run::of(1, 1, true),
        ] {
            assert!(!run.is_single(), "{run:?}");
        }
    }
}
