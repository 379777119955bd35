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
    pub(super) revision: u64,
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
    pub(super) fn of(sighted: crate::key::Sighted, loggable: &[Box<str>]) -> Self {
        Self {
            id: sighted.ring,
            revision: sighted.revision,
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
