//! The receipt of a census: one JSON object, signed over its exact bytes.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::index::Index;
use super::{Covered, PlaceCount, VerifiedReceipt};
use crate::envelope::KekRef;
use crate::ring::line::{Line, LineKind, Version};
use crate::ring::view::hex;
use crate::ring::{Authority, Mark, RecordId, Time, View};
use crate::value::error::{Error, ErrorKind, Result};

/// The greatest length of a receipt in bytes.
pub const MAX_RECEIPT: usize = 64 << 20;
/// The version of receipts that this library writes and reads.
pub(super) const SCHEMA: u32 = 1;
const KIND: LineKind = LineKind {
    kind: "receipt",
    max: MAX_RECEIPT,
    limit: "the length of a census receipt in bytes",
    name: "census receipt",
    versions: "this version of receipts",
    written_by: "waxseal census",
    schema: SCHEMA,
};
/// What a census never covers.
const BACKUPS: &str = "backups";

/// A KEK as a receipt names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct NamedKek {
    /// The provider name in stanzas.
    pub provider: String,
    /// The id; empty if the writer hid it.
    pub id: String,
    /// The version; empty if there is none.
    pub version: String,
}

impl NamedKek {
    pub(crate) fn new(provider: &str, id: &str, version: &str) -> Self {
        Self {
            provider: provider.to_owned(),
            id: id.to_owned(),
            version: version.to_owned(),
        }
    }

    /// The same as a [`KekRef`].
    ///
    /// # Errors
    /// Those of [`KekRef::new`].
    pub fn to_ref(&self) -> Result<KekRef> {
        KekRef::new(&self.provider, &self.id, &self.version)
    }
}

impl fmt::Display for NamedKek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        crate::value::error::fmt_kek(f, &self.provider, &self.id, &self.version)
    }
}

/// What was found under one key of the ring.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct KeyCount {
    /// The key.
    pub key: RecordId,
    /// Its KEK.
    pub kek: NamedKek,
    /// How many envelopes have a wrap under it.
    pub items: u64,
    /// How many of those would not open without it: their other wraps, under keys of its scope that unwrap, do not suffice.
    pub sole: u64,
    /// The length of those `items` in bytes.
    pub bytes: u64,
    /// How many of the items are branch keys of the ring: each is `sole`, and what is under it opens no more without this key.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub branches: u64,
    /// The length of those branch keys in bytes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub branch_bytes: u64,
    /// Some of the items, those first that would be lost. At most five.
    pub seen: Vec<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// What was found under a KEK that is none of the ring's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct UnknownCount {
    /// The KEK. With an empty id it may be any key of its provider.
    pub kek: NamedKek,
    /// How many envelopes have a wrap under it.
    pub items: u64,
    /// The length of those `items` in bytes.
    pub bytes: u64,
    /// Some of the items. At most five.
    pub seen: Vec<String>,
}

/// An item that the census could not read, although it may be an envelope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct FailedItem {
    /// Its name.
    pub item: String,
    /// Why.
    pub reason: String,
}

/// Everything of a receipt but the signature, in the order in which it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Body {
    pub(super) schema: u32,
    pub(super) ring: RecordId,
    pub(super) revision: u64,
    pub(super) head: String,
    pub(super) actor: String,
    pub(super) whole: bool,
    pub(super) started: Time,
    pub(super) finished: Time,
    pub(super) items: u64,
    pub(super) bytes: u64,
    pub(super) foreign: u64,
    pub(super) covers: Vec<PlaceCount>,
    pub(super) not_covered: Vec<String>,
    pub(super) keys: Vec<KeyCount>,
    pub(super) unknown: Vec<UnknownCount>,
    pub(super) failed: Vec<FailedItem>,
    pub(super) failed_items: u64,
}

/// What is not among what was covered.
pub(super) fn not_covered(covers: &[PlaceCount]) -> Vec<String> {
    let mut missing = vec![BACKUPS.to_owned()];
    let mut places = covers.iter().map(|covered| &covered.place);
    if !places.clone().any(|place| *place == Covered::BranchKeys) {
        missing.push("branch-keys".to_owned());
    }
    if !places.any(|place| matches!(place, Covered::DekStore(_))) {
        missing.push("dek-stores".to_owned());
    }
    missing
}

/// What a census found, signed by the ring's authority or by one of its census keys. As text it is one JSON object on one line,
/// and must not be formatted anew: the signature is over its exact bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CensusReceipt {
    line: Line,
    body: Body,
    index: Index,
}

impl CensusReceipt {
    pub(super) fn sign(body: Body, signer: &Authority) -> Result<Self> {
        let line = Line::sign(KIND, body.ring, &body, signer)?;
        Ok(Self::of(line, body))
    }

