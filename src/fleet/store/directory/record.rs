//! The record of an exchange: which file is to come to a place, and which one to leave it.
//!
//! ```text
//! waxseal-move-1
//! put INODE LENGTH SECONDS NANOSECONDS take INODE LENGTH SECONDS NANOSECONDS .
//! ```
//! A line is added, and reaches the disk, before each exchange. The last whole line counts.

use std::fmt::Write as _;
use std::fs::{self, File, Metadata, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use super::leftover;
use crate::value::error::{Error, ErrorKind, Result};

const SCHEMA: &str = "waxseal-move-1\n";
/// A record has some lines.
const MAX: u64 = 64 << 10;

/// What a file is, whatever its name: neither a rename nor a new owner changes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity([i128; 4]);

impl Identity {
    #[cfg(unix)]
    pub(super) fn of(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        Self([
            metadata.ino().into(),
            metadata.len().into(),
            metadata.mtime().into(),
            metadata.mtime_nsec().into(),
        ])
    }

    /// There is no number of a file here.
    #[cfg(not(unix))]
    pub(super) fn of(metadata: &Metadata) -> Self {
        let modified = metadata.modified().ok();
        let since = modified.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
        let since = since.unwrap_or_default();
        Self([
            0,
            metadata.len().into(),
            since.as_secs().into(),
            since.subsec_nanos().into(),
        ])
    }

    /// Of what stands at a place, without following a link. `None` if nothing does.
    pub(super) fn at(path: &Path) -> Result<Option<Self>> {
        match fs::symlink_metadata(path) {
            Ok(metadata) => Ok(Some(Self::of(&metadata))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io(error)),
        }
    }
}

/// Which file is to come to the place, and which one to leave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exchange {
    pub(super) put: Identity,
    pub(super) take: Identity,
}

/// A record that this process has for itself.
pub(super) struct Record {
    path: PathBuf,
    file: File,
    /// What was written in it, in order.
    pub(super) exchanges: Vec<Exchange>,
}

impl Record {
    /// Makes the record of a file.
    ///
    /// # Errors
    /// Retryable if there is one: somebody is replacing the file, or was.
    pub(super) fn make(path: &Path) -> Result<Self> {
        let record = leftover::record(path);
        let mut options = File::options();
        options.read(true).write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = match options.open(&record) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(leftover::unsettled()),
            Err(error) => return Err(Error::io(error)),
        };
        let record = Self::locked(record, file)?;
        let written = record.add(SCHEMA).and_then(|()| sync_folder(path));
        if let Err(error) = written {
            let _ = record.remove();
            return Err(error);
        }
        Ok(record)
    }

    /// Opens the record that whoever was cut off has left. `None` if there is none.
    ///
    /// # Errors
    /// Retryable if somebody has it, who is not cut off.
    pub(super) fn left(path: &Path) -> Result<Option<Self>> {
        let record = leftover::record(path);
        let mut options = File::options();
        options.read(true).write(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NOFOLLOW | libc::O_NONBLOCK);
        let file = match options.open(&record) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io(error)),
        };
        if !file.metadata().map_err(Error::io)?.is_file() {
            return Err(no_record(&record));
        }
        let mut record = Self::locked(record, file)?;
        record.exchanges = record.read()?;
        Ok(Some(record))
    }

    fn locked(path: PathBuf, file: File) -> Result<Self> {
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(leftover::unsettled()),
            Err(TryLockError::Error(error)) => return Err(Error::io(error)),
        }
        let record = Self {
            path,
            file,
            exchanges: Vec::new(),
        };
        // Whoever had it may have removed it before it was locked here.
        let metadata = record.file.metadata().map_err(Error::io)?;
        if Identity::at(&record.path)? != Some(Identity::of(&metadata)) {
            return Err(leftover::unsettled());
        }
        Ok(record)
    }

    fn read(&self) -> Result<Vec<Exchange>> {
        let mut text = String::new();
        let read = (&self.file).take(MAX).read_to_string(&mut text);
        if read.is_err_and(|error| error.kind() != io::ErrorKind::InvalidData) {
            return Err(Error::io(io::Error::other(
                "the record of a re-wrap cannot be read",
            )));
        }
        // Its first line may be cut off as well.
        let Some(lines) = text.strip_prefix(SCHEMA) else {
            return match SCHEMA.starts_with(&text) {
                true => Ok(Vec::new()),
                false => Err(no_record(&self.path)),
            };
        };
        Ok(lines.lines().map_while(parsed).collect())
    }

    /// Notes the next exchange, before it is done.
    pub(super) fn note(&mut self, exchange: Exchange) -> Result<()> {
        let mut line = String::from("put");
        let push = |line: &mut String, identity: Identity| {
            for number in identity.0 {
                // A string takes all that is written to it.
                let _ = write!(line, " {number}");
            }
        };
        push(&mut line, exchange.put);
        line += " take";
        push(&mut line, exchange.take);
        line += " .\n";
        self.add(&line)?;
        self.exchanges.push(exchange);
        Ok(())
    }

    fn add(&self, line: &str) -> Result<()> {
        let mut file = &self.file;
        let mut write = || {
            file.seek(SeekFrom::End(0))?;
            file.write_all(line.as_bytes())?;
            file.sync_all()
        };
        write().map_err(Error::io)
    }

    /// Removes it, after everything else.
    pub(super) fn remove(self) -> Result<()> {
        super::remove(&self.path)
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        // A child that another thread is starting holds a copy of the descriptor until it executes its program.
        let _ = self.file.unlock();
    }
}

