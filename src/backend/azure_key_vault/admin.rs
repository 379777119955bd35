//! Administering the keys of one vault.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use azure_core::http::RequestContent;
use azure_security_keyvault_keys::KeyClient;
use azure_security_keyvault_keys::models::{
    CreateKeyParameters, Key as Found, KeyAttributes, KeyClientUpdateKeyPropertiesOptions, KeyOperation,
    KeyType, UpdateKeyPropertiesParameters,
};

use super::client::Client;
use super::map::Call;
use super::names::KeyId;
use super::resolve::{self, Key};
use super::{Algorithm, PROVIDER, names, versions};
use crate::backend::shared::answer::invalid_answer;
pub(super) use crate::backend::shared::idempotency::digest;
use crate::envelope::KekRef;
use crate::key::{KekAdmin, KekDescription, KekState, KekTemplate, Protection};
use crate::runtime::Monotonic;
use crate::value::error::{Error, ErrorKind, Operation, Result};

/// The tag that says by which idempotency key a key was made.
const CREATED: &str = "waxseal-created";
/// The modulus of new RSA keys, in bits.
const RSA_BITS: i32 = 3072;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Administers the keys of one vault. Give its client a separate account, so that the application's account has no right to
/// administer.
///
/// What the service supports:
/// - *Idempotency keys*: the service has none, so their digests are kept as tags: `waxseal-created` on the first version, and
///   `waxseal-rotated` on each version that a rotation made. The service does not compare tags when they are written: let only one
///   process at a time create or rotate a key. A rotation that was cut off before its version was tagged is done again, unless the
///   reference names the version that the rotation began with.
/// - *Creating a key whose name exists*: would make a new version, so it is `InvalidArgument`.
/// - *Disabling*: the service disables versions. If the reference names no version, every version of the key is disabled.
/// - *Destroying a version*: `Unsupported`; the service deletes whole keys.
/// - *Time until destruction*: a deleted key stays for the time that the vault was created with (7 to 90 days), and can be recovered
///   until then. A deleted key does not unwrap. A longer delay is `Unsupported`, because the key would be destroyed earlier than
///   asked for.
#[derive(Clone, Debug)]
pub struct AzureAdmin {
    pub(super) client: Client,
    algorithm: Algorithm,
}

impl AzureAdmin {
    pub(super) fn new(client: &Client) -> Self {
        Self {
            client: client.clone(),
            algorithm: Algorithm::RsaOaep256,
        }
    }

    /// Administers keys for this algorithm.
    #[must_use]
    pub fn with_algorithm(mut self, algorithm: Algorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    /// The key that a reference names, and the version if it names one. Of another provider or host none is followed: the
    /// host is the vault's, or the one that the vault calls itself.
    pub(super) fn key<'a>(&self, kek: &'a KekRef) -> Result<(Key, Option<&'a str>)> {
        let refused = || Error::argument("the KEK is not one of this vault");
        let id = KeyId::parse(kek.id()).filter(|id| id.version.is_none() && kek.provider() == PROVIDER);
        let id = id.ok_or_else(refused)?;
        let key = Key::new(&self.client, id.name, self.algorithm)?;
        if !key.is_meant_by(kek.id()) {
            return Err(refused());
        }
        match kek.version() {
            "" => Ok((key, None)),
            version if names::is_version(version) => Ok((key, Some(version))),
            _ => Err(Error::argument("the version of a key is letters and digits")),
        }
    }

    pub(super) async fn get(&self, key: &Key, version: Option<&str>, deadline: Monotonic) -> Result<Found> {
        resolve::get(&self.client, &key.name, version, Call::Administer, deadline).await
    }

    /// As the answer says it: of the key and version that were asked, and, unless the reference hid it, of the vault that
    /// the reference names.
    pub(super) fn describe_found(
        &self,
        key: &Key,
        kek: Option<&KekRef>,
        found: &Found,
        version: Option<&str>,
    ) -> Result<KekDescription> {
        let kid = found.key.as_ref().and_then(|key| key.kid.as_deref());
        let answered = key.answered(kid, version)?;
        if kek.is_some_and(|kek| !key.is_meant_by(kek.id())) {
            return Err(Error::argument("the KEK is not one of this vault"));
        }
        let mut described = self.described(answered, &found.attributes.clone().unwrap_or_default());
        described.protection = match found.key.as_ref().and_then(|key| key.kty.as_ref()) {
            Some(KeyType::RsaHsm | KeyType::OctHsm) => Protection::Hardware,
            Some(KeyType::Rsa) => Protection::Software,
            _ => Protection::Unknown,
        };
        Ok(described)
    }

    fn described(&self, kek: KekRef, attributes: &KeyAttributes) -> KekDescription {
        let state = match attributes.enabled {
            Some(false) => KekState::Disabled,
            _ => KekState::Enabled,
        };
        let mut description = KekDescription::new(kek, state, self.algorithm.wrap_algorithm());
        description.created = attributes.created.map(SystemTime::from);
        description.not_before = attributes.not_before.map(SystemTime::from);
        description.expires_at = attributes.expires.map(SystemTime::from);
        description
    }

