//! The audit log: a transparency log in a directory.

mod end;
mod filter;
mod growth;
mod hash;
mod journal;
mod key;
mod note;
mod prove;
mod publish;
mod reader;
mod recorded;
mod room;
mod sequence;
mod source;
mod tile;
mod tree;
mod verify;
mod writer;

use std::fmt;
use std::io::ErrorKind as IoKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

pub use end::LogEnd;
pub use filter::EventFilter;
pub use key::{LogKey, VerifierKey};
pub use note::Checkpoint;
pub use publish::{LogSource, Published, TileFolder, TileStore, publish};
pub use reader::LogReader;
pub use recorded::RecordedEvent;
pub use sequence::{Misnumbered, Sequences};
pub use source::verify;
pub use verify::{Finding, Verdict, Wrong};

use self::writer::Writer;
use super::{Event, Sink};
use crate::value::entropy;
use crate::value::error::{Error, ErrorKind, Result};

/// A transparency log in a directory, open for writing: a [`Sink`] whose records others can verify with tools that are not this crate's.
///
/// The directory has the layout of C2SP [tlog-tiles](https://c2sp.org/tlog-tiles): a signed `checkpoint`, the hashes of an RFC 6962 tree in
/// `tile/<L>/<N>`, and the events as JSON in `tile/entries/<N>`. Serve it over HTTP as it is, or copy it. Beside that it has `vkey` (the
/// public key, as text), `journal` and `lock`, which are for the writer.
///
/// *What is kept.* [`keep`](Sink::keep) returns when the events are in the journal and the journal is synced: one `fsync` for all events that
/// waited together. They move into tiles, under a new checkpoint, after 4,096 events, after a second, and when the log is closed. A process
/// that is killed loses nothing that was kept: the next one that opens the log moves it. A batch that was being written when the system went
/// down was never kept, and is cut off; [`cut_off`](Self::cut_off) and a warning tell.
///
/// *Who writes.* One process, which holds a lock; a second one is refused. A log has an origin, which names it for good, and a key of its own.
/// Whoever has the key can write another history: keep checkpoints where the writer cannot reach them.
///
/// *A full disk.* What does not fit is not kept, and the log goes on when there is room.
///
/// A log does not go on in a forked process, whose child inherits the lock.
#[derive(Clone)]
pub struct Log(Arc<Inner>);

struct Inner {
    path: PathBuf,
    generation: u64,
    cut_off: u64,
    key: VerifierKey,
    writer: Mutex<Writer>,
}

impl Log {
    /// Opens the log of a directory, or makes one. Its key is in the file beside the directory whose name has `.key` at the end, where only
    /// its owner can read it; a new log gets a new key, and an origin of the host's name and a random part.
    ///
    /// # Errors
    /// - `Io`, retryable, if another process has the log open
    /// - `Audit` if the directory cannot be written, or holds something else, or a log that is damaged
    /// - `Store` if a tile is missing
    /// - `Configuration` if the key is missing, readable for others, or not the key of this log
    /// - `Entropy`
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        // A place that is refused gets no key.
        room::check(path)?;
        let key = LogKey::beside(path)?;
        Self::written(path, key)
    }

    /// Opens the log of a directory with this key, or makes one. The name of the key is the log's origin.
    ///
    /// # Errors
    /// Those of [`open`](Self::open), except those of the file of the key.
    pub fn with_key(path: impl AsRef<Path>, key: LogKey) -> Result<Self> {
        let path = path.as_ref();
        room::check(path)?;
        Self::written(path, key)
    }

    /// Opens or makes it where there is room.
    fn written(path: &Path, key: LogKey) -> Result<Self> {
        let verifier = key.verifier();
        let (writer, cut_off) = Writer::open(path, key)?;
        if cut_off > 0 {
            let path = path.display();
            tracing::warn!(
                "the audit log {path} did not end with a whole batch, as after a kill in the middle of one: {cut_off} bytes are cut off"
            );
        }
        Ok(Self(Arc::new(Inner {
            path: path.to_owned(),
            generation: entropy::generation(),
            cut_off,
            key: verifier,
            writer: Mutex::new(writer),
        })))
    }

    /// Returns how many bytes were cut off behind the last whole batch when the log was opened. After a kill in the middle of a batch they are what was written of
    /// it, and nobody was told that it is kept. Of bytes that were changed since, nothing tells them apart: no signature covers the end of a log before its next checkpoint.
    #[must_use]
    pub fn cut_off(&self) -> u64 {
        self.0.cut_off
    }

    /// Returns the public key, which verifies its checkpoints.
    #[must_use]
    pub fn verifier(&self) -> &VerifierKey {
        &self.0.key
    }

    /// Returns the directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Keeps records, all of them or none. Blocks.
    pub(crate) fn append(&self, records: Vec<Vec<u8>>) -> Result<()> {
        self.with(|writer| writer.append(records))
    }

    /// Moves all that is kept into tiles, and signs a checkpoint of it. Blocks.
    ///
    /// # Errors
    /// `Audit` if that cannot be written. What was kept stays kept.
    pub fn checkpoint(&self) -> Result<Checkpoint> {
        self.with(|writer| {
            writer.roll()?;
            Ok(writer.checkpoint().clone())
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut Writer) -> Result<T>) -> Result<T> {
        if self.0.generation != entropy::generation() {
            return Err(Error::new(ErrorKind::Audit).with_detail(
                "an audit log does not go on in a forked process: open another log in the child",
            ));
        }
        // A writer that panicked in the middle of a write finds its last good length again by itself.
        let mut writer = self.0.writer.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut writer)
    }
}

#[async_trait]
impl Sink for Log {
    async fn keep(&self, events: &[Arc<Event>]) -> Result<()> {
        self.append(
            events
                .iter()
                .map(|event| event.to_record().as_bytes().to_vec())
                .collect(),
        )
    }

    fn keeps_json(&self) -> bool {
        true
    }

    async fn flush(&self) -> Result<()> {
        self.checkpoint().map(|_| ())
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("path", &self.0.path)
            .finish_non_exhaustive()
    }
}

/// What cannot be written or read for the sake of writing.
fn not_kept(what: impl fmt::Display, error: std::io::Error) -> Error {
    // Room is made again. What is forbidden or gone stays so until somebody looks.
    let passes = matches!(
        error.kind(),
        IoKind::StorageFull
            | IoKind::QuotaExceeded
            | IoKind::FileTooLarge
            | IoKind::Interrupted
            | IoKind::WouldBlock
            | IoKind::TimedOut
            | IoKind::ResourceBusy
    );
    Error::new(ErrorKind::Audit)
        .with_retryable(passes)
        .with_detail(format!("cannot {what}: {error}"))
        .with_source(error)
}

/// A log that nothing is to be written to.
fn damaged(detail: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Audit).with_detail(detail)
}

#[cfg(test)]
mod tests;
