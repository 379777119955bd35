//! The one place where network backends do their I/O, and the deadlines that hold whatever happens there.
//!
//! By default that is a small tokio runtime of this crate: made on first use, shared by all backends of the process, and
//! never dropped, so a client outlives the runtime that it was made in, and a call may come from a thread, a task or
//! another runtime. A caller who wants the I/O on another runtime passes a handle.
//!
//! A call is spawned there and awaited outside through a channel that belongs to no runtime. Its deadline is kept by a
//! separate thread ([`timer`](crate::runtime::timer)), so the deadline fires even if the runtime stands still.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use futures_channel::oneshot;
use tokio::runtime::{Builder, Handle, Runtime as Tokio, RuntimeFlavor};
use tokio::task::AbortHandle;

use crate::key::Request;
use crate::runtime::blocking::is_blocking;
use crate::runtime::per_process::PerProcess;
use crate::runtime::{BoxFuture, Kept, Monotonic, Runtime, ThreadRuntime, with_timeout};
use crate::value::error::{Error, ErrorKind, Result};

/// Enough for what waits for sockets most of the time, and one that goes on while the other computes a handshake.
const WORKERS: usize = 2;

/// Where one client does its I/O, and how long one call may take.
#[derive(Debug)]
pub(in crate::backend) struct Door {
    place: Place,
    timeout: Duration,
    /// Who is asked, for errors.
    peer: String,
}

/// A tokio runtime with the clocks and timers of this crate. Cheap to clone.
#[derive(Clone, Debug)]
pub(in crate::backend) struct Place {
    handle: Kept<Handle>,
    /// Whether a caller chose it.
    is_given: bool,
}

impl Door {
    /// Through this runtime, or through the one of this crate. `peer` names who is asked, in errors.
    ///
    /// # Errors
    /// `Unavailable` if the process cannot have another thread.
    pub(in crate::backend) fn new(given: Option<Handle>, timeout: Duration, peer: String) -> Result<Self> {
        let is_given = given.is_some();
        let handle = match given {
            Some(handle) => handle,
            None => of_process()?.handle().clone(),
        };
        Ok(Self {
            place: Place {
                handle: Kept::new(handle),
                is_given,
            },
            timeout,
            peer,
        })
    }

    /// The same, to ask somebody else.
    #[cfg(feature = "aws-kms")]
    pub(in crate::backend) fn to(self, peer: String) -> Self {
        Self { peer, ..self }
    }

    /// Clocks, sleep and tasks behind this door.
    pub(in crate::backend) fn place(&self) -> &Place {
        &self.place
    }

    pub(in crate::backend) fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(in crate::backend) fn now(&self) -> Monotonic {
        self.place.now()
    }

    /// Until when a call that begins now must be over.
    pub(in crate::backend) fn deadline(&self, request: Option<&Request<'_>>) -> Monotonic {
        self.deadline_by(request.and_then(Request::deadline))
    }

    /// Until when a call that begins now must be over, if its caller waits until `asked`.
    pub(in crate::backend) fn deadline_by(&self, asked: Option<Monotonic>) -> Monotonic {
        let own = self.now() + self.timeout;
        asked.map_or(own, |asked| asked.min(own))
    }

    /// What is left until then.
    ///
    /// # Errors
    /// `TimedOut` if nothing is left; `Configuration` in a forked child.
    pub(in crate::backend) fn left(&self, deadline: Monotonic) -> Result<Duration> {
        self.place.handle.get()?;
        match deadline.0.saturating_sub(self.now().0) {
            Duration::ZERO => Err(Error::new(ErrorKind::TimedOut).with_detail("the deadline is over")),
            left => Ok(left),
        }
    }

