//! What an event shows of a ring and its scopes: never a value of a context key that is not loggable.

use crate::envelope::KekRef;

/// What the ring knew when it decided.
#[cfg_attr(
    not(feature = "ring"),
    allow(dead_code, reason = "nothing else knows scopes and keys")
)]
#[derive(Clone, Debug)]
pub(super) struct RingSeen {
    pub(super) id: String,
    /// `None` if nothing was decided by a revision.
    pub(super) revision: Option<u64>,
    pub(super) scope: Option<ScopeSeen>,
    /// Its keys by KEK.
    pub(super) keys: Vec<(KekRef, String)>,
    /// Keys that the envelope names and that were compromised once.
    pub(super) exposed: Vec<String>,
    /// Whether its keys were not confirmed for so long that they only open.
    pub(super) is_stale: bool,
}

/// What an event shows of a scope.
#[derive(Clone, Debug)]
pub(super) struct ScopeSeen {
    /// The scope, if it may be shown.
    pub(super) shown: Option<String>,
    pub(super) template: Option<String>,
    pub(super) digest: [u8; 32],
}

#[cfg(feature = "ring")]
impl RingSeen {
    /// A ring that was not asked, and for which a KEK is used.
    pub(super) fn named(ring: crate::ring::RecordId) -> Self {
        Self {
            id: ring.to_string(),
            revision: None,
            scope: None,
            keys: Vec::new(),
            exposed: Vec::new(),
            is_stale: false,
        }
    }

    pub(super) fn of(sighted: crate::key::Sighted, loggable: &[Box<str>]) -> Self {
        Self {
            id: sighted.ring,
            revision: Some(sighted.revision),
            scope: sighted.scope.map(|scope| ScopeSeen::of(scope, loggable)),
            keys: sighted.keys,
            exposed: sighted.exposed,
            is_stale: sighted.is_stale,
        }
    }
}

#[cfg(feature = "ring")]
impl ScopeSeen {
    pub(super) fn of(sighted: crate::key::SightedScope, loggable: &[Box<str>]) -> Self {
        let mut values_of = sighted.values_of.iter();
        let is_loggable = |key: &String| loggable.iter().any(|loggable| **loggable == **key);
        // Of which template it is, somebody must know.
        let may_show = sighted.template.is_some() && values_of.all(is_loggable);
        Self {
            shown: may_show.then_some(sighted.scope),
            template: sighted.template,
            digest: sighted.digest,
        }
    }
}
