//! A request's deadline holds, and says nothing of the backend.

use super::Subject;
use super::probe::{Finding, Outcome, Verdict, context, fail};
use crate::key::Request;
use crate::runtime::{Monotonic, Runtime, ThreadRuntime};
use crate::value::error::{Error, ErrorKind};

/// A deadline that is now.
fn over() -> Monotonic {
    ThreadRuntime.now()
}

/// It answers all the same, or says that the time is over.
fn timed_out<T>(what: &str, answer: Result<T, Error>) -> Finding<()> {
    match answer {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::TimedOut && error.is_retryable() => Ok(()),
        Err(error) => fail(format!(
            "{what} after its deadline gave another error than TimedOut, or one that is not retryable: {error}"
        )),
    }
}

/// A manager that goes on waiting is found by the bound of the check.
pub(super) async fn a_deadline_that_is_over_ends_the_call(subject: &Subject) -> Outcome {
    let context = context("deadline")?;
    let request = Request::new(&context);
    let (dek, wrapped) = subject.wrapped(&request).await?;
    let manager = subject.manager();
    let late = || Request::new(&context).with_deadline(over());
    timed_out("wrapping", manager.wrap(&dek, &late()).await)?;
    timed_out("generating", manager.generate(&late()).await)?;
    timed_out(
        "re-wrapping",
        manager.rewrap(wrapped.as_wrap_ref(), &late()).await,
    )?;
    if let Some(opener) = subject.opener() {
        timed_out("unwrapping", opener.unwrap(wrapped.as_wrap_ref(), &late()).await)?;
    }
    Ok(Verdict::Passed)
}

/// Calls that had no time are no outage: the next one is answered.
pub(super) async fn hasty_callers_harm_nobody_else(subject: &Subject) -> Outcome {
    let context = context("hasty")?;
    let request = Request::new(&context);
    let (dek, wrapped) = subject.wrapped(&request).await?;
    for _ in 0..subject.times(16, 6) {
        let late = Request::new(&context).with_deadline(over());
        if let Some(opener) = subject.opener() {
            timed_out("unwrapping", opener.unwrap(wrapped.as_wrap_ref(), &late).await)?;
        }
        timed_out("wrapping", subject.manager().wrap(&dek, &late).await)?;
    }
    let fresh = subject.wrap(&dek, &request).await?;
    if let Some(opener) = subject.opener() {
        subject
            .opens(opener, "a wrap after hasty calls", &fresh, &request, &dek)
            .await?;
    }
    Ok(Verdict::Passed)
}
