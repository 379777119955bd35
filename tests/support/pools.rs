//! Pools: threads of their own, slow ones, and ones that lose what they are given.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use waxseal::{message::Parallel, message::Pool};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// A thread for each call.
    Threads,
    /// Each waits a little before it begins: the order of their ends is any.
    Shuffled,
    /// Never does anything.
    Idle,
    /// Does nothing, and panics in the middle of what it was asked.
    Panics,
}

#[derive(Debug)]
pub(crate) struct TestPool {
    threads: usize,
    manner: Manner,
    /// How often its threads were put to work.
    pub(crate) calls: AtomicUsize,
}

impl TestPool {
    pub(crate) fn new(threads: usize, manner: Manner) -> Arc<Self> {
        let calls = AtomicUsize::new(0);
        Arc::new(Self {
            threads,
            manner,
            calls,
        })
    }

    fn delay(&self) -> Duration {
        let call = self.calls.fetch_add(1, Ordering::SeqCst) as u64;
        match self.manner {
            Manner::Shuffled => Duration::from_micros(call * 7919 % 400),
            _ => Duration::ZERO,
        }
    }
}

impl Pool for TestPool {
    fn threads(&self) -> usize {
        self.threads
    }

    fn run(&self, helpers: usize, work: &(dyn Fn() + Sync)) {
        if self.manner == Manner::Idle {
            return;
        }
        std::thread::scope(|scope| {
            for _ in 0..helpers {
                let delay = self.delay();
                scope.spawn(move || {
                    std::thread::sleep(delay);
                    work();
                });
            }
            work();
        });
        if self.manner == Manner::Panics {
            std::panic::resume_unwind(Box::new("the pool"));
        }
    }

    fn spawn(&self, work: Box<dyn FnOnce() + Send>) {
        let delay = self.delay();
        match self.manner {
            Manner::Idle => drop(work),
            Manner::Panics => std::panic::resume_unwind(Box::new("the pool")),
            _ => drop(std::thread::spawn(move || {
                std::thread::sleep(delay);
                work();
            })),
        }
    }
}

/// Everything above one chunk goes to such a pool.
pub(crate) fn on(threads: usize, manner: Manner) -> Parallel {
    Parallel::new(TestPool::new(threads, manner)).above(0)
}
