//! Which keys are asked for a request.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::approved::Approved;
use super::core::Core;
use super::key::{Key, Usage};
use super::keys::{ScopeKeys, to_kek};
use super::manager::{Closed, Named, RingKey};
use crate::envelope::WrapSection;
use crate::key::Request;
use crate::message::Pulse;
use crate::ring::profile::Requirements;
use crate::runtime::Monotonic;
use crate::source::{AnyOf, Currency, DekLease, DekSource};
use crate::value::error::{Error, ErrorKind, Result};

impl Core {
    /// A key to wrap with, pinned to its version.
    pub(super) async fn ring_key(
        &self,
        keys: &ScopeKeys,
        key: &Arc<Key>,
        request: &Request<'_>,
    ) -> Result<RingKey> {
        let kek = keys
            .kek_of(key)
            .ok_or_else(|| Error::new(ErrorKind::NoKeyForScope))?;
        let manager = self.managers.of(key, request).await?;
        Ok(RingKey::open(Arc::clone(kek), Arc::clone(key), manager))
    }

    pub(super) fn any_of(&self) -> AnyOf {
        AnyOf::default().with_runtime(Arc::clone(&self.runtime))
    }

    /// The keys that wrap for a request.
    pub(super) async fn wrapping(&self, keys: &ScopeKeys, request: &Request<'_>) -> Result<AnyOf> {
        let mut any_of = self.any_of();
        for key in keys.to_wrap(request.context().digest())? {
            any_of = any_of.wrap_with(self.ring_key(keys, key, request).await?);
        }
        Ok(any_of)
    }

    /// The keys that may open a wrap section. One that is not open yet is opened when it is asked, in its share of the time.
    /// One that the profile does not let open is not asked.
    pub(super) fn opening(
        &self,
        keys: &ScopeKeys,
        wraps: WrapSection<'_>,
        demands: Option<&Requirements>,
    ) -> AnyOf {
        let mut any_of = self.any_of();
        for kek in &keys.keks {
            let mut stanzas = wraps.stanzas().filter(|stanza| kek.may_have_wrapped(*stanza));
            let Some(first) = stanzas.next() else { continue };
            let permitted = |version| kek.verdict(version, Usage::Open);
            let refused = permitted(first.kek_version)
                .err()
                .filter(|_| stanzas.all(|stanza| permitted(stanza.kek_version).is_err()));
            let refused = refused.or_else(|| demands.and_then(|demands| kek.refused_by(demands)));
            any_of = match (refused, kek.opener(Usage::Open)) {
                (None, Some(key)) => {
                    let (kek, key) = (Arc::clone(kek), Arc::clone(key));
                    any_of.open_with(match self.managers.at_hand(&key) {
                        Some(manager) => RingKey::open(kek, key, manager),
                        None => RingKey::later(kek, key, Arc::clone(&self.managers)),
                    })
                }
                (refused, _) => {
                    let error = refused.unwrap_or_else(|| kek.refusal(Usage::Open));
                    any_of.open_with(Closed::new(Arc::clone(kek), error, None))
                }
            };
        }
        any_of
    }

    /// The keys that wrap now, and those whose wraps they may replace.
    pub(super) async fn rewrapping(
        &self,
        keys: &ScopeKeys,
        wraps: WrapSection<'_>,
        request: &Request<'_>,
        approved: Option<&Arc<Approved>>,
    ) -> Result<AnyOf> {
        let mut any_of = self.any_of();
        let chosen = keys.to_wrap(request.context().digest())?;
        for key in &chosen {
            any_of = any_of.wrap_with(self.ring_key(keys, key, request).await?.under(approved));
        }
        for kek in &keys.keks {
            let is_chosen = chosen.iter().any(|key| kek.is_of(key));
            if is_chosen || !wraps.stanzas().any(|stanza| kek.may_have_wrapped(stanza)) {
                continue;
            }
            let (kek, usage) = (
                Arc::clone(kek),
                Usage::Rewrap(approved.map(|approved| &**approved)),
            );
            any_of = match kek.opener(usage) {
                Some(key) => {
                    let manager = match approved {
                        Some(approved) => self.managers.approved(key, approved.left(key), request).await,
                        None => self.managers.of(key, request).await,
                    };
                    match manager {
                        Ok(manager) => {
                            let key = RingKey::open(Arc::clone(&kek), Arc::clone(key), manager);
                            any_of.open_with(key.under(approved))
                        }
                        Err(error) => any_of.open_with(Closed::new(kek, error, None).under(approved)),
                    }
                }
                // It is not asked to unwrap, and knows whether its ids are unique in the world.
                None => {
                    let error = kek.refusal(usage);
                    let manager = match kek.keys.last() {
                        // Its id is unique, and its parent need not be asked to know that.
                        Some(key) if key.branch.is_some() => Some(Named::of(key)),
                        Some(key) => self.managers.of(key, request).await.ok(),
                        None => None,
                    };
                    any_of.open_with(Closed::new(kek, error, manager).under(approved))
                }
            };
        }
        Ok(any_of)
    }

    /// Says of an envelope that has opened that it names keys that were revoked.
    pub(super) fn note_exposed(&self, keys: &ScopeKeys, wraps: WrapSection<'_>, lease: &DekLease) {
        let exposed = keys.exposed(wraps);
        let Some(key) = exposed.first() else { return };
        tracing::warn!(key = %key.id, scope = %key.scope, "an envelope was opened that names a revoked key");
        self.exposed.fetch_add(1, Ordering::Relaxed);
        lease.expose(exposed.iter().map(|key| to_kek(key)).collect());
    }

    /// Lets a lease end when the ring says so.
    pub(super) fn bound(
        &self,
        lease: &DekLease,
        pulse: &Pulse,
        begun: Monotonic,
        demands: Option<&Requirements>,
    ) {
        let settings = self.settings();
        let age = settings.lease_age.at_most();
        let demanded = demands.and_then(Requirements::dek_age);
        let end = begun + demanded.map_or(age, |demanded| demanded.min(age));
        lease.end_by_with_streams(end, end + self.options.stream_age(&settings));
        lease.stand_on(pulse);
    }
}

impl Core {
    /// What is known of wraps without a call, and with what is open.
    pub(super) fn currency(
        &self,
        keys: &ScopeKeys,
        wraps: WrapSection<'_>,
        request: &Request<'_>,
    ) -> Currency {
        let Ok(chosen) = keys.to_wrap(request.context().digest()) else {
            return Currency::Unknown;
        };
        let mut any_of = self.any_of();
        for kek in &keys.keks {
            let key = chosen.iter().find(|key| kek.is_of(key));
            if key.is_none() && !wraps.stanzas().any(|stanza| kek.may_have_wrapped(stanza)) {
                continue;
            }
            let wraps_now = key.is_some();
            let Some(key) = key.copied().or_else(|| kek.keys.last()) else {
                continue;
            };
            let Some(manager) = self.managers.at_hand(key) else {
                return Currency::Unknown;
            };
            let ring_key = RingKey::open(Arc::clone(kek), Arc::clone(key), manager);
            any_of = match wraps_now {
                true => any_of.wrap_with(ring_key),
                false => any_of.open_with(ring_key),
            };
        }
        any_of.is_current(wraps, request)
    }
}
