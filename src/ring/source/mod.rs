//! The key ring as a source of data keys.

mod approved;
mod beat;
mod branches;
mod builder;
mod choose;
mod core;
mod key;
mod keys;
#[cfg(feature = "audit")]
mod known;
mod manager;
mod managers;
mod otherwise;
mod profiled;
mod provision;
mod publish;
mod settle;
mod single;
mod state;
mod watch;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;

pub use self::builder::Builder;
use self::builder::Options;
use self::core::Core;
use self::keys::{ScopeKeys, to_kek};
pub(in crate::ring) use self::single::Single;
use self::state::Need;
use super::profile::Explanation;
use super::{Backends, Inventory, Mark, Scope, Settings, Trust};
use crate::envelope::{BodyHead, Header, KekRef, WrapSection, WrapSet};
use crate::key::{Purpose, Request};
use crate::sealer;
use crate::source::{Caching, Currency, DekLease, DekSource, Leases, Rewrapped};
use crate::value::context::EncryptionContext;
use crate::value::error::{Error, Result};

/// The keys of a ring, as an application uses them: a [`DekSource`].
///
/// ```
/// # use std::sync::Arc;
/// # use waxseal::{EncryptionContext, ring::{Backends, Inventory, KeyRing, Trust}};
/// # async fn example(trust: Trust, inventory: Arc<dyn Inventory>, backends: Arc<dyn Backends>) -> waxseal::Result<()> {
/// let ring = KeyRing::builder(trust, inventory, backends).open().await?;
/// let sealer = ring.sealer().build()?;
/// let context = EncryptionContext::new([("tenant", "acme")])?;
/// let sealed = sealer.seal(b"hello", &context).await?;
/// # Ok(())
/// # }
/// ```
///
/// *Scopes.* The ring's signed settings say which scope a context belongs to. Only keys of that scope seal and open in it,
/// whatever an envelope names, and a scope without keys is `NoKeyForScope`, unless [`Builder::otherwise`] names a wider scope that serves
/// where there is none.
///
/// *Sealing* makes one wrap for each slot of the scope, under its active key and no other version than that. A pending key
/// with a canary share takes the place of the active one for its share of the contexts, by a hash of context and key.
///
/// *Opening* uses the keys whose [state](super::State) permits it. Keys that are retired, compromised, or destroyed are not asked; if
/// nothing else opens the envelope, the error names them: `KeyRetired`, `KeyRevoked`, `KeyDestroyed`. If a backend proves
/// which version has unwrapped, that version has to be such a key, too.
///
/// *Approvals.* A re-wrap out of a key that is retired or compromised takes an [`Approval`](super::Approval) of that very key
/// ([`Sealer::authorized_by`](crate::Sealer::authorized_by)); without one that counts, the error is `KeyRetired`, `KeyRevoked` or
/// `ApprovalRefused`. What a re-wrap returns says which approvals were used.
///
/// *Re-wrap* moves to the active keys, and keeps or replaces wraps as [`AnyOf`](crate::source::AnyOf) does. The ring knows which
/// keys wrap now, so a [`Rewrapper`](crate::sealer::Rewrapper) leaves alone what is under them.
///
/// *Freshness.* A thread of the ring reads the inventory's revision every 250 ms, and the keys of the scopes in use whenever it
/// has changed. Keys that take over are used from the next request on, and what was handed out goes on; leases of a key that
/// unwraps no more end. If the inventory cannot be read, the ring seals for `max_stale` after the last successful read, and
/// opens for `max_stale_open`; then it returns `InventoryStale`, and leases end, until the inventory is back. If what
/// it reads does not verify, it goes on in the same way with what it has verified before, and [`status`](Self::status) tells.
///
/// *Branch keys* are kept in the ring, wrapped under a key of a wider scope, and opened in the memory of this process: one call of that key's KMS for each branch key and
/// [`lease_age`](Settings::lease_age), however many ask. What happens to the wider key happens to them: if it is retired, revoked or destroyed, they do not open either.
///
/// *Leases* end at the `lease_age` of the settings, handles and caches included, and streams that were begun under them at most
/// `stream_age` later, whatever a sealer was told.
///
/// Clones are the same ring; its thread ends with the last of them. A process that `fork`s opens the ring in the child.
///
/// # Cancel safety
/// Every future may be dropped at any await.
#[derive(Clone)]
pub struct KeyRing(Arc<Core>);

