//! The branch keys that are open: 32 bytes each, in the memory of this process.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use lru::LruCache;

use super::managers::{OPENING, lock};
use super::single::Single;
use crate::key::{KeyManager, Purpose};
use crate::ring::branch::{Asking, BranchKek, Place};
use crate::ring::witness::{Act, Deed, Witnessed, witnessed};
use crate::ring::{KeyRecord, RecordId};
use crate::runtime::{Monotonic, Runtime, with_timeout};
use crate::value::error::{Error, Result};

/// Branch keys, unwrapped when they are first used, each once at a time, and kept for the age of a lease.
pub(super) struct Branches {
    ring: RecordId,
    runtime: Arc<dyn Runtime>,
    open: Arc<Mutex<LruCache<RecordId, Opened>>>,
    opening: Single<RecordId, Arc<dyn KeyManager>>,
    /// Who is told of the KEKs that the ring asks by itself.
    pub(super) witness: OnceLock<Arc<Witnessed>>,
}

struct Opened {
    manager: Arc<dyn KeyManager>,
    until: Monotonic,
}

impl Branches {
    pub(super) fn new(ring: RecordId, runtime: Arc<dyn Runtime>, most: NonZeroUsize) -> Self {
        Self {
            ring,
            runtime,
            open: Arc::new(Mutex::new(LruCache::new(most))),
            opening: Single::default(),
            witness: OnceLock::new(),
        }
    }

    /// The manager of a branch key, if it is open and not too old.
    pub(super) fn at_hand(&self, key: RecordId) -> Option<Arc<dyn KeyManager>> {
        let now = self.runtime.now();
        let mut open = lock(&self.open);
        if open.peek(&key).is_some_and(|opened| now >= opened.until) {
            open.pop(&key);
        }
        open.get(&key).map(|opened| Arc::clone(&opened.manager))
    }

    /// Keeps a branch key for so long.
    pub(super) fn keep(&self, key: RecordId, kek: &BranchKek, age: Duration) -> Arc<dyn KeyManager> {
        keep(&self.open, key, kek, self.runtime.now() + age)
    }

    /// Unwraps a branch key by its parent, one call for all who want it, unless it is open.
    pub(super) async fn of(
        &self,
        key: &Arc<KeyRecord>,
        parent: (&Arc<KeyRecord>, Arc<dyn KeyManager>),
        age: Duration,
    ) -> Result<Arc<dyn KeyManager>> {
        let work = || {
            let (ring, runtime, open) = (self.ring, Arc::clone(&self.runtime), Arc::clone(&self.open));
            let (key, parent, manager) = (Arc::clone(key), Arc::clone(parent.0), parent.1);
            let witness = self.witness.get().cloned();
            let work = async move {
                let Some(branch) = &key.branch else {
                    return Err(Error::argument("the key is no branch key"));
                };
                let asking = Asking {
                    parent: &parent,
                    manager: &*manager,
                    purpose: Purpose::Open,
                    deadline: Some(runtime.now() + OPENING),
                };
                let place = Place {
                    ring,
                    scope: &key.scope,
                    key: key.id,
                };
                // Its age begins before the call.
                let until = runtime.now() + age;
                let deed = |begun| {
                    Deed::new(Act::Unwrap(Purpose::Open), ring, begun)
                        .by_kek(&parent)
                        .of_branch(key.id, &key.scope)
                };
                let unwrap = with_timeout(&*runtime, Some(OPENING), asking.unwrap(branch, place));
                let unwrapped = witnessed(witness.as_deref(), deed, unwrap, || None).await?;
                Ok(keep(&open, key.id, &unwrapped, until))
            };
            Box::pin(work) as _
        };
        self.opening.join(&key.id, work).await
    }

    /// Wipes those that are no longer used.
    pub(super) fn end(&self, key: RecordId) {
        lock(&self.open).pop(&key);
    }

    /// Wipes those that are too old.
    pub(super) fn sweep(&self) {
        let now = self.runtime.now();
        let mut open = lock(&self.open);
        let old: Vec<RecordId> = open
            .iter()
            .filter(|(_, opened)| now >= opened.until)
            .map(|(key, _)| *key)
            .collect();
        for key in old {
            open.pop(&key);
        }
    }

    pub(super) fn count(&self) -> usize {
        lock(&self.open).len()
    }
}

fn keep(
    open: &Mutex<LruCache<RecordId, Opened>>,
    key: RecordId,
    kek: &BranchKek,
    until: Monotonic,
) -> Arc<dyn KeyManager> {
    let manager: Arc<dyn KeyManager> = Arc::new(kek.manager(key));
    let opened = Opened {
        manager: Arc::clone(&manager),
        until,
    };
    lock(open).push(key, opened);
    manager
}
