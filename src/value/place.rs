//! Places for what threads would otherwise write to one after the other.

use std::sync::atomic::{AtomicUsize, Ordering};

/// How many places there are. Threads beyond that share them.
pub(crate) const PLACES: usize = 16;

/// The place of the calling thread, below [`PLACES`].
pub(crate) fn of_this_thread() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static PLACE: usize = THREADS.fetch_add(1, Ordering::Relaxed) % PLACES;
    }
    PLACE.with(|place| *place)
}

/// A value on cache lines of its own: two lines, since processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Apart<T>(pub(crate) T);
