//! What is known of a ring, and until when it counts.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Duration;

use lru::LruCache;

use super::key::Key;
use super::keys::{Changes, ScopeKeys};
use super::settle::Seen;
use crate::message::Pulse;
use crate::ring::{KeyRecord, Mark, Scope, Settings, Time, View};
use crate::runtime::Monotonic;
use crate::value::error::{Error, ErrorKind};

/// What the keys of a scope are wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    Seal,
    Open,
}

pub(super) struct State {
    pub(super) settings: Arc<Settings>,
    /// How far behind the newest change what was read may be.
    pub(super) behind: Duration,
    /// The newest head that was verified.
    pub(super) mark: Mark,
    /// When the ring came to that.
    pub(super) changed: Time,
    pub(super) head_read: Monotonic,
    /// When the inventory was last found to be as it is known here.
    pub(super) confirmed: Monotonic,
    pub(super) scopes: LruCache<Scope, Entry>,
    pub(super) seen: Seen,
    /// Which scope serves those that have never had a key, if the settings allow it.
    pub(super) otherwise: Option<Scope>,
    /// Scopes that had no key, at which revision, and when that was read.
    pub(super) absent: LruCache<Scope, (u64, Monotonic)>,
    /// Why the last attempt to read the inventory failed.
    pub(super) failed: Option<Error>,
    pub(super) attempted: Monotonic,
}

pub(super) struct Entry {
    pub(super) keys: Arc<ScopeKeys>,
    /// The newest revision at which these are known to be the keys.
    pub(super) as_of: u64,
    /// Why what the inventory holds of it now is not used.
    pub(super) bad: Option<Error>,
}

impl State {
    /// The scope that serves where there is no key, if these settings allow it.
    pub(super) fn allowed(&self, settings: &Settings) -> Option<&Scope> {
        let scope = self.otherwise.as_ref();
        scope.filter(|scope| settings.otherwise.contains(scope))
    }

    /// Takes over what a view shows of a scope. Returns the one that had to make room for it.
    pub(super) fn publish(
        &mut self,
        view: &View,
        scope: &Scope,
        begun: Monotonic,
        changes: &mut Vec<(Scope, Changes)>,
    ) -> Option<Scope> {
        let former = self.scopes.peek(scope);
        // A first key comes without a new revision, so whoever read before it may publish after it. At one revision keys are added, and none goes.
        let is_older = |former: &Entry| match former.as_of.cmp(&view.revision()) {
            Ordering::Greater => true,
            Ordering::Equal => !former.keys.is_vacant && view.is_vacant(scope),
            Ordering::Less => false,
        };
        if former.is_some_and(is_older) {
            return None;
        }
        let former = former.map(|entry| Arc::clone(&entry.keys));
        let (seals, opens) = match &former {
            Some(former) => (former.seals.clone(), former.opens.clone()),
            None => (Pulse::until(begun), Pulse::until(begun)),
        };
        let mut keys = ScopeKeys::new(view, scope, seals, opens);
        let serves = self.allowed(view.settings()).is_some();
        if serves && !keys.may_be_served() && former.as_ref().is_some_and(|former| former.may_be_served()) {
            // What another scope has opened for this one ends: nobody prolongs the former pulses anymore.
            (keys.seals, keys.opens) = (Pulse::until(begun), Pulse::until(begun));
        }
        let keys = Arc::new(keys);
        keys.warn_of_exposed(former.as_deref());
        if let Some(former) = &former {
            changes.push((scope.clone(), keys.changes_since(former)));
        }
        // One that another scope serves is watched like any other: it may get a key.
        if keys.is_empty() && !(serves && keys.is_vacant) {
            self.scopes.pop(scope);
            self.absent.put(scope.clone(), (view.revision(), begun));
            return None;
        }
        keys.prolong(view.settings(), begun, self.behind);
        let entry = Entry {
            keys,
            as_of: view.revision(),
            bad: None,
        };
        match self.scopes.peek_mut(scope) {
            Some(there) => {
                *there = entry;
                None
            }
            None => self.scopes.push(scope.clone(), entry).map(|(dropped, _)| dropped),
        }
    }
}

impl ScopeKeys {
    /// Says once that what is sealed from now on is exposed.
    fn warn_of_exposed(&self, former: Option<&Self>) {
        for (key, parent) in self.exposed_active() {
            let is_same =
                |(known, by): (&Arc<Key>, &Arc<KeyRecord>)| known.id == key.id && by.id == parent.id;
            if !former.is_some_and(|former| former.exposed_active().any(is_same)) {
                tracing::warn!(
                    key = %key.id,
                    scope = %key.scope,
                    revoked = %parent.id,
                    "a branch key that seals is exposed, since a key that it was wrapped under was revoked: rotate it (`waxseal keys tick`)"
                );
            }
        }
    }

    pub(super) fn prolong(&self, settings: &Settings, begun: Monotonic, behind: Duration) {
        for (need, pulse) in [(Need::Seal, &self.seals), (Need::Open, &self.opens)] {
            pulse.prolong(begun + need.max_stale(settings, behind));
        }
    }
}

impl Need {
    pub(super) fn pulse(self, keys: &ScopeKeys) -> &Pulse {
        match self {
            Self::Seal => &keys.seals,
            Self::Open => &keys.opens,
        }
    }

    /// For how long what was read counts: it may have been that much behind already.
    pub(super) fn max_stale(self, settings: &Settings, behind: Duration) -> Duration {
        let longest = match self {
            Self::Seal => settings.max_stale.at_most(),
            Self::Open => settings.max_stale_open.at_most(),
        };
        longest.saturating_sub(behind)
    }
}

pub(super) fn no_key(scope: &Scope) -> Error {
    Error::new(ErrorKind::NoKeyForScope).with_detail(format!("the ring has no key of scope {scope}"))
}
