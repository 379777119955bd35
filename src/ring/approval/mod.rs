//! Approvals: somebody whom the ring lists has signed that a re-wrap may use a key that is revoked or retired.

mod document;
mod issue;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use document::{Approval, MAX_APPROVAL};
pub(in crate::ring) use issue::ring_is_not_ahead;
pub use issue::{Expires, NewApproval};

use super::{KeyRecord, RewrappedFrom};

/// The longest that an approval is good for.
pub const MAX_APPROVAL_AGE: Duration = Duration::from_secs(7 * 86_400);

/// Whether a re-wrap out of a key takes an approval.
pub(in crate::ring) fn needs_approval(key: &KeyRecord) -> bool {
    key.state.row().rewrapped_from == RewrappedFrom::WithApproval
}