fn parsed(line: &str) -> Option<Exchange> {
    let mut words = line.strip_suffix(" .")?.split(' ');
    let mut identity = |word: &str| {
        if words.next()? != word {
            return None;
        }
        let mut number = || words.next()?.parse().ok();
        Some(Identity([number()?, number()?, number()?, number()?]))
    };
    let (put, take) = (identity("put")?, identity("take")?);
    Some(Exchange { put, take })
}

fn no_record(path: &Path) -> Error {
    Error::new(ErrorKind::Store).with_detail(format!(
        "{} has a name as a re-wrap gives it, and is none of its files: rename it",
        path.display()
    ))
}

#[cfg(unix)]
pub(super) fn sync_folder(path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(Error::io)
}

#[cfg(not(unix))]
pub(super) fn sync_folder(_: &Path) -> Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_is_cut_off_anywhere_says_what_was_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let mut record = Record::make(&path).unwrap();
        assert!(Record::make(&path).is_err_and(|error| error.is_retryable()));
        assert!(Record::left(&path).is_err_and(|error| error.is_retryable()));
        let identity = |number| Identity([number, 7, -3, 999_999_999]);
        let exchange = |number| Exchange {
            put: identity(number),
            take: identity(number + 1),
        };
        record.note(exchange(1)).unwrap();
        record.note(exchange(i128::from(u64::MAX))).unwrap();
        drop(record);
        let record = leftover::record(&path);
        let whole = fs::read(&record).unwrap();
        let ends: Vec<usize> = whole
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'\n')
            .map(|(at, _)| at)
            .collect();
        for len in 0..=whole.len() {
            fs::write(&record, &whole[..len]).unwrap();
            let left = Record::left(&path).unwrap().unwrap();
            // Whether the end of a line is there does not matter, since its dot is.
            let lines = ends.iter().skip(1).filter(|end| len >= **end).count();
            assert_eq!(left.exchanges.len(), lines, "{len}");
        }
        fs::write(&record, "somebody's own").unwrap();
        assert!(Record::left(&path).is_err_and(|error| !error.is_retryable()));
        fs::remove_file(&record).unwrap();
        assert!(Record::left(&path).unwrap().is_none());
    }
}
