//! Copies of a log that others read: C2SP tlog-tiles, in a directory or in a store of objects.

use std::fmt::Debug;
use std::path::{Path, PathBuf};

use async_trait::async_trait;

use super::growth::{Tile, grow};
use super::hash::Hash;
use super::journal::unbundle;
use super::key::{VerifierKey, is_missing};
use super::note::Checkpoint;
use super::reader::{LogReader, read_most};
use super::source::first_off;
use super::tile::{self, Kind, WIDE, WIDTH};
use super::tree::Edge;
use super::writer::{Lock, put_in_place};
use super::{damaged, not_kept};
use crate::value::error::{Error, ErrorKind, Result};

/// Records that are read at once: 64 MiB, if they are as long as they can be.
pub(super) const PAGE: u64 = 1_024;
/// The most bytes of a file of a copy: a bundle of records as long as they can be.
const MAX: usize = WIDE * 65_537;
/// How often a checkpoint is tried to be put in place, while others publish the same log.
const TRIES: usize = 5;

/// A log that is published: its records up to a checkpoint.
#[async_trait]
pub trait LogSource: Debug + Send + Sync {
    /// Returns the checkpoint up to which it is read. Nothing that it says is believed before it is verified.
    fn checkpoint(&self) -> &Checkpoint;

    /// Returns the records from this index on: at least one below the size of the checkpoint, and `count` at most.
    ///
    /// # Errors
    /// `Store` if they cannot be read; else those of where they are.
    async fn records(&self, first: u64, count: u64) -> Result<Vec<Vec<u8>>>;

    /// Returns the hashes that are stored for the records from this index on, beside the records: `count` of them. They prove nothing, and tell which
    /// record is off. None by default: the log stores no hashes that can be asked for.
    ///
    /// # Errors
    /// As [`records`](Self::records).
    async fn leaves(&self, first: u64, count: u64) -> Result<Vec<[u8; 32]>> {
        let _ = (first, count);
        Ok(Vec::new())
    }
}

/// Where a copy of a log is: files by their paths in C2SP tlog-tiles, such as `tile/entries/000.p/17`.
///
/// [`TileFolder`] is a directory. A store of objects takes a crate of its own.
#[async_trait]
pub trait TileStore: Debug + Send + Sync {
    /// Returns the bytes of a file, or `None` if there is none.
    ///
    /// # Errors
    /// Of any kind.
    async fn get(&self, path: &str) -> Result<Option<Vec<u8>>>;

    /// Writes a file, which may be there already with the same bytes. It is safe when this returns.
    ///
    /// # Errors
    /// Of any kind.
    async fn put(&self, path: &str, bytes: &[u8]) -> Result<()>;

    /// Puts a file in the place of what was seen there, or of nothing, in one step. Returns whether it did: not, if something else is there.
    ///
    /// # Errors
    /// Of any kind.
    async fn replace(&self, path: &str, seen: Option<&[u8]>, bytes: &[u8]) -> Result<bool>;
}

/// What publishing has done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Published {
    /// Records in the copy that were not there before.
    pub added: u64,
    /// Records in the copy.
    pub size: u64,
    /// Files that were written.
    pub files: u64,
}

/// Brings a copy of a log up to the log's checkpoint, and makes it if there is none. Only what is new is read and written.
///
/// *What is checked.* The checkpoint of the log and that of the copy are signed by this key; all records that are new have the root of the
/// checkpoint together with what is in the copy, before the first of them is written. So a copy whose store keeps what it has is a witness
/// of the log: records that were taken away, or changed, in the log are found when it is published the next time.
///
/// *If it ends half-way*, the copy has its old checkpoint and is whole. The next run writes the same files. Several may publish the same log
/// at once.
///
/// # Errors
/// - `Configuration` if the copy is of another log
/// - `Audit` if the log or the copy is not signed by this key, the log is no continuation of the copy, or its records are not those of its checkpoint
/// - `Store` if the copy is damaged
/// - those of the log and of the store
pub async fn publish(log: &dyn LogSource, key: &VerifierKey, store: &dyn TileStore) -> Result<Published> {
    let checkpoint = log.checkpoint();
    checkpoint
        .verify(key)
        .map_err(|error| damaged(error.detail().unwrap_or_default().to_owned()))?;
    let vkey = format!("{key}\n");
    let mut published = Published {
        added: 0,
        size: checkpoint.size(),
        files: 0,
    };
    for _ in 0..TRIES {
        let (there, edge, tail) = copy(store, key).await?;
        let size = there.as_ref().map_or(0, Checkpoint::size);
        if checkpoint.size() < size {
            return Err(damaged(format!(
                "the log has {} records, and its copy has {size}: records were taken away, or an older state was restored",
                checkpoint.size()
            )));
        }
        if edge_after(log, &edge).await?.root() != *checkpoint.root() {
            return Err(discontinued(log, size).await);
        }
        if there.is_none() {
            published.files += u64::from(store.replace("vkey", None, vkey.as_bytes()).await?);
        }
        published.files += copy_records(log, edge, tail, store).await?;
        let seen = there.as_ref().map(|there| there.as_note().as_bytes());
        if seen == Some(checkpoint.as_note().as_bytes()) {
            return Ok(published);
        }
        if store
            .replace("checkpoint", seen, checkpoint.as_note().as_bytes())
            .await?
        {
            published.files += 1;
            published.added = checkpoint.size() - size;
            return Ok(published);
        }
    }
    Err(Error::new(ErrorKind::Conflict)
        .with_retryable(true)
        .with_detail("others publish the same log all the time; try again"))
}

