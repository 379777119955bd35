//! Data keys that are kept for a while.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use sha2::{Digest, Sha256};

use crate::dek_lease::DekLease;
use crate::dek_source::DekSource;
use crate::envelope::{BodyHead, WrapSection, WrapSet};
use crate::error::Result;
use crate::key_manager::{Purpose, Request};
use crate::runtime::Runtime;

/// Keeps the DEKs of another source for a while, for sealing and for opening: a sketch.
///
/// - Sealing in one context hands out one lease, so one-off seals share its session and its wraps, and the
///   key manager is asked once for each period.
/// - Opening asks once for each wrap section in a context. What is kept is held against the commitment of
///   every body, as the contract demands, so a hit never opens what a miss would not.
/// - Every lease ends when its entry does. A revoked lease is never handed out again.
///
/// A request that is a probe, or that was authorised specially, always goes to the source. So does every
/// re-wrap. The actor is not part of what an entry is for: an audit layer belongs *around* the cache.
///
/// A real one also lets callers that miss at once wait for one answer, and weighs what it holds.
pub struct CachedDeks<S> {
    inner: S,
    runtime: Arc<dyn Runtime>,
    age: Duration,
    most: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    sealing: VecDeque<(Key, Arc<DekLease>, WrapSet)>,
    opening: VecDeque<(Key, Arc<DekLease>)>,
}

/// A digest of everything that an entry is for.
type Key = [u8; 32];

impl<S: DekSource> CachedDeks<S> {
    /// Keeps up to `most` DEKs for each of sealing and opening, each for `age` of the runtime's time.
    #[must_use]
    pub fn new(inner: S, runtime: Arc<dyn Runtime>, age: Duration, most: usize) -> Self {
        Self {
            inner,
            runtime,
            age,
            most,
            state: Mutex::default(),
        }
    }

    /// Revokes every DEK kept here that is or was wrapped under this KEK, in every handle and stream that has
    /// it. Gives their number.
    pub fn revoke(&self, provider: &str, kek_id: &str) -> usize {
        let mut state = self.lock();
        let State { sealing, opening } = &mut *state;
        let leases = sealing.iter().map(|(_, lease, _)| lease);
        let leases = leases.chain(opening.iter().map(|(_, lease)| lease));
        let mut count = 0;
        for lease in leases {
            let mut keks = lease.keks().iter();
            if keks.any(|kek| kek.provider() == provider && kek.id() == kek_id) {
                lease.revoke();
                count += 1;
            }
        }
        sealing.retain(|(_, lease, _)| !lease.is_revoked());
        opening.retain(|(_, lease)| !lease.is_revoked());
        count
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state without what has ended.
    fn live(&self) -> MutexGuard<'_, State> {
        let now = self.runtime.now();
        let mut state = self.lock();
        state
            .sealing
            .retain(|(_, lease, _)| lease.check(now).is_ok() && lease.sessions_left() > 0);
        state.opening.retain(|(_, lease)| lease.check(now).is_ok());
        state
    }

    /// A lease of the source ends when its entry does, wherever it has gone.
    fn bounded(&self, lease: &DekLease) {
        lease.end_by(self.runtime.now() + self.age);
    }
}

/// Whether a request may be answered from here.
fn is_plain(request: &Request<'_>) -> bool {
    request.purpose() != Purpose::Probe && request.authorisation().is_none()
}

/// What an entry is for: binding, context and profile, and the wraps where there are any.
fn key(request: &Request<'_>, wraps: Option<WrapSection<'_>>) -> Key {
    let mut digest = Sha256::new();
    let mut put = |bytes: &[u8]| {
        digest.update((bytes.len() as u64).to_be_bytes());
        digest.update(bytes);
    };
    put(request.binding());
    put(request.context().digest());
    put(request.profile().unwrap_or_default().as_bytes());
    if let Some(wraps) = wraps {
        put(&[wraps.threshold()]);
        for stanza in wraps.stanzas() {
            put(&[stanza.algorithm.id(), stanza.share_index]);
            put(stanza.provider.as_bytes());
            put(stanza.kek_id.as_bytes());
            put(stanza.kek_version.as_bytes());
            put(stanza.wrapped);
        }
    }
    digest.finalize().into()
}

#[async_trait]
impl<S: DekSource> DekSource for CachedDeks<S> {
    async fn seal_dek(&self, request: &Request<'_>) -> Result<(Arc<DekLease>, WrapSet)> {
        if !is_plain(request) {
            return self.inner.seal_dek(request).await;
        }
        let key = key(request, None);
        let kept = self
            .live()
            .sealing
            .iter()
            .find(|(kept, ..)| *kept == key)
            .map(|(_, lease, wraps)| (Arc::clone(lease), wraps.clone()));
        if let Some(kept) = kept {
            return Ok(kept);
        }
        let (lease, wraps) = self.inner.seal_dek(request).await?;
        self.bounded(&lease);
        let mut state = self.lock();
        state.sealing.push_back((key, Arc::clone(&lease), wraps.clone()));
        while state.sealing.len() > self.most {
            state.sealing.pop_front();
        }
        Ok((lease, wraps))
    }

    async fn open_dek(
        &self,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> Result<Arc<DekLease>> {
        if !is_plain(request) {
            return self.inner.open_dek(wraps, body, request).await;
        }
        let key = key(request, Some(wraps));
        let kept = self
            .live()
            .opening
            .iter()
            .find(|(kept, _)| *kept == key)
            .map(|(_, lease)| Arc::clone(lease));
        if let Some(lease) = kept
            && lease.verify(body, request.context()).is_ok()
        {
            return Ok(lease);
        }
        let lease = self.inner.open_dek(wraps, body, request).await?;
        self.bounded(&lease);
        let mut state = self.lock();
        state.opening.push_back((key, Arc::clone(&lease)));
        while state.opening.len() > self.most {
            state.opening.pop_front();
        }
        Ok(lease)
    }

    async fn rewrap(
        &self,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> Result<WrapSet> {
        self.inner.rewrap(wraps, body, request).await
    }
}

impl<S: fmt::Debug> fmt::Debug for CachedDeks<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedDeks")
            .field("inner", &self.inner)
            .field("age", &self.age)
            .finish_non_exhaustive()
    }
}
