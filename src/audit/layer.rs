//! The layer around a source of DEKs.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tracing::{Instrument as _, Span};

use super::auditor::Auditor;
use super::event::{Action, Asked, Outcome, What};
use super::scope::RingSeen;
use super::span::{self, Beginning};
use crate::envelope::{BodyHead, WrapSection, WrapSet};
use crate::key::Request;
#[cfg(feature = "ring")]
use crate::key::Sighted;
use crate::key::Sighting;
use crate::key::sighting::{Outage, Outages};
#[cfg(feature = "ring")]
use crate::ring::{KeyRing, RecordId};
use crate::runtime::Monotonic;
#[cfg(feature = "ring")]
use crate::source::at_hand;
use crate::source::{Currency, DekLease, DekSource, Rewrapped};
use crate::value::error::Result;

/// A source of DEKs each of whose answers is an event: a [`DekSource`] around a [`DekSource`].
///
/// [`Builder::audit`](crate::Builder::audit) puts it where it belongs. Nothing is handed out before the auditor's required sinks have the
/// event.
///
/// # Cancel safety
/// Every future may be dropped at any await. If it has begun, an event tells that it was abandoned; if the answer was there, the event
/// tells of it, though nobody got it.
#[derive(Debug)]
pub struct Audited {
    inner: Arc<dyn DekSource>,
    auditor: Auditor,
    sees: Sees,
    /// The ring that is asked, which knows scopes and keys.
    #[cfg(feature = "ring")]
    ring: Option<KeyRing>,
    /// The ring for which a KEK is used that is none of its keys.
    #[cfg(feature = "ring")]
    for_ring: Option<RecordId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sees {
    Accesses,
    Releases,
}

impl Audited {
    /// Makes an event of each access: for around key managers or a key ring, beneath a cache.
    #[must_use]
    pub fn accesses(inner: impl DekSource, auditor: Auditor) -> Self {
        Self::new(Arc::new(inner), auditor, Sees::Accesses)
    }

    /// Makes an event of each release: for around a cache.
    #[must_use]
    pub fn releases(inner: impl DekSource, auditor: Auditor) -> Self {
        Self::new(Arc::new(inner), auditor, Sees::Releases)
    }

    fn new(inner: Arc<dyn DekSource>, auditor: Auditor, sees: Sees) -> Self {
        #[cfg(feature = "ring")]
        let ring = at_hand::ring(&*inner).cloned();
        #[cfg(feature = "ring")]
        if let Some(ring) = &ring {
            ring.audit(&auditor);
        }
        Self {
            #[cfg(feature = "ring")]
            ring,
            #[cfg(feature = "ring")]
            for_ring: None,
            inner,
            auditor,
            sees,
        }
    }

    /// Sets the ring that the source asks, if the source is not the ring itself: events then name its scopes and keys.
    #[cfg(feature = "ring")]
    #[must_use]
    pub fn of_ring(mut self, ring: KeyRing) -> Self {
        ring.audit(&self.auditor);
        self.ring = Some(ring);
        self
    }

    /// Names a ring that is not asked: the source has a KEK that is used for it.
    #[cfg(feature = "ring")]
    pub(super) fn for_ring(mut self, ring: Option<RecordId>) -> Self {
        self.for_ring = ring;
        self
    }

    fn action(&self, access: Action) -> Action {
        match self.sees {
            Sees::Accesses => access,
            Sees::Releases => Action::Release,
        }
    }

    fn begin<'a>(
        &'a self,
        access: Action,
        request: &'a Request<'a>,
        wraps: Option<WrapSection<'a>>,
    ) -> Begun<'a> {
        let action = self.action(access);
        let beginning = Beginning {
            action,
            purpose: Some(request.purpose()),
            request_id: request.request_id(),
        };
        Begun {
            layer: self,
            action,
            span: beginning.span(),
            request,
            wraps,
            at: self.auditor.runtime().now(),
            has_ended: false,
            #[cfg(feature = "ring")]
            known: match self.sees {
                // A cache may answer, and nobody else says then what was known.
                Sees::Releases => self.ring.as_ref().and_then(|ring| ring.known_of(request, wraps)),
                Sees::Accesses => None,
            },
            sighting: Sighting::default(),
        }
    }
}

/// An operation under way. If it is dropped before its end, it was abandoned.
struct Begun<'a> {
    layer: &'a Audited,
    action: Action,
    span: Span,
    request: &'a Request<'a>,
    wraps: Option<WrapSection<'a>>,
    at: Monotonic,
    has_ended: bool,
    /// What the ring knew before a release.
    #[cfg(feature = "ring")]
    known: Option<Sighted>,
    /// What the source has decided by.
    sighting: Sighting,
}

