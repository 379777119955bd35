//! What was found a moment ago, once more for each thread: two threads that use one DEK share no lock, and no line of
//! memory that either writes to.
//!
//! A lock, a count of hits, a count of references and a budget of messages that all threads write to cost two threads more
//! than they gain. So each thread has a place with the few entries that it uses most, references and counts of its own,
//! and messages that it has taken out of the budget ahead. The table stays what decides: an entry that leaves it says so,
//! and is looked up there again after 64 uses.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::entry::{Entry, Meter};
use super::key::{Key, Wanted};
use super::policy::Caching;
use crate::envelope::WrapSet;
use crate::message::{Sealing, Session};
use crate::runtime::Monotonic;
use crate::source::lease::DekLease;
use crate::value::context::EncryptionContext;
use crate::value::entropy;
use crate::value::error::{Error, ErrorKind, Result};
use crate::value::place::{self, Apart, PLACES};

/// Entries of each place.
const SLOTS: usize = 32;
/// After so many uses the table is asked again, which sees by that what is in use.
const USES: u32 = 64;
/// An entry that is used less than once for so many others that would have its slot makes room.
const CHALLENGES: u32 = 8;
/// What is taken out of the budget ahead, where it is at least a thousand times as large.
const AHEAD: (u64, u64) = (64, 256 << 10);

/// A lease with what belongs to it, as one place hands it out: who clones it counts where no other thread does.
pub(crate) struct AtHand {
    lease: Arc<DekLease>,
    wraps: Option<WrapSet>,
    session: OnceLock<Arc<Session>>,
}

impl AtHand {
    pub(crate) fn lease(&self) -> &Arc<DekLease> {
        &self.lease
    }

    /// The wraps, for what is to be sealed.
    pub(crate) fn wraps(&self) -> Option<&WrapSet> {
        self.wraps.as_ref()
    }

    /// The lease and its wraps, to hold on to.
    pub(crate) fn to_parts(&self) -> Result<(Arc<DekLease>, WrapSet)> {
        let wraps = self
            .wraps
            .clone()
            .ok_or_else(|| Error::new(ErrorKind::InvalidAnswer))?;
        Ok((Arc::clone(&self.lease), wraps))
    }

    /// The lease's open session, if it serves.
    pub(crate) fn session(
        &self,
        sealing: Sealing,
        context: &EncryptionContext,
    ) -> Result<Option<&Arc<Session>>> {
        let session = match self.session.get() {
            Some(session) => session,
            None => {
                let session = self.lease.seal_session(sealing, context)?;
                self.session.get_or_init(|| session)
            }
        };
        Ok(Some(session).filter(|session| session.serves(sealing, context) && !session.is_over()))
    }
}

/// Whether an entry has left the table: said when it is dropped.
#[derive(Clone, Default)]
pub(super) struct Gone(Arc<AtomicBool>);

