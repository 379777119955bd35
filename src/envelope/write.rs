//! Writing: KEK references, wrapped DEKs, wrap sets, and everything before the body of an envelope.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, OnceLock};

use smallvec::{SmallVec, smallvec};

use super::algorithm::WrapAlgorithm;
use super::wrap_section::{WrapRef, WrapSection, check_kek};
use super::{DekId, KIND_ATTACHED, KIND_DETACHED, MAGIC, PREFIX_FIXED, VERSION};
use crate::value::error::{Error, Result, fmt_kek};
use crate::value::limits;

/// Names one KEK: its provider, its id as the backend resolved it (an ARN, not an alias), and its exact version.
///
/// Cloning is cheap.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct KekRef(Arc<Names>);

#[derive(PartialEq, Eq, Hash)]
struct Names {
    provider: String,
    id: String,
    version: String,
}

impl KekRef {
    /// Names a KEK. Pass an empty `version` if the backend has no versions, and an empty `id` to hide the id.
    ///
    /// # Errors
    /// `InvalidArgument` if the provider is empty or has other characters than `a-z 0-9 -`, or if the id or version has control
    /// characters; `OverLimit` if the provider has more than 32 bytes, the id more than 2,048 or the version more than 255.
    pub fn new(provider: &str, id: &str, version: &str) -> Result<Self> {
        check_kek(provider, id, version)?;
        Ok(Self::trusted(provider, id, version))
    }

    /// For names that are known to be valid.
    pub(crate) fn trusted(provider: &str, id: &str, version: &str) -> Self {
        let names = Names {
            provider: provider.into(),
            id: id.into(),
            version: version.into(),
        };
        Self(Arc::new(names))
    }

    /// Returns whether both name the same key, whatever the version: the same provider and the same id, or ids that the provider
    /// treats as the same key. Replicas of a multi-region key of AWS KMS, for example, are the same key.
    #[must_use]
    pub fn is_same_key(&self, other: &Self) -> bool {
        self.provider() == other.provider()
            && (self.id() == other.id()
                || replicated(self.id()).is_some_and(|key| Some(key) == replicated(other.id())))
    }

    /// A name that it has in common with every KEK of its provider that [`is_same_key`](Self::is_same_key), and with few others.
    #[cfg(feature = "ring")]
    pub(crate) fn common_id(&self) -> &str {
        replicated(self.id()).map_or(self.id(), |(_, _, key)| key)
    }

    /// Returns the provider, for example `"aws-kms"`.
    #[must_use]
    pub fn provider(&self) -> &str {
        &self.0.provider
    }

    /// Returns the id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// Returns the version; empty if the backend has no versions.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.0.version
    }
}

/// Returns partition, account and key of an ARN that names a replica in some region
/// (`arn:aws:kms:eu-central-1:111122223333:key/mrk-...`, AWS KMS Developer Guide, "Multi-Region keys in AWS KMS").
fn replicated(id: &str) -> Option<(&str, &str, &str)> {
    let mut parts = id.splitn(6, ':');
    let (Some("arn"), Some(partition), Some("kms"), Some(_region), Some(account), Some(key)) = (
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
    ) else {
        return None;
    };
    key.starts_with("key/mrk-").then_some((partition, account, key))
}

impl fmt::Display for KekRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt_kek(f, self.provider(), self.id(), self.version())
    }
}

impl fmt::Debug for KekRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KekRef({self})")
    }
}

/// A DEK, or a share of one, wrapped under a KEK.
#[derive(Clone, PartialEq, Eq)]
pub struct WrappedDek {
    algorithm: WrapAlgorithm,
    share_index: u8,
    kek: KekRef,
    wrapped: Vec<u8>,
}

impl WrappedDek {
    /// Makes a wrap from the bytes that a key manager returned for a DEK.
    ///
    /// # Errors
    /// `OverLimit` if `wrapped` has more than 16,384 bytes; `InvalidArgument` if `wrapped` is empty or does not have the
    /// length that the format fixes for the algorithm.
    pub fn new(algorithm: WrapAlgorithm, kek: KekRef, wrapped: Vec<u8>) -> Result<Self> {
        limits::WRAPPED.check(wrapped.len())?;
        if wrapped.is_empty() || algorithm.wrapped_len().is_some_and(|len| len != wrapped.len()) {
            return Err(Error::argument(
                "a wrapped DEK has the length of its algorithm, and is not empty",
            ));
        }
        Ok(Self {
            algorithm,
            share_index: 0,
            kek,
            wrapped,
        })
    }

    pub(crate) fn from_ref(stanza: &WrapRef<'_>) -> Self {
        Self {
            algorithm: stanza.algorithm,
            share_index: stanza.share_index,
            kek: KekRef::trusted(stanza.provider, stanza.kek_id, stanza.kek_version),
            wrapped: stanza.wrapped.to_vec(),
        }
    }

