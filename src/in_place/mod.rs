//! Re-wraps a large file where it is: overwrites its front, through a journal, and does not touch its body.
//!
//! The front of an envelope can only be overwritten by a front of the same length. So this needs room that was reserved
//! when the file was sealed ([`Builder::padding`](crate::Builder::padding)), or new wraps that are exactly as long as the
//! old ones. If they do not fit, the error is `NoRoom`. Then write the whole envelope beside the file, and rename it.
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
//! Before a byte of the file is changed, the old front and the new front are written to a journal beside it, named as the
//! file with `.waxseal-journal` behind. They have reached the disk, with checksum and name. Then the first four bytes of
//! the file are overwritten with a mark with which no envelope begins; then everything after them; and last the four
//! bytes of the format's magic. Each of the three has reached the disk before the next begins. So a front that parses is
//! whole, whatever ended the process or the machine. At the end the journal is removed.
//!
//! [`recover`] relies on that alone. A front that parses stays as it is: the old front, the new front, or a front that
//! somebody has written since. So a journal that was left behind, or that is beside a copy of the file, changes nothing
//! and is removed. A front that does not parse is replaced by the old front if the journal is of exactly this body and
//! file length. Otherwise nothing is done, and the error says that a person has to look. [`rewrap_file`] and
//! [`blocking::Sealer::rewrap_file`](crate::sealer::blocking::Sealer::rewrap_file) recover first, so it is enough to run
//! the same re-wrap again.
//!
//! This holds if the file system keeps what was synced (`fsync` of the file, the journal and the directory), and for
//! writes that are torn anywhere.
//!
//! # Readers
//! On Unix the lock does not stop a reader, and a reader needs neither the lock nor the journal. A reader gets
//! `Malformed`, and never a wrong payload, if it comes while the front is written (the time of two syncs, some
//! milliseconds), or after a crash and before the recovery. While the re-wrap goes on, read again. After a crash,
//! [`recover`].
//!
//! # What it keeps and what it refuses
//! Owner, mode and everything else of the file stay, because it stays the same file. A symbolic link leads to the file
//! that is meant. The file is locked meanwhile (`flock` on Unix). A second process gets `Io`, retryable. A process that
//! comes afterwards finds another header than it re-wrapped, and gets `InvalidArgument`.
//!
//! Some files are refused with `Unsupported`, before anything is written:
//! - what is not a regular file
//! - a file with several names (hard links): all names lead to the same bytes and would see the new wraps, but the
//!   journal could be beside only one of them
//! - on Unix, a file of another owner, if the journal cannot be given to that owner
//!
//! A journal of another owner than the file's, or a journal that is a link, is not believed.

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
#[cfg(feature = "fleet")]
pub(crate) use protocol::is_marked;

/// What [`recover`] found and did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Recovery {
    /// There was no journal: no re-wrap was interrupted.
    Clean,
    /// A journal was left behind, and the file was whole. The journal was removed.
    Removed,
    /// The front was not whole. It is again as it was before the re-wrap.
    Restored,
}

/// Puts new wraps into the file at `path`, in the place of its old wraps. The new wraps come from
/// [`Sealer::rewrap`](crate::Sealer::rewrap) of the file's header, and are padded to the old length.
///
/// The call blocks its thread for a few synchronous writes. In async code, make it where blocking is allowed. It returns
/// after the new wraps have reached the disk. It [recovers](recover) first.
///
/// # Errors
/// - `NoRoom` if the new wraps are longer than the old wraps with their reserved room
/// - `InvalidArgument` if the file does not have the header that was re-wrapped, or no longer has it
/// - `Unsupported` for a file that is refused, see [the module](self)
/// - `Malformed` as for [`recover`]
/// - `Io` if reading or writing fails; retryable if another process has the file
///
/// After `Io` the file is as it was, or [`recover`] makes it so. After every other error it is as it was.
pub fn rewrap_file(path: impl AsRef<Path>, wraps: &NewWraps) -> Result<()> {
    FileDisk::open(path.as_ref())
        .and_then(|mut disk| protocol::rewrite(&mut disk, wraps))
        .map_err(|error| error.with_operation(Operation::Rewrap))
}

/// The same for a file that must be as it was when its header was read.
pub(crate) fn rewrap_unchanged_file(path: &Path, wraps: &NewWraps, stamp: &Stamp) -> Result<()> {
    FileDisk::open(path)
        .and_then(|mut disk| {
            disk.check_stamp(stamp)?;
            protocol::rewrite(&mut disk, wraps)
        })
        .map_err(|error| error.with_operation(Operation::Rewrap))
}

/// Ends a re-wrap of the file at `path` that was interrupted. Afterwards the front is whole, and opens under the old keys
/// or the new keys. Needs no key. Without a journal beside the file, it does nothing else.
///
/// # Errors
/// - `Malformed` if the front is not whole and the journal is not of this file, or the journal is not of the file's
///   owner; nothing is changed, and a person has to look
/// - `Io` if reading or writing fails; retryable if another process has the file
/// - `Unsupported` for a file that is refused, see [the module](self)
pub fn recover(path: impl AsRef<Path>) -> Result<Recovery> {
    let recover = || {
        if !disk::has_journal(path.as_ref())? {
            return Ok(Recovery::Clean);
        }
        protocol::recover(&mut FileDisk::open(path.as_ref())?)
    };
    recover().map_err(|error| error.with_operation(Operation::Rewrap))
}
