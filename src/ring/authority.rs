//! Who may change a ring: an Ed25519 key pair. Readers hold the public half.

use std::fmt;
use std::str::FromStr;

use base64ct::{Base64UrlUnpadded, Encoding};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::RecordId;
use super::inventory::{MAX_BODY, Signed};
use crate::value::entropy;
use crate::value::error::{Error, ErrorKind, Result};

/// What stands before everything that is signed.
const LABEL: &[u8; 16] = b"waxseal ring v1\0";
/// What stands before the text of a public key.
const PREFIX: &str = "ed25519:";

/// The public half of an authority, or of a key that an authority has delegated to. As text `ed25519:` and 43 characters of
/// base64url.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AuthorityKey([u8; 32]);

impl AuthorityKey {
    /// Returns the key of these bytes (RFC 8032, section 5.1.5).
    ///
    /// # Errors
    /// `InvalidArgument` if they are no point of the curve, or one of small order, under which anybody could sign.
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self> {
        match VerifyingKey::from_bytes(&bytes) {
            Ok(key) if !key.is_weak() => Ok(Self(bytes)),
            _ => Err(wrong()),
        }
    }

    /// Returns its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Refuses what this key has not signed for this ring, as this kind of record.
    pub(crate) fn verify(&self, ring: RecordId, kind: &str, signed: &Signed) -> Result<()> {
        let invalid = || {
            Error::new(ErrorKind::InventoryInvalid).with_detail(format!("the signature of {kind} is wrong"))
        };
        if signed.signer != self.0 || signed.body.len() > MAX_BODY {
            return Err(invalid());
        }
        let key = VerifyingKey::from_bytes(&self.0).map_err(|_| invalid())?;
        let signature = Signature::from_bytes(&signed.signature);
        key.verify_strict(&message(ring, kind, &signed.body), &signature)
            .map_err(|_| invalid())
    }
}

fn wrong() -> Error {
    Error::argument("the public key of an authority is ed25519: and 43 characters of base64url")
}

/// What is signed: a label, the ring, the kind of record with its length, and the record.
fn message(ring: RecordId, kind: &str, body: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(LABEL.len() + 17 + kind.len() + body.len());
    message.extend_from_slice(LABEL);
    message.extend_from_slice(ring.as_bytes());
    message.push(u8::try_from(kind.len()).unwrap_or(u8::MAX));
    message.extend_from_slice(kind.as_bytes());
    message.extend_from_slice(body);
    message
}

impl FromStr for AuthorityKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let encoded = text.strip_prefix(PREFIX).ok_or_else(wrong)?;
        let mut bytes = [0; 32];
        match Base64UrlUnpadded::decode(encoded, &mut bytes) {
            Ok(decoded) if decoded.len() == 32 => Self::from_bytes(bytes),
            _ => Err(wrong()),
        }
    }
}

impl TryFrom<String> for AuthorityKey {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<AuthorityKey> for String {
    fn from(key: AuthorityKey) -> Self {
        key.to_string()
    }
}

impl fmt::Display for AuthorityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", Base64UrlUnpadded::encode_string(&self.0))
    }
}

impl fmt::Debug for AuthorityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuthorityKey({self})")
    }
}

/// The private half of an authority: whoever has it can change the ring. Readers have no need of it. Wiped when it is
/// dropped.
///
/// ```
/// use waxseal::ring::Authority;
///
/// let authority = Authority::generate()?;
/// // For the configuration of readers:
/// assert!(authority.public().to_string().starts_with("ed25519:"));
/// # Ok::<(), waxseal::Error>(())
/// ```
pub struct Authority(SigningKey);

impl Authority {
    /// Makes a new authority.
    ///
    /// # Errors
    /// `Entropy` if the operating system returns no randomness.
    pub fn generate() -> Result<Self> {
        let seed = Zeroizing::new(entropy::array::<32>()?);
        Ok(Self::from_seed(&seed))
    }

    /// Returns the authority of a seed (the private key of RFC 8032, section 5.1.5).
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// Returns the seed, to keep it: in a file that nobody else may read, or sealed under a KEK.
    #[must_use]
    pub fn expose_seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// Returns the public half.
    #[must_use]
    pub fn public(&self) -> AuthorityKey {
        AuthorityKey(self.0.verifying_key().to_bytes())
    }

    /// Signs a record of this kind for this ring.
    pub(crate) fn sign(&self, ring: RecordId, kind: &str, body: Vec<u8>) -> Result<Signed> {
        if body.len() > MAX_BODY {
            return Err(Error::new(ErrorKind::OverLimit {
                limit: "the length of a record in bytes",
                max: MAX_BODY as u64,
            }));
        }
        let signature = self.0.sign(&message(ring, kind, &body)).to_bytes();
        Ok(Signed::new(body, self.public().0, signature))
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("public", &self.public())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring() -> RecordId {
        RecordId::new("2026-01-01T00:00:00Z".parse().unwrap()).unwrap()
    }

    #[test]
    fn a_signature_holds_for_one_ring_kind_and_body() {
        let (authority, ring) = (Authority::generate().unwrap(), ring());
        let public = authority.public();
        let signed = authority.sign(ring, "key", b"{}".to_vec()).unwrap();
        public.verify(ring, "key", &signed).unwrap();
        let other = Authority::generate().unwrap();
        let mut changed = signed.clone();
        changed.body.push(b' ');
        let mut renamed = signed.clone();
        renamed.signer = *other.public().as_bytes();
        let wrong = [
            public.verify(self::ring(), "key", &signed),
            public.verify(ring, "intent", &signed),
            public.verify(ring, "key", &changed),
            public.verify(ring, "key", &renamed),
            other.public().verify(ring, "key", &signed),
            other.public().verify(ring, "key", &renamed),
        ];
        for result in wrong {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::InventoryInvalid);
        }
    }

    #[test]
    fn public_keys_have_one_text_and_weak_ones_are_refused() {
        let public = Authority::from_seed(&[7; 32]).public();
        assert_eq!(public.to_string().parse::<AuthorityKey>().unwrap(), public);
        let mut low_order = [0; 32];
        low_order[0] = 1;
        assert!(AuthorityKey::from_bytes(low_order).is_err());
        for bad in ["", "ed25519:", "x25519:AAAA", &format!("{public}=")] {
            assert!(bad.parse::<AuthorityKey>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_private_half_is_not_printed() {
        let authority = Authority::from_seed(&[0xab; 32]);
        assert!(!format!("{authority:?}").contains("171"));
    }
}
