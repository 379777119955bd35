//! What is kept, and what is being fetched.

use std::collections::HashMap;
use std::future::Future;
use std::hash::{BuildHasherDefault, Hasher};
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll};

use super::flight::{Flight, Work};
use super::shard::{Airborne, Shard};
use super::sync::{AtomicU64, AtomicUsize, Mutex, Ordering};

/// Shards of a table that is not small.
const SHARDS: usize = 16;
/// Up to this many entries one shard does, and entries make room in the order of the whole table.
pub(super) const SMALL: usize = 256;

/// Entries by key, and at most one flight for each key.
///
/// A map of our own, since entry and flight of a key have to change under one lock: a flight that lands stores its entry
/// only if no invalidation has come in between, and who finds no entry finds the flight. Its lock is held for a
/// look-up and a comparison. Keys are found by a hash that the caller has keyed, and compared in full. When there are too
/// many, one makes room that was not used since the clock's hand came by.
pub(super) struct Table<K, V, T> {
    shards: Box<[Mutex<Shard<K, V, T>>]>,
    most: usize,
    len: AtomicUsize,
    /// The shard that makes room next.
    hand: AtomicUsize,
    flights: AtomicU64,
    /// Drives a flight that all who waited for it have left.
    adopt: Box<dyn Fn(Work<()>) + Send + Sync>,
}

/// What was found for a key.
pub(super) enum Entered<R, K: Send + Sync + 'static, V: Send + 'static, T: Clone + Send + 'static> {
    Found(R),
    /// Somebody fetches it.
    Boarded {
        ticket: Ticket<K, V, T>,
        first: bool,
    },
}

/// A flight as the table names it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct FlightId {
    pub(super) hash: u64,
    pub(super) number: u64,
}

