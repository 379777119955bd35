//! The sessions that a lease keeps.
//!
//! No crate in the tree does this: `lru` allocates and writes on every look-up, and `smallvec` does not choose what makes room. A
//! session wipes its keys when the last `Arc` of it goes, so a slot needs no wiping of its own.

use std::sync::Arc;

/// Up to `N` values. If all slots are taken, a new value replaces one that is over, else the oldest.
pub(super) struct Slots<T, const N: usize> {
    values: [Option<Arc<T>>; N],
    next: usize,
}

impl<T, const N: usize> Slots<T, N> {
    pub(super) fn new() -> Self {
        Self {
            values: [const { None }; N],
            next: 0,
        }
    }

    pub(super) fn get(&self, mut is_it: impl FnMut(&T) -> bool) -> Option<&Arc<T>> {
        self.values.iter().flatten().find(|value| is_it(value))
    }

    pub(super) fn find(&self, is_it: impl FnMut(&T) -> bool) -> Option<Arc<T>> {
        self.get(is_it).cloned()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.values.iter().flatten().count()
    }

    /// Keeps a value in the place of one that is `over`, else of the oldest.
    pub(super) fn keep(&mut self, value: Arc<T>, over: impl Fn(&T) -> bool) {
        let free = self
            .values
            .iter()
            .position(|slot| slot.as_ref().is_none_or(|value| over(value)));
        let at = free.unwrap_or(self.next);
        if let Some(slot) = self.values.get_mut(at) {
            *slot = Some(value);
        }
        self.next = (at + 1) % N;
    }
}
