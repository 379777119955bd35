//! One piece of work that several tasks wait for.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use super::sync::Mutex;

/// The work. It belongs to no task, so whoever waits can drive it.
pub(crate) type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Work under way, driven by all who wait for it: whoever is polled polls the work, and when the work wakes, all are
/// woken. So it goes on while any of them is alive and polled, with the very same call to the key manager, and a task
/// that was dropped, or that nobody polls any more, holds up nobody. The price is a wake-up of each for each of the
/// work's own.
pub(crate) struct Flight<T>(Mutex<State<T>>);

struct State<T> {
    progress: Progress<T>,
    /// By number of the one who waits.
    wakers: BTreeMap<u64, Waker>,
}

enum Progress<T> {
    Resting(Work<T>),
    /// One of those who wait is inside of the work now.
    Polled {
        woken: bool,
    },
    Landed(T),
    /// The work panicked, or everybody has left.
    Lost,
}

impl<T: Clone + Send + 'static> Flight<T> {
    pub(crate) fn new(work: Work<T>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            progress: Progress::Resting(work),
            wakers: BTreeMap::new(),
        })))
    }

    /// What the work gave; `None` where it never will, because it panicked.
    pub(crate) fn poll(self: &Arc<Self>, waiter: u64, context: &mut Context<'_>) -> Poll<Option<T>> {
        // Dropped outside the lock: either may be the last to hold a task.
        let (waker, _former);
        waker = context.waker().clone();
        let mut work = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match &state.progress {
                Progress::Landed(value) => return Poll::Ready(Some(value.clone())),
                Progress::Lost => return Poll::Ready(None),
                Progress::Resting(_) | Progress::Polled { .. } => {}
            }
            _former = state.wakers.insert(waiter, waker);
            match std::mem::replace(&mut state.progress, Progress::Polled { woken: false }) {
                Progress::Resting(work) => work,
                // It is polled elsewhere, and whoever does that wakes this one.
                polled => {
                    state.progress = polled;
                    return Poll::Pending;
                }
            }
        };
        let unless = LostUnlessPolled(self);
        let waker = Waker::from(Arc::clone(self));
        let polled = work.as_mut().poll(&mut Context::from_waker(&waker));
        std::mem::forget(unless);
        match polled {
            Poll::Ready(value) => {
                self.end(Progress::Landed(value.clone()));
                Poll::Ready(Some(value))
            }
            Poll::Pending => {
                let wakers = {
                    let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                    let woken = matches!(state.progress, Progress::Polled { woken: true });
                    state.progress = Progress::Resting(work);
                    woken.then(|| std::mem::take(&mut state.wakers))
                };
                wake(wakers.unwrap_or_default());
                Poll::Pending
            }
        }
    }

    /// Whether its end is still to come.
    pub(crate) fn is_under_way(&self) -> bool {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(state.progress, Progress::Resting(_) | Progress::Polled { .. })
    }

    /// One that waited has left.
    pub(crate) fn leave(&self, waiter: u64) {
        let waker = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            state.wakers.remove(&waiter)
        };
        // Outside the lock: it may be the last to hold a task.
        drop(waker);
    }

    /// The work, to be dropped, when nobody waits any more.
    pub(crate) fn abandon(&self) -> Option<Work<T>> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut state.progress, Progress::Lost) {
            Progress::Resting(work) => Some(work),
            ended => {
                state.progress = ended;
                None
            }
        }
    }

    fn end(&self, progress: Progress<T>) {
        let wakers = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            state.progress = progress;
            std::mem::take(&mut state.wakers)
        };
        wake(wakers);
    }
}

/// Outside of all locks: a waker may do anything.
fn wake(wakers: BTreeMap<u64, Waker>) {
    wakers.into_values().for_each(Waker::wake);
}

impl<T: Clone + Send + 'static> Wake for Flight<T> {
    fn wake(self: Arc<Self>) {
        let wakers = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if let Progress::Polled { woken } = &mut state.progress {
                *woken = true;
                return;
            }
            std::mem::take(&mut state.wakers)
        };
        wake(wakers);
    }
}

/// Work that panics takes the task along that polled it, and no other: the others are told, and ask again.
struct LostUnlessPolled<'f, T: Clone + Send + 'static>(&'f Flight<T>);

impl<T: Clone + Send + 'static> Drop for LostUnlessPolled<'_, T> {
    fn drop(&mut self) {
        self.0.end(Progress::Lost);
    }
}
