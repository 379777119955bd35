//! Where events go.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use super::Event;
use crate::value::error::Result;

/// Keeps events. The [`Log`](super::Log) is one; a collector, a queue or a SIEM is another.
///
/// An [`Auditor`](super::Auditor) gives each sink a thread and a queue of its own. That thread polls the sink, one batch after the other:
/// what came while a batch was being kept is the next batch, so whoever waits shares its cost. No async runtime is current there. A sink
/// that needs one brings its handle. A sink that does not answer is waited for; callers wait no longer than
/// [`AuditorBuilder::wait`](super::AuditorBuilder::wait).
#[async_trait]
pub trait Sink: Debug + Send + Sync + 'static {
    /// Keeps these events, in this order, and returns when they are safe: all of them, or an error and none of them counts as kept.
    ///
    /// # Errors
    /// Of any kind. The events are reported as lost, or the operations that wait for them fail with `Audit`.
    async fn keep(&self, events: &[Arc<Event>]) -> Result<()>;

    /// Returns whether it keeps the JSON of events, as the log does. Whoever causes an event then makes its JSON, before the thread of the sink needs
    /// it. `false` by default.
    fn keeps_json(&self) -> bool {
        false
    }

    /// Brings to an end what was put off for the sake of speed. It is called about a second after the last batch, and at the end. Does nothing
    /// by default.
    ///
    /// # Errors
    /// Of any kind. They are logged, and whoever [closes](super::Auditor::close) the auditor sees them.
    async fn flush(&self) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl<S: Sink + ?Sized> Sink for Arc<S> {
    async fn keep(&self, events: &[Arc<Event>]) -> Result<()> {
        (**self).keep(events).await
    }

    fn keeps_json(&self) -> bool {
        (**self).keeps_json()
    }

    async fn flush(&self) -> Result<()> {
        (**self).flush().await
    }
}
