//! A DEK in use: who may use it, for how much, and until when.

mod registry;
mod slots;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use smallvec::{SmallVec, smallvec};

pub use self::registry::Leases;
pub(crate) use self::registry::Rounds;
#[cfg(feature = "cache")]
pub(crate) use self::registry::{Holder, Meant};
use self::slots::Slots;
use crate::envelope::{BodyHead, KekRef, WrapSection};
use crate::message::{Held, InContext, Pulse, Sealing, Session, Stop, StopFlag, VerifiedHeader};
use crate::runtime::{Monotonic, Runtime};
use crate::value::context::EncryptionContext;
use crate::value::entropy;
use crate::value::error::{Error, ErrorKind, Result};
use crate::value::limits;
use crate::value::secret::Dek;

/// Sessions that one lease keeps open for sealing: one for each context and setting in use.
const SEALING_SLOTS: usize = 4;
/// Session keys that one lease keeps for opening.
const OPENING_SLOTS: usize = 8;

/// A DEK together with everything that bounds its use: the KEKs that it came from, its budget of sessions, an expiry, an
/// optional pulse, and a flag that revokes it.
///
/// Whoever uses a DEK (a handle, a stream, a cache) holds its lease in an `Arc` and asks the lease at every operation, so
/// that revocation and expiry reach a DEK that is already in use. The lease also keeps the sessions that were derived, so
/// that all who share the lease derive each session once. When the last `Arc` and the last stream are dropped, everything
/// is wiped.
pub struct DekLease {
    /// Shared with the sessions that were derived from it.
    dek: Dek,
    keks: SmallVec<[KekRef; 1]>,
    /// Every KEK that its envelope names, once somebody keeps the lease.
    named: OnceLock<Box<[KekRef]>>,
    /// The KEKs among those that somebody else may have.
    exposed: OnceLock<Box<[KekRef]>>,
    /// The context that the wraps are bound to.
    digest: [u8; 32],
    seals: bool,
    /// Whether it is handed out past the end of what it was made from, because a key manager cannot be reached.
    #[cfg(feature = "audit")]
    bridges: bool,
    stop: Stop,
    generation: u64,
    /// The first registry that knows it; 0 for none.
    registry: AtomicU64,
    sessions: AtomicU64,
    sealing: Mutex<Slots<Session, SEALING_SLOTS>>,
    /// The session of the first body that was asked about. Most leases meet no other, and finding this one takes no lock
    /// and counts no reference, which together cost a tenth of opening a small value.
    first: OnceLock<Arc<Session>>,
    opening: Mutex<Slots<Session, OPENING_SLOTS>>,
}

impl DekLease {
    /// Makes a lease of a fresh DEK, which seals and opens. `keks` are the KEKs that the DEK is wrapped under.
    ///
    /// Use it only for a DEK that was just generated, or whose sessions a DEK store counts. `context` is the context that
    /// the wraps were made for. The lease seals in no other context, because no wrap would open what it seals there.
    #[must_use]
    pub fn for_sealing(dek: Dek, keks: Vec<KekRef>, context: &EncryptionContext) -> Self {
        Self::new(dek, keks.into(), context, true)
    }

    /// The same for a DEK that one KEK wraps.
    pub(crate) fn for_sealing_under(dek: Dek, kek: KekRef, context: &EncryptionContext) -> Self {
        Self::new(dek, smallvec![kek], context, true)
    }

    /// Makes a lease of a DEK that was unwrapped from an envelope. The lease opens and never seals.
    ///
    /// # Errors
    /// `CannotOpen` if the DEK does not reproduce the body's commitment in this context. The comparison takes constant
    /// time.
    pub fn for_opening(
        dek: Dek,
        keks: Vec<KekRef>,
        body: BodyHead<'_>,
        context: &EncryptionContext,
    ) -> Result<Self> {
        let lease = Self::new(dek, keks.into(), context, false);
        lease.verify(body, context)?;
        Ok(lease)
    }

    fn new(dek: Dek, keks: SmallVec<[KekRef; 1]>, context: &EncryptionContext, seals: bool) -> Self {
        Self {
            dek,
            keks,
            named: OnceLock::new(),
            exposed: OnceLock::new(),
            digest: *context.digest(),
            seals,
            #[cfg(feature = "audit")]
            bridges: false,
            stop: Stop::default(),
            generation: entropy::generation(),
            registry: AtomicU64::new(0),
            sessions: AtomicU64::new(0),
            sealing: Mutex::new(Slots::new()),
            first: OnceLock::new(),
            opening: Mutex::new(Slots::new()),
        }
    }

