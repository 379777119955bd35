//! How a payload is cut into chunks. This module has only lengths, no bytes and no keys.

use std::ops::Range;

use crate::value::error::{Error, Result};
use crate::value::limits;

/// Bytes that each chunk adds to the plaintext.
pub(crate) const TAG: usize = 16;

/// The size of a chunk: a power of two from 1 KiB to 16 MiB, 64 KiB by default.
///
/// A payload of up to one chunk costs one AEAD call and no key derivation. A stream holds one chunk in memory,
/// and a range read opens at least one chunk. Each chunk adds 16 bytes.
///
/// ```
/// use waxseal::envelope::ChunkSize;
///
/// assert_eq!(ChunkSize::default().bytes(), 65_536);
/// assert_eq!(ChunkSize::new(4096)?.bytes(), 4096);
/// assert!(ChunkSize::new(5000).is_err());
/// # Ok::<(), waxseal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChunkSize(u8);

impl ChunkSize {
    /// The minimum: 1 KiB.
    pub const MIN: Self = Self(10);
    /// The maximum: 16 MiB.
    pub const MAX: Self = Self(24);

    /// Makes a chunk size of this many bytes.
    ///
    /// # Errors
    /// `InvalidArgument` if `bytes` is not a power of two from 1,024 to 16,777,216.
    pub fn new(bytes: usize) -> Result<Self> {
        (Self::MIN.0..=Self::MAX.0)
            .map(Self)
            .find(|size| size.bytes() == bytes)
            .ok_or_else(|| Error::argument("a chunk size must be a power of two from 1024 to 16777216 bytes"))
    }

    /// Returns the chunk size of an exponent in an envelope, or `None` if the exponent is out of range.
    #[must_use]
    pub fn from_exponent(exponent: u8) -> Option<Self> {
        (Self::MIN.0..=Self::MAX.0)
            .contains(&exponent)
            .then_some(Self(exponent))
    }

    /// Returns the exponent in the envelope.
    #[must_use]
    pub const fn exponent(self) -> u8 {
        self.0
    }

    /// Returns the size in bytes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        1 << self.0
    }
}

impl Default for ChunkSize {
    /// 64 KiB.
    fn default() -> Self {
        Self(16)
    }
}

/// How one payload is cut into chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    size: usize,
    /// Chunks before the final chunk; each is full.
    full: usize,
    /// Plaintext bytes of the final chunk.
    last: usize,
}

impl Cut {
    /// Computes the chunks of a plaintext.
    pub(crate) fn of_plaintext(size: ChunkSize, len: usize) -> Result<Self> {
        limits::MESSAGE.check(len)?;
        let size = size.bytes();
        // The final chunk is empty only if the whole plaintext is.
        // Most payloads are one chunk, and a division costs more than this check.
        let full = if len <= size { 0 } else { (len - 1) / size };
        limits::CHUNKS.check(full.saturating_add(1))?;
        Ok(Self {
            size,
            full,
            last: len - full * size,
        })
    }

    /// Computes the chunks from their sealed length, and refuses a length that no plaintext has. `offset` is where they begin.
    pub(crate) fn of_sealed(size: ChunkSize, len: usize, offset: usize) -> Result<Self> {
        let malformed = || Error::malformed("chunks", offset);
        let size = size.bytes();
        let full = if len <= size + TAG {
            0
        } else {
            (len - 1) / (size + TAG)
        };
        limits::CHUNKS.check(full.saturating_add(1))?;
        let last = (len - full * (size + TAG))
            .checked_sub(TAG)
            .ok_or_else(malformed)?;
        if last == 0 && full > 0 {
            return Err(malformed());
        }
        let cut = Self { size, full, last };
        limits::MESSAGE.check(cut.plaintext_len())?;
        Ok(cut)
    }

    /// Computes the chunks after a header of `header` bytes in an envelope of `len` bytes. On a 32-bit system an
    /// envelope that does not fit into memory is over the limit.
    pub(crate) fn of_object(size: ChunkSize, header: u64, len: u64) -> Result<Self> {
        let offset = usize::try_from(header).map_err(|_| limits::MESSAGE.error())?;
        let sealed = len
            .checked_sub(header)
            .ok_or_else(|| Error::malformed("chunks", offset))?;
        let sealed = usize::try_from(sealed).map_err(|_| limits::MESSAGE.error())?;
        Self::of_sealed(size, sealed, offset)
    }

    /// Returns where chunk number `index` is among the sealed chunks, its tag included.
    pub(crate) fn sealed_range(&self, index: u64) -> Range<u64> {
        let start = index * (self.size + TAG) as u64;
        let len = if index == self.full as u64 {
            self.last
        } else {
            self.size
        };
        start..start + (len + TAG) as u64
    }

    pub(crate) fn is_single(&self) -> bool {
        self.full == 0
    }

    pub(crate) fn count(&self) -> usize {
        self.full + 1
    }

    pub(crate) fn plaintext_len(&self) -> usize {
        self.full * self.size + self.last
    }

    pub(crate) fn sealed_len(&self) -> usize {
        self.plaintext_len() + self.count() * TAG
    }

    /// Returns where the plaintext of each chunk is among the sealed chunks; its tag follows it.
    pub(crate) fn ranges(&self) -> impl ExactSizeIterator<Item = Range<usize>> + use<> {
        let Self { size, full, last } = *self;
        (0..full + 1).map(move |index| {
            let start = index * (size + TAG);
            start..start + if index == full { last } else { size }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: LIM-10
    #[test]
    fn sizes_are_powers_of_two_in_range() {
        assert_eq!(ChunkSize::new(65_536).unwrap(), ChunkSize::default());
        for bad in [0, 1, 512, 1000, 1025, 1 << 25] {
            assert!(ChunkSize::new(bad).is_err());
        }
        assert!(ChunkSize::from_exponent(9).is_none());
        assert!(ChunkSize::from_exponent(25).is_none());
    }

    // spec: BODY-2, BODY-5
    #[test]
    fn a_cut_leads_back_from_its_sealed_length() {
        let size = ChunkSize::MIN;
        for len in (0..5000).chain([1 << 20]) {
            let cut = Cut::of_plaintext(size, len).unwrap();
            assert_eq!(cut.plaintext_len(), len);
            assert_eq!(cut.count(), len.div_ceil(1024).max(1));
            assert_eq!(Cut::of_sealed(size, cut.sealed_len(), 0).unwrap(), cut);
            let ranges: Vec<_> = cut.ranges().collect();
            assert_eq!(ranges.len(), cut.count());
            assert_eq!(ranges.iter().map(ExactSizeIterator::len).sum::<usize>(), len);
            assert_eq!(ranges.last().unwrap().end + TAG, cut.sealed_len());
        }
    }

    // spec: LIM-11, LIM-12, KEY-8, BODY-4, BODY-6, BODY-7
    #[test]
    fn lengths_that_no_plaintext_has_are_refused() {
        let full = 1024 + TAG;
        for bad in [0, 1, 15, full + 1, full + 16, 2 * full + 16] {
            assert!(Cut::of_sealed(ChunkSize::MIN, bad, 0).is_err(), "{bad}");
        }
        for good in [16, 17, full, full + 17, 2 * full] {
            assert!(Cut::of_sealed(ChunkSize::MIN, good, 0).is_ok(), "{good}");
        }
    }
}
