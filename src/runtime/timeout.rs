//! A bound on how long something may take.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use super::Runtime;
use crate::value::error::{Error, ErrorKind, Result};

/// Returns what `work` returns, or an error if `work` does not end within `timeout`. Without a `timeout` it waits for `work`.
///
/// ```
/// # use std::time::Duration;
/// # use waxseal::runtime::{ThreadRuntime, with_timeout};
/// # async fn example(admin: &dyn waxseal::key::KekAdmin, kek: &waxseal::envelope::KekRef) -> waxseal::Result<()> {
/// let versions = with_timeout(
///     &ThreadRuntime,
///     Some(Duration::from_secs(5)),
///     admin.describe_versions(kek),
/// )
/// .await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// The error of `work`; `TimedOut` if the time is over. `work` is then dropped where it stands.
///
/// # Cancel safety
/// Dropping the future drops `work`.
pub async fn with_timeout<T>(
    runtime: &dyn Runtime,
    timeout: Option<Duration>,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let Some(timeout) = timeout else { return work.await };
    let mut work = pin!(work);
    let mut sleep = None;
    poll_fn(|task| {
        if let Poll::Ready(result) = work.as_mut().poll(task) {
            return Poll::Ready(result);
        }
        // Made only now: what is ready at once needs no timer.
        let sleep = sleep.get_or_insert_with(|| runtime.sleep(timeout));
        sleep
            .as_mut()
            .poll(task)
            .map(|()| Err(Error::new(ErrorKind::TimedOut)))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::ThreadRuntime;

    #[test]
    fn what_does_not_end_times_out() {
        let never = std::future::pending::<Result<()>>();
        let timeout = Some(Duration::from_millis(20));
        let error = pollster::block_on(with_timeout(&ThreadRuntime, timeout, never)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(error.is_retryable());
    }

    #[cfg(feature = "tokio")]
    #[test]
    fn a_runtime_that_stands_still_stops_no_deadline() {
        // Nobody drives it, and it has no timer.
        let tokio = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let runtime = crate::runtime::TokioRuntime::new(tokio.handle().clone());
        let never = std::future::pending::<Result<()>>();
        let error = pollster::block_on(with_timeout(&runtime, Some(Duration::from_millis(20)), never));
        assert_eq!(error.unwrap_err().kind(), ErrorKind::TimedOut);
    }

    #[test]
    fn what_ends_gives_its_result() {
        let slow = async {
            ThreadRuntime.sleep(Duration::from_millis(20)).await;
            Ok(7)
        };
        let timeout = Some(Duration::from_secs(60));
        assert_eq!(
            pollster::block_on(with_timeout(&ThreadRuntime, timeout, slow)).unwrap(),
            7
        );
    }
}
