//! The KEKs that are open.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lru::LruCache;

use super::branches::{Allowed, Asker, Branches};
use super::key::Key;
use super::single::Single;
use crate::key::{KeyManager, Request};
use crate::ring::{Backends, KeyRecord, Provenance};
use crate::runtime::{Runtime, with_timeout};
use crate::value::error::Result;

/// How many KEKs stay open.
const MOST: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();

/// How long opening one may take.
pub(super) const OPENING: Duration = Duration::from_secs(30);

/// Opens KEKs when they are first used, each once at a time, and keeps them.
pub(super) struct Managers {
    backends: Arc<dyn Backends>,
    runtime: Arc<dyn Runtime>,
    open: Arc<Mutex<LruCache<Provenance, Arc<dyn KeyManager>>>>,
    opening: Single<Provenance, Arc<dyn KeyManager>>,
    pub(super) branches: Branches,
    /// For how long a branch key is kept, by the newest settings.
    age: Mutex<Duration>,
}

impl Managers {
    pub(super) fn new(backends: Arc<dyn Backends>, runtime: Arc<dyn Runtime>, branches: Branches) -> Self {
        Self {
            backends,
            branches,
            age: Mutex::default(),
            runtime,
            open: Arc::new(Mutex::new(LruCache::new(MOST))),
            opening: Single::default(),
        }
    }

    /// Keeps branch keys for so long, from now on.
    pub(super) fn set_age(&self, age: Duration) {
        *lock(&self.age) = age;
    }

    /// The manager of a key, if it is open.
    pub(super) fn at_hand(&self, key: &Key) -> Option<Arc<dyn KeyManager>> {
        match key.branch {
            Some(_) => self.branches.at_hand(key.id),
            None => lock(&self.open).get(&key.provenance).cloned(),
        }
    }

    /// The manager of a key, pinned to its version. A branch key is unwrapped by its parent for that, if it is not open.
    ///
    /// # Errors
    /// Those of [`Backends::key`]; `TimedOut`; for a branch key those of its parent, and `InventoryInvalid` if the ring does not have that one.
    pub(super) async fn of(&self, key: &Key, request: &Request<'_>) -> Result<Arc<dyn KeyManager>> {
        self.open_for(key, Allowed::InUse, &Asker::of(request)).await
    }

    /// The same by an approval that is valid for so long. A branch key that is unwrapped for this is kept for no longer, whatever its state.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub(super) async fn approved(
        &self,
        key: &Key,
        left: Duration,
        request: &Request<'_>,
    ) -> Result<Arc<dyn KeyManager>> {
        let allowed = |age| Allowed::Approved(left.min(age));
        self.open_for(key, allowed, &Asker::of(request)).await
    }

    async fn open_for(
        &self,
        key: &Key,
        allowed: impl FnOnce(Duration) -> Allowed,
        asker: &Asker,
    ) -> Result<Arc<dyn KeyManager>> {
        if let Some(manager) = self.at_hand(key) {
            return Ok(manager);
        }
        let (record, parent) = key.records()?;
        let Some(parent) = parent else {
            return self.of_record(record).await;
        };
        let manager = self.of_record(parent).await?;
        let age = *lock(&self.age);
        self.branches
            .of(record, (parent, manager), allowed(age), asker)
            .await
    }

    /// The manager of a KEK that a backend keeps, pinned to its version.
    pub(super) async fn of_record(&self, key: &KeyRecord) -> Result<Arc<dyn KeyManager>> {
        let provenance = &key.provenance;
        if let Some(manager) = lock(&self.open).get(provenance).cloned() {
            return Ok(manager);
        }
        let work = || {
            let (backends, open) = (Arc::clone(&self.backends), Arc::clone(&self.open));
            let runtime = Arc::clone(&self.runtime);
            let provenance = provenance.clone();
            let work = async move {
                let opening = backends.key(&provenance);
                let manager = with_timeout(&*runtime, Some(OPENING), opening).await?;
                lock(&open).put(provenance, Arc::clone(&manager));
                Ok(manager)
            };
            Box::pin(work) as _
        };
        self.opening.join(provenance, work).await
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change is one call of the map: nothing is half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Managers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Managers")
            .field("backends", &self.backends)
            .field("open", &lock(&self.open).len())
            .field("branch_keys", &self.branches.count())
            .finish_non_exhaustive()
    }
}