    /// Reads a receipt. Nothing of it can be believed before [`verify`](Self::verify).
    ///
    /// # Errors
    /// `InvalidArgument` if it is no receipt, or was formatted anew; `Unsupported` if a newer version wrote it; `OverLimit` if it has more than
    /// [`MAX_RECEIPT`] bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let (line, body) = KIND.read::<Version, Body>(bytes)?;
        Ok(Self::of(line, body))
    }

    /// Returns the receipt as it is kept: one line of JSON.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.line.as_bytes()
    }

    /// Returns SHA-256 of the receipt in hexadecimal digits, by which the history of a key names it.
    #[must_use]
    pub fn digest(&self) -> &str {
        self.line.digest()
    }

    /// Returns whether both have counted some place, so that their sums would count it twice.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let is_same = |mine: &PlaceCount| {
            let theirs = other.body.covers.iter().map(|count| &count.place);
            theirs
                .into_iter()
                .any(|place| mine.place.covers(place) || place.covers(&mine.place))
        };
        self.body.covers.iter().any(is_same)
    }

    fn of(line: Line, body: Body) -> Self {
        let index = Index::of(&body.keys, &body.unknown);
        Self { line, body, index }
    }

    /// Which of its counts may be about a key.
    pub(super) fn index(&self) -> &Index {
        &self.index
    }

    /// Verifies it for the ring of this view: its signature, and that it says what it does not cover.
    ///
    /// # Errors
    /// `InventoryInvalid` if neither the ring's authority nor one of its census keys has signed it, it is that of another ring or of a
    /// later revision than the view, it was changed, or it contradicts itself.
    pub fn verify(&self, view: &View) -> Result<VerifiedReceipt<'_>> {
        let refused = |detail: String| {
            Error::new(ErrorKind::InventoryInvalid).with_detail(format!("the census receipt {detail}"))
        };
        let ring = view.ring();
        if self.body.ring != ring {
            return Err(refused(format!(
                "is one of the ring {}, and this is the ring {ring}",
                self.body.ring
            )));
        }
        let signer = self
            .line
            .signer(view.settings().may_sign_receipts())
            .ok_or_else(|| {
                refused(
                    "is signed neither by the authority of the ring nor by one of its census keys".to_owned(),
                )
            })?;
        self.line
            .verify(KIND, ring, &signer)
            .map_err(|_| refused("was changed: its signature is wrong".to_owned()))?;
        if self.body.revision > view.revision() {
            return Err(refused(format!(
                "is of revision {}, and the ring is at revision {}: the inventory was taken back to an older state",
                self.body.revision,
                view.revision()
            )));
        }
        // Two histories of one ring, after an older copy of it was restored: what is true of one is not of the other.
        if self.body.revision == view.revision() && self.body.head != hex(&view.mark().head) {
            return Err(refused(format!(
                "is of another revision {} than that of the ring: the inventory was taken back to an older state, and changed since; run the census again",
                self.body.revision
            )));
        }
        let body = &self.body;
        if body.finished < body.started
            || body.not_covered != not_covered(&body.covers)
            || body.whole != (body.failed_items == 0)
            || body.failed_items < body.failed.len() as u64
            || body.keys.iter().any(|count| count.sole > count.items)
            || body.covers.iter().any(|covered| covered.items > body.items)
        {
            return Err(refused("contradicts itself".to_owned()));
        }
        Ok(VerifiedReceipt::new(self, signer))
    }

    /// Returns the ring that it says it is of.
    #[must_use]
    pub fn ring(&self) -> RecordId {
        self.body.ring
    }

    /// Returns the revision of the ring whose keys were counted.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.body.revision
    }

    /// Returns who ran the census, as that person or job said.
    #[must_use]
    pub fn actor(&self) -> &str {
        &self.body.actor
    }

    /// Returns whether every item was read that may be an envelope.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.body.whole
    }

    /// Returns when the scan began, by the inventory's clock or that of the machine that ran it: the one that was behind.
    #[must_use]
    pub fn started(&self) -> Time {
        self.body.started
    }

    /// Returns when the scan ended, by the inventory's clock.
    #[must_use]
    pub fn finished(&self) -> Time {
        self.body.finished
    }

    /// Returns how many envelopes were counted.
    #[must_use]
    pub fn items(&self) -> u64 {
        self.body.items
    }

    /// Returns their length in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.body.bytes
    }

    /// Returns how many items were no envelopes, and seem to hold none.
    #[must_use]
    pub fn foreign(&self) -> u64 {
        self.body.foreign
    }

    /// Returns the revision of the ring whose keys were counted, with the hash of its head.
    ///
    /// # Errors
    /// `InvalidArgument` if the receipt has no such hash.
    pub fn mark(&self) -> Result<Mark> {
        format!("{}:{}", self.body.revision, self.body.head).parse()
    }

    /// Returns what was scanned, and how many envelopes were counted in each place: in those that [`Census::begin`](super::Census::begin) was given, and
    /// in each of the settings' `must_cover` below one of them.
    #[must_use]
    pub fn covers(&self) -> &[PlaceCount] {
        &self.body.covers
    }

    /// Returns what was not scanned and may hold envelopes or wraps: always `backups`; `dek-stores` and `branch-keys` unless they were.
    #[must_use]
    pub fn not_covered(&self) -> &[String] {
        &self.body.not_covered
    }

    /// Returns what was found under each key of the ring.
    #[must_use]
    pub fn keys(&self) -> &[KeyCount] {
        &self.body.keys
    }

    /// Returns what was found under KEKs that the ring does not name.
    #[must_use]
    pub fn unknown(&self) -> &[UnknownCount] {
        &self.body.unknown
    }

    /// Returns items that could not be read, at most 1,000 of them.
    #[must_use]
    pub fn failed(&self) -> &[FailedItem] {
        &self.body.failed
    }

    /// Returns how many items could not be read.
    #[must_use]
    pub fn failed_items(&self) -> u64 {
        self.body.failed_items
    }
}
