//! One JSON object on one line, whose last member is the signature of what stands before it.

use base64ct::{Base64UrlUnpadded, Encoding};

use super::AuthorityKey;

/// What stands before the signature.
const FIELD: &str = ",\"signature\":\"";
/// The length of a public key and of a signature as text.
const SIGNER: usize = 51;
const SIGNATURE: usize = 86;

/// The parts of such a line.
pub(super) struct SignedLine {
    /// The object without its last member.
    pub(super) text: Vec<u8>,
    pub(super) signer: AuthorityKey,
    pub(super) signature: [u8; 64],
}

/// Puts a signature into an object, which is not empty, and ends the line.
pub(super) fn write(text: Vec<u8>, signer: AuthorityKey, signature: &[u8; 64]) -> Vec<u8> {
    let mut bytes = text;
    bytes.pop(); // the brace at the end
    bytes.extend_from_slice(FIELD.as_bytes());
    bytes.extend_from_slice(signer.to_string().as_bytes());
    bytes.push(b':');
    bytes.extend_from_slice(Base64UrlUnpadded::encode_string(signature).as_bytes());
    bytes.extend_from_slice(b"\"}\n");
    bytes
}

impl SignedLine {
    /// Takes a line without its end apart. `None` if it has another form.
    pub(super) fn read(line: &[u8]) -> Option<Self> {
        let tail = FIELD.len() + SIGNER + 1 + SIGNATURE + 2;
        let (front, tail) = line.split_at_checked(line.len().checked_sub(tail)?)?;
        let tail = std::str::from_utf8(tail).ok()?;
        let tail = tail.strip_prefix(FIELD)?.strip_suffix("\"}")?;
        let (signer, encoded) = tail.rsplit_once(':')?;
        let mut signature = [0; 64];
        match Base64UrlUnpadded::decode(encoded, &mut signature) {
            Ok(all) if all.len() == 64 => {}
            _ => return None,
        }
        let mut text = front.to_vec();
        text.push(b'}');
        Some(Self {
            text,
            signer: signer.parse().ok()?,
            signature,
        })
    }
}
