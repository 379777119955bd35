//! Verifying a log: everything that is stored, against what was signed.

use std::fmt;
use std::ops::Range;

use super::hash::{Hash, leaf, root};
use super::journal::{self, Journaled};
use super::key::VerifierKey;
use super::note::Checkpoint;
use super::reader::{LogReader, failed};
use super::sequence::Sequences;
use super::tile;
use super::tree::Edge;
use crate::value::error::{Error, Result};

/// How often a log is read again because it has grown meanwhile.
const AGAIN: usize = 3;

/// What is wrong with a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Wrong {
    /// The checkpoint is not signed by the key.
    Signature,
    /// Records or hashes are missing, or cannot be read.
    Missing,
    /// A record is not the one whose hash is in the tree: it was edited, dropped, inserted or moved.
    Altered,
    /// Records and hashes agree with each other, and not with what was signed: they were rewritten together.
    Rewritten,
    /// The log is not a continuation of a checkpoint that was kept elsewhere: another history was signed.
    Forked,
    /// Records are missing at the end, by a checkpoint that was kept elsewhere.
    Truncated,
    /// The journal is damaged, or does not go on where the checkpoint ends.
    Journal,
}

impl Wrong {
    /// Returns its name: `"altered"`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Signature => "signature",
            Self::Missing => "missing",
            Self::Altered => "altered",
            Self::Rewritten => "rewritten",
            Self::Forked => "forked",
            Self::Truncated => "truncated",
            Self::Journal => "journal",
        }
    }
}

/// One thing that is wrong with a log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// What is wrong.
    pub what: Wrong,
    /// The first record that is off, counted from 0, as far as that can be told.
    pub record: Option<u64>,
    /// The same in words.
    pub detail: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.record {
            Some(record) => write!(f, "{} at record {record}: {}", self.what.name(), self.detail),
            None => write!(f, "{}: {}", self.what.name(), self.detail),
        }
    }
}

/// The result of verifying a log.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Verdict {
    /// The origin of the log.
    pub origin: String,
    /// Records under the checkpoint.
    pub size: u64,
    /// Records that are kept and in no checkpoint yet. Only their own hashes protect them.
    pub uncovered: u64,
    /// Bytes behind the last whole batch, which the next writer cuts off: what a kill has left of a batch, or what was changed of the last one.
    pub torn: u64,
    /// What is wrong, the worst first. Empty if nothing is.
    pub findings: Vec<Finding>,
}

impl Verdict {
    /// Returns whether nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }

    pub(super) fn of(checkpoint: &Checkpoint) -> Self {
        Self {
            origin: checkpoint.origin().to_owned(),
            size: checkpoint.size(),
            uncovered: 0,
            torn: 0,
            findings: Vec::new(),
        }
    }

    pub(super) fn find(&mut self, what: Wrong, record: Option<u64>, detail: impl Into<String>) {
        let detail = detail.into();
        self.findings.push(Finding { what, record, detail });
    }
}

/// What the records hash to.
#[derive(Default)]
pub(super) struct Leaves {
    pub(super) hashes: Vec<Hash>,
    /// The first record out of the order of its process.
    out_of_order: Option<u64>,
    sequences: Sequences,
    /// Whether a record was found that is not the one of its hash, or hashes are missing. One is named, and what follows it may be moved.
    pub(super) is_off: bool,
}

impl Leaves {
    /// Takes the next record down, with the hash that is stored for it.
    pub(super) fn push(&mut self, record: &[u8], stored: Option<&Hash>, verdict: &mut Verdict) {
        let at = self.hashes.len() as u64;
        if !self.sequences.is_next(record) {
            self.out_of_order.get_or_insert(at);
        }
        let hash = leaf(record);
        if !self.is_off && stored.is_some_and(|stored| *stored != hash) {
            self.is_off = true;
            verdict.find(
                Wrong::Altered,
                Some(at),
                "the record is not the one whose hash is in the tree; it was edited, or records before it were dropped, inserted or moved",
            );
        }
        self.hashes.push(hash);
    }

    /// Says of records whose hashes agree with them, and whose root is another one, what the numbers of their events tell.
    pub(super) fn check_root(&self, root: &Hash, checkpoint: &Checkpoint, verdict: &mut Verdict) {
        if root == checkpoint.root() || verdict.findings.iter().any(|it| it.what == Wrong::Altered) {
            return;
        }
        let (record, detail) = match self.out_of_order {
            Some(record) => (
                Some(record),
                "records and hashes agree with each other, and not with the checkpoint; this is the first record out of the order of its process",
            ),
            None => (
                None,
                "records and hashes agree with each other, and not with the checkpoint, and every record is in the order of its process: the log cannot tell which one was edited",
            ),
        };
        verdict.find(Wrong::Rewritten, record, detail);
    }

