//! Entries that have ended are wiped, also where nobody asks for them again.

use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::core::Core;
use crate::value::entropy;

impl Core {
    /// Begins to sweep, unless that is done already. Behind a fork the parent's task is not there.
    pub(super) fn sweep_from_now_on(self: &Arc<Self>) {
        let generation = entropy::generation();
        // Behind the entry that was stored, as the sweeper looks for entries behind what it stores.
        fence(Ordering::SeqCst);
        // Read first: almost always it runs.
        if self.sweeper.load(Ordering::Relaxed) == generation
            || self.sweeper.swap(generation, Ordering::SeqCst) == generation
        {
            return;
        }
        let runtime = Arc::clone(&self.runtime);
        let pause = self.sweeps_every();
        // A cache that is dropped is not kept alive by this.
        let core = Arc::downgrade(self);
        let unless = LostUnlessEnded(Arc::downgrade(self), generation);
        let sweeping = async move {
            loop {
                runtime.sleep(pause).await;
                let is_over = core.upgrade().is_none_or(|core| core.sweep());
                if is_over {
                    return std::mem::forget(unless);
                }
            }
        };
        self.runtime.spawn(Box::pin(sweeping));
    }

    /// Between a second and a minute.
    fn sweeps_every(&self) -> Duration {
        let age = self.policy.open_age.min(self.policy.seal_age);
        (age / 4).clamp(Duration::from_secs(1), Duration::from_secs(60))
    }

    /// Takes out what has ended. Whether nothing is left to sweep for.
    fn sweep(self: &Arc<Self>) -> bool {
        let now = self.runtime.now();
        for table in [&self.sealing, &self.opening] {
            let over = table.retain(|entry| now < entry.kept_until && !entry.given.lease.is_revoked());
            self.counters.expirations.add(over.len());
        }
        // Those that have just left, and those that others have replaced or evicted.
        self.sweep_near();
        let is_empty = || self.sealing.len() + self.opening.len() == 0;
        if !is_empty() {
            return false;
        }
        self.sweeper.store(0, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        // One that was stored since then has seen that somebody sweeps.
        if !is_empty() {
            self.sweep_from_now_on();
        }
        true
    }
}

/// A task that its runtime drops, or never starts, sweeps no more: the next entry that is stored begins another.
struct LostUnlessEnded(Weak<Core>, u64);

impl Drop for LostUnlessEnded {
    fn drop(&mut self) {
        if let Some(core) = self.0.upgrade() {
            let _ = core
                .sweeper
                .compare_exchange(self.1, 0, Ordering::SeqCst, Ordering::SeqCst);
        }
    }
}
