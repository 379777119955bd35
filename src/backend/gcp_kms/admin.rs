//! Administering the keys of one key ring.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use google_cloud_kms_v1::client::KeyManagementService;
use google_cloud_kms_v1::model::crypto_key::CryptoKeyPurpose;
use google_cloud_kms_v1::model::crypto_key_version::{CryptoKeyVersionAlgorithm, CryptoKeyVersionState};
use google_cloud_kms_v1::model::{CryptoKey, CryptoKeyVersion, CryptoKeyVersionTemplate, ProtectionLevel};
use google_cloud_wkt::FieldMask;

use super::client::Client;
use super::key::ALGORITHM;
use super::map::{self, Call};
use super::rotate::number;
use super::{PROVIDER, names};
use crate::backend::shared::answer::invalid_answer;
pub(super) use crate::backend::shared::idempotency::small_digest;
use crate::envelope::KekRef;
use crate::key::{KekAdmin, KekDescription, KekState, KekTemplate, Protection};
use crate::runtime::Monotonic;
use crate::value::error::{Error, ErrorKind, Operation, Result};

/// The label that says by which idempotency key a key was made.
const CREATED: &str = "waxseal-created";
/// The least that a key of the service waits before it is destroyed.
const LEAST_DELAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Administers the keys of one key ring. Give its client a separate account, so that the application's account has no right to
/// administer.
///
/// What the service supports:
/// - *Idempotency keys*: the service has none, so their digests are kept as labels of the key: `waxseal-created`, and
///   `waxseal-rotated-…` for the last 16 rotations. The service does not compare labels when they are written: let only one process at
///   a time rotate a key. If a call was cut off after it made a version and before it noted the version, that version never becomes
///   the primary version.
/// - *Disabling and destroying*: the service disables and destroys versions. If the reference names no version, every version of the
///   key is disabled or destroyed.
/// - *Time until destruction*: a property that the key is created with, 30 days by default; see
///   [`with_destroy_delay`](Self::with_destroy_delay). A longer delay than the key's is `Unsupported`, because destruction would come
///   earlier than asked for.
/// - *Rotation by schedule*: this crate sets none.
#[derive(Clone, Debug)]
pub struct GcpAdmin {
    pub(super) client: Client,
    ring: String,
    destroy_delay: Option<Duration>,
}

impl GcpAdmin {
    pub(super) fn new(client: &Client, key_ring: &str) -> Result<Self> {
        names::check_ring(key_ring)?;
        Ok(Self {
            client: client.clone(),
            ring: key_ring.to_owned(),
            destroy_delay: None,
        })
    }

    /// Sets how long the versions of keys that are created from now on wait before they are destroyed: 1 to 120 days, in whole
    /// seconds.
    #[must_use]
    pub fn with_destroy_delay(mut self, delay: Duration) -> Self {
        self.destroy_delay = Some(Duration::from_secs(delay.as_secs()));
        self
    }

