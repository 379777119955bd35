//! What a verified receipt says of one key.

use super::receipt::{CensusReceipt, NamedKek};
use crate::ring::{Evidence, EvidenceSource, KeyRecord};

/// How many items are named.
const SEEN: usize = 5;

/// A receipt that was verified for a ring: [`CensusReceipt::verify`] returns it.
#[derive(Clone, Copy, Debug)]
pub struct VerifiedReceipt<'r> {
    receipt: &'r CensusReceipt,
    allows_empty: bool,
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

impl<'r> VerifiedReceipt<'r> {
    pub(super) fn new(receipt: &'r CensusReceipt) -> Self {
        Self {
            receipt,
            allows_empty: false,
        }
    }

    /// Lets it count as evidence though the census saw not one envelope.
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

    /// Returns what the census found under a key, by its record and by its KEK: also if the census did not know the key yet.
    #[must_use]
    pub fn finds(&self, key: &KeyRecord) -> Found {
        let mut found = Found {
            items: 0,
            sole: 0,
            unknown: 0,
            seen: Vec::new(),
        };
        if let Some(count) = self.receipt.keys().iter().find(|count| count.key == key.id) {
            found.items = count.items;
            found.sole = count.sole;
            found.seen.clone_from(&count.seen);
        }
        for count in self.receipt.unknown() {
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
        })
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
    is_same_key
        && (kek.version.is_empty() || provenance.version.is_empty() || kek.version == provenance.version)
}
