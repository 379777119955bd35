//! The only doors to time, tasks and variables.
//!
//! Nothing in this crate reads a clock, sleeps or spawns except through a [`Runtime`], and nothing reads the
//! process environment except through an [`Environment`]. Tests replace both. Threads for large payloads are the
//! caller's, through a [`Pool`](crate::message::Pool).

mod ambient;
pub(crate) mod blocking;
mod clock;
mod environment;
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

pub use ambient::AmbientRuntime;
pub use environment::{Environment, ProcessEnvironment};
pub(crate) use environment::{required_var, set_var, without_line_end};
#[cfg(feature = "pkcs11")]
pub(crate) use per_process::PerProcess;
pub use thread::ThreadRuntime;
pub use timeout::with_timeout;
#[cfg(feature = "tokio")]
pub use tokio::TokioRuntime;

use crate::value::error::{Error, ErrorKind, Result};

/// A future in a box, as object-safe traits give it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A point in the monotonic time of a [`Runtime`]: how far it lies behind an origin that has no meaning.
///
/// Points of two runtimes or two processes cannot be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Monotonic(pub Duration);

impl Add<Duration> for Monotonic {
    type Output = Self;

    /// The point `later` after this one; the greatest there is instead of an overflow.
    fn add(self, later: Duration) -> Self {
        Self(self.0.saturating_add(later))
    }
}

/// Clocks, sleep and tasks.
///
/// [`AmbientRuntime`] takes what is there and is the default; [`ThreadRuntime`] stands on the standard library,
/// `TokioRuntime` (feature `tokio`) on one tokio runtime, `testing::SimulatedRuntime` on a clock that a test moves.
pub trait Runtime: Debug + Send + Sync {
    /// Now, in monotonic time. Cheap (some 10 ns); a resolution of some milliseconds is enough. It counts while the
    /// machine sleeps, since permissions end meanwhile.
    fn now(&self) -> Monotonic;

    /// Now, by the calendar.
    fn wall_clock(&self) -> SystemTime;

    /// Completes after `duration`, also if nothing drives the runtime but whoever polls this: deadlines stand on it.
    /// Dropping it cancels it. Need not count while the machine sleeps.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;

    /// Runs a task beside the caller's, to its end or the runtime's.
    fn spawn(&self, task: BoxFuture<'static, ()>);

    /// Runs `work` where it may block, for as long as a second or so.
    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>);
}

/// Runs `work` where it may block, and gives what it gave.
///
/// # Errors
/// `Unavailable` where the runtime dropped or lost the work.
///
/// # Cancel safety
/// Dropping the future leaves the work running to its end; its result is dropped.
pub async fn run_blocking<T: Send + 'static>(
    runtime: &dyn Runtime,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let (done, result) = futures_channel::oneshot::channel();
    runtime.spawn_blocking(Box::new(move || {
        // Nobody waits any more where this fails.
        let _ = done.send(work());
    }));
    result
        .await
        .map_err(|_| Error::new(ErrorKind::Unavailable).with_detail("the runtime lost a blocking task"))
}