impl<K: Send + Sync + 'static, V: Send + 'static, T: Clone + Send + 'static> Table<K, V, T> {
    /// A table for up to `most` entries. `adopt` drives what it is given to its end, on no caller's time.
    pub(super) fn new(most: usize, adopt: impl Fn(Work<()>) + Send + Sync + 'static) -> Arc<Self> {
        let shards = if most <= SMALL { 1 } else { SHARDS };
        Arc::new(Self {
            shards: (0..shards).map(|_| Mutex::new(Shard::default())).collect(),
            most,
            len: AtomicUsize::new(0),
            hand: AtomicUsize::new(0),
            flights: AtomicU64::new(0),
            adopt: Box::new(adopt),
        })
    }

    fn shard(&self, hash: u64) -> &Mutex<Shard<K, V, T>> {
        // The map inside takes the other bits.
        let at = usize::try_from(hash >> 40).unwrap_or_default() % self.shards.len();
        // Not out of range, but for an empty table of shards, which there is not.
        self.shards.get(at).unwrap_or(&self.shards[0])
    }

    /// Does something while nobody can look anything up.
    #[cfg(test)]
    pub(super) fn while_locked<R>(&self, work: impl FnOnce() -> R) -> R {
        let _all: Vec<_> = self
            .shards
            .iter()
            .map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner))
            .collect();
        work()
    }

    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// What `look` makes of the entry; if there is none, or `look` makes nothing of it, a seat in the flight that
    /// fetches it. `begin` makes the work of a new one. A flight of another `generation` is one that a fork left behind.
    pub(super) fn enter<R>(
        self: &Arc<Self>,
        hash: u64,
        generation: u64,
        is: impl Fn(&K) -> bool,
        look: impl FnOnce(&mut V) -> Option<R>,
        begin: impl FnOnce(FlightId) -> (Arc<K>, Work<T>),
    ) -> Entered<R, K, V, T> {
        let mut shard = self.shard(hash).lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = shard.find(hash, &is).and_then(look) {
            return Entered::Found(found);
        }
        self.board(&mut shard, hash, generation, is, begin)
    }

    /// A seat in a new flight for an entry that is due, unless there is one already.
    pub(super) fn fetch_ahead(
        self: &Arc<Self>,
        hash: u64,
        generation: u64,
        is: impl Fn(&K) -> bool,
        is_due: impl FnOnce(&mut V) -> bool,
        begin: impl FnOnce(FlightId) -> (Arc<K>, Work<T>),
    ) -> Option<Ticket<K, V, T>> {
        let mut shard = self.shard(hash).lock().unwrap_or_else(PoisonError::into_inner);
        let flies = shard
            .flights
            .get(&hash)
            .is_some_and(|there| there.generation == generation);
        if flies || !shard.find(hash, &is).is_some_and(is_due) {
            return None;
        }
        match self.board::<()>(&mut shard, hash, generation, is, begin) {
            Entered::Boarded { ticket, .. } => Some(ticket),
            Entered::Found(()) => None,
        }
    }

    #[cold]
    fn board<R>(
        self: &Arc<Self>,
        shard: &mut Shard<K, V, T>,
        hash: u64,
        generation: u64,
        is: impl Fn(&K) -> bool,
        begin: impl FnOnce(FlightId) -> (Arc<K>, Work<T>),
    ) -> Entered<R, K, V, T> {
        if let Some(there) = shard.flights.get_mut(&hash)
            && there.generation == generation
            && is(&there.key)
        {
            there.seats.fetch_add(1, Ordering::Relaxed);
            let waiter = there.boarded.fetch_add(1, Ordering::Relaxed);
            return Entered::Boarded {
                ticket: self.ticket(hash, there, waiter),
                first: false,
            };
        }
        let number = self.flights.fetch_add(1, Ordering::Relaxed);
        let (key, work) = begin(FlightId { hash, number });
        let airborne = Airborne::new(number, generation, key, Flight::new(work));
        let ticket = self.ticket(hash, &airborne, 0);
        if let Some(forked) = shard.flights.insert(hash, airborne)
            && forked.generation != generation
        {
            // Its sockets and timers are the parent's, and ending them here would reach the parent.
            std::mem::forget(forked);
        }
        Entered::Boarded { ticket, first: true }
    }

    fn ticket(self: &Arc<Self>, hash: u64, airborne: &Airborne<K, T>, waiter: u64) -> Ticket<K, V, T> {
        Ticket {
            table: Arc::clone(self),
            id: FlightId {
                hash,
                number: airborne.number,
            },
            waiter,
            seats: Arc::clone(&airborne.seats),
            flight: Arc::clone(&airborne.flight),
            adopted: false,
        }
    }

    /// Stores what a flight brought, and returns what that replaced and what had to make room; `Err` with the entry
    /// if an invalidation overtook the flight.
    pub(super) fn land(&self, id: FlightId, key: Arc<K>, value: V) -> Result<(Option<V>, Vec<V>), V> {
        let (airborne, replaced) = {
            let mut shard = self.shard(id.hash).lock().unwrap_or_else(PoisonError::into_inner);
            let Some(airborne) = shard.take_flight(id) else {
                return Err(value);
            };
            let replaced = shard.put(id.hash, key, value);
            if replaced.is_none() {
                self.len.fetch_add(1, Ordering::Relaxed);
            }
            (airborne, replaced)
        };
        // Outside the lock: it may hold the last of a task.
        drop(airborne);
        Ok((replaced, self.make_room(id.hash)))
    }

    /// Takes out what is too many, and not what has just come.
    fn make_room(&self, spared: u64) -> Vec<V> {
        let mut evicted = Vec::new();
        // Others make room too: each shard once, twice for good measure.
        for _ in 0..2 * self.shards.len() {
            while self.len() > self.most {
                let at = self.hand.fetch_add(1, Ordering::Relaxed) % self.shards.len();
                let Some(shard) = self.shards.get(at) else {
                    return evicted;
                };
                let victim = shard.lock().unwrap_or_else(PoisonError::into_inner).evict(spared);
                let Some(victim) = victim else { break };
                self.len.fetch_sub(1, Ordering::Relaxed);
                evicted.push(victim);
            }
        }
        evicted
    }

    /// Ends a flight that brought nothing. `keep` says whether an entry that is there stays. Returns the one that goes;
    /// `Err` if an invalidation overtook the flight.
    pub(super) fn fail(
        &self,
        id: FlightId,
        is: impl Fn(&K) -> bool,
        keep: impl FnOnce(&mut V) -> bool,
    ) -> Result<Option<V>, ()> {
        let (airborne, removed) = {
            let mut shard = self.shard(id.hash).lock().unwrap_or_else(PoisonError::into_inner);
            let airborne = shard.take_flight(id).ok_or(())?;
            let removed = shard.remove_unless(id.hash, is, keep);
            if removed.is_some() {
                self.len.fetch_sub(1, Ordering::Relaxed);
            }
            (airborne, removed)
        };
        drop(airborne);
        Ok(removed)
    }

    /// What `look` makes of an entry and its key, if it is there.
    pub(super) fn peek_with_key<R>(
        &self,
        hash: u64,
        is: impl Fn(&K) -> bool,
        look: impl FnOnce(&Arc<K>, &mut V) -> Option<R>,
    ) -> Option<R> {
        let mut shard = self.shard(hash).lock().unwrap_or_else(PoisonError::into_inner);
        let (key, value) = shard.find_with_key(hash, is)?;
        look(key, value)
    }

    /// What `look` makes of an entry, if it is there.
    pub(super) fn peek<R>(
        &self,
        hash: u64,
        is: impl Fn(&K) -> bool,
        look: impl FnOnce(&mut V) -> Option<R>,
    ) -> Option<R> {
        let mut shard = self.shard(hash).lock().unwrap_or_else(PoisonError::into_inner);
        shard.find(hash, is).and_then(look)
    }

    /// Takes out every entry that is not to be kept.
    pub(super) fn retain(&self, mut keep: impl FnMut(&V) -> bool) -> Vec<V> {
        self.clear(|_, value| keep(value), |_| true)
    }

    /// Takes out entries that are not to be kept, and lets go of flights that are not to land: whoever comes now
    /// begins a new one.
    pub(super) fn clear(
        &self,
        mut keep: impl FnMut(&K, &V) -> bool,
        mut keep_flight: impl FnMut(&K) -> bool,
    ) -> Vec<V> {
        let mut removed = Vec::new();
        for shard in &self.shards {
            let before = removed.len();
            let flights: Vec<_> = {
                let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
                shard.retain(&mut keep, &mut removed);
                self.len.fetch_sub(removed.len() - before, Ordering::Relaxed);
                let over = shard
                    .flights
                    .extract_if(|_, airborne| !keep_flight(&airborne.key));
                over.collect()
            };
            drop(flights);
        }
        removed
    }

    /// The keys of all entries and flights.
    pub(super) fn keys(&self) -> Vec<Arc<K>> {
        let mut keys = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            keys.extend(
                shard
                    .keys()
                    .chain(shard.flights.values().map(|airborne| &airborne.key))
                    .cloned(),
            );
        }
        keys
    }

    /// Gives a seat back. The last to leave a flight that may still land leaves it to be driven to its end: others who
    /// want the same would begin it again and, if they are in a hurry too, never see its end.
    fn leave(self: &Arc<Self>, seat: &Ticket<K, V, T>) {
        let (over, adopted);
        {
            let mut shard = self
                .shard(seat.id.hash)
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            // Under the lock under which others board.
            if seat.seats.load(Ordering::Relaxed) > 1 {
                seat.seats.fetch_sub(1, Ordering::Relaxed);
                return;
            }
            let lands = shard.flights.get(&seat.id.hash).filter(|there| {
                there.number == seat.id.number && !seat.adopted && there.flight.is_under_way()
            });
            match lands {
                Some(there) => {
                    let waiter = there.boarded.fetch_add(1, Ordering::Relaxed);
                    let mut ticket = self.ticket(seat.id.hash, there, waiter);
                    ticket.adopted = true;
                    (over, adopted) = (None, Some(ticket));
                }
                None => {
                    seat.seats.fetch_sub(1, Ordering::Relaxed);
                    (over, adopted) = (Some((shard.take_flight(seat.id), seat.flight.abandon())), None);
                }
            }
        }
        // Outside of the lock: either may be the last to hold a task.
        drop(over);
        if let Some(ticket) = adopted {
            (self.adopt)(Box::pin(async move {
                // The code that lands it decides what happens to it.
                let _ = ticket.await;
            }));
        }
    }

    /// Forgets a flight that will never land.
    fn forget(&self, id: FlightId) {
        let lost = {
            let mut shard = self.shard(id.hash).lock().unwrap_or_else(PoisonError::into_inner);
            shard.take_flight(id)
        };
        drop(lost);
    }
}

