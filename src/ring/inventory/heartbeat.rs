//! Heartbeats: what a process that reads a ring says of itself.

use super::{MAX_REVISION, Signed, check_signed};
use crate::ring::{RecordId, Time};
use crate::value::error::{Error, Result};

/// The greatest length in bytes of the names of a [`Heartbeat`].
pub const MAX_READER: usize = 255;

/// The most keys that a [`Heartbeat`] names, whether their probes opened or failed.
pub const MAX_PROBED: usize = 4_096;

/// What a process that reads a ring says of itself. A heartbeat can delay a move.
///
/// Any reader may write one in any name, so an unsigned one proves nothing. Where the
/// [settings](crate::ring::Settings::readers) name a reader with a key, a promotion goes by what that key has signed, and by nothing
/// else.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Heartbeat {
    /// The name of the reader, from its own configuration: 1 to [`MAX_READER`] bytes, without control characters.
    pub reader: String,
    /// The process: unique for each start of a process, of the same form. With `reader` the primary key.
    pub process: String,
    /// The revision of the ring that it uses.
    pub revision: u64,
    /// The pending keys under which it could open a probe.
    pub probed: Vec<RecordId>,
    /// The pending keys that it knows and under which it could not open a probe. A key of a scope that the process does not use
    /// stands in neither list, and so does not wait for it.
    pub failed: Vec<RecordId>,
    /// The same, signed by the key of the reader. Only the ring can tell whether it is valid.
    pub signed: Option<Signed>,
    /// When it was written, by the inventory's clock. What is given for writing is ignored.
    pub at: Option<Time>,
    /// Why the row that was read is no heartbeat. Then all but its names says nothing, and they are those that the row has. What is
    /// given for writing is ignored.
    pub malformed: Option<String>,
}

impl Heartbeat {
    /// A heartbeat that has no time yet, and no failed probe.
    #[must_use]
    pub fn new(reader: String, process: String, revision: u64, probed: Vec<RecordId>) -> Self {
        Self {
            reader,
            process,
            revision,
            probed,
            failed: Vec::new(),
            signed: None,
            at: None,
            malformed: None,
        }
    }

    /// A row in these names that is no heartbeat, and why.
    #[must_use]
    pub fn malformed(reader: String, process: String, why: String) -> Self {
        Self {
            malformed: Some(why),
            ..Self::new(reader, process, 0, Vec::new())
        }
    }

    /// Adds the pending keys under which it could not open a probe.
    #[must_use]
    pub fn with_failed(mut self, failed: Vec<RecordId>) -> Self {
        self.failed = failed;
        self
    }

    /// Adds what the reader's key has signed, as an inventory has read it.
    #[must_use]
    pub fn with_signed(mut self, signed: Option<Signed>) -> Self {
        self.signed = signed;
        self
    }

    /// Refuses what no inventory stores. Implementations call this first.
    ///
    /// # Errors
    /// `InvalidArgument` if a name is empty, has more than [`MAX_READER`] bytes or has control characters, if it names more than
    /// [`MAX_PROBED`] keys, if the revision is above 2^63 - 2, or if what is signed is empty; `OverLimit` if that has more than
    /// [`MAX_BODY`](super::MAX_BODY) bytes.
    pub fn check(&self) -> Result<()> {
        for name in [&self.reader, &self.process] {
            check_reader(name)?;
        }
        if self.probed.len() + self.failed.len() > MAX_PROBED {
            return Err(Error::argument(format!(
                "a heartbeat names at most {MAX_PROBED} keys"
            )));
        }
        if self.revision >= MAX_REVISION {
            return Err(Error::argument("a revision is at most 2^63 - 2"));
        }
        self.signed.as_ref().map_or(Ok(()), check_signed)
    }
}

/// Refuses what is no name of a reader or of a process.
pub(crate) fn check_reader(name: &str) -> Result<()> {
    if !name.is_empty() && name.len() <= MAX_READER && !name.chars().any(char::is_control) {
        return Ok(());
    }
    Err(Error::argument(format!(
        "the name of a reader or a process has 1 to {MAX_READER} bytes, without control characters"
    )))
}
