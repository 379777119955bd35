//! Timers on a thread of our own: they fire whatever the caller's runtime does.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::per_process::PerProcess;
use crate::value::entropy;
use crate::value::error::{Error, ErrorKind, Result};

/// What a process has of timers: those that are set, and the thread that wakes.
#[derive(Clone)]
pub(crate) struct Timers(Arc<Shared>);

#[derive(Default)]
struct Shared {
    set: Mutex<Set>,
    /// There is an earlier first one.
    changed: Condvar,
}

#[derive(Default)]
struct Set {
    wakers: BTreeMap<(Instant, u64), Waker>,
    last: u64,
    is_over: bool,
}

impl Timers {
    /// Those of this process. A forked child has its own.
    ///
    /// # Errors
    /// `Unavailable` if there is no thread to be had.
    pub(crate) fn of_process() -> Result<Self> {
        static TIMERS: PerProcess<Timers> = PerProcess::new();
        TIMERS.get(Self::start, |lost| lost.0.stop()).cloned()
    }

    fn start() -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let watched = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("waxseal-timers".to_owned())
            .spawn(move || {
                while watched.wait() {
                    watched.wake_due();
                }
            })
            .map_err(|error| {
                Error::new(ErrorKind::Unavailable)
                    .with_detail("no thread for timers could be started")
                    .with_source(error)
            })?;
        Ok(Self(shared))
    }

    /// Completes after `duration`. Dropping it cancels it.
    pub(crate) fn sleep(&self, duration: Duration) -> Sleep {
        let now = Instant::now();
        Sleep {
            // Beyond what the clock can count, for ever would do: a century.
            at: now
                .checked_add(duration)
                .unwrap_or_else(|| now + Duration::from_secs(3_155_760_000)),
            id: None,
            timers: self.clone(),
            generation: entropy::generation(),
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Set> {
        // Nothing under it panics half-way.
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake_due(&self) {
        let now = Instant::now();
        let due = {
            let mut set = self.lock();
            let later = set.wakers.split_off(&(now, u64::MAX));
            std::mem::replace(&mut set.wakers, later)
        };
        // A waker is another's code: never under the lock, and its panic is not ours.
        for waker in due.into_values() {
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| waker.wake()));
        }
    }

    /// Until something may be due; false once it is over.
    fn wait(&self) -> bool {
        let set = self.lock();
        if set.is_over {
            return false;
        }
        let first = set.wakers.first_key_value().map(|((at, _), _)| *at);
        match first.map(|at| at.saturating_duration_since(Instant::now())) {
            Some(Duration::ZERO) => {}
            Some(left) => drop(self.changed.wait_timeout(set, left)),
            None => drop(self.changed.wait(set)),
        }
        true
    }

    fn stop(&self) {
        self.lock().is_over = true;
        self.changed.notify_all();
    }
}

/// A timer of [`Timers`].
pub(crate) struct Sleep {
    at: Instant,
    id: Option<u64>,
    timers: Timers,
    generation: u64,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<()> {
        // Behind a fork nobody wakes it, and its lock may be held for ever.
        if self.generation != entropy::generation() || Instant::now() >= self.at {
            return Poll::Ready(());
        }
        let shared = Arc::clone(&self.timers.0);
        let mut set = shared.lock();
        let id = *self.id.get_or_insert_with(|| {
            set.last += 1;
            set.last
        });
        let key = (self.at, id);
        set.wakers.insert(key, task.waker().clone());
        let is_first = set
            .wakers
            .first_key_value()
            .is_some_and(|(first, _)| *first == key);
        drop(set);
        if is_first {
            shared.changed.notify_one();
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(id) = self.id
            && self.generation == entropy::generation()
        {
            let removed = self.timers.0.lock().wakers.remove(&(self.at, id));
            // Another's code may run when it is dropped.
            drop(removed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timers() -> Timers {
        Timers::of_process().unwrap()
    }

    #[test]
    fn many_timers_fire_in_their_order_on_one_thread() {
        let order = Arc::new(Mutex::new(Vec::new()));
        let sleepers: Vec<_> = [120_u64, 40, 80]
            .map(|millis| {
                let (order, sleep) = (Arc::clone(&order), timers().sleep(Duration::from_millis(millis)));
                std::thread::spawn(move || {
                    pollster::block_on(sleep);
                    order.lock().unwrap().push(millis);
                })
            })
            .into();
        for sleeper in sleepers {
            sleeper.join().unwrap();
        }
        assert_eq!(*order.lock().unwrap(), [40, 80, 120]);
    }

    #[test]
    fn a_dropped_timer_is_forgotten_and_a_long_one_is_no_overflow() {
        let own = Timers::start().unwrap();
        let mut long = own.sleep(Duration::MAX);
        assert!(
            Pin::new(&mut long)
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_pending()
        );
        assert_eq!(own.0.lock().wakers.len(), 1);
        drop(long);
        assert!(own.0.lock().wakers.is_empty());
        own.0.stop();
    }

    #[test]
    fn a_waker_that_panics_ends_nobody_elses_timer() {
        struct Panics;
        impl std::task::Wake for Panics {
            fn wake(self: Arc<Self>) {
                std::panic::resume_unwind(Box::new("not ours"));
            }
        }
        let waker = Waker::from(Arc::new(Panics));
        let mut bad = timers().sleep(Duration::from_millis(5));
        assert!(
            Pin::new(&mut bad)
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        );
        pollster::block_on(timers().sleep(Duration::from_millis(30)));
        pollster::block_on(timers().sleep(Duration::from_millis(5)));
    }
}