/// A seat in a flight. Dropped, it is given back.
pub(super) struct Ticket<K: Send + Sync + 'static, V: Send + 'static, T: Clone + Send + 'static> {
    table: Arc<Table<K, V, T>>,
    id: FlightId,
    waiter: u64,
    seats: Arc<AtomicUsize>,
    flight: Arc<Flight<T>>,
    /// The flight ends with this one: a runtime that drops its tasks is not given it again.
    adopted: bool,
}

impl<K: Send + Sync + 'static, V: Send + 'static, T: Clone + Send + 'static> Future for Ticket<K, V, T> {
    /// `None` if the flight panicked: ask again.
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let landed = self.flight.poll(self.waiter, context);
        if matches!(landed, Poll::Ready(None)) {
            self.table.forget(self.id);
        }
        landed
    }
}

impl<K: Send + Sync + 'static, V: Send + 'static, T: Clone + Send + 'static> Drop for Ticket<K, V, T> {
    fn drop(&mut self) {
        self.flight.leave(self.waiter);
        self.table.leave(self);
    }
}

/// For hashes that are hashes already.
pub(super) type ByHash<T> = HashMap<u64, T, BuildHasherDefault<AsIs>>;

#[derive(Default)]
pub(super) struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Not called: the keys are `u64`.
        bytes
            .iter()
            .for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
