//! The writer of a log: journal first, then tiles, then the checkpoint.

use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::growth::{Tile, grow};
use super::hash::root;
use super::journal::{Journal, sync_folder};
use super::key::LogKey;
use super::note::Checkpoint;
use super::reader::LogReader;
use super::room;
use super::tile::{self, Kind};
use super::tree::Edge;
use super::{damaged, not_kept};
use crate::runtime::{Monotonic, Runtime as _, ThreadRuntime};
use crate::value::entropy;
use crate::value::error::{Error, ErrorKind, Result};

/// Records in the journal after which they move into tiles.
const ROLL: usize = 4_096;
/// How old the first of them gets.
const AGE: Duration = Duration::from_secs(1);
/// How many files are synced at the same time.
const AT_ONCE: usize = 8;
/// Records in the journal above which nothing more is kept: they cannot be moved.
const MOST: usize = 65_536;
/// The same in bytes, which are in memory, too.
const MOST_BYTES: usize = 64 << 20;

pub(super) struct Writer {
    folder: PathBuf,
    key: LogKey,
    /// Held while it is open.
    _lock: Lock,
    journal: Journal,
    /// The tree of the checkpoint.
    edge: Edge,
    checkpoint: Checkpoint,
    /// What the journal holds behind the checkpoint.
    pending: Vec<Vec<u8>>,
    /// The bytes of those.
    pending_bytes: usize,
    /// Since when.
    since: Option<Monotonic>,
    /// Whether the journal begins before the checkpoint.
    is_journal_old: bool,
}

impl Writer {
    /// Opens or makes a log. Returns the bytes that were cut off, too.
    pub(super) fn open(folder: &Path, key: LogKey) -> Result<(Self, u64)> {
        let failed = |error| not_kept(format_args!("open the audit log {}", folder.display()), error);
        create_folder(folder).map_err(failed)?;
        let lock = Lock::take(folder)?;
        let is_there = folder.join("checkpoint").exists();
        if !is_there {
            begin(folder, &key)?;
        }
        let reader = LogReader::open(folder)?;
        let checkpoint = reader.checkpoint().clone();
        checkpoint.verify(&key.verifier()).map_err(|error| {
            Error::configuration(format!(
                "the audit log {} is not of the key that was given: {}",
                folder.display(),
                error.detail().unwrap_or_default()
            ))
        })?;
        let edge = reader.edge()?;
        if edge.root() != *checkpoint.root() {
            return Err(damaged(format!(
                "the last tiles of {} are not those of its checkpoint: `waxseal audit verify` shows what is wrong",
                folder.display()
            )));
        }
        let (journal, held) = Journal::open(folder)?;
        let size = checkpoint.size();
        let Some(skipped) = size.checked_sub(held.first).filter(|_| held.first <= size) else {
            return Err(damaged(format!(
                "the journal of {} begins at record {}, and its checkpoint ends at {size}",
                folder.display(),
                held.first
            )));
        };
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
        let pending: Vec<Vec<u8>> = held.records.into_iter().skip(skipped).collect();
        let mut writer = Self {
            folder: folder.to_owned(),
            key,
            _lock: lock,
            journal,
            edge,
            checkpoint,
            is_journal_old: skipped > 0,
            since: (!pending.is_empty()).then(now),
            pending_bytes: pending.iter().map(Vec::len).sum(),
            pending,
        };
        if !writer.pending.is_empty() || writer.is_journal_old {
            writer.roll()?;
        }
        Ok((writer, held.torn))
    }

    pub(super) fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Keeps records, all of them or none.
    pub(super) fn append(&mut self, records: Vec<Vec<u8>>) -> Result<()> {
        let bytes: usize = records.iter().map(Vec::len).sum();
        if self.pending.len() + records.len() > MOST || self.pending_bytes + bytes > MOST_BYTES {
            self.roll()?;
        }
        let first = self.edge.size() + self.pending.len() as u64;
        self.journal.append(first, &records)?;
        self.pending.extend(records);
        self.pending_bytes += bytes;
        let since = *self.since.get_or_insert_with(now);
        if self.pending.len() >= ROLL || now() >= since + AGE {
            // They are kept. What cannot be moved now is moved later.
            if let Err(error) = self.roll() {
                tracing::warn!(
                    "the audit log {} gets no checkpoint: {error}",
                    self.folder.display()
                );
                self.since = Some(now());
            }
        }
        Ok(())
    }

    /// Moves what is in the journal into tiles, signs a checkpoint, and begins another journal. Done again after an end at any point, it writes
    /// the same bytes.
    pub(super) fn roll(&mut self) -> Result<()> {
        if !self.pending.is_empty() {
            let mut tiles = Tiles::new(&self.folder);
            let grown = grow(&self.edge, self.tail()?, &self.pending, |tile, bytes| {
                tiles.write(tile, bytes)
            })?;
            let edge = grown.edge;
            tiles.sync()?;
            let checkpoint = Checkpoint::sign(edge.size(), edge.root(), &self.key);
            replace(&self.folder, "checkpoint", checkpoint.as_note().as_bytes())?;
            for (kind, index) in grown.full {
                tiles.forget_partials(kind, index);
            }
            (self.edge, self.checkpoint) = (edge, checkpoint);
            self.pending.clear();
            self.pending_bytes = 0;
            self.since = None;
            self.is_journal_old = true;
        }
        if self.is_journal_old {
            let failed = |error| not_kept("begin another journal of the audit log", error);
            self.journal = Journal::create(&self.folder, self.edge.size()).map_err(failed)?;
            self.is_journal_old = false;
            self.journal.settle().map_err(failed)?;
        }
        Ok(())
    }

