//! A runtime on tokio.

use std::time::{Duration, SystemTime};

use tokio::runtime::Handle;

use super::{BoxFuture, Monotonic, Runtime, ThreadRuntime};

/// A tokio runtime, by its handle. Tasks and blocking work run there.
///
/// [`now`](Runtime::now) and [`sleep`](Runtime::sleep) are those of [`ThreadRuntime`], not tokio's. So a deadline fires
/// even if nobody drives the runtime, tokio's timer (`enable_time`) is not needed, and pausing tokio's time stops
/// neither.
#[derive(Clone, Debug)]
pub struct TokioRuntime(Handle);

impl TokioRuntime {
    /// Uses the runtime behind `handle`.
    #[must_use]
    pub fn new(handle: Handle) -> Self {
        Self(handle)
    }

    /// Uses the runtime that the caller runs in.
    ///
    /// # Panics
    /// Panics outside a tokio runtime.
    #[must_use]
    pub fn current() -> Self {
        Self(Handle::current())
    }
}

impl Runtime for TokioRuntime {
    fn now(&self) -> Monotonic {
        ThreadRuntime.now()
    }

    fn wall_clock(&self) -> SystemTime {
        ThreadRuntime.wall_clock()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        ThreadRuntime.sleep(duration)
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.0.spawn(task);
    }

    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        self.0.spawn_blocking(work);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::run_blocking;

    #[test]
    fn sleeps_spawns_and_blocks() {
        let tokio = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .build()
            .unwrap();
        let runtime = TokioRuntime::new(tokio.handle().clone());
        tokio.block_on(async {
            let before = runtime.now();
            runtime.sleep(Duration::from_millis(30)).await;
            assert!(runtime.now() > before);
            assert_eq!(run_blocking(&runtime, || 42).await.unwrap(), 42);
            let (done, result) = futures_channel::oneshot::channel();
            runtime.spawn(Box::pin(async move { done.send(7).unwrap() }));
            assert_eq!(result.await.unwrap(), 7);
        });
    }
}
