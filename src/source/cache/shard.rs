//! A part of a table, under one lock.

use std::sync::Arc;

use super::flight::Flight;
use super::sync::{AtomicU64, AtomicUsize};
use super::table::{ByHash, FlightId};

pub(super) struct Shard<K, V, T> {
    index: ByHash<usize>,
    slots: Vec<Slot<K, V>>,
    /// The clock's: the slot that makes room next, unless it was used.
    hand: usize,
    pub(super) flights: ByHash<Airborne<K, T>>,
}

struct Slot<K, V> {
    hash: u64,
    key: Arc<K>,
    value: V,
    used: bool,
}

/// A flight that may still land here.
pub(super) struct Airborne<K, T> {
    pub(super) number: u64,
    pub(super) generation: u64,
    pub(super) key: Arc<K>,
    /// Those who wait now.
    pub(super) seats: Arc<AtomicUsize>,
    /// Those who ever did.
    pub(super) boarded: AtomicU64,
    pub(super) flight: Arc<Flight<T>>,
}

impl<K, T> Airborne<K, T> {
    /// A flight with one who waits, number 0.
    pub(super) fn new(number: u64, generation: u64, key: Arc<K>, flight: Arc<Flight<T>>) -> Self {
        Self {
            number,
            generation,
            key,
            seats: Arc::new(AtomicUsize::new(1)),
            boarded: AtomicU64::new(1),
            flight,
        }
    }
}

impl<K, V, T> Default for Shard<K, V, T> {
    fn default() -> Self {
        Self {
            index: ByHash::default(),
            slots: Vec::new(),
            hand: 0,
            flights: ByHash::default(),
        }
    }
}

impl<K, V, T> Shard<K, V, T> {
    pub(super) fn find(&mut self, hash: u64, is: impl Fn(&K) -> bool) -> Option<&mut V> {
        self.find_with_key(hash, is).map(|(_, value)| value)
    }

    pub(super) fn find_with_key(&mut self, hash: u64, is: impl Fn(&K) -> bool) -> Option<(&Arc<K>, &mut V)> {
        let slot = self.slots.get_mut(*self.index.get(&hash)?)?;
        if !is(&slot.key) {
            return None;
        }
        slot.used = true;
        Some((&slot.key, &mut slot.value))
    }

    /// Puts an entry in, and returns the one that it replaces. Keys of one hash, which nobody should ever meet, replace each
    /// other.
    pub(super) fn put(&mut self, hash: u64, key: Arc<K>, value: V) -> Option<V> {
        if let Some(slot) = self.index.get(&hash).and_then(|at| self.slots.get_mut(*at)) {
            slot.key = key;
            slot.used = true;
            return Some(std::mem::replace(&mut slot.value, value));
        }
        self.index.insert(hash, self.slots.len());
        let used = false;
        self.slots.push(Slot {
            hash,
            key,
            value,
            used,
        });
        None
    }

    pub(super) fn remove_unless(
        &mut self,
        hash: u64,
        is: impl Fn(&K) -> bool,
        keep: impl FnOnce(&mut V) -> bool,
    ) -> Option<V> {
        let at = *self.index.get(&hash)?;
        let slot = self.slots.get_mut(at)?;
        if !is(&slot.key) || keep(&mut slot.value) {
            return None;
        }
        Some(self.remove(at))
    }

    /// Takes out one entry that was not used for the longest time, about, and not the one of this hash.
    pub(super) fn evict(&mut self, spared: u64) -> Option<V> {
        // Within two rounds: the first leaves none that is used.
        for _ in 0..=2 * self.slots.len() {
            if self.hand >= self.slots.len() {
                self.hand = 0;
            }
            let slot = self.slots.get_mut(self.hand)?;
            if slot.hash != spared {
                if !slot.used {
                    return Some(self.remove(self.hand));
                }
                slot.used = false;
            }
            self.hand += 1;
        }
        None
    }

    pub(super) fn retain(&mut self, keep: &mut impl FnMut(&K, &V) -> bool, removed: &mut Vec<V>) {
        let mut at = 0;
        while let Some(slot) = self.slots.get(at) {
            if keep(&slot.key, &slot.value) {
                at += 1;
            } else {
                removed.push(self.remove(at));
            }
        }
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &Arc<K>> {
        self.slots.iter().map(|slot| &slot.key)
    }

    /// The flight, if it may still land.
    pub(super) fn take_flight(&mut self, id: FlightId) -> Option<Airborne<K, T>> {
        if self.flights.get(&id.hash)?.number != id.number {
            return None;
        }
        self.flights.remove(&id.hash)
    }

    /// Takes out the slot at a place that there is; the last one comes there.
    fn remove(&mut self, at: usize) -> V {
        let slot = self.slots.swap_remove(at);
        self.index.remove(&slot.hash);
        if let Some(moved) = self.slots.get(at) {
            self.index.insert(moved.hash, at);
        }
        slot.value
    }
}
