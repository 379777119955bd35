//! A file that is written anew beside the old one, and takes its name.

use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use super::{Change, Replaced, open, seen};
use crate::envelope::HeaderBuf;
use crate::value::error::{Error, ErrorKind, Result};

/// What is not whole.
const NEW: &str = ".waxseal-new";
/// What is whole, and exchanges its name with the old file.
const SWAP: &str = ".waxseal-swap";

/// Whether a name is one that only a re-wrap gives.
pub(super) fn is_own(name: &str) -> bool {
    name.ends_with(".waxseal-journal")
        || (name.starts_with('.') && (name.ends_with(NEW) || name.ends_with(SWAP)))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(suffix);
    path.with_file_name(name)
}

/// Removes what a run that was killed has left beside a file.
pub(super) fn tidy(path: &Path) -> Result<()> {
    remove(&beside(path, NEW))?;
    let swap = beside(path, SWAP);
    let Some(mut left) = open(&swap)? else {
        return Ok(());
    };
    let Some(mut file) = open(path)? else {
        return Err(left_behind(&swap));
    };
    // The two are one value under other wraps, or somebody has written meanwhile.
    match is_same_body(&mut left, &mut file) {
        Ok(true) => remove(&swap),
        _ => Err(left_behind(&swap)),
    }
}

fn left_behind(swap: &Path) -> Error {
    Error::new(ErrorKind::Store).with_detail(format!(
        "a re-wrap that was killed has left {}, which has another body: look which of the two is right, and remove that one or rename it",
        swap.display()
    ))
}

/// Whether two envelopes have the same head of the body and the same length behind it. The head has 28 random bytes of its own for each value.
fn is_same_body(one: &mut File, other: &mut File) -> Result<bool> {
    let body = |file: &mut File| {
        let header = HeaderBuf::read_from(file)?;
        let parsed = header.header()?;
        let body = header
            .as_bytes()
            .get(parsed.body_offset()..)
            .unwrap_or_default()
            .to_vec();
        let len = file.metadata().map_err(Error::io)?.len();
        Ok::<_, Error>((body, len.saturating_sub(header.as_bytes().len() as u64)))
    };
    Ok(body(one)? == body(other)?)
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io(error)),
        _ => Ok(()),
    }
}

/// Replaces a file that was read and is open.
pub(super) fn replace(path: &Path, old: File, change: &Change) -> Result<Replaced> {
    let metadata = old.metadata().map_err(Error::io)?;
    check_single_name(&metadata)?;
    let old = Locked::take(old)?;
    let (new, swap) = (beside(path, NEW), beside(path, SWAP));
    tidy(path)?;
    let written = write(&new, &old.0, &metadata, change);
    if let Err(error) = written {
        let _ = fs::remove_file(&new);
        return Err(error);
    }
    if fs::symlink_metadata(path).map_or(true, |now| seen(&now) != change.item().seen()) {
        let _ = fs::remove_file(&new);
        return Ok(Replaced::Changed);
    }
    fs::rename(&new, &swap).map_err(Error::io)?;
    let replaced = match exchange(&swap, path) {
        Ok(()) => {
            // What has left the place must be what was read.
            let is_old = fs::symlink_metadata(&swap).is_ok_and(|left| seen(&left) == change.item().seen());
            if is_old {
                sync_folder(path)?;
                Replaced::Done
            } else {
                exchange(&swap, path).map_err(Error::io)?;
                Replaced::Changed
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Replaced::Gone,
        // Not everywhere can two files exchange their names.
        Err(_) => {
            fs::rename(&swap, path).map_err(Error::io)?;
            sync_folder(path)?;
            return Ok(Replaced::Done);
        }
    };
    remove(&swap)?;
    sync_folder(path)?;
    Ok(replaced)
}

fn write(new: &Path, old: &File, metadata: &Metadata, change: &Change) -> Result<()> {
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(new).map_err(Error::io)?;
    let mut write = || {
        file.write_all(change.front())?;
        let mut rest = old;
        rest.seek(SeekFrom::Start(change.replaces() as u64))?;
        let copied = io::copy(&mut rest.take(u64::MAX), &mut file)?;
        if change.front().len() as u64 + copied != change.new_len() {
            return Err(io::Error::other("the file was changed while it was copied"));
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
        file.sync_all()
    };
    write().map_err(Error::io)
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

#[cfg(unix)]
fn sync_folder(path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(Error::io)
}

#[cfg(not(unix))]
fn sync_folder(_: &Path) -> Result<()> {
    Ok(())
}

/// A file that is locked while this is there, as in a re-wrap in place.
struct Locked(File);

impl Locked {
    fn take(file: File) -> Result<Self> {
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(fs::TryLockError::WouldBlock) => Err(Error::new(ErrorKind::Io)
                .with_retryable(true)
                .with_detail("another process has the file")),
            Err(fs::TryLockError::Error(error)) => Err(Error::io(error)),
        }
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}
