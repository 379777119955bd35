//! What a job did.

use serde::{Deserialize, Serialize};

use crate::sealer::RewrapCounts;
use crate::value::error::{Error, ErrorKind};

/// What a job has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Counts {
    /// Items that were looked at.
    pub examined: u64,
    /// Items that got new wraps for which the KMS was asked.
    pub rewrapped: u64,
    /// Items that got the new wraps of another item of the same data key, without a call.
    pub reused: u64,
    /// Items that are wrapped as configured already.
    pub current: u64,
    /// Items that are no envelopes.
    pub foreign: u64,
    /// Items that went while the job looked at them.
    pub gone: u64,
    /// How often an item was another one when it should be replaced, and was read again.
    pub revisited: u64,
    /// Bytes of fronts that were written.
    pub written: u64,
    /// Bytes of the whole values that were moved.
    pub bytes: u64,
    /// Items that were moved and read back.
    pub read_back: u64,
    /// Items that were moved without their data key: the KMS re-wrapped on its own side.
    pub unverified: u64,
    /// Wraps of others that were kept.
    pub kept: u64,
    /// Wraps that were dropped because the rules say so.
    pub dropped: u64,
    /// Items that still miss a requirement of their profile, because the rules allow it.
    pub short: u64,
    /// Places that could not be listed, such as directories: each is a fault, and what is in them was not looked at.
    pub unlisted: u64,
    /// Faults: altered, or sealed in another context.
    pub tampered: u64,
    /// Faults: no key that is configured here opens it.
    pub unknown_key: u64,
    /// Faults: the KMS, a profile or the ring refuses.
    pub denied: u64,
    /// Faults: above a limit, or no room.
    pub too_large: u64,
    /// Faults: changed again and again while the job looked at it.
    pub contended: u64,
    /// Faults: the store could not read or write it.
    pub unreadable: u64,
    /// Faults: the KMS did not answer, in all tries.
    pub unavailable: u64,
}

impl Counts {
    /// Items that have new wraps.
    #[must_use]
    pub fn moved(&self) -> u64 {
        self.rewrapped.saturating_add(self.reused)
    }

    /// Items that the job could not decide.
    #[must_use]
    pub fn faults(&self) -> u64 {
        [
            self.tampered,
            self.unknown_key,
            self.denied,
            self.too_large,
            self.contended,
            self.unreadable,
            self.unavailable,
        ]
        .into_iter()
        .fold(0, u64::saturating_add)
    }

    pub(super) fn fault(&mut self, class: FaultClass) {
        let count = match class {
            FaultClass::Tampered => &mut self.tampered,
            FaultClass::UnknownKey => &mut self.unknown_key,
            FaultClass::Denied => &mut self.denied,
            FaultClass::TooLarge => &mut self.too_large,
            FaultClass::Contended => &mut self.contended,
            FaultClass::Unreadable => &mut self.unreadable,
            FaultClass::Unavailable => &mut self.unavailable,
        };
        *count += 1;
    }

    /// What a rewrapper has counted for one item.
    pub(super) fn of_wraps(before: RewrapCounts, after: RewrapCounts) -> Self {
        Self {
            rewrapped: after.rewrapped - before.rewrapped,
            reused: after.reused - before.reused,
            unverified: after.unverified - before.unverified,
            kept: after.kept - before.kept,
            dropped: after.dropped - before.dropped,
            short: after.short - before.short,
            ..Self::default()
        }
    }

    /// Adds other counts, each to its own.
    pub fn add(&mut self, other: &Self) {
        let mut other = *other;
        for (sum, more) in self.each().into_iter().zip(other.each()) {
            *sum = sum.saturating_add(*more);
        }
    }

    fn each(&mut self) -> [&mut u64; 22] {
        let Self {
            examined,
            rewrapped,
            reused,
            current,
            foreign,
            gone,
            revisited,
            written,
            bytes,
            read_back,
            unverified,
            kept,
            dropped,
            short,
            unlisted,
            tampered,
            unknown_key,
            denied,
            too_large,
            contended,
            unreadable,
            unavailable,
        } = self;
        [
            examined,
            rewrapped,
            reused,
            current,
            foreign,
            gone,
            revisited,
            written,
            bytes,
            read_back,
            unverified,
            kept,
            dropped,
            short,
            unlisted,
            tampered,
            unknown_key,
            denied,
            too_large,
            contended,
            unreadable,
            unavailable,
        ]
    }
}

/// Why an item could not be moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FaultClass {
    /// It was altered, or is sealed in another context than the store says.
    Tampered,
    /// No key that is configured here opens it.
    UnknownKey,
    /// The KMS, a profile or the ring refuses.
    Denied,
    /// It is above a limit, or there is no room for it.
    TooLarge,
    /// It was changed again and again while the job looked at it.
    Contended,
    /// The store could not read or write it.
    Unreadable,
    /// The KMS did not answer, in all tries.
    Unavailable,
}

impl FaultClass {
    /// The name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tampered => "tampered",
            Self::UnknownKey => "unknown-key",
            Self::Denied => "denied",
            Self::TooLarge => "too-large",
            Self::Contended => "contended",
            Self::Unreadable => "unreadable",
            Self::Unavailable => "unavailable",
        }
    }

    /// The class of an error about one item.
    #[must_use]
    pub fn of(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::NoUsableKey
            | ErrorKind::NoKeyForScope
            | ErrorKind::KeyNotFound
            | ErrorKind::KeyDestroyed => Self::UnknownKey,
            ErrorKind::OverLimit { .. } | ErrorKind::NoRoom { .. } => Self::TooLarge,
            ErrorKind::Io | ErrorKind::Store => Self::Unreadable,
            ErrorKind::Conflict => Self::Contended,
            ErrorKind::Unavailable
            | ErrorKind::TimedOut
            | ErrorKind::Throttled
            | ErrorKind::InvalidAnswer
            | ErrorKind::Entropy
            | ErrorKind::InventoryStale => Self::Unavailable,
            ErrorKind::CannotOpen
            | ErrorKind::ContextMismatch
            | ErrorKind::Malformed { .. }
            | ErrorKind::UnsupportedVersion { .. }
            | ErrorKind::Unsupported { .. } => Self::Tampered,
            _ => Self::Denied,
        }
    }
}

/// An item that could not be moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Fault {
    /// The id of the item.
    pub id: String,
    /// What kind of fault it is.
    pub class: FaultClass,
    /// What was seen. It holds no key, and no value of a context.
    pub reason: String,
}

impl Fault {
    /// Makes a fault.
    #[must_use]
    pub fn new(id: impl Into<String>, class: FaultClass, reason: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            class,
            reason: reason.into(),
        }
    }
}

/// How a job ended, and what it did since it began, in all its processes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Report {
    /// The store.
    pub store: String,
    /// Whether nothing was written.
    pub is_dry_run: bool,
    /// Whether every item was examined. If not, the job was halted or had too many faults, and goes on when it is run again; or a place could not be
    /// listed ([`Counts::unlisted`]), and a new job finds what is in it.
    pub is_whole: bool,
    /// What was counted.
    pub counts: Counts,
    /// The first faults. [`Counts::faults`] says how many there are.
    pub faults: Vec<Fault>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_added_each_to_its_own() {
        let mut one = Counts::default();
        for (number, count) in (1..).zip(one.each()) {
            *count = number;
        }
        let mut sum = one;
        sum.add(&one);
        for (number, count) in (1..).zip(sum.each()) {
            assert_eq!(*count, 2 * number);
        }
        assert_eq!(one.faults(), (16..=22).sum::<u64>());
    }
}
