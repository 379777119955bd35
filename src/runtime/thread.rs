//! A runtime on the threads of the standard library.

use std::time::{Duration, SystemTime};

use super::timers::Timers;
use super::{BoxFuture, Monotonic, Runtime};

/// Threads of the standard library: what there is without an async runtime.
///
/// Each task has a thread of its own, so this suits programs that have few of them, and `blocking::Sealer`. Sleeps share
/// one thread. An application on tokio takes `TokioRuntime` (feature `tokio`).
///
/// On Linux [`now`](Runtime::now) is the kernel's coarse monotonic clock: a resolution of 1 to 10 ms for a
/// quarter of the cost of the precise one.
#[derive(Clone, Copy, Debug, Default)]
pub struct ThreadRuntime;

impl Runtime for ThreadRuntime {
    fn now(&self) -> Monotonic {
        now()
    }

    fn wall_clock(&self) -> SystemTime {
        SystemTime::now()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        match Timers::of_process() {
            Ok(timers) => Box::pin(timers.sleep(duration)),
            // No thread to be had: block this one rather than not sleep at all.
            Err(_) => Box::pin(async move { std::thread::sleep(duration) }),
        }
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        spawn_thread("waxseal-task", move || pollster::block_on(task));
    }

    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        spawn_thread("waxseal-blocking", work);
    }
}

fn spawn_thread(name: &str, work: impl FnOnce() + Send + 'static) -> bool {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .is_ok()
}

/// The monotonic clock that every runtime but the simulated one shares.
#[cfg(target_os = "linux")]
pub(super) fn now() -> Monotonic {
    use rustix::time::{ClockId, clock_gettime};
    let time = clock_gettime(ClockId::MonotonicCoarse);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanos = u32::try_from(time.tv_nsec).unwrap_or_default();
    Monotonic(Duration::new(seconds, nanos))
}

/// The monotonic clock that every runtime but the simulated one shares.
#[cfg(not(target_os = "linux"))]
pub(super) fn now() -> Monotonic {
    static ORIGIN: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    Monotonic(ORIGIN.get_or_init(Instant::now).elapsed())
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
