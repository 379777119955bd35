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
//! the file with `.waxseal-journal` behind, and have reached the disk, checksum and name and all. The journal is removed
//! after the new front has reached the disk. Whatever ends the process or the machine in between, [`recover`] then
//! finds either front whole and keeps it, or neither, and puts the old one back. [`rewrap_file`] and
//! [`blocking::Sealer::rewrap_file`](crate::sealer::blocking::Sealer::rewrap_file) do that themselves before anything else, so
//! running the same re-wrap again is all that is needed. A journal that belongs to another envelope, or to a front that
//! has been replaced since, changes nothing and is removed.
//!
//! That holds where the file system keeps what was synced (`fsync` of the file, the journal and the directory), and for
//! writes that are torn anywhere.
//!
//! # Readers
//! A reader is not stopped by the lock (on Unix), and needs neither it nor the journal. One that reads the front in the very
//! moment in which it is overwritten, or after a crash and before the recovery, may see parts of both: that gives an error
//! (`Malformed`, or `CannotOpen` and its like, since no wrap leads to the DEK that the body commits to), and never a
//! wrong payload. Reading again is enough while the re-wrap goes on; after a crash, [`recover`] is. Where a front
//! fits into one page, a process that is killed does not tear it on any common file system; losing power may.
//!
//! # What it keeps and what it refuses
//! Owner, mode and everything else of the file stay, since it stays the same file; a symbolic link leads to the file that is
//! meant. The file is locked meanwhile (`flock` on Unix): a second process gets `Io`, retryable. Refused with
//! `Unsupported`, before anything is written: what is no file, a file with several names (the journal stands beside
//! one of them), and on Unix a file of another owner where the journal cannot be given to that owner. A journal of
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

/// What [`recover`] found and did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Recovery {
    /// No journal: no re-wrap was interrupted.
    Clean,
    /// A journal was left behind, and the file was whole. The journal was removed.
    Removed,
    /// The front was torn. It is again as it was before the re-wrap.
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

/// Ends a re-wrap of the file at `path` that was interrupted: afterwards its front is whole, and opens under the old
/// keys or the new ones. Needs no key. Without a journal beside the file it only looks for one.
///
/// # Errors
/// `Malformed` where neither the journal nor the front of the file makes sense, or the journal is not of the file's owner:
/// nothing is changed, and somebody has to look. `Io`, retryable where another process has the file. `Unsupported` as
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
