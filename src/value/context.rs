//! The encryption context, and what binds a message.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::value::aad::Aad;
use crate::value::error::{Error, Result};
use crate::value::limits;

const LABEL: &[u8] = b"waxseal v1 context";

/// Pairs of text that say what is sealed: tenant, table, purpose.
///
/// The context is *coarse*. The key manager receives it (AWS KMS shows it in CloudTrail, and a key policy can require it).
/// Each context has its own data keys, and a wrap opens only under the context that it was made for. The context is not secret.
/// Do not put a row id into the context, because each context costs a data key. Put the row id into the AAD:
/// see [`with_aad`](EncryptionContext::with_aad).
///
/// A context has at most 64 pairs, and 8,192 bytes in canonical form. Keys are unique and not empty; nothing is normalized.
/// The constructor computes the canonical form and its digest once; a clone shares them.
///
/// `Debug` shows keys and hides values.
///
/// ```
/// use waxseal::EncryptionContext;
///
/// let context = EncryptionContext::new([("tenant", "acme"), ("table", "users")])?;
/// assert_eq!(context.get("tenant"), Some("acme"));
/// # Ok::<(), waxseal::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct EncryptionContext(Arc<Inner>);

#[derive(PartialEq, Eq)]
struct Inner {
    canonical: Vec<u8>,
    digest: [u8; 32],
}

impl EncryptionContext {
    /// Makes a context of these pairs. Their order does not matter.
    ///
    /// # Errors
    /// `InvalidArgument` if there are no pairs (use [`empty`](EncryptionContext::empty) for that), a
    /// key is empty or a key occurs twice; `OverLimit` if there are more than 64 pairs or 8,192 canonical bytes.
    pub fn new<K, V>(pairs: impl IntoIterator<Item = (K, V)>) -> Result<Self>
    where
        K: AsRef<str>,
        V: AsRef<str>,
    {
        // One more than the limit is enough to know that there are too many.
        let most = usize::try_from(limits::CONTEXT_PAIRS.max).unwrap_or(usize::MAX);
        let mut pairs: Vec<(K, V)> = pairs.into_iter().take(most + 1).collect();
        limits::CONTEXT_PAIRS.check(pairs.len())?;
        if pairs.is_empty() {
            return Err(Error::argument(
                "an encryption context needs at least one pair, got none; EncryptionContext::empty() makes the empty context",
            ));
        }
        let size = pairs
            .iter()
            .map(|(k, v)| 4 + k.as_ref().len() + v.as_ref().len())
            .sum::<usize>()
            + 2;
        limits::CONTEXT.check(size)?;
        pairs.sort_by(|a, b| a.0.as_ref().as_bytes().cmp(b.0.as_ref().as_bytes()));
        if pairs.iter().any(|(key, _)| key.as_ref().is_empty()) {
            return Err(Error::argument(
                "an encryption context must not have an empty key",
            ));
        }
        if pairs
            .iter()
            .zip(pairs.iter().skip(1))
            .any(|(a, b)| a.0.as_ref() == b.0.as_ref())
        {
            return Err(Error::argument(
                "the keys of an encryption context must be unique, but one occurs twice",
            ));
        }
        let mut canonical = Vec::with_capacity(size);
        put_u16(&mut canonical, pairs.len());
        for (key, value) in &pairs {
            for text in [key.as_ref(), value.as_ref()] {
                put_u16(&mut canonical, text.len());
                canonical.extend_from_slice(text.as_bytes());
            }
        }
        Ok(Self::from_trusted(canonical))
    }

    /// Makes the context without pairs. It has a name of its own, so that nobody uses it by accident instead of a context that
    /// separates tenants and purposes.
    #[must_use]
    pub fn empty() -> Self {
        Self::from_trusted(vec![0, 0])
    }

    /// Reads a context from its canonical form, as it is stored in an envelope.
    ///
    /// # Errors
    /// `Malformed` if the bytes are not canonical (order, duplicates, empty keys, UTF-8, lengths);
    /// `OverLimit` if there are more than 64 pairs or 8,192 bytes.
    pub fn from_canonical(bytes: &[u8]) -> Result<Self> {
        check_canonical(bytes)?;
        Ok(Self::from_trusted(bytes.to_vec()))
    }

