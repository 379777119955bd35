//! What a re-wrap may do.

use crate::envelope::KekRef;

/// What a re-wrap may do beyond putting new wraps in the place of its own.
///
/// By default a re-wrap keeps every stanza that is not proven to be under a configured KEK, never leaves fewer wraps
/// than it found, and never leaves a wrap of a weaker class. Each method here allows one of these, in so many words.
///
/// ```
/// use waxseal::key::RewrapRules;
///
/// // Primary and recovery key become one.
/// let rules = RewrapRules::new().leaving_fewer_wraps();
/// assert!(rules.leaves_fewer_wraps() && !rules.weakens());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RewrapRules<'a> {
    fewer: bool,
    weaker: bool,
    drop_unknown: bool,
    current: Option<&'a [KekRef]>,
}

impl<'a> RewrapRules<'a> {
    /// The rules that lose nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            fewer: false,
            weaker: false,
            drop_unknown: false,
            current: None,
        }
    }

    /// Allows that fewer KEKs open the envelope afterwards than its wraps named before.
    #[must_use]
    pub const fn leaving_fewer_wraps(mut self) -> Self {
        self.fewer = true;
        self
    }

    /// Allows a wrap of a weaker [class](crate::envelope::AlgorithmClass) than the wrap that opened: one that a quantum
    /// computer breaks in the place of one that it does not, for example.
    #[must_use]
    pub const fn weakening(mut self) -> Self {
        self.weaker = true;
        self
    }

    /// Drops the stanzas that no configured KEK is proven to have made: their holders lose access.
    #[must_use]
    pub const fn dropping_unknown(mut self) -> Self {
        self.drop_unknown = true;
        self
    }

    /// Leaves an envelope as it is if its wraps are proven to be under these KEKs and versions: those that a re-wrap of
    /// the same source has just wrapped with.
    #[must_use]
    pub const fn unless_under(mut self, current: &'a [KekRef]) -> Self {
        self.current = Some(current);
        self
    }

    /// Whether fewer wraps may be left than were found.
    #[must_use]
    pub const fn leaves_fewer_wraps(&self) -> bool {
        self.fewer
    }

    /// Whether a wrap of a weaker class may be left.
    #[must_use]
    pub const fn weakens(&self) -> bool {
        self.weaker
    }

    /// Whether stanzas of unknown KEKs are dropped.
    #[must_use]
    pub const fn drops_unknown(&self) -> bool {
        self.drop_unknown
    }

    /// The KEKs and versions that wrap now, where the caller knows them.
    #[must_use]
    pub const fn current(&self) -> Option<&'a [KekRef]> {
        self.current
    }
}