    /// Does `work` behind this door, by `deadline`.
    ///
    /// # Errors
    /// Those of `work`; `TimedOut`; `Configuration` in a forked child, if the runtime was shut down, and if the caller
    /// blocks the only thread that could do the work.
    ///
    /// # Cancel safety
    /// Dropping the future ends the work.
    pub(in crate::backend) async fn run_by<T: Send + 'static>(
        &self,
        deadline: Monotonic,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        self.run(deadline, work, true).await
    }

    /// Does `work` that others wait for too, and that has its own deadline.
    ///
    /// # Cancel safety
    /// The work goes on when the future is dropped.
    #[cfg(feature = "vault-transit")]
    pub(in crate::backend) async fn run_for_all<T: Send + 'static>(
        &self,
        deadline: Monotonic,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        self.run(deadline, work, false).await
    }

    async fn run<T: Send + 'static>(
        &self,
        deadline: Monotonic,
        work: impl Future<Output = Result<T>> + Send + 'static,
        ends_with_caller: bool,
    ) -> Result<T> {
        let left = self.left(deadline)?;
        let is_blocked = self.blocks_own_runtime()?;
        let (done, answer) = oneshot::channel();
        let (begun, task) = oneshot::channel();
        let handle = self.place.handle.get()?.clone();
        let begin = move || {
            let task = handle.spawn(async move {
                // If this fails, nobody waits anymore.
                let _ = done.send(work.await);
            });
            let end = ends_with_caller.then(|| AbortOnDrop(Kept::new(task.abort_handle())));
            // If nobody waits anymore, this ends the task.
            let _ = begun.send((task, end));
        };
        if is_blocked {
            // A worker keeps what it spawns last for itself, where no other takes it: spawned from elsewhere, it goes to
            // whichever is free.
            of_process()?.spawn(async move { begin() });
        } else {
            begin();
        }
        let answer = async move {
            let Ok((task, _end)) = task.await else {
                return Err(Error::new(ErrorKind::Unavailable).with_detail("the call could not be begun"));
            };
            match answer.await {
                Ok(answer) => answer,
                Err(_) => Err(lost(task).await),
            }
        };
        let answer = with_timeout(&self.place, Some(left), answer).await;
        answer.map_err(|error| match (error.kind(), error.detail()) {
            (ErrorKind::TimedOut, None) if is_blocked => error.with_detail(format!(
                "no answer from {} in time, and the call blocks a thread of the client's runtime, which may have no other \
                 to do the work; leave out `with_handle`, or await the asynchronous call",
                self.peer
            )),
            (ErrorKind::TimedOut, None) => error.with_detail(format!("no answer from {} in time", self.peer)),
            _ => error,
        })
    }

    /// Whether the caller blocks a thread of the runtime that was given.
    ///
    /// # Errors
    /// `Configuration` if that is the only one: it would wait for itself.
    fn blocks_own_runtime(&self) -> Result<bool> {
        let handle = self.place.handle.get()?;
        let is_blocked = self.place.is_given
            && is_blocking()
            && Handle::try_current().is_ok_and(|current| current.id() == handle.id());
        if is_blocked && handle.runtime_flavor() == RuntimeFlavor::CurrentThread {
            return Err(Error::configuration(
                "a blocking call waits on the thread that drives the client's runtime; leave out `with_handle`, or \
                 await the asynchronous call",
            ));
        }
        Ok(is_blocked)
    }
}

/// Returns why a task returned no answer.
async fn lost(task: tokio::task::JoinHandle<()>) -> Error {
    match task.await {
        Err(error) if error.is_panic() => Error::new(ErrorKind::Unavailable)
            .with_retryable(false)
            .with_detail("the client library panicked in this call"),
        _ => Error::configuration(
            "the tokio runtime of the client was shut down; make a new client, or leave out `with_handle`",
        ),
    }
}

/// The runtime of this process.
fn of_process() -> Result<&'static Tokio> {
    static RUNTIMES: PerProcess<OnceLock<Tokio>> = PerProcess::new();
    let runtime = RUNTIMES.get_or_init(|_| OnceLock::new()).ok_or_else(|| {
        Error::new(ErrorKind::Unavailable)
            .with_retryable(false)
            .with_detail("this process stands at the end of too many forks")
    })?;
    if runtime.get().is_none()
        && let Err(lost) = runtime.set(start()?)
    {
        // Another thread was faster. Waiting for this one's end is not allowed inside a runtime.
        lost.shutdown_background();
    }
    runtime.get().ok_or_else(|| Error::new(ErrorKind::Unavailable))
}

fn start() -> Result<Tokio> {
    let refused = || {
        Error::new(ErrorKind::Unavailable)
            .with_detail("the runtime for network backends could not be started")
    };
    let build = || {
        Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .thread_name("waxseal-net")
            .enable_all()
            .build()
    };
    // It panics if there is no thread to be had.
    catch_unwind(AssertUnwindSafe(build))
        .map_err(|_| refused())?
        .map_err(|error| refused().with_source(error))
}

impl Runtime for Place {
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
        if let Ok(handle) = self.handle.get() {
            handle.spawn(task);
        }
    }

    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        if let Ok(handle) = self.handle.get() {
            handle.spawn_blocking(work);
        }
    }
}

struct AbortOnDrop(Kept<AbortHandle>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        if let Ok(task) = self.0.get() {
            task.abort();
        }
    }
}

#[cfg(test)]
mod tests;
