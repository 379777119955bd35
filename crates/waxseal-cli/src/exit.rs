//! The exit codes: one table, for the code, the help and the documentation.

use waxseal::ErrorKind;

/// How a command ended. The numbers are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    Failed = 1,
    Usage = 2,
    DoesNotOpen = 3,
    NoKey = 4,
    Denied = 5,
    TryAgain = 6,
    NoEnvelope = 7,
    Refused = 8,
    Io = 9,
    Attention = 10,
    NothingDue = 11,
    KeyRetired = 12,
    KeyRevoked = 13,
    KeyUnusable = 14,
}

/// What each number means, as the help and `docs/cli.md` have it.
pub(crate) const TABLE: [(u8, &str); 15] = [
    (0, "done: the output is there"),
    (
        Exit::Failed as u8,
        "failed for a reason that has no code of its own",
    ),
    (
        Exit::Usage as u8,
        "the command line is invalid, or a value in it or typed at a prompt is; nothing was done",
    ),
    (
        Exit::DoesNotOpen as u8,
        "does not open: wrong key, context or AAD, or altered data",
    ),
    (
        Exit::NoKey as u8,
        "no key: no configured key opens it, or the configuration of a key is wrong",
    ),
    (
        Exit::Denied as u8,
        "the key manager or database denies access, or does not accept the credentials",
    ),
    (
        Exit::TryAgain as u8,
        "unavailable, throttled, timed out, busy, or changed meanwhile: try again",
    ),
    (
        Exit::NoEnvelope as u8,
        "not an envelope, malformed, or of a newer format",
    ),
    (
        Exit::Refused as u8,
        "refused by a rule or a policy; what was refused was not done",
    ),
    (Exit::Io as u8, "reading or writing failed"),
    (
        Exit::Attention as u8,
        "needs attention: doctor, check, census or verify found something, or a ring does not verify",
    ),
    (Exit::NothingDue as u8, "nothing is due"),
    (Exit::KeyRetired as u8, "the key is retired"),
    (Exit::KeyRevoked as u8, "the key is revoked"),
    (
        Exit::KeyUnusable as u8,
        "the key is disabled, not ready, destroyed, about to be destroyed, or missing",
    ),
];

impl Exit {
    /// What an error of the library ends with.
    pub(crate) fn of(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::CannotOpen | ErrorKind::ContextMismatch => Self::DoesNotOpen,
            ErrorKind::NoUsableKey | ErrorKind::NoKeyForScope | ErrorKind::Configuration => Self::NoKey,
            ErrorKind::InventoryInvalid | ErrorKind::ClocksDisagree => Self::Attention,
            ErrorKind::Denied | ErrorKind::Unauthenticated => Self::Denied,
            ErrorKind::Throttled
            | ErrorKind::Unavailable
            | ErrorKind::TimedOut
            | ErrorKind::InventoryStale
            | ErrorKind::Conflict => Self::TryAgain,
            ErrorKind::Malformed { .. }
            | ErrorKind::UnsupportedVersion { .. }
            | ErrorKind::Unsupported { .. } => Self::NoEnvelope,
            ErrorKind::PolicyRefused
            | ErrorKind::ProfileRefused { .. }
            | ErrorKind::ApprovalRefused { .. }
            | ErrorKind::LifecycleRefused
            | ErrorKind::WouldWeaken { .. } => Self::Refused,
            ErrorKind::Io | ErrorKind::Store | ErrorKind::Audit => Self::Io,
            ErrorKind::KeyRetired => Self::KeyRetired,
            ErrorKind::KeyRevoked => Self::KeyRevoked,
            ErrorKind::KeyNotFound
            | ErrorKind::KeyDisabled
            | ErrorKind::KeyNotReady
            | ErrorKind::KeyPendingDestruction
            | ErrorKind::KeyDestroyed => Self::KeyUnusable,
            _ => Self::Failed,
        }
    }
}

/// The table as text.
pub(crate) fn table() -> String {
    let mut text = String::new();
    for (code, meaning) in TABLE {
        text += &format!("  {code:>3}  {meaning}\n");
    }
    text += "  130, 143 …  ended by a signal (128 and its number), as a shell shows it\n";
    text
}