/// The error of a log whose records are not those that were signed.
async fn discontinued(log: &dyn LogSource, size: u64) -> Error {
    let mut detail = match size {
        0 => "the records of the log are not those of its checkpoint".to_owned(),
        size => format!(
            "the log is no continuation of its copy, which has {size} records, or the records behind those are not those of its checkpoint"
        ),
    };
    if let Some(record) = first_off(log).await {
        detail += &format!("; record {record} is the first one that is not that of its hash");
    }
    detail += "; `waxseal audit verify` shows what is wrong";
    damaged(detail)
}

/// What the copy has: its checkpoint, the edge of its tree and the records of its last bundle, if that is not full.
async fn copy(store: &dyn TileStore, key: &VerifierKey) -> Result<(Option<Checkpoint>, Edge, Vec<Vec<u8>>)> {
    let Some(note) = store.get("checkpoint").await? else {
        return Ok((None, Edge::default(), Vec::new()));
    };
    let foreign = |error: Error| {
        Error::configuration(format!(
            "what is there is no copy of the log {}: {}",
            key.name(),
            error.detail().unwrap_or_default()
        ))
    };
    let note = String::from_utf8(note).map_err(|_| foreign(Error::argument("its checkpoint is no text")))?;
    let there = Checkpoint::parse(&note).map_err(foreign)?;
    if there.origin() == key.name() && !there.names(key) {
        return Err(damaged(
            "another key has signed the copy than that of the log, which has the same name: another log was put in the place of one of them",
        ));
    }
    there.verify(key).map_err(foreign)?;
    let mut levels: Vec<Vec<Hash>> = Vec::new();
    for (level, index, width) in tile::lasts(there.size()) {
        let bytes = tile_of(store, Kind::Hashes(level), index, width).await?;
        // A full tile stands for a partial one.
        levels.push(bytes.as_chunks::<32>().0.iter().take(width).copied().collect());
    }
    let edge = Edge::of(there.size(), levels);
    let width = usize::try_from(there.size() % WIDTH).unwrap_or_default();
    let bundle = tile_of(store, Kind::Entries, there.size() / WIDTH, width).await?;
    let (mut tail, is_whole) = unbundle(&bundle);
    if edge.root() != *there.root() || !is_whole || tail.len() < width {
        return Err(Error::new(ErrorKind::Store).with_detail(
            "the last tiles of the copy are not those of its checkpoint: `waxseal audit verify` shows what is wrong",
        ));
    }
    tail.truncate(width);
    Ok((Some(there), edge, tail))
}

/// The bytes of the last tile of a level. None if it is not begun.
async fn tile_of(store: &dyn TileStore, kind: Kind, index: u64, width: usize) -> Result<Vec<u8>> {
    if width == 0 {
        return Ok(Vec::new());
    }
    for width in [width, WIDE] {
        let tile = Tile { kind, index, width };
        if let Some(bytes) = store.get(&name(tile)).await? {
            return Ok(bytes);
        }
    }
    Err(Error::new(ErrorKind::Store).with_detail("a tile of the copy is missing"))
}

/// The edge of the log at its checkpoint.
async fn edge_after(log: &dyn LogSource, edge: &Edge) -> Result<Edge> {
    let mut edge = edge.clone();
    while edge.size() < log.checkpoint().size() {
        for record in page(log, edge.size()).await? {
            edge.push(super::hash::leaf(&record), |_| {});
        }
    }
    Ok(edge)
}

