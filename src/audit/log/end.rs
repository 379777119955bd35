//! The end of a log that is kept elsewhere than in a directory.

use super::damaged;
use super::hash::{self, Hash};
use super::key::{LogKey, VerifierKey};
use super::note::Checkpoint;
use super::tile;
use super::tree::Edge;
use crate::value::error::Result;

/// The end of a log: its checkpoint and the right edge of its tree, which is all that is needed to add records. For sinks that keep a log
/// elsewhere than in a directory, such as in a database that several processes write.
///
/// ```
/// use waxseal::audit::{LogEnd, LogKey};
///
/// # fn main() -> waxseal::Result<()> {
/// let key = LogKey::generate("example.com/audit")?;
/// let end = LogEnd::begin(&key);
/// let grown = end.add(&[b"{}".to_vec()], &key)?;
/// // What a database holds is believed after it was read like this.
/// let read = LogEnd::read(grown.checkpoint().as_note(), &grown.edge(), &key.verifier())?;
/// // Whoever knows an earlier end finds out whether this one continues it, by the hashes of the records between them.
/// end.follow(&[LogEnd::leaf(b"{}")], read.checkpoint(), &key.verifier())?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct LogEnd {
    edge: Edge,
    checkpoint: Checkpoint,
}

impl LogEnd {
    /// Returns the end of a log without records. The name of the key is the log's origin.
    #[must_use]
    pub fn begin(key: &LogKey) -> Self {
        Self::of(Edge::default(), key)
    }

    /// Returns an end that was stored, after it was verified: the checkpoint is signed by this key, and the edge has its root.
    ///
    /// # Errors
    /// `Audit` if that does not hold.
    pub fn read(note: &str, edge: &[u8], key: &VerifierKey) -> Result<Self> {
        let checkpoint = verified(note, key)?;
        let wrong = || damaged("the stored edge of the tree is not that of the log's checkpoint");
        let (mut hashes, rest) = edge.as_chunks::<32>();
        let mut levels = Vec::new();
        for (_, _, width) in tile::lasts(checkpoint.size()) {
            let (of_level, others) = hashes.split_at_checked(width).ok_or_else(wrong)?;
            levels.push(of_level.to_vec());
            hashes = others;
        }
        let edge = Edge::of(checkpoint.size(), levels);
        let is_whole = hashes.is_empty() && rest.is_empty() && edge.root() == *checkpoint.root();
        is_whole.then_some(Self { edge, checkpoint }).ok_or_else(wrong)
    }

    /// Returns the checkpoint.
    #[must_use]
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Returns the edge, to be stored beside the checkpoint: at most 8,160 bytes for each factor of 256 in the number of records.
    #[must_use]
    pub fn edge(&self) -> Vec<u8> {
        self.edge.levels().concat().concat()
    }

    /// Returns the end after these records were added, with a checkpoint of its own.
    ///
    /// # Errors
    /// `Audit` if a record has more than 65,535 bytes.
    pub fn add(&self, records: &[Vec<u8>], key: &LogKey) -> Result<Self> {
        let mut edge = self.edge.clone();
        for record in records {
            if record.len() > usize::from(u16::MAX) {
                return Err(damaged(format!(
                    "a record has {} bytes, and a log keeps 65,535",
                    record.len()
                )));
            }
            edge.push(hash::leaf(record), |_| {});
        }
        Ok(Self::of(edge, key))
    }

    /// Returns the end of a newer checkpoint, after it was verified: it is signed by this key, and the records of these
    /// [hashes](Self::leaf) lie between the two.
    ///
    /// # Errors
    /// `Audit` if that does not hold: records are missing, or another history was signed.
    pub fn follow(&self, leaves: &[[u8; 32]], newer: &Checkpoint, key: &VerifierKey) -> Result<Self> {
        let checkpoint = verified(newer.as_note(), key)?;
        let (here, there) = (self.edge.size(), checkpoint.size());
        if there < here {
            return Err(damaged(format!(
                "the log has {there} records, and had {here}: records were taken away, or an older state was restored"
            )));
        }
        if there - here != leaves.len() as u64 {
            return Err(damaged(format!(
                "the checkpoint of the log has {there} records, and {} are there",
                here + leaves.len() as u64
            )));
        }
        let mut edge = self.edge.clone();
        for leaf in leaves {
            edge.push(*leaf, |_| {});
        }
        match edge.root() == *checkpoint.root() {
            true => Ok(Self { edge, checkpoint }),
            false => Err(damaged(format!(
                "the log is no continuation of what it was at record {here}: another history was signed"
            ))),
        }
    }