    /// Returns the key of a reference, and refuses a reference of another provider or ring.
    pub(super) fn key<'a>(&self, kek: &'a KekRef) -> Result<&'a str> {
        let name = kek
            .id()
            .strip_prefix(&self.ring)
            .and_then(|rest| rest.strip_prefix("/cryptoKeys/"));
        match name {
            Some(name) if kek.provider() == PROVIDER && names::is_name(name) => Ok(kek.id()),
            _ => Err(Error::argument("the KEK is not one of this key ring")),
        }
    }

    /// Returns the version that a reference names, if it names one.
    pub(super) fn version<'a>(&self, kek: &'a KekRef) -> Result<Option<&'a str>> {
        match kek.version() {
            "" => Ok(None),
            version if names::is_version(version) => Ok(Some(version)),
            _ => Err(Error::argument("the version of a key is a number")),
        }
    }

    pub(super) async fn call<T, F>(
        &self,
        deadline: Monotonic,
        work: impl FnOnce(KeyManagementService) -> F + Send + 'static,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = google_cloud_gax::Result<T>> + Send + 'static,
    {
        self.client.call(Call::Administer, deadline, work).await
    }

    pub(super) async fn get(&self, key: &str, deadline: Monotonic) -> Result<CryptoKey> {
        let name = key.to_owned();
        let work = move |service: KeyManagementService| service.get_crypto_key().set_name(name).send();
        let found = self.call(deadline, work).await?;
        if found.purpose == CryptoKeyPurpose::EncryptDecrypt {
            Ok(found)
        } else {
            Err(Error::configuration(
                "the key is not one of purpose ENCRYPT_DECRYPT",
            ))
        }
    }

    pub(super) async fn get_version(
        &self,
        key: &str,
        version: &str,
        deadline: Monotonic,
    ) -> Result<CryptoKeyVersion> {
        let name = names::version_name(key, version);
        let work =
            move |service: KeyManagementService| service.get_crypto_key_version().set_name(name).send();
        self.call(deadline, work).await
    }

    /// Returns the version that is named, or every version.
    async fn versions(&self, kek: &KekRef, deadline: Monotonic) -> Result<Vec<CryptoKeyVersion>> {
        let key = self.key(kek)?;
        if let Some(version) = self.version(kek)? {
            return Ok(vec![self.get_version(key, version, deadline).await?]);
        }
        let (mut all, mut page) = (Vec::new(), String::new());
        loop {
            let (parent, token) = (key.to_owned(), page);
            let work = move |service: KeyManagementService| {
                service
                    .list_crypto_key_versions()
                    .set_parent(parent)
                    .set_page_token(token)
                    .send()
            };
            let answer = self.call(deadline, work).await?;
            all.extend(answer.crypto_key_versions);
            if answer.next_page_token.is_empty() {
                return Ok(all);
            }
            page = answer.next_page_token;
        }
    }

    async fn try_create(&self, template: &KekTemplate, idempotency_key: &str) -> Result<KekDescription> {
        if !names::is_name(&template.name) {
            return Err(Error::argument(
                "the name of a key has 1 to 63 of A-Z a-z 0-9 _ -",
            ));
        }
        let deadline = self.client.deadline(None);
        let mark = small_digest(idempotency_key);
        let mut labels: HashMap<String, String> = template.labels.iter().cloned().collect();
        labels.insert(CREATED.to_owned(), mark.clone());
        let level = if template.hardware {
            ProtectionLevel::Hsm
        } else {
            ProtectionLevel::Software
        };
        let version = CryptoKeyVersionTemplate::new()
            .set_protection_level(level)
            .set_algorithm(CryptoKeyVersionAlgorithm::GoogleSymmetricEncryption);
        let mut key = CryptoKey::new()
            .set_purpose(CryptoKeyPurpose::EncryptDecrypt)
            .set_version_template(version)
            .set_labels(labels);
        if let Some(delay) = self.destroy_delay {
            let delay = google_cloud_wkt::Duration::try_from(delay)
                .map_err(|_| Error::argument("the delay of a destruction is too long"))?;
            key = key.set_destroy_scheduled_duration(delay);
        }
        let (ring, id) = (self.ring.clone(), template.name.clone());
        let work = move |service: KeyManagementService| {
            service
                .create_crypto_key()
                .set_parent(ring)
                .set_crypto_key_id(id)
                .set_crypto_key(key)
                .send()
        };
        let name = format!("{}/cryptoKeys/{}", self.ring, template.name);
        let made = match self.call(deadline, work).await {
            Ok(made) => made,
            Err(refused) => match self.get(&name, deadline).await {
                // An earlier call with this idempotency key made the key.
                Ok(found) if found.labels.get(CREATED) == Some(&mark) => found,
                _ => return Err(refused),
            },
        };
        describe_key(&name, &made)
    }

    async fn try_describe(&self, kek: &KekRef) -> Result<KekDescription> {
        let key = self.key(kek)?;
        let deadline = self.client.deadline(None);
        match self.version(kek)? {
            Some(version) => describe(key, &self.get_version(key, version, deadline).await?),
            None => describe_key(key, &self.get(key, deadline).await?),
        }
    }

    async fn try_describe_versions(&self, kek: &KekRef) -> Result<Vec<KekDescription>> {
        let key = self.key(kek)?;
        let versions = self.versions(kek, self.client.deadline(None)).await?;
        let described: Result<Vec<_>> = versions.iter().map(|version| describe(key, version)).collect();
        let mut described = described?;
        described.sort_by_key(|version| Reverse(number(version.kek.version())));
        Ok(described)
    }

    /// Changes the versions in one state to the other state. A version in a third state stays as it is.
    async fn switch(
        &self,
        kek: &KekRef,
        from: CryptoKeyVersionState,
        to: CryptoKeyVersionState,
    ) -> Result<()> {
        let deadline = self.client.deadline(None);
        for version in self.versions(kek, deadline).await? {
            if version.state != from {
                continue;
            }
            let update = CryptoKeyVersion::new()
                .set_name(version.name)
                .set_state(to.clone());
            let work = move |service: KeyManagementService| {
                service
                    .update_crypto_key_version()
                    .set_crypto_key_version(update)
                    .set_update_mask(FieldMask::default().set_paths(["state"]))
                    .send()
            };
            if self.call(deadline, work).await?.state != to {
                return Err(map::damaged("the state of the version was not changed"));
            }
        }
        Ok(())
    }

    async fn try_schedule_destroy(&self, kek: &KekRef, delay: Duration) -> Result<SystemTime> {
        let key = self.key(kek)?;
        let deadline = self.client.deadline(None);
        let found = self.get(key, deadline).await?;
        let own = found
            .destroy_scheduled_duration
            .and_then(|own| Duration::try_from(own).ok());
        if delay > own.unwrap_or(LEAST_DELAY) {
            return Err(Error::unsupported(
                "a delay of destruction longer than the one the key was made with",
            ));
        }
        let mut last: Option<SystemTime> = None;
        for version in self.versions(kek, deadline).await? {
            let scheduled = match version.state {
                CryptoKeyVersionState::Destroyed => continue,
                CryptoKeyVersionState::DestroyScheduled => version,
                _ => {
                    let name = version.name;
                    let work = move |service: KeyManagementService| {
                        service.destroy_crypto_key_version().set_name(name).send()
                    };
                    self.call(deadline, work).await?
                }
            };
            let time = scheduled
                .destroy_time
                .and_then(|time| SystemTime::try_from(time).ok());
            let time = time.ok_or_else(|| invalid_answer("the answer does not say when"))?;
            last = Some(last.map_or(time, |last| last.max(time)));
        }
        last.ok_or_else(|| Error::new(ErrorKind::KeyDestroyed))
    }

    async fn try_cancel_destroy(&self, kek: &KekRef) -> Result<()> {
        let deadline = self.client.deadline(None);
        let versions = self.versions(kek, deadline).await?;
        if versions
            .iter()
            .all(|version| version.state == CryptoKeyVersionState::Destroyed)
        {
            return Err(Error::new(ErrorKind::KeyDestroyed));
        }
        for version in versions {
            if version.state != CryptoKeyVersionState::DestroyScheduled {
                continue;
            }
            let name = version.name;
            let work = move |service: KeyManagementService| {
                service.restore_crypto_key_version().set_name(name).send()
            };
            if self.call(deadline, work).await?.state == CryptoKeyVersionState::DestroyScheduled {
                return Err(map::damaged("the destruction of the version was not called off"));
            }
        }
        Ok(())
    }
}