    /// The records of the last bundle, if it is not full.
    fn tail(&self) -> Result<Vec<Vec<u8>>> {
        let size = self.edge.size();
        match usize::try_from(size % tile::WIDTH).unwrap_or_default() {
            0 => Ok(Vec::new()),
            width => LogReader::bundle_at(&self.folder, size / tile::WIDTH, width),
        }
    }
}

/// Files that are being written, each under a name of its own until it is whole, and the folders that have to be synced for them.
struct Tiles<'f> {
    folder: &'f Path,
    written: Vec<(File, PathBuf)>,
    folders: BTreeSet<PathBuf>,
}

impl<'f> Tiles<'f> {
    fn new(folder: &'f Path) -> Self {
        Self {
            folder,
            written: Vec::new(),
            folders: BTreeSet::new(),
        }
    }

    fn write(&mut self, tile: Tile, bytes: &[u8]) -> Result<()> {
        let path = self.folder.join(tile.path());
        let failed = |error| not_kept(format_args!("write {}", path.display()), error);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
            let above = parent
                .ancestors()
                .take_while(|above| above.starts_with(self.folder));
            self.folders.extend(above.map(Path::to_owned));
        }
        let mut file = File::create(unfinished(&path)).map_err(failed)?;
        file.write_all(bytes).map_err(failed)?;
        self.written.push((file, path));
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        let failed = |error| not_kept("sync the tiles of the audit log", error);
        let written = std::mem::take(&mut self.written);
        together(&written, |(file, _)| file.sync_all()).map_err(failed)?;
        for (_, path) in &written {
            std::fs::rename(unfinished(path), path).map_err(failed)?;
        }
        let folders: Vec<PathBuf> = std::mem::take(&mut self.folders).into_iter().collect();
        together(&folders, |folder| sync_folder(folder)).map_err(failed)
    }

    /// Removes partial tiles that a full one stands for now. Whatever stays does no harm.
    fn forget_partials(&self, kind: Kind, index: u64) {
        let _ = std::fs::remove_dir_all(self.folder.join(tile::partials(kind, index)));
    }
}

/// Syncs several at once: a file system writes what is synced at the same time together, and one after the other would be as many waits.
fn together<T: Sync>(all: &[T], sync: impl Fn(&T) -> std::io::Result<()> + Sync) -> std::io::Result<()> {
    let each = |some: &[T]| some.iter().try_for_each(&sync);
    let share = all.len().div_ceil(AT_ONCE).max(1);
    std::thread::scope(|scope| {
        let mut shares = all.chunks(share);
        let own = shares.next().unwrap_or_default();
        let others: Vec<_> = shares
            .map(|share| {
                let thread = std::thread::Builder::new().name("waxseal-audit-sync".to_owned());
                // Where the system has no thread to spare, it is done here.
                thread.spawn_scoped(scope, || each(share)).map_err(|_| share)
            })
            .collect();
        let mut done = each(own);
        for other in others {
            let other = match other {
                Ok(thread) => thread
                    .join()
                    .unwrap_or_else(|_| Err(std::io::Error::other("a thread has panicked"))),
                Err(share) => each(share),
            };
            done = done.and(other);
        }
        done
    })
}

/// The name of a file that is not whole yet.
fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}

fn now() -> Monotonic {
    ThreadRuntime.now()
}

fn create_folder(folder: &Path) -> std::io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)?;
    folder.parent().map_or(Ok(()), sync_folder)
}

/// What keeps a second writer out. The system keeps it as long as anybody has the open file, a child that was forked meanwhile and has not
/// come to its `exec` yet among them, so it is given back and not only closed.
pub(super) struct Lock {
    file: File,
    generation: u64,
}

impl Lock {
    pub(super) fn take(folder: &Path) -> Result<Self> {
        let path = folder.join("lock");
        let failed = |error| not_kept(format_args!("open {}", path.display()), error);
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path);
        let file = file.map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Self {
                file,
                generation: entropy::generation(),
            }),
            Err(TryLockError::WouldBlock) => Err(Error::new(ErrorKind::Io).with_retryable(true).with_detail(
                format!(
                    "another process has the audit log {} open: give each process a log of its own, or try again",
                    folder.display()
                ),
            )),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A forked child does not give back what its parent holds.
        if self.generation == entropy::generation() {
            // It fails only for a file that is not open. Closing it is what is left.
            let _ = self.file.unlock();
        }
    }
}

/// Makes an empty log where there is none. The checkpoint comes last.
fn begin(folder: &Path, key: &LogKey) -> Result<()> {
    let failed = |error| not_kept(format_args!("begin the audit log {}", folder.display()), error);
    room::look(folder)?;
    replace(folder, "vkey", format!("{}\n", key.verifier()).as_bytes())?;
    Journal::create(folder, 0).map_err(failed)?;
    let empty = Checkpoint::sign(0, root(&[]), key);
    replace(folder, "checkpoint", empty.as_note().as_bytes())
}

fn replace(folder: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    put_in_place(&folder.join(name), bytes)
}

/// Puts a file in the place of another one, or of none.
pub(super) fn put_in_place(path: &Path, bytes: &[u8]) -> Result<()> {
    let new = unfinished(path);
    let written = File::create(&new).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&new, path)?;
        path.parent().map_or(Ok(()), sync_folder)
    });
    written.map_err(|error| not_kept(format_args!("write {}", path.display()), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_given_back_although_a_fork_still_has_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let lock = Lock::take(folder.path()).unwrap();
        assert_eq!(Lock::take(folder.path()).err().unwrap().kind(), ErrorKind::Io);
        let of_a_fork = lock.file.try_clone().unwrap();
        drop(lock);
        drop(Lock::take(folder.path()).unwrap());
        drop(of_a_fork);
    }
}
