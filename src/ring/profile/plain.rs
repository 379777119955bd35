//! Profiles with key managers alone, without a ring.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{Facts, Profiles, Requirements, Rewrap};
use crate::envelope::{BodyHead, WrapRef, WrapSection, WrapSet, WrappedDek};
use crate::key::{Capabilities, KeyManager, Recognition, Request, Unwrapped};
use crate::runtime::Monotonic;
use crate::source::{AnyOf, Currency, DekLease, DekSource, Fate, Rewrapped};
use crate::value::error::{Error, Result};
use crate::value::secret::Dek;

/// For how long streams go on that were begun before the end of their lease.
const STREAM_AGE: Duration = Duration::from_secs(3600);

/// Key managers whose use profiles restrict. What a key manager does not say of itself (slots, hardware, whether it was
/// compromised), it does not have.
#[derive(Clone, Debug)]
pub(crate) struct Profiled {
    any_of: AnyOf,
    profiles: Arc<Profiles>,
}

impl Profiled {
    pub(crate) fn new(any_of: AnyOf, profiles: Arc<Profiles>) -> Self {
        Self { any_of, profiles }
    }

    fn demands(&self, request: &Request<'_>) -> Result<Arc<Requirements>> {
        let demands = self
            .profiles
            .requirements(request.profile(), None, request.context())?;
        demands.check_keeping(request.is_for_keeping())?;
        Ok(demands)
    }

    fn made(&self) -> Vec<Facts> {
        let managers = self.any_of.wrapping().iter().enumerate();
        managers
            .map(|(place, manager)| Facts::of_manager(place, manager.as_ref()))
            .collect()
    }

    /// What is known of a stanza: what all have that may have made it.
    fn facts(&self, index: usize, stanza: WrapRef<'_>) -> Facts {
        let managers = self.any_of.managers().enumerate();
        let its = managers.filter(|(_, manager)| !manager.recognizes(stanza).is_no());
        Facts::merged(its.map(|(place, manager)| Facts::of_manager(place, manager.as_ref())))
            .unwrap_or_else(|| Facts::unknown(index, stanza, false))
    }

    /// The stanzas that no key manager here has made, and that a re-wrap therefore keeps.
    fn strangers(&self, wraps: WrapSection<'_>, request: &Request<'_>) -> Vec<Facts> {
        let stanzas = wraps.stanzas().enumerate();
        let is_strange = |stanza: WrapRef<'_>| {
            self.any_of
                .managers()
                .all(|manager| manager.recognizes(stanza).is_no())
        };
        stanzas
            .filter(|(_, stanza)| !request.rewrap_rules().drops_unknown() && is_strange(*stanza))
            .map(|(index, stanza)| Facts::unknown(index, stanza, false))
            .collect()
    }

    fn bound(&self, lease: &DekLease, demands: &Requirements, begun: Monotonic) {
        if let Some(age) = demands.dek_age() {
            let end = begun + age;
            lease.end_by_with_streams(end, end + STREAM_AGE);
        }
    }
}

#[async_trait]
impl DekSource for Profiled {
    async fn seal_dek(&self, request: &Request<'_>) -> Result<(Arc<DekLease>, WrapSet)> {
        let (demands, begun) = (self.demands(request)?, self.any_of.clock().now());
        let mut unmet = demands.unmet_by_message(request.context(), request.stores_context());
        unmet.extend(demands.unmet_by_section(1, &self.made()));
        demands.refuse(&unmet)?;
        let (lease, wraps) = self.any_of.seal_dek(request).await?;
        self.bound(&lease, &demands, begun);
        Ok((lease, wraps))
    }