    /// Says that these records have another hash above them than the one that is stored.
    fn disagree(&self, records: Range<u64>, place: (usize, u64), verdict: &mut Verdict) {
        let (level, index) = place;
        let last = records.end.min(self.hashes.len() as u64).saturating_sub(1);
        let first = records.start;
        // Of so many records, only the numbers of their events tell which one it is.
        let record = self.out_of_order.filter(|record| records.contains(record));
        let detail = match record {
            Some(_) => format!(
                "tile {index} of level {level} has another hash for the records {first} to {last}; this is the first one out of the order of its \
                 process"
            ),
            None => format!(
                "tile {index} of level {level} has another hash for the records {first} to {last}: one of them was edited, dropped, inserted or \
                 moved, or the tile was, and the log cannot tell which"
            ),
        };
        verdict.find(Wrong::Altered, record, detail);
    }
}

impl LogReader {
    /// Verifies the whole log: each record against its hash, each hash against the root, the root and the signature against the key, and all
    /// of it against a checkpoint that was kept elsewhere. Reads every record, and keeps 32 bytes of each in memory.
    ///
    /// Without `kept`, nobody can tell whether records are missing at the end, and whoever has the log's key could have written all of it
    /// anew.
    ///
    /// # Errors
    /// `InvalidArgument` if `kept` is not signed by the key or is of another log. What is wrong with the log is no error: see
    /// [`Verdict::findings`].
    pub fn verify(&self, key: &VerifierKey, kept: Option<&Checkpoint>) -> Result<Verdict> {
        self.verify_by(key, false, kept)
    }

    /// The same by the key that the log [names](Self::named_key). That `kept` is signed by another one is no error then: the log was exchanged, which
    /// is a [finding](Verdict::findings).
    ///
    /// # Errors
    /// `Store` if the log names no key; `InvalidArgument` if the signature of `kept` is damaged.
    pub fn verify_by_named_key(&self, kept: Option<&Checkpoint>) -> Result<Verdict> {
        self.verify_by(&self.named_key()?, true, kept)
    }

    fn verify_by(&self, key: &VerifierKey, is_named: bool, kept: Option<&Checkpoint>) -> Result<Verdict> {
        let mut verdict = self.look(key, is_named, kept)?;
        let mut size = self.checkpoint().size();
        for _ in 0..AGAIN {
            // A writer may have moved records while they were read.
            match Self::open(&self.folder) {
                Ok(grown) if !verdict.is_sound() && grown.checkpoint().size() > size => {
                    verdict = grown.look(key, is_named, kept)?;
                    size = grown.checkpoint().size();
                }
                _ => break,
            }
        }
        Ok(verdict)
    }

    fn look(&self, key: &VerifierKey, is_named: bool, kept: Option<&Checkpoint>) -> Result<Verdict> {
        let checkpoint = self.checkpoint();
        let mut verdict = Verdict::of(checkpoint);
        let is_of_another = |kept: &&Checkpoint| is_named && !kept.names(key);
        if let Some(kept) = kept.filter(is_of_another) {
            verdict.find(Wrong::Signature, None, exchanged(kept, key));
        } else if let Some(kept) = kept {
            check_given(kept, key)?;
        }
        if let Err(error) = checkpoint.verify(key) {
            verdict.find(Wrong::Signature, None, error.detail().unwrap_or_default());
        }
        let leaves = self.leaves(&mut verdict);
        let is_whole = leaves.hashes.len() as u64 == checkpoint.size();
        if is_whole {
            self.check_tiles(&leaves, &mut verdict);
        }
        let held =
            journal::look(&self.folder).map_err(|error| failed(&journal::path(&self.folder), error))?;
        let uncovered = self.check_journal(held, &mut verdict);
        if let Some(kept) = kept {
            let mut hashes = leaves.hashes;
            if is_whole {
                hashes.extend(uncovered.iter().map(|record| leaf(record)));
            }
            check_kept(kept, &hashes, is_whole, &mut verdict);
        }
        Ok(verdict)
    }

    /// Hashes every record, and compares the hashes with the tiles, up to the first record that is off.
    fn leaves(&self, verdict: &mut Verdict) -> Leaves {
        let mut leaves = Leaves::default();
        for (bundle, width) in tile::tiles(0, self.checkpoint().size()) {
            let first = bundle * tile::WIDTH;
            let (records, missing) = self.records(bundle, width);
            let stored = Self::hashes_at(&self.folder, 0, bundle, width);
            for (place, record) in records.iter().enumerate() {
                let stored = stored.as_ref().ok().and_then(|stored| stored.get(place));
                leaves.push(record, stored, verdict);
            }
            if let Some(missing) = missing {
                verdict.find(Wrong::Missing, Some(first + records.len() as u64), missing);
                return leaves;
            }
            if let Err(error) = stored
                && !leaves.is_off
            {
                leaves.is_off = true;
                verdict.find(Wrong::Missing, Some(first), text(&error));
            }
        }
        leaves
    }

    /// The whole records of a bundle, and what is wrong with the rest.
    fn records(&self, bundle: u64, width: usize) -> (Vec<Vec<u8>>, Option<String>) {
        match Self::bundle_part(&self.folder, bundle, width) {
            Ok((records, true)) => (records, None),
            Ok((records, false)) => {
                let detail = format!(
                    "the bundle of entries {bundle} has {} whole records, and {width} are expected",
                    records.len()
                );
                (records, Some(detail))
            }
            Err(error) => (Vec::new(), Some(text(&error))),
        }
    }

