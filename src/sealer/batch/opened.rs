//! What a batch was opened to.

use std::fmt;

use zeroize::Zeroize;

use crate::value::error::{Error, Result};

/// Plaintexts one behind another in one buffer, and the errors of those rows that did not open.
///
/// Wiped when cleared and when dropped; `Debug` gives lengths only.
#[derive(Default)]
pub struct OpenedBatch {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// By row, in order.
    errors: Vec<(usize, Error)>,
}

impl OpenedBatch {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many rows it holds, with those that did not open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The plaintext at `row`, or why there is none.
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

    /// The rows, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Result<&[u8], &Error>> + Clone {
        (0..self.len()).map(|row| self.get(row).unwrap_or(Ok(&[])))
    }

    /// The rows that did not open, with their errors; empty where all did.
    #[must_use]
    pub fn errors(&self) -> &[(usize, Error)] {
        &self.errors
    }

    /// All plaintexts, one behind another. A row that did not open has no bytes in it.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where each ends in [`as_bytes`](Self::as_bytes); the next begins there, and the first at 0.
    #[must_use]
    pub fn ends(&self) -> &[usize] {
        &self.ends
    }

    /// Wipes and empties it, and keeps its memory for the next batch.
    pub fn clear(&mut self) {
        self.truncate(0, 0);
    }

    /// Makes room for `rows` more of `len` bytes altogether: behind this the plaintext is not moved, which would
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
        // Should the row before have panicked half-way, what it left is not this one's.
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
