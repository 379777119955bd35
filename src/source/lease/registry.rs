//! Who holds a DEK of which KEK.

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::DekLease;
use crate::envelope::{KekRef, WrapSection};
use crate::message::WeakStopFlag;
use crate::value::context::EncryptionContext;
use crate::value::error::{Error, ErrorKind, Result};

/// Forgotten leases are looked for when there are this many leases, and again whenever their number has doubled.
const FEW: usize = 64;

/// The registry of leases: every data key that a handle, a stream or a cache holds, and the KEKs that its envelope names.
///
/// A sealer has one ([`Sealer::leases`](crate::Sealer::leases)), which its cache shares. Clones are the same registry. A
/// registry has two verbs:
/// - *End* revokes what is in use: handles, streams and caches stop with `KeyRevoked` at their next operation. Use it for
///   a KEK that must not be used anymore.
/// - *Turn over* hands out no more of it: what is in use goes on until it ends by itself, and the next request gets a new
///   data key. Use it for a KEK that was replaced.
///
/// A cache does not use an answer that it requested before either of them, and asks for it once more.
///
/// Both apply to a data key whose envelope *names* the KEK, even if another KEK opened it. They do not distinguish
/// versions, because the version that a stanza names is a claim that nobody has to have authenticated. A KEK whose id is
/// hidden may be any KEK of its provider. Replicas of a multi-region key of AWS KMS are one key. The id is the id that
/// the backend records: an ARN, not an alias.
///
/// A registry holds data keys weakly and keeps none alive.
///
/// Fork while no other thread uses a registry: a lock that is held then is never released in the child.
///
/// ```
/// # use waxseal::{Aad, EncryptionContext, ErrorKind, Kek, KeyManager, blocking::Sealer, backend::local::LocalKey};
/// # use waxseal::envelope::KekRef;
/// let key = LocalKey::new(&Kek::generate()?);
/// let sealer = Sealer::new(key.clone());
/// let data_key = sealer.data_key(&EncryptionContext::new([("tenant", "acme")])?)?;
/// let sealed = data_key.seal(b"hello", Aad::none())?;
///
/// // The KEK was revoked: data keys that are in use stop at their next operation.
/// let kek = KekRef::new("local", key.kek_id(), "")?;
/// assert_eq!(sealer.leases().end_kek(&kek), 1);
/// let refused = data_key.open(&sealed, Aad::none()).unwrap_err();
/// assert_eq!(refused.kind(), ErrorKind::KeyRevoked);
/// # Ok::<(), waxseal::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Leases(Arc<Inner>);

struct Inner {
    /// The id, which no other registry of this process has.
    id: u64,
    /// How often it was told to end or turn over something.
    epoch: AtomicU64,
    out: Mutex<Out>,
    holders: Mutex<Vec<Weak<dyn Holder>>>,
}

impl Default for Inner {
    fn default() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            epoch: AtomicU64::new(0),
            out: Mutex::default(),
            holders: Mutex::default(),
        }
    }
}

#[derive(Default)]
struct Out {
    leases: Vec<One>,
    prune_at: usize,
}

struct One {
    /// A stream holds this, and no lease.
    flag: WeakStopFlag,
    lease: Weak<DekLease>,
    keks: Box<[KekRef]>,
    context: EncryptionContext,
}

/// What is to be ended or turned over.
pub(crate) struct Meant<'m> {
    /// By the KEKs that an envelope names, and its context.
    pub(crate) lease: &'m dyn Fn(&[KekRef], &EncryptionContext) -> bool,
    /// By the context alone, of a request whose answer is not known.
    #[cfg_attr(not(feature = "cache"), allow(dead_code, reason = "only a cache asks for it"))]
    pub(crate) request: &'m dyn Fn(&EncryptionContext) -> bool,
    /// Whether what is kept for opening stays.
    #[cfg_attr(not(feature = "cache"), allow(dead_code, reason = "only a cache asks for it"))]
    pub(crate) only_sealing: bool,
}

