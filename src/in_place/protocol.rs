//! The order of the writes, and what a recovery makes of them.

use std::io;

use super::Recovery;
use super::journal::{Journal, malformed};

use crate::envelope::{BODY_FIXED, Header};
use crate::sealer::NewWraps;
use crate::value::error::{Error, ErrorKind, Result};
use crate::value::limits;

/// The mark that takes the place of the file's first bytes while its front is written. Each of its bytes differs from the
/// format's magic, so a front with any of them is not an envelope's.
const MARK: &[u8; 4] = b"waxj";

/// Whether these are the first bytes of a file whose front is being written.
#[cfg(feature = "fleet")]
pub(crate) fn is_marked(front: &[u8]) -> bool {
    front.starts_with(MARK)
}

/// A file with room for a journal beside it. One process at a time has it.
///
/// A write survives the end of the process immediately, and the end of the machine only after a sync. A write that was
/// not synced may then be there in part.
pub(super) trait Disk {
    /// Length of the file.
    fn file_len(&self) -> Result<u64>;
    /// Returns the first `len` bytes of the file, or fewer if the file is shorter.
    fn front(&mut self, len: usize) -> Result<Vec<u8>>;
    /// Overwrites bytes of the file, from `offset` on.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<()>;
    fn sync_file(&mut self) -> Result<()>;
    /// The journal, if there is one.
    fn journal(&mut self) -> Result<Option<Vec<u8>>>;
    /// Makes the journal, or leaves none behind if that fails. There must be no journal before.
    fn create_journal(&mut self, bytes: &[u8]) -> Result<()>;
    fn sync_journal(&mut self) -> Result<()>;
    /// Removes the journal, if there is one.
    fn remove_journal(&mut self) -> Result<()>;
    /// Syncs the directory, so that the journal's making or removal reaches the disk.
    fn sync_directory(&mut self) -> Result<()>;
}

/// Overwrites the wraps.
pub(super) fn rewrite(disk: &mut impl Disk, wraps: &NewWraps) -> Result<()> {
    recover(disk)?;
    let header = wraps.old_header();
    if disk.front(header.len())? != header {
        return Err(Error::argument(
            "these wraps were made for another envelope, or the file was changed meanwhile",
        ));
    }
    let (old, body) = header
        .split_at_checked(wraps.replaces())
        .ok_or_else(Error::cannot_open)?;
    let new = wraps.in_place().ok_or_else(|| {
        Error::new(ErrorKind::NoRoom {
            needed: wraps.bare_len() as u64,
            room: old.len() as u64,
        })
    })?;
    let journal = Journal {
        file_len: disk.file_len()?,
        body: body.get(..BODY_FIXED).ok_or_else(Error::cannot_open)?,
        old,
        new: &new,
    };
    let journal = journal.encode()?;
    disk.create_journal(&journal)?;
    if let Err(error) = disk.sync_journal().and_then(|()| disk.sync_directory()) {
        // The file is as it was. A journal that stays does no harm.
        let _ = disk.remove_journal();
        return Err(error);
    }
    // The file is touched only now that the journal stays, whatever happens.
    if let Err(error) = put(disk, &new) {
        if put(disk, old).is_ok() {
            let _ = disk.remove_journal();
        }
        return Err(error);
    }
    // The new wraps are in force. A recovery finds that a journal that stays is no longer needed.
    let _ = disk.remove_journal().and_then(|()| disk.sync_directory());
    Ok(())
}

/// Ends what was interrupted.
pub(super) fn recover(disk: &mut impl Disk) -> Result<Recovery> {
    let Some(bytes) = disk.journal()? else {
        return Ok(Recovery::Clean);
    };
    let limit = limits::WRAP_SECTION.max + limits::CONTEXT.max + 1024;
    let front = disk.front(usize::try_from(limit).unwrap_or(usize::MAX))?;
    if Header::parse(&front).is_ok() {
        // The front is whole, because the magic is written after everything else has reached the disk. The journal was
        // never used, or is no longer needed, or somebody has written another front since.
        return remove(disk, Recovery::Removed);
    }
    let file_len = disk.file_len()?;
    let journal = match Journal::decode(&bytes) {
        Ok(journal) if has_body(&front, &journal) && journal.file_len == file_len => journal,
        _ => {
            return Err(malformed().with_detail(
                "a re-wrap was interrupted, but the file is neither an envelope nor the file of the journal beside it; look at both",
            ));
        }
    };
    put(disk, journal.old)?;
    remove(disk, Recovery::Restored)
}

/// Writes a front so that it does not parse until all of it has reached the disk.
fn put(disk: &mut impl Disk, front: &[u8]) -> Result<()> {
    let (magic, rest) = front.split_at_checked(MARK.len()).ok_or_else(malformed)?;
    disk.write_at(0, MARK)?;
    disk.sync_file()?;
    disk.write_at(MARK.len() as u64, rest)?;
    disk.sync_file()?;
    disk.write_at(0, magic)?;
    disk.sync_file()
}

/// Removes the journal after the file no longer needs it. What was read may not have reached the disk, so this syncs the
/// file first.
fn remove(disk: &mut impl Disk, recovery: Recovery) -> Result<Recovery> {
    disk.sync_file()?;
    disk.remove_journal()?;
    disk.sync_directory()?;
    Ok(recovery)
}

/// Whether the body behind the front is the body of the journal.
fn has_body(front: &[u8], journal: &Journal<'_>) -> bool {
    front
        .get(journal.old.len()..)
        .is_some_and(|behind| behind.starts_with(journal.body))
}

/// The error if another process has the file.
pub(super) fn busy() -> Error {
    Error::io(io::ErrorKind::WouldBlock.into())
        .with_detail("another process is re-wrapping this file")
        .with_retryable(true)
}