impl Gone {
    pub(super) fn say(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is_said(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

struct Kept {
    hint: u64,
    key: Arc<Key>,
    at_hand: Arc<AtHand>,
    gone: Gone,
    /// It is handed out, and not to be fetched again, until then.
    until: Monotonic,
    generation: u64,
    uses: u32,
    challenges: u32,
    /// Messages and bytes that were taken out of the budget.
    messages: u64,
    bytes: u64,
}

impl Kept {
    fn is_over(&self) -> bool {
        self.gone.is_said() || self.at_hand.lease.is_revoked()
    }

    fn take(&mut self, bytes: u64) -> bool {
        let left = (self.messages.checked_sub(1), self.bytes.checked_sub(bytes));
        let (Some(messages), Some(bytes)) = left else {
            return false;
        };
        (self.messages, self.bytes) = (messages, bytes);
        true
    }
}

#[derive(Default)]
struct Place {
    slots: [Option<Kept>; SLOTS],
    hits: u64,
}

pub(super) struct Near {
    places: Box<[Apart<Mutex<Place>>; PLACES]>,
    generation: u64,
}

impl Near {
    pub(super) fn new() -> Self {
        Self {
            places: Box::default(),
            generation: entropy::generation(),
        }
    }

    /// The place of this thread, unless another that shares it, or that a fork left behind, is inside.
    fn place(&self) -> Option<MutexGuard<'_, Place>> {
        let Apart(place) = self.places.get(place::of_this_thread())?;
        place.try_lock().ok()
    }

    /// What this thread has at hand for a request, for a message of so many `bytes` if it is to seal. `accept` says whether
    /// the lease will do.
    pub(super) fn find(
        &self,
        wanted: &Wanted<'_>,
        bytes: Option<u64>,
        now: Monotonic,
        accept: impl FnOnce(&DekLease) -> bool,
    ) -> Option<Arc<AtHand>> {
        let hint = wanted.hint();
        let mut place = self.place()?;
        let kept = place.slots.get_mut(slot(hint))?.as_mut()?;
        if kept.hint != hint
            || now >= kept.until
            || kept.generation != entropy::generation()
            || kept.uses >= USES
            || kept.gone.is_said()
            || kept.at_hand.lease.check(now).is_err()
            || !wanted.is(&kept.key)
            || !accept(&kept.at_hand.lease)
            || !bytes.is_none_or(|bytes| kept.take(bytes))
        {
            return None;
        }
        kept.uses += 1;
        kept.challenges = 0;
        let at_hand = Arc::clone(&kept.at_hand);
        place.hits += 1;
        Some(at_hand)
    }

    /// Keeps an entry that was found in the table, unless others are used more.
    pub(super) fn keep(&self, wanted: &Wanted<'_>, key: &Arc<Key>, entry: &Entry, policy: &Caching) {
        let hint = wanted.hint();
        // Dropped outside of the lock: it may be the last of a lease.
        let _former;
        let Some(mut place) = self.place() else { return };
        let Some(place) = place.slots.get_mut(slot(hint)) else {
            return;
        };
        let meter = entry.given.sealing.as_ref().map(|sealing| &sealing.meter);
        if let Some(kept) = place
            && !kept.is_over()
        {
            if kept.hint == hint && Arc::ptr_eq(&kept.at_hand.lease, &entry.given.lease) {
                kept.uses = 0;
                if meter.is_some() && (kept.messages == 0 || kept.bytes < AHEAD.1 / 8) {
                    (kept.messages, kept.bytes) = ahead(meter, policy);
                }
                return;
            }
            kept.challenges += 1;
            if kept.hint != hint && kept.challenges < CHALLENGES {
                return;
            }
        }
        let (messages, bytes) = ahead(meter, policy);
        let kept = Kept {
            hint,
            key: Arc::clone(key),
            at_hand: Arc::new(AtHand {
                lease: Arc::clone(&entry.given.lease),
                wraps: entry.given.sealing.as_ref().map(|sealing| sealing.wraps.clone()),
                session: OnceLock::new(),
            }),
            gone: entry.gone.clone(),
            until: entry.fresh_until.min(entry.ask_at),
            generation: entry.generation,
            uses: 0,
            challenges: 0,
            messages,
            bytes,
        };
        _former = place.replace(kept);
    }

    /// Lets go of what has left the table or was revoked.
    pub(super) fn sweep(&self) {
        for Apart(place) in self.places.iter() {
            let place = if self.generation == entropy::generation() {
                Some(place.lock().unwrap_or_else(PoisonError::into_inner))
            } else {
                // A thread of the parent may be inside for ever.
                place.try_lock().ok()
            };
            let Some(mut place) = place else { continue };
            let over: Vec<_> = place
                .slots
                .iter_mut()
                .filter(|slot| slot.as_ref().is_some_and(Kept::is_over))
                .map(Option::take)
                .collect();
            drop(place);
            drop(over);
        }
    }

    /// How often something was found.
    pub(super) fn hits(&self) -> u64 {
        let places = self.places.iter();
        places
            .filter_map(|Apart(place)| place.try_lock().ok())
            .map(|place| place.hits)
            .sum()
    }
}

fn slot(hint: u64) -> usize {
    usize::try_from(hint >> 32).unwrap_or_default() % SLOTS
}

fn ahead(meter: Option<&Arc<Meter>>, policy: &Caching) -> (u64, u64) {
    let taken = meter.is_some_and(|meter| meter.take_ahead(AHEAD.0, AHEAD.1, policy));
    if taken { AHEAD } else { (0, 0) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Kek;
    use crate::backend::local::LocalKey;
    use crate::envelope::Envelope;
    use crate::key::{Purpose, Request};
    use crate::sealer::Sealer;
    use crate::source::at_hand::{ToOpen, ToSeal};
    use crate::source::cache::Cached;

    fn sealer(policy: Caching) -> Sealer {
        let key = LocalKey::new(&Kek::generate().unwrap());
        let builder = Sealer::builder().wrap_with(key).cache(policy);
        builder.build().unwrap()
    }

    fn seal(cache: &Cached, context: &EncryptionContext) -> Option<Arc<AtHand>> {
        let request = Request::new(context).with_message_len(64);
        match cache.at_hand_to_seal(&request)? {
            ToSeal::AtHand(at_hand) => Some(at_hand),
            ToSeal::Given(..) => None,
        }
    }

    fn open(cache: &Cached, envelope: &Envelope<'_>, context: &EncryptionContext) -> Option<Arc<AtHand>> {
        let (header, request) = (
            envelope.header(),
            Request::new(context).with_purpose(Purpose::Open),
        );
        match cache.at_hand_to_open(header.wrap_section().unwrap(), header.body(), &request)? {
            ToOpen::AtHand(at_hand) => Some(at_hand),
            ToOpen::Given(_) => None,
        }
    }

    /// What two threads share on a hit is read and never written: no lock of the table, no reference of the lease, no
    /// budget.
    #[test]
    fn a_hit_takes_no_lock_and_counts_nothing_that_others_count() {
        let sealer = sealer(Caching::default());
        let (cache, context) = (sealer.cache().unwrap(), EncryptionContext::empty());
        let sealed = pollster::block_on(sealer.seal(b"hello", &context)).unwrap();
        let envelope = Envelope::parse(&sealed).unwrap();
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        // The first finds it in the table, and keeps it for this thread.
                        for _ in 0..3 {
                            pollster::block_on(sealer.seal(b"hello", &context)).unwrap();
                            pollster::block_on(sealer.open(&sealed, &context)).unwrap();
                        }
                    })
                })
                .collect();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            for _ in 0..3 {
                pollster::block_on(sealer.seal(b"hello", &context)).unwrap();
                pollster::block_on(sealer.open(&sealed, &context)).unwrap();
            }
        });
        let given = seal(cache, &context).unwrap();
        let references = || Arc::strong_count(given.lease());
        let (before, hits) = (references(), cache.stats().hits);
        let locked = |work: &dyn Fn()| {
            cache
                .0
                .sealing
                .while_locked(|| cache.0.opening.while_locked(work));
        };
        locked(&|| {
            let held: Vec<_> = (0..20)
                .map(|_| {
                    (
                        seal(cache, &context).unwrap(),
                        open(cache, &envelope, &context).unwrap(),
                    )
                })
                .collect();
            assert_eq!(references(), before);
            // A session that is open, and the same for all.
            for (at_hand, _) in &held {
                let session = at_hand.session(Sealing::default(), &context).unwrap().unwrap();
                let same = given.lease().seal_session(Sealing::default(), &context).unwrap();
                assert!(Arc::ptr_eq(session, &same));
            }
        });
        assert_eq!(cache.stats().hits, hits + 40);
    }

    #[test]
    fn what_was_ended_or_turned_over_or_belongs_to_another_is_at_hand_no_more() {
        let (context, other) = (
            EncryptionContext::empty(),
            EncryptionContext::new([("tenant", "acme")]).unwrap(),
        );
        let ends: [fn(&Cached); 3] = [
            |cache| {
                cache.leases().end_all();
            },
            |cache| cache.leases().turn_over_all(),
            // Evicted, or replaced.
            |cache| drop(cache.0.sealing.retain(|_| false)),
        ];
        for end in ends {
            let sealer = sealer(Caching::default());
            let cache = sealer.cache().unwrap();
            for _ in 0..3 {
                pollster::block_on(sealer.seal(b"hello", &context)).unwrap();
            }
            assert!(seal(cache, &context).is_some());
            assert!(seal(cache, &other).is_none());
            let held = seal(cache, &context).map(|at_hand| Arc::downgrade(at_hand.lease()));
            end(cache);
            assert!(seal(cache, &context).is_none());
            cache.0.sweep_near();
            assert!(
                held.unwrap().upgrade().is_none(),
                "it keeps a DEK that nobody uses"
            );
        }
    }

    #[test]
    fn a_budget_is_kept_to_with_what_was_taken_ahead() {
        let policy = Caching {
            seal_messages: 100_000,
            seal_age: Duration::from_secs(3600),
            ..Caching::default()
        };
        let sealer = sealer(policy);
        let (cache, context) = (sealer.cache().unwrap(), EncryptionContext::empty());
        pollster::block_on(cache.warm_sealing(&Request::new(&context))).unwrap();
        let request = Request::new(&context).with_message_len(1);
        let count: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        let mut count = 0;
                        while cache.at_hand_to_seal(&request).is_some() {
                            count += 1;
                        }
                        count
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert!(count <= 100_000, "{count}");
        // Some of what was taken ahead may be lost, and no more.
        assert!(count >= 100_000 - 64 * PLACES, "{count}");
    }
}