    async fn open_dek(
        &self,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> Result<Arc<DekLease>> {
        let (demands, begun) = (self.demands(request)?, self.any_of.clock().now());
        let mut unmet = demands.unmet_by_message(request.context(), body.has_stored_context());
        let stanzas = wraps.stanzas().enumerate();
        let named: Vec<Facts> = stanzas.map(|(index, stanza)| self.facts(index, stanza)).collect();
        unmet.extend(demands.unmet_by_names(&named));
        demands.refuse(&unmet)?;
        let any_of = self.any_of.replacing(|place, manager| {
            let facts = Facts::of_manager(place, manager.as_ref());
            let error = demands.refuse(&demands.unmet_by_opening(&[facts])).err()?;
            let inner = Arc::clone(manager);
            Some(Arc::new(Refusing { inner, error }))
        });
        let lease = any_of.open_dek(wraps, body, request).await?;
        self.bound(&lease, &demands, begun);
        Ok(lease)
    }

    async fn rewrap(
        &self,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> Result<Rewrapped> {
        let (demands, begun) = (self.demands(request)?, self.any_of.clock().now());
        let strangers = self.strangers(wraps, request);
        let plan = Rewrap::begin(&demands, request, body, self.made(), strangers)?;
        let rewrapped = self.any_of.rewrap(wraps, body, request).await?;
        let (mut opened, mut kept) = (None, Vec::new());
        let by = rewrapped.lease().and_then(|lease| lease.keks().first());
        for ((index, stanza), fate) in wraps.stanzas().enumerate().zip(rewrapped.stanzas()) {
            // After a re-wrap at the KMS there is one stanza, and nobody tells what opened it.
            if by.is_none_or(|by| by.is_same_key(&fate.kek)) && opened.is_none() {
                opened = Some(self.facts(index, stanza));
            }
            if fate.fate != Fate::Kept {
                continue;
            }
            let mut under = rewrapped.under().iter();
            let is_current = !rewrapped.is_changed() && under.any(|kek| kek.is_same_key(&fate.kek));
            if !is_current {
                kept.push(Facts::unknown(index, stanza, false));
            }
        }
        let rewrapped = plan.end(rewrapped, opened.as_ref(), kept)?;
        if let Some(lease) = rewrapped.lease() {
            self.bound(lease, &demands, begun);
        }
        Ok(rewrapped)
    }

    fn is_current(&self, wraps: WrapSection<'_>, request: &Request<'_>) -> Currency {
        let Ok(demands) = self.demands(request) else {
            return Currency::Unknown;
        };
        let mut made = self.made();
        made.extend(self.strangers(wraps, request));
        let is_met = demands.unmet_by_section(1, &made).is_empty()
            && demands
                .unmet_by_message(request.context(), request.stores_context())
                .is_empty();
        match is_met {
            true => self.any_of.is_current(wraps, request),
            // A re-wrap reports or refuses it.
            false => Currency::Unknown,
        }
    }

    fn may_keep(&self, request: &Request<'_>) -> bool {
        if !self.profiles.may_forbid_cache() {
            return true;
        }
        let demands = self
            .profiles
            .requirements(request.profile(), None, request.context());
        demands.is_ok_and(|demands| demands.allows_cache())
    }
}

/// A key manager that a profile does not let open: it refuses each of its stanzas without a call, so that the error names it.
#[derive(Debug)]
struct Refusing {
    inner: Arc<dyn KeyManager>,
    error: Error,
}

#[async_trait]
impl KeyManager for Refusing {
    fn provider(&self) -> &str {
        self.inner.provider()
    }

    fn capabilities(&self) -> Capabilities {
        // No call is made, and none is counted.
        self.inner.capabilities().local()
    }

    fn recognizes(&self, wrapped: WrapRef<'_>) -> Recognition {
        self.inner.recognizes(wrapped)
    }

    async fn wrap(&self, _: &Dek, _: &Request<'_>) -> Result<WrappedDek> {
        Err(self.error.copy())
    }

    async fn unwrap(&self, _: WrapRef<'_>, _: &Request<'_>) -> Result<Unwrapped> {
        Err(self.error.copy())
    }
}
