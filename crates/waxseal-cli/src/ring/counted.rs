//! What the receipts of censuses say of a key.

use serde_json::{Value, json};
use waxseal::ring::evidence::{Total, VerifiedReceipt};

use crate::failure::{Failure, Result};

pub(super) fn total_json(total: Total) -> Value {
    json!({ "items": total.items, "sole": total.sole, "unknown": total.unknown, "bytes": total.bytes, "branches": total.branches })
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