/// What a ring knows of its inventory.
#[derive(Debug)]
#[non_exhaustive]
pub struct Status {
    /// The newest revision that was verified, with the hash of its head.
    pub mark: Mark,
    /// How long ago the inventory was last found to be as it is known here.
    pub confirmed: Duration,
    /// Whether that is too long ago to seal.
    pub is_stale_for_sealing: bool,
    /// Whether that is too long ago to open.
    pub is_stale_for_opening: bool,
    /// Why the inventory cannot be read, or does not verify.
    pub problem: Option<Error>,
    /// Scopes whose records do not verify, and why. What was verified before is used until it is stale.
    pub bad_scopes: Vec<(Scope, Error)>,
    /// How many scopes are kept.
    pub scopes: usize,
    /// How often an envelope was opened that names a revoked key, by another wrap: what is in it may be known to whoever has the key. Opens that a
    /// cache answers are not counted again; [`DekLease::exposed_by`] tells of each.
    pub exposed_opens: u64,
    /// How many branch keys are open in the memory of this process.
    pub branch_keys: usize,
}

impl KeyRing {
    /// Begins to open a ring: whom it trusts, where its records are, and how KEKs are reached.
    pub fn builder(
        trust: impl Into<Arc<Trust>>,
        inventory: Arc<dyn Inventory>,
        backends: Arc<dyn Backends>,
    ) -> Builder {
        Builder::new(trust.into(), inventory, backends)
    }

    /// Returns a builder of a sealer with this ring as its source, its registry of leases and its runtime, and with a
    /// cache of the ring's [`caching`](Self::caching).
    pub fn sealer(&self) -> sealer::Builder {
        sealer::Builder::default()
            .source(self.clone())
            .leases(self.0.leases.clone())
            .runtime(Arc::clone(&self.0.runtime))
            .cache(self.caching())
    }

    /// Returns the default [`Caching`], with the ages of the ring's settings.
    #[must_use]
    pub fn caching(&self) -> Caching {
        let age = self.lease_age();
        let default = Caching::default();
        Caching {
            open_age: age,
            seal_age: age,
            refresh_ahead: default.refresh_ahead.min(age / 4),
            stream_age: self.0.options.stream_age(&self.settings()),
            ..default
        }
    }

    fn lease_age(&self) -> Duration {
        self.settings().lease_age.at_most()
    }

    /// Returns the registry of leases, which the sealers of this ring share.
    #[must_use]
    pub fn leases(&self) -> &Leases {
        &self.0.leases
    }

    /// Returns the settings of the newest revision that was verified.
    #[must_use]
    pub fn settings(&self) -> Arc<Settings> {
        self.0.settings()
    }

    /// Looks now whether the inventory has changed, and uses what it holds.
    ///
    /// # Errors
    /// Those of the [`Inventory`]; `TimedOut` for a read of more than 5 seconds; `InventoryInvalid` if the head does not
    /// verify or is older than what was seen; `Configuration` in a forked process.
    ///
    /// # Cancel safety
    /// Dropping the future leaves each scope as it was or as it is now.
    pub async fn refresh(&self) -> Result<()> {
        self.0.check().await
    }

    /// Writes a heartbeat now: see [`Builder::reader`].
    ///
    /// # Errors
    /// Those of [`Inventory::beat`]; `InvalidArgument` if the ring has no reader's name; `Configuration` in a forked process.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the heartbeat written or not.
    pub async fn beat(&self) -> Result<()> {
        self.0.beat().await
    }

    /// Tells what the profiles make of an envelope in this context, of which the header is enough: what is demanded, which wraps
    /// the envelope names, which of them lack what, and by which key. `profile` is the caller's choice. Uses no key and asks no
    /// backend, so nothing that the envelope says is proven. In a ring without profiles nothing is demanded, and it tells of the wraps.
    ///
    /// # Errors
    /// - the errors of [`Header::parse`]; `ContextMismatch` if another context is stored in the envelope; `Unsupported` for a detached
    ///   envelope
    /// - `Configuration` if the ring does not have the profile that is named
    /// - `ProfileRefused` if the context chooses no profile
    /// - `NoKeyForScope`, `InventoryStale`, and the errors of the [`Inventory`]
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn explain(
        &self,
        envelope: &[u8],
        context: &EncryptionContext,
        profile: Option<&str>,
    ) -> Result<Explanation> {
        let header = Header::parse(envelope)?;
        header.check_stored_context(context.digest())?;
        let (wraps, body) = (header.wrap_section()?, header.body());
        let mut request = Request::new(context)
            .with_purpose(Purpose::Open)
            .with_stored_context(body.has_stored_context());
        if let Some(profile) = profile {
            request = request.with_profile(profile);
        }
        let keys = self.0.keys(&request, Need::Open, Some(wraps)).await?;
        let demands = self.0.demands(&keys, &request)?.unwrap_or_default();
        Ok(keys.explain(demands, wraps, body, &request))
    }