impl Begun<'_> {
    fn asked(&self) -> Arc<Asked> {
        let loggable = self.layer.auditor.loggable();
        Arc::new(Asked::new(self.request, self.wraps, loggable, self.ring()))
    }

    #[cfg(feature = "ring")]
    fn ring(&self) -> Option<RingSeen> {
        let known = || self.layer.ring.as_ref()?.known_of(self.request, self.wraps);
        // Before a first use, nothing was known.
        let before = self.known.clone().filter(|known| !known.keys.is_empty());
        let sighted = self.sighting.take().or(before).or_else(known);
        let seen = sighted.map(|sighted| RingSeen::of(sighted, self.layer.auditor.loggable()));
        seen.or_else(|| self.layer.for_ring.map(RingSeen::named))
    }

    /// The request, for whoever decides.
    fn request(&self) -> Request<'_> {
        match self.layer.sees {
            Sees::Accesses => self.request.clone().sighted_by(&self.sighting),
            Sees::Releases => self.request.clone(),
        }
    }

    #[cfg(not(feature = "ring"))]
    fn ring(&self) -> Option<RingSeen> {
        None
    }

    /// What was done without, beside what is known already.
    fn outages(&self, asked: &Asked, known: Outages) -> Outages {
        let is_stale = asked.ring.as_ref().is_some_and(|ring| ring.is_stale);
        let outages = self.sighting.outages().and(known);
        match is_stale {
            true => outages.with(Outage::Inventory),
            false => outages,
        }
    }

    fn latency(&self) -> Duration {
        self.layer.auditor.runtime().now().0.saturating_sub(self.at.0)
    }

    /// Ends with this result. It is released once its event is kept.
    async fn end<T>(
        mut self,
        result: Result<T>,
        what: impl FnOnce(Action, &Arc<Asked>, &T) -> What,
    ) -> Result<T> {
        let asked = self.asked();
        let what = match &result {
            Ok(done) => {
                let what = what(self.action, &asked, done);
                let outages = self.outages(&asked, what.outages);
                what.under(outages)
            }
            Err(error) => asked.failed(self.action, error),
        };
        let what = what.took(self.latency());
        self.has_ended = true;
        span::record(&self.span, &what);
        let kept = self.layer.auditor.record(what).instrument(self.span.clone());
        kept.await
            .inspect_err(|error| span::record_unkept(&self.span, error))?;
        result
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if self.has_ended {
            return;
        }
        let what = self.asked().ended(self.action, Outcome::Abandoned);
        span::record(&self.span, &what);
        let note = || self.layer.auditor.note(what.took(self.latency()));
        self.span.in_scope(note);
    }
}

fn opened(action: Action, asked: &Arc<Asked>, lease: &DekLease) -> What {
    let what = asked.done(action, lease.keks());
    match lease.bridges_an_outage() {
        true => what.under(Outages::default().with(Outage::Cache)),
        false => what,
    }
}

#[async_trait]
impl DekSource for Audited {
    async fn seal_dek(&self, request: &Request<'_>) -> Result<(Arc<DekLease>, WrapSet)> {
        let begun = self.begin(Action::Generate, request, None);
        let asked = begun.request();
        let result = self.inner.seal_dek(&asked).instrument(begun.span.clone()).await;
        begun
            .end(result, |action, asked, (lease, _)| {
                asked.done(action, lease.keks())
            })
            .await
    }

    async fn open_dek(
        &self,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> Result<Arc<DekLease>> {
        let begun = self.begin(Action::Unwrap, request, Some(wraps));
        let asked = begun.request();
        let opening = self.inner.open_dek(wraps, body, &asked);
        let result = opening.instrument(begun.span.clone()).await;
        begun
            .end(result, |action, asked, lease| opened(action, asked, lease))
            .await
    }

    async fn rewrap(
        &self,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> Result<Rewrapped> {
        // No cache answers a re-wrap, so the layer of accesses has seen it.
        if self.sees == Sees::Releases {
            return self.inner.rewrap(wraps, body, request).await;
        }
        let begun = self.begin(Action::Rewrap, request, Some(wraps));
        let asked = begun.request();
        let rewrapping = self.inner.rewrap(wraps, body, &asked);
        let result = rewrapping.instrument(begun.span.clone()).await;
        begun
            .end(result, |action, asked, rewrapped| {
                asked.rewrapped(action, rewrapped)
            })
            .await
    }

    fn is_current(&self, wraps: WrapSection<'_>, request: &Request<'_>) -> Currency {
        self.inner.is_current(wraps, request)
    }

    fn may_keep(&self, request: &Request<'_>) -> bool {
        self.inner.may_keep(request)
    }

    /// Makes an event of the release, unless each release is one anyway.
    async fn note_outage_use(
        &self,
        wraps: WrapSection<'_>,
        request: &Request<'_>,
        lease: &DekLease,
    ) -> Result<()> {
        self.inner.note_outage_use(wraps, request, lease).await?;
        if self.auditor.sees_releases() {
            return Ok(());
        }
        let begun = self.begin(Action::Release, request, Some(wraps));
        begun
            .end(Ok(lease), |action, asked, lease| opened(action, asked, lease))
            .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
