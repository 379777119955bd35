//! The layer around a source of DEKs.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::auditor::Auditor;
use super::event::{Action, Asked, Outcome, What};
use super::scope::RingSeen;
use crate::envelope::{BodyHead, WrapSection, WrapSet};
use crate::key::Request;
#[cfg(feature = "ring")]
use crate::key::{Sighted, Sighting};
#[cfg(feature = "ring")]
use crate::ring::KeyRing;
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
        Begun {
            layer: self,
            action: self.action(access),
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
            #[cfg(feature = "ring")]
            sighting: Sighting::default(),
        }
    }
}

/// An operation under way. If it is dropped before its end, it was abandoned.
struct Begun<'a> {
    layer: &'a Audited,
    action: Action,
    request: &'a Request<'a>,
    wraps: Option<WrapSection<'a>>,
    at: Monotonic,
    has_ended: bool,
    /// What the ring knew before a release.
    #[cfg(feature = "ring")]
    known: Option<Sighted>,
    /// What the ring has decided by.
    #[cfg(feature = "ring")]
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
        Some(RingSeen::of(sighted?, self.layer.auditor.loggable()))
    }

    /// The request, for whoever decides.
    #[cfg(feature = "ring")]
    fn request(&self) -> Request<'_> {
        match self.layer.sees {
            Sees::Accesses => self.request.clone().sighted_by(&self.sighting),
            Sees::Releases => self.request.clone(),
        }
    }

    #[cfg(not(feature = "ring"))]
    fn request(&self) -> Request<'_> {
        self.request.clone()
    }

    #[cfg(not(feature = "ring"))]
    fn ring(&self) -> Option<RingSeen> {
        None
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
            Ok(done) => what(self.action, &asked, done),
            Err(error) => asked.failed(self.action, error),
        };
        let what = what.took(self.latency());
        self.has_ended = true;
        self.layer.auditor.record(what).await?;
        result
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if self.has_ended {
            return;
        }
        let what = self.asked().ended(self.action, Outcome::Abandoned);
        self.layer.auditor.note(what.took(self.latency()));
    }
}

#[async_trait]
impl DekSource for Audited {
    async fn seal_dek(&self, request: &Request<'_>) -> Result<(Arc<DekLease>, WrapSet)> {
        let begun = self.begin(Action::Generate, request, None);
        let result = self.inner.seal_dek(&begun.request()).await;
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
        let result = self.inner.open_dek(wraps, body, &begun.request()).await;
        begun
            .end(result, |action, asked, lease| asked.done(action, lease.keks()))
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
        let result = self.inner.rewrap(wraps, body, &begun.request()).await;
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
}
