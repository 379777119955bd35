//! Nonces of messages that a session has counted.

use crate::value::entropy;
use crate::value::error::Result;

/// A message that its session has counted, by its nonce. Only a session makes one, and nobody copies it.
pub(crate) struct Begun<'n>(&'n [u8; 12]);

impl<'n> Begun<'n> {
    pub(super) fn draw(room: &'n mut [u8; 12]) -> Result<Self> {
        entropy::fill(room)?;
        Ok(Self(room))
    }

    pub(super) fn nonce(&self) -> &'n [u8; 12] {
        self.0
    }
}

/// Several counted messages.
#[derive(Default)]
pub(crate) struct Nonces {
    drawn: [[u8; 12]; Self::MOST],
    left: usize,
}

impl Nonces {
    /// How many nonces are drawn at a time: no more than the generator takes out of its buffer.
    pub(super) const MOST: usize = 16;

    pub(super) fn draw(&mut self, count: usize) -> Result<()> {
        self.left = 0;
        let drawn = self.drawn.get_mut(..count).unwrap_or_default();
        entropy::fill(drawn.as_flattened_mut())?;
        self.left = drawn.len();
        Ok(())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// Returns a message that was not returned before.
    pub(crate) fn next(&mut self) -> Option<Begun<'_>> {
        self.left = self.left.checked_sub(1)?;
        self.drawn.get(self.left).map(Begun)
    }
}
