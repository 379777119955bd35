//! What a verified receipt says of one key, and of the other keys of its KEK.

use std::collections::BTreeMap;

use super::receipt::{CensusReceipt, KeyCount, NamedKek};
use crate::ring::{AuthorityKey, Evidence, EvidenceSource, KeyRecord};

/// How many items are named.
const SEEN: usize = 5;

/// A receipt that was verified for a ring: [`CensusReceipt::verify`] returns it.
#[derive(Clone, Copy, Debug)]
pub struct VerifiedReceipt<'r> {
    receipt: &'r CensusReceipt,
    allows_empty: bool,
    signer: AuthorityKey,
}

/// What a census found under one key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Found {
    /// How many envelopes have a wrap under it.
    pub items: u64,
    /// How many of those would be lost with it.
    pub sole: u64,
    /// How many envelopes have a wrap that may be under it: they do not say which key of its provider, or which version of its KEK.
    pub unknown: u64,
    /// Some of those items, at most five.
    pub seen: Vec<String>,
}

impl Found {
    /// Returns whether nothing is under the key, and nothing may be.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.items == 0 && self.unknown == 0
    }
}

/// What several censuses, of places that are not the same, have counted under a key of the ring.
///
/// It is what they have counted for this key. Other keys that are the same KEK have counts of their own, of the same envelopes: sums of several keys
/// count those more than once. [`VerifiedReceipt::finds`] has the most that is under the KEK, for moves that end the KEK.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Total {
    /// How many envelopes have a wrap under it.
    pub items: u64,
    /// How many of those would be lost with it.
    pub sole: u64,
    /// How many envelopes may be under it, and do not say so. Of a key that was not there yet, or was another KEK: what is under its KEK.
    pub unknown: u64,
    /// The bytes of the `items`.
    pub bytes: u64,
    /// How many branch keys are wrapped under it. They are not among the `items`, and what is under them is counted under them.
    pub branches: u64,
}

impl Total {
    /// Adds up what receipts say of a key.
    #[must_use]
    pub fn of(receipts: &[VerifiedReceipt<'_>], key: &KeyRecord) -> Self {
        let mut total = Self::default();
        for receipt in receipts {
            total.add(receipt.total(key));
        }
        total
    }

    /// Adds another one.
    pub fn add(&mut self, other: Self) {
        self.items = self.items.saturating_add(other.items);
        self.sole = self.sole.saturating_add(other.sole);
        self.unknown = self.unknown.saturating_add(other.unknown);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.branches = self.branches.saturating_add(other.branches);
    }
}

impl<'r> VerifiedReceipt<'r> {
    pub(super) fn new(receipt: &'r CensusReceipt, signer: AuthorityKey) -> Self {
        Self {
            receipt,
            signer,
            allows_empty: false,
        }
    }

    /// Lets it count as evidence though the census saw not one envelope, or none in a place that must be covered.
    #[must_use]
    pub fn allowing_empty(self) -> Self {
        Self {
            allows_empty: true,
            ..self
        }
    }

    /// Returns the receipt.
    #[must_use]
    pub fn receipt(&self) -> &'r CensusReceipt {
        self.receipt
    }

    /// Returns the bytes of the envelopes that the census counted under this key.
    #[must_use]
    pub fn bytes(&self, key: &KeyRecord) -> u64 {
        let counts = self.receipt.index().keys(key, self.receipt.keys()).into_iter();
        let own = counts.filter(|count| count.key == key.id);
        own.fold(0, |sum, count| sum.saturating_add(count.bytes))
    }

    /// What it has counted for this key alone.
    fn total(&self, key: &KeyRecord) -> Total {
        let found = self.finds(key);
        let counts = self.receipt.index().keys(key, self.receipt.keys()).into_iter();
        let own = counts.filter(|count| count.key == key.id).map(|count| Total {
            items: count.items.saturating_sub(count.branches),
            sole: count.sole.saturating_sub(count.branches),
            unknown: 0,
            bytes: count.bytes.saturating_sub(count.branch_bytes),
            branches: count.branches,
        });
        let own = own.reduce(|mut sum, count| {
            sum.add(count);
            sum
        });
        match own {
            Some(own) => Total {
                unknown: found.unknown,
                ..own
            },
            // What the census did not know may be under everything that is under its KEK.
            None => Total {
                unknown: found.unknown.saturating_add(found.items),
                ..Total::default()
            },
        }
    }

