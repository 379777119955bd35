//! Contexts whose own scope has no key, and the wider scope that serves them.
//!
//! A process names the wider scope, and the signed settings have to allow it. Whether a scope has a key is proven by the signed tree, so an
//! inventory that hides one is refused, and nothing falls back because of it.

use std::collections::HashSet;
use std::sync::Arc;

use super::core::Core;
use super::keys::ScopeKeys;
use super::state::{Need, State, no_key};
use crate::envelope::WrapSection;
use crate::ring::{Scope, Settings};
use crate::runtime::Monotonic;
use crate::value::error::{Error, ErrorKind, Result};

impl Core {
    /// The wider scope that a request takes keys from, beside those of its own scope: to seal only if the scope has none, and to
    /// open also if a wrap is under no key that the scope knows.
    pub(super) fn wider(&self, own: &ScopeKeys, need: Need, wraps: Option<WrapSection<'_>>) -> Option<Scope> {
        let wider = {
            let state = self.lock();
            let settings = Arc::clone(&state.settings);
            // Where keys are made on first use, nothing is wrapped under a wider one instead: no tree proves that there is no such key.
            if need == Need::Seal && own.is_vacant && settings.provision.is_some() {
                return None;
            }
            state.allowed(&settings)?.clone()
        };
        let is_stranger = |wraps: WrapSection<'_>| {
            let mut stanzas = wraps.stanzas();
            stanzas.any(|stanza| {
                stanza.kek_id.is_empty() || !own.keks.iter().any(|kek| kek.may_have_wrapped(stanza))
            })
        };
        let is_wanted = own.is_vacant || wraps.is_some_and(is_stranger);
        (is_wanted && own.may_be_served() && wider != own.scope).then_some(wider)
    }

    /// The keys that serve: those of the scope alone, or those of the wider one with them. Or the scope that has to be read first.
    pub(super) fn served(
        &self,
        scope: &Scope,
        need: (Need, Option<Monotonic>),
        wraps: Option<WrapSection<'_>>,
    ) -> Result<std::result::Result<Arc<ScopeKeys>, Scope>> {
        let Some(own) = self.fresh(scope, need)? else {
            return Ok(Err(scope.clone()));
        };
        let Some(wider) = self.wider(&own, need.0, wraps) else {
            return Ok(Ok(own));
        };
        let keys = match self.fresh(&wider, need) {
            Ok(Some(keys)) => Some(keys).filter(|keys| !keys.is_vacant),
            Ok(None) => return Ok(Err(wider)),
            Err(error) if error.kind() == ErrorKind::NoKeyForScope => None,
            // The wider scope was shredded: the own keys go on.
            Err(error) if error.kind() == ErrorKind::KeyDestroyed && !own.is_vacant => None,
            Err(error) => return Err(error),
        };
        match keys {
            Some(keys) => Ok(Ok(Arc::new(own.served_by(&keys)))),
            None if own.is_vacant => Err(neither(scope, &wider)),
            // Its own keys may do: if not, the wrap is under no key that the ring knows.
            None => Ok(Ok(own)),
        }
    }
}

impl State {
    /// Whether the leases of a scope depend on those that were turned over: it is one of them, or is served by one.
    pub(super) fn served_by_any(
        &self,
        settings: &Settings,
        turned: &[&Scope],
    ) -> impl Fn(&Scope) -> bool + use<> {
        let serves = self
            .allowed(settings)
            .is_some_and(|wider| turned.contains(&wider));
        let own: HashSet<Scope> = match serves {
            false => HashSet::new(),
            true => {
                let own = self.scopes.iter().filter(|(_, entry)| !entry.keys.is_vacant);
                own.map(|(scope, _)| scope.clone()).collect()
            }
        };
        let turned: HashSet<Scope> = turned.iter().map(|scope| (*scope).clone()).collect();
        move |scope| turned.contains(scope) || (serves && !own.contains(scope))
    }
}

fn neither(scope: &Scope, wider: &Scope) -> Error {
    let error = no_key(scope);
    let detail = error.detail().unwrap_or_default();
    Error::new(ErrorKind::NoKeyForScope).with_detail(format!(
        "{detail}, nor one of scope {wider}, which serves where there is none"
    ))
}