/// A holder keeps leases to hand them out again.
pub(crate) trait Holder: Send + Sync {
    /// Hands out no more of what is meant. Returns what it kept of that.
    fn let_go(&self, meant: &Meant<'_>) -> Vec<Arc<DekLease>>;

    /// The contexts of what it keeps, and of what it has asked for.
    fn contexts(&self) -> Vec<EncryptionContext>;
}

/// How often one request asks again because something was ended or turned over while it waited.
const ROUNDS: u32 = 8;

/// The rounds of one request. They are bounded, so that somebody who ends data keys all the time delays no request for
/// ever.
#[derive(Default)]
pub(crate) struct Rounds(u32);

impl Rounds {
    /// Begins another round.
    ///
    /// # Errors
    /// `LeaseExpired`, retryable, after the last.
    pub(crate) fn again(&mut self) -> Result<()> {
        self.0 += 1;
        if self.0 < ROUNDS {
            return Ok(());
        }
        Err(Error::new(ErrorKind::LeaseExpired)
            .with_retryable(true)
            .with_detail("data keys were ended or turned over each time that one was asked for"))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A list with one entry more or less: nothing is half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Leases {
    /// Makes an empty registry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends every data key whose envelope names this KEK. Returns the number of those that were in use.
    pub fn end_kek(&self, kek: &KekRef) -> usize {
        self.end(&Meant {
            lease: &|keks, _| is_under(keks, kek),
            request: &|_| true,
            only_sealing: false,
        })
    }

    /// Ends every data key of the contexts for which `is_meant` returns `true`, for example those of one tenant. Returns
    /// the number of those that were in use.
    pub fn end_contexts(&self, is_meant: impl Fn(&EncryptionContext) -> bool) -> usize {
        self.of_contexts(is_meant, false, |meant| self.end(meant))
    }

    /// Ends every data key. Returns the number of those that were in use.
    pub fn end_all(&self) -> usize {
        self.end(&Meant {
            lease: &|_, _| true,
            request: &|_| true,
            only_sealing: false,
        })
    }

    /// Hands out no more data keys whose envelope names this KEK. Those in use go on.
    pub fn turn_over_kek(&self, kek: &KekRef) {
        self.turn_over(&Meant {
            lease: &|keks, _| is_under(keks, kek),
            request: &|_| true,
            only_sealing: false,
        });
    }

    /// Hands out no more data keys of the contexts for which `is_meant` returns `true`. Those in use go on.
    pub fn turn_over_contexts(&self, is_meant: impl Fn(&EncryptionContext) -> bool) {
        self.of_contexts(is_meant, false, |meant| self.turn_over(meant));
    }

    /// Hands out no more data keys to seal with in the contexts that `is_meant` tells; what is kept for opening stays.
    #[cfg(feature = "ring")]
    pub(crate) fn turn_over_sealing(&self, is_meant: impl Fn(&EncryptionContext) -> bool) {
        self.of_contexts(is_meant, true, |meant| self.turn_over(meant));
    }

    /// Ends every data key whose envelope names this version of this KEK, or no version.
    #[cfg(feature = "ring")]
    pub(crate) fn end_version(&self, kek: &KekRef) -> usize {
        let may_be_it = |other: &KekRef| {
            kek.version().is_empty() || other.version().is_empty() || other.version() == kek.version()
        };
        let is_under = |keks: &[KekRef]| {
            keks.is_empty()
                || keks
                    .iter()
                    .any(|other| is_under(std::slice::from_ref(other), kek) && may_be_it(other))
        };
        self.end(&Meant {
            lease: &|keks, _| is_under(keks),
            request: &|_| true,
            only_sealing: false,
        })
    }

    /// Hands out none of the kept data keys anymore. Those in use go on.
    pub fn turn_over_all(&self) {
        self.turn_over(&Meant {
            lease: &|_, _| true,
            request: &|_| true,
            only_sealing: false,
        });
    }

    /// Returns how many data keys are in use or kept.
    #[must_use]
    pub fn in_use(&self) -> usize {
        let out = lock(&self.0.out);
        out.leases.iter().filter(|one| one.flag.is_there()).count()
    }

    pub(crate) fn end(&self, meant: &Meant<'_>) -> usize {
        // Held until all are ended, so that each of them is counted.
        let kept = self.let_go(meant);
        let count = self.revoke(meant);
        drop(kept);
        tracing::info!(leases = count, "data keys were ended");
        count
    }

    fn turn_over(&self, meant: &Meant<'_>) {
        let kept = self.let_go(meant);
        tracing::info!(leases = kept.len(), "data keys were turned over");
    }

    fn let_go(&self, meant: &Meant<'_>) -> Vec<Arc<DekLease>> {
        // First: an answer to an earlier request is either found below or asked for again.
        self.0.epoch.fetch_add(1, Ordering::SeqCst);
        let holders = self.holders();
        holders.iter().flat_map(|holder| holder.let_go(meant)).collect()
    }

    /// Asks about contexts outside of all locks. Leases that come later were asked for later.
    fn of_contexts<T>(
        &self,
        is_meant: impl Fn(&EncryptionContext) -> bool,
        only_sealing: bool,
        then: impl FnOnce(&Meant<'_>) -> T,
    ) -> T {
        self.0.epoch.fetch_add(1, Ordering::SeqCst);
        let mut contexts: Vec<_> = self
            .holders()
            .iter()
            .flat_map(|holder| holder.contexts())
            .collect();
        {
            let out = lock(&self.0.out);
            let alive = out.leases.iter().filter(|one| one.flag.is_there());
            contexts.extend(alive.map(|one| one.context.clone()));
        }
        let meant: HashSet<[u8; 32]> = contexts
            .into_iter()
            .filter(|context| is_meant(context))
            .map(|context| *context.digest())
            .collect();
        let is_meant = |context: &EncryptionContext| meant.contains(context.digest());
        then(&Meant {
            lease: &|_, context| is_meant(context),
            request: &is_meant,
            only_sealing,
        })
    }

    fn holders(&self) -> Vec<Arc<dyn Holder>> {
        let mut holders = lock(&self.0.holders);
        holders.retain(|holder| holder.strong_count() > 0);
        holders.iter().filter_map(Weak::upgrade).collect()
    }

    /// From now on this holder is told what to let go of.
    #[cfg(feature = "cache")]
    pub(crate) fn tell(&self, holder: Weak<dyn Holder>) {
        lock(&self.0.holders).push(holder);
    }

    /// Returns how often something was ended or turned over.
    pub(crate) fn epoch(&self) -> u64 {
        self.0.epoch.load(Ordering::SeqCst)
    }

    /// Whether the registry knows a lease.
    pub(crate) fn has(&self, lease: &DekLease) -> bool {
        lease.registry.load(Ordering::Acquire) == self.0.id
    }

    /// Whether the two are one registry.
    #[cfg(feature = "cache")]
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Remembers a lease of `context`, with the wraps that opened it (`None` for a fresh DEK), so that the registry can
    /// end it. A second call changes nothing.
    ///
    /// Sealers and caches call this themselves. A store of DEKs that makes handles of its leases
    /// ([`DataKey::from_lease`](crate::DataKey::from_lease), [`Opener::from_lease`](crate::Opener::from_lease)) calls it
    /// before others can get the lease.
    pub fn remember(
        &self,
        lease: &Arc<DekLease>,
        wraps: Option<WrapSection<'_>>,
        context: &EncryptionContext,
    ) {
        if let Some(wraps) = wraps {
            lease.name(wraps);
        }
        let one = One {
            flag: WeakStopFlag::new(&lease.stop_flag(None)),
            lease: Arc::downgrade(lease),
            keks: lease.named_keks().into(),
            context: context.clone(),
        };
        let mut out = lock(&self.0.out);
        // Under the lock: whoever is told that the lease is known may rely on that.
        if self.has(lease) {
            return;
        }
        if out.leases.len() >= out.prune_at.max(FEW) {
            out.leases.retain(|one| one.flag.is_there());
            out.prune_at = 2 * out.leases.len();
        }
        out.leases.push(one);
        // The first registry that keeps the lease. Other registries may know the lease more than once.
        let _ = lease
            .registry
            .compare_exchange(0, self.0.id, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Revokes the leases that are meant and in use.
    fn revoke(&self, meant: &Meant<'_>) -> usize {
        let matching: Vec<_> = {
            let mut out = lock(&self.0.out);
            out.leases.retain(|one| one.flag.is_there());
            let matching = out
                .leases
                .iter()
                .filter(|one| (meant.lease)(&one.keks, &one.context));
            matching
                .filter_map(|one| Some((one.flag.upgrade()?, one.lease.upgrade())))
                .collect()
        };
        let running = matching.iter().filter(|(flag, _)| !flag.is_set());
        running
            .map(|(flag, lease)| match lease {
                Some(lease) => lease.revoke(),
                // A stream goes on without it.
                None => flag.set(),
            })
            .count()
    }
}

/// Whether an envelope that names these KEKs may be under this one.
fn is_under(keks: &[KekRef], kek: &KekRef) -> bool {
    let is_it = |other: &KekRef| {
        other.is_same_key(kek) || (other.provider() == kek.provider() && other.id().is_empty())
    };
    keks.is_empty() || keks.iter().any(is_it)
}

impl fmt::Debug for Leases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leases")
            .field("in_use", &self.in_use())
            .finish_non_exhaustive()
    }
}
