//! One check on a thread of its own, which may panic or hang.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;

use futures_channel::oneshot;

use super::probe::Outcome;
use super::{Check, Suite};

pub(super) enum End {
    Found(Outcome),
    /// It did not end in time. Its thread is left alone.
    Hangs(String),
}

/// Runs a check to its end, or to the subject's bound.
pub(super) async fn run<S: Suite>(subject: &S, check: Check<S>) -> End {
    let bound = subject.bound();
    let (done, ended) = oneshot::channel();
    let (finished, waiting) = mpsc::channel::<()>();
    let checked = subject.clone();
    #[cfg(feature = "tokio")]
    let handle = tokio::runtime::Handle::try_current().ok();
    let worker = thread::Builder::new().name("conformance".into()).spawn(move || {
        #[cfg(feature = "tokio")]
        let _entered = handle.as_ref().map(tokio::runtime::Handle::enter);
        let outcome = catch_unwind(AssertUnwindSafe(|| pollster::block_on(check(&checked))));
        let outcome = outcome.unwrap_or_else(|panic| Err(panicked(&checked, &*panic)));
        let _ = done.send(outcome);
        drop(finished);
    });
    if let Err(error) = worker {
        return End::Found(Err(format!(
            "the suite has no thread to run the check on: {error}"
        )));
    }
    // A watch of its own, which needs no runtime and no timer of anybody.
    let (late, is_late) = oneshot::channel();
    let watch = thread::Builder::new()
        .name("conformance watch".into())
        .spawn(move || {
            if waiting.recv_timeout(bound) == Err(mpsc::RecvTimeoutError::Timeout) {
                let _ = late.send(());
            }
        });
    if let Err(error) = watch {
        return End::Found(Err(format!(
            "the suite has no thread to watch the check: {error}"
        )));
    }
    match first(ended, is_late).await {
        Some(outcome) => End::Found(outcome),
        None => End::Hangs(format!("it has not ended within {} seconds", bound.as_secs())),
    }
}

/// What comes first: the outcome, or the word that it is late.
async fn first(mut ended: oneshot::Receiver<Outcome>, mut late: oneshot::Receiver<()>) -> Option<Outcome> {
    use std::future::{Future, poll_fn};
    use std::pin::Pin;
    use std::task::Poll;
    poll_fn(move |context| {
        if let Poll::Ready(outcome) = Pin::new(&mut ended).poll(context) {
            return Poll::Ready(Some(
                outcome.unwrap_or_else(|_| Err("its thread has ended".to_owned())),
            ));
        }
        // A watch that ends without a word has seen the check end.
        match Pin::new(&mut late).poll(context) {
            Poll::Ready(Ok(())) => Poll::Ready(None),
            _ => Poll::Pending,
        }
    })
    .await
}

fn panicked(subject: &impl Suite, panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or_default();
    match subject.check_text("a panic", text) {
        Ok(()) => format!("it panicked: {text}"),
        Err(why) => format!("it panicked, and {why}"),
    }
}