/// A key as it wraps: by its primary version.
pub(super) fn describe_key(key: &str, found: &CryptoKey) -> Result<KekDescription> {
    match &found.primary {
        Some(primary) => describe(key, primary),
        // No version wraps. Each older version has its own state.
        None => Ok(KekDescription::new(
            KekRef::new(PROVIDER, key, "")?,
            KekState::Disabled,
            ALGORITHM,
        )),
    }
}

pub(super) fn describe(key: &str, version: &CryptoKeyVersion) -> Result<KekDescription> {
    let kek =
        names::answered(key, &version.name).ok_or_else(|| invalid_answer("the answer names another key"))?;
    let state = match version.state {
        CryptoKeyVersionState::Enabled => KekState::Enabled,
        CryptoKeyVersionState::DestroyScheduled | CryptoKeyVersionState::PendingExternalDestruction => {
            KekState::PendingDestruction
        }
        CryptoKeyVersionState::Destroyed => KekState::Destroyed,
        _ => KekState::Disabled,
    };
    let time =
        |time: Option<google_cloud_wkt::Timestamp>| time.and_then(|time| SystemTime::try_from(time).ok());
    let mut description = KekDescription::new(kek, state, ALGORITHM);
    description.protection = match version.protection_level {
        ProtectionLevel::Hsm => Protection::Hardware,
        ProtectionLevel::Software => Protection::Software,
        _ => Protection::Unknown,
    };
    description.created = time(version.create_time);
    description.destroyed_at = time(version.destroy_time);
    Ok(description)
}

fn named(error: Error) -> Error {
    error
        .with_operation(Operation::Administer)
        .with_provider(PROVIDER)
}

#[async_trait]
impl KekAdmin for GcpAdmin {
    fn provider(&self) -> &str {
        PROVIDER
    }

    async fn create(&self, template: &KekTemplate, idempotency_key: &str) -> Result<KekDescription> {
        self.try_create(template, idempotency_key).await.map_err(named)
    }

    async fn describe(&self, kek: &KekRef) -> Result<KekDescription> {
        self.try_describe(kek).await.map_err(named)
    }

    async fn describe_versions(&self, kek: &KekRef) -> Result<Vec<KekDescription>> {
        self.try_describe_versions(kek).await.map_err(named)
    }

    async fn rotate(&self, kek: &KekRef, idempotency_key: &str) -> Result<KekDescription> {
        self.try_rotate(kek, idempotency_key).await.map_err(named)
    }

    async fn disable(&self, kek: &KekRef) -> Result<()> {
        use CryptoKeyVersionState::{Disabled, Enabled};
        self.switch(kek, Enabled, Disabled).await.map_err(named)
    }

    async fn enable(&self, kek: &KekRef) -> Result<()> {
        use CryptoKeyVersionState::{Disabled, Enabled};
        self.switch(kek, Disabled, Enabled).await.map_err(named)
    }

    async fn schedule_destroy(&self, kek: &KekRef, delay: Duration) -> Result<SystemTime> {
        self.try_schedule_destroy(kek, delay).await.map_err(named)
    }

    /// Google leaves each version disabled.
    async fn cancel_destroy(&self, kek: &KekRef) -> Result<()> {
        self.try_cancel_destroy(kek).await.map_err(named)
    }
}
