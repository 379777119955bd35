//! Whether a stanza is under a key manager's KEK.

use crate::envelope::{WrapAlgorithm, WrapRef};

/// Whether a stanza is under a key manager's KEK, as far as that is known without a call.
///
/// The variants are ordered by certainty, so `min` and `max` combine the answers of several managers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Recognition {
    /// The stanza has another algorithm, provider or KEK. No source asks this manager to unwrap it.
    No,
    /// The stanza may be under this KEK or under another: its id is hidden, or the name is not unique in the
    /// world (a token label, a Vault path without its cluster, the name of a passphrase), or the name is not resolved yet (an
    /// alias). Only an unwrap shows it.
    Perhaps,
    /// The id is unique in the world, and it is the id of this KEK, as configured or as the backend resolved it. A
    /// re-wrap may replace the stanza without unwrapping it.
    Mine,
}

impl Recognition {
    /// Compares a stanza with the KEK `kek_id` of this algorithm and provider. Returns `Mine` for the same id, `Perhaps` for a
    /// hidden id, else `No`. If the id is not unique in the world, take the
    /// `min` of the result and [`Perhaps`](Self::Perhaps).
    ///
    /// ```
    /// use waxseal::envelope::{KekRef, WrapAlgorithm, WrappedDek};
    /// use waxseal::key::Recognition;
    ///
    /// let algorithm = WrapAlgorithm::from_id(224);
    /// let wrapped = WrappedDek::new(algorithm, KekRef::new("toy", "label", "")?, vec![1])?;
    /// let by_id = Recognition::by_id(wrapped.as_wrap_ref(), algorithm, "toy", "label");
    /// assert_eq!(by_id, Recognition::Mine);
    /// // A label is not unique in the world.
    /// assert_eq!(by_id.min(Recognition::Perhaps), Recognition::Perhaps);
    /// # Ok::<(), waxseal::Error>(())
    /// ```
    #[must_use]
    pub fn by_id(wrapped: WrapRef<'_>, algorithm: WrapAlgorithm, provider: &str, kek_id: &str) -> Self {
        if !wrapped.is_under(algorithm, provider, kek_id) {
            Self::No
        } else if wrapped.kek_id.is_empty() {
            Self::Perhaps
        } else {
            Self::Mine
        }
    }

    /// Returns whether the stanza is certainly not under the KEK.
    #[must_use]
    pub const fn is_no(self) -> bool {
        matches!(self, Self::No)
    }

    /// Returns whether the stanza is certainly under the KEK.
    #[must_use]
    pub const fn is_mine(self) -> bool {
        matches!(self, Self::Mine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::{KekRef, WrappedDek};

    #[test]
    fn an_id_is_mine_a_hidden_one_perhaps_and_anything_else_is_not() {
        let algorithm = WrapAlgorithm::from_id(224);
        let kek = KekRef::new("toy", "a", "1").unwrap();
        let wrapped = WrappedDek::new(algorithm, kek, vec![1]).unwrap();
        let by = |wrapped: &WrappedDek, provider, id| {
            Recognition::by_id(wrapped.as_wrap_ref(), algorithm, provider, id)
        };
        assert_eq!(by(&wrapped, "toy", "a"), Recognition::Mine);
        assert_eq!(by(&wrapped, "toy", "b"), Recognition::No);
        assert_eq!(by(&wrapped, "other", "a"), Recognition::No);
        let hidden = wrapped.with_hidden_id();
        assert_eq!(by(&hidden, "toy", "b"), Recognition::Perhaps);
        assert_eq!(by(&hidden, "other", "b"), Recognition::No);
        assert!(Recognition::No < Recognition::Perhaps && Recognition::Perhaps < Recognition::Mine);
    }
}
