//! DEKs that are kept for a while.

mod core;
mod counters;
mod entry;
pub(crate) mod flight;
mod key;
mod near;
mod opening;
mod policy;
mod sealing;
mod shard;
mod sweep;
mod sync;
mod table;

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
pub use counters::CacheStats;
pub(crate) use near::AtHand;
pub use policy::{Caching, OnDenial};

use self::core::Core;
use crate::envelope::{BodyHead, KekRef, WrapSection, WrapSet};
use crate::key::Request;
use crate::runtime::{AmbientRuntime, Monotonic, Runtime, with_timeout};
use crate::source::at_hand::{ToOpen, ToSeal};
use crate::source::lease::{DekLease, Holder, Leases};
use crate::source::{Currency, DekSource, Rewrapped};
use crate::value::context::EncryptionContext;
use crate::value::error::{Error, ErrorKind, Result};

/// Keeps the DEKs of another source for a while: a [`DekSource`] around a [`DekSource`].
///
/// ```
/// # use waxseal::{EncryptionContext, Kek, envelope::KekRef, backend::local::LocalKey};
/// use waxseal::{source::AnyOf, Sealer, source::Cached};
///
/// # async fn example() -> waxseal::Result<()> {
/// # let keys = LocalKey::new(&Kek::generate()?);
/// # let context = EncryptionContext::empty();
/// let cache = Cached::new(AnyOf::new(keys));
/// // Keep the cache at hand to invalidate it later. Clones share one cache.
/// let sealer = Sealer::builder().source(cache.clone()).build()?;
/// let sealed = sealer.seal(b"hello", &context).await?;
/// cache.invalidate_kek(&KekRef::new("aws-kms", "arn:aws:kms:eu-central-1:1:key/2", "")?);
/// # Ok(())
/// # }
/// ```
///
/// *Sealing* in one context hands out one DEK, with its wraps and its open session, until its age or its budget of
/// messages or bytes is used up ([`Caching::seal_messages`]). *Opening* keeps the DEK of each wrap section. The two
/// sides share nothing: who may seal may not be able to open.
///
/// # What an entry is for
/// An entry belongs to everything of a request that may decide whether it is granted: context, binding, purpose, profile,
/// actor (unless [`Caching::shares_actors`]), and on the opening side every byte of the stanzas. The cache compares all of
/// it, and not only a hash. It checks the commitment of each body, so a hit opens nothing that the source would not open; if
/// an entry does not open a body, the cache asks the source. Probes, requests with an authorization, requests
/// whose answer the source [does not let be kept](DekSource::may_keep), and re-wraps always go to the source.
///
/// # One request at a time
/// Callers who want the same DEK at the same time wait for one answer, however many they are. Each has its own deadline;
/// the deadline of the request to the source is [`Caching::fetch`]. A caller that is dropped or not polled while it waits
/// delays no other: the others go on with the same request, and if all have left, the runtime does, so that callers in a hurry
/// fill the entry for later ones. An error reaches everybody who waited and is not kept, so the next caller asks again. An
/// error that may be due to the body reaches only callers with the same body.
///
/// # How long
/// A lease ends at the age of its entry, and every handle that shares the lease ends with it: get a new
/// [`DataKey`](crate::DataKey) then. A permission that was taken away stays in use for at most that long; a stream that has
/// begun may go on for [`Caching::stream_age`] more, unless it is revoked. The cache fetches an entry in use again before its
/// end, in the background. If the key manager then refuses, the cache drops the entry, and [`Caching::on_denial`] says what
/// happens to its leases. If the key manager cannot be reached, the entry stays until its end. After that the cache hands
/// nothing out, unless [`Caching::outage`] permits it; each such use is logged as a warning, counted, and an event of
/// an auditor beneath the cache.
///
/// # Invalidation
/// [`invalidate_kek`](Self::invalidate_kek) and its siblings revoke what is kept and what was handed out and is still in
/// use. The cache does not use an answer that was requested before an invalidation: it asks once more.
///
/// # After a fork
/// A child process goes on with the entries for opening that it inherits. For sealing it asks for new DEKs, so that
/// budgets hold, and it begins requests anew that were under way in the parent. Fork while no other thread is inside the
/// cache: the child can never release a lock that such a thread holds.
///
/// # Tuning
/// - `hits` far below `misses` in [`stats`](Self::stats): there are more contexts than `seal_entries`, or the context is too
///   fine. Put what differs with each row into the AAD.
/// - `evictions`: raise `open_entries` towards the number of DEKs that are read within `open_age`.
/// - Data sealed by one-off calls shares DEKs, so that reading it back needs few entries. A longer `seal_age` makes
///   reading cheaper; with a shorter one less data depends on one DEK.
/// - The cache uses its runtime to refresh entries, to end waits at their deadlines, and to wipe what has ended. By default
///   that is the tokio runtime of the caller, else a few threads ([`AmbientRuntime`]).
/// - Give the cache and the sealer the same runtime: they have to read the same clock.
///
/// # Cancel safety
/// Every future may be dropped at any await.
#[derive(Clone)]
pub struct Cached(Arc<Core>);

impl Cached {
    /// Keeps what `source` returns, with the default [`Caching`], on the current runtime ([`AmbientRuntime`]).
    #[must_use]
    pub fn new(source: impl DekSource + 'static) -> Self {
        Self::with_policy(source, Caching::default(), Arc::new(AmbientRuntime))
    }

