//! A bounded number of threads for tasks and for work that blocks.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use super::BoxFuture;
use super::per_process::PerProcess;
use crate::value::entropy;

/// Threads that drive tasks.
const TASK_THREADS: usize = 4;
/// Threads on which work may block.
const BLOCKING_THREADS: usize = 64;
/// A thread that has had nothing to do for this long ends.
const IDLE: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce() + Send>;

/// Threads that start when there is work for them, and end when there is none.
struct Pool {
    generation: u64,
    name: &'static str,
    most: usize,
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

static TASKS: PerProcess<Pool> = PerProcess::new();
static BLOCKING: PerProcess<Pool> = PerProcess::new();

/// Runs a task to its end. A task that panics ends.
pub(super) fn spawn(task: BoxFuture<'static, ()>) {
    let Some(pool) = TASKS.get_or_init(|generation| Pool::new(generation, "waxseal-task", TASK_THREADS))
    else {
        // A line of many forks, see `PerProcess`.
        return spawn_thread("waxseal-task", move || pollster::block_on(task));
    };
    let task = Arc::new(Task {
        pool,
        future: Mutex::new(Some(task)),
        phase: AtomicU8::new(QUEUED),
    });
    pool.run(Box::new(move || task.poll()));
}

/// Runs work that may block. If no thread can be started, the work is dropped.
pub(super) fn spawn_blocking(work: Job) {
    match BLOCKING.get_or_init(|generation| Pool::new(generation, "waxseal-blocking", BLOCKING_THREADS)) {
        Some(pool) => pool.run(work),
        None => spawn_thread("waxseal-blocking", work),
    }
}

fn spawn_thread(name: &str, work: impl FnOnce() + Send + 'static) {
    // If no thread can be started, the work is dropped, and whoever waits for it gets an error.
    let _ = std::thread::Builder::new().name(name.to_owned()).spawn(work);
}

impl Pool {
    fn new(generation: u64, name: &'static str, most: usize) -> Self {
        Self {
            generation,
            name,
            most,
            state: Mutex::default(),
            work: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics in between.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&'static self, job: Job) {
        if self.generation != entropy::generation() {
            // A parent's task, woken in a child: its threads belong to the parent, and so does this lock.
            return std::mem::forget(job);
        }
        let lost = {
            let mut state = self.lock();
            state.jobs.push_back(job);
            if state.idle >= state.jobs.len() {
                self.work.notify_one();
                None
            } else if state.threads < self.most {
                let thread = std::thread::Builder::new().name(self.name.to_owned());
                match thread.spawn(|| self.serve()) {
                    Ok(_) => {
                        state.threads += 1;
                        None
                    }
                    // The existing threads take it.
                    Err(_) if state.threads > 0 => None,
                    Err(_) => state.jobs.pop_back(),
                }
            } else {
                None
            }
        };
        // Outside of the lock: this tells whoever waits for it.
        drop(lost);
    }

    fn serve(&self) {
        let mut state = self.lock();
        loop {
            while let Some(job) = state.jobs.pop_front() {
                drop(state);
                let _ = catch_unwind(AssertUnwindSafe(job));
                state = self.lock();
            }
            state.idle += 1;
            let (woken, timeout) = self
                .work
                .wait_timeout(state, IDLE)
                .unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if timeout.timed_out() && state.jobs.is_empty() {
                state.threads -= 1;
                return;
            }
        }
    }
}

/// It waits to be woken.
const RESTING: u8 = 0;
/// It waits for a thread.
const QUEUED: u8 = 1;
/// A thread polls it.
const POLLED: u8 = 2;
/// A thread polls it, and it was woken meanwhile.
const WOKEN: u8 = 3;

struct Task {
    pool: &'static Pool,
    future: Mutex<Option<BoxFuture<'static, ()>>>,
    phase: AtomicU8,
}

impl Task {
    fn lock(&self) -> MutexGuard<'_, Option<BoxFuture<'static, ()>>> {
        self.future.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll(self: &Arc<Self>) {
        self.phase.store(POLLED, Ordering::SeqCst);
        // Taken out: if it panics it is dropped.
        let Some(mut future) = self.lock().take() else {
            return;
        };
        let waker = Waker::from(Arc::clone(self));
        let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
        if polled == Poll::Ready(()) {
            return;
        }
        *self.lock() = Some(future);
        let rests = self
            .phase
            .compare_exchange(POLLED, RESTING, Ordering::SeqCst, Ordering::SeqCst);
        if rests.is_err() {
            self.phase.store(QUEUED, Ordering::SeqCst);
            self.queue();
        }
    }

    fn queue(self: &Arc<Self>) {
        let task = Arc::clone(self);
        self.pool.run(Box::new(move || task.poll()));
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        let woken = self
            .phase
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |phase| match phase {
                RESTING => Some(QUEUED),
                POLLED => Some(WOKEN),
                _ => None,
            });
        if woken == Ok(RESTING) {
            self.queue();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::runtime::timer;

    #[test]
    fn hundreds_of_tasks_that_wait_take_few_threads_and_all_end() {
        let (done, ended) = std::sync::mpsc::channel();
        for number in 0..500 {
            let done = done.clone();
            spawn(Box::pin(async move {
                for _ in 0..3 {
                    timer::sleep(Duration::from_millis(number % 7)).await;
                }
                done.send(number).unwrap();
            }));
            let pool = TASKS.get_or_init(|_| unreachable!()).unwrap();
            assert!(pool.lock().threads <= TASK_THREADS);
        }
        let mut all: Vec<_> = (0..500)
            .map(|_| ended.recv_timeout(Duration::from_secs(60)).unwrap())
            .collect();
        all.sort_unstable();
        assert_eq!(all, (0..500).collect::<Vec<_>>());
    }

    #[test]
    fn work_that_blocks_is_bounded_and_none_of_it_is_lost() {
        static AT_ONCE: AtomicUsize = AtomicUsize::new(0);
        let (done, ended) = std::sync::mpsc::channel();
        for _ in 0..300 {
            let done = done.clone();
            spawn_blocking(Box::new(move || {
                let at_once = AT_ONCE.fetch_add(1, Ordering::SeqCst) + 1;
                std::thread::sleep(Duration::from_millis(2));
                AT_ONCE.fetch_sub(1, Ordering::SeqCst);
                done.send(at_once).unwrap();
            }));
        }
        for _ in 0..300 {
            assert!(ended.recv_timeout(Duration::from_secs(60)).unwrap() <= BLOCKING_THREADS);
        }
    }

    #[test]
    fn a_task_that_panics_takes_no_thread_along() {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let (done, ended) = std::sync::mpsc::channel();
        for _ in 0..2 * TASK_THREADS {
            spawn(Box::pin(async { panic!("lost") }));
        }
        spawn(Box::pin(async move { done.send(7).unwrap() }));
        assert_eq!(ended.recv_timeout(Duration::from_secs(60)), Ok(7));
        std::panic::set_hook(hook);
    }
}
