//! A file of the operating system, and the journal beside it.

use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{ErrorKind as IoKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::journal;
use super::protocol::{Disk, busy};
use crate::value::error::{Error, Result};

const SUFFIX: &str = ".waxseal-journal";

/// Returns the path of a file's journal. `path` is the file itself and not a link to it.
fn journal_of(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(SUFFIX);
    name.into()
}

/// Whether there is a journal.
pub(super) fn has_journal(path: &Path) -> Result<bool> {
    let path = fs::canonicalize(path).map_err(Error::io)?;
    match fs::symlink_metadata(journal_of(&path)) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == IoKind::NotFound => Ok(false),
        Err(error) => Err(Error::io(error)),
    }
}

/// A file that is locked while this is there.
pub(super) struct FileDisk {
    file: File,
    metadata: Metadata,
    journal: PathBuf,
    directory: PathBuf,
    /// The journal that was made, until it is removed.
    made: Option<File>,
}

impl FileDisk {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let path = fs::canonicalize(path).map_err(Error::io)?;
        // Opening something that is not a file can wait for ever, or have an effect.
        if !fs::metadata(&path).map_err(Error::io)?.is_file() {
            return Err(Error::unsupported(
                "re-wrapping something other than a regular file in place",
            ));
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NOFOLLOW);
        let file = options.open(&path).map_err(Error::io)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => busy(),
            TryLockError::Error(error) => Error::io(error),
        })?;
        let metadata = file.metadata().map_err(Error::io)?;
        check_same(&path, &metadata)?;
        Ok(Self {
            file,
            metadata,
            journal: journal_of(&path),
            directory: path.parent().map_or_else(PathBuf::new, Path::to_path_buf),
            made: None,
        })
    }
}

/// What shows, within one process, that a file is still the file that was read and was not written since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    len: u64,
    modified: Option<SystemTime>,
    #[cfg(unix)]
    file: (u64, u64),
}

impl Stamp {
    pub(crate) fn of(file: &File) -> Result<Self> {
        let metadata = file.metadata().map_err(Error::io)?;
        Ok(Self {
            len: metadata.len(),
            modified: metadata.modified().ok(),
            #[cfg(unix)]
            file: {
                use std::os::unix::fs::MetadataExt;
                (metadata.dev(), metadata.ino())
            },
        })
    }
}

impl FileDisk {
    /// Refuses a file that was replaced or written since it was read.
    pub(super) fn check_stamp(&self, stamp: &Stamp) -> Result<()> {
        if Stamp::of(&self.file)? == *stamp {
            return Ok(());
        }
        Err(Error::argument("the file was changed while it was re-wrapped"))
    }
}

impl Drop for FileDisk {
    // Closing is not enough: a child process that another thread is starting holds a copy of the descriptor until it
    // executes its program.
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}

impl Disk for FileDisk {
    fn file_len(&self) -> Result<u64> {
        self.file
            .metadata()
            .map(|metadata| metadata.len())
            .map_err(Error::io)
    }

    fn front(&mut self, len: usize) -> Result<Vec<u8>> {
        self.file.rewind().map_err(Error::io)?;
        let mut front = Vec::with_capacity(len);
        let read = (&self.file).take(len as u64).read_to_end(&mut front);
        read.map_err(Error::io)?;
        Ok(front)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        let there = self.file.seek(SeekFrom::Start(offset));
        there.and_then(|_| self.file.write_all(bytes)).map_err(Error::io)
    }

    fn sync_file(&mut self) -> Result<()> {
        self.file.sync_all().map_err(Error::io)
    }

