//! A runtime on the threads of the standard library.

use std::time::{Duration, SystemTime};

use super::{BoxFuture, Monotonic, Runtime, clock, pool, timer};

/// The threads of the standard library, for programs without an async runtime.
///
/// One thread keeps the time for all sleeps of the process, up to 4 threads drive tasks, and up to 64 threads run work
/// that blocks. They are made when they are needed. Work beyond that waits for its turn. A forked child has threads of
/// its own.
///
/// On Linux, [`now`](Runtime::now) counts the time in which the machine sleeps, as `CLOCK_BOOTTIME` does, with the
/// resolution of the kernel's coarse clocks: 1 to 10 ms.
#[derive(Clone, Copy, Debug, Default)]
pub struct ThreadRuntime;

impl Runtime for ThreadRuntime {
    fn now(&self) -> Monotonic {
        clock::now()
    }

    fn wall_clock(&self) -> SystemTime {
        SystemTime::now()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(timer::sleep(duration))
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        pool::spawn(task);
    }

    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        pool::spawn_blocking(work);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::run_blocking;

    #[test]
    fn sleeps_and_its_clock_moves() {
        let before = ThreadRuntime.now();
        pollster::block_on(ThreadRuntime.sleep(Duration::from_millis(30)));
        assert!(ThreadRuntime.now() > before);
    }

    #[test]
    fn blocking_work_gives_its_result() {
        assert_eq!(
            pollster::block_on(run_blocking(&ThreadRuntime, || 6 * 7)).unwrap(),
            42
        );
    }

    #[test]
    fn work_that_panics_is_an_error() {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let result = pollster::block_on(run_blocking(&ThreadRuntime, || panic!("lost")));
        std::panic::set_hook(hook);
        assert!(result.is_err());
    }
}
