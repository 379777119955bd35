//! A file that is written anew beside the old one, and takes its place.
//!
//! The two exchange their names, and then it is looked at which file has left the place. If it is another one than was read, somebody has
//! written meanwhile: that file is newer, and comes back. Whatever leaves the place the next time is looked at again, until it is the one that
//! was put there last. So the newest file is at the place in the end, and only what is older than it is removed.
//!
//! A [`Record`] says before each exchange which file is to come and which one to leave, so that whoever finds it after a kill knows which of the two
//! files is the newer one.

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;

use std::fs::{self, File, Metadata, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use super::record::{Exchange, Identity, Record, sync_folder};
use super::{Change, Replaced, attributes, leftover, remove};
use crate::envelope::HeaderBuf;
use crate::value::error::{Error, ErrorKind, Result};

/// How often a file is looked at again that others replace all the time.
const MOST: usize = 64;

/// Replaces a file that was read and is open.
pub(super) fn replace(path: &Path, old: File, change: &Change) -> Result<Replaced> {
    let metadata = old.metadata().map_err(Error::io)?;
    check_single_name(&metadata)?;
    let old = Locked::take(old)?;
    let other = leftover::other(path);
    if Identity::at(&other)?.is_some() && Identity::at(&leftover::record(path))?.is_none() {
        return Err(in_the_way(&other));
    }
    let record = Record::make(path)?;
    // From here on the record says whose the other file is.
    match write(&other, &old.0, &metadata, change) {
        Ok(()) => {}
        Err(error) => {
            remove(&other).and_then(|()| record.remove())?;
            return Err(error);
        }
    }
    let read = Identity::of(&metadata);
    let Some(new) = Identity::at(&other)? else {
        record.remove()?;
        return Err(Error::io(io::ErrorKind::NotFound.into()));
    };
    match Identity::at(path)? {
        Some(now) if now == read => {}
        now => {
            remove(&other).and_then(|()| record.remove())?;
            return Ok(match now {
                Some(_) => Replaced::Changed,
                None => Replaced::Gone,
            });
        }
    }
    put(path, record, Exchange { put: new, take: read })
}

/// Between which steps of an exchange somebody is. Tests end it there, or replace the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Point {
    Noted,
    Exchanged,
    Looked,
    Removed,
}

fn put(path: &Path, record: Record, first: Exchange) -> Result<Replaced> {
    put_by(path, record, first, &mut |_| Ok(()))
}

/// Exchanges the two files until the newest one is at the place, and removes the other one.
fn put_by(
    path: &Path,
    mut record: Record,
    first: Exchange,
    reached: &mut dyn FnMut(Point) -> Result<()>,
) -> Result<Replaced> {
    let other = leftover::other(path);
    let mut next = first;
    for round in 0..MOST {
        record.note(next)?;
        reached(Point::Noted)?;
        match exchange(&other, path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound && round == 0 => {
                remove(&other).and_then(|()| record.remove())?;
                return Ok(Replaced::Gone);
            }
            // Not everywhere can two files exchange their names. The last look is right before this.
            Err(error) if is_unsupported(&error) => {
                let is_expected = Identity::at(path)? == Some(next.take);
                if is_expected {
                    fs::rename(&other, path).map_err(Error::io)?;
                } else {
                    remove(&other)?;
                }
                sync_folder(path)?;
                record.remove()?;
                return Ok(match is_expected && round == 0 {
                    true => Replaced::Done,
                    false => Replaced::Changed,
                });
            }
            Err(error) => return Err(Error::io(error)),
        }
        reached(Point::Exchanged)?;
        sync_folder(path)?;
        let left = Identity::at(&other)?;
        reached(Point::Looked)?;
        if left.is_none_or(|left| left == next.take) {
            remove(&other)?;
            reached(Point::Removed)?;
            record.remove()?;
            sync_folder(path)?;
            return Ok(match round {
                0 => Replaced::Done,
                _ => Replaced::Changed,
            });
        }
        if let Some(newer) = left {
            next = Exchange {
                put: newer,
                take: next.put,
            };
        }
    }
    // The record stays, and whoever settles it goes on.
    Err(leftover::unsettled())
}

