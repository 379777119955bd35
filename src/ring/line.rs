//! Documents that are one JSON object on one line, signed over its exact bytes: its last member is the signature.

use base64ct::{Base64UrlUnpadded, Encoding};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::inventory::Signed;
use super::view::hex;
use super::{Authority, AuthorityKey, RecordId};
use crate::value::error::{Error, ErrorKind, Result};

/// What stands before the signature. It is the last field, so that what is signed is what stands before it.
const FIELD: &str = ",\"signature\":\"";
/// The length of a public key and of a signature as text.
const SIGNER: usize = 51;
const SIGNATURE: usize = 86;

/// A kind of such documents.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LineKind {
    /// The kind that the signature is for.
    pub(crate) kind: &'static str,
    /// The greatest length in bytes, and what that is called.
    pub(crate) max: usize,
    pub(crate) limit: &'static str,
    /// What people call one, what a version of them is called, and which command writes it.
    pub(crate) name: &'static str,
    pub(crate) versions: &'static str,
    pub(crate) written_by: &'static str,
    /// The schema that this library writes and reads.
    pub(crate) schema: u32,
}

/// What is read of a document before its form is known.
pub(crate) trait Probe: DeserializeOwned {
    fn schema(&self) -> u32;
}

/// Any document has a schema.
#[derive(Deserialize)]
pub(crate) struct Version {
    schema: u32,
}

impl Probe for Version {
    fn schema(&self) -> u32 {
        self.schema
    }
}

/// One signed line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    bytes: Vec<u8>,
    /// Of those bytes: somebody asks for it many times.
    digest: String,
    signed: Signed,
}

impl Line {
    pub(crate) fn sign(
        of: LineKind,
        ring: RecordId,
        body: &impl Serialize,
        signer: &Authority,
    ) -> Result<Self> {
        let text = serde_json::to_vec(body)
            .map_err(|error| Error::argument(format!("a document cannot be written: {error}")))?;
        let signed = signer.sign(ring, of.kind, digest_of(&text))?;
        let mut bytes = text;
        bytes.pop(); // the brace at the end
        bytes.extend_from_slice(FIELD.as_bytes());
        bytes.extend_from_slice(signer.public().to_string().as_bytes());
        bytes.push(b':');
        bytes.extend_from_slice(Base64UrlUnpadded::encode_string(&signed.signature).as_bytes());
        bytes.extend_from_slice(b"\"}\n");
        of.check_len(bytes.len())?;
        Ok(Self {
            digest: hex(&Sha256::digest(&bytes).into()),
            bytes,
            signed,
        })
    }

    /// Takes a line apart. Returns the text that is signed, too. `None` if it has not the form of one; nothing of it is verified.
    pub(crate) fn parse(bytes: &[u8]) -> Option<(Self, Vec<u8>)> {
        let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let tail = FIELD.len() + SIGNER + 1 + SIGNATURE + 2;
        let (front, tail) = line.split_at_checked(line.len().checked_sub(tail)?)?;
        let tail = std::str::from_utf8(tail).ok()?;
        let tail = tail.strip_prefix(FIELD)?.strip_suffix("\"}")?;
        let (signer, signature) = tail.rsplit_once(':')?;
        let signer: AuthorityKey = signer.parse().ok()?;
        let mut decoded = [0; 64];
        match Base64UrlUnpadded::decode(signature, &mut decoded) {
            Ok(all) if all.len() == 64 => {}
            _ => return None,
        }
        let mut text = front.to_vec();
        text.push(b'}');
        let mut whole = line.to_vec();
        whole.push(b'\n');
        let line = Self {
            signed: Signed::new(digest_of(&text), *signer.as_bytes(), decoded),
            digest: hex(&Sha256::digest(&whole).into()),
            bytes: whole,
        };
        Some((line, text))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// SHA-256 of the line in hexadecimal digits.
    pub(crate) fn digest(&self) -> &str {
        &self.digest
    }

    /// Returns the one of these keys that it says it is signed by.
    pub(crate) fn signer(&self, keys: impl IntoIterator<Item = AuthorityKey>) -> Option<AuthorityKey> {
        keys.into_iter().find(|key| *key.as_bytes() == self.signed.signer)
    }

    /// Returns the key that it says it is signed by. An error if that is none.
    pub(crate) fn named_signer(&self) -> Result<AuthorityKey> {
        AuthorityKey::from_bytes(self.signed.signer)
    }

    /// Refuses what this key has not signed for this ring.
    pub(crate) fn verify(&self, of: LineKind, ring: RecordId, signer: &AuthorityKey) -> Result<()> {
        signer.verify(ring, of.kind, &self.signed)
    }
}

impl LineKind {
    /// Reads a document. Nothing of it is verified.
    ///
    /// # Errors
    /// `InvalidArgument` if it is none, or was formatted anew; `Unsupported` if a newer version wrote it; `OverLimit`.
    pub(crate) fn read<P: Probe, B: DeserializeOwned>(self, bytes: &[u8]) -> Result<(Line, B)> {
        self.check_len(bytes.len())?;
        let name = self.name;
        let wrong = || {
            Error::argument(format!(
                "this is no {name}: it is one line of JSON that ends with its signature, exactly as `{}` wrote it",
                self.written_by
            ))
        };
        let probe: P = serde_json::from_slice(bytes).map_err(|_| wrong())?;
        if probe.schema() != self.schema {
            return Err(Error::unsupported(self.versions).with_detail(format!(
                "the {name} has schema {}, and this library reads schema {}",
                probe.schema(),
                self.schema
            )));
        }
        let (line, text) = Line::parse(bytes).ok_or_else(wrong)?;
        let body = serde_json::from_slice(&text)
            .map_err(|error| Error::argument(format!("the {name} has a wrong form: {error}")))?;
        Ok((line, body))
    }

    pub(crate) fn check_len(self, len: usize) -> Result<()> {
        if len > self.max {
            return Err(Error::new(ErrorKind::OverLimit {
                limit: self.limit,
                max: self.max as u64,
            }));
        }
        Ok(())
    }
}

/// What is signed instead of the text, which may be longer than a record.
fn digest_of(text: &[u8]) -> Vec<u8> {
    Sha256::digest(text).to_vec()
}
