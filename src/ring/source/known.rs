//! What a ring knows about a request, for an event about it. Nothing is read for it.

use super::KeyRing;
use super::state::Need;
use super::to_kek;
use crate::envelope::{KekRef, WrapSection};
use crate::key::{Purpose, Request};
use crate::ring::{RecordId, Scope};

pub(crate) struct Known {
    pub(crate) ring: RecordId,
    pub(crate) revision: u64,
    /// `None` for a context that has no scope in the ring.
    pub(crate) scope: Option<Scope>,
    /// The keys of the scope, by KEK, as far as they are at hand.
    pub(crate) keys: Vec<(KekRef, String)>,
    /// Keys that the wraps name and that were compromised once.
    pub(crate) exposed: Vec<String>,
}

impl KeyRing {
    /// `None` in a forked process.
    pub(crate) fn known_of(&self, request: &Request<'_>, wraps: Option<WrapSection<'_>>) -> Option<Known> {
        let core = &self.0;
        core.check_process().ok()?;
        let scope = core.settings().scope_template.scope_of(request.context()).ok();
        let need = match request.purpose() {
            Purpose::Open => Need::Open,
            _ => Need::Seal,
        };
        let scope_keys = core.keys_at_hand(request, need, wraps).ok().flatten();
        let keys = scope_keys.iter().flat_map(|keys| keys.keys());
        let exposed = scope_keys
            .iter()
            .flat_map(|keys| wraps.into_iter().flat_map(|wraps| keys.exposed(wraps)));
        Some(Known {
            ring: core.trust.ring(),
            revision: core.revision(),
            keys: keys.map(|key| (to_kek(key), key.id.to_string())).collect(),
            exposed: exposed.map(|key| key.id.to_string()).collect(),
            scope,
        })
    }
}
