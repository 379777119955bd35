//! The branch keys that are open: 32 bytes each, in the memory of this process.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use lru::LruCache;

use super::managers::{OPENING, lock};
use super::single::Single;
use crate::key::{KeyManager, Purpose, Request};
use crate::ring::branch::{Asking, BranchKek, Place};
use crate::ring::witness::{Act, Deed, Witnessed, witnessed};
use crate::ring::{KeyRecord, RecordId, Scope};
use crate::runtime::{Monotonic, Runtime, with_timeout};
use crate::value::error::{Error, Result};

/// How often those that are too old are looked for, at most.
const SWEEP: Duration = Duration::from_secs(1);

/// Branch keys, unwrapped when they are first used, each once at a time, and kept for the age of a lease. None is kept of a scope that is not
/// loaded: nobody would hear that it was revoked.
pub(super) struct Branches {
    ring: RecordId,
    runtime: Arc<dyn Runtime>,
    held: Arc<Mutex<Held>>,
    opening: Single<RecordId, Arc<dyn KeyManager>>,
    /// Who is told of the KEKs that the ring asks by itself.
    pub(super) witness: OnceLock<Arc<Witnessed>>,
}

struct Held {
    open: LruCache<RecordId, Opened>,
    /// What may be kept: the branch keys of the scopes that are loaded, without those that are no longer used.
    in_use: HashMap<Scope, Vec<RecordId>>,
    swept: Monotonic,
}

struct Opened {
    manager: Arc<dyn KeyManager>,
    until: Monotonic,
}

/// What lets a branch key be kept, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) enum Allowed {
    /// Its scope is loaded, and its state lets it be used.
    InUse(Duration),
    /// An approval, whatever its state.
    Approved(Duration),
}

/// For whom a key is opened, and what for: of those who wait for it, the first one.
#[derive(Clone, Debug)]
pub(super) struct Asker {
    purpose: Purpose,
    actor: Option<String>,
}

impl Asker {
    pub(super) fn of(request: &Request<'_>) -> Self {
        Self {
            purpose: request.purpose(),
            actor: request.actor().map(str::to_owned),
        }
    }
}

impl Branches {
    pub(super) fn new(ring: RecordId, runtime: Arc<dyn Runtime>, most: NonZeroUsize) -> Self {
        let held = Held {
            open: LruCache::new(most),
            in_use: HashMap::new(),
            swept: runtime.now(),
        };
        Self {
            ring,
            runtime,
            held: Arc::new(Mutex::new(held)),
            opening: Single::default(),
            witness: OnceLock::new(),
        }
    }

    /// The manager of a branch key, if it is open and not too old.
    pub(super) fn at_hand(&self, key: RecordId) -> Option<Arc<dyn KeyManager>> {
        let now = self.runtime.now();
        let mut held = lock(&self.held);
        held.sweep_at_times(now);
        if held.open.peek(&key).is_some_and(|opened| now >= opened.until) {
            held.open.pop(&key);
        }
        held.open.get(&key).map(|opened| Arc::clone(&opened.manager))
    }

    /// Keeps a branch key, if it is in use.
    pub(super) fn keep(&self, scope: &Scope, key: RecordId, kek: &BranchKek, age: Duration) {
        let now = self.runtime.now();
        lock(&self.held).keep(scope, key, kek, (now, Allowed::InUse(age)));
    }

    /// Unwraps a branch key by its parent, one call for all who want it, unless it is open.
    pub(super) async fn of(
        &self,
        key: &Arc<KeyRecord>,
        parent: (&Arc<KeyRecord>, Arc<dyn KeyManager>),
        allowed: Allowed,
        asker: &Asker,
    ) -> Result<Arc<dyn KeyManager>> {
        let work = || {
            let Asker { purpose, actor } = asker.clone();
            let (ring, runtime, held) = (self.ring, Arc::clone(&self.runtime), Arc::clone(&self.held));
            let (key, parent, manager) = (Arc::clone(key), Arc::clone(parent.0), parent.1);
            let witness = self.witness.get().cloned();
            let work = async move {
                let Some(branch) = &key.branch else {
                    return Err(Error::argument("the key is no branch key"));
                };
                let asking = Asking {
                    parent: &parent,
                    manager: &*manager,
                    purpose,
                    deadline: Some(runtime.now() + OPENING),
                };
                let place = Place {
                    ring,
                    scope: &key.scope,
                    key: key.id,
                };
                // Its age begins before the call.
                let begun = runtime.now();
                let revision = witness.as_ref().and_then(|witness| witness.decided_by());
                let deed = |begun| {
                    let mut deed = Deed::new(Act::Unwrap(purpose), ring, begun)
                        .by_kek(&parent)
                        .of_branch(key.id, &key.scope)
                        .at(revision);
                    deed.actor = actor;
                    deed
                };
                let unwrap = with_timeout(&*runtime, Some(OPENING), asking.unwrap(branch, place));
                let unwrapped = witnessed(witness.as_deref(), deed, unwrap, || None).await?;
                // It may have been revoked meanwhile.
                Ok(lock(&held).keep(&key.scope, key.id, &unwrapped, (begun, allowed)))
            };
            Box::pin(work) as _
        };
        self.opening.join(&key.id, work).await
    }

    /// Wipes the branch keys of a scope, but for these.
    pub(super) fn keep_only(&self, scope: &Scope, in_use: &[RecordId]) {
        let mut held = lock(&self.held);
        let former = match in_use.is_empty() {
            true => held.in_use.remove(scope),
            false => held.in_use.insert(scope.clone(), in_use.to_vec()),
        };
        for key in former.into_iter().flatten().filter(|key| !in_use.contains(key)) {
            held.open.pop(&key);
        }
    }

    /// Wipes one that is no longer used, also one that was opened by an approval.
    pub(super) fn end(&self, key: RecordId) {
        lock(&self.held).open.pop(&key);
    }

    /// Wipes all.
    pub(super) fn clear(&self) {
        let mut held = lock(&self.held);
        held.open.clear();
        held.in_use.clear();
    }

    /// Wipes those that are too old.
    pub(super) fn sweep(&self) {
        lock(&self.held).sweep(self.runtime.now());
    }

    pub(super) fn count(&self) -> usize {
        lock(&self.held).open.len()
    }
}

impl Held {
    fn keep(
        &mut self,
        scope: &Scope,
        key: RecordId,
        kek: &BranchKek,
        (begun, allowed): (Monotonic, Allowed),
    ) -> Arc<dyn KeyManager> {
        self.sweep_at_times(begun);
        let manager: Arc<dyn KeyManager> = Arc::new(kek.manager(key));
        let age = match allowed {
            Allowed::Approved(age) => Some(age),
            Allowed::InUse(age) => {
                let keys = self.in_use.get(scope);
                keys.is_some_and(|keys| keys.contains(&key)).then_some(age)
            }
        };
        if let Some(age) = age {
            let opened = Opened {
                manager: Arc::clone(&manager),
                until: begun + age,
            };
            self.open.push(key, opened);
        }
        manager
    }

    fn sweep_at_times(&mut self, now: Monotonic) {
        if now >= self.swept + SWEEP {
            self.sweep(now);
        }
    }

    fn sweep(&mut self, now: Monotonic) {
        self.swept = now;
        let open = self.open.iter();
        let old = open
            .filter(|(_, opened)| now >= opened.until)
            .map(|(key, _)| *key);
        let old: Vec<RecordId> = old.collect();
        for key in old {
            self.open.pop(&key);
        }
    }
}
