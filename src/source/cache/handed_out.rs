//! Leases that may still be in use, by handles or by streams, whether they are an entry or none any more.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::envelope::KekRef;
use crate::message::WeakStopFlag;
use crate::source::lease::DekLease;
use crate::value::context::EncryptionContext;

/// Forgotten ones are looked for when there are so many, and again whenever their number has doubled.
const FEW: usize = 64;

/// They are held weakly: this keeps no DEK alive.
#[derive(Default)]
pub(super) struct HandedOut(Mutex<List>);

#[derive(Default)]
struct List {
    leases: Vec<One>,
    prune_at: usize,
}

struct One {
    /// A stream holds this, and no lease.
    flag: WeakStopFlag,
    lease: Weak<DekLease>,
    keks: Vec<KekRef>,
    context: EncryptionContext,
}

impl HandedOut {
    /// Remembers a lease. To be called before others can get it: from then on an invalidation finds it.
    pub(super) fn remember(&self, lease: &Arc<DekLease>, context: &EncryptionContext) {
        let one = One {
            flag: WeakStopFlag::new(&lease.stop_flag()),
            lease: Arc::downgrade(lease),
            keks: lease.keks().to_vec(),
            context: context.clone(),
        };
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if list.leases.len() >= list.prune_at.max(FEW) {
            list.leases.retain(|one| one.flag.is_there());
            list.prune_at = 2 * list.leases.len();
        }
        list.leases.push(one);
    }

    /// The contexts of those that are in use.
    pub(super) fn contexts(&self) -> Vec<EncryptionContext> {
        let list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let alive = list.leases.iter().filter(|one| one.flag.is_there());
        alive.map(|one| one.context.clone()).collect()
    }

    /// Revokes those that match and are in use. Gives their number.
    pub(super) fn revoke(&self, matches: &dyn Fn(&[KekRef], &EncryptionContext) -> bool) -> usize {
        let matching: Vec<_> = {
            let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            list.leases.retain(|one| one.flag.is_there());
            let matching = list.leases.iter().filter(|one| matches(&one.keks, &one.context));
            matching
                .filter_map(|one| Some((one.flag.upgrade()?, one.lease.upgrade())))
                .collect()
        };
        let running = matching.iter().filter(|(flag, _)| flag.check().is_ok());
        running
            .map(|(flag, lease)| match lease {
                Some(lease) => lease.revoke(),
                // A stream goes on without it.
                None => flag.set(),
            })
            .count()
    }
}
