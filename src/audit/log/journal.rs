//! What is kept and is in no tile yet: batches of records, each synced before anybody is told that it is kept.
//!
//! A batch is a head of 48 bytes (length, number of records, index of the first record, SHA-256 of these and of the records) and the records
//! as a bundle has them. Only the last batch can be unfinished: the next one is begun when it is synced.
//!
//! Behind them are zeros, written ahead: to sync bytes that take the place of others, a file system writes no more than these.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::{damaged, not_kept};
use crate::value::error::Result;

const MAGIC: &[u8; 24] = b"waxseal audit journal 1\n";
/// The magic and the index of the first record.
const FRONT: usize = 32;
const HEAD: usize = 48;
/// The most bytes of a journal that is read.
const MAX: u64 = 1 << 30;
/// The fewest and the most zeros that are written ahead. Between them, as many as there are bytes already.
const AHEAD: (u64, u64) = (64 << 10, 1 << 20);

pub(super) struct Journal {
    folder: PathBuf,
    file: File,
    /// What is synced.
    len: u64,
    /// The length of the file: zeros behind that.
    room: u64,
    /// Whether something else may stand there.
    is_ragged: bool,
    /// Whether its name is synced, too.
    is_named: bool,
}

/// What stands where a journal is.
#[derive(Debug)]
pub(super) enum Journaled {
    /// Nothing.
    None,
    /// A journal.
    Held(Held),
    /// Something else: a journal whose front was changed, or that was cut off.
    Foreign,
}

/// What a journal holds.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// The index of the first record.
    pub(super) first: u64,
    pub(super) records: Vec<Vec<u8>>,
    /// The length of what is whole.
    whole: u64,
    /// Bytes of an unfinished batch, without the zeros at its end.
    pub(super) torn: u64,
    /// The length of the file.
    room: u64,
    /// The record at which it is damaged, if whole batches follow there.
    pub(super) damaged_at: Option<u64>,
}

