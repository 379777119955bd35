//! The KEKs that are open.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lru::LruCache;

use super::single::Single;
use crate::key::KeyManager;
use crate::ring::{Backends, Provenance};
use crate::runtime::{Runtime, with_timeout};
use crate::value::error::Result;

/// How many KEKs stay open.
const MOST: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();

/// How long opening one may take.
const OPENING: Duration = Duration::from_secs(30);

/// Opens KEKs when they are first used, each once at a time, and keeps them.
pub(super) struct Managers {
    backends: Arc<dyn Backends>,
    runtime: Arc<dyn Runtime>,
    open: Arc<Mutex<LruCache<Provenance, Arc<dyn KeyManager>>>>,
    opening: Single<Provenance, Arc<dyn KeyManager>>,
}

impl Managers {
    pub(super) fn new(backends: Arc<dyn Backends>, runtime: Arc<dyn Runtime>) -> Self {
        Self {
            backends,
            runtime,
            open: Arc::new(Mutex::new(LruCache::new(MOST))),
            opening: Single::default(),
        }
    }

    /// The manager of a KEK, if it is open.
    pub(super) fn at_hand(&self, provenance: &Provenance) -> Option<Arc<dyn KeyManager>> {
        lock(&self.open).get(provenance).cloned()
    }

    /// The manager of a KEK, pinned to its version.
    ///
    /// # Errors
    /// Those of [`Backends::key`]; `TimedOut`.
    pub(super) async fn of(&self, provenance: &Provenance) -> Result<Arc<dyn KeyManager>> {
        if let Some(manager) = self.at_hand(provenance) {
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change is one call of the map: nothing is half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Managers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Managers")
            .field("backends", &self.backends)
            .field("open", &lock(&self.open).len())
            .finish_non_exhaustive()
    }
}
