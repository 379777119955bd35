//! Re-wrapping a large file where it is: its front is overwritten, through a journal, and its body is not touched.
//!
//! The front of an envelope can only be overwritten by one of the same length, so this needs room that was reserved
//! when the file was sealed ([`Builder::padding`](crate::Builder::padding)), or new wraps that are just as long as
//! the old ones. Where they do not fit, the error is `NoRoom`, and the way that always works is left: write the whole
//! envelope beside the file, and rename.
//!
//! ```
//! # use waxseal::{EncryptionContext, Kek, Sealer, blocking, backend::local::LocalKey};
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("backup.wax");
//! # let (old, new) = (Kek::generate()?, Kek::generate()?);
//! # let context = EncryptionContext::new([("purpose", "backup")])?;
//! let roomy = Sealer::builder().wrap_with(LocalKey::new(&old)).padding(512).build()?;
//! std::fs::write(&path, blocking::Sealer::from(roomy).seal(b"a large file", &context)?)?;
//!
//! let builder = Sealer::builder().wrap_with(LocalKey::new(&new)).open_with(LocalKey::new(&old));
//! let sealer = blocking::Sealer::from(builder.build()?);
//! sealer.rewrap_file(&path, &context)?;
//!
//! let only_new = blocking::Sealer::new(LocalKey::new(&new));
//! assert_eq!(only_new.open(&std::fs::read(&path)?, &context)?, b"a large file");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What a crash leaves
//! Before a byte of the file is changed, the old front and the new one are written to a journal beside it, named as
//! the file with `.waxseal-journal` behind, and have reached the disk, checksum and name and all. Then the first four
//! bytes of the file are overwritten with a mark that no envelope begins with; then all that follows them; and last the
//! four bytes of the format's magic. Each of the three has reached the disk before the next begins, so a front that
//! parses is whole, whatever ended the process or the machine. The journal is removed at the end.
//!
//! [`recover`] goes by that alone. A front that parses stays as it is, whether it is the old one, the new one, or one that
//! somebody has written since: a journal that was left behind, or that stands beside a copy of the file, changes nothing
//! and is removed. A front that does not parse is replaced by the old one if the journal is of this very body and
//! file length; else nothing is done, and the error says that somebody has to look. [`rewrap_file`] and
//! [`blocking::Sealer::rewrap_file`](crate::sealer::blocking::Sealer::rewrap_file) recover before anything else, so
//! running the same re-wrap again is all that is needed.
//!
//! That holds if the file system keeps what was synced (`fsync` of the file, the journal and the directory), and for
//! writes that are torn anywhere.
//!
//! # Readers
//! A reader is not stopped by the lock (on Unix), and needs neither it nor the journal. A reader that comes while the front
//! is written (the time of two syncs, some milliseconds), or after a crash and before the recovery, gets `Malformed`, and
//! never a wrong payload. Reading again is enough while the re-wrap goes on; after a crash, [`recover`] is.
//!
//! # What it keeps and what it refuses
//! Owner, mode and everything else of the file stay, since it stays the same file; a symbolic link leads to the file that is
//! meant. The file is locked meanwhile (`flock` on Unix): a second process gets `Io`, retryable; and one that comes after
//! finds another header than it re-wrapped, and gets `InvalidArgument`. Refused with
//! `Unsupported`, before anything is written: what is no file; a file with several names (hard links), which all lead to
//! the same bytes and would all see the new wraps, but the journal could stand beside one of them only; and on Unix a file
//! of another owner if the journal cannot be given to that owner. A journal of
//! another owner than the file's, or one that is a link, is not believed.

mod disk;
mod journal;
mod protocol;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::path::Path;

use crate::sealer::NewWraps;
use crate::value::error::{Operation, Result};
use disk::FileDisk;
pub(crate) use disk::Stamp;

/// What [`recover`] found and did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Recovery {
    /// No journal: no re-wrap was interrupted.
    Clean,
    /// A journal was left behind, and the file was whole. The journal was removed.
    Removed,
    /// The front was not whole. It is again as it was before the re-wrap.
    Restored,
}

/// Puts new wraps into the file at `path`, where its old ones are. They come from
/// [`Sealer::rewrap`](crate::Sealer::rewrap) of its header, and are padded to the old length.
///
/// Blocks its thread for a few synchronous writes; in async code call it where blocking is allowed. Returns once the
/// new wraps have reached the disk. [Recovers](recover) first.
///
/// # Errors
/// `NoRoom` where the new wraps are longer than the old ones with what was reserved; `InvalidArgument` where the file
/// does not have the header that was re-wrapped, or no longer; `Unsupported` as [above](self); `Malformed` as
/// [`recover`]; `Io`, retryable where another process has the file. After each of these but the last the file is as it
/// was; after `Io` it is as it was or [`recover`] makes it so.
pub fn rewrap_file(path: impl AsRef<Path>, wraps: &NewWraps) -> Result<()> {
    FileDisk::open(path.as_ref())
        .and_then(|mut disk| protocol::rewrite(&mut disk, wraps))
        .map_err(|error| error.with_operation(Operation::Rewrap))
}

/// The same, of a file that must be as it was when its header was read.
pub(crate) fn rewrap_unchanged_file(path: &Path, wraps: &NewWraps, stamp: &Stamp) -> Result<()> {
    FileDisk::open(path)
        .and_then(|mut disk| {
            disk.check_stamp(stamp)?;
            protocol::rewrite(&mut disk, wraps)
        })
        .map_err(|error| error.with_operation(Operation::Rewrap))
}

/// Ends a re-wrap of the file at `path` that was interrupted: afterwards its front is whole, and opens under the old
/// keys or the new ones. Needs no key. Without a journal beside the file it only looks for one.
///
/// # Errors
/// `Malformed` if the front is not whole and the journal is not of this file, or the journal is not of the file's owner:
/// nothing is changed, and somebody has to look. `Io`, retryable if another process has the file. `Unsupported` as
/// [above](self).
pub fn recover(path: impl AsRef<Path>) -> Result<Recovery> {
    let recover = || {
        if !disk::has_journal(path.as_ref())? {
            return Ok(Recovery::Clean);
        }
        protocol::recover(&mut FileDisk::open(path.as_ref())?)
    };
    recover().map_err(|error| error.with_operation(Operation::Rewrap))
}
