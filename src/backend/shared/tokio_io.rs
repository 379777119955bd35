//! Calls on a tokio runtime, by a deadline, for callers who may have no runtime.

use std::future::Future;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::key::Request;
use crate::runtime::{Monotonic, Runtime, TokioRuntime, with_timeout};
use crate::value::error::{Error, ErrorKind, Result};

/// Where a client does its I/O, and how long one call may take.
pub(in crate::backend) struct TokioIo {
    handle: Handle,
    runtime: TokioRuntime,
    timeout: Duration,
}

impl TokioIo {
    /// On this runtime, or on the one that this is called in.
    ///
    /// # Errors
    /// `Configuration` where there is none.
    pub(in crate::backend) fn new(handle: Option<Handle>, timeout: Duration) -> Result<Self> {
        let handle = match handle {
            Some(handle) => handle,
            None => Handle::try_current().map_err(|_| {
                Error::configuration(
                    "make the client inside a tokio runtime, or give it one by `with_handle`",
                )
            })?,
        };
        Ok(Self {
            runtime: TokioRuntime::new(handle.clone()),
            handle,
            timeout,
        })
    }

    #[cfg(any(feature = "azure-key-vault", feature = "vault-transit"))]
    pub(in crate::backend) fn runtime(&self) -> &TokioRuntime {
        &self.runtime
    }

    pub(in crate::backend) fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(in crate::backend) fn now(&self) -> Monotonic {
        self.runtime.now()
    }

    /// Now, by the calendar.
    #[cfg(feature = "azure-key-vault")]
    pub(in crate::backend) fn wall_clock(&self) -> std::time::SystemTime {
        self.runtime.wall_clock()
    }

    /// Until when a call that begins now must be over.
    pub(in crate::backend) fn deadline(&self, request: Option<&Request<'_>>) -> Monotonic {
        let own = self.now() + self.timeout;
        match request.and_then(Request::deadline) {
            Some(deadline) => deadline.min(own),
            None => own,
        }
    }

    /// What is left until then.
    ///
    /// # Errors
    /// `TimedOut` where nothing is.
    pub(in crate::backend) fn left(&self, deadline: Monotonic) -> Result<Duration> {
        match deadline.0.saturating_sub(self.now().0) {
            Duration::ZERO => Err(Error::new(ErrorKind::TimedOut)),
            left => Ok(left),
        }
    }

    /// Does `work` on the runtime, by `deadline`. Dropped, it ends there.
    ///
    /// # Errors
    /// Those of `work`; `TimedOut`; `Unavailable` where the runtime is shut down.
    pub(in crate::backend) async fn run_by<T: Send + 'static>(
        &self,
        deadline: Monotonic,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let (left, runtime) = (self.left(deadline)?, self.runtime.clone());
        let work = async move { with_timeout(&runtime, Some(left), work).await };
        let mut task = AbortOnDrop(self.handle.spawn(work));
        let done = (&mut task.0).await;
        done.map_err(|_| Error::new(ErrorKind::Unavailable).with_detail("the tokio runtime lost a request"))?
    }
}

struct AbortOnDrop<T>(JoinHandle<Result<T>>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
