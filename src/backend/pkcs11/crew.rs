//! Threads that wait for a module.
//!
//! PKCS#11 blocks, and nothing can interrupt a module. So calls run on separate threads, never on the caller's thread, and
//! a caller waits by a timer that neither the module nor a runtime can stop. If a call is in the module for
//! longer than the limit, it is given up, and another thread takes its place. The number of such calls is bounded.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_channel::oneshot;

use crate::runtime::{Monotonic, Runtime, ThreadRuntime};
use crate::value::entropy::generation;
use crate::value::error::{Error, ErrorKind, Result};

/// After this many given-up calls the module is not used anymore.
pub(super) const HUNG_MAX: usize = 16;
/// How long a thread without work waits before it ends.
const LINGER: Duration = Duration::from_secs(10);

/// How long a client that is dropped waits for its module.
pub(super) const CLOSING: Duration = Duration::from_secs(1);

/// The threads of one client.
pub(super) struct Crew(Arc<Shared>);

struct Shared {
    /// The maximum number of calls at once.
    size: usize,
    /// How long a call may be in the module before it is given up.
    limit: Duration,
    /// The generation of the process. The threads exist only in it.
    generation: u64,
    state: Mutex<State>,
    work: Condvar,
    /// Signals that a call has returned after the client was dropped.
    ended: Condvar,
}

#[derive(Default)]
struct State {
    next: u64,
    /// Calls that have not begun. The oldest is first.
    queue: BTreeMap<u64, Job>,
    running: HashMap<u64, Running>,
    /// The number of threads that work or wait for work, without those that were given up.
    threads: usize,
    idle: usize,
    /// Whether a task watches for calls that are in the module for too long.
    is_watched: bool,
    is_closed: bool,
}

struct Job {
    work: Box<dyn FnOnce() + Send>,
    hung: Arc<AtomicUsize>,
}

struct Running {
    until: Monotonic,
    is_given_up: bool,
    hung: Arc<AtomicUsize>,
}

impl Crew {
    pub(super) fn new(size: usize, limit: Duration) -> Self {
        Self(Arc::new(Shared {
            size,
            limit,
            generation: generation(),
            state: Mutex::default(),
            work: Condvar::new(),
            ended: Condvar::new(),
        }))
    }

    /// Runs `work` on one of the threads. `hung` counts the calls into its module that were given up.
    ///
    /// # Errors
    /// `Unavailable`, not retryable, if too many calls have hung in the module; `Unavailable` if the operating system
    /// cannot start a thread.
    pub(super) fn run<T: Send + 'static>(
        &self,
        hung: &Arc<AtomicUsize>,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<Answer<T>> {
        if hung.load(Ordering::Acquire) >= HUNG_MAX {
            return Err(hangs());
        }
        let (sender, receiver) = oneshot::channel();
        let job = Job {
            work: Box::new(move || {
                let result = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(panicked()));
                // If this fails, nobody waits anymore.
                let _ = sender.send(result);
            }),
            hung: Arc::clone(hung),
        };
        let mut state = self.0.state();
        let id = state.next;
        state.next += 1;
        state.queue.insert(id, job);
        let is_manned = Shared::man(&self.0, &mut state);
        drop(state);
        // Dropping it takes the job back.
        let answer = Answer {
            id,
            shared: Arc::clone(&self.0),
            receiver,
        };
        if is_manned {
            return Ok(answer);
        }
        Err(Error::new(ErrorKind::Unavailable)
            .with_detail("the operating system cannot start a thread for a PKCS#11 call"))
    }
}

impl Drop for Crew {
    /// Waits a short time for calls that nobody awaits anymore: a program that ends while a thread is in a module may crash
    /// while the module cleans up.
    fn drop(&mut self) {
        // After a fork these threads do not exist.
        if self.0.generation != generation() {
            return;
        }
        let mut state = self.0.state();
        state.is_closed = true;
        self.0.work.notify_all();
        let until = ThreadRuntime.now() + CLOSING;
        while state.running.values().any(|running| !running.is_given_up) {
            let left = until.0.saturating_sub(ThreadRuntime.now().0);
            if left.is_zero() {
                break;
            }
            let waited = self.0.ended.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// The answer of a call. If it is dropped before the call begins, the call never begins.
pub(super) struct Answer<T> {
    id: u64,
    shared: Arc<Shared>,
    receiver: oneshot::Receiver<Result<T>>,
}

impl<T> Future for Answer<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.receiver).poll(task).map(|answer| {
            answer.unwrap_or_else(|_| {
                Err(Error::new(ErrorKind::Unavailable).with_detail("a PKCS#11 call was lost with its thread"))
            })
        })
    }
}