    /// Keeps what `source` returns under this policy, with the clocks, sleep and tasks of this runtime.
    #[must_use]
    pub fn with_policy(source: impl DekSource, policy: Caching, runtime: Arc<dyn Runtime>) -> Self {
        Self::with_leases(source, policy, runtime, Leases::new())
    }

    /// Does the same with a registry of leases that others share: a lease that ends there ends here, too.
    #[must_use]
    pub fn with_leases(
        source: impl DekSource,
        policy: Caching,
        runtime: Arc<dyn Runtime>,
        leases: Leases,
    ) -> Self {
        let core = Arc::new(Core::new(Arc::new(source), policy, runtime, leases));
        let holder: Weak<dyn Holder> = Arc::downgrade(&core) as Weak<dyn Holder>;
        core.leases.tell(holder);
        Self(core)
    }

    /// Returns the registry of what is kept and handed out, which ends data keys or turns them over.
    #[must_use]
    pub fn leases(&self) -> &Leases {
        &self.0.leases
    }

    /// Fetches the DEK that a request for sealing would get, and takes nothing out of its budget. Call it before the first
    /// request comes, with the actor and the profile of the sealer, if it has them.
    ///
    /// # Errors
    /// Those of [`DekSource::seal_dek`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub async fn warm_sealing(&self, request: &Request<'_>) -> Result<()> {
        self.0.seal_dek(request, None).await.map(|_| ())
    }

    /// Fetches the DEK of an envelope, as [`DekSource::open_dek`] does, and keeps it.
    ///
    /// # Errors
    /// Those of [`DekSource::open_dek`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub async fn warm_opening(
        &self,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> Result<()> {
        self.open_dek(wraps, body, request).await.map(|_| ())
    }

    /// Revokes every DEK that was handed out and whose envelope names, or may name, this KEK, and forgets the DEKs that are
    /// kept. Returns their number. What is being fetched meanwhile is fetched again. See [`Leases`] for which DEKs these are.
    pub fn invalidate_kek(&self, kek: &KekRef) -> usize {
        self.invalidated(self.0.leases.end_kek(kek))
    }

    /// Revokes every DEK of the contexts for which `is_meant` returns true, such as those of one tenant, and forgets the DEKs that
    /// are kept. Returns their number.
    pub fn invalidate_contexts(&self, is_meant: impl Fn(&EncryptionContext) -> bool) -> usize {
        self.invalidated(self.0.leases.end_contexts(is_meant))
    }

    /// Revokes every DEK that was handed out, and forgets the DEKs that are kept. Returns their number.
    pub fn invalidate_all(&self) -> usize {
        self.invalidated(self.0.leases.end_all())
    }

    fn invalidated(&self, count: usize) -> usize {
        self.0.counters.invalidations.add(count);
        count
    }

    /// Returns what a request for sealing would get, if that is kept.
    pub(super) fn at_hand_to_seal(&self, request: &Request<'_>) -> Option<ToSeal> {
        self.0
            .find_sealing(request, Some(request.message_len().unwrap_or_default()))
    }

    /// Returns what a request for opening would get, if that is kept.
    pub(super) fn at_hand_to_open(
        &self,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> Option<ToOpen> {
        self.0.find_opening(wraps, body, request)
    }

    /// Returns what the cache has done, and what it holds.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        let counted = self.0.counters.stats();
        CacheStats {
            open_entries: self.0.opening.len(),
            seal_entries: self.0.sealing.len(),
            hits: counted.hits + self.0.near_hits(),
            ..counted
        }
    }
}

#[async_trait]
impl DekSource for Cached {
    async fn seal_dek(&self, request: &Request<'_>) -> Result<(Arc<DekLease>, WrapSet)> {
        let bytes = request.message_len().unwrap_or_default();
        match self.0.find_sealing(request, Some(bytes)) {
            Some(found) => found.into_parts(),
            // In a box of its own: what answers at once stays small.
            None => Box::pin(self.0.seal_dek(request, Some(bytes))).await,
        }
    }

    async fn open_dek(
        &self,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> Result<Arc<DekLease>> {
        match self.0.find_opening(wraps, body, request) {
            Some(found) => Ok(found.into_lease()),
            None => Box::pin(self.0.open_dek(wraps, body, request)).await,
        }
    }

    async fn rewrap(
        &self,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> Result<Rewrapped> {
        self.0.inner.rewrap(wraps, body, request).await
    }

    fn is_current(&self, wraps: WrapSection<'_>, request: &Request<'_>) -> Currency {
        self.0.inner.is_current(wraps, request)
    }

    fn may_keep(&self, request: &Request<'_>) -> bool {
        self.0.inner.may_keep(request)
    }

    async fn note_outage_use(
        &self,
        wraps: WrapSection<'_>,
        request: &Request<'_>,
        lease: &DekLease,
    ) -> Result<()> {
        self.0.inner.note_outage_use(wraps, request, lease).await
    }
}

impl fmt::Debug for Cached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cached")
            .field("inner", &self.0.inner)
            .field("policy", &self.0.policy)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// How much time is left until a request's deadline.
///
/// # Errors
/// `TimedOut` if none is left.
fn time_left(request: &Request<'_>, now: Monotonic) -> Result<Option<Duration>> {
    let Some(deadline) = request.deadline() else {
        return Ok(None);
    };
    match deadline.0.saturating_sub(now.0) {
        Duration::ZERO => Err(Error::new(ErrorKind::TimedOut)),
        left => Ok(Some(left)),
    }
}
