//! What belongs to the process that made it.

use std::fmt;

use crate::value::entropy;
use crate::value::error::{Error, Result};

/// A value that a forked child neither uses nor drops.
///
/// Connections, tasks and locks that came through a `fork` are the parent's: the sockets are shared, the threads behind
/// them are gone, and a lock that one of them held is held forever. Dropped in a child, the value leaks.
///
/// ```
/// use waxseal::runtime::Kept;
///
/// let connection = Kept::new("a connection");
/// assert_eq!(*connection.get()?, "a connection");
/// # Ok::<(), waxseal::Error>(())
/// ```
#[derive(Clone)]
pub struct Kept<T> {
    /// Absent only while this is dropped.
    value: Option<T>,
    generation: u64,
}

impl<T> Kept<T> {
    /// Keeps a value for this process.
    #[must_use]
    pub fn new(value: T) -> Self {
        Self {
            value: Some(value),
            generation: entropy::generation(),
        }
    }

    /// Returns the value, in the process that made it.
    ///
    /// # Errors
    /// `Configuration` in a forked child.
    pub fn get(&self) -> Result<&T> {
        let own = self.value.as_ref().filter(|_| !self.is_inherited());
        own.ok_or_else(|| {
            Error::configuration(
                "the client or connection was made before this process was forked; make a new client in the child",
            )
        })
    }

    fn is_inherited(&self) -> bool {
        self.generation != entropy::generation()
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
        kept.generation += 1;
        let error = kept.get().unwrap_err();
        assert!(error.to_string().contains("fork"), "{error}");
        drop(kept);
        assert_eq!(std::sync::Arc::strong_count(&shared), 2);
        drop(Kept::new(std::sync::Arc::clone(&shared)));
        assert_eq!(std::sync::Arc::strong_count(&shared), 2);
    }
}
