//! The budget of messages of a session.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::value::limits;
use crate::value::place::{self, Apart, PLACES};

/// How many messages a thread takes out of the budget at once, after the first so many.
const BLOCK: u64 = 64;

/// The messages that a session may still seal. A count that all threads write to costs two threads more than they gain.
/// So each thread takes a block at a time, and counts its messages in a place of its own.
#[derive(Default)]
pub(super) struct Messages {
    taken: AtomicU64,
    /// What is left of the blocks; made only for a session that is used for long.
    places: OnceLock<Box<[Apart<AtomicU64>; PLACES]>>,
}

impl Messages {
    /// A budget that is used up.
    pub(super) fn none() -> Self {
        Self {
            taken: AtomicU64::new(limits::SESSION_MESSAGES.max),
            places: OnceLock::new(),
        }
    }

    pub(super) fn are_taken(&self) -> bool {
        self.taken.load(Ordering::Relaxed) >= limits::SESSION_MESSAGES.max
    }

    /// Takes up to `want`, and returns how many were left to take.
    pub(super) fn take(&self, want: u64) -> u64 {
        // The count may pass the limit by the number of refused calls. 64 bits do not overflow.
        let count = self.taken.fetch_add(want, Ordering::Relaxed);
        limits::SESSION_MESSAGES.max.saturating_sub(count).min(want)
    }

    /// Takes one, and returns whether one was left.
    pub(super) fn take_one(&self) -> bool {
        let Some(places) = self.places.get() else {
            if self.taken.load(Ordering::Relaxed) >= BLOCK {
                self.places.get_or_init(Box::default);
            }
            return self.take(1) == 1;
        };
        let Some(Apart(place)) = places.get(place::of_this_thread()) else {
            return self.take(1) == 1;
        };
        let mut left = place.load(Ordering::Relaxed);
        while let Some(after) = left.checked_sub(1) {
            // Other threads may share the place.
            match place.compare_exchange_weak(left, after, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => left = now,
            }
        }
        self.take_block(place)
    }

    #[cold]
    fn take_block(&self, place: &AtomicU64) -> bool {
        // Near the end, one at a time, so that hardly any is lost in the places of other threads.
        let is_near_its_end =
            self.taken.load(Ordering::Relaxed) + 2 * BLOCK * PLACES as u64 > limits::SESSION_MESSAGES.max;
        let taken = self.take(if is_near_its_end { 1 } else { BLOCK });
        if let Some(rest) = taken.checked_sub(1) {
            place.fetch_add(rest, Ordering::Relaxed);
        }
        taken > 0
    }

    #[cfg(test)]
    fn in_places(&self) -> impl Iterator<Item = &AtomicU64> {
        let places = self.places.get().into_iter();
        places.flat_map(|places| places.iter().map(|Apart(place)| place))
    }

    #[cfg(test)]
    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Leaves this many.
    #[cfg(test)]
    pub(super) fn leave(&self, left: u64) {
        self.taken
            .store(limits::SESSION_MESSAGES.max - left, Ordering::Relaxed);
        self.in_places()
            .for_each(|place| place.store(0, Ordering::Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_write_to_places_of_their_own_and_take_no_more_than_there_is() {
        let messages = Messages::default();
        let count = |threads: usize, each: usize| {
            std::thread::scope(|scope| {
                let running: Vec<_> = (0..threads)
                    .map(|_| scope.spawn(|| (0..each).filter(|_| messages.take_one()).count()))
                    .collect();
                let counts = running.into_iter().map(|thread| thread.join().unwrap());
                counts.sum::<usize>()
            })
        };
        // A thread writes to what all write to once for each block: here about once for 64 messages.
        assert_eq!(count(2, 6400), 12_800);
        let left: u64 = messages
            .in_places()
            .map(|place| place.load(Ordering::Relaxed))
            .sum();
        assert_eq!(messages.taken(), 12_800 + left);
        assert!(left < 2 * BLOCK, "{left}");
        // At the end all of them together get what there was, and no more.
        messages.leave(1000);
        assert_eq!(count(4, 1000), 1000);
        assert!(messages.are_taken());
    }
}
