//! What is kept for a key, and what a flight brings.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::near::Gone;
use super::policy::Caching;
use crate::envelope::WrapSet;
use crate::runtime::Monotonic;
use crate::source::lease::DekLease;
use crate::value::error::{Error, ErrorKind};

/// The head of the body that was asked about.
pub(super) type Body = [u8; crate::envelope::BODY_HEAD];

/// A lease, and on the sealing side its wraps and what is left of its budget.
#[derive(Clone)]
pub(super) struct Given {
    pub(super) lease: Arc<DekLease>,
    pub(super) sealing: Option<Sealing>,
}

#[derive(Clone)]
pub(super) struct Sealing {
    pub(super) wraps: WrapSet,
    pub(super) meter: Arc<Meter>,
}

pub(super) struct Entry {
    pub(super) given: Given,
    /// It is handed out until then.
    pub(super) fresh_until: Monotonic,
    /// From then on the source is asked again.
    pub(super) ask_at: Monotonic,
    /// It is kept until then.
    pub(super) kept_until: Monotonic,
    /// The key manager could not be reached when it was last asked.
    pub(super) is_out: bool,
    /// A lease for the time after the end, once there was need of one.
    pub(super) in_outage: Option<Arc<DekLease>>,
    pub(super) generation: u64,
    /// Said when it leaves the table.
    pub(super) gone: Gone,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.gone.say();
    }
}

impl Entry {
    /// The leases that may have been handed out.
    pub(super) fn leases(&self) -> impl Iterator<Item = &Arc<DekLease>> {
        std::iter::once(&self.given.lease).chain(&self.in_outage)
    }
}

/// How a flight ends, for each who waited for it.
#[derive(Clone)]
pub(super) enum Landing {
    Given(Given),
    Failed {
        error: Arc<Error>,
        body: Option<Body>,
    },
    /// It was asked for before an invalidation and is not to be used after it.
    Overtaken,
}

/// What one-off seals have used of a DEK.
#[derive(Default)]
pub(super) struct Meter {
    messages: AtomicU64,
    bytes: AtomicU64,
}

/// More than can ever be sealed.
const MOST_MESSAGES: u64 = 1 << 62;

impl Meter {
    /// Takes one message out of the budget, if there is room for it. There always is for the first. Where there is none,
    /// the budget ends: a message that is too long for what is left does not wait for shorter ones.
    pub(super) fn take(&self, bytes: u64, policy: &Caching) -> bool {
        // Those who are refused are counted too. From half of what 64 bits hold they do not come round.
        let most = policy.seal_messages.min(MOST_MESSAGES);
        let before = self.messages.fetch_add(1, Ordering::Relaxed);
        if before > 0 && before >= most {
            return false;
        }
        let used = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before > 0 && used.saturating_add(bytes) > policy.seal_bytes {
            self.messages.fetch_max(most, Ordering::Relaxed);
            return false;
        }
        true
    }
}

impl Meter {
    /// Takes messages and bytes for those to come, where they are a small part of the budget.
    pub(super) fn take_ahead(&self, messages: u64, bytes: u64, policy: &Caching) -> bool {
        let most = policy.seal_messages.min(MOST_MESSAGES);
        if most / 1000 < messages
            || policy.seal_bytes / 1000 < bytes
            || self.messages.load(Ordering::Relaxed) + messages > most
            || self.bytes.load(Ordering::Relaxed).saturating_add(bytes) > policy.seal_bytes
        {
            return false;
        }
        let fits = self.messages.fetch_add(messages, Ordering::Relaxed) + messages <= most;
        let used = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        // Others may have taken the last of it meanwhile: then nothing is left for anybody.
        fits && used.saturating_add(bytes) <= policy.seal_bytes
    }
}

