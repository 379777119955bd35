//! The only doors to time, tasks and variables.
//!
//! Nothing in this crate reads a clock, sleeps or spawns except through a [`Runtime`], and nothing reads the
//! process environment except through an [`Environment`]. Tests replace both. Threads for large payloads are the
//! caller's, through a [`Pool`](crate::message::Pool).

mod ambient;
pub(crate) mod blocking;
mod clock;
#[cfg(feature = "door")]
mod door;
mod environment;
#[cfg(any(test, feature = "fleet", feature = "ring", feature = "testing"))]
pub(crate) mod join;
mod kept;
pub(crate) mod per_process;
mod pool;
mod thread;
mod timeout;
pub(crate) mod timer;
#[cfg(feature = "tokio")]
mod tokio;

use std::fmt::Debug;
use std::future::Future;
use std::ops::Add;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

#[cfg(feature = "ring")]
pub use crate::backend::shared::secret_file::read_private as read_private_file;
pub use ambient::AmbientRuntime;
#[cfg(feature = "door")]
pub use door::Door;
pub use environment::{Environment, ProcessEnvironment};
pub(crate) use environment::{required_var, set_var, without_line_end};
pub use kept::Kept;
#[cfg(feature = "pkcs11")]
pub(crate) use per_process::PerProcess;
pub use thread::ThreadRuntime;
pub use timeout::with_timeout;
#[cfg(feature = "tokio")]
pub use tokio::TokioRuntime;

use crate::value::error::{Error, ErrorKind, Result};

/// A boxed future, as object-safe traits return it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A point in the monotonic time of a [`Runtime`]: its distance from an origin that has no meaning.
///
/// Points of two runtimes or two processes cannot be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Monotonic(pub Duration);

impl Add<Duration> for Monotonic {
    type Output = Self;

    /// Returns the point `later` after this one, or the greatest point instead of an overflow.
    fn add(self, later: Duration) -> Self {
        Self(self.0.saturating_add(later))
    }
}

/// Clocks, sleep and tasks.
///
/// [`AmbientRuntime`] is the default and uses the runtime of the caller. [`ThreadRuntime`] uses the threads of the
/// standard library, `TokioRuntime` (feature `tokio`) one tokio runtime, and `testing::SimulatedRuntime` a clock that a
/// test moves.
pub trait Runtime: Debug + Send + Sync {
    /// Returns the monotonic time. It is cheap (some 10 ns), and a resolution of some milliseconds is enough. It counts
    /// while the machine sleeps, because permissions end meanwhile.
    fn now(&self) -> Monotonic;

    /// Returns the time of the calendar.
    fn wall_clock(&self) -> SystemTime;

    /// Completes after `duration`, even if nothing drives the runtime except the task that polls this future, because
    /// deadlines depend on it. Dropping the future cancels it. Time while the machine sleeps need not count.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;

    /// Runs a task beside the caller's, to its end or the runtime's.
    fn spawn(&self, task: BoxFuture<'static, ()>);

    /// Runs `work` where it may block for a second or so.
    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>);
}

/// Runs `work` where it may block, and returns its result.
///
/// # Errors
/// `Unavailable` if the runtime dropped or lost the work.
///
/// # Cancel safety
/// If the future is dropped, the work runs to its end and its result is dropped.
pub async fn run_blocking<T: Send + 'static>(
    runtime: &dyn Runtime,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let (done, result) = futures_channel::oneshot::channel();
    runtime.spawn_blocking(Box::new(move || {
        // If this fails, nobody waits anymore.
        let _ = done.send(work());
    }));
    result.await.map_err(|_| lost_work())
}

/// The error for work that a runtime dropped or lost.
pub(crate) fn lost_work() -> Error {
    Error::new(ErrorKind::Unavailable).with_detail("the runtime lost a blocking task")
}
