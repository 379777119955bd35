//! Administering the keys of one mount.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use reqwest::{Method, StatusCode};
use zeroize::Zeroizing;

use super::client::{Answered, Client};
use super::key::labeled;
use super::names::check_path;
use super::transit_key::{Key, data, id_prefix};
use super::wire::{Body, KeyInfo};
use super::{Mode, PROVIDER};
use crate::backend::shared::answer::invalid_answer;
use crate::envelope::KekRef;
use crate::key::{KekAdmin, KekDescription, KekState, KekTemplate, Protection};
use crate::runtime::Monotonic;
use crate::value::error::{Error, ErrorKind, Operation, Result};

/// The most versions that are described. A key that was rotated daily for ten years has fewer.
const MOST: u64 = 4096;
/// Idempotency keys that are remembered.
const REMEMBERED: usize = 1024;

/// Administers the keys of one Transit engine. Give its client a separate token, so that the application's token has no right to
/// administer.
///
/// What the servers support:
/// - *Labels and hardware*: neither. A template that asks for them is `Unsupported`.
/// - *Idempotency keys*: the servers have no place to keep them. Creating a key that exists, and that the mode can use, describes
///   the key. Only this value remembers the idempotency keys of its rotations. To be safe beyond this value, name the version to
///   rotate away from, as `describe` returns it: if that version is not the active version anymore, nothing is done.
/// - *Disabling a key*: OpenBao soft-deletes the key, and enabling restores it. On a server without soft deletion, both are
///   `Unsupported`.
/// - *Disabling a version*: by `min_decryption_version`. So versions are disabled from the oldest upwards, and never the active
///   version, and they are enabled from the newest downwards. Anything else is `Unsupported`.
/// - *Destruction*: a server destroys immediately, so `schedule_destroy` is `Unsupported`. To destroy a key, disable it, wait, set
///   `deletion_allowed`, and delete the key with the server's own tools.
pub struct TransitAdmin {
    client: Client,
    mount: String,
    mode: Mode,
    rotated: Mutex<VecDeque<(String, KekRef)>>,
}

impl TransitAdmin {
    pub(super) fn new(client: &Client) -> Self {
        Self {
            client: client.clone(),
            mount: super::MOUNT.to_owned(),
            mode: Mode::Encrypt,
            rotated: Mutex::default(),
        }
    }

    /// Administers the keys of the Transit engine at `mount`.
    ///
    /// # Errors
    /// `Configuration` if `mount` is not the path of a mount.
    pub fn with_mount(mut self, mount: &str) -> Result<Self> {
        self.mount = check_path(mount, "a mount")?;
        Ok(self)
    }

    /// Makes keys that `mode` needs.
    #[must_use]
    pub fn with_mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Returns the key of a reference, and refuses a reference of another provider, namespace or mount.
    fn key(&self, kek: &KekRef) -> Result<Key> {
        let name = kek.id().strip_prefix(&id_prefix(&self.client, &self.mount));
        match name {
            Some(name) if kek.provider() == PROVIDER => Key::new(&self.client, &self.mount, name, self.mode),
            _ => Err(Error::argument("the KEK is not one of this mount").with_provider(PROVIDER)),
        }
    }

    /// Returns the time by which a call must end.
    fn deadline(&self) -> Monotonic {
        self.client.deadline(None)
    }

    async fn try_create(&self, template: &KekTemplate) -> Result<KekDescription> {
        if template.hardware {
            return Err(unsupported("a Transit key in hardware"));
        }
        if !template.labels.is_empty() {
            return Err(unsupported("a label on a Transit key"));
        }
        let key = Key::new(&self.client, &self.mount, &template.name, self.mode)?;
        let deadline = self.deadline();
        match key.read(deadline).await {
            Ok(info) => {
                key.suits(&info)?;
                return describe(&key, &info, None);
            }
            Err(error) if error.kind() == ErrorKind::KeyNotFound => {
                // There is no key to read, so the namespace is checked with what every token can read.
                self.client
                    .check_namespace("auth/token/lookup-self", false, deadline)
                    .await?;
            }
            Err(error) => return Err(error),
        }
        let derived = self.mode == Mode::DataKey;
        let body = format!(
            r#"{{"type":"aes256-gcm96","derived":{derived},"exportable":false,"allow_plaintext_backup":false}}"#
        );
        let answered = key.manage(Method::POST, "", Some(text(&body)), deadline).await?;
        done(&answered)?;
        // What the server made, and not what was asked for: of unknown parameters a server only warns.
        let info = key.read(deadline).await?;
        key.suits(&info)?;
        describe(&key, &info, None)
    }