    async fn try_create(&self, template: &KekTemplate, idempotency_key: &str) -> Result<KekDescription> {
        if !names::is_name(&template.name) {
            return Err(Error::argument("the name of a key has 1 to 127 of A-Z a-z 0-9 -"));
        }
        let deadline = self.client.deadline(None);
        let key = Key::new(&self.client, &template.name, self.algorithm)?;
        let mark = digest(idempotency_key);
        match self.get(&key, None, deadline).await {
            // It is there since an earlier call with this idempotency key.
            Ok(found) if tag(&found, CREATED) == Some(&mark) => {
                return self.describe_found(&key, None, &found, None);
            }
            Ok(_) => return Err(Error::argument("there is a key of this name already")),
            Err(error) if error.kind() == ErrorKind::KeyNotFound => {}
            Err(error) => return Err(error),
        }
        let mut tags: HashMap<String, String> = template.labels.iter().cloned().collect();
        tags.insert(CREATED.to_owned(), mark);
        let (kty, size) = match (self.algorithm, template.hardware) {
            (Algorithm::RsaOaep256, false) => (KeyType::Rsa, RSA_BITS),
            (Algorithm::RsaOaep256, true) => (KeyType::RsaHsm, RSA_BITS),
            (Algorithm::A256Kw, _) => (KeyType::OctHsm, 256),
        };
        let parameters = CreateKeyParameters {
            kty: Some(kty),
            key_size: Some(size),
            key_ops: Some(vec![KeyOperation::WrapKey, KeyOperation::UnwrapKey]),
            tags: Some(tags),
            ..CreateKeyParameters::default()
        };
        let name = template.name.clone();
        let work = move |sdk: Arc<KeyClient>| {
            let (name, parameters) = (name.clone(), parameters.clone());
            async move {
                let body: RequestContent<CreateKeyParameters> = parameters.try_into()?;
                sdk.create_key(&name, body, None).await?.into_model()
            }
        };
        let made = self.client.call(Call::Administer, deadline, work).await?;
        self.describe_found(&key, None, &made, None)
    }