    fn from_trusted(canonical: Vec<u8>) -> Self {
        let digest = digest(&canonical);
        Self(Arc::new(Inner { canonical, digest }))
    }

    /// Returns the canonical form: a count, then the pairs in the order of their keys, each text after its length.
    #[must_use]
    pub fn canonical(&self) -> &[u8] {
        &self.0.canonical
    }

    /// Returns SHA-256 of a label and the canonical form. Wraps and keys are bound to this digest.
    #[must_use]
    pub fn digest(&self) -> &[u8; 32] {
        &self.0.digest
    }

    /// Returns the pairs, in the order of their keys.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        Pairs {
            rest: self.0.canonical.get(2..).unwrap_or_default(),
        }
    }

    /// Returns the value of a key, if the context has the key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.pairs().find(|(k, _)| *k == key).map(|(_, value)| value)
    }

    /// Returns the number of pairs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pairs().count()
    }

    /// Returns whether the context has no pairs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Binds a message to this context and to `aad`: a row id, a column, any bytes up to 65,536.
    ///
    /// The AAD is *fine*. It costs no call to the key manager and no derivation, is not stored, and never
    /// leaves the process; opening needs the same bytes. Without an AAD, anybody who can write to the store can exchange values
    /// that were sealed in the same context.
    #[must_use]
    pub fn with_aad<'a>(&'a self, aad: &'a [u8]) -> Binding<'a> {
        Binding {
            context: self,
            aad: Aad::new(aad),
        }
    }
}

impl fmt::Debug for EncryptionContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.pairs().map(|(key, _)| (key, "..")))
            .finish()
    }
}

/// What a message is bound to: an encryption context, and an AAD that may be empty.
///
/// `&EncryptionContext` converts into a binding without an AAD.
#[derive(Clone, Copy)]
pub struct Binding<'a> {
    context: &'a EncryptionContext,
    aad: Aad<'a>,
}

impl<'a> Binding<'a> {
    /// Returns the context.
    #[must_use]
    pub fn context(&self) -> &'a EncryptionContext {
        self.context
    }

    /// Returns the AAD.
    #[must_use]
    pub fn aad(&self) -> Aad<'a> {
        self.aad
    }
}

impl<'a> From<&'a EncryptionContext> for Binding<'a> {
    fn from(context: &'a EncryptionContext) -> Self {
        Self {
            context,
            aad: Aad::none(),
        }
    }
}

impl fmt::Debug for Binding<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Binding({:?}, {} bytes of AAD)",
            self.context,
            self.aad.as_bytes().len()
        )
    }
}

/// Returns the digest of a canonical context.
pub(crate) fn digest(canonical: &[u8]) -> [u8; 32] {
    Sha256::new()
        .chain_update(LABEL)
        .chain_update(canonical)
        .finalize()
        .into()
}

/// Refuses bytes that are not a canonical context. Allocates nothing.
pub(crate) fn check_canonical(bytes: &[u8]) -> Result<()> {
    limits::CONTEXT.check(bytes.len())?;
    let malformed = |rest: &[u8]| Error::malformed("context", bytes.len() - rest.len());
    let (count, mut rest) = take_u16(bytes).ok_or_else(|| malformed(bytes))?;
    limits::CONTEXT_PAIRS.check(count)?;
    let mut last: Option<&str> = None;
    for _ in 0..count {
        let (key, after_key) = take_text(rest).ok_or_else(|| malformed(rest))?;
        let (_, after_value) = take_text(after_key).ok_or_else(|| malformed(after_key))?;
        if key.is_empty() || last.is_some_and(|last| last.as_bytes() >= key.as_bytes()) {
            return Err(malformed(rest));
        }
        last = Some(key);
        rest = after_value;
    }
    if rest.is_empty() {
        Ok(())
    } else {
        Err(malformed(rest))
    }
}