    /// Compares all other tiles and the root with what the records hash to.
    fn check_tiles(&self, leaves: &Leaves, verdict: &mut Verdict) {
        let mut edge = Edge::default();
        let mut full = Vec::new();
        for hash in &leaves.hashes {
            edge.push(*hash, |tile| full.push(tile));
        }
        let partial = edge.levels().iter().enumerate().map(|(level, hashes)| {
            let index = tile::hashes(level, edge.size()) / tile::WIDTH;
            (level, index, hashes)
        });
        let full = full.iter().map(|tile| (tile.level, tile.index, &tile.hashes));
        let above = full
            .chain(partial)
            .filter(|(level, _, hashes)| *level > 0 && !hashes.is_empty());
        let root = edge.root();
        let is_signed = root == *self.checkpoint().root();
        for (level, index, hashes) in above {
            let shift = u32::try_from(level * 8).unwrap_or(u32::MAX);
            match Self::hashes_at(&self.folder, level, index, hashes.len()) {
                Err(error) => {
                    verdict.find(Wrong::Missing, Some((index * tile::WIDTH) << shift), text(&error));
                }
                Ok(stored) if stored == *hashes => {}
                Ok(_) if is_signed => {
                    let detail = format!(
                        "tile {index} of level {level} was changed, and the records are those of the checkpoint"
                    );
                    verdict.find(Wrong::Altered, None, detail);
                }
                Ok(stored) => {
                    let same = stored.iter().zip(hashes).take_while(|(a, b)| a == b).count();
                    let at = index * tile::WIDTH + same as u64;
                    leaves.disagree(at << shift..(at + 1) << shift, (level, index), verdict);
                }
            }
        }
        leaves.check_root(&root, self.checkpoint(), verdict);
    }

    /// The records behind the checkpoint.
    fn check_journal(&self, held: Journaled, verdict: &mut Verdict) -> Vec<Vec<u8>> {
        let size = self.checkpoint().size();
        let held = match held {
            Journaled::Held(held) => held,
            // A copy that was given away has none.
            Journaled::None => return Vec::new(),
            Journaled::Foreign => {
                let detail =
                    "the journal is none: its front was changed, or it was cut off, and what it held is gone";
                verdict.find(Wrong::Journal, Some(size), detail);
                return Vec::new();
            }
        };
        verdict.torn = held.torn;
        if held.first > size {
            let detail = format!(
                "the checkpoint ends at record {size}, and the journal begins at {}",
                held.first
            );
            verdict.find(Wrong::Journal, Some(size), detail);
            return Vec::new();
        }
        if held.damaged_at.is_some() {
            verdict.torn = 0;
            verdict.find(
                Wrong::Journal,
                held.damaged_at,
                "the journal is damaged here, and whole batches follow",
            );
        }
        let skipped = usize::try_from(size - held.first).unwrap_or(usize::MAX);
        let uncovered: Vec<_> = held.records.into_iter().skip(skipped).collect();
        verdict.uncovered = uncovered.len() as u64;
        uncovered
    }
}

/// Refuses a checkpoint that is not of this key.
pub(super) fn check_given(kept: &Checkpoint, key: &VerifierKey) -> Result<()> {
    kept.verify(key).map_err(|error| {
        let detail = error.detail().unwrap_or_default();
        Error::argument(format!("the checkpoint that was given: {detail}"))
    })
}

/// What is said of a log whose own key has not signed what was kept of it.
fn exchanged(kept: &Checkpoint, key: &VerifierKey) -> String {
    match kept.origin() == key.name() {
        true => "the log names another key than the one that signed the checkpoint that was given: another log was put in its place".to_owned(),
        false => format!(
            "the log is {}, and the checkpoint that was given is of {}: another log was put in its place, or the checkpoint is not of this one",
            key.name(),
            kept.origin()
        ),
    }
}

/// Compares with a checkpoint that was kept elsewhere.
pub(super) fn check_kept(kept: &Checkpoint, hashes: &[Hash], is_whole: bool, verdict: &mut Verdict) {
    let there = hashes.len() as u64;
    let front = usize::try_from(kept.size())
        .ok()
        .and_then(|size| hashes.get(..size));
    match front {
        Some(front) if root(front) == *kept.root() => {}
        Some(_) => {
            let known = verdict.findings.iter().filter_map(|finding| finding.record).min();
            let detail = format!(
                "the first {} records are not those of the checkpoint that was given: another history was signed, or they were rewritten",
                kept.size()
            );
            verdict.find(Wrong::Forked, known.filter(|known| *known < kept.size()), detail);
        }
        None if is_whole => {
            let detail = format!(
                "the checkpoint that was given has {} records, and the log has {there}",
                kept.size()
            );
            verdict.find(Wrong::Truncated, Some(there), detail);
        }
        // What is missing in the middle is said already.
        None => {}
    }
}

pub(super) fn text(error: &Error) -> String {
    error.detail().map_or_else(|| error.to_string(), str::to_owned)
}