    /// Sets when the lease ends, in the time of the runtime that asks it.
    #[must_use]
    pub fn with_expiry(self, expires_at: Monotonic) -> Self {
        self.end_by(expires_at);
        self
    }

    /// Marks the lease as one that a cache hands out because a key manager cannot be reached.
    #[cfg(feature = "cache")]
    pub(crate) fn bridging_an_outage(self) -> Self {
        #[cfg(feature = "audit")]
        return Self {
            bridges: true,
            ..self
        };
        #[cfg(not(feature = "audit"))]
        self
    }

    #[cfg(feature = "audit")]
    pub(crate) fn bridges_an_outage(&self) -> bool {
        self.bridges
    }

    /// Ends the lease at `end`, in every handle, cache and stream that shares it, unless it ends before that. A decorator
    /// of a [`DekSource`](crate::DekSource) can shorten a lease that another source has made, and can never prolong it.
    pub fn end_by(&self, end: Monotonic) {
        self.stop.end_by(end, end);
    }

    /// The same, but streams that were begun before go on until `streams`.
    #[cfg(feature = "cache")]
    pub(crate) fn end_by_with_streams(&self, end: Monotonic, streams: Monotonic) {
        self.stop.end_by(end, streams);
    }

    /// Returns when the lease ends by itself, if it does.
    #[must_use]
    pub fn expires_at(&self) -> Option<Monotonic> {
        self.stop.ends_at()
    }

    /// Puts the lease on a pulse: the lease and its streams end if the pulse stops. Returns whether the lease had no
    /// pulse before. A lease keeps its first pulse.
    pub fn stand_on(&self, pulse: &Pulse) -> bool {
        self.stop.stand_on(pulse.clone())
    }

    /// Returns the pulse, if there is one.
    #[cfg(feature = "cache")]
    pub(crate) fn pulse(&self) -> Option<&Pulse> {
        self.stop.pulse()
    }

    /// Returns every KEK that the envelope names, and those that the DEK came from. A revocation goes by these. Until a
    /// cache or a handle keeps the lease, these are only the KEKs that the DEK came from.
    #[must_use]
    pub fn named_keks(&self) -> &[KekRef] {
        self.named.get().map_or(&self.keks, |named| named)
    }

    /// Records the KEKs that the stanzas of its envelope name.
    pub(crate) fn name(&self, wraps: WrapSection<'_>) {
        self.named.get_or_init(|| {
            let mut named = self.keks.to_vec();
            for stanza in wraps.stanzas() {
                let kek = KekRef::trusted(stanza.provider, stanza.kek_id, stanza.kek_version);
                if !named.contains(&kek) {
                    named.push(kek);
                }
            }
            named.into()
        });
    }

    /// Returns the KEKs that its envelope names and that somebody else may have, as a key ring knows: they were revoked, and another wrap
    /// has opened the envelope. Empty if there are none. A [layer](crate::Builder::layer) that audits finds this at each release, also
    /// of a lease that a cache has kept.
    #[must_use]
    pub fn exposed_by(&self) -> &[KekRef] {
        self.exposed.get().map_or(&[], |exposed| exposed)
    }

    /// Records the KEKs that somebody else may have.
    #[cfg(feature = "ring")]
    pub(crate) fn expose(&self, keks: Vec<KekRef>) {
        self.exposed.get_or_init(|| keks.into());
    }

    /// Returns the KEKs that the DEK is wrapped under, or the KEK that unwrapped it as the stanza names it: with an empty
    /// id if the writer hid the id, and with a version that nothing has authenticated.
    #[must_use]
    pub fn keks(&self) -> &[KekRef] {
        &self.keks
    }

    /// Returns whether the lease may seal. A DEK from an attached envelope never seals, because nobody counts the
    /// sessions that others have sealed with it.
    #[must_use]
    pub fn may_seal(&self) -> bool {
        self.seals
    }

    /// Ends the lease for good, in every handle, stream and cache that shares it, at the next call or the next chunk of a
    /// stream. Keys that the lease keeps are dropped now. The DEK itself, and the keys of the first session that it
    /// opened, are wiped with the last `Arc`.
    pub fn revoke(&self) {
        self.stop.set();
        *lock(&self.sealing) = Slots::new();
        *lock(&self.opening) = Slots::new();
    }

    /// Returns the flag that the lease's streams hold. It ends in the time of `clock`.
    pub(crate) fn stop_flag(&self, clock: Option<&Arc<dyn Runtime>>) -> StopFlag {
        self.stop.flag(clock)
    }

