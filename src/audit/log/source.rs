//! Verifying a log that is read by its records, wherever they are.

use super::hash::Hash;
use super::key::VerifierKey;
use super::note::Checkpoint;
use super::publish::{LogSource, PAGE};
use super::tree::Edge;
use super::verify::{Leaves, Verdict, Wrong, check_given, check_kept, text};
use crate::value::error::Result;

/// Verifies a log by its records: each record against the hash that is stored for it, if there is one, all of them against the root, the root and the
/// signature against the key, and the whole against a checkpoint that was kept elsewhere. Keeps 32 bytes of each record in memory.
///
/// For a log of a directory, [`LogReader::verify`](super::LogReader::verify) compares the tiles of its tree, too.
///
/// # Errors
/// `InvalidArgument` if `kept` is not signed by the key or is of another log; those of the log, if it cannot be asked. What is wrong with the log is no
/// error: see [`Verdict::findings`].
pub async fn verify(log: &dyn LogSource, key: &VerifierKey, kept: Option<&Checkpoint>) -> Result<Verdict> {
    let checkpoint = log.checkpoint();
    if let Some(kept) = kept {
        check_given(kept, key)?;
    }
    let mut verdict = Verdict::of(checkpoint);
    if let Err(error) = checkpoint.verify(key) {
        verdict.find(Wrong::Signature, None, text(&error));
    }
    let leaves = leaves(log, &mut verdict).await?;
    let is_whole = leaves.hashes.len() as u64 == checkpoint.size();
    if is_whole {
        let mut edge = Edge::default();
        for hash in &leaves.hashes {
            edge.push(*hash, |_| {});
        }
        leaves.check_root(&edge.root(), checkpoint, &mut verdict);
    }
    if let Some(kept) = kept {
        check_kept(kept, &leaves.hashes, is_whole, &mut verdict);
    }
    Ok(verdict)
}

/// The first record that is off, as far as the hashes that are stored tell.
pub(super) async fn first_off(log: &dyn LogSource) -> Option<u64> {
    let mut verdict = Verdict::of(log.checkpoint());
    let _ = leaves(log, &mut verdict).await.ok()?;
    verdict.findings.first()?.record
}

/// Hashes every record, up to the first one that is missing.
async fn leaves(log: &dyn LogSource, verdict: &mut Verdict) -> Result<Leaves> {
    let size = log.checkpoint().size();
    let mut leaves = Leaves::default();
    loop {
        let first = leaves.hashes.len() as u64;
        if first >= size {
            return Ok(leaves);
        }
        let records = match some(log, first, (size - first).min(PAGE)).await {
            Ok(records) if !records.is_empty() => records,
            Ok(_) => {
                verdict.find(Wrong::Missing, Some(first), "the record is missing");
                return Ok(leaves);
            }
            // Who does not answer now says nothing of the log.
            Err(error) if error.is_retryable() => return Err(error),
            Err(error) => {
                verdict.find(Wrong::Missing, Some(first), text(&error));
                return Ok(leaves);
            }
        };
        let stored = stored(log, first, records.len() as u64, &mut leaves, verdict).await?;
        for (place, record) in records.iter().enumerate() {
            leaves.push(record, stored.get(place), verdict);
        }
    }
}

/// Records from this one on, fewer of them if one is missing or cannot be read: then the first of them is the one that is wrong.
async fn some(log: &dyn LogSource, first: u64, count: u64) -> Result<Vec<Vec<u8>>> {
    let mut count = count;
    loop {
        match log.records(first, count).await {
            Ok(mut records) => {
                records.truncate(usize::try_from(count).unwrap_or(usize::MAX));
                return Ok(records);
            }
            Err(error) if count > 1 && !error.is_retryable() => count /= 2,
            Err(error) => return Err(error),
        }
    }
}

/// The hashes that are stored for them. None if the log stores none, or they cannot be read, which is said.
async fn stored(
    log: &dyn LogSource,
    first: u64,
    count: u64,
    leaves: &mut Leaves,
    verdict: &mut Verdict,
) -> Result<Vec<Hash>> {
    match log.leaves(first, count).await {
        Ok(stored) => Ok(stored),
        Err(error) if error.is_retryable() => Err(error),
        Err(error) => {
            if !leaves.is_off {
                leaves.is_off = true;
                verdict.find(Wrong::Missing, Some(first), text(&error));
            }
            Ok(Vec::new())
        }
    }
}
