//! Where the SDK runs: it needs tokio, and its caller may have none.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};

use crate::value::error::{Error, Result};

/// The caller's tokio runtime, or one of our own with one thread.
pub(super) struct Reactor {
    handle: Handle,
    own: Option<Runtime>,
}

impl Reactor {
    pub(super) fn new() -> Result<Self> {
        if let Ok(handle) = Handle::try_current() {
            return Ok(Self { handle, own: None });
        }
        let own = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("waxseal-aws-kms")
            .enable_all()
            .build()
            .map_err(|error| {
                Error::configuration("cannot start a runtime for the AWS SDK").with_source(error)
            })?;
        Ok(Self {
            handle: own.handle().clone(),
            own: Some(own),
        })
    }

    /// What `work` gives, or nothing where it does not end within `limit`. May be polled from any thread, in a
    /// runtime or not.
    pub(super) async fn run<T>(&self, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
        let timed = {
            let _inside = self.handle.enter();
            tokio::time::timeout(limit, work)
        };
        let mut timed = pin!(timed);
        poll_fn(|task| {
            let _inside = self.handle.enter();
            timed.as_mut().poll(task)
        })
        .await
        .ok()
    }
}

impl Drop for Reactor {
    fn drop(&mut self) {
        // Waiting for it is not allowed inside another runtime.
        if let Some(own) = self.own.take() {
            own.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_timers_without_a_runtime_and_ends_what_does_not_end() {
        let reactor = Reactor::new().unwrap();
        let slept = pollster::block_on(reactor.run(Duration::from_secs(60), async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            7
        }));
        assert_eq!(slept, Some(7));
        let never = reactor.run(Duration::from_millis(5), std::future::pending::<()>());
        assert_eq!(pollster::block_on(never), None);
    }

    #[tokio::test]
    async fn takes_the_runtime_that_is_there() {
        let reactor = Reactor::new().unwrap();
        assert!(reactor.own.is_none());
        assert_eq!(reactor.run(Duration::from_secs(60), async { 7 }).await, Some(7));
    }
}
