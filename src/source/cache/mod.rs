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
/// // The cache is kept at hand, to ask and to invalidate it; clones share it.
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
/// Everything of a request that may decide whether it is granted: context, binding, purpose, profile, actor (unless
/// [`Caching::shares_actors`]), and on the opening side every byte of the stanzas. All of it is compared, not hashed
/// only. Each body is held against its commitment, so a hit opens nothing that the source would not; where an entry
/// does not open a body, the source is asked. Probes and requests with an authorization always go to the source, and
/// so does every re-wrap, and every request whose answer the source [does not let be kept](DekSource::may_keep).
///
/// # One request at a time
/// Those who want the same at once wait for one answer, however many they are. Each keeps its own deadline; that of
/// the request to the source is [`Caching::fetch`]. Whoever is dropped or not polled while it waits holds up nobody:
/// the others carry on the same request, and when all have left the runtime does, so that callers in a hurry fill the
/// entry for those who come after them. An error is told to all who waited and is not kept, so the next asks again;
/// one that may be due to the body it was asked about is told to those with the same body only.
///
/// # How long
/// A lease ends at the age of its entry, and with it every handle that shares it: a [`DataKey`](crate::DataKey) is asked
/// for anew. That is how long a permission that was taken away stays in use at most; a stream that was begun may go on
/// for [`Caching::stream_age`] more, unless it is revoked. An entry in use is fetched again before that, in the background, and if
/// the key manager then refuses, the entry goes and [`Caching::on_denial`] says what becomes of its leases. If it
/// cannot be reached, the entry stays to its end. After that nothing is handed out, unless [`Caching::outage`] says
/// so; each such use is logged as a warning and counted.
///
/// # Invalidation
/// [`invalidate_kek`](Self::invalidate_kek) and its siblings revoke what is kept and what was handed out and is still in
/// use. An answer that was asked for before an invalidation is not used after it: it is asked for once more.
///
/// # Behind a fork
/// A child goes on with the entries for opening that it inherits. For sealing it asks for DEKs of its own, so that
/// budgets hold, and requests that were under way in the parent are begun anew. Fork while no other thread is inside the
/// cache: a lock that it holds then is never given back in the child.
///
/// # Tuning
/// - `hits` far below `misses` in [`stats`](Self::stats): more contexts than `seal_entries`, or a context that is too
///   fine. What differs with each row belongs into the AAD.
/// - `evictions`: raise `open_entries` towards the number of DEKs that are read within `open_age`.
/// - Data sealed by one-off calls shares DEKs, so that reading it back needs few entries: a longer `seal_age` makes
///   reading cheaper, a shorter one makes less depend on one DEK.
/// - The runtime sleeps and runs tasks for refreshes, for deadlines while one waits, and to wipe what has ended.
///   By default that is the tokio runtime of the caller, else a few threads ([`AmbientRuntime`]).
/// - The clock has to be the sealer's: give both the same runtime.
///
/// # Cancel safety
/// Every future may be dropped at any await.
#[derive(Clone)]
pub struct Cached(Arc<Core>);

impl Cached {
    /// Keeps what `source` gives, with the default [`Caching`], on the runtime that is there ([`AmbientRuntime`]).
    #[must_use]
    pub fn new(source: impl DekSource + 'static) -> Self {
        Self::with_policy(source, Caching::default(), Arc::new(AmbientRuntime))
    }

    /// Keeps what `source` gives under this policy, with the clocks, sleep and tasks of this runtime.
    #[must_use]
    pub fn with_policy(source: impl DekSource, policy: Caching, runtime: Arc<dyn Runtime>) -> Self {
        Self::with_leases(source, policy, runtime, Leases::new())
    }

    /// The same, with leases in a registry that others share: what ends there ends here, too.
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

    /// The registry of what is kept and handed out: it ends data keys, or turns them over.
    #[must_use]
    pub fn leases(&self) -> &Leases {
        &self.0.leases
    }

    /// Fetches the DEK for sealing that a request would be given, and takes nothing out of its budget: for the time
    /// before the first request comes. A sealer with an actor or a profile asks with these.
    ///
    /// # Errors
    /// As [`DekSource::seal_dek`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub async fn warm_sealing(&self, request: &Request<'_>) -> Result<()> {
        self.0.seal_dek(request, None).await.map(|_| ())
    }

    /// Fetches the DEK of an envelope, as [`DekSource::open_dek`] does, and keeps it.
    ///
    /// # Errors
    /// As there.
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

    /// Revokes every DEK that was handed out and whose envelope names, or may name, this KEK, and forgets those that are
    /// kept. Returns their number. What is fetched meanwhile is asked for again. See [`Leases`] for what is meant.
    pub fn invalidate_kek(&self, kek: &KekRef) -> usize {
        self.invalidated(self.0.leases.end_kek(kek))
    }

    /// Revokes every DEK of the contexts that `is_meant` tells, of one tenant for example, and forgets those that are
    /// kept. Returns their number.
    pub fn invalidate_contexts(&self, is_meant: impl Fn(&EncryptionContext) -> bool) -> usize {
        self.invalidated(self.0.leases.end_contexts(is_meant))
    }

    /// Revokes every DEK that was handed out, and forgets those that are kept. Returns their number.
    pub fn invalidate_all(&self) -> usize {
        self.invalidated(self.0.leases.end_all())
    }

    fn invalidated(&self, count: usize) -> usize {
        self.0.counters.invalidations.add(count);
        count
    }

    /// What a request would be given for sealing, if that is kept.
    pub(super) fn at_hand_to_seal(&self, request: &Request<'_>) -> Option<ToSeal> {
        self.0
            .find_sealing(request, Some(request.message_len().unwrap_or_default()))
    }

    /// What a request would be given for opening, if that is kept.
    pub(super) fn at_hand_to_open(
        &self,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> Option<ToOpen> {
        self.0.find_opening(wraps, body, request)
    }

    /// What it has done, and holds.
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
/// `TimedOut` where none is.
fn time_left(request: &Request<'_>, now: Monotonic) -> Result<Option<Duration>> {
    let Some(deadline) = request.deadline() else {
        return Ok(None);
    };
    match deadline.0.saturating_sub(now.0) {
        Duration::ZERO => Err(Error::new(ErrorKind::TimedOut)),
        left => Ok(Some(left)),
    }
}
