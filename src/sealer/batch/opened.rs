//! The plaintexts of a batch.

use std::fmt;

use zeroize::Zeroize;

use crate::value::error::{Error, Result};

/// Plaintexts one behind another in one buffer, and the errors of the rows that did not open.
///
/// It is wiped when it is cleared and when it is dropped. `Debug` shows only lengths.
#[derive(Default)]
pub struct OpenedBatch {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// By row, in order.
    errors: Vec<(usize, Error)>,
}

impl OpenedBatch {
    /// Makes an empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns how many rows the batch holds, including those that did not open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Returns whether the batch holds no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Returns the plaintext at `row`, or the error of that row; `None` if there is no such row.
    #[must_use]
    pub fn get(&self, row: usize) -> Option<Result<&[u8], &Error>> {
        let end = *self.ends.get(row)?;
        if let Some(error) = self.error_at(row) {
            return Some(Err(error));
        }
        let start = row
            .checked_sub(1)
            .map_or(Some(0), |before| self.ends.get(before).copied())?;
        self.bytes.get(start..end).map(Ok)
    }

    fn error_at(&self, row: usize) -> Option<&Error> {
        let at = self.errors.binary_search_by_key(&row, |(row, _)| *row).ok()?;
        self.errors.get(at).map(|(_, error)| error)
    }

    /// Returns the rows, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Result<&[u8], &Error>> + Clone {
        (0..self.len()).map(|row| self.get(row).unwrap_or(Ok(&[])))
    }

    /// Returns the rows that did not open, with their errors. Empty if all opened.
    #[must_use]
    pub fn errors(&self) -> &[(usize, Error)] {
        &self.errors
    }

    /// Returns all plaintexts, one behind another. A row that did not open has no bytes in it.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns where each row ends in [`as_bytes`](Self::as_bytes). The next row begins there, and the first at 0.
    #[must_use]
    pub fn ends(&self) -> &[usize] {
        &self.ends
    }

    /// Wipes and empties the batch, and keeps its memory for the next.
    pub fn clear(&mut self) {
        self.truncate(0, 0);
    }

    /// Makes room for `rows` more rows of `len` bytes altogether. After that the plaintext is not moved, which would
    /// leave a copy behind.
    pub(super) fn reserve(&mut self, rows: usize, len: usize) {
        self.ends.reserve(rows);
        if self.bytes.capacity() - self.bytes.len() < len {
            let wanted = self.bytes.len().saturating_add(len);
            let mut bytes = Vec::with_capacity(wanted.max(2 * self.bytes.len()));
            bytes.extend_from_slice(&self.bytes);
            self.bytes.as_mut_slice().zeroize();
            self.bytes = bytes;
        }
    }

    /// Adds a row, whose plaintext `open` appends.
    pub(super) fn push(&mut self, open: impl FnOnce(&mut Vec<u8>) -> Result<()>) {
        let row = self.ends.len();
        // If the row before panicked half-way, the bytes that it left do not belong to this row.
        let end = self.ends.last().copied().unwrap_or(0);
        self.bytes.get_mut(end..).unwrap_or_default().zeroize();
        self.bytes.truncate(end);
        if let Err(error) = open(&mut self.bytes) {
            self.errors.push((row, error));
        }
        self.ends.push(self.bytes.len());
    }

    /// Wipes and drops the rows from `rows` on.
    pub(super) fn truncate(&mut self, rows: usize, len: usize) {
        self.bytes.get_mut(len..).unwrap_or_default().zeroize();
        self.bytes.truncate(len);
        self.ends.truncate(rows);
        self.errors.retain(|(row, _)| *row < rows);
    }
}

impl Drop for OpenedBatch {
    fn drop(&mut self) {
        // All of its memory: a row that panicked half-way may have left something behind its length.
        self.bytes.zeroize();
    }
}

impl fmt::Debug for OpenedBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenedBatch")
            .field("rows", &self.len())
            .field("bytes", &self.bytes.len())
            .field("errors", &self.errors.len())
            .finish()
    }
}
