//! Asking the source, and what becomes of its answer.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use super::counters::Counters;
use super::entry::{Body, Entry, Given, Landing, Meter, Sealing, is_about_the_body, is_denial, is_outage};
use super::flight::Work;
use super::key::{Caller, Key, Wanted};
use super::near::{Gone, Near};
use super::policy::{Caching, OnDenial, margin};
use super::table::{FlightId, Table};
use crate::envelope::BodyHead;
use crate::key::{Purpose, Request};
use crate::runtime::{Monotonic, Runtime, with_timeout};
use crate::source::DekSource;
use crate::source::lease::{DekLease, Holder, Leases, Meant};
use crate::value::context::EncryptionContext;
use crate::value::entropy;
use crate::value::error::{Error, Result};
use crate::value::secret::Dek;

/// How often a request asks again because the lease it was given had already ended.
pub(super) const TRIES: u32 = 3;
/// A point in time that does not come.
const NEVER: Monotonic = Monotonic(Duration::MAX);

pub(super) type Entries = Table<Key, Entry, Landing>;

pub(super) struct Core {
    pub(super) inner: Arc<dyn DekSource>,
    pub(super) policy: Caching,
    pub(super) runtime: Arc<dyn Runtime>,
    pub(super) sealing: Arc<Entries>,
    pub(super) opening: Arc<Entries>,
    pub(super) leases: Leases,
    /// `None` for a small table, whose order of eviction is exact.
    near_sealing: Option<Near>,
    near_opening: Option<Near>,
    pub(super) counters: Counters,
    /// The generation in which a task sweeps; 0 for none.
    pub(super) sweeper: AtomicU64,
    random: RandomState,
}

impl Core {
    pub(super) fn new(
        inner: Arc<dyn DekSource>,
        policy: Caching,
        runtime: Arc<dyn Runtime>,
        leases: Leases,
    ) -> Self {
        let adopt = || {
            let runtime = Arc::clone(&runtime);
            move |work| runtime.spawn(work)
        };
        Self {
            inner,
            policy,
            sealing: Table::new(policy.seal_entries, adopt()),
            opening: Table::new(policy.open_entries, adopt()),
            runtime,
            leases,
            near_sealing: near(policy.seal_entries),
            near_opening: near(policy.open_entries),
            counters: Counters::default(),
            sweeper: AtomicU64::new(0),
            random: RandomState::new(),
        }
    }

    /// Whether a request may be answered from here.
    pub(super) fn may_answer(&self, request: &Request<'_>, entries: usize, age: Duration) -> bool {
        request.purpose() != Purpose::Probe
            && request.authorizations().is_empty()
            && entries > 0
            && !age.is_zero()
            && self.inner.may_keep(request)
    }

    pub(super) fn epoch(&self) -> u64 {
        self.leases.epoch()
    }

    pub(super) fn hash(&self, wanted: &Wanted<'_>) -> u64 {
        self.random.hash_one(wanted)
    }

    /// The work of a flight: for opening if there is a body, else for sealing. Whether the body is `known` to be of
    /// the DEK, so that the source has no other reason to say no than that access was taken away.
    pub(super) fn flight(
        self: &Arc<Self>,
        id: FlightId,
        wanted: Wanted<'_>,
        body: Option<Body>,
        known: bool,
    ) -> (Arc<Key>, Work<Landing>) {
        let (key, caller) = (Arc::new(wanted.to_key()), Caller::of(wanted.request()));
        let (core, own_key) = (Arc::clone(self), Arc::clone(&key));
        let work = async move {
            core.counters.flights.one();
            let started = core.runtime.now();
            let asked = core.ask(&own_key, &caller, body.as_ref(), started);
            match with_timeout(&*core.runtime, Some(core.policy.fetch), asked).await {
                Ok(given) => core.keep(id, own_key, given, started),
                Err(error) => core.failed(id, &own_key, error, body, known),
            }
        };
        (key, Box::pin(work))
    }

    async fn ask(
        &self,
        key: &Key,
        caller: &Caller,
        body: Option<&Body>,
        started: Monotonic,
    ) -> Result<Given> {
        let request = key.request(caller, started + self.policy.fetch);
        let source = &*self.inner;
        let Some(body) = body else {
            let (lease, wraps) = source.seal_dek(&request).await?;
            let meter = Arc::new(Meter::default());
            let sealing = Some(Sealing { wraps, meter });
            return Ok(Given { lease, sealing });
        };
        let lease = source
            .open_dek(key.wraps()?, BodyHead::parse(body)?, &request)
            .await?;
        Ok(Given { lease, sealing: None })
    }