    /// Leaves the KEK's id and version out of the envelope. Readers then try each
    /// configured KEK of that provider and algorithm.
    #[must_use]
    pub fn with_hidden_id(mut self) -> Self {
        self.kek = KekRef::trusted(self.kek.provider(), "", "");
        self
    }

    /// Returns the wrap algorithm.
    #[must_use]
    pub fn algorithm(&self) -> WrapAlgorithm {
        self.algorithm
    }

    /// Returns the KEK.
    #[must_use]
    pub fn kek(&self) -> &KekRef {
        &self.kek
    }

    /// Returns the bytes that the key manager returned.
    #[must_use]
    pub fn wrapped(&self) -> &[u8] {
        &self.wrapped
    }

    /// Borrows the wrap as if it was read from an envelope.
    #[must_use]
    pub fn as_wrap_ref(&self) -> WrapRef<'_> {
        WrapRef {
            algorithm: self.algorithm,
            share_index: self.share_index,
            provider: self.kek.provider(),
            kek_id: self.kek.id(),
            kek_version: self.kek.version(),
            wrapped: &self.wrapped,
        }
    }

    fn encoded_len(&self) -> usize {
        2 + 1
            + self.kek.provider().len()
            + 2
            + self.kek.id().len()
            + 1
            + self.kek.version().len()
            + 2
            + self.wrapped.len()
    }

    fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(&[self.algorithm.id(), self.share_index]);
        push_lv8(out, self.kek.provider().as_bytes(), &limits::PROVIDER)?;
        push_lv16(out, self.kek.id().as_bytes(), &limits::KEK_ID)?;
        push_lv8(out, self.kek.version().as_bytes(), &limits::KEK_VERSION)?;
        push_lv16(out, &self.wrapped, &limits::WRAPPED)
    }
}

impl fmt::Debug for WrappedDek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_wrap_ref().fmt(f)
    }
}

/// The wraps of one DEK, which become a wrap section.
///
/// Cloning is cheap: a cache hands out the wraps of one DEK with every value.
#[derive(Clone)]
pub struct WrapSet(Arc<Set>);

struct Set {
    threshold: u8,
    wraps: SmallVec<[WrappedDek; 1]>,
    /// The bytes before the body with this much padding, after a shared set was asked for them.
    front: OnceLock<(usize, Vec<u8>)>,
}

impl WrapSet {
    /// Makes a set of wraps, each of which opens alone.
    ///
    /// # Errors
    /// `InvalidArgument` if there are no wraps; `OverLimit` if there are more than 16 wraps, or more than 2 under passphrases.
    pub fn any_of(wraps: Vec<WrappedDek>) -> Result<Self> {
        Self::any_of_small(wraps.into())
    }

    /// Makes a set of one wrap.
    pub(crate) fn of_one(wrap: WrappedDek) -> Result<Self> {
        Self::any_of_small(smallvec![wrap])
    }

    fn any_of_small(wraps: SmallVec<[WrappedDek; 1]>) -> Result<Self> {
        if wraps.is_empty() {
            return Err(Error::argument("a wrap set needs at least one wrap"));
        }
        limits::STANZAS.check(wraps.len())?;
        let passphrases = wraps.iter().filter(|wrap| wrap.algorithm.is_passphrase()).count();
        limits::PASSPHRASE_STANZAS.check(passphrases)?;
        if wraps.iter().any(|wrap| wrap.share_index != 0) {
            return Err(Error::argument("a share of a DEK is not a wrap of the DEK"));
        }
        Ok(Self::new(1, wraps))
    }

    pub(crate) fn from_section(section: &WrapSection<'_>) -> Self {
        let wraps: Vec<_> = section
            .stanzas()
            .map(|stanza| WrappedDek::from_ref(&stanza))
            .collect();
        Self::new(section.threshold(), wraps.into())
    }

    fn new(threshold: u8, wraps: SmallVec<[WrappedDek; 1]>) -> Self {
        Self(Arc::new(Set {
            threshold,
            wraps,
            front: OnceLock::new(),
        }))
    }

    /// Returns the wraps.
    #[must_use]
    pub fn wraps(&self) -> &[WrappedDek] {
        &self.0.wraps
    }

    /// Takes out the wraps.
    #[must_use]
    pub fn into_wraps(self) -> Vec<WrappedDek> {
        Arc::try_unwrap(self.0).map_or_else(|shared| shared.wraps.to_vec(), |set| set.wraps.into_vec())
    }

    /// Returns how many wraps must open.
    #[must_use]
    pub fn threshold(&self) -> u8 {
        self.0.threshold
    }

