//! Whether a KEK wraps and unwraps, and which one it is.

use std::sync::Arc;

use super::RingAdmin;
use crate::envelope::{KekRef, WrapAlgorithm};
use crate::key::{KekAdmin, KekDescription, KekState, KeyManager, Purpose, Request, Versions};
use crate::ring::record::{KeyRecord, Protection, Provenance};
use crate::ring::witness::{Act, Deed, Operation};
use crate::ring::{RecordId, Scope};
use crate::value::context::EncryptionContext;
use crate::value::error::{Error, ErrorKind, Result};
use crate::value::secret::Dek;

/// A KEK, as its backend names it.
pub(super) struct Resolved {
    pub(super) provenance: Provenance,
    pub(super) algorithm: WrapAlgorithm,
    pub(super) protection: Protection,
    pub(super) versions: Versions,
    /// The administration of its place, if there is one.
    pub(super) admin: Option<Arc<dyn KekAdmin>>,
}

/// For which key a KEK is probed.
#[derive(Clone, Copy)]
pub(super) struct Probed<'p> {
    /// `None` if that is decided after the probe.
    pub(super) key: Option<RecordId>,
    pub(super) scope: &'p Scope,
}

impl RingAdmin {
    /// Finds out which KEK a URI leads to: from what it wraps, and not from the URI.
    pub(super) async fn resolve(&self, uri: &str, of: Probed<'_>) -> Result<Resolved> {
        let manager = self.call(self.backends.open(uri)).await?;
        let (kek, algorithm) = self.probe(&*manager, of).await?;
        let capabilities = manager.capabilities();
        let versions = capabilities.versions;
        let kek = named(&kek, versions)?;
        let admin = match self.call(self.backends.admin(uri)).await {
            Ok(admin) => Some(admin),
            Err(error) if matches!(error.kind(), ErrorKind::Unsupported { .. }) => None,
            Err(error) => return Err(error),
        };
        let mut protection = Protection::Unknown;
        if let Some(admin) = &admin {
            let described = self.call(admin.describe(&kek)).await?;
            check_enabled(&described)?;
            protection = described.protection;
        }
        if capabilities.is_local {
            protection = Protection::Software;
        }
        Ok(Resolved {
            provenance: Provenance::new(uri, &kek)?.one_version(versions == Versions::Proven),
            algorithm,
            protection,
            versions,
            admin,
        })
    }

    /// Wraps a data key, unwraps it and compares. Returns the KEK that did it.
    async fn probe(&self, manager: &dyn KeyManager, of: Probed<'_>) -> Result<(KekRef, WrapAlgorithm)> {
        let ring = self.reader.trust().ring().to_string();
        let context = EncryptionContext::new([("waxseal-ring", ring.as_str()), ("purpose", "probe")])?;
        // Without a deadline of its own: backends go by their own clocks, and the calls are bounded here.
        let request = Request::new(&context)
            .with_purpose(Purpose::Probe)
            .with_actor(&self.actor);
        let mut deed = Deed {
            act: Act::Probe,
            ..self.deed(Operation::Tick)
        }
        .in_scope(of.scope);
        if let Some(key) = of.key {
            deed = deed.of_key(key);
        }
        self.witnessed(deed, self.wrap_and_unwrap(manager, &request))
            .await
    }

    async fn wrap_and_unwrap(
        &self,
        manager: &dyn KeyManager,
        request: &Request<'_>,
    ) -> Result<(KekRef, WrapAlgorithm)> {
        let dek = Dek::generate()?;
        let wrapped = self.call(manager.wrap(&dek, request)).await?;
        let unwrapped = self.call(manager.unwrap(wrapped.as_wrap_ref(), request)).await?;
        if !dek.ct_eq(&unwrapped.dek) {
            return Err(Error::new(ErrorKind::InvalidAnswer)
                .with_provider(manager.provider().to_owned())
                .with_detail("what it unwrapped is not the data key that it had wrapped"));
        }
        Ok((wrapped.kek().clone(), wrapped.algorithm()))
    }

    /// Probes the KEK of a record, as readers will use it.
    pub(super) async fn probe_key(&self, key: &KeyRecord) -> Result<()> {
        let of = Probed {
            key: Some(key.id),
            scope: &key.scope,
        };
        match &key.branch {
            None => {
                let manager = self.call(self.backends.key(&key.provenance)).await?;
                self.probe_with(&*manager, &key.provenance, &key.algorithm, of)
                    .await
            }
            Some(_) => {
                let manager = self.branch_manager(key).await?;
                self.probe_with(&manager, &key.provenance, &key.algorithm, of)
                    .await
            }
        }
    }

    /// Probes a KEK that no record names yet.
    pub(super) async fn probe_kek(
        &self,
        kek: &Provenance,
        algorithm: WrapAlgorithm,
        of: Probed<'_>,
    ) -> Result<()> {
        let manager = self.call(self.backends.key(kek)).await?;
        self.probe_with(&*manager, kek, &algorithm.to_string(), of).await
    }

    async fn probe_with(
        &self,
        manager: &dyn KeyManager,
        expected: &Provenance,
        algorithm: &str,
        of: Probed<'_>,
    ) -> Result<()> {
        let (kek, used) = self.probe(manager, of).await?;
        let kek = named(&kek, manager.capabilities().versions)?;
        if kek == expected.kek()? && used.to_string() == algorithm {
            return Ok(());
        }
        Err(Error::new(ErrorKind::InvalidAnswer)
            .with_provider(manager.provider().to_owned())
            .with_detail(format!(
                "the probe of {} {} was wrapped by another KEK, version or algorithm: {} {}, {used}",
                expected.id,
                expected.version,
                kek.id(),
                kek.version()
            )))
    }
}

/// A KEK as a record names it: with its version only where an unwrap proves which version did it.
pub(super) fn named(kek: &KekRef, versions: Versions) -> Result<KekRef> {
    match versions {
        Versions::Proven => Ok(kek.clone()),
        _ => KekRef::new(kek.provider(), kek.id(), ""),
    }
}

pub(super) fn check_enabled(described: &KekDescription) -> Result<()> {
    let kind = match described.state {
        KekState::Enabled => return Ok(()),
        KekState::Disabled => ErrorKind::KeyDisabled,
        KekState::PendingDestruction => ErrorKind::KeyPendingDestruction,
        KekState::Destroyed => ErrorKind::KeyDestroyed,
    };
    Err(Error::new(kind).with_provider(described.kek.provider().to_owned()))
}
