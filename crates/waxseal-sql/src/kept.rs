//! What belongs to the process that made it.

use std::fmt;
use std::process;

use waxseal::{Error, ErrorKind, Result};

/// A value that a forked child neither uses nor drops.
///
/// Connections and threads do not come through a `fork`: the sockets are shared with the parent, the threads are gone, and SQLite
/// forbids to go on with an open file.
pub(crate) struct Kept<T> {
    /// Absent only while this is dropped.
    value: Option<T>,
    process: u32,
}

impl<T> Kept<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            value: Some(value),
            process: process::id(),
        }
    }

    /// The value, in the process that made it.
    ///
    /// # Errors
    /// `Configuration` in a forked child.
    pub(crate) fn get(&self) -> Result<&T> {
        let own = self.value.as_ref().filter(|_| !self.is_inherited());
        own.ok_or_else(|| {
            Error::new(ErrorKind::Configuration).with_detail(
                "the inventory was opened before this process was forked; open another in the child",
            )
        })
    }

    fn is_inherited(&self) -> bool {
        self.process != process::id()
    }
}

impl<T> Drop for Kept<T> {
    fn drop(&mut self) {
        if self.is_inherited() {
            std::mem::forget(self.value.take());
        }
    }
}

impl<T> fmt::Debug for Kept<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept")
            .field("is_inherited", &self.is_inherited())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_inherited_is_neither_used_nor_dropped() {
        let shared = std::sync::Arc::new(());
        let mut kept = Kept::new(std::sync::Arc::clone(&shared));
        assert!(kept.get().is_ok());
        kept.process += 1;
        assert_eq!(kept.get().unwrap_err().kind(), ErrorKind::Configuration);
        drop(kept);
        assert_eq!(std::sync::Arc::strong_count(&shared), 2);
        drop(Kept::new(std::sync::Arc::clone(&shared)));
        assert_eq!(std::sync::Arc::strong_count(&shared), 2);
    }
}