    /// Returns what the census found under the KEK of a key: as this key, as other keys of the ring that are the same KEK, and as a KEK that
    /// the census did not know yet. A key of which nothing is known counts for as much as the others of its KEK.
    #[must_use]
    pub fn finds(&self, key: &KeyRecord) -> Found {
        let mut found = Found {
            items: 0,
            sole: 0,
            unknown: 0,
            seen: Vec::new(),
        };
        // An envelope counts for every key of its KEK, so the greatest of those counts is that of the KEK. Versions of it are apart.
        let mut versions: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        let index = self.receipt.index();
        let counts = index.keys(key, self.receipt.keys()).into_iter();
        for count in counts.filter(|count| is_of(count, key)) {
            let (items, sole) = versions.entry(&count.kek.version).or_default();
            *items = count.items.max(*items);
            *sole = count.sole.max(*sole);
            let new = count.seen.iter().filter(|item| !found.seen.contains(item));
            let new: Vec<_> = new.take(SEEN.saturating_sub(found.seen.len())).cloned().collect();
            found.seen.extend(new);
        }
        let own = versions
            .remove(key.provenance.version.as_str())
            .unwrap_or_default();
        let others = versions.into_values().fold((0_u64, 0_u64), |sum, (items, sole)| {
            (sum.0.saturating_add(items), sum.1.saturating_add(sole))
        });
        found.items = own.0.max(others.0);
        found.sole = own.1.max(others.1);
        for count in index.unknown(key, self.receipt.unknown()) {
            if may_be(&count.kek, key) {
                found.unknown = found.unknown.saturating_add(count.items);
                let room = SEEN.saturating_sub(found.seen.len());
                found.seen.extend(count.seen.iter().take(room).cloned());
            }
        }
        found
    }
}

impl EvidenceSource for VerifiedReceipt<'_> {
    /// What the receipt says about a key is never nothing: it has scanned what it covers.
    fn about(&self, key: &KeyRecord) -> Option<Evidence> {
        let found = self.finds(key);
        let receipt = self.receipt;
        let mut seen = found.seen;
        let room = SEEN.saturating_sub(seen.len());
        let failed = receipt.failed().iter().take(room);
        seen.extend(failed.map(|failed| format!("{}: {}", failed.item, failed.reason)));
        Some(Evidence {
            key: key.id,
            revision: receipt.revision(),
            began: receipt.started(),
            whole: receipt.is_whole(),
            covers: receipt.covers().to_vec(),
            items: receipt.items(),
            foreign: receipt.foreign(),
            sole: found.sole,
            shared: found.items.saturating_sub(found.sole),
            unknown: found.unknown,
            failed: receipt.failed_items(),
            seen,
            digest: receipt.digest().to_owned(),
            allows_empty: self.allows_empty,
            signer: Some(self.signer),
            others: Vec::new(),
        })
    }
}

/// Whether a count is about this key, or about another key of its KEK.
fn is_of(count: &KeyCount, key: &KeyRecord) -> bool {
    let (kek, own) = (&count.kek, &key.provenance);
    count.key == key.id
        || kek.provider == own.provider
            && (own.is_whole() || kek.version == own.version)
            && match (kek.to_ref(), own.kek()) {
                (Ok(counted), Ok(own)) => counted.is_same_key(&own),
                // A name that cannot be compared may be any.
                _ => true,
            }
}

/// Whether a wrap that the census did not know may be under this key.
fn may_be(kek: &NamedKek, key: &KeyRecord) -> bool {
    let provenance = &key.provenance;
    if kek.provider != provenance.provider {
        return false;
    }
    if kek.id.is_empty() {
        return true;
    }
    let is_same_key = match (kek.to_ref(), provenance.kek()) {
        (Ok(seen), Ok(own)) => seen.is_same_key(&own),
        // A name that cannot be compared may be any.
        _ => true,
    };
    is_same_key && (kek.version.is_empty() || provenance.is_whole() || kek.version == provenance.version)
}