impl Journal {
    /// Makes an empty journal from this index on, in the place of the one that is there. If this fails, that one stays.
    pub(super) fn create(folder: &Path, first: u64) -> std::io::Result<Self> {
        let (new, path) = (folder.join("journal.new"), path(folder));
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&new)?;
        let mut front = MAGIC.to_vec();
        front.extend_from_slice(&first.to_be_bytes());
        file.write_all(&front)?;
        file.sync_all()?;
        std::fs::rename(&new, &path)?;
        Ok(Self {
            folder: folder.to_owned(),
            file,
            len: FRONT as u64,
            room: FRONT as u64,
            is_ragged: false,
            is_named: false,
        })
    }

    /// Syncs its name. Nothing is kept in a journal that the next process may not find.
    pub(super) fn settle(&mut self) -> std::io::Result<()> {
        if !self.is_named {
            sync_folder(&self.folder)?;
            self.is_named = true;
        }
        Ok(())
    }

    /// Opens the journal, cuts off an unfinished batch, and returns what it holds.
    pub(super) fn open(folder: &Path) -> Result<(Self, Held)> {
        let path = path(folder);
        let failed = |error| not_kept(format_args!("read {}", path.display()), error);
        let mut file = File::options()
            .read(true)
            .write(true)
            .open(&path)
            .map_err(failed)?;
        let Journaled::Held(held) = read(&mut file).map_err(failed)? else {
            return Err(damaged(format!(
                "{} is not the journal of an audit log",
                path.display()
            )));
        };
        if let Some(record) = held.damaged_at {
            return Err(damaged(format!(
                "{} is damaged at record {record}, and records follow: `waxseal audit verify` shows what is whole",
                path.display()
            )));
        }
        if held.torn > 0 {
            file.set_len(held.whole)
                .and_then(|()| file.sync_all())
                .map_err(|error| not_kept(format_args!("cut off the end of {}", path.display()), error))?;
        }
        let journal = Self {
            folder: folder.to_owned(),
            file,
            len: held.whole,
            room: if held.torn > 0 { held.whole } else { held.room },
            is_ragged: false,
            is_named: false,
        };
        Ok((journal, held))
    }

    /// Adds a batch of records, which are all kept when this returns, or none.
    pub(super) fn append(&mut self, first: u64, records: &[Vec<u8>]) -> Result<()> {
        let failed = |error| not_kept("write the journal of the audit log", error);
        self.settle().map_err(failed)?;
        if self.is_ragged {
            self.cut().map_err(failed)?;
        }
        let mut batch = batch(first, records)?;
        let len = batch.len();
        let end = self.len + len as u64;
        let ahead = (end > self.room).then(|| end.clamp(AHEAD.0, AHEAD.1));
        if let Some(ahead) = ahead {
            batch.resize(len + usize::try_from(ahead).unwrap_or_default(), 0);
        }
        let mut written = self.write(&batch);
        if ahead.is_some() && written.is_err() {
            // There may be room for the batch alone.
            batch.truncate(len);
            written = self.cut().and_then(|()| self.write(&batch));
        }
        match written {
            Ok(()) => {
                self.room = self.room.max(self.len + batch.len() as u64);
                self.len = end;
                self.is_ragged = false;
                Ok(())
            }
            Err(error) => {
                // If this fails, the next batch does it first.
                let _ = self.cut();
                Err(failed(error))
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.is_ragged = true;
        self.file.seek(SeekFrom::Start(self.len))?;
        self.file.write_all(bytes)?;
        self.file.sync_data()
    }

    fn cut(&mut self) -> std::io::Result<()> {
        self.file.set_len(self.len)?;
        self.file.sync_all()?;
        self.room = self.len;
        self.is_ragged = false;
        Ok(())
    }
}

#[cfg(unix)]
pub(super) fn sync_folder(folder: &Path) -> std::io::Result<()> {
    let folder = match folder.as_os_str().is_empty() {
        true => Path::new("."),
        false => folder,
    };
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
pub(super) fn sync_folder(_: &Path) -> std::io::Result<()> {
    Ok(())
}

pub(super) fn path(folder: &Path) -> PathBuf {
    folder.join("journal")
}

/// Reads the journal of a folder, without changing it.
pub(super) fn look(folder: &Path) -> std::io::Result<Journaled> {
    match File::open(path(folder)) {
        Ok(mut file) => read(&mut file),
        Err(error) if super::key::is_missing(&error) => Ok(Journaled::None),
        Err(error) => Err(error),
    }
}

/// A bundle: each record behind its length.
pub(super) fn bundle<'r>(records: impl IntoIterator<Item = &'r Vec<u8>>) -> Result<Vec<u8>> {
    let mut bundle = Vec::new();
    for record in records {
        let len = u16::try_from(record.len()).map_err(|_| {
            damaged(format!(
                "a record has {} bytes, and a log keeps 65,535",
                record.len()
            ))
        })?;
        bundle.extend_from_slice(&len.to_be_bytes());
        bundle.extend_from_slice(record);
    }
    Ok(bundle)
}

/// The records of a bundle, and whether that is all of it.
pub(super) fn unbundle(mut bundle: &[u8]) -> (Vec<Vec<u8>>, bool) {
    let mut records = Vec::new();
    while let Some((len, rest)) = bundle.split_first_chunk::<2>() {
        let Some((record, rest)) = rest.split_at_checked(usize::from(u16::from_be_bytes(*len))) else {
            return (records, false);
        };
        records.push(record.to_vec());
        bundle = rest;
    }
    (records, bundle.is_empty())
}

fn batch(first: u64, records: &[Vec<u8>]) -> Result<Vec<u8>> {
    let payload = bundle(records)?;
    let mut batch = Vec::with_capacity(HEAD + payload.len());
    let number = |number: usize| u32::try_from(number).map_err(|_| damaged("a batch is above 4 GiB"));
    batch.extend_from_slice(&number(payload.len())?.to_be_bytes());
    batch.extend_from_slice(&number(records.len())?.to_be_bytes());
    batch.extend_from_slice(&first.to_be_bytes());
    let digest = Sha256::new_with_prefix(&batch).chain_update(&payload).finalize();
    batch.extend_from_slice(&digest);
    batch.extend_from_slice(&payload);
    Ok(batch)
}

fn read(file: &mut File) -> std::io::Result<Journaled> {
    let mut bytes = Vec::new();
    std::io::Read::by_ref(file)
        .take(MAX + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX {
        // Nothing of what was kept is cut off because it is much.
        return Err(std::io::Error::new(
            std::io::ErrorKind::FileTooLarge,
            format!("it has more than {MAX} bytes"),
        ));
    }
    let Some((front, batches)) = bytes.split_first_chunk::<FRONT>() else {
        return Ok(Journaled::Foreign);
    };
    let Some(first) = front.strip_prefix(MAGIC).and_then(|first| first.try_into().ok()) else {
        return Ok(Journaled::Foreign);
    };
    let first = u64::from_be_bytes(first);
    let mut held = Held {
        first,
        ..Held::default()
    };
    let mut at = 0;
    let next_index = |held: &Held| first.saturating_add(held.records.len() as u64);
    while let Some((records, next)) = batch_at(batches, at, |index, _| index == next_index(&held)) {
        held.records.extend(records);
        at = next;
    }
    held.whole = (FRONT + at) as u64;
    held.room = bytes.len() as u64;
    let unfinished = batches.get(at..).unwrap_or_default();
    let torn = unfinished
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    held.torn = torn as u64;
    let missing = next_index(&held);
    // What looks like a batch at every place costs no more than reading it a few times.
    let mut left = batches.len().saturating_mul(4);
    let mut follows = |at| {
        let is_next = |index: u64, len: usize| {
            let is_plausible = index > missing && index - missing < 1 << 32 && len <= left;
            if is_plausible {
                left -= len;
            }
            is_plausible
        };
        batch_at(batches, at, is_next).is_some()
    };
    held.damaged_at = (at + 1..at + torn).any(&mut follows).then_some(missing);
    Ok(Journaled::Held(held))
}

/// The records of the whole batch at a place, and where the next one begins.
fn batch_at(
    batches: &[u8],
    at: usize,
    is_next: impl FnOnce(u64, usize) -> bool,
) -> Option<(Vec<Vec<u8>>, usize)> {
    let (head, rest) = batches.get(at..)?.split_first_chunk::<HEAD>()?;
    let (numbers, digest) = head.split_first_chunk::<16>()?;
    let (len, numbers_rest) = numbers.split_first_chunk::<4>()?;
    let (count, first) = numbers_rest.split_first_chunk::<4>()?;
    let len = usize::try_from(u32::from_be_bytes(*len)).ok()?;
    let payload = rest.get(..len)?;
    if !is_next(u64::from_be_bytes(first.try_into().ok()?), len) {
        return None;
    }
    let proper = Sha256::new_with_prefix(numbers).chain_update(payload).finalize();
    let (records, is_all) = unbundle(payload);
    let is_whole =
        proper[..] == *digest && is_all && records.len() as u64 == u64::from(u32::from_be_bytes(*count));
    is_whole.then_some((records, at + HEAD + len))
}
