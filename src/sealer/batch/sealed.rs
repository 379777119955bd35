//! The envelopes of a batch.

use std::fmt;

use crate::message::room;
use crate::value::error::{Error, Result};

/// Envelopes one behind another in one buffer, with their ends, in the form that column stores take.
///
/// ```
/// # use waxseal::{EncryptionContext, Kek, sealer::SealedBatch, blocking::Sealer, backend::local::LocalKey};
/// # let sealer = Sealer::new(LocalKey::new(&Kek::generate()?));
/// # let key = sealer.data_key(&EncryptionContext::new([("table", "users")])?)?;
/// let mut sealed = SealedBatch::new();
/// key.seal_batch(["a@example.com", "b@example.com"], |_| b"", &mut sealed)?;
/// assert_eq!(sealed.len(), 2);
/// let rows: Vec<Vec<u8>> = sealed.iter().map(<[u8]>::to_vec).collect(); // a row at a time, or
/// let (bytes, ends) = sealed.into_parts(); // all of it
/// # assert_eq!((rows.concat(), ends[0]), (bytes, rows[0].len()));
/// # Ok::<(), waxseal::Error>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SealedBatch {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl SealedBatch {
    /// Makes an empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns how many envelopes the batch holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Returns whether the batch holds no envelopes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Returns the envelope at `row`, if there is one.
    #[must_use]
    pub fn get(&self, row: usize) -> Option<&[u8]> {
        let end = *self.ends.get(row)?;
        let start = row
            .checked_sub(1)
            .map_or(Some(0), |before| self.ends.get(before).copied())?;
        self.bytes.get(start..end)
    }

    /// Returns the envelopes, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> + Clone {
        (0..self.len()).map(|row| self.get(row).unwrap_or_default())
    }

    /// Returns all envelopes, one behind another.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns where each envelope ends in [`as_bytes`](Self::as_bytes). The next one begins there, and the first at 0.
    #[must_use]
    pub fn ends(&self) -> &[usize] {
        &self.ends
    }

    /// Takes out the bytes and the ends.
    #[must_use]
    pub fn into_parts(self) -> (Vec<u8>, Vec<usize>) {
        (self.bytes, self.ends)
    }

    /// Empties the batch and keeps its memory for the next.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// Makes room for `rows` more envelopes of `len` bytes altogether.
    pub(super) fn append(&mut self, rows: usize, len: usize) -> Result<Appending<'_>> {
        let at = self.bytes.len();
        at.checked_add(len)
            .filter(|end| isize::try_from(*end).is_ok())
            .ok_or_else(|| Error::argument("the batch does not fit into memory"))?;
        room(&mut self.bytes, len);
        self.ends.reserve(rows);
        let rows = self.ends.len();
        Ok(Appending {
            batch: self,
            before: (rows, at),
            at,
            is_whole: false,
        })
    }
}

impl fmt::Debug for SealedBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "SealedBatch({} envelopes, {} bytes)",
            self.len(),
            self.bytes.len()
        )
    }
}

/// Envelopes on their way into a batch: all of them, or none.
pub(super) struct Appending<'b> {
    batch: &'b mut SealedBatch,
    before: (usize, usize),
    at: usize,
    is_whole: bool,
}

impl Appending<'_> {
    /// Returns the room for the next envelope, or `None` if it is more than was asked for.
    pub(super) fn next(&mut self, len: usize) -> Option<&mut [u8]> {
        let end = self.at.checked_add(len)?;
        let room = self.batch.bytes.get_mut(self.at..end)?;
        self.at = end;
        self.batch.ends.push(end);
        Some(room)
    }

    /// Keeps the envelopes if they fill the room that was asked for.
    pub(super) fn finish(mut self) -> Option<()> {
        self.is_whole = self.at == self.batch.bytes.len();
        self.is_whole.then_some(())
    }
}

impl Drop for Appending<'_> {
    fn drop(&mut self) {
        if !self.is_whole {
            let (rows, len) = self.before;
            self.batch.ends.truncate(rows);
            self.batch.bytes.truncate(len);
        }
    }
}
