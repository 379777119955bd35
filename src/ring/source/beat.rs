//! Heartbeats: which revision this process has, and under which pending keys it could seal and open.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::core::{Core, READ};
use super::key::Key;
use super::keys::ScopeKeys;
use crate::key::{KeyManager, Purpose, Request};
use crate::message::Pulse;
use crate::ring::inventory::{Heartbeat, MAX_PROBED};
use crate::ring::witness::{Act, Deed, witnessed};
use crate::ring::{NamedReader, RecordId, Scope, Time};
use crate::runtime::{Monotonic, with_timeout};
use crate::value::context::EncryptionContext;
use crate::value::entropy;
use crate::value::error::{Error, ErrorKind, Result};
use crate::value::secret::Dek;

/// How many pending keys one heartbeat probes anew.
const PROBES: usize = 256;
/// How many scopes with a pending key one heartbeat asks for at once, how often, and how many of them it reads.
const PAGE: u32 = 1024;
const PAGES: usize = 16;
const ELSEWHERE: usize = 64;
/// For how long one heartbeat probes.
const PROBING: Duration = Duration::from_secs(20);
/// For how long a probe that opened is good.
const GOOD: Duration = Duration::from_secs(300);

/// What is remembered from one heartbeat to the next.
#[derive(Debug, Default)]
pub(super) struct Probes {
    opened: Mutex<HashMap<RecordId, Monotonic>>,
    /// After which scope the next heartbeat looks on for pending keys of scopes that are not loaded.
    after: Mutex<Option<Scope>>,
    /// Whether a heartbeat is on its way.
    pub(super) beating: AtomicBool,
}