impl<T> Drop for Answer<T> {
    fn drop(&mut self) {
        // After a fork, a thread that does not exist may hold a lock.
        if self.shared.generation != generation() {
            return;
        }
        let job = self.shared.state().queue.remove(&self.id);
        // Without the lock, because dropping the job may run other code.
        drop(job);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes sure that a thread works on the queue. Returns `false` if there is none and none can start.
    fn man(shared: &Arc<Self>, state: &mut State) -> bool {
        if state.idle > 0 {
            shared.work.notify_one();
            // An idle thread takes one job, and may already be needed for another job.
            if state.idle >= state.queue.len() {
                return true;
            }
        }
        if state.threads < shared.size {
            let of_its_own = Arc::clone(shared);
            let thread = std::thread::Builder::new().name("waxseal-pkcs11".to_owned());
            if thread.spawn(move || Self::work(&of_its_own)).is_ok() {
                state.threads += 1;
            }
        }
        state.threads > 0
    }

    fn work(shared: &Arc<Self>) {
        let mut state = shared.state();
        loop {
            let Some((id, job)) = state.queue.pop_first() else {
                if state.is_closed {
                    break;
                }
                state.idle += 1;
                let waited = shared.work.wait_timeout(state, LINGER);
                let (woken, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                state = woken;
                state.idle -= 1;
                if timeout.timed_out() && state.queue.is_empty() {
                    break;
                }
                continue;
            };
            let running = Running {
                until: ThreadRuntime.now() + shared.limit,
                is_given_up: false,
                hung: job.hung,
            };
            state.running.insert(id, running);
            let must_watch = !std::mem::replace(&mut state.is_watched, true);
            drop(state);
            if must_watch {
                Self::watch(shared);
            }
            (job.work)();
            state = shared.state();
            if state.is_closed {
                shared.ended.notify_all();
            }
            if let Some(running) = state.running.remove(&id)
                && running.is_given_up
            {
                running.hung.fetch_sub(1, Ordering::AcqRel);
                // Another thread has taken the place of this thread.
                return;
            }
        }
        state.threads -= 1;
    }

    /// Watches the calls and gives up late ones, as long as a call is in the module.
    fn watch(shared: &Arc<Self>) {
        let shared = Arc::clone(shared);
        ThreadRuntime.spawn(Box::pin(async move {
            while let Some(pause) = Self::give_up(&shared) {
                ThreadRuntime.sleep(pause).await;
            }
        }));
    }

    /// Gives up the calls that are in the module for too long. Returns when to check again, or `None` if no call is in the
    /// module.
    fn give_up(shared: &Arc<Self>) -> Option<Duration> {
        let now = ThreadRuntime.now();
        let mut state = shared.state();
        let mut given_up = 0;
        for running in state.running.values_mut() {
            if running.until <= now && !running.is_given_up {
                running.is_given_up = true;
                running.hung.fetch_add(1, Ordering::AcqRel);
                given_up += 1;
            }
        }
        state.threads = state.threads.saturating_sub(given_up);
        for _ in 0..given_up.min(state.queue.len()) {
            // If no thread can start, callers get an error at their deadline.
            let _ = Self::man(shared, &mut state);
        }
        let others = state.running.values().filter(|running| !running.is_given_up);
        let next = others.map(|running| running.until).min();
        state.is_watched = next.is_some();
        // The clock is coarse: check a little later.
        next.map(|next| next.0.saturating_sub(now.0) + Duration::from_millis(5))
    }
}

fn hangs() -> Error {
    Error::new(ErrorKind::Unavailable)
        .with_retryable(false)
        .with_detail(format!(
            "{HUNG_MAX} calls into the PKCS#11 module have not returned; restart this process"
        ))
}

fn panicked() -> Error {
    Error::new(ErrorKind::InvalidAnswer)
        .with_detail("the PKCS#11 client library panicked on an answer of the module")
}

#[cfg(test)]
mod tests;
