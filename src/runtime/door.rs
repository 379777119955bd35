//! Where crates around this one do their I/O: on a thread of their own, so that a call may come from any runtime or none.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use futures_channel::oneshot;
use tokio::runtime::{Builder, Runtime as Tokio};
use tokio::task::AbortHandle;

use super::{Kept, ThreadRuntime, with_timeout};
use crate::value::error::{Error, ErrorKind, Result};

/// A small tokio runtime on a thread of its own, and how long one call may take there. For stores and inventories outside this crate whose clients need
/// tokio: a call may come from any runtime, or from a thread without one, and its bound holds even if this runtime stands still.
///
/// ```
/// use std::time::Duration;
/// use waxseal::runtime::Door;
///
/// # fn main() -> waxseal::Result<()> {
/// let door = Door::new(Duration::from_secs(10), "example")?;
/// let answer = pollster::block_on(door.run(Duration::ZERO, async { Ok(42) }))?;
/// assert_eq!(answer, 42);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Door {
    tokio: Kept<Background>,
    timeout: Duration,
    /// Who is asked, for errors.
    peer: &'static str,
}

/// Dropping a runtime waits for its threads, which is not allowed inside another one.
#[derive(Debug)]
struct Background(Option<Tokio>);

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(tokio) = self.0.take() {
            tokio.shutdown_background();
        }
    }
}

impl Door {
    /// Starts the thread. A call takes no longer than `timeout`; `peer` names who is asked, in errors.
    ///
    /// # Errors
    /// `Unavailable` if the process cannot have another thread.
    pub fn new(timeout: Duration, peer: &'static str) -> Result<Self> {
        let refused = || Error::new(ErrorKind::Unavailable).with_detail("a thread could not be started");
        let build = || {
            Builder::new_multi_thread()
                .worker_threads(1)
                .thread_name("waxseal-io")
                .enable_all()
                .build()
        };
        // It panics if there is no thread to be had.
        let tokio = catch_unwind(AssertUnwindSafe(build))
            .map_err(|_| refused())?
            .map_err(|error| refused().with_source(error))?;
        Ok(Self {
            tokio: Kept::new(Background(Some(tokio))),
            timeout,
            peer,
        })
    }

    /// Does `work` there, which may take `longer` than other work. The bound is kept by a thread of the library, so it holds whatever happens there.
    ///
    /// # Errors
    /// Those of `work`; `TimedOut`; `Configuration` in a forked child; `Store` if a library panicked.
    ///
    /// # Cancel safety
    /// Dropping the future ends the work.
    pub async fn run<T: Send + 'static>(
        &self,
        longer: Duration,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let (done, answer) = oneshot::channel();
        let tokio = self.tokio.get()?.0.as_ref();
        let tokio = tokio.ok_or_else(|| Error::new(ErrorKind::Store))?;
        let task = tokio.spawn(async move {
            // Nobody waits any more if this fails.
            let _ = done.send(work.await);
        });
        let _end = AbortOnDrop(Kept::new(task.abort_handle()));
        let answer = async {
            answer.await.unwrap_or_else(|_| {
                Err(Error::new(ErrorKind::Store).with_detail("a library panicked in this call"))
            })
        };
        let timeout = self.timeout.saturating_add(longer);
        let answer = with_timeout(&ThreadRuntime, Some(timeout), answer).await;
        answer.map_err(|error| match (error.kind(), error.detail()) {
            (ErrorKind::TimedOut, None) => error.with_detail(format!(
                "no answer from {} within {} ms",
                self.peer,
                timeout.as_millis()
            )),
            _ => error,
        })
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
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    /// Needs a timer and another task of the runtime that it runs in.
    async fn work() -> Result<u8> {
        tokio::time::sleep(Duration::from_millis(5)).await;
        Ok(tokio::spawn(async { 7 }).await.unwrap())
    }

    #[test]
    fn works_from_a_thread_a_runtime_and_after_the_runtime_that_it_was_made_in() {
        let tokio = Builder::new_current_thread().build().unwrap();
        let door = tokio.block_on(async { Door::new(LONG, "nobody").unwrap() });
        assert_eq!(tokio.block_on(door.run(Duration::ZERO, work())).unwrap(), 7);
        drop(tokio);
        assert_eq!(pollster::block_on(door.run(Duration::ZERO, work())).unwrap(), 7);
        let tokio = Builder::new_current_thread().build().unwrap();
        tokio.block_on(async move {
            // Also blocked inside, and dropped inside.
            assert_eq!(pollster::block_on(door.run(Duration::ZERO, work())).unwrap(), 7);
            drop(door);
        });
    }

    #[test]
    fn what_never_ends_times_out_even_if_the_runtime_stands_still() {
        let door = Door::new(Duration::from_millis(50), "nobody").unwrap();
        let (free, blocked) = std::sync::mpsc::channel::<()>();
        let work = async move {
            let _ = blocked.recv();
            Ok(())
        };
        let error = pollster::block_on(door.run(Duration::ZERO, work)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(error.to_string().contains("nobody within 50 ms"), "{error}");
        drop(free);
    }

    #[test]
    fn a_panic_of_the_library_is_an_error() {
        let door = Door::new(LONG, "nobody").unwrap();
        // The hook of the test program would print it.
        let work = async { std::panic::resume_unwind(Box::new("a library's")) };
        let done: Result<()> = pollster::block_on(door.run(Duration::ZERO, work));
        assert_eq!(done.unwrap_err().kind(), ErrorKind::Store);
    }
}
