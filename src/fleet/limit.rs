//! How much a job does in a second.

use std::num::NonZeroU32;

/// What a job does in a second at most, all its workers together. Without limits by default.
///
/// Calls to a KMS are limited where they are made, by [`Paced`](crate::layer::Paced) around its key manager.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Items that are examined.
    pub items: Option<NonZeroU32>,
    /// Bytes of fronts that are read or written.
    pub bytes: Option<NonZeroU32>,
}

impl Limits {
    /// No limits.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Limits the items.
    #[must_use]
    pub fn items(mut self, in_a_second: NonZeroU32) -> Self {
        self.items = Some(in_a_second);
        self
    }

    /// Limits the bytes.
    #[must_use]
    pub fn bytes(mut self, in_a_second: NonZeroU32) -> Self {
        self.bytes = Some(in_a_second);
        self
    }
}
