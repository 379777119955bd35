//! Checkpoints (C2SP tlog-checkpoint) in signed notes (C2SP signed-note).

use base64ct::{Base64, Encoding};

use super::hash::Hash;
use super::key::{LogKey, VerifierKey};
use crate::value::error::{Error, Result};

/// The most bytes of a note. Sixteen post-quantum signatures have 80 KB.
const MAX: usize = 128 * 1024;

/// What a log signs: how many records it has, and the root of their tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    origin: String,
    size: u64,
    root: Hash,
    note: String,
}

impl Checkpoint {
    pub(super) fn sign(size: u64, root: Hash, key: &LogKey) -> Self {
        let origin = key.name().to_owned();
        let text = format!("{origin}\n{size}\n{}\n", Base64::encode_string(&root));
        let mut signature = key.verifier().id().to_vec();
        signature.extend_from_slice(&key.sign(text.as_bytes()));
        let note = format!(
            "{text}\n\u{2014} {origin} {}\n",
            Base64::encode_string(&signature)
        );
        Self {
            origin,
            size,
            root,
            note,
        }
    }

    /// Parses the text of a signed note. Nothing that it says is proven before it is [verified](Self::verify).
    ///
    /// # Errors
    /// `InvalidArgument` if it is no checkpoint.
    pub fn parse(note: &str) -> Result<Self> {
        let wrong = |what: &str| Error::argument(format!("this is no checkpoint of a log: {what}"));
        if note.len() > MAX {
            return Err(wrong("it is longer than 128 KiB"));
        }
        let (text, _) = split(note).ok_or_else(|| wrong("it has no signature behind a blank line"))?;
        let mut lines = text.lines();
        let origin = lines.next().filter(|origin| !origin.is_empty());
        let size = lines.next().and_then(|text| {
            let size: u64 = text.parse().ok()?;
            (size.to_string() == text).then_some(size)
        });
        let root = lines.next().and_then(|text| {
            let bytes = Base64::decode_vec(text).ok()?;
            Hash::try_from(bytes).ok()
        });
        Ok(Self {
            origin: origin
                .ok_or_else(|| wrong("its first line names no origin"))?
                .to_owned(),
            size: size.ok_or_else(|| wrong("its second line is not a number of records"))?,
            root: root.ok_or_else(|| wrong("its third line is not a root hash in base64"))?,
            note: note.to_owned(),
        })
    }

    /// Whether a key of this name and id has signed it, as it says itself.
    pub(super) fn names(&self, key: &VerifierKey) -> bool {
        let (_, signatures) = split(&self.note).unwrap_or_default();
        let mut signatures = signatures.lines().filter_map(signature);
        self.origin == key.name()
            && signatures.any(|(name, signature)| name == key.name() && signature.starts_with(&key.id()))
    }

    /// Refuses a checkpoint that this key has not signed, or that is of another origin than the key's name.
    ///
    /// # Errors
    /// `InvalidArgument` says which.
    pub fn verify(&self, key: &VerifierKey) -> Result<()> {
        if self.origin != key.name() {
            return Err(Error::argument(format!(
                "the checkpoint is of {}, and the key is that of {}",
                self.origin,
                key.name()
            )));
        }
        let (text, signatures) = split(&self.note).unwrap_or_default();
        for line in signatures.lines() {
            let Some((name, signature)) = signature(line) else {
                return Err(Error::argument("the checkpoint has a line that is no signature"));
            };
            // A signature of another key is for others to verify.
            if name != key.name() || !signature.starts_with(&key.id()) {
                continue;
            }
            let signature = signature.get(4..).unwrap_or_default();
            return match key.verifies(text.as_bytes(), signature) {
                true => Ok(()),
                false => Err(Error::argument("the signature of the checkpoint is wrong")),
            };
        }
        Err(Error::argument(
            "the checkpoint is not signed by this key of the log",
        ))
    }

    /// Returns the origin, which names the log.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Returns the number of records.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Returns the root of the records' tree.
    #[must_use]
    pub fn root(&self) -> &[u8; 32] {
        &self.root
    }

    /// Returns the signed note: what others verify and keep.
    #[must_use]
    pub fn as_note(&self) -> &str {
        &self.note
    }
}

/// The name of a key, and the bytes behind it.
fn signature(line: &str) -> Option<(&str, Vec<u8>)> {
    let (name, signature) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
    Some((name, Base64::decode_vec(signature).unwrap_or_default()))
}

/// The text with its last line end, and the signatures.
fn split(note: &str) -> Option<(&str, &str)> {
    let has_control = |c: char| c < ' ' && c != '\n';
    if note.contains(has_control) || !note.ends_with('\n') {
        return None;
    }
    let at = note.rfind("\n\n")?;
    let (text, signatures) = (note.get(..=at)?, note.get(at + 2..)?);
    (!signatures.is_empty()).then_some((text, signatures))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> LogKey {
        LogKey::from_seed("log.example/1", &[7; 32]).unwrap()
    }

    #[test]
    fn a_checkpoint_is_read_back_and_verifies() {
        let signed = Checkpoint::sign(42, [9; 32], &key());
        let read = Checkpoint::parse(signed.as_note()).unwrap();
        assert_eq!(read, signed);
        read.verify(&key().verifier()).unwrap();
        // Witnesses add lines.
        let more = format!("{}\u{2014} witness.example AAAAAAAA\n", signed.as_note());
        Checkpoint::parse(&more)
            .unwrap()
            .verify(&key().verifier())
            .unwrap();
    }

    #[test]
    fn any_other_size_root_origin_or_key_is_refused() {
        let signed = Checkpoint::sign(42, [9; 32], &key());
        let note = signed.as_note();
        let other = Checkpoint::sign(42, [8; 32], &key());
        let (text, signature) = (split(note).unwrap().0, split(other.as_note()).unwrap().1);
        let wrong = [
            note.replacen("\n42\n", "\n43\n", 1),
            note.replacen("log.example/1\n", "log.example/2\n", 1),
            format!("{text}\n{signature}"),
        ];
        for note in wrong {
            let read = Checkpoint::parse(&note).unwrap();
            assert!(read.verify(&key().verifier()).is_err(), "{note}");
        }
        let stranger = LogKey::from_seed("log.example/1", &[8; 32]).unwrap();
        assert!(signed.verify(&stranger.verifier()).is_err());
        for note in [
            "",
            "a\n1\n",
            "a\n01\nAA==\n\n\u{2014} a AA==\n",
            "\n1\n\n\u{2014} a AA==\n",
        ] {
            assert!(Checkpoint::parse(note).is_err(), "{note}");
        }
    }
}
