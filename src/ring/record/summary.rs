//! What lists and reports say of a key.

use super::key::{KeyRecord, algorithm_of};
use crate::envelope::AlgorithmClass;
use crate::ring::{State, Time};

/// What happens to a key next, by its dates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum NextMove {
    /// An active key is rotated.
    Rotation,
    /// A key that was revoked gets a successor.
    Succession,
    /// A deprecated key may be retired.
    Retirement,
    /// The backend destroys the KEK, or is told to.
    Destruction,
}

impl NextMove {
    /// Returns its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rotation => "rotation",
            Self::Succession => "succession",
            Self::Retirement => "retirement",
            Self::Destruction => "destruction",
        }
    }
}

impl KeyRecord {
    /// Returns what happens to it next, by its dates, and when. A time that has passed says that it is overdue.
    #[must_use]
    pub fn next_move(&self) -> Option<(NextMove, Time)> {
        let (next, at) = match self.state {
            State::Active => (NextMove::Rotation, self.next_rotation),
            State::Compromised => (NextMove::Succession, self.next_rotation),
            State::Deprecated => (NextMove::Retirement, self.retirement_due),
            State::Destroying => (NextMove::Destruction, self.destruction_due),
            _ => return None,
        };
        Some((next, at?))
    }

    /// Returns the algorithm that decides how safe it is, by its name: its own, or that of the wrap of a branch key.
    #[must_use]
    pub fn protecting_algorithm(&self) -> &str {
        let branch = self.branch.as_ref();
        branch.map_or(&self.algorithm, |branch| &branch.wrapped.algorithm)
    }

    /// Returns the class of that algorithm, if it is known.
    #[must_use]
    pub fn class(&self) -> Option<AlgorithmClass> {
        algorithm_of(self.protecting_algorithm()).class()
    }
}
