//! One piece of work for all who want the same.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};

use crate::source::flight::{Flight, Work};
use crate::value::error::{Error, ErrorKind, Result};

/// What work returns, so that each of those who wait for it gets a copy.
type Landing<T> = std::result::Result<T, Arc<Error>>;

/// Work under way, by what it is for. Each piece is driven by those who wait for it, and dropped with the last of them.
pub(in crate::ring) struct Single<K, T> {
    under_way: Mutex<HashMap<K, Weak<Flight<Landing<T>>>>>,
    next: AtomicU64,
}

impl<K, T> Default for Single<K, T> {
    fn default() -> Self {
        Self {
            under_way: Mutex::default(),
            next: AtomicU64::new(0),
        }
    }
}

impl<K: Clone + Eq + Hash, T: Clone + Send + 'static> Single<K, T> {
    /// Waits for the work that is under way for `key`, or else begins `work`.
    pub(in crate::ring) async fn join(
        &self,
        key: &K,
        work: impl FnOnce() -> Pin<Box<dyn Future<Output = Result<T>> + Send>>,
    ) -> Result<T> {
        let flight = {
            let mut under_way = self.lock();
            let there = under_way.get(key).and_then(Weak::upgrade);
            match there.filter(|flight| flight.is_under_way()) {
                Some(flight) => flight,
                None => {
                    under_way.retain(|_, flight| flight.strong_count() > 0);
                    let work = work();
                    let landing: Work<Landing<T>> = Box::pin(async move { work.await.map_err(Arc::new) });
                    let flight = Flight::new(landing);
                    under_way.insert(key.clone(), Arc::downgrade(&flight));
                    flight
                }
            }
        };
        let waiter = self.next.fetch_add(1, Ordering::Relaxed);
        match (Ticket { flight, waiter }).await {
            Some(landing) => landing.map_err(|error| error.copy()),
            None => Err(Error::new(ErrorKind::Unavailable).with_detail("the work for it panicked")),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, Weak<Flight<Landing<T>>>>> {
        // Each change is one call of the map: nothing is half done.
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K, T> fmt::Debug for Single<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Single").finish_non_exhaustive()
    }
}

struct Ticket<T: Clone + Send + 'static> {
    flight: Arc<Flight<T>>,
    waiter: u64,
}

impl<T: Clone + Send + 'static> Future for Ticket<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        self.flight.poll(self.waiter, context)
    }
}

impl<T: Clone + Send + 'static> Drop for Ticket<T> {
    fn drop(&mut self) {
        self.flight.leave(self.waiter);
    }
}
