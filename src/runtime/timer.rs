//! Time that passes whatever a runtime does: one thread for all sleeps of the process.
//!
//! A deadline that the runtime itself keeps does not fire when that runtime stands still. This timer uses a thread of the
//! standard library, started when the first sleep is polled, and wakes tasks of any runtime.

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::per_process::PerProcess;
use crate::value::entropy;

/// Completes after `duration`, on whatever runtime it is polled. Dropping it cancels it.
///
/// Time in which the machine sleeps does not count. In a forked child, a sleep of the parent goes on.
pub(crate) fn sleep(duration: Duration) -> Sleep {
    Sleep {
        end: Instant::now().checked_add(duration),
        place: None,
    }
}

/// See [`sleep`].
#[derive(Debug)]
#[must_use = "a sleep does nothing until it is polled"]
pub(crate) struct Sleep {
    /// `None` for a sleep that never ends.
    end: Option<Instant>,
    place: Option<Place>,
}

/// The place of a sleep in a timer.
#[derive(Debug)]
struct Place {
    timer: &'static Timer,
    number: u64,
}

#[derive(Debug)]
struct Timer {
    generation: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// By end and number.
    sleeps: BTreeMap<(Instant, u64), Waker>,
    next: u64,
    runs: bool,
}

static TIMERS: PerProcess<Timer> = PerProcess::new();

impl Timer {
    fn of_this_process() -> Option<&'static Self> {
        TIMERS.get_or_init(|generation| Self {
            generation,
            state: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is one call of the map: nothing is half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes `waker` at `end`. Returns `None` if no thread can be started.
    fn register(&'static self, end: Instant, number: Option<u64>, waker: &Waker) -> Option<u64> {
        let waker = waker.clone();
        // Dropped outside of the lock: it may be the last that holds a task.
        let _former;
        let (number, is_first) = {
            let mut state = self.lock();
            if !state.runs {
                let thread = std::thread::Builder::new().name("waxseal-timer".to_owned());
                thread.spawn(|| self.run()).ok()?;
                state.runs = true;
            }
            let number = number.unwrap_or_else(|| {
                state.next += 1;
                state.next
            });
            _former = state.sleeps.insert((end, number), waker);
            let first = state.sleeps.first_key_value().map(|(key, _)| *key);
            (number, first == Some((end, number)))
        };
        if is_first {
            self.changed.notify_one();
        }
        Some(number)
    }

    fn forget(&self, end: Instant, number: u64) {
        let waker = self.lock().sleeps.remove(&(end, number));
        drop(waker);
    }

    /// Wakes the sleeps that have ended, for as long as the process lives.
    fn run(&self) {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            let mut due = Vec::new();
            while let Some(first) = state.sleeps.first_entry()
                && first.key().0 <= now
            {
                due.push(first.remove());
            }
            if !due.is_empty() {
                drop(state);
                for waker in due {
                    // The waker is somebody else's code. If it panics, the others are woken all the same.
                    let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
                }
                state = self.lock();
                continue;
            }
            let first = state.sleeps.first_key_value().map(|((end, _), _)| *end);
            state = match first {
                Some(end) => {
                    let waited = self
                        .changed
                        .wait_timeout(state, end.saturating_duration_since(now));
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

impl Sleep {
    /// Returns the place in the timer of this process. What a parent's timer holds is left to the parent.
    fn place(&self) -> Option<&Place> {
        let place = self.place.as_ref()?;
        (place.timer.generation == entropy::generation()).then_some(place)
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Some(end) = self.end else {
            return Poll::Pending;
        };
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Poll::Ready(());
        }
        if let Some(timer) = Timer::of_this_process() {
            let number = self.place().map(|place| place.number);
            if let Some(number) = timer.register(end, number, context.waker()) {
                self.place = Some(Place { timer, number });
                return Poll::Pending;
            }
        }
        // In a long line of forks, this sleep gets a thread of its own. If no thread can be started, this thread waits,
        // rather than for ever.
        let waker = context.waker().clone();
        let thread = std::thread::Builder::new().name("waxseal-sleep".to_owned());
        let spawned = thread.spawn(move || {
            std::thread::sleep(left);
            waker.wake();
        });
        if spawned.is_ok() {
            return Poll::Pending;
        }
        std::thread::sleep(left);
        Poll::Ready(())
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let (Some(place), Some(end)) = (self.place(), self.end) {
            place.timer.forget(end, place.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    fn threads() -> usize {
        std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
    }

    #[test]
    fn thousands_of_sleeps_take_one_thread() {
        let mut context = Context::from_waker(Waker::noop());
        let mut sleeps: Vec<_> = (0..2000).map(|_| sleep(Duration::from_secs(3600))).collect();
        let before = threads();
        for sleep in &mut sleeps {
            assert!(Pin::new(sleep).poll(&mut context).is_pending());
        }
        // Other tests of this process come and go meanwhile.
        assert!(threads() < before + 100, "{} {before}", threads());
        let timer = Timer::of_this_process().unwrap();
        assert!(timer.lock().sleeps.len() >= 2000);
        let last = sleeps
            .last()
            .map(|sleep| (sleep.end.unwrap(), sleep.place().unwrap().number));
        drop(sleeps);
        assert!(!timer.lock().sleeps.contains_key(&last.unwrap()));
    }

    #[test]
    fn sleeps_end_in_their_time_and_one_that_panics_when_woken_stops_no_other() {
        struct Panics;
        impl Wake for Panics {
            fn wake(self: Arc<Self>) {
                panic!("woken");
            }
        }
        struct Counts(AtomicUsize, std::thread::Thread);
        impl Wake for Counts {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::SeqCst);
                self.1.unpark();
            }
        }
        let mut bad = sleep(Duration::from_millis(5));
        let panics = Waker::from(Arc::new(Panics));
        assert!(
            Pin::new(&mut bad)
                .poll(&mut Context::from_waker(&panics))
                .is_pending()
        );
        let counts = Arc::new(Counts(AtomicUsize::new(0), std::thread::current()));
        let waker = Waker::from(Arc::clone(&counts));
        let mut good = sleep(Duration::from_millis(20));
        while Pin::new(&mut good)
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
        {
            std::thread::park_timeout(Duration::from_secs(30));
        }
        assert_eq!(counts.0.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn one_that_never_ends_is_no_overflow() {
        let mut context = Context::from_waker(Waker::noop());
        assert!(
            Pin::new(&mut sleep(Duration::MAX))
                .poll(&mut context)
                .is_pending()
        );
        assert!(Pin::new(&mut sleep(Duration::ZERO)).poll(&mut context).is_ready());
    }
}
