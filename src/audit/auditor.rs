//! Makes events, numbers them, and gives them to sinks.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::event::{Event, What};
use super::json::Record;
use super::lines;
use super::process::Process;
use super::queue::{Kept, Pushed, Queue};
use super::sink::Sink;
use crate::runtime::{AmbientRuntime, Runtime, with_timeout};
use crate::value::entropy;
use crate::value::error::{Error, ErrorKind, Result};

/// The most context keys whose values are logged.
const LOGGABLE: usize = 16;

/// Makes an event for each access to a KEK, and gives it to its sinks. Clones are the same auditor.
///
/// A *required* sink has kept the event before anything is released: if it does not, the operation fails with `Audit`, whatever its own
/// result was. A *best-effort* sink is not waited for: what it does not keep is counted and said once, and a
/// [gap](super::Action::Gap) with the number goes to it as soon as it keeps events again.
///
/// An auditor does not go on in a forked process, whose threads it does not have: make another one there. Required sinks then refuse with
/// `Audit`, and best-effort sinks lose the events.
#[derive(Clone)]
pub struct Auditor(Arc<Inner>);

struct Inner {
    numbers: Arc<Numbers>,
    required: Vec<Queue>,
    best_effort: Vec<Queue>,
    tells: bool,
    releases: bool,
    loggable: Vec<Box<str>>,
    wait: Duration,
    has_said_forked: AtomicBool,
}

/// The numbers of one process's events.
pub(super) struct Numbers {
    process: Process,
    runtime: Arc<dyn Runtime>,
    generation: u64,
    next: Mutex<u64>,
}

impl Numbers {
    /// Whether this is the process in which it was made, and no child of it.
    pub(super) fn is_of_this_process(&self) -> bool {
        self.generation == entropy::generation()
    }

    /// An event under the next number. `next` is the lock under which events get their order.
    fn event(&self, next: &mut u64, what: What) -> Event {
        let sequence = *next;
        *next += 1;
        Event {
            sequence,
            time: self.runtime.wall_clock(),
            process: self.process.clone(),
            what,
            record: Record::default(),
        }
    }

    /// Takes a number for a gap.
    pub(super) fn number(&self) -> u64 {
        let mut next = self.lock();
        let number = *next;
        *next += 1;
        number
    }

    pub(super) fn gap(&self, mut number: u64, lost: u64) -> Event {
        self.event(&mut number, What::gap(lost))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, u64> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Builds an [`Auditor`].
#[derive(Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct AuditorBuilder {
    required: Vec<Box<dyn Sink>>,
    best_effort: Vec<Box<dyn Sink>>,
    tells: bool,
    releases: bool,
    loggable: Vec<Box<str>>,
    wait: Duration,
    runtime: Arc<dyn Runtime>,
}

impl AuditorBuilder {
    /// Adds a sink without which nothing is released.
    pub fn required(mut self, sink: impl Sink) -> Self {
        self.required.push(Box::new(sink));
        self
    }

    /// Adds a sink that nobody waits for.
    pub fn best_effort(mut self, sink: impl Sink) -> Self {
        self.best_effort.push(Box::new(sink));
        self
    }

    /// Writes each event to `tracing`, too, under the target `waxseal::audit`, in the spans of its caller: as `INFO`, and as `WARN` if it was
    /// denied or refused.
    pub fn tracing(mut self) -> Self {
        self.tells = true;
        self
    }

    /// Makes an event of each release of a DEK, those from a cache included. Off by default. Every open then costs an event.
    pub fn releases(mut self) -> Self {
        self.releases = true;
        self
    }

    /// Names the context keys whose values are logged. By default none is: an event has the digest of the context.
    pub fn loggable<K: AsRef<str>>(mut self, keys: impl IntoIterator<Item = K>) -> Self {
        self.loggable = keys.into_iter().map(|key| key.as_ref().into()).collect();
        self
    }

    /// Sets how long a required sink is waited for. 10 seconds by default.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// Sets the clocks. [`AmbientRuntime`] by default.
    pub fn runtime(mut self, runtime: Arc<dyn Runtime>) -> Self {
        self.runtime = runtime;
        self
    }

    /// Builds the auditor, and starts a thread for each sink.
    ///
    /// # Errors
    /// - `Configuration` if it would write nowhere
    /// - `OverLimit` for more than 16 loggable keys
    /// - `Entropy` if the operating system returns no randomness
    /// - `Unavailable` if the operating system starts no thread
    pub fn build(self) -> Result<Auditor> {
        if self.required.is_empty() && self.best_effort.is_empty() && !self.tells {
            return Err(Error::configuration(
                "an auditor needs a sink: required, best_effort or tracing",
            ));
        }
        if self.loggable.len() > LOGGABLE {
            return Err(Error::new(ErrorKind::OverLimit {
                limit: "the number of loggable context keys",
                max: LOGGABLE as u64,
            }));
        }
        let numbers = Arc::new(Numbers {
            process: Process::current()?,
            runtime: self.runtime,
            generation: entropy::generation(),
            next: Mutex::new(0),
        });
        let start = |sinks: Vec<Box<dyn Sink>>| {
            let queues = sinks
                .into_iter()
                .map(|sink| Queue::start(sink, Arc::clone(&numbers)));
            queues.collect::<Result<Vec<_>>>()
        };
        Ok(Auditor(Arc::new(Inner {
            required: start(self.required)?,
            best_effort: start(self.best_effort)?,
            numbers,
            tells: self.tells,
            releases: self.releases,
            loggable: self.loggable,
            wait: self.wait,
            has_said_forked: AtomicBool::new(false),
        })))
    }
}

impl Auditor {
    /// Begins to build an auditor.
    pub fn builder() -> AuditorBuilder {
        AuditorBuilder {
            required: Vec::new(),
            best_effort: Vec::new(),
            tells: false,
            releases: false,
            loggable: Vec::new(),
            wait: Duration::from_secs(10),
            runtime: Arc::new(AmbientRuntime),
        }
    }

