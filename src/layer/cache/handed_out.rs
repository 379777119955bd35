//! Leases that are no entry any more and may still be in use.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::context::EncryptionContext;
use crate::dek_lease::DekLease;

/// Forgotten ones are looked for when there are so many, and again whenever their number has doubled.
const FEW: usize = 64;

/// They are held weakly: this keeps no DEK alive.
#[derive(Default)]
pub(super) struct HandedOut(Mutex<List>);

#[derive(Default)]
struct List {
    leases: Vec<(Weak<DekLease>, EncryptionContext)>,
    prune_at: usize,
}

impl HandedOut {
    /// Remembers a lease that others may hold.
    pub(super) fn remember(&self, lease: &Arc<DekLease>, context: &EncryptionContext) {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if list.leases.len() >= list.prune_at.max(FEW) {
            list.leases.retain(|(lease, _)| lease.strong_count() > 0);
            list.prune_at = 2 * list.leases.len();
        }
        list.leases.push((Arc::downgrade(lease), context.clone()));
    }

    /// The contexts of those that are in use.
    pub(super) fn contexts(&self) -> Vec<EncryptionContext> {
        let list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let alive = list.leases.iter().filter(|(lease, _)| lease.strong_count() > 0);
        alive.map(|(_, context)| context.clone()).collect()
    }

    /// Revokes those that match and are in use. Gives their number.
    pub(super) fn revoke(&self, matches: &dyn Fn(&DekLease, &EncryptionContext) -> bool) -> usize {
        let matching: Vec<_> = {
            let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            list.leases.retain(|(lease, _)| lease.strong_count() > 0);
            let alive = list.leases.iter();
            alive
                .filter_map(|(lease, context)| lease.upgrade().filter(|lease| matches(lease, context)))
                .collect()
        };
        let running = matching.iter().filter(|lease| !lease.is_revoked());
        running.map(|lease| lease.revoke()).count()
    }
}