/// Writes what the records behind this edge make, and returns how many files that were.
async fn copy_records(
    log: &dyn LogSource,
    mut edge: Edge,
    mut tail: Vec<Vec<u8>>,
    store: &dyn TileStore,
) -> Result<u64> {
    let (mut written, size) = (0, log.checkpoint().size());
    while edge.size() < size {
        let records = page(log, edge.size()).await?;
        let is_last = edge.size() + records.len() as u64 == size;
        let mut files = Vec::new();
        let grown = grow(&edge, tail.clone(), &records, |tile, bytes| {
            // Partial ones are for the checkpoint alone.
            if is_last || tile.width == WIDE {
                files.push((tile, bytes.to_vec()));
            }
            Ok(())
        })?;
        for (tile, bytes) in files {
            store.put(&name(tile), &bytes).await?;
            written += 1;
        }
        edge = grown.edge;
        tail.extend(records);
        let width = usize::try_from(edge.size() % WIDTH).unwrap_or_default();
        tail.drain(..tail.len() - width);
    }
    // They were read a second time.
    match edge.root() == *log.checkpoint().root() {
        true => Ok(written),
        false => Err(damaged(
            "the records of the log were changed while they were published",
        )),
    }
}

async fn page(log: &dyn LogSource, first: u64) -> Result<Vec<Vec<u8>>> {
    let left = log.checkpoint().size() - first;
    let mut records = log.records(first, left.min(PAGE)).await?;
    records.truncate(usize::try_from(left).unwrap_or(usize::MAX));
    match records.is_empty() {
        true => {
            Err(Error::new(ErrorKind::Store).with_detail(format!("record {first} of the log is missing")))
        }
        false => Ok(records),
    }
}

fn name(tile: Tile) -> String {
    // Digits, `x`, `.p` and `tile`.
    let path = tile.path();
    let parts = path.iter().map(|part| part.to_string_lossy().into_owned());
    parts.collect::<Vec<_>>().join("/")
}

#[async_trait]
impl LogSource for LogReader {
    fn checkpoint(&self) -> &Checkpoint {
        self.checkpoint()
    }

    async fn leaves(&self, first: u64, count: u64) -> Result<Vec<[u8; 32]>> {
        let end = first.saturating_add(count).min(self.checkpoint().size());
        let mut leaves = Vec::new();
        for index in first / WIDTH..end.div_ceil(WIDTH) {
            let width = self.checkpoint().size().saturating_sub(index * WIDTH).min(WIDTH);
            let width = usize::try_from(width).unwrap_or(WIDE);
            let tile = LogReader::hashes_at(&self.folder, 0, index, width)?;
            let numbered = (index * WIDTH..).zip(tile);
            leaves.extend(
                numbered
                    .filter(|(at, _)| (first..end).contains(at))
                    .map(|(_, hash)| hash),
            );
        }
        Ok(leaves)
    }

    async fn records(&self, first: u64, count: u64) -> Result<Vec<Vec<u8>>> {
        let end = first.saturating_add(count).min(self.checkpoint().size());
        let mut records = Vec::new();
        self.each_record_from(first, end.saturating_sub(first), |_, record| {
            records.push(record.to_vec());
            Ok(())
        })?;
        Ok(records)
    }
}

/// A copy of a log in a directory.
#[derive(Clone, Debug)]
pub struct TileFolder(PathBuf);

impl TileFolder {
    /// Uses this directory, which is made if it is not there. Nothing is read or written yet.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self(path.as_ref().to_owned())
    }

    fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let path = self.0.join(path);
        match read_most(&path, MAX) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(super::reader::failed(&path, error)),
        }
    }
}

#[async_trait]
impl TileStore for TileFolder {
    async fn get(&self, path: &str) -> Result<Option<Vec<u8>>> {
        self.read(path)
    }

    async fn put(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let path = self.0.join(path);
        if let Some(parent) = path.parent() {
            let failed = |error| not_kept(format_args!("make {}", parent.display()), error);
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        put_in_place(&path, bytes)
    }

    async fn replace(&self, path: &str, seen: Option<&[u8]>, bytes: &[u8]) -> Result<bool> {
        let failed = |error| not_kept(format_args!("make {}", self.0.display()), error);
        std::fs::create_dir_all(&self.0).map_err(failed)?;
        let _lock = Lock::take(&self.0)?;
        if self.0.join("journal").exists() {
            return Err(Error::configuration(format!(
                "{} is a log that is written, and no copy of one: give another directory",
                self.0.display()
            )));
        }
        if self.read(path)?.as_deref() != seen {
            return Ok(false);
        }
        put_in_place(&self.0.join(path), bytes)?;
        Ok(true)
    }
}