    async fn try_describe(&self, kek: &KekRef) -> Result<KekDescription> {
        let key = self.key(kek)?;
        let info = key.read(self.deadline()).await?;
        describe(&key, &info, version_of(kek)?)
    }

    async fn try_describe_versions(&self, kek: &KekRef) -> Result<Vec<KekDescription>> {
        let key = self.key(kek)?;
        let info = key.read(self.deadline()).await?;
        let versions = match version_of(kek)? {
            Some(version) => version..=version,
            // Those below were trimmed.
            None => info.min_available_version.max(1)..=info.latest_version,
        };
        // The server's number, not a count of what it sent.
        if versions.end().saturating_sub(*versions.start()) >= MOST {
            return Err(Error::new(ErrorKind::OverLimit {
                limit: "versions of a Transit key that are described",
                max: MOST,
            })
            .with_provider(PROVIDER));
        }
        versions
            .rev()
            .map(|version| describe(&key, &info, Some(version)))
            .collect()
    }

    async fn try_rotate(&self, kek: &KekRef, idempotency_key: &str) -> Result<KekDescription> {
        let key = self.key(kek)?;
        let deadline = self.deadline();
        if let Some(done) = self.remembered(idempotency_key, key.id()) {
            return describe(&key, &key.read(deadline).await?, version_of(&done)?);
        }
        let before = key.read(deadline).await?;
        key.suits(&before)?;
        let rotated = match version_of(kek)? {
            // An earlier call whose answer was lost, or somebody else, has rotated already.
            Some(version) if version < before.latest_version => before,
            Some(version) if version > before.latest_version => return Err(no_version()),
            _ => {
                done(
                    &key.manage(Method::POST, "/rotate", Some(text("{}")), deadline)
                        .await?,
                )?;
                let after = key.read(deadline).await?;
                if after.latest_version <= before.latest_version {
                    return Err(invalid_answer("the rotation made no new version").with_retryable(true));
                }
                after
            }
        };
        self.remember(idempotency_key, key.kek(rotated.latest_version));
        describe(&key, &rotated, None)
    }