    /// Returns the length of the wrap section without padding, in bytes.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        2 + self.wraps().iter().map(WrappedDek::encoded_len).sum::<usize>()
    }

    fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        let count = u8::try_from(self.wraps().len()).map_err(|_| limits::STANZAS.error())?;
        out.extend_from_slice(&[self.threshold(), count]);
        self.wraps().iter().try_for_each(|wrap| wrap.encode(out))
    }

    /// Returns the bytes before the body, like [`Wraps::prefix`]. A shared set is asked for them again and again, so it
    /// keeps them. A set that is not shared returns a vector with `room` for more bytes.
    pub(crate) fn prefix(&self, padding: usize, room: usize) -> Result<Cow<'_, [u8]>> {
        if Arc::strong_count(&self.0) == 1 {
            return Ok(Cow::Owned(self.encode_prefix(padding, room)?));
        }
        match self.0.front.get() {
            Some((len, front)) if *len == padding => Ok(Cow::Borrowed(front)),
            // It was asked for with different paddings, which is rare.
            Some(_) => Ok(Cow::Owned(self.encode_prefix(padding, 0)?)),
            None => {
                let front = self.encode_prefix(padding, 0)?;
                let (len, front) = self.0.front.get_or_init(|| (padding, front));
                if *len == padding {
                    Ok(Cow::Borrowed(front))
                } else {
                    Ok(Cow::Owned(self.encode_prefix(padding, 0)?))
                }
            }
        }
    }

    fn encode_prefix(&self, padding: usize, room: usize) -> Result<Vec<u8>> {
        let len = self.encoded_len().saturating_add(padding);
        let mut out = front(KIND_ATTACHED, len, room)?;
        self.encode(&mut out)?;
        out.resize(PREFIX_FIXED + len, 0);
        Ok(out)
    }
}

impl PartialEq for WrapSet {
    fn eq(&self, other: &Self) -> bool {
        self.threshold() == other.threshold() && self.wraps() == other.wraps()
    }
}

impl Eq for WrapSet {}

impl fmt::Debug for WrapSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WrapSet")
            .field("threshold", &self.threshold())
            .field("wraps", &self.wraps())
            .finish()
    }
}

/// What stands before a body: wraps, or the id of a DEK whose wraps are in a DEK store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wraps {
    /// The wraps are in the envelope.
    Attached(WrapSet),
    /// The wraps are in a DEK store under this id.
    Detached(DekId),
}

impl Wraps {
    /// Returns the bytes before the body, with `padding` zero bytes at their end.
    ///
    /// Padding reserves room, so that a large object can be re-wrapped in place. A detached envelope ignores it.
    ///
    /// # Errors
    /// `OverLimit` if the wrap section is longer than 65,536 bytes.
    pub fn prefix(&self, padding: usize) -> Result<Vec<u8>> {
        match self {
            Self::Attached(set) => set.encode_prefix(padding, 0),
            Self::Detached(DekId(id)) => {
                let mut out = front(KIND_DETACHED, id.len(), 0)?;
                out.extend_from_slice(id);
                Ok(out)
            }
        }
    }
}

/// Writes magic, version, kind and W, with room for the section and for more after it.
fn front(kind: u8, len: usize, room: usize) -> Result<Vec<u8>> {
    limits::WRAP_SECTION.check(len)?;
    let mut out = Vec::with_capacity(PREFIX_FIXED + len + room);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&[VERSION, kind]);
    let [.., a, b, c] = len.to_be_bytes();
    out.extend_from_slice(&[a, b, c]);
    Ok(out)
}

/// Writes the stored context after its length.
pub(crate) fn push_stored_context(out: &mut Vec<u8>, canonical: &[u8]) -> Result<()> {
    push_lv16(out, canonical, &limits::CONTEXT)
}

fn push_lv8(out: &mut Vec<u8>, bytes: &[u8], limit: &limits::Limit) -> Result<()> {
    limit.check(bytes.len())?;
    out.push(u8::try_from(bytes.len()).map_err(|_| limit.error())?);
    out.extend_from_slice(bytes);
    Ok(())
}

fn push_lv16(out: &mut Vec<u8>, bytes: &[u8], limit: &limits::Limit) -> Result<()> {
    limit.check(bytes.len())?;
    let len = u16::try_from(bytes.len()).map_err(|_| limit.error())?;
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(bytes);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: WRAP-4
    #[test]
    fn a_set_that_is_shared_keeps_its_front_and_gives_the_right_one_for_any_padding() {
        let kek = KekRef::new("fake", "kek", "1").unwrap();
        let wrapped = WrappedDek::new(WrapAlgorithm::from_id(224), kek, vec![7; 40]).unwrap();
        let set = WrapSet::any_of(vec![wrapped]).unwrap();
        let expected = |padding| Wraps::Attached(set.clone()).prefix(padding).unwrap();
        let (bare, padded) = (expected(0), expected(9));
        assert_eq!(padded.len(), bare.len() + 9);
        assert!(matches!(set.prefix(0, 0).unwrap(), Cow::Owned(front) if front == bare));
        let shared = set.clone();
        for _ in 0..2 {
            assert!(matches!(set.prefix(9, 0).unwrap(), Cow::Borrowed(front) if front == padded));
            assert_eq!(shared.prefix(0, 0).unwrap(), bare);
        }
        assert!(set.prefix(usize::MAX, 0).is_err());
        drop(shared);
        assert_eq!(set.prefix(0, 0).unwrap(), bare);
        assert_eq!(set.into_wraps().len(), 1);
    }
}
