//! What a ring knows about a request, for an event about it. Nothing is read for it.

use std::sync::Arc;

use super::KeyRing;
use super::core::Core;
use super::keys::ScopeKeys;
use super::state::Need;
use super::to_kek;
use crate::envelope::WrapSection;
use crate::key::{Purpose, Request, Sighted};
use crate::ring::witness::{Witness, Witnessed};

impl Core {
    /// What is known by these keys. `revision` is the one that they were chosen at.
    pub(super) fn sighted(
        &self,
        request: &Request<'_>,
        wraps: Option<WrapSection<'_>>,
        keys: Option<&ScopeKeys>,
        revision: u64,
    ) -> Sighted {
        let template = &self.settings().scope_template;
        let scope = template.scope_of(request.context()).ok();
        let all = keys.iter().flat_map(|keys| keys.keys());
        let exposed = keys
            .iter()
            .flat_map(|keys| wraps.into_iter().flat_map(|wraps| keys.exposed(wraps)));
        Sighted {
            ring: self.trust.ring().to_string(),
            revision,
            keys: all.map(|key| (to_kek(key), key.id.to_string())).collect(),
            exposed: exposed.map(|key| key.id.to_string()).collect(),
            scope: scope.map(|scope| scope.sighted(Some(template))),
            is_stale: keys.is_some_and(|keys| Need::Seal.pulse(keys).check(self.runtime.now()).is_err()),
        }
    }
}

impl KeyRing {
    /// What is known before anything is read. `None` in a forked process.
    pub(crate) fn known_of(&self, request: &Request<'_>, wraps: Option<WrapSection<'_>>) -> Option<Sighted> {
        let core = &self.0;
        core.check_process().ok()?;
        let need = match request.purpose() {
            Purpose::Open => Need::Open,
            _ => Need::Seal,
        };
        let revision = core.revision();
        let keys = core.keys_at_hand(request, need, wraps).ok().flatten();
        Some(core.sighted(request, wraps, keys.as_deref(), revision))
    }

    /// Tells this witness of the KEKs that the ring asks by itself, unless another one is told.
    pub(crate) fn witnessed_by(&self, witness: Arc<dyn Witness>) {
        let witnessed = Witnessed::by(witness);
        witnessed.knows(&self.0.settings().scope_template);
        witnessed.decides_by(self.0.revision());
        // The first one stays.
        let _ = self.0.managers.branches.witness.set(Arc::new(witnessed));
    }
}
