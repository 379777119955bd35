//! Heartbeats: which revision this process has, and under which pending keys it could seal and open.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::core::{Core, READ};
use super::keys::ScopeKeys;
use crate::key::{KeyManager, Purpose, Request};
use crate::ring::inventory::{Heartbeat, MAX_PROBED};
use crate::ring::{KeyRecord, RecordId};
use crate::runtime::{Monotonic, with_timeout};
use crate::value::context::EncryptionContext;
use crate::value::entropy;
use crate::value::error::{Error, ErrorKind, Result};
use crate::value::secret::Dek;

/// How many pending keys one heartbeat probes.
const PROBES: usize = 256;
/// For how long one heartbeat probes.
const PROBING: Duration = Duration::from_secs(20);
/// For how long a probe that opened is good.
const GOOD: Duration = Duration::from_secs(300);

/// What is remembered from one heartbeat to the next.
#[derive(Debug, Default)]
pub(super) struct Probes {
    opened: Mutex<HashMap<RecordId, Monotonic>>,
    /// Whether a heartbeat is on its way.
    pub(super) beating: AtomicBool,
}

impl Probes {
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
    /// Writes a heartbeat, after it has probed the pending keys of the scopes that are loaded.
    pub(super) async fn beat(&self) -> Result<()> {
        self.check_process()?;
        let Some(reader) = &self.options.reader else {
            return Err(Error::argument(
                "a ring without the name of a reader writes no heartbeats",
            ));
        };
        // Before the probes: what comes meanwhile was not probed.
        let (revision, begun) = (self.revision(), self.runtime.now());
        let (mut probed, mut failed, mut made) = (Vec::new(), Vec::new(), 0);
        let mut pending: Vec<(Arc<ScopeKeys>, Arc<KeyRecord>)> = Vec::new();
        for keys in self.loaded() {
            pending.extend(keys.pending().map(|key| (Arc::clone(&keys), Arc::clone(key))));
        }
        self.probes.lock().retain(|_, opened| begun < *opened + GOOD);
        for (keys, key) in pending.iter().take(MAX_PROBED) {
            if self.probes.lock().contains_key(&key.id) {
                probed.push(key.id);
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
        let heartbeat =
            Heartbeat::new(reader.clone(), self.process.clone(), revision, probed).with_failed(failed);
        with_timeout(&*self.runtime, Some(READ), self.inventory.beat(&heartbeat)).await
    }

    /// Wraps a DEK that nobody uses under a pending key, and unwraps it.
    async fn probe(&self, keys: &ScopeKeys, key: &Arc<KeyRecord>) -> Result<()> {
        let ring = self.trust.ring().to_string();
        let context = EncryptionContext::new([("waxseal-ring", ring.as_str()), ("purpose", "probe")])?;
        let request = Request::new(&context)
            .with_purpose(Purpose::Probe)
            .with_deadline(self.runtime.now() + READ);
        let manager = self.ring_key(keys, key).await?;
        let dek = Dek::generate()?;
        let wrapped = manager.wrap(&dek, &request).await?;
        let unwrapped = manager.unwrap(wrapped.as_wrap_ref(), &request).await?;
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