    /// Returns the hash of a record, by RFC 6962.
    #[must_use]
    pub fn leaf(record: &[u8]) -> Hash {
        hash::leaf(record)
    }

    fn of(edge: Edge, key: &LogKey) -> Self {
        let checkpoint = Checkpoint::sign(edge.size(), edge.root(), key);
        Self { edge, checkpoint }
    }
}

fn verified(note: &str, key: &VerifierKey) -> Result<Checkpoint> {
    let checkpoint = Checkpoint::parse(note);
    let checked = checkpoint.and_then(|checkpoint| checkpoint.verify(key).map(|()| checkpoint));
    checked.map_err(|error| damaged(error.detail().unwrap_or_default().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::error::ErrorKind;

    fn key(seed: u8) -> LogKey {
        LogKey::from_seed("log.example/1", &[seed; 32]).unwrap()
    }

    fn records(from: u32, to: u32) -> Vec<Vec<u8>> {
        (from..to).map(|number| number.to_be_bytes().to_vec()).collect()
    }

    fn leaves(from: u32, to: u32) -> Vec<Hash> {
        records(from, to)
            .iter()
            .map(|record| LogEnd::leaf(record))
            .collect()
    }

    #[test]
    fn an_end_is_read_back_at_every_size() {
        let (key, mut end) = (key(1), LogEnd::begin(&key(1)));
        for (from, to) in [
            (0, 1),
            (1, 255),
            (255, 256),
            (256, 257),
            (257, 66_000),
            (66_000, 66_048),
        ] {
            let next = end.add(&records(from, to), &key).unwrap();
            let read = LogEnd::read(next.checkpoint().as_note(), &next.edge(), &key.verifier()).unwrap();
            assert_eq!(read.checkpoint(), next.checkpoint());
            let followed = end
                .follow(&leaves(from, to), next.checkpoint(), &key.verifier())
                .unwrap();
            assert_eq!(followed.edge(), next.edge());
            end = next;
        }
        assert_eq!(end.checkpoint().size(), 66_048);
    }

    #[test]
    fn what_does_not_continue_it_is_refused_by_its_reason() {
        let key = key(1);
        let verifier = key.verifier();
        let short = LogEnd::begin(&key).add(&records(0, 300), &key).unwrap();
        let long = short.add(&records(300, 310), &key).unwrap();
        let other = LogEnd::begin(&key).add(&records(1, 311), &key).unwrap();
        let refused = |result: Result<LogEnd>| {
            let error = result.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Audit);
            assert!(!error.is_retryable());
            error.to_string()
        };
        let text = refused(long.follow(&[], short.checkpoint(), &verifier));
        assert!(text.contains("has 300 records, and had 310"), "{text}");
        let text = refused(short.follow(&leaves(301, 311), other.checkpoint(), &verifier));
        assert!(text.contains("another history"), "{text}");
        let text = refused(short.follow(&leaves(300, 309), long.checkpoint(), &verifier));
        assert!(text.contains("310 records, and 309"), "{text}");
        let stranger = LogEnd::begin(&self::key(2))
            .add(&records(0, 310), &self::key(2))
            .unwrap();
        refused(short.follow(&leaves(300, 310), stranger.checkpoint(), &verifier));
        let note = long.checkpoint().as_note();
        for edge in [
            short.edge(),
            Vec::new(),
            [long.edge(), vec![0; 32]].concat(),
            vec![0; 31],
        ] {
            let text = refused(LogEnd::read(note, &edge, &verifier));
            assert!(text.contains("edge"), "{text}");
        }
        refused(LogEnd::read("", &[], &verifier));
        refused(long.add(&[vec![0; 65_536]], &key));
    }
}
