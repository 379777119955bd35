//! What the receipts of censuses say of a key.

use serde_json::{Value, json};
use waxseal::ring::KeyRecord;
use waxseal::ring::evidence::VerifiedReceipt;

use crate::failure::{Failure, Result};

/// What the censuses have counted under a key.
#[derive(Clone, Copy, Default)]
pub(super) struct Objects {
    /// Envelopes with a wrap under it.
    pub(super) items: u64,
    /// Those of them that no other key opens.
    pub(super) sole: u64,
    /// Envelopes that may be under it, and do not say so.
    pub(super) unknown: u64,
    /// The bytes of the `items`.
    pub(super) bytes: u64,
}

impl Objects {
    pub(super) fn to_json(self) -> Value {
        json!({ "items": self.items, "sole": self.sole, "unknown": self.unknown, "bytes": self.bytes })
    }

    pub(super) fn add(&mut self, other: Self) {
        self.items = self.items.saturating_add(other.items);
        self.sole = self.sole.saturating_add(other.sole);
        self.unknown = self.unknown.saturating_add(other.unknown);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// Refuses censuses of which two have counted the same place: their sums would count it twice.
pub(super) fn check_apart(verified: &[VerifiedReceipt<'_>]) -> Result<()> {
    for (index, one) in verified.iter().enumerate() {
        for other in verified.iter().skip(index + 1) {
            if one.receipt().overlaps(other.receipt()) {
                return Err(Failure::usage(
                    "--receipt: two of the censuses have counted the same place, and their sums would count it twice: give the newer one",
                ));
            }
        }
    }
    Ok(())
}

/// What censuses have counted under a key.
pub(super) fn counted(verified: &[VerifiedReceipt<'_>], key: &KeyRecord) -> Objects {
    let mut all = Objects::default();
    for one in verified {
        let found = one.finds(key);
        all.add(Objects {
            items: found.items,
            sole: found.sole,
            unknown: found.unknown,
            bytes: one.bytes(key),
        });
    }
    all
}

/// The censuses themselves.
pub(super) fn censuses_json(verified: &[VerifiedReceipt<'_>]) -> Vec<Value> {
    let each = verified.iter().map(|one| {
        let receipt = one.receipt();
        json!({
            "census": receipt.digest(),
            "started": receipt.started().to_string(),
            "whole": receipt.is_whole(),
            "items": receipt.items(),
            "bytes": receipt.bytes(),
            "covers": receipt.covers().iter().map(|place| place.place.to_string()).collect::<Vec<_>>(),
        })
    });
    each.collect()
}