    /// Returns what the ring knows of its inventory.
    ///
    /// # Errors
    /// `Configuration` in a forked process.
    pub fn status(&self) -> Result<Status> {
        self.0.check_process()?;
        let known = self.0.known();
        let confirmed = self.0.runtime.now().0.saturating_sub(known.confirmed.0);
        let is_stale = |need: Need| confirmed >= need.max_stale(&known.settings, self.0.inventory.behind());
        Ok(Status {
            mark: known.mark,
            confirmed,
            is_stale_for_sealing: is_stale(Need::Seal),
            is_stale_for_opening: is_stale(Need::Open),
            problem: known.failed,
            bad_scopes: known.bad,
            scopes: known.scopes,
            exposed_opens: self.0.exposed.load(Ordering::Relaxed),
            branch_keys: self.0.managers.branches.count(),
        })
    }
}

/// The request, which names what wraps now if it asks to leave that alone.
fn knowing<'r>(request: &Request<'r>, current: &'r [KekRef]) -> Request<'r> {
    let rules = request.rewrap_rules();
    match rules.current() {
        Some(_) => request.clone().with_rewrap_rules(rules.unless_under(current)),
        None => request.clone(),
    }
}

fn current(keys: &ScopeKeys, request: &Request<'_>) -> Result<Vec<KekRef>> {
    let chosen = keys.to_wrap(request.context().digest())?;
    Ok(chosen.into_iter().map(|key| to_kek(key)).collect())
}

#[async_trait]
impl DekSource for KeyRing {
    async fn seal_dek(&self, request: &Request<'_>) -> Result<(Arc<DekLease>, WrapSet)> {
        let (core, begun) = (&self.0, self.0.runtime.now());
        let keys = core.keys(request, Need::Seal, None).await?;
        let demands = core.demands(&keys, request)?;
        if let Some(demands) = &demands {
            keys.check_sealing(demands, request)?;
        }
        let any_of = core.wrapping(&keys, request).await?;
        let (lease, wraps) = any_of.seal_dek(request).await?;
        core.bound(&lease, &keys.seals, begun, demands.as_deref());
        Ok((lease, wraps))
    }

    async fn open_dek(
        &self,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> Result<Arc<DekLease>> {
        let (core, begun) = (&self.0, self.0.runtime.now());
        let keys = core.keys(request, Need::Open, Some(wraps)).await?;
        let demands = core.demands(&keys, request)?;
        if let Some(demands) = &demands {
            keys.check_opening(demands, wraps, body, request)?;
        }
        let any_of = core.opening(&keys, wraps, demands.as_deref());
        let lease = any_of.open_dek(wraps, body, request).await?;
        if let Some(demands) = &demands {
            keys.check_opened(demands, &lease)?;
        }
        core.bound(&lease, &keys.opens, begun, demands.as_deref());
        core.note_exposed(&keys, wraps, &lease);
        Ok(lease)
    }

    async fn rewrap(
        &self,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> Result<Rewrapped> {
        let (core, begun) = (&self.0, self.0.runtime.now());
        let keys = core.keys(request, Need::Seal, Some(wraps)).await?;
        let current = current(&keys, request)?;
        let request = knowing(request, &current).with_purpose(Purpose::Rewrap);
        let demands = core.demands(&keys, &request)?;
        let plan = match &demands {
            Some(demands) => Some(keys.begin_rewrap(demands, wraps, body, &request)?),
            None => None,
        };
        let approved = core.approved(&keys, wraps, &request).await?;
        let any_of = core.rewrapping(&keys, wraps, &request, approved.as_ref()).await?;
        let mut rewrapped = any_of.rewrap(wraps, body, &request).await?;
        if let Some(approved) = &approved {
            rewrapped = approved.bear_witness(rewrapped);
        }
        if let Some(plan) = plan {
            rewrapped = keys.end_rewrap(plan, wraps, rewrapped)?;
        }
        if let Some(lease) = rewrapped.lease() {
            core.bound(lease, &keys.opens, begun, demands.as_deref());
        }
        Ok(rewrapped)
    }

    fn is_current(&self, wraps: WrapSection<'_>, request: &Request<'_>) -> Currency {
        let Ok(Some(keys)) = self.0.keys_at_hand(request, Need::Seal, Some(wraps)) else {
            return Currency::Unknown;
        };
        let Ok(current) = current(&keys, request) else {
            return Currency::Unknown;
        };
        // A re-wrap refuses or reports what the profile misses.
        if !self.0.is_met(&keys, wraps, request) {
            return Currency::Unknown;
        }
        self.0.currency(&keys, wraps, &knowing(request, &current))
    }

    fn may_keep(&self, request: &Request<'_>) -> bool {
        self.0.may_keep(request)
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests;
