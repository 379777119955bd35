//! What went wrong, and during which operation.

/// What went wrong, grouped by who is to blame.
///
/// Match on this, never on the text of an [`Error`](super::Error).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    // The bytes.
    /// The bytes are not an envelope of the format.
    #[error("malformed {field} at byte {offset}")]
    Malformed {
        /// The field of the format that is wrong.
        field: &'static str,
        /// Where the field begins, in bytes from the start of the parsed bytes.
        offset: usize,
    },
    /// The envelope has a version that this crate does not read.
    #[error("envelope version {version} is not supported")]
    UnsupportedVersion {
        /// The version that the envelope names.
        version: u8,
    },
    /// The envelope is well formed, but this version of the crate or this call does not support a feature that it uses.
    #[error("{feature} is not supported")]
    Unsupported {
        /// What is not supported.
        feature: &'static str,
    },
    /// A length, count or cost is above its limit, or a cost is below its minimum.
    /// This is checked before any work.
    #[error("{limit} is outside its limit of {max}")]
    OverLimit {
        /// The name of the limit, as in [`limits`](crate::value::limits).
        limit: &'static str,
        /// The limit, in its unit.
        max: u64,
    },

    // The cryptography.
    /// The envelope does not open: a wrong key, a wrong context, a wrong AAD, or altered bytes.
    ///
    /// The [`detail`](super::Error::detail) says how far the reader came, in one of two sentences. First: no key
    /// reproduced the commitment in the envelope's header, so the key or the context is wrong, or the header was altered.
    /// Second: key and context are right, but a chunk did not authenticate, so the AAD is wrong, or the data was altered
    /// or cut off. The commitment is public, so neither sentence helps to guess a key. No error says *why* a wrap did not
    /// open.
    #[error("does not open")]
    CannotOpen,
    /// The context stored in the envelope is not the context of this call. Finding this needs no key, because a stored context is
    /// public.
    #[error("the context stored in the envelope is not the context of this call")]
    ContextMismatch,
    /// The operating system returned no randomness.
    #[error("the operating system returned no randomness")]
    Entropy,

    // The wraps.
    /// None of the wraps is under a KEK that is configured here.
    #[error("no configured key opens this envelope")]
    NoUsableKey,
    /// The new wraps do not fit into the room that the envelope has for its wraps. Write the whole envelope again.
    #[error("the new wraps need {needed} bytes, and there is room for {room}")]
    NoRoom {
        /// Length of everything before the body with the new wraps and no padding, in bytes.
        needed: u64,
        /// Length of everything before the body, in bytes.
        room: u64,
    },
    /// The KEK is retired: its overlap window is over.
    #[error("the key is retired")]
    KeyRetired,
    /// The KEK or the lease of the data key was revoked.
    #[error("the key is revoked")]
    KeyRevoked,
    /// The KEK was destroyed.
    #[error("the key is destroyed")]
    KeyDestroyed,
    /// The ring has no key for the scope of this context. A key of a wider scope takes its place only if the signed
    /// settings allow it and the process names the scope.
    #[error("the ring has no key for this scope")]
    NoKeyForScope,
    /// A key of a ring cannot make this move. The detail says why, and what would become unreadable.
    #[error("the key's lifecycle does not allow it")]
    LifecycleRefused,

    // The key manager.
    /// The key manager, or the store of an inventory, knows the caller and denies access.
    #[error("access was denied")]
    Denied,
    /// The key manager, or the store of an inventory, does not accept the credentials.
    #[error("the credentials were not accepted")]
    Unauthenticated,
    /// The key manager has no such key.
    #[error("the key manager has no such key")]
    KeyNotFound,
    /// The key exists but is disabled, has expired or is not valid yet.
    #[error("the key is disabled")]
    KeyDisabled,
    /// The key exists but cannot be used yet: it is being made, or has no key material.
    #[error("the key is not ready for use")]
    KeyNotReady,
    /// The key will be destroyed. It cannot be used unless the destruction is canceled.
    #[error("the key is about to be destroyed")]
    KeyPendingDestruction,
    /// The key manager asks the caller to slow down.
    #[error("too many requests")]
    Throttled,
    /// The key manager, or the store of an inventory, cannot be reached, or reports an internal fault.
    #[error("unavailable")]
    Unavailable,
    /// The operation did not end before its deadline.
    #[error("timed out")]
    TimedOut,
    /// The key manager returned an answer that breaks its contract.
    #[error("the key manager returned an invalid answer")]
    InvalidAnswer,

    // Policy.
    /// The re-wrap would leave fewer or weaker wraps, and no rule allows that: see
    /// [`RewrapRules`](crate::key::RewrapRules). Nothing was changed.
    #[error("the re-wrap would leave {what}")]
    WouldWeaken {
        /// What the re-wrap would leave.
        what: &'static str,
    },
    /// A profile or policy forbids the operation.
    #[error("refused by policy")]
    PolicyRefused,
    /// A requirement of a [profile](crate::manual::errors#profiles) is not met. The detail names the key or the context key, and
    /// never a value. Nothing was sealed, opened or changed.
    #[error("the profile refuses it ({requirement})")]
    ProfileRefused {
        /// The name of the requirement in a profiles file, for example `"classes"`. `"profile"` if no profile could be chosen.
        requirement: &'static str,
    },
    /// The approval for a key that was revoked or retired does not count. Nothing was unwrapped. The detail says more.
    #[error("the approval is refused: {fault}")]
    ApprovalRefused {
        /// What is wrong with it.
        fault: ApprovalFault,
    },
    /// A budget of messages, sessions, bytes or calls is used up. Nothing was sealed.
    #[error("the {budget} budget is used up")]
    BudgetExhausted {
        /// The name of the budget.
        budget: &'static str,
    },
    /// The lease of the data key has expired. Ask for another data key.
    #[error("the data key's lease has expired")]
    LeaseExpired,

    // Store, audit, input and output.
    /// A store failed.
    #[error("the store failed")]
    Store,
    /// The ring could not read its inventory for longer than its settings allow.
    #[error("the inventory has not been read for too long")]
    InventoryStale,
    /// What an inventory holds was not signed by the ring's authority, or is older than what was seen before. The detail names
    /// the record.
    #[error("the inventory does not verify")]
    InventoryInvalid,
    /// Somebody else changed the ring meanwhile. Read it again and decide again.
    #[error("the ring was changed meanwhile")]
    Conflict,
    /// The clock of the inventory and that of this machine are further apart than the ring's settings allow. Nothing was signed. The
    /// detail says both times.
    #[error("the clocks disagree")]
    ClocksDisagree,
    /// The audit record could not be kept, so the operation was refused; or a log is not what it was.
    #[error("the audit log failed")]
    Audit,
    /// Reading or writing failed.
    #[error("input or output failed")]
    Io,

    // The caller.
    /// An argument is invalid.
    #[error("invalid argument")]
    InvalidArgument,
    /// The requested range is not within the plaintext.
    #[error("the range is not within the {len} bytes of plaintext")]
    OutOfRange {
        /// Length of the plaintext, in bytes, as far as it is known.
        len: u64,
    },
    /// The configuration (variable, file, URI) is missing or invalid.
    #[error("invalid configuration")]
    Configuration,
}