    async fn try_describe(&self, kek: &KekRef) -> Result<KekDescription> {
        let (key, version) = self.key(kek)?;
        let deadline = self.client.deadline(None);
        match self.get(&key, version, deadline).await {
            Ok(found) => self.describe_found(&key, Some(kek), &found, version),
            Err(error) if error.kind() == ErrorKind::KeyNotFound => {
                match self.deleted(&key, kek, deadline).await {
                    Ok((kek, purged)) => {
                        let version = version.unwrap_or(kek.version());
                        let kek = KekRef::new(PROVIDER, kek.id(), version)?;
                        let algorithm = self.algorithm.wrap_algorithm();
                        let mut description =
                            KekDescription::new(kek, KekState::PendingDestruction, algorithm);
                        description.destroyed_at = Some(purged);
                        Ok(description)
                    }
                    // Never there, or without the right to see what was deleted.
                    Err(_) => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// The current version, then the others.
    async fn try_describe_versions(&self, kek: &KekRef) -> Result<Vec<KekDescription>> {
        let current = self.try_describe(kek).await?;
        if !kek.version().is_empty() || current.state == KekState::PendingDestruction {
            return Ok(vec![current]);
        }
        let (key, _) = self.key(kek)?;
        let deadline = self.client.deadline(None);
        let listed = versions::properties(&self.client, &key.name, Call::Administer, deadline).await?;
        let mut all = vec![current];
        for of in listed {
            let described = self.described(
                key.answered(of.kid.as_deref(), None)?,
                &of.attributes.unwrap_or_default(),
            );
            if all.first().is_some_and(|current| current.kek != described.kek) {
                all.push(described);
            }
        }
        Ok(all)
    }

    async fn set_enabled(&self, kek: &KekRef, enabled: bool) -> Result<()> {
        let (key, version) = self.key(kek)?;
        let deadline = self.client.deadline(None);
        // So that a reference to another vault's key is not followed.
        let found = self.get(&key, version, deadline).await?;
        let newest = self.describe_found(&key, Some(kek), &found, version)?;
        let all = match version {
            Some(_) => vec![newest.kek.version().to_owned()],
            None => versions::all(&self.client, &key.name, Call::Administer, deadline).await?,
        };
        for version in all {
            let parameters = UpdateKeyPropertiesParameters {
                key_attributes: Some(KeyAttributes {
                    enabled: Some(enabled),
                    ..KeyAttributes::default()
                }),
                ..UpdateKeyPropertiesParameters::default()
            };
            let after = self.update(&key, &version, parameters, deadline).await?;
            if after.attributes.and_then(|of| of.enabled) != Some(enabled) {
                return Err(invalid_answer("the state of the version was not changed").with_retryable(true));
            }
        }
        Ok(())
    }

    pub(super) async fn update(
        &self,
        key: &Key,
        version: &str,
        parameters: UpdateKeyPropertiesParameters,
        deadline: Monotonic,
    ) -> Result<Found> {
        let (name, version) = (key.name.clone(), version.to_owned());
        let work = move |sdk: Arc<KeyClient>| {
            let (name, version, parameters) = (name.clone(), version.clone(), parameters.clone());
            async move {
                let body: RequestContent<UpdateKeyPropertiesParameters> = parameters.try_into()?;
                let options = KeyClientUpdateKeyPropertiesOptions {
                    key_version: Some(version),
                    ..KeyClientUpdateKeyPropertiesOptions::default()
                };
                sdk.update_key_properties(&name, body, Some(options))
                    .await?
                    .into_model()
            }
        };
        self.client.call(Call::Administer, deadline, work).await
    }

    async fn try_schedule_destroy(&self, kek: &KekRef, delay: Duration) -> Result<SystemTime> {
        let (key, version) = self.key(kek)?;
        if version.is_some() {
            return Err(Error::unsupported("destroying one version of a key").with_detail(
                "a vault deletes whole keys, with all versions: disable this version, and delete the key when nothing is under any of them",
            ));
        }
        let deadline = self.client.deadline(None);
        let found = match self.get(&key, None, deadline).await {
            Ok(found) => found,
            // Scheduled already.
            Err(error) if error.kind() == ErrorKind::KeyNotFound => {
                return self
                    .deleted(&key, kek, deadline)
                    .await
                    .map(|(_, time)| time)
                    .map_err(|_| error);
            }
            Err(error) => return Err(error),
        };
        self.describe_found(&key, Some(kek), &found, None)?;
        let days = found.attributes.and_then(|of| of.recoverable_days);
        let own = DAY * days.and_then(|days| u32::try_from(days).ok()).unwrap_or(0);
        if delay > own || own.is_zero() {
            return Err(Error::unsupported(
                "a delay of destruction longer than the time for which the vault keeps what is deleted",
            ));
        }
        let name = key.name.clone();
        let work = move |sdk: Arc<KeyClient>| {
            let name = name.clone();
            async move { sdk.delete_key(&name, None).await?.into_model() }
        };
        let deleted = self.client.call(Call::Administer, deadline, work).await?;
        let time = deleted.scheduled_purge_date.map(SystemTime::from);
        time.ok_or_else(|| invalid_answer("the answer does not say when"))
    }

    async fn try_cancel_destroy(&self, kek: &KekRef) -> Result<()> {
        let (key, _) = self.key(kek)?;
        let deadline = self.client.deadline(None);
        match self.get(&key, None, deadline).await {
            // Also so that another vault's key is not recovered.
            Ok(found) => return self.describe_found(&key, Some(kek), &found, None).map(drop),
            Err(error) if error.kind() == ErrorKind::KeyNotFound => {
                self.deleted(&key, kek, deadline).await.map_err(|_| error)?;
            }
            Err(error) => return Err(error),
        }
        let name = key.name.clone();
        let work = move |sdk: Arc<KeyClient>| {
            let name = name.clone();
            async move { sdk.recover_deleted_key(&name, None).await?.into_model() }
        };
        self.client.call(Call::Administer, deadline, work).await.map(drop)
    }

    /// A key that was deleted and is not yet gone, and when it will be.
    async fn deleted(&self, key: &Key, asked: &KekRef, deadline: Monotonic) -> Result<(KekRef, SystemTime)> {
        let name = key.name.clone();
        let work = move |sdk: Arc<KeyClient>| {
            let name = name.clone();
            async move { sdk.get_deleted_key(&name, None).await?.into_model() }
        };
        let found = self.client.call(Call::Administer, deadline, work).await?;
        let kid = found.key.as_ref().and_then(|key| key.kid.as_deref());
        let time = found.scheduled_purge_date.map(SystemTime::from);
        let time = time.ok_or_else(|| invalid_answer("the answer does not say when"))?;
        let kek = key.answered(kid, None)?;
        if !key.is_meant_by(asked.id()) {
            return Err(Error::argument("the KEK is not one of this vault"));
        }
        Ok((kek, time))
    }
}

pub(super) fn tag<'f>(found: &'f Found, name: &str) -> Option<&'f String> {
    found.tags.as_ref()?.get(name)
}

fn named(error: Error) -> Error {
    error
        .with_operation(Operation::Administer)
        .with_provider(PROVIDER)
}

#[async_trait]
impl KekAdmin for AzureAdmin {
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
        self.set_enabled(kek, false).await.map_err(named)
    }

    async fn enable(&self, kek: &KekRef) -> Result<()> {
        self.set_enabled(kek, true).await.map_err(named)
    }

    async fn schedule_destroy(&self, kek: &KekRef, delay: Duration) -> Result<SystemTime> {
        self.try_schedule_destroy(kek, delay).await.map_err(named)
    }

    /// A vault takes some seconds to recover a key. Each version is as it was before.
    async fn cancel_destroy(&self, kek: &KekRef) -> Result<()> {
        self.try_cancel_destroy(kek).await.map_err(named)
    }
}