/// Whether the key manager said no, rather than nothing.
pub(super) fn is_denial(error: &Error) -> bool {
    // Each kind is decided upon here: a new one does not compile before it is.
    let says_no = match error.kind() {
        ErrorKind::Denied
        | ErrorKind::Unauthenticated
        | ErrorKind::KeyNotFound
        | ErrorKind::KeyDisabled
        | ErrorKind::KeyNotReady
        | ErrorKind::KeyPendingDestruction
        | ErrorKind::KeyDestroyed
        | ErrorKind::NoKeyForScope
        | ErrorKind::InventoryInvalid
        | ErrorKind::KeyRetired
        | ErrorKind::KeyRevoked
        | ErrorKind::NoUsableKey
        | ErrorKind::PolicyRefused
        | ErrorKind::ProfileRefused { .. }
        | ErrorKind::ApprovalRefused { .. }
        | ErrorKind::CannotOpen => true,
        ErrorKind::Malformed { .. }
        | ErrorKind::UnsupportedVersion { .. }
        | ErrorKind::Unsupported { .. }
        | ErrorKind::OverLimit { .. }
        | ErrorKind::ContextMismatch
        | ErrorKind::Entropy
        | ErrorKind::NoRoom { .. }
        | ErrorKind::Throttled
        | ErrorKind::Unavailable
        | ErrorKind::TimedOut
        | ErrorKind::InvalidAnswer
        | ErrorKind::WouldWeaken { .. }
        | ErrorKind::BudgetExhausted { .. }
        | ErrorKind::LeaseExpired
        | ErrorKind::LifecycleRefused
        | ErrorKind::Store
        | ErrorKind::InventoryStale
        | ErrorKind::Conflict
        | ErrorKind::ClocksDisagree
        | ErrorKind::Audit
        | ErrorKind::Io
        | ErrorKind::InvalidArgument
        | ErrorKind::OutOfRange { .. }
        | ErrorKind::Configuration => false,
    };
    says_no && !error.is_retryable()
}

/// Whether the key manager could not be reached.
pub(super) fn is_outage(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::TimedOut)
}

/// Whether an answer may be due to the body it was asked about, so that another body may open.
pub(super) fn is_about_the_body(error: &Error) -> bool {
    let mut attempts = error.attempts().iter();
    error.kind() == ErrorKind::CannotOpen
        || attempts.any(|attempt| attempt.kind == Some(ErrorKind::CannotOpen))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_ends_by_messages_or_by_bytes_and_lets_the_first_through() {
        let policy = |seal_messages, seal_bytes| Caching {
            seal_messages,
            seal_bytes,
            ..Caching::default()
        };
        let count = |policy: &Caching, sizes: &[u64]| {
            let meter = Meter::default();
            sizes.iter().filter(|bytes| meter.take(**bytes, policy)).count()
        };
        assert_eq!(count(&policy(3, 1000), &[1; 9]), 3);
        assert_eq!(count(&policy(0, 0), &[5; 9]), 1);
        assert_eq!(count(&policy(9, 10), &[4; 9]), 2);
        assert_eq!(count(&policy(9, 10), &[10; 9]), 1);
        assert_eq!(count(&policy(9, 10), &[u64::MAX, 1]), 1);
        assert_eq!(count(&policy(u64::MAX, 4), &[5; 9]), 1);
        // One that does not fit ends it, also for those that would.
        assert_eq!(count(&policy(9, 10), &[4, 7, 1, 1]), 1);
    }

    #[test]
    fn an_outage_is_no_denial_also_where_one_stanza_was_denied() {
        let denied = || Error::new(ErrorKind::Denied);
        assert!(is_denial(&denied()) && !is_outage(&denied()));
        assert!(!is_denial(&denied().with_retryable(true)));
        for kind in [
            ErrorKind::KeyDisabled,
            ErrorKind::KeyNotReady,
            ErrorKind::KeyPendingDestruction,
            ErrorKind::KeyDestroyed,
        ] {
            assert!(is_denial(&Error::new(kind)), "{kind}");
        }
        for kind in [ErrorKind::Unavailable, ErrorKind::TimedOut] {
            assert!(is_outage(&Error::new(kind)) && !is_denial(&Error::new(kind)));
        }
        for kind in [
            ErrorKind::Throttled,
            ErrorKind::Entropy,
            ErrorKind::Audit,
            ErrorKind::InvalidAnswer,
        ] {
            assert!(
                !is_outage(&Error::new(kind)) && !is_denial(&Error::new(kind)),
                "{kind}"
            );
        }
    }
}