impl Probes {
    fn after(&self) -> MutexGuard<'_, Option<Scope>> {
        // It is replaced by one assignment.
        self.after.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RecordId, Monotonic>> {
        // Each change is one call of the map: nothing is half done.
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says that no heartbeat is on its way when it is dropped, however that one ended.
pub(super) struct Beating(pub(super) Arc<Core>);

impl Drop for Beating {
    fn drop(&mut self) {
        self.0.probes.beating.store(false, Ordering::SeqCst);
    }
}

impl Core {
    /// Writes a heartbeat, after it has probed the pending keys of the scopes that are loaded or that the settings say it serves.
    pub(super) async fn beat(&self) -> Result<()> {
        self.check_process()?;
        let Some(reader) = &self.options.reader else {
            return Err(Error::argument(
                "a ring without the name of a reader writes no heartbeats",
            ));
        };
        // Before the probes: what comes meanwhile was not probed.
        let (revision, begun) = (self.revision(), self.runtime.now());
        let (mut failed, mut made) = (Vec::new(), 0);
        let mut pending = Vec::new();
        for keys in self.loaded() {
            pending.extend(keys.pending().map(|key| (Arc::clone(&keys), Arc::clone(key))));
        }
        pending.extend(self.pending_elsewhere(reader, begun).await);
        let mut probed: Vec<RecordId> = {
            let mut opened = self.probes.lock();
            opened.retain(|_, opened| begun < *opened + GOOD);
            opened.keys().copied().take(MAX_PROBED - PROBES).collect()
        };
        for (keys, key) in &pending {
            if self.probes.lock().contains_key(&key.id) {
                continue;
            }
            if made == PROBES || self.runtime.now() >= begun + PROBING {
                break;
            }
            made += 1;
            let probe = with_timeout(&*self.runtime, Some(READ), self.probe(keys, key));
            match probe.await {
                Ok(()) => {
                    self.probes.lock().insert(key.id, begun);
                    probed.push(key.id);
                }
                Err(error) => {
                    tracing::warn!(key = %key.id, scope = %key.scope, %error, "a pending key of the ring could not be probed");
                    failed.push(key.id);
                }
            }
        }
        probed.sort_unstable();
        let mut heartbeat =
            Heartbeat::new(reader.clone(), self.process.clone(), revision, probed).with_failed(failed);
        if let Some(key) = &self.options.reader_key {
            let at = Time::try_from(self.runtime.wall_clock())?;
            heartbeat = heartbeat.sign(self.trust.ring(), key, at)?;
        }
        with_timeout(&*self.runtime, Some(READ), self.inventory.beat(&heartbeat)).await
    }

    /// The pending keys of scopes that nobody has asked for yet, if the settings say that this reader serves them: a promotion
    /// there waits for it all the same.
    async fn pending_elsewhere(&self, reader: &str, begun: Monotonic) -> Vec<(Arc<ScopeKeys>, Arc<Key>)> {
        let settings = self.settings();
        let Some(named) = settings.readers.iter().find(|named| named.name == reader) else {
            return Vec::new();
        };
        let mut pending = Vec::new();
        let (scopes, end) = match with_timeout(&*self.runtime, Some(READ), self.elsewhere(named)).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "the inventory does not say where a key is pending");
                return Vec::new();
            }
        };
        for scope in scopes {
            if self.runtime.now() >= begun + PROBING / 2 {
                return pending;
            }
            *self.probes.after() = Some(scope.clone());
            let pulse = || Pulse::until(begun);
            match self.read(std::slice::from_ref(&scope)).await {
                Ok(view) => {
                    let keys = Arc::new(ScopeKeys::new(&view, &scope, pulse(), pulse()));
                    pending.extend(keys.pending().map(|key| (Arc::clone(&keys), Arc::clone(key))));
                }
                Err(error) => {
                    tracing::warn!(%scope, %error, "the pending keys of a scope could not be read to probe them");
                }
            }
        }
        *self.probes.after() = end;
        pending
    }

    /// Scopes with a pending key that this reader serves and that are not loaded, from where the last heartbeat was: and after which one
    /// the next goes on, `None` for the beginning. So each has its turn, however many there are. The inventory's word for it is a hint: what it
    /// does not name is not probed, and so not promoted.
    async fn elsewhere(&self, named: &NamedReader) -> Result<(Vec<Scope>, Option<Scope>)> {
        let mut after = self.probes.after().clone();
        let mut found = Vec::new();
        for _ in 0..PAGES {
            let page = self.inventory.scopes_pending(after.as_ref(), PAGE).await?;
            let is_last = page.len() < PAGE as usize;
            let state = self.lock();
            for scope in page {
                if named.serves(&scope) && state.scopes.peek(&scope).is_none() {
                    found.push(scope.clone());
                }
                after = Some(scope);
                if found.len() == ELSEWHERE {
                    return Ok((found, after));
                }
            }
            drop(state);
            if is_last {
                return Ok((found, None));
            }
        }
        Ok((found, after))
    }

    /// Wraps a DEK that nobody uses under a pending key, and unwraps it.
    async fn probe(&self, keys: &ScopeKeys, key: &Arc<Key>) -> Result<()> {
        let ring = self.trust.ring().to_string();
        let context = EncryptionContext::new([("waxseal-ring", ring.as_str()), ("purpose", "probe")])?;
        let request = Request::new(&context)
            .with_purpose(Purpose::Probe)
            .with_deadline(self.runtime.now() + READ);
        let request = match &self.options.reader {
            Some(reader) => request.with_actor(reader),
            None => request,
        };
        let revision = self.revision();
        let deed = |begun| {
            let mut deed = Deed::new(Act::Probe, self.trust.ring(), begun)
                .by_kek(key)
                .in_scope(&key.scope)
                .at(Some(revision));
            deed.actor = self.options.reader.clone();
            deed
        };
        let witness = self.managers.branches.witness.get().map(|witness| &**witness);
        let probe = self.wrap_and_unwrap(keys, key, &request);
        witnessed(witness, deed, probe, || None).await
    }

    async fn wrap_and_unwrap(&self, keys: &ScopeKeys, key: &Arc<Key>, request: &Request<'_>) -> Result<()> {
        let manager = self.ring_key(keys, key, request).await?;
        let dek = Dek::generate()?;
        let wrapped = manager.wrap(&dek, request).await?;
        let unwrapped = manager.unwrap(wrapped.as_wrap_ref(), request).await?;
        if unwrapped.dek.ct_eq(&dek) {
            Ok(())
        } else {
            Err(Error::new(ErrorKind::InvalidAnswer)
                .with_provider(key.provenance.provider.clone())
                .with_detail("what it unwrapped is not the data key that it had wrapped"))
        }
    }
}

/// A name of this process that no other start of it has.
pub(super) fn process_name() -> Result<String> {
    let random = entropy::array::<8>()?;
    Ok(format!(
        "{}-{}",
        std::process::id(),
        base16ct::lower::encode_string(&random)
    ))
}