    pub(super) fn near(&self, seals: bool) -> Option<&Near> {
        if seals {
            self.near_sealing.as_ref()
        } else {
            self.near_opening.as_ref()
        }
    }

    pub(super) fn sweep_near(&self) {
        let near = self.near_sealing.iter().chain(&self.near_opening);
        near.for_each(Near::sweep);
    }

    pub(super) fn near_hits(&self) -> u64 {
        let near = self.near_sealing.iter().chain(&self.near_opening);
        near.map(Near::hits).sum()
    }

    pub(super) fn table(&self, seals: bool) -> &Arc<Entries> {
        if seals { &self.sealing } else { &self.opening }
    }

    /// Keeps what a flight brought. It ends when it would if the answer had come at once; where that took so long that it
    /// would have ended by now, or soon, it is used for a quarter of its age.
    fn keep(self: &Arc<Self>, id: FlightId, key: Arc<Key>, given: Given, started: Monotonic) -> Landing {
        let seals = given.sealing.is_some();
        let (age, outage) = if seals {
            (self.policy.seal_age, Duration::ZERO)
        } else {
            (self.policy.open_age, self.policy.outage)
        };
        let end = (started + age).max(self.runtime.now() + age / 4);
        // If the source has set an end, no outage prolongs it.
        let own = given.lease.expires_at().unwrap_or(NEVER);
        given.lease.end_by_with_streams(end, end + self.policy.stream_age);
        // Before anybody gets it: what becomes of its entry does not matter to an invalidation any more.
        let wraps = if seals { None } else { key.wraps().ok() };
        self.leases.remember(&given.lease, wraps, key.context());
        let end = end.min(own);
        // Or an entry that its source ends early would be fetched again at every use.
        let age = age.min(end.0.saturating_sub(started.0));
        let fresh_until = earlier(end, margin(age));
        let entry = Entry {
            given: given.clone(),
            fresh_until,
            ask_at: match self.policy.refresh_ahead.min(age / 2) {
                Duration::ZERO => NEVER,
                ahead => earlier(fresh_until, ahead + part(ahead / 4)),
            },
            kept_until: (end + outage).min(own),
            is_out: false,
            in_outage: None,
            generation: entropy::generation(),
            gone: Gone::default(),
        };
        let Ok((replaced, evicted)) = self.table(seals).land(id, key, entry) else {
            self.counters.overtaken.one();
            return Landing::Overtaken;
        };
        self.counters.evictions.add(evicted.len());
        drop((replaced, evicted));
        self.sweep_from_now_on();
        Landing::Given(given)
    }

    /// Ends a flight that brought nothing. A refusal takes the entry along that is there; anything else leaves it until
    /// its end.
    fn failed(&self, id: FlightId, key: &Arc<Key>, error: Error, body: Option<Body>, known: bool) -> Landing {
        self.counters.failures.one();
        let (now, is_denial, is_outage) = (self.runtime.now(), is_denial(&error), is_outage(&error));
        let is_denial = is_denial && (known || !is_about_the_body(&error));
        let keep = |entry: &mut Entry| {
            entry.is_out = is_outage;
            entry.ask_at = now + self.pause();
            !is_denial
        };
        let Ok(removed) = self.table(body.is_none()).fail(id, |there| there == &**key, keep) else {
            self.counters.overtaken.one();
            return Landing::Overtaken;
        };
        if let Some(entry) = removed {
            self.counters.denials.one();
            let kind = error.kind();
            tracing::warn!(keks = ?entry.given.lease.keks(), %kind, "access to a cached data key was taken away");
            match self.policy.on_denial {
                OnDenial::Revoke => entry.leases().for_each(|lease| lease.revoke()),
                OnDenial::LetEnd => drop(entry),
            }
        }
        let error = Arc::new(error);
        Landing::Failed { error, body }
    }

    /// How long the source is left alone about an entry after it failed.
    pub(super) fn pause(&self) -> Duration {
        (self.policy.refresh_ahead / 4).clamp(Duration::from_secs(1), Duration::from_secs(5))
    }

