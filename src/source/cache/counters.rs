//! What has happened.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        /// What a [`Cached`](super::Cached) has done since it was made, and holds now.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct CacheStats {
            /// Entries held now, for opening.
            pub open_entries: usize,
            /// Entries held now, for sealing.
            pub seal_entries: usize,
            $($(#[$doc])* pub $name: u64,)*
        }

        #[derive(Default)]
        pub(super) struct Counters {
            $(pub(super) $name: Counter,)*
        }

        impl Counters {
            pub(super) fn stats(&self) -> CacheStats {
                CacheStats {
                    open_entries: 0,
                    seal_entries: 0,
                    $($name: self.$name.0.load(Ordering::Relaxed),)*
                }
            }
        }
    };
}

counters! {
    /// Requests answered from an entry.
    hits;
    /// Requests that found no entry, and asked the source or waited for one who did.
    misses;
    /// Of those: that waited for a request of another.
    joined;
    /// Requests made of the source, with refreshes and without what passed by.
    flights;
    /// Of those: made ahead of an entry's end.
    refreshes;
    /// Of those: that failed, for whatever reason.
    failures;
    /// Of those: that were told no, so that their entry went.
    denials;
    /// Requests that went by the cache: probes, those with an authorization, those of a side that keeps nothing, and
    /// bodies that an entry did not open.
    passed_by;
    /// Requests answered from an entry past its end, since the key manager could not be reached.
    outage_uses;
    /// Entries that made room for others.
    evictions;
    /// Entries that went because they had ended.
    expirations;
    /// Leases that were revoked by an invalidation.
    invalidations;
    /// Answers that were not used because an invalidation came in between.
    overtaken;
}

#[derive(Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn one(&self) {
        self.add(1);
    }

    pub(super) fn add(&self, count: usize) {
        self.0.fetch_add(count as u64, Ordering::Relaxed);
    }
}