struct Pairs<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let (key, rest) = take_text(self.rest)?;
        let (value, rest) = take_text(rest)?;
        self.rest = rest;
        Some((key, value))
    }
}

fn take_u16(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<2>()?;
    Some((usize::from(u16::from_be_bytes(*head)), rest))
}

fn take_text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (len, rest) = take_u16(bytes)?;
    let (text, rest) = rest.split_at_checked(len)?;
    Some((std::str::from_utf8(text).ok()?, rest))
}

/// Every length written here was checked against the 8,192 bytes of the whole.
fn put_u16(out: &mut Vec<u8>, value: usize) {
    out.extend_from_slice(&u16::try_from(value).unwrap_or(u16::MAX).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    // spec: CTX-4
    #[test]
    fn order_of_the_pairs_does_not_matter() {
        let a = EncryptionContext::new([("b", "2"), ("a", "1")]).unwrap();
        let b = EncryptionContext::new([("a", "1"), ("b", "2")]).unwrap();
        assert_eq!(a, b);
        assert_eq!(a.canonical(), b"\0\x02\0\x01a\0\x011\0\x01b\0\x012");
        assert_eq!(a.pairs().collect::<Vec<_>>(), [("a", "1"), ("b", "2")]);
        assert_eq!(EncryptionContext::from_canonical(a.canonical()).unwrap(), a);
    }

    #[test]
    fn lengths_keep_pairs_apart() {
        let a = EncryptionContext::new([("ab", "c")]).unwrap();
        let b = EncryptionContext::new([("a", "bc")]).unwrap();
        assert_ne!(a.digest(), b.digest());
    }

    // spec: LIM-7, LIM-8, CTX-1, CTX-2, CTX-5
    #[test]
    fn what_is_not_acceptable_is_refused() {
        let none: [(&str, &str); 0] = [];
        for bad in [
            EncryptionContext::new(none),
            EncryptionContext::new([("", "x")]),
            EncryptionContext::new([("a", "1"), ("a", "1")]),
        ] {
            assert_eq!(bad.unwrap_err().kind(), ErrorKind::InvalidArgument);
        }
        let many = (0..65).map(|i| (i.to_string(), ""));
        assert!(matches!(
            EncryptionContext::new(many).unwrap_err().kind(),
            ErrorKind::OverLimit { max: 64, .. }
        ));
        assert!(EncryptionContext::new((0..64).map(|i| (i.to_string(), ""))).is_ok());
        assert!(EncryptionContext::new([("a", "v".repeat(8_192 - 7))]).is_ok());
        let long = EncryptionContext::new([("a", "v".repeat(8_192 - 6))]);
        assert!(matches!(
            long.unwrap_err().kind(),
            ErrorKind::OverLimit { max: 8_192, .. }
        ));
    }

    // spec: CTX-7
    #[test]
    fn only_the_canonical_form_is_read() {
        for (bytes, what) in [
            (&b""[..], "nothing"),
            (b"\0", "half a count"),
            (b"\0\x01", "a missing pair"),
            (b"\0\0\0", "a byte after the end"),
            (b"\0\x02\0\x01b\0\0\0\x01a\0\0", "wrong order"),
            (b"\0\x02\0\x01a\0\0\0\x01a\0\0", "a key twice"),
            (b"\0\x01\0\0\0\x01a", "an empty key"),
            (b"\0\x01\0\x01\xff\0\0", "no UTF-8"),
            (b"\0\x01\0\x01a\0\x02b", "a value that ends early"),
        ] {
            let error = EncryptionContext::from_canonical(bytes).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Malformed { .. }), "{what}");
        }
        assert!(EncryptionContext::from_canonical(b"\0\0").unwrap().is_empty());
    }

    #[test]
    fn debug_hides_values() {
        let context = EncryptionContext::new([("tenant", "CANARY")]).unwrap();
        assert_eq!(
            format!("{:?}", context.with_aad(b"row")),
            "Binding({\"tenant\": \"..\"}, 3 bytes of AAD)"
        );
    }
}