    /// Returns the process that its events come from.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.0.numbers.process
    }

    /// Returns how many events its sinks have lost, as far as no gap tells of them yet.
    #[must_use]
    pub fn lost(&self) -> u64 {
        let queues = self.0.required.iter().chain(&self.0.best_effort);
        queues.map(Queue::lost).sum()
    }

    /// Returns how many events wait in the longest queue of its sinks, without those that are being kept right now. A queue has room for 4,096: when it
    /// is full, a required sink refuses, and a best-effort one loses events.
    #[must_use]
    pub fn waiting(&self) -> usize {
        let queues = self.0.required.iter().chain(&self.0.best_effort);
        queues.map(Queue::waiting).max().unwrap_or_default()
    }

    /// Ends the auditor: what waits is kept, and each sink brings to an end what it put off. What is audited afterwards is refused or lost.
    ///
    /// # Errors
    /// - the errors of the sinks
    /// - `Audit` if events were lost that no gap tells of, if a sink does not end within the [wait](AuditorBuilder::wait), or in a forked process
    ///
    /// # Cancel safety
    /// Dropping the future leaves the auditor closed. Its sinks end by themselves.
    pub async fn close(&self) -> Result<()> {
        self.check_process()?;
        let queues = self.0.required.iter().chain(&self.0.best_effort);
        let ends: Vec<Kept> = queues.filter_map(Queue::close).collect();
        let mut result = Ok(());
        for end in ends {
            result = result.and(self.kept(end).await);
        }
        result
    }

    pub(super) fn runtime(&self) -> &dyn Runtime {
        &*self.0.numbers.runtime
    }

    pub(super) fn loggable(&self) -> &[Box<str>] {
        &self.0.loggable
    }

    pub(crate) fn sees_releases(&self) -> bool {
        self.0.releases
    }

    fn check_process(&self) -> Result<()> {
        match self.0.numbers.is_of_this_process() {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::Audit)
                .with_detail("an auditor does not go on in a forked process: make another one in the child")),
        }
    }

    /// Keeps an event, and waits until the required sinks have it.
    pub(super) async fn record(&self, what: What) -> Result<()> {
        for kept in self.send(what, true)? {
            self.kept(kept).await?;
        }
        Ok(())
    }

    /// Keeps an event of which nobody waits to hear.
    pub(super) fn note(&self, what: What) {
        // What cannot be sent is counted, or belongs to a forked process.
        let _ = self.send(what, false);
    }

    fn send(&self, what: What, asks: bool) -> Result<Vec<Kept>> {
        let inner = &*self.0;
        if let Err(error) = self.check_process() {
            if inner.required.is_empty() {
                if !inner.has_said_forked.swap(true, Ordering::Relaxed) {
                    tracing::warn!("audit events are being lost: {error}");
                }
                return Ok(Vec::new());
            }
            return Err(error);
        }
        // Under the lock, so that numbers and queues have one order.
        let mut next = inner.numbers.lock();
        if asks && inner.required.iter().any(Queue::is_full) {
            return Err(Error::new(ErrorKind::Audit)
                .with_retryable(true)
                .with_detail("the queue of a required audit sink is full or closed"));
        }
        let event = Arc::new(inner.numbers.event(&mut next, what));
        let mut waits = Vec::new();
        let mut losers = Vec::new();
        let required = inner.required.iter().map(|queue| (queue, asks));
        for (queue, asks) in required.chain(inner.best_effort.iter().map(|queue| (queue, false))) {
            match queue.push(&event, asks) {
                Pushed::Waits(kept) => waits.extend(kept),
                Pushed::Lost { is_first } => losers.extend(is_first.then_some(queue)),
            }
        }
        drop(next);
        // Here and not in the threads of the sinks, which keep a batch meanwhile: there, everybody would wait for it.
        if inner.required.iter().any(Queue::keeps_records) {
            let _ = event.to_record();
        }
        for queue in losers {
            queue.say_lost();
        }
        if inner.tells {
            lines::tell(&event);
        }
        Ok(waits)
    }

    async fn kept(&self, kept: Kept) -> Result<()> {
        let ended = async {
            kept.await.unwrap_or_else(|_| {
                Err(Error::new(ErrorKind::Unavailable).with_detail("the thread of the sink has ended"))
            })
        };
        let kept = with_timeout(self.runtime(), Some(self.0.wait), ended).await;
        kept.map_err(|error| {
            if error.kind() == ErrorKind::Audit {
                return error;
            }
            let detail = match error.kind() {
                ErrorKind::TimedOut => format!("a required sink did not answer within {:?}", self.0.wait),
                kind => match error.detail() {
                    Some(detail) => format!("{kind}: {detail}"),
                    None => kind.to_string(),
                },
            };
            Error::new(ErrorKind::Audit)
                .with_retryable(true)
                .with_detail(detail)
                .with_source(error)
        })
    }
}

impl fmt::Debug for Auditor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auditor")
            .field("process", &self.0.numbers.process)
            .field("releases", &self.0.releases)
            .field("loggable", &self.0.loggable)
            .finish_non_exhaustive()
    }
}
