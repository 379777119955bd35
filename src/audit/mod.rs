//! Evidence of who used which KEK, for what, and how it ended: an event for each access, kept before anything is released.
//!
//! An [`Auditor`] makes the events and gives them to its sinks. [`Builder::audit`](crate::Builder::audit) puts it into a sealer:
//!
//! ```
//! # use waxseal::{EncryptionContext, Kek, backend::local::LocalKey};
//! use waxseal::Sealer;
//! use waxseal::audit::{Auditor, Log};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("log");
//! # let key = LocalKey::new(&Kek::generate()?);
//! let auditor = Auditor::builder().required(Log::open(&path)?).loggable(["tenant"]).build()?;
//! let sealer = Sealer::builder().wrap_with(key).audit(auditor.clone()).build()?;
//! let context = EncryptionContext::new([("tenant", "acme")])?;
//! let sealed = sealer.seal(b"hello", &context).await?;
//! // At the end of the program: what waits is written, and the log gets a checkpoint.
//! auditor.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! *What is seen.* Each time that a source of DEKs is asked beneath the sealer's cache: a DEK is generated and wrapped, unwrapped, or
//! wrapped anew; and how that ended, denials and refusals included. What a cache hands out again asks no KEK and is no event, unless
//! an outage policy has allowed it ([`Event::outages`]), or [`AuditorBuilder::releases`] asks for it: then a second layer around the cache sees every release, and no fast path goes past it. What
//! is done under a [`DataKey`](crate::DataKey) or an open stream after its release is not seen.
//!
//! *Spans.* Each operation that is an event runs in a span of `tracing` under the event's name, also across its waits. A release has none.
//!
//! *Administration.* With a key ring, everything that is done to the ring is seen, too: `Reader::audited_by`. The parents of branch keys and
//! the probes of pending keys are accesses of the ring itself, and are events beside those of the sealer. [`manual::evidence`](crate::manual::evidence)
//! has the whole list, and says what it proves.
//!
//! *What an event can hold.* No key, no plaintext, no AAD, and no value of a context key that was not named as
//! [`loggable`](AuditorBuilder::loggable). [`Event`] has no place for them.
//!
//! *What it proves.* The [`Log`] is a transparency log that others' tools verify. [`manual::audit_log`](crate::manual::audit_log) specifies
//! events and log.

#[cfg(feature = "ring")]
mod administration;
mod auditor;
#[cfg(feature = "ring")]
mod authority;
mod deed;
mod event;
mod json;
mod layer;
mod lines;
mod log;
mod probe;
mod process;
mod queue;
#[cfg(test)]
pub(crate) mod remembered;
mod scope;
mod sink;
mod span;
mod text;

#[cfg(feature = "ring")]
pub use administration::AuditedJob;
pub use auditor::{Auditor, AuditorBuilder};
pub use deed::RecordMoved;
#[cfg(all(test, feature = "metrics"))]
pub(crate) use event::tests::long as tests_long;
pub use event::{Action, Event, EventKek, Outcome};
pub use layer::Audited;
pub use log::{
    Checkpoint, EventFilter, Finding, Log, LogEnd, LogKey, LogReader, LogSource, Misnumbered, Published,
    RecordedEvent, Sequences, TileFolder, TileStore, Verdict, VerifierKey, Wrong, publish, verify,
};
pub use probe::ProbedKey;
pub use process::Process;
pub use sink::Sink;
#[cfg(all(test, feature = "ring"))]
pub(crate) use span::tests as tests_spans;

pub use crate::key::sighting::Outage;
