//! Reading a log, without a lock and without changing it.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::hash::{Hash, root};
use super::journal::{self, Journaled};
use super::key::{VerifierKey, is_missing};
use super::note::Checkpoint;
use super::tile::{self, Kind, WIDE, WIDTH};
use super::tree::Edge;
use crate::value::error::{Error, ErrorKind, Result};

/// The most bytes of an entry in a bundle, with its length.
const MAX_ENTRY: usize = 65_537;
/// The most bytes of a checkpoint, and of a public key.
const MAX_TEXT: usize = 128 * 1024;

/// A log that is read: while it is written, or as a copy that somebody was given. Nothing of it is believed before it is
/// [verified](Self::verify).
#[derive(Debug)]
pub struct LogReader {
    pub(super) folder: PathBuf,
    checkpoint: Checkpoint,
}

pub(super) fn unreadable(detail: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Store).with_detail(detail)
}

pub(super) fn failed(path: &Path, error: std::io::Error) -> Error {
    unreadable(format!("cannot read {}: {error}", path.display())).with_source(error)
}

impl LogReader {
    /// Opens the log of a directory.
    ///
    /// # Errors
    /// `Store` if its checkpoint cannot be read, or is none.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref().to_owned();
        let path = folder.join("checkpoint");
        let note = read_text(&path).map_err(|error| failed(&path, error))?;
        let checkpoint = Checkpoint::parse(&note).map_err(|error| {
            unreadable(format!(
                "{}: {}",
                path.display(),
                error.detail().unwrap_or_default()
            ))
        })?;
        Ok(Self { folder, checkpoint })
    }

    /// Returns its checkpoint, which nothing has verified.
    #[must_use]
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Returns the public key that the log names. It proves nothing about who wrote the log: get the key from the writer for that.
    ///
    /// # Errors
    /// `Store` if the file `vkey` cannot be read or holds no key.
    pub fn named_key(&self) -> Result<VerifierKey> {
        let path = self.folder.join("vkey");
        let text = read_text(&path).map_err(|error| failed(&path, error))?;
        text.parse().map_err(|error: Error| {
            unreadable(format!(
                "{}: {}",
                path.display(),
                error.detail().unwrap_or_default()
            ))
        })
    }

    /// Returns the record of an index, as it is stored: one event as JSON. Nothing proves it here.
    ///
    /// # Errors
    /// `InvalidArgument` if the checkpoint does not cover it; `Store` if it cannot be read.
    pub fn record(&self, index: u64) -> Result<Vec<u8>> {
        let size = self.checkpoint.size();
        if index >= size {
            return Err(Error::argument(format!(
                "the log has {size} records under its checkpoint, counted from 0, and not record {index}"
            )));
        }
        let bundle = index / WIDTH;
        let width = width(size, bundle);
        let records = Self::bundle_at(&self.folder, bundle, width)?;
        let at = usize::try_from(index % WIDTH).unwrap_or_default();
        records.into_iter().nth(at).ok_or_else(|| {
            unreadable(format!(
                "the bundle of record {index} is shorter than it should be"
            ))
        })
    }

    /// Gives each record to `each`, with its index: those under the checkpoint, and then those that are kept and in no checkpoint yet.
    /// Nothing proves them here.
    ///
    /// # Errors
    /// `Store` if a record cannot be read; those of `each`.
    pub fn each_record(&self, each: impl FnMut(u64, &[u8]) -> Result<()>) -> Result<()> {
        self.each_record_from(0, u64::MAX, each)
    }

    /// The same with the records from this index on, at most `count` of them. Only the files that hold them are read.
    ///
    /// # Errors
    /// As [`each_record`](Self::each_record).
    pub fn each_record_from(
        &self,
        first: u64,
        count: u64,
        mut each: impl FnMut(u64, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let (size, end) = (self.checkpoint.size(), first.saturating_add(count));
        for bundle in first / WIDTH..end.min(size).div_ceil(WIDTH) {
            let records = Self::bundle_at(&self.folder, bundle, width(size, bundle))?;
            let numbered = (bundle * WIDTH..).zip(&records);
            for (index, record) in numbered.filter(|(index, _)| (first..end).contains(index)) {
                each(index, record)?;
            }
        }
        if end > size {
            let numbered = (size..).zip(self.uncovered()?);
            for (index, record) in numbered.filter(|(index, _)| (first..end).contains(index)) {
                each(index, &record)?;
            }
        }
        Ok(())
    }

    /// Returns how many records are kept and in no checkpoint yet.
    ///
    /// # Errors
    /// `Store` if they cannot be read.
    pub fn count_uncovered(&self) -> Result<u64> {
        Ok(self.uncovered()?.len() as u64)
    }

    fn uncovered(&self) -> Result<Vec<Vec<u8>>> {
        let held = journal::look(&self.folder);
        let held = held.map_err(|error| failed(&journal::path(&self.folder), error))?;
        let held = match held {
            Journaled::Held(held) => held,
            Journaled::None => return Ok(Vec::new()),
            Journaled::Foreign => {
                return Err(unreadable(format!(
                    "{} is not the journal of an audit log: `waxseal audit verify` shows what is whole",
                    journal::path(&self.folder).display()
                )));
            }
        };
        // A writer has gone on meanwhile. What it has added is for another look.
        let Some(skipped) = self.checkpoint.size().checked_sub(held.first) else {
            return Ok(Vec::new());
        };
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
        Ok(held.records.into_iter().skip(skipped).collect())
    }

    /// The records of a bundle, exactly as many as the width says.
    pub(super) fn bundle_at(folder: &Path, index: u64, width: usize) -> Result<Vec<Vec<u8>>> {
        match Self::bundle_part(folder, index, width)? {
            (records, true) => Ok(records),
            (records, false) => Err(unreadable(format!(
                "the bundle of entries {index} has {} whole records, and {width} are expected",
                records.len()
            ))),
        }
    }

    /// The whole records of a bundle, and whether they are what the width says.
    pub(super) fn bundle_part(folder: &Path, index: u64, width: usize) -> Result<(Vec<Vec<u8>>, bool)> {
        let tile = read_tile(folder, Kind::Entries, index, width)?;
        let (mut records, is_whole) = journal::unbundle(&tile.bytes);
        let is_proper = is_whole && records.len() == tile.width;
        records.truncate(width);
        Ok((records, is_proper))
    }

    /// The hashes of a tile, exactly as many as the width says.
    pub(super) fn hashes_at(folder: &Path, level: usize, index: u64, width: usize) -> Result<Vec<Hash>> {
        let tile = read_tile(folder, Kind::Hashes(level), index, width)?;
        let (hashes, rest) = tile.bytes.as_chunks::<32>();
        match hashes.get(..width) {
            Some(hashes) if rest.is_empty() => Ok(hashes.to_vec()),
            _ => Err(unreadable(format!(
                "{} has {} bytes, and {width} hashes are expected",
                tile.path.display(),
                tile.bytes.len()
            ))),
        }
    }

    /// The right edge of its tree.
    pub(super) fn edge(&self) -> Result<Edge> {
        let size = self.checkpoint.size();
        let mut levels = Vec::new();
        for (level, index, width) in tile::lasts(size) {
            levels.push(match width {
                0 => Vec::new(),
                width => Self::hashes_at(&self.folder, level, index, width)?,
            });
        }
        Ok(Edge::of(size, levels))
    }

    /// The root of the records from one to another, from tiles.
    pub(super) fn root_of(&self, from: u64, to: u64) -> Result<Hash> {
        let count = to.saturating_sub(from);
        if count.is_power_of_two() && from.is_multiple_of(count) {
            let level = usize::try_from(count.trailing_zeros() / 8).unwrap_or_default();
            let shift = u32::try_from(level * 8).unwrap_or(u32::MAX);
            let (first, count) = (from >> shift, count >> shift);
            let hashes = tile::hashes(level, self.checkpoint.size());
            let (index, at) = (first / WIDTH, first % WIDTH);
            let width = usize::try_from((hashes - index * WIDTH).min(WIDTH)).unwrap_or(WIDE);
            let tile = Self::hashes_at(&self.folder, level, index, width)?;
            let at = usize::try_from(at).unwrap_or_default();
            let end = at + usize::try_from(count).unwrap_or_default();
            let hashes = tile.get(at..end);
            return hashes
                .map(root)
                .ok_or_else(|| unreadable("a tile is shorter than it should be"));
        }
        let left = count.next_power_of_two() / 2;
        let halves = [self.root_of(from, from + left)?, self.root_of(from + left, to)?];
        Ok(root(&halves))
    }
}

