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

    /// The same of a branch key, which a parent that was revoked puts out of use: one that is active is due for a successor since then.
    #[must_use]
    pub fn next_move_under(&self, parent: Option<&Self>) -> Option<(NextMove, Time)> {
        let parent = parent.filter(|parent| self.state.under(parent.state) != self.state);
        let revoked = parent.and_then(Self::revocation).map(|made| made.at);
        match revoked.filter(|_| self.state == State::Active) {
            Some(revoked) => Some((NextMove::Succession, revoked)),
            None => self.next_move(),
        }
    }

    /// Returns the algorithm that decides how safe it is, by its name: its own, or, of a branch key, that of the weakest wrap that it ever had. Copies
    /// of former wraps may still be in backups.
    #[must_use]
    pub fn protecting_algorithm(&self) -> &str {
        let Some(branch) = &self.branch else {
            return &self.algorithm;
        };
        let former = branch.former.iter().map(|former| former.algorithm.as_str());
        // Of several that are as weak, the first one: that of the last wrap.
        let all = std::iter::once(branch.wrapped.algorithm.as_str()).chain(former);
        all.min_by_key(|name| strength(algorithm_of(name).class()))
            .unwrap_or(&self.algorithm)
    }

    /// Returns the class of [that algorithm](Self::protecting_algorithm), if it is known.
    #[must_use]
    pub fn class(&self) -> Option<AlgorithmClass> {
        algorithm_of(self.protecting_algorithm()).class()
    }
}

/// What is broken first has the least: what a quantum computer opens, what nobody knows, and what relies on new schemes alone.
const fn strength(class: Option<AlgorithmClass>) -> u8 {
    match class {
        Some(AlgorithmClass::Classical) => 0,
        None => 1,
        Some(AlgorithmClass::PostQuantum) => 2,
        Some(AlgorithmClass::Hybrid | AlgorithmClass::Symmetric) => 3,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn branch_key(last: &str, former: &[&str]) -> KeyRecord {
        let parent = "01a21e93-b0b9-71a6-9136-e70841870009";
        let former: Vec<_> = former
            .iter()
            .map(|algorithm| json!({ "parent": parent, "parent_scope": "/", "algorithm": algorithm }))
            .collect();
        let id = "01a21e93-b0b9-71a6-9136-e70841870001";
        let record = json!({
            "min_reader": 1, "id": id, "scope": "a", "slot": "default", "revision": 1, "state": "active",
            "provenance": { "uri": "branch:", "provider": "branch", "id": id, "version": "" },
            "algorithm": "xaes-256-gcm", "protection": "software", "has_wrapped": true, "cadence": "P90D", "overlap": "PT24H",
            "created": "2026-01-01T00:00:00Z", "history": [],
            "branch": {
                "parent": parent, "parent_scope": "/", "commitment": "", "former": former,
                "wrapped": { "provider": "local", "id": "kek", "algorithm": last, "bytes": "" },
            },
        });
        serde_json::from_value(record).unwrap()
    }

    #[test]
    fn a_branch_key_is_no_safer_than_the_weakest_wrap_it_ever_had() {
        let told = |last: &str, former: &[&str]| {
            let key = branch_key(last, former);
            (key.protecting_algorithm().to_owned(), key.class())
        };
        let is = |name: &str, class| (name.to_owned(), class);
        let (symmetric, classical) = (Some(AlgorithmClass::Symmetric), Some(AlgorithmClass::Classical));
        assert_eq!(told("xaes-256-gcm", &[]), is("xaes-256-gcm", symmetric));
        assert_eq!(
            told("xaes-256-gcm", &["rsa-oaep-256"]),
            is("rsa-oaep-256", classical)
        );
        assert_eq!(
            told("rsa-oaep-256", &["xaes-256-gcm", "azure-rsa-oaep-256"]),
            is("rsa-oaep-256", classical)
        );
        assert_eq!(
            told("xaes-256-gcm", &["of-tomorrow", "rsa-oaep-256"]),
            is("rsa-oaep-256", classical)
        );
        assert_eq!(told("xaes-256-gcm", &["of-tomorrow"]).1, None);
    }
}