/// Ends what was cut off. Does nothing if nothing was.
pub(super) fn settle(path: &Path) -> Result<()> {
    let Some(record) = Record::left(path)? else {
        return Ok(());
    };
    let other = leftover::other(path);
    let ended = |record: Record| {
        remove(&other)?;
        sync_folder(path)?;
        record.remove()?;
        sync_folder(path)
    };
    let (Some(first), Some(last)) = (record.exchanges.first(), record.exchanges.last().copied()) else {
        // Nothing was exchanged: the other file is half of a new one.
        return ended(record);
    };
    let (left, now) = (Identity::at(&other)?, Identity::at(path)?);
    let (Some(left), Some(now)) = (left, now) else {
        return match left {
            None => ended(record),
            Some(_) => Err(left_behind(&other)),
        };
    };
    // The exchange was done, or was not begun: the other file is older than what is at the place.
    if left == last.take || (left == last.put && left == first.put) {
        return ended(record);
    }
    let goes_on = if left == last.put {
        // It was to come back.
        (now == last.take).then_some(last)
    } else {
        // It was taken out, and is newer than what came in its place.
        (now == last.put).then_some(Exchange {
            put: left,
            take: last.put,
        })
    };
    match goes_on {
        Some(exchange) => put(path, record, exchange).map(|_| ()),
        None if is_same_value(path, &other) => ended(record),
        None => Err(left_behind(&other)),
    }
}

fn left_behind(other: &Path) -> Error {
    Error::new(ErrorKind::Store).with_detail(format!(
        "a re-wrap was cut off while others replaced the file, and {} may be newer than it: look which of the two is right, give it the name of the file, and remove the other one and the record beside them",
        other.display()
    ))
}

/// Whether two envelopes have the same head of the body, and the same length behind it. The head has 28 random bytes of its own for each value.
fn is_same_value(one: &Path, other: &Path) -> bool {
    let body = |path: &Path| {
        let mut file = super::open(path)?.ok_or_else(Error::cannot_open)?;
        let header = HeaderBuf::read_from(&mut file)?;
        let at = header.header()?.body_offset();
        let body = header.as_bytes().get(at..).unwrap_or_default().to_vec();
        let len = file.metadata().map_err(Error::io)?.len();
        Ok::<_, Error>((body, len.saturating_sub(header.as_bytes().len() as u64)))
    };
    matches!((body(one), body(other)), (Ok(one), Ok(other)) if one == other)
}

fn in_the_way(other: &Path) -> Error {
    Error::new(ErrorKind::Store).with_detail(format!(
        "{} is where the new file would be written, and no re-wrap has made it: rename it",
        other.display()
    ))
}

fn write(other: &Path, old: &File, metadata: &Metadata, change: &Change) -> Result<()> {
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(other).map_err(Error::io)?;
    let mut write = || {
        let mut rest = old;
        rest.rewind()?;
        let mut front = Vec::new();
        let read = change.item().front();
        rest.take(read.len() as u64).read_to_end(&mut front)?;
        if front != read {
            return Err(changed());
        }
        file.write_all(change.front())?;
        rest.seek(SeekFrom::Start(change.replaces() as u64))?;
        let copied = io::copy(&mut rest, &mut file)?;
        if change.front().len() as u64 + copied != change.new_len() {
            return Err(changed());
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt as _;
            let made = file.metadata()?;
            if (made.uid(), made.gid()) != (metadata.uid(), metadata.gid()) {
                std::os::unix::fs::fchown(&file, Some(metadata.uid()), Some(metadata.gid()))?;
            }
        }
        file.set_permissions(metadata.permissions())?;
        Ok(())
    };
    write().map_err(Error::io)?;
    attributes::copy(old, &file)?;
    file.sync_all().map_err(Error::io)
}

/// The error that a caller takes for a change.
fn changed() -> io::Error {
    io::Error::other(Error::argument("the file was changed while it was copied"))
}

#[cfg(unix)]
fn check_single_name(metadata: &Metadata) -> Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    if metadata.nlink() > 1 {
        return Err(Error::unsupported(
            "re-wrapping a file with several names (hard links)",
        ));
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_single_name(_: &Metadata) -> Result<()> {
    Ok(())
}

#[cfg(target_os = "linux")]
fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?)
}

#[cfg(not(target_os = "linux"))]
fn exchange(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Whether an exchange cannot be done here at all. See rename(2).
#[cfg(unix)]
fn is_unsupported(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Unsupported
        || [libc::EINVAL, libc::ENOSYS, libc::ENOTSUP]
            .iter()
            .any(|code| error.raw_os_error() == Some(*code))
}

#[cfg(not(unix))]
fn is_unsupported(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Unsupported
}

/// A file that is locked while this is there, as in a re-wrap in place.
struct Locked(File);

impl Locked {
    fn take(file: File) -> Result<Self> {
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(Error::new(ErrorKind::Conflict)
                .with_retryable(true)
                .with_detail("another process has locked the file")),
            Err(TryLockError::Error(error)) => Err(Error::io(error)),
        }
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}