/// The bytes of a file that has no more than so many.
pub(super) fn read_most(path: &Path, most: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > most {
        return Err(std::io::Error::new(
            std::io::ErrorKind::FileTooLarge,
            format!("it has more than {most} bytes"),
        ));
    }
    Ok(bytes)
}

fn read_text(path: &Path) -> std::io::Result<String> {
    let bytes = read_most(path, MAX_TEXT)?;
    String::from_utf8(bytes).map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidData, error))
}

/// The width of a bundle in a log of this size.
fn width(size: u64, bundle: u64) -> usize {
    usize::try_from((size - bundle * WIDTH).min(WIDTH)).unwrap_or(WIDE)
}

/// A file of a tile.
struct Stored {
    path: PathBuf,
    /// What its name says it holds: a full one may stand where a partial one is looked for.
    width: usize,
    bytes: Vec<u8>,
}

/// Reads a tile of this width, or the full one in its place.
fn read_tile(folder: &Path, kind: Kind, index: u64, width: usize) -> Result<Stored> {
    let path = folder.join(tile::path(kind, index, width));
    let most = match kind {
        Kind::Hashes(_) => WIDE * size_of::<Hash>(),
        Kind::Entries => WIDE * MAX_ENTRY,
    };
    match read_most(&path, most) {
        Ok(bytes) => Ok(Stored { path, width, bytes }),
        Err(error) if width < WIDE && is_missing(&error) => {
            let full = folder.join(tile::path(kind, index, WIDE));
            match read_most(&full, most) {
                Ok(bytes) => Ok(Stored {
                    path: full,
                    width: WIDE,
                    bytes,
                }),
                Err(_) => Err(failed(&path, error)),
            }
        }
        Err(error) => Err(failed(&path, error)),
    }
}
