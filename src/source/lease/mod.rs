//! A DEK in use: who may use it, for how much, and until when.

mod registry;
mod slots;

use std::fmt;
use std::io::Read;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

pub use self::registry::Leases;
#[cfg(feature = "cache")]
pub(crate) use self::registry::{Holder, Meant};
use self::slots::Slots;
use crate::envelope::{BodyHead, Envelope, Header, KekRef, WrapSection};
use crate::message::ChunkOpener;
use crate::message::parallel::Parallel;
use crate::message::{
    Message, OpenKeys, OpenReader, OpenedInPlace, Pulse, SealStart, Sealing, Session, SessionKeys, Stop,
    StopFlag,
};
use crate::runtime::{Monotonic, Runtime};
use crate::value::context::EncryptionContext;
use crate::value::entropy;
use crate::value::error::{Error, ErrorKind, Result};
use crate::value::few::Few;
use crate::value::limits;
use crate::value::secret::{Dek, Plaintext};

/// Sessions that one lease keeps open for sealing: one for each context and setting in use.
const SEALING_SLOTS: usize = 4;
/// Session keys that one lease keeps for opening.
const OPENING_SLOTS: usize = 8;

/// A DEK together with everything that bounds its use: the KEKs it came from, the budget of sessions, an
/// expiry, and a flag that revokes it.
///
/// Whoever uses a DEK (a handle, a stream, a cache) holds its lease in an `Arc` and asks it on every
/// operation, so that revocation and expiry reach a DEK that is already in use. It also keeps the sessions
/// and session keys that were derived, so that those who share a lease derive once. Dropping the last `Arc`
/// wipes it all.
pub struct DekLease {
    dek: Dek,
    keks: Few<KekRef>,
    /// Every KEK that its envelope names, once somebody keeps the lease.
    named: OnceLock<Box<[KekRef]>>,
    /// The context that the wraps are bound to.
    digest: [u8; 32],
    seals: bool,
    stop: Stop,
    generation: u64,
    sessions: AtomicU64,
    sealing: Mutex<Slots<Session, SEALING_SLOTS>>,
    /// The session of the first body that was asked about: most leases meet no other, and to find it takes no lock and
    /// counts no reference, which together cost a tenth of opening a small value.
    first: OnceLock<OpenSession>,
    opening: Mutex<Slots<OpenSession, OPENING_SLOTS>>,
}

/// Session keys whose commitment was verified, with what they belong to.
struct OpenSession {
    head: [u8; 20],
    digest: [u8; 32],
    keys: Arc<SessionKeys>,
}

impl OpenSession {
    fn is_of(&self, body: BodyHead<'_>, digest: &[u8; 32]) -> bool {
        self.head == *body.head() && self.digest == *digest
    }
}

/// Session keys of a lease.
enum Keys<'l> {
    First(&'l SessionKeys),
    Kept(Arc<SessionKeys>),
}

impl Deref for Keys<'_> {
    type Target = SessionKeys;

    fn deref(&self) -> &SessionKeys {
        match self {
            Self::First(keys) => keys,
            Self::Kept(keys) => keys,
        }
    }
}

impl DekLease {
    /// A lease of a fresh DEK: it seals and opens. `keks` are those it is wrapped under.
    ///
    /// Only for a DEK that was just generated, or that a DEK store counts sessions for. `context` is the one that
    /// the wraps were made for: the lease seals in no other, where no wrap would open what it seals.
    #[must_use]
    pub fn for_sealing(dek: Dek, keks: Vec<KekRef>, context: &EncryptionContext) -> Self {
        Self::new(dek, keks.into(), context, true)
    }

    /// The same, of a DEK that one KEK wraps.
    pub(crate) fn for_sealing_under(dek: Dek, kek: KekRef, context: &EncryptionContext) -> Self {
        Self::new(dek, Few::one(kek), context, true)
    }