impl ErrorKind {
    /// Returns whether an operation is worth trying again after an error of this kind, unless the error says otherwise.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::Throttled | Self::Unavailable | Self::TimedOut | Self::InventoryStale | Self::Conflict
        )
    }
}

/// What is wrong with an approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum ApprovalFault {
    /// It is no approval, or was formatted anew.
    #[error("it is no approval")]
    Malformed,
    /// It is for another ring.
    #[error("it is for another ring")]
    OtherRing,
    /// It is for another key.
    #[error("it is for another key")]
    OtherKey,
    /// The ring's settings do not list its signer, or do not any more.
    #[error("its signer is no approver of the ring")]
    UnknownSigner,
    /// It was changed after it was signed.
    #[error("it was altered")]
    Altered,
    /// Its time is over.
    #[error("it has expired")]
    Expired,
    /// It was issued at a time that has not come yet.
    #[error("it was issued in the future")]
    NotYetIssued,
    /// It lasts longer than any approval may.
    #[error("it lasts too long")]
    TooLong,
    /// The key has moved to another state since it was issued.
    #[error("its key has moved since")]
    KeyMoved,
    /// It is of a later revision than the ring.
    #[error("the ring is older than it")]
    LaterRevision,
}

/// The operation during which an error happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Operation {
    /// Sealing a payload.
    #[error("seal")]
    Seal,
    /// Opening a payload.
    #[error("open")]
    Open,
    /// Replacing an envelope's wraps.
    #[error("rewrap")]
    Rewrap,
    /// Parsing an envelope.
    #[error("parse")]
    Parse,
    /// Generating and wrapping a DEK.
    #[error("generate")]
    Generate,
    /// Wrapping a DEK.
    #[error("wrap")]
    Wrap,
    /// Unwrapping a DEK.
    #[error("unwrap")]
    Unwrap,
    /// Administering a KEK.
    #[error("administer")]
    Administer,
    /// Reading a configuration.
    #[error("configure")]
    Configure,
}
