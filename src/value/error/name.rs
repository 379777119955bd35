//! What a kind is called.

use super::ErrorKind;

impl ErrorKind {
    /// Returns the name of the kind, for JSON, metrics and audit records: `"denied"`, `"key_revoked"`. The names are stable.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed { .. } => "malformed",
            Self::UnsupportedVersion { .. } => "unsupported_version",
            Self::Unsupported { .. } => "unsupported",
            Self::OverLimit { .. } => "over_limit",
            Self::CannotOpen => "cannot_open",
            Self::ContextMismatch => "context_mismatch",
            Self::Entropy => "entropy",
            Self::NoUsableKey => "no_usable_key",
            Self::NoRoom { .. } => "no_room",
            Self::KeyRetired => "key_retired",
            Self::KeyRevoked => "key_revoked",
            Self::KeyDestroyed => "key_destroyed",
            Self::NoKeyForScope => "no_key_for_scope",
            Self::LifecycleRefused => "lifecycle_refused",
            Self::Denied => "denied",
            Self::Unauthenticated => "unauthenticated",
            Self::KeyNotFound => "key_not_found",
            Self::KeyDisabled => "key_disabled",
            Self::KeyNotReady => "key_not_ready",
            Self::KeyPendingDestruction => "key_pending_destruction",
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
            Self::TimedOut => "timed_out",
            Self::InvalidAnswer => "invalid_answer",
            Self::WouldWeaken { .. } => "would_weaken",
            Self::PolicyRefused => "policy_refused",
            Self::ProfileRefused { .. } => "profile_refused",
            Self::ApprovalRefused { .. } => "approval_refused",
            Self::BudgetExhausted { .. } => "budget_exhausted",
            Self::LeaseExpired => "lease_expired",
            Self::Store => "store",
            Self::InventoryStale => "inventory_stale",
            Self::InventoryInvalid => "inventory_invalid",
            Self::Conflict => "conflict",
            Self::ClocksDisagree => "clocks_disagree",
            Self::Audit => "audit",
            Self::Io => "io",
            Self::InvalidArgument => "invalid_argument",
            Self::OutOfRange { .. } => "out_of_range",
            Self::Configuration => "configuration",
        }
    }
}