    /// A lease of a DEK out of an envelope: it opens and never seals. Given only if the DEK reproduces the
    /// body's commitment in this context, compared in constant time.
    ///
    /// # Errors
    /// `CannotOpen`.
    pub fn for_opening(
        dek: Dek,
        keks: Vec<KekRef>,
        body: BodyHead<'_>,
        context: &EncryptionContext,
    ) -> Result<Self> {
        let lease = Self::new(dek, keks.into(), context, false);
        lease.session_keys(body, context.digest())?;
        Ok(lease)
    }

    fn new(dek: Dek, keks: Few<KekRef>, context: &EncryptionContext, seals: bool) -> Self {
        Self {
            dek,
            keks,
            named: OnceLock::new(),
            digest: *context.digest(),
            seals,
            stop: Stop::default(),
            generation: entropy::generation(),
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

    /// Ends the lease at `end`, in every handle, cache and stream that shares it, unless it ends before that. For
    /// decorators of a [`DekSource`](crate::DekSource), which are given leases that others made: they can
    /// shorten one and never prolong it.
    pub fn end_by(&self, end: Monotonic) {
        self.stop.end_by(end, end);
    }

    /// The same, and lets streams that were begun before go on until `streams`.
    #[cfg(feature = "cache")]
    pub(crate) fn end_by_with_streams(&self, end: Monotonic, streams: Monotonic) {
        self.stop.end_by(end, streams);
    }

    /// When the lease ends, if it does by itself.
    #[must_use]
    pub fn expires_at(&self) -> Option<Monotonic> {
        self.stop.ends_at()
    }

    /// Lets the lease stand on a pulse: it and its streams end if the pulse stops. Returns whether it stood on none
    /// before; a lease stands on one pulse, and keeps the first.
    pub fn stand_on(&self, pulse: &Pulse) -> bool {
        self.stop.stand_on(pulse.clone())
    }

    /// The pulse that it stands on.
    #[cfg(feature = "cache")]
    pub(crate) fn pulse(&self) -> Option<&Pulse> {
        self.stop.pulse()
    }

    /// Every KEK that its envelope names, beside those that it came from: what a revocation goes by. Those that it came
    /// from alone, until a cache or a handle keeps the lease.
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

    /// The KEKs that the DEK is wrapped under, or the one that unwrapped it, as the stanza names it: with an
    /// empty id where the writer hid it, and with a version that nothing has authenticated.
    #[must_use]
    pub fn keks(&self) -> &[KekRef] {
        &self.keks
    }

    /// Whether it may seal. A DEK that came out of an attached envelope never does, since nobody counts the
    /// sessions that others have sealed with it.
    #[must_use]
    pub fn may_seal(&self) -> bool {
        self.seals
    }

    /// Ends the lease for good, in every handle, stream and cache that shares it: at the next call, or the next
    /// chunk of a stream. Keys that the lease keeps are dropped now; the DEK itself, and the keys of the first session
    /// that it opened, are wiped with the last `Arc`.
    pub fn revoke(&self) {
        self.stop.set();
        *lock(&self.sealing) = Slots::new();
        *lock(&self.opening) = Slots::new();
    }

    /// The flag that its streams hold.
    pub(crate) fn stop_flag(&self) -> StopFlag {
        self.stop.flag(None)
    }

    /// Whether it was revoked.
    #[must_use]
    pub fn is_revoked(&self) -> bool {
        self.stop.is_set()
    }

    /// Refuses the use of a lease that is over.
    ///
    /// # Errors
    /// `KeyRevoked` after a revocation; `LeaseExpired` at its end, or if the pulse that it stands on has stopped.
    pub fn check(&self, now: Monotonic) -> Result<()> {
        self.stop.check_at(now)
    }

    /// Refuses a body that this DEK does not open in this context: its commitment is compared, in constant
    /// time. For sources that hand out a lease again, which owe that to every body they are asked about.
    ///
    /// # Errors
    /// `CannotOpen`; `KeyRevoked`.
    pub fn verify(&self, body: BodyHead<'_>, context: &EncryptionContext) -> Result<()> {
        self.stop.check()?;
        let digest = context.digest();
        if let Some(first) = self.first(body, digest) {
            return first.check(body.commitment());
        }
        if let Some(open) = lock(&self.opening).get(|open| open.is_of(body, digest)) {
            return open.keys.check(body.commitment());
        }
        self.session_keys(body, digest).map(|_| ())
    }

    /// The DEK, for a [`DekSource`](crate::DekSource) that wraps it anew.
    #[must_use]
    pub fn dek(&self) -> &Dek {
        &self.dek
    }

    /// How many sessions may still be started.
    #[must_use]
    pub fn sessions_left(&self) -> u64 {
        if self.seals {
            self.session_budget()
                .saturating_sub(self.sessions.load(Ordering::Relaxed))
        } else {
            0
        }
    }

    /// A process that came through a fork has a small budget of its own, since nobody adds its sessions to
    /// those of its parent. What the parent had used is in the copied count and counts here too.
    fn session_budget(&self) -> u64 {
        if self.generation == entropy::generation() {
            limits::DEK_SESSIONS.max
        } else {
            limits::FORKED_SESSIONS.max
        }
    }

    /// The open session for these settings, or a new one.
    pub(crate) fn session(&self, sealing: Sealing, context: &EncryptionContext) -> Result<Arc<Session>> {
        self.stop.check()?;
        if !self.seals {
            return Err(Error::argument(
                "a data key out of an envelope opens and never seals",
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

    fn first(&self, body: BodyHead<'_>, digest: &[u8; 32]) -> Option<&Arc<SessionKeys>> {
        let first = self.first.get().filter(|first| first.is_of(body, digest))?;
        Some(&first.keys)
    }

    /// The keys of a body, derived or kept from before; its commitment is compared either way.
    fn keys(&self, body: BodyHead<'_>, digest: &[u8; 32]) -> Result<Keys<'_>> {
        self.stop.check()?;
        match self.first(body, digest) {
            Some(first) => first.check(body.commitment()).map(|()| Keys::First(first)),
            None => self.session_keys(body, digest).map(Keys::Kept),
        }
    }

    /// The same, to hold on to.
    pub(crate) fn session_keys(&self, body: BodyHead<'_>, digest: &[u8; 32]) -> Result<Arc<SessionKeys>> {
        self.stop.check()?;
        if let Some(first) = self.first(body, digest) {
            first.check(body.commitment())?;
            return Ok(Arc::clone(first));
        }
        let found = lock(&self.opening)
            .get(|open| open.is_of(body, digest))
            .map(|open| Arc::clone(&open.keys));
        if let Some(keys) = found {
            keys.check(body.commitment())?;
            return Ok(keys);
        }
        let keys = Arc::new(SessionKeys::verified(&self.dek, body, digest)?);
        let open = OpenSession {
            head: *body.head(),
            digest: *digest,
            keys: Arc::clone(&keys),
        };
        if let Err(open) = self.first.set(open) {
            let mut opening = lock(&self.opening);
            // Under the lock under which a revocation empties the slots.
            self.stop.check()?;
            opening.keep(Arc::new(open), |_| false);
        }
        Ok(keys)
    }

    /// Opens a whole envelope and appends its plaintext to `out`.
    pub(crate) fn open_to(
        &self,
        envelope: &Envelope<'_>,
        context: &EncryptionContext,
        aad: &[u8],
        out: &mut Vec<u8>,
        parallel: Option<&Parallel>,
    ) -> Result<()> {
        let header = envelope.header();
        let keys = self.keys(header.body(), context.digest())?;
        let message = Message::new(&self.dek, &keys, header, context.digest(), aad);
        message
            .on(parallel)
            .open_to(envelope.chunks(), envelope.cut(), out)
    }

    /// Opens a whole envelope to `out`, which has the length of its plaintext. On an error that is wiped.
    pub(crate) fn open_to_slice(
        &self,
        envelope: &Envelope<'_>,
        context: &EncryptionContext,
        aad: &[u8],
        out: &mut [u8],
        parallel: Option<&Parallel>,
    ) -> Result<()> {
        let header = envelope.header();
        let keys = self.keys(header.body(), context.digest())?;
        let message = Message::new(&self.dek, &keys, header, context.digest(), aad);
        message
            .on(parallel)
            .open_to_slice(envelope.chunks(), envelope.cut(), out)
    }

    /// Opens a whole envelope.
    pub(crate) fn open(
        &self,
        envelope: &Envelope<'_>,
        context: &EncryptionContext,
        aad: &[u8],
        parallel: Option<&Parallel>,
    ) -> Result<Plaintext> {
        let mut out = Vec::new();
        self.open_to(envelope, context, aad, &mut out, parallel)?;
        Ok(Plaintext::new(out))
    }

    /// Opens a whole envelope where it lies.
    pub(crate) fn open_in_place<'b>(
        &self,
        bytes: &'b mut [u8],
        context: &EncryptionContext,
        aad: &[u8],
        parallel: Option<&Parallel>,
    ) -> Result<OpenedInPlace<'b>> {
        let (len, cut) = {
            let envelope = Envelope::parse(bytes)?;
            (envelope.header().len(), envelope.cut())
        };
        let (header, chunks) = bytes.split_at_mut_checked(len).ok_or_else(Error::cannot_open)?;
        let header = Header::parse(header)?;
        header.check_stored_context(context.digest())?;
        let keys = self.keys(header.body(), context.digest())?;
        let message = Message::new(&self.dek, &keys, &header, context.digest(), aad);
        message.on(parallel).open_in_place(chunks, cut)
    }

    /// A reader that opens the chunks behind a header.
    pub(crate) fn reader<R: Read>(
        &self,
        header: &Header<'_>,
        context: &EncryptionContext,
        aad: &[u8],
        inner: R,
        parallel: Option<&Parallel>,
        clock: &Arc<dyn Runtime>,
    ) -> Result<OpenReader<R>> {
        limits::AAD.check(aad.len())?;
        let keys = self.session_keys(header.body(), context.digest())?;
        let message_key = Message::new(&self.dek, &keys, header, context.digest(), aad).message_key()?;
        let keys = OpenKeys {
            session: keys,
            message_key,
            nonce: *header.nonce(),
            aad: aad.to_vec(),
            chunk_size: header.body().chunk_size().bytes(),
        };
        Ok(OpenReader::new(
            inner,
            keys,
            self.stop.flag(Some(clock)),
            parallel,
        ))
    }

    /// Begins a stream that seals to an envelope with this front.
    pub(crate) fn begin_stream(
        &self,
        session: &Arc<Session>,
        prefix: &[u8],
        aad: &[u8],
        clock: &Arc<dyn Runtime>,
    ) -> Result<SealStart> {
        limits::AAD.check(aad.len())?;
        let mut nonce = [0; 12];
        session.begin(&mut nonce)?;
        let message_key = session.message_key(&self.dek, &nonce)?;
        let mut header = Vec::new();
        session.push_header(prefix, &nonce, &mut header);
        let (session, stop) = (Arc::clone(session), self.stop.flag(Some(clock)));
        Ok(SealStart {
            session,
            message_key,
            stop,
            nonce,
            aad: aad.to_vec(),
            header,
        })
    }

    /// What opens the chunks behind a header, in any order.
    pub(crate) fn chunk_opener(
        &self,
        header: &Header<'_>,
        context: &EncryptionContext,
        aad: &[u8],
        clock: &Arc<dyn Runtime>,
    ) -> Result<ChunkOpener> {
        limits::AAD.check(aad.len())?;
        let keys = self.session_keys(header.body(), context.digest())?;
        let message_key = Message::new(&self.dek, &keys, header, context.digest(), aad).message_key()?;
        let (stop, chunk_size) = (self.stop.flag(Some(clock)), header.body().chunk_size());
        let (nonce, aad) = (*header.nonce(), aad.to_vec());
        Ok(ChunkOpener::new(keys, message_key, stop, nonce, aad, chunk_size))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while a slot was written leaves a slot, old or new: nothing half done.
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
