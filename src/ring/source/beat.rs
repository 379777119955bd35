//! Heartbeats: which revision this process has, and under which pending keys it could seal and open.

use std::sync::Arc;

use super::core::Core;
use super::keys::ScopeKeys;
use crate::key::{Purpose, Request};
use crate::ring::inventory::Heartbeat;
use crate::ring::{KeyRecord, RecordId, Scope};
use crate::runtime::with_timeout;
use crate::value::context::EncryptionContext;
use crate::value::entropy;
use crate::value::error::{Error, Result};
use crate::value::secret::Dek;

use super::core::READ;

/// How many pending keys one heartbeat probes.
const PROBES: usize = 256;

impl Core {
    /// Writes a heartbeat, after it has probed the pending keys of the scopes that are loaded.
    pub(super) async fn beat(&self) -> Result<()> {
        self.check_process()?;
        let Some(reader) = &self.options.reader else {
            return Err(Error::argument(
                "a ring without the name of a reader writes no heartbeats",
            ));
        };
        let revision = self.revision();
        let mut probed: Vec<RecordId> = Vec::new();
        let loaded = self.loaded();
        let pending = loaded
            .iter()
            .flat_map(|keys| keys.pending().map(move |key| (keys, key)));
        for (keys, key) in pending.take(PROBES) {
            let probe = with_timeout(&*self.runtime, Some(READ), self.probe(keys, key));
            match probe.await {
                Ok(()) => probed.push(key.id),
                Err(error) => {
                    tracing::warn!(key = %key.id, scope = %key.scope, %error, "a pending key of the ring could not be probed");
                }
            }
        }
        let heartbeat = Heartbeat::new(reader.clone(), self.process.clone(), revision, probed);
        with_timeout(&*self.runtime, Some(READ), self.inventory.beat(&heartbeat)).await
    }

    /// Wraps a DEK that nobody uses under a pending key, and unwraps it.
    async fn probe(&self, keys: &ScopeKeys, key: &Arc<KeyRecord>) -> Result<()> {
        let context = probe_context(&keys.scope)?;
        let request = Request::new(&context).with_purpose(Purpose::Probe);
        let manager = self.ring_key(keys, key).await?;
        let dek = Dek::generate()?;
        let wrapped = crate::key::KeyManager::wrap(&manager, &dek, &request).await?;
        let unwrapped = crate::key::KeyManager::unwrap(&manager, wrapped.as_wrap_ref(), &request).await?;
        if unwrapped.dek.ct_eq(&dek) {
            Ok(())
        } else {
            Err(Error::cannot_open())
        }
    }
}

/// The context of probes: no application has it.
fn probe_context(scope: &Scope) -> Result<EncryptionContext> {
    EncryptionContext::new([("waxseal-ring", "probe"), ("waxseal-scope", scope.as_str())])
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