    /// Returns whether the lease was revoked.
    #[must_use]
    pub fn is_revoked(&self) -> bool {
        self.stop.is_set()
    }

    /// Refuses the use of a lease that is over.
    ///
    /// # Errors
    /// - `KeyRevoked` after a revocation
    /// - `LeaseExpired` at the end of the lease, or if its pulse has stopped
    pub fn check(&self, now: Monotonic) -> Result<()> {
        self.stop.check_at(now)
    }

    /// Refuses a body that this DEK does not open in this context. Compares the commitment in constant time. A source
    /// that hands out a lease again must call this for every body that it is asked about.
    ///
    /// # Errors
    /// - `CannotOpen` if the DEK does not reproduce the body's commitment in this context
    /// - `KeyRevoked` after a revocation
    pub fn verify(&self, body: BodyHead<'_>, context: &EncryptionContext) -> Result<()> {
        self.session(body, context.digest())?.check(body.commitment())
    }

    /// Returns the DEK, for a [`DekSource`](crate::DekSource) that wraps it again.
    #[must_use]
    pub fn dek(&self) -> &Dek {
        &self.dek
    }

    /// Returns how many sessions may still be started.
    #[must_use]
    pub fn sessions_left(&self) -> u64 {
        if self.seals {
            self.session_budget()
                .saturating_sub(self.sessions.load(Ordering::Relaxed))
        } else {
            0
        }
    }

    /// A forked process has a small budget of its own, because nobody adds its sessions to those of its parent. The
    /// sessions that the parent had used are in the copied count, and count here too.
    fn session_budget(&self) -> u64 {
        if self.generation == entropy::generation() {
            limits::DEK_SESSIONS.max
        } else {
            limits::FORKED_SESSIONS.max
        }
    }

    /// The open session for these settings, or a new one.
    pub(crate) fn seal_session(&self, sealing: Sealing, context: &EncryptionContext) -> Result<Arc<Session>> {
        self.stop.check()?;
        if !self.seals {
            return Err(Error::argument(
                "a data key from an envelope opens and never seals",
            ));
        }
        if *context.digest() != self.digest {
            return Err(Error::argument(
                "the data key's wraps are bound to another context",
            ));
        }
        let mut slots = lock(&self.sealing);
        if let Some(session) = slots.find(|session| session.serves(sealing, context) && !session.is_over()) {
            return Ok(session);
        }
        let used = self.sessions.fetch_add(1, Ordering::Relaxed);
        if used >= self.session_budget() {
            return Err(Error::new(ErrorKind::BudgetExhausted {
                budget: limits::DEK_SESSIONS.name,
            }));
        }
        let session = Arc::new(Session::start(&self.dek, sealing, context)?);
        // Under the lock under which a revocation empties the slots.
        self.stop.check()?;
        slots.keep(Arc::clone(&session), Session::is_over);
        Ok(session)
    }

    /// Returns the session of a body, derived now or kept from before. A new session is kept only if the DEK reproduces
    /// the body's commitment. Whoever is lent an older session compares the commitment.
    fn session(&self, body: BodyHead<'_>, digest: &[u8; 32]) -> Result<Held<'_>> {
        self.stop.check()?;
        if let Some(first) = self.first.get().filter(|first| first.is_of(body, digest)) {
            return Ok(Held::Lent(first));
        }
        if let Some(kept) = lock(&self.opening).find(|kept| kept.is_of(body, digest)) {
            return Ok(Held::Shared(kept));
        }
        let session = Arc::new(Session::verified(&self.dek, body, digest)?);
        if self.first.get().is_none() {
            // Another thread may be first. Then this session is not kept.
            let _ = self.first.set(Arc::clone(&session));
        } else {
            let mut opening = lock(&self.opening);
            // Under the lock under which a revocation empties the slots.
            self.stop.check()?;
            opening.keep(Arc::clone(&session), |_| false);
        }
        Ok(Held::Shared(session))
    }

    /// Verifies a header: compares its commitment with that of this DEK, in constant time. The result opens the header's
    /// message.
    pub(crate) fn verify_header<'h>(&'h self, header: InContext<'h>) -> Result<VerifiedHeader<'h>> {
        VerifiedHeader::check(header, self.session(header.body(), header.digest())?)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic during a write leaves the old slot or the new slot: nothing is half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for DekLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DekLease")
            .field("keks", &self.keks())
            .field("may_seal", &self.seals)
            .field("expires_at", &self.expires_at())
            .field("is_revoked", &self.is_revoked())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