    async fn try_disable(&self, kek: &KekRef) -> Result<()> {
        let key = self.key(kek)?;
        let deadline = self.deadline();
        let info = key.read(deadline).await?;
        let Some(version) = version_of(kek)? else {
            if info.soft_deleted {
                return Ok(());
            }
            let answered = key.manage(Method::DELETE, "/soft-delete", None, deadline).await?;
            return match answered.status {
                // The key exists, so the server does not know soft deletion.
                StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::BAD_REQUEST => {
                    Err(unsupported("disabling a whole Transit key on this server"))
                }
                _ => done(&answered),
            };
        };
        if version > info.latest_version || version == 0 {
            return Err(no_version());
        }
        if version < info.min_decryption_version {
            return Ok(());
        }
        if version == info.latest_version {
            return Err(unsupported("disabling the active version of a Transit key"));
        }
        if version != info.min_decryption_version {
            return Err(unsupported(
                "disabling a version of a Transit key before the older ones",
            ));
        }
        let body = format!(r#"{{"min_decryption_version":{}}}"#, version + 1);
        done(
            &key.manage(Method::POST, "/config", Some(text(&body)), deadline)
                .await?,
        )?;
        if key.read(deadline).await?.min_decryption_version <= version {
            return Err(
                invalid_answer("min_decryption_version is not what it was set to").with_retryable(true)
            );
        }
        Ok(())
    }

    async fn try_enable(&self, kek: &KekRef) -> Result<()> {
        let key = self.key(kek)?;
        let deadline = self.deadline();
        let info = key.read(deadline).await?;
        match version_of(kek)? {
            Some(version) if version == 0 || version > info.latest_version => Err(no_version()),
            Some(version) if version < info.min_available_version => Err(Error::new(ErrorKind::KeyDestroyed)
                .with_provider(PROVIDER)
                .with_detail("the version was trimmed")),
            Some(version) if version >= info.min_decryption_version => Ok(()),
            // The newest of those that are disabled, as disabling takes the oldest that is not.
            Some(version) if version.checked_add(1) == Some(info.min_decryption_version) => {
                let body = format!(r#"{{"min_decryption_version":{version}}}"#);
                let end = "/config";
                done(&key.manage(Method::POST, end, Some(text(&body)), deadline).await?)?;
                match key.read(deadline).await?.min_decryption_version {
                    least if least <= version => Ok(()),
                    _ => Err(invalid_answer("min_decryption_version is not what it was set to")
                        .with_retryable(true)),
                }
            }
            Some(_) => Err(unsupported(
                "enabling a version of a Transit key before the newer ones",
            )),
            None if !info.soft_deleted => Ok(()),
            None => {
                let end = "/soft-delete-restore";
                done(&key.manage(Method::POST, end, Some(text("{}")), deadline).await?)?;
                match key.read(deadline).await?.soft_deleted {
                    false => Ok(()),
                    true => Err(invalid_answer("the key is still soft-deleted").with_retryable(true)),
                }
            }
        }
    }

    fn remembered(&self, idempotency_key: &str, id: &str) -> Option<KekRef> {
        let rotated = self.rotated.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = rotated
            .iter()
            .filter(|(key, kek)| key == idempotency_key && kek.id() == id);
        found.next().map(|(_, kek)| kek.clone())
    }

    fn remember(&self, idempotency_key: &str, kek: KekRef) {
        let mut rotated = self.rotated.lock().unwrap_or_else(PoisonError::into_inner);
        if rotated.len() >= REMEMBERED {
            rotated.pop_front();
        }
        rotated.push_back((idempotency_key.to_owned(), kek));
    }
}

#[async_trait]
impl KekAdmin for TransitAdmin {
    fn provider(&self) -> &str {
        PROVIDER
    }

    async fn create(&self, template: &KekTemplate, _idempotency_key: &str) -> Result<KekDescription> {
        administered(self.try_create(template).await)
    }

    async fn describe(&self, kek: &KekRef) -> Result<KekDescription> {
        administered(self.try_describe(kek).await)
    }

    async fn describe_versions(&self, kek: &KekRef) -> Result<Vec<KekDescription>> {
        administered(self.try_describe_versions(kek).await)
    }

    async fn rotate(&self, kek: &KekRef, idempotency_key: &str) -> Result<KekDescription> {
        administered(self.try_rotate(kek, idempotency_key).await)
    }

    async fn disable(&self, kek: &KekRef) -> Result<()> {
        administered(self.try_disable(kek).await)
    }

    async fn enable(&self, kek: &KekRef) -> Result<()> {
        administered(self.try_enable(kek).await)
    }

    async fn schedule_destroy(&self, kek: &KekRef, _delay: Duration) -> Result<SystemTime> {
        administered(self.key(kek).and_then(|_| {
            let detail = match version_of(kek)? {
                None => "a server deletes immediately: disable the key, and delete it later with the server's tools".to_owned(),
                // Deleting the key would take all versions with it.
                Some(version) => format!(
                    "a server destroys old versions immediately: to destroy version {version} and all before it, and none after it, set \
                     min_decryption_version and min_encryption_version of the key to {next}, and call its trim with \
                     min_available_version={next}; deleting the key would destroy every version",
                    next = version.saturating_add(1)
                ),
            };
            Err(unsupported("destroying a Transit key at a later time").with_detail(detail))
        }))
    }
}

fn administered<T>(result: Result<T>) -> Result<T> {
    result.map_err(|error| labeled(error, Operation::Administer))
}

fn describe(key: &Key, info: &KeyInfo, version: Option<u64>) -> Result<KekDescription> {
    let version = version.unwrap_or(info.latest_version);
    if version == 0 || version > info.latest_version {
        return Err(no_version());
    }
    let state = if version < info.min_available_version {
        KekState::Destroyed
    } else if info.soft_deleted || version < info.min_decryption_version {
        KekState::Disabled
    } else {
        KekState::Enabled
    };
    let mut description = KekDescription::new(key.kek(version), state, key.mode.algorithm())
        .with_protection(Protection::Software);
    description.created = info
        .keys
        .get(&version.to_string())
        .and_then(serde_json::Value::as_u64)
        .and_then(|seconds| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)));
    Ok(description)
}

/// Returns the version of a reference, if the reference names one.
fn version_of(kek: &KekRef) -> Result<Option<u64>> {
    match kek.version() {
        "" => Ok(None),
        version => version.parse().map(Some).map_err(|_| no_version()),
    }
}

fn done(answered: &Answered) -> Result<()> {
    match answered.status {
        StatusCode::NO_CONTENT => Ok(()),
        _ => {
            let (_, warned) = data::<serde::de::IgnoredAny>(answered)?;
            if warned {
                return Err(invalid_answer("the server warns of how it took the parameters"));
            }
            Ok(())
        }
    }
}

fn text(body: &str) -> Body {
    Zeroizing::new(body.as_bytes().to_vec())
}

fn no_version() -> Error {
    Error::new(ErrorKind::KeyNotFound)
        .with_provider(PROVIDER)
        .with_detail("the key has no such version")
}

fn unsupported(feature: &'static str) -> Error {
    Error::new(ErrorKind::Unsupported { feature }).with_provider(PROVIDER)
}

impl fmt::Debug for TransitAdmin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransitAdmin")
            .field("mount", &self.mount)
            .field("mode", &self.mode)
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}
