//! Plaintext that lies in the buffer of its envelope.

use std::fmt;

use crate::envelope::Cut;

/// Plaintext that was opened where its envelope lay, in the caller's buffer.
///
/// The buffer belongs to the caller, so the plaintext is not wiped when this value is dropped. `Debug` shows only the
/// length.
///
/// ```
/// # use waxseal::{Aad, EncryptionContext, Kek, blocking::Sealer, backend::local::LocalKey};
/// # let sealer = Sealer::new(LocalKey::new(&Kek::generate()?));
/// # let key = sealer.data_key(&EncryptionContext::new([("tenant", "acme")])?)?;
/// let mut envelope = key.seal(b"hello", Aad::none())?;
/// let opened = key.open_in_place(&mut envelope, Aad::none())?;
/// assert_eq!(opened.len(), 5);
/// assert_eq!(opened.into_contiguous(), b"hello");
/// # Ok::<(), waxseal::Error>(())
/// ```
pub struct OpenedInPlace<'b> {
    bytes: &'b mut [u8],
    cut: Cut,
}

impl<'b> OpenedInPlace<'b> {
    pub(super) fn new(bytes: &'b mut [u8], cut: Cut) -> Self {
        Self { bytes, cut }
    }

    /// Returns the length of the plaintext, in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.cut.plaintext_len()
    }

    /// Returns whether the plaintext is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the plaintext chunk by chunk, without moving a byte. A payload of up to one chunk is one piece.
    pub fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        self.cut
            .ranges()
            .map(|range| self.bytes.get(range).unwrap_or_default())
    }

    /// Returns the plaintext in one piece. The chunks of a longer payload are moved together. A single chunk is not
    /// moved.
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
    fn debug_shows_lengths_only() {
        let mut bytes = [0xab; 20];
        let cut = Cut::of_plaintext(ChunkSize::default(), 4).unwrap();
        let opened = OpenedInPlace::new(&mut bytes, cut);
        assert_eq!(format!("{opened:?}"), "OpenedInPlace(4 bytes)");
    }
}
