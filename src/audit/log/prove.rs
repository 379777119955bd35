//! Proofs, which others verify without the log: C2SP tlog-proof.

use base64ct::{Base64, Encoding};
use ct_merkle::{
    ConsistencyProof, InclusionProof, RootHash, indices_for_consistency_proof, indices_for_inclusion_proof,
};
use sha2::Sha256;

use super::hash::Hash;
use super::key::VerifierKey;
use super::note::Checkpoint;
use super::reader::{LogReader, unreadable};
use crate::value::error::{Error, Result};

/// The most records of a tree that indices are counted for.
const MOST: u64 = 1 << 62;
const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";

impl LogReader {
    /// Returns a proof that the record of an index is in the log, as the text of a `.tlog-proof`. It has the
    /// record, as the extra data, and the log's checkpoint, and verifies with the log's public key alone.
    ///
    /// # Errors
    /// `InvalidArgument` if the checkpoint does not cover the record; `Store` if a tile cannot be read, or the record is not what the log
    /// proves.
    pub fn prove(&self, index: u64) -> Result<String> {
        let record = self.record(index)?;
        let size = self.checkpoint().size();
        let hashes = self.nodes(&indices_for_inclusion_proof(size.min(MOST), index))?;
        let extra = Base64::encode_string(&record);
        let mut text = format!("{FIRST_LINE}\nextra {extra}\nindex {index}\n");
        for hash in &hashes {
            text += &Base64::encode_string(hash);
            text.push('\n');
        }
        text.push('\n');
        text += self.checkpoint().as_note();
        self.checkpoint().check(index, &record, &hashes).map_err(|_| {
            unreadable(format!(
                "record {index} is not what the tiles and the checkpoint prove"
            ))
        })?;
        Ok(text)
    }

    /// Returns the hashes that prove that the log of an older size is the front of this one (RFC 6962, section 2.1.2).
    ///
    /// # Errors
    /// `InvalidArgument` for no record, or more than the log has; `Store` if a tile cannot be read.
    pub fn prove_consistency(&self, older: u64) -> Result<Vec<[u8; 32]>> {
        let size = self.checkpoint().size();
        match size.checked_sub(older) {
            Some(added) if older > 0 => self.nodes(&indices_for_consistency_proof(older, added)),
            _ => Err(Error::argument(format!(
                "a consistency proof is from a size between 1 and the {size} records of the log, got {older}"
            ))),
        }
    }

    /// The hashes of nodes, which are numbered as an array (RFC 9420, appendix C).
    fn nodes(&self, indices: &[u64]) -> Result<Vec<Hash>> {
        let size = self.checkpoint().size();
        let node = |index: &u64| {
            let level = index.trailing_ones();
            let from = (index >> level >> 1) << level;
            self.root_of(from, (from + (1 << level)).min(size))
        };
        indices.iter().map(node).collect()
    }
}

impl Checkpoint {
    /// Verifies the text of a `.tlog-proof` of a record, and returns the index of the record. The proof has a checkpoint of its own, which
    /// the key must have signed; its extra data is not looked at.
    ///
    /// # Errors
    /// `InvalidArgument` says what is wrong.
    pub fn verify_proof(proof: &str, record: &[u8], key: &VerifierKey) -> Result<u64> {
        let wrong = || Error::argument("this is no proof of a log: c2sp.org/tlog-proof@v1 is expected");
        let (front, note) = proof.split_once("\n\n").ok_or_else(wrong)?;
        let mut lines = front.lines();
        if lines.next() != Some(FIRST_LINE) {
            return Err(wrong());
        }
        let mut line = lines.next().ok_or_else(wrong)?;
        if line.starts_with("extra ") {
            line = lines.next().ok_or_else(wrong)?;
        }
        let index = line.strip_prefix("index ").and_then(|index| index.parse().ok());
        let index: u64 = index.ok_or_else(wrong)?;
        let hash = |line: &str| Hash::try_from(Base64::decode_vec(line).ok()?).ok();
        let hashes = lines.map(|line| hash(line).ok_or_else(wrong));
        let hashes = hashes.collect::<Result<Vec<_>>>()?;
        let checkpoint = Self::parse(note)?;
        checkpoint.verify(key)?;
        checkpoint.check(index, record, &hashes)?;
        Ok(index)
    }

    fn check(&self, index: u64, record: &[u8], hashes: &[Hash]) -> Result<()> {
        let wrong = || {
            Error::argument(format!(
                "the record is not record {index} of the checkpoint's log"
            ))
        };
        if self.size() > MOST {
            return Err(wrong());
        }
        let proof = InclusionProof::<Sha256>::try_from_bytes(hashes.concat()).map_err(|_| wrong())?;
        let verified = self.root_hash().verify_inclusion(&record, index, &proof);
        verified.map_err(|_| wrong())
    }

    /// Verifies, by the hashes of [`LogReader::prove_consistency`], that the log of an older checkpoint is the front of the log of this one.
    ///
    /// # Errors
    /// `InvalidArgument` if it is not, or the hashes are not those that prove it.
    pub fn verify_consistency(&self, older: &Self, hashes: &[[u8; 32]]) -> Result<()> {
        let wrong = || Error::argument("the older checkpoint is not of the front of the newer one's log");
        if self.size() > MOST {
            return Err(wrong());
        }
        let proof = ConsistencyProof::<Sha256>::try_from_bytes(hashes.concat()).map_err(|_| wrong())?;
        let verified = self.root_hash().verify_consistency(&older.root_hash(), &proof);
        verified.map_err(|_| wrong())
    }

    fn root_hash(&self) -> RootHash<Sha256> {
        RootHash::new((*self.root()).into(), self.size())
    }
}