    fn journal(&mut self) -> Result<Option<Vec<u8>>> {
        let mut options = OpenOptions::new();
        options.read(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NOFOLLOW | libc::O_NONBLOCK);
        let journal = match options.open(&self.journal) {
            Ok(journal) => journal,
            Err(error) if error.kind() == IoKind::NotFound => return Ok(None),
            #[cfg(unix)]
            Err(error) if error.raw_os_error() == Some(libc::ELOOP) => return Err(not_believed()),
            Err(error) => return Err(Error::io(error)),
        };
        let metadata = journal.metadata().map_err(Error::io)?;
        if !metadata.is_file() || !is_of_same_owner(&metadata, &self.metadata) {
            return Err(not_believed());
        }
        let limit = journal::len_max() as u64 + 1;
        let mut bytes = Vec::new();
        journal.take(limit).read_to_end(&mut bytes).map_err(Error::io)?;
        Ok(Some(bytes))
    }

    fn create_journal(&mut self, bytes: &[u8]) -> Result<()> {
        check_single_name(&self.file)?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut made = options.open(&self.journal).map_err(Error::io)?;
        let written =
            give_to_owner(&made, &self.metadata).and_then(|()| made.write_all(bytes).map_err(Error::io));
        if written.is_ok() {
            self.made = Some(made);
        } else {
            // Half of a journal does no harm either.
            let _ = fs::remove_file(&self.journal);
        }
        written
    }

    fn sync_journal(&mut self) -> Result<()> {
        self.made
            .as_ref()
            .map_or(Ok(()), File::sync_all)
            .map_err(Error::io)
    }

    fn remove_journal(&mut self) -> Result<()> {
        self.made = None;
        match fs::remove_file(&self.journal) {
            Err(error) if error.kind() != IoKind::NotFound => Err(Error::io(error)),
            _ => Ok(()),
        }
    }

    #[cfg(unix)]
    fn sync_directory(&mut self) -> Result<()> {
        let directory = File::open(&self.directory).map_err(Error::io)?;
        directory.sync_all().map_err(Error::io)
    }

    /// Directories cannot be synced here. The file system keeps a log of its own for them.
    #[cfg(not(unix))]
    fn sync_directory(&mut self) -> Result<()> {
        let _ = &self.directory;
        Ok(())
    }
}

fn not_believed() -> Error {
    journal::malformed()
        .with_detail("the journal beside the file is not a regular file of the same owner; look at it")
}

/// Refuses a file that was replaced before it was locked.
#[cfg(unix)]
fn check_same(path: &Path, locked: &Metadata) -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    let named = fs::metadata(path).map_err(Error::io)?;
    if (named.dev(), named.ino()) == (locked.dev(), locked.ino()) {
        Ok(())
    } else {
        Err(busy())
    }
}

#[cfg(not(unix))]
fn check_same(_: &Path, _: &Metadata) -> Result<()> {
    Ok(())
}

/// Refuses a file with several names, since the journal stands beside one of them.
#[cfg(unix)]
fn check_single_name(file: &File) -> Result<()> {
    if std::os::unix::fs::MetadataExt::nlink(&file.metadata().map_err(Error::io)?) > 1 {
        return Err(
            Error::unsupported("re-wrapping a file with several names in place").with_detail(
                "its other names lead to the same bytes, and the journal would stand beside one of them only",
            ),
        );
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_single_name(_: &File) -> Result<()> {
    Ok(())
}

#[cfg(unix)]
fn is_of_same_owner(journal: &Metadata, file: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    journal.uid() == file.uid()
}

#[cfg(not(unix))]
fn is_of_same_owner(_: &Metadata, _: &Metadata) -> bool {
    true
}

/// Gives the journal to the owner of the file. Only then is it believed later.
#[cfg(unix)]
fn give_to_owner(journal: &File, file: &Metadata) -> Result<()> {
    use std::os::unix::fs::{MetadataExt, fchown};
    if journal.metadata().map_err(Error::io)?.uid() == file.uid() {
        return Ok(());
    }
    fchown(journal, Some(file.uid()), None).map_err(|error| {
        Error::unsupported("re-wrapping a file of another owner in place").with_source(error)
    })
}

#[cfg(not(unix))]
fn give_to_owner(_: &File, _: &Metadata) -> Result<()> {
    Ok(())
}
