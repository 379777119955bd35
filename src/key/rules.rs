//! What a re-wrap may do.

use crate::envelope::KekRef;

/// What a re-wrap may do besides replacing the wraps of its own KEKs.
///
/// By default a re-wrap keeps every stanza that is not proven to be under a configured KEK, never leaves fewer wraps
/// than it found, and never leaves a wrap of a weaker class. Each method allows one exception.
///
/// ```
/// use waxseal::key::RewrapRules;
///
/// // A primary and a recovery key become one key.
/// let rules = RewrapRules::new().leaving_fewer_wraps();
/// assert!(rules.leaves_fewer_wraps() && !rules.weakens());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RewrapRules<'a> {
    fewer: bool,
    weaker: bool,
    drop_unknown: bool,
    short: bool,
    current: Option<&'a [KekRef]>,
}

impl<'a> RewrapRules<'a> {
    /// The default rules, under which nobody loses access.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            fewer: false,
            weaker: false,
            drop_unknown: false,
            short: false,
            current: None,
        }
    }

    /// Allows that fewer KEKs open the envelope afterwards than its wraps named before.
    #[must_use]
    pub const fn leaving_fewer_wraps(mut self) -> Self {
        self.fewer = true;
        self
    }

    /// Allows a wrap of a weaker [class](crate::envelope::AlgorithmClass) than the wrap that opened: for example, a wrap that a quantum
    /// computer breaks instead of a wrap that it does not break.
    #[must_use]
    pub const fn weakening(mut self) -> Self {
        self.weaker = true;
        self
    }

    /// Drops every stanza that is not proven to be under a configured KEK. The holders of those KEKs lose access.
    #[must_use]
    pub const fn dropping_unknown(mut self) -> Self {
        self.drop_unknown = true;
        self
    }

    /// Allows new wraps that still miss a requirement of the request's profile, for a job that raises what is stored step by step. What
    /// is missed is [reported](crate::source::Rewrapped::unmet). A wrap that lacks what the wrap that opened has is refused all the
    /// same, unless [`weakening`](Self::weakening) allows it.
    #[must_use]
    pub const fn falling_short(mut self) -> Self {
        self.short = true;
        self
    }

    /// Leaves an envelope unchanged if its wraps are proven to be under these KEKs and versions, with which a re-wrap of
    /// the same source has just wrapped.
    #[must_use]
    pub const fn unless_under(mut self, current: &'a [KekRef]) -> Self {
        self.current = Some(current);
        self
    }

    /// Returns whether a re-wrap may leave fewer wraps than it found.
    #[must_use]
    pub const fn leaves_fewer_wraps(&self) -> bool {
        self.fewer
    }

    /// Returns whether a re-wrap may leave a wrap of a weaker class.
    #[must_use]
    pub const fn weakens(&self) -> bool {
        self.weaker
    }

    /// Returns whether new wraps may miss a requirement of the profile.
    #[must_use]
    pub const fn falls_short(&self) -> bool {
        self.short
    }

    /// Returns whether a re-wrap drops the stanzas of unknown KEKs.
    #[must_use]
    pub const fn drops_unknown(&self) -> bool {
        self.drop_unknown
    }

    /// Returns the KEKs and versions that wrap now, if the caller knows them.
    #[must_use]
    pub const fn current(&self) -> Option<&'a [KekRef]> {
        self.current
    }
}
