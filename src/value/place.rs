//! Separate places for data that threads would otherwise write to one after the other.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The number of places. More threads than that share places.
pub(crate) const PLACES: usize = 16;

/// Returns the place of the calling thread, below [`PLACES`].
pub(crate) fn of_this_thread() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static PLACE: usize = THREADS.fetch_add(1, Ordering::Relaxed) % PLACES;
    }
    PLACE.with(|place| *place)
}

/// A value on its own cache lines: two lines, because processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Apart<T>(pub(crate) T);