    /// A lease of what is kept past its end, since the key manager cannot be reached: if the policy permits it, and if it
    /// opens this body. Each use is logged and counted.
    pub(super) fn in_outage(
        &self,
        hash: u64,
        wanted: &Wanted<'_>,
        body: BodyHead<'_>,
        context: &EncryptionContext,
    ) -> Option<Arc<DekLease>> {
        let now = self.runtime.now();
        let pause = self.pause();
        let (lease, until, kept) = self.opening.peek(
            hash,
            |key| wanted.is(key),
            |entry| {
                let is_usable = now >= entry.fresh_until && now < entry.kept_until;
                let lease = &entry.given.lease;
                let has_stopped =
                    lease.is_revoked() || lease.pulse().is_some_and(|pulse| pulse.check(now).is_err());
                if !is_usable || has_stopped || self.policy.outage.is_zero() {
                    return None;
                }
                // Not put off by each use, or it would never be asked again.
                if !entry.is_out || now >= entry.ask_at {
                    entry.is_out = true;
                    entry.ask_at = now + pause;
                }
                Some((
                    Arc::clone(&entry.given.lease),
                    entry.kept_until,
                    entry.in_outage.clone(),
                ))
            },
        )?;
        let kept = kept.filter(|kept| kept.verify(body, context).is_ok());
        let lease = match kept {
            Some(kept) => kept,
            None => self.prolong(hash, wanted, &lease, until, body, context)?,
        };
        self.counters.outage_uses.one();
        tracing::warn!(
            keks = ?lease.keks(),
            "the key manager cannot be reached: a data key opens past its end, as the outage policy has it"
        );
        Some(lease)
    }

    /// A lease cannot be prolonged: this is another one of the same DEK, and it opens only.
    fn prolong(
        &self,
        hash: u64,
        wanted: &Wanted<'_>,
        lease: &Arc<DekLease>,
        until: Monotonic,
        body: BodyHead<'_>,
        context: &EncryptionContext,
    ) -> Option<Arc<DekLease>> {
        let dek = Dek::from_bytes(lease.dek().expose_bytes());
        let longer = DekLease::for_opening(dek, lease.keks().to_vec(), body, context).ok()?;
        let longer = Arc::new(longer.with_expiry(until).bridging_an_outage());
        if let Some(pulse) = lease.pulse() {
            longer.stand_on(pulse);
        }
        self.leases.remember(&longer, wanted.wraps_section(), context);
        self.opening.peek(
            hash,
            |key| wanted.is(key),
            |entry| {
                // Not if the entry is gone meanwhile, because it was revoked for example.
                let is_same = Arc::ptr_eq(&entry.given.lease, lease) && !lease.is_revoked();
                is_same.then(|| Arc::clone(entry.in_outage.get_or_insert(longer)))
            },
        )
    }
}

impl Holder for Core {
    fn let_go(&self, meant: &Meant<'_>) -> Vec<Arc<DekLease>> {
        let mut kept = Vec::new();
        let opening = (!meant.only_sealing).then_some(&self.opening);
        for table in std::iter::once(&self.sealing).chain(opening) {
            let removed = table.clear(
                |key, entry| {
                    let is_meant = |lease: &Arc<DekLease>| (meant.lease)(lease.named_keks(), key.context());
                    !entry.leases().any(is_meant)
                },
                |key| !(meant.request)(key.context()),
            );
            kept.extend(removed.iter().flat_map(Entry::leases).cloned());
        }
        self.sweep_near();
        kept
    }

    fn contexts(&self) -> Vec<EncryptionContext> {
        let tables = [&self.sealing, &self.opening];
        let keys = tables.iter().flat_map(|table| table.keys());
        keys.map(|key| key.context().clone()).collect()
    }
}

fn near(entries: usize) -> Option<Near> {
    (entries > super::table::SMALL).then(Near::new)
}

fn earlier(end: Monotonic, by: Duration) -> Monotonic {
    Monotonic(end.0.saturating_sub(by))
}

/// A random part of a time; all of it if there is no randomness.
fn part(of: Duration) -> Duration {
    let part = entropy::array().map_or(u32::MAX, u32::from_ne_bytes);
    of.mul_f64(f64::from(part) / f64::from(u32::MAX))
}
