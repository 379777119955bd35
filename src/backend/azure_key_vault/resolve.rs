//! One configured key: its id, and which version is the current one.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use azure_security_keyvault_keys::KeyClient;
use azure_security_keyvault_keys::models::{Key as Found, KeyAttributes, KeyClientGetKeyOptions, KeyType};

use super::client::Client;
use super::map::Call;
use super::names::{self, KeyId};
use super::{Algorithm, PROVIDER, versions};
use crate::backend::shared::answer::invalid_answer;
use crate::envelope::KekRef;
use crate::key::Recognition;
use crate::runtime::Monotonic;
use crate::value::error::{Error, ErrorKind, Result};

/// When to ask again after a failure, at the latest.
const AGAIN: Duration = Duration::from_secs(30);
/// How long a list of versions is good for: longer than it takes to open an envelope, and not long after a rotation.
const LISTED: Duration = Duration::from_secs(5);
/// The least modulus, in bytes.
pub(super) const LEAST_MODULUS: usize = 256;

pub(super) struct Key {
    pub(super) client: Client,
    pub(super) name: String,
    pub(super) algorithm: Algorithm,
    pinned: Option<String>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// The id of the KEK: known from the start for a vault of Azure's own, else from the first answer.
    id: Option<String>,
    /// Whether the vault has answered under that id.
    answered: bool,
    /// The version that wraps, and what the vault said of it.
    version: Option<Version>,
    /// When to ask for it again.
    due: Option<Monotonic>,
    /// All versions, the newest first, and when they were listed.
    listed: Option<(Monotonic, Arc<[String]>)>,
}

/// A version, and whether it is in use.
#[derive(Clone, Debug)]
pub(super) struct Version {
    pub(super) id: String,
    validity: Validity,
    /// When it was asked for.
    read: Monotonic,
}

impl Version {
    /// Refuses a version that must not wrap. The service may wrap under it, and then not unwrap.
    pub(super) fn check(&self, now: SystemTime) -> Result<()> {
        match self.validity.why_not(now) {
            Some(why) => Err(out_of_use(&self.id, why)),
            None => Ok(()),
        }
    }

    /// Whether what is known of its state is too old to wrap by: it may have been disabled since.
    fn is_too_old(&self, now: Monotonic, refresh: Duration) -> bool {
        now.0.saturating_sub(self.read.0) > refresh.max(AGAIN).saturating_mul(2)
    }
}

/// Whether a version may be used, by its attributes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Validity {
    is_disabled: bool,
    not_before: Option<SystemTime>,
    expires: Option<SystemTime>,
}

impl Validity {
    pub(super) fn of(attributes: Option<&KeyAttributes>) -> Self {
        attributes.map_or_else(Self::default, |of| Self {
            is_disabled: of.enabled == Some(false),
            not_before: of.not_before.map(SystemTime::from),
            expires: of.expires.map(SystemTime::from),
        })
    }

    pub(super) fn why_not(&self, now: SystemTime) -> Option<&'static str> {
        if self.is_disabled {
            Some("is disabled")
        } else if self.expires.is_some_and(|end| end <= now) {
            Some("has expired")
        } else if self.not_before.is_some_and(|start| start > now) {
            Some("is not valid yet")
        } else {
            None
        }
    }
}

pub(super) fn out_of_use(version: &str, why: &str) -> Error {
    Error::new(ErrorKind::KeyDisabled)
        .with_provider(PROVIDER)
        .with_detail(format!("version {version} of the key {why}"))
}

impl Key {
    pub(super) fn new(client: &Client, key: &str, algorithm: Algorithm) -> Result<Self> {
        let (name, version) = names::split_key(key)?;
        let vault = client.vault();
        // There a vault has one name; elsewhere it may have another than the one it is reached by.
        let id = names::is_azure(vault.host_str().unwrap_or_default())
            .then(|| names::kek_id(&names::origin(vault), name));
        Ok(Self {
            client: client.clone(),
            name: name.to_owned(),
            algorithm,
            pinned: version.map(str::to_owned),
            known: Mutex::new(Known {
                id,
                ..Known::default()
            }),
        })
    }

    /// Returns the same key, with another algorithm.
    pub(super) fn with_algorithm(&self, algorithm: Algorithm) -> Self {
        Self {
            client: self.client.clone(),
            name: self.name.clone(),
            algorithm,
            pinned: self.pinned.clone(),
            known: Mutex::new(Known {
                id: self.lock().id.clone(),
                ..Known::default()
            }),
        }
    }

    /// Returns the same key, pinned to one version. An answer under another id is refused.
    pub(super) fn pinned_to(&self, kek: &KekRef) -> Self {
        Self {
            client: self.client.clone(),
            name: self.name.clone(),
            algorithm: self.algorithm,
            pinned: Some(kek.version().to_owned()),
            known: Mutex::new(Known {
                id: Some(kek.id().to_owned()),
                ..Known::default()
            }),
        }
    }

    /// Returns the id of the KEK, or the configured address until the vault has answered under its own name.
    pub(super) fn id(&self) -> String {
        let known = self.lock().id.clone();
        known.unwrap_or_else(|| self.configured())
    }

    /// Whether a KEK id is this key's, as far as is known without a call. It is for certain once the vault has answered
    /// under its own name.
    pub(super) fn recognizes(&self, kek_id: &str) -> Recognition {
        if kek_id.is_empty() {
            return Recognition::Perhaps;
        }
        let known = self.lock();
        let may_be = match &known.id {
            Some(id) => id.eq_ignore_ascii_case(kek_id),
            None => KeyId::parse(kek_id)
                .is_some_and(|id| id.version.is_none() && id.name.eq_ignore_ascii_case(&self.name)),
        };
        match (may_be, known.answered) {
            (false, _) => Recognition::No,
            (true, false) => Recognition::Perhaps,
            (true, true) => Recognition::Mine,
        }
    }

    /// Returns whether a KEK id may be the id of this key.
    pub(super) fn may_be(&self, kek_id: &str) -> bool {
        !self.recognizes(kek_id).is_no()
    }

    /// Returns the address of the key as it was configured.
    pub(super) fn configured(&self) -> String {
        names::kek_id(&names::origin(self.client.vault()), &self.name)
    }

    /// Whether a reference to administer is to this key: by its id, or by the address that it was configured with.
    pub(super) fn is_meant_by(&self, kek_id: &str) -> bool {
        self.configured().eq_ignore_ascii_case(kek_id) || self.may_be(kek_id)
    }

    /// Returns the KEK that an answer names, if it is the key and version that was asked for.
    pub(super) fn answered(&self, kid: Option<&str>, asked: Option<&str>) -> Result<KekRef> {
        let other = || invalid_answer("the answer is about another key or version than was asked for");
        let kid = KeyId::parse(kid.ok_or_else(other)?).ok_or_else(other)?;
        let version = kid.version.ok_or_else(other)?;
        let is_asked = asked.is_none_or(|asked| asked.eq_ignore_ascii_case(version));
        if !is_asked || !kid.name.eq_ignore_ascii_case(&self.name) {
            return Err(other());
        }
        let answered = names::kek_id(kid.origin, &self.name);
        let id = {
            let mut known = self.lock();
            let id = known.id.get_or_insert_with(|| answered.clone()).clone();
            if !id.eq_ignore_ascii_case(&answered) {
                return Err(other());
            }
            known.answered = true;
            id
        };
        KekRef::new(PROVIDER, &id, version).map_err(|_| other())
    }

    /// The version that wraps, the pinned or the current one, as last asked for: by its id alone, whatever state it is in.
    pub(super) async fn version(&self, deadline: Monotonic) -> Result<Version> {
        let former = {
            let mut known = self.lock();
            let now = self.client.now();
            let is_due = known.due.is_none_or(|due| due <= now);
            match &known.version {
                Some(version) if !is_due => return Ok(version.clone()),
                Some(version) => {
                    let version = version.clone();
                    // Calls that come meanwhile go on with what is known.
                    known.due = Some(now + AGAIN.min(self.client.refresh()));
                    Some(version)
                }
                None => None,
            }
        };
        match self.resolve(deadline).await {
            Ok(version) => {
                match former {
                    None => {
                        tracing::info!(kek = %self.id(), version = %version.id, "an Azure key was resolved");
                    }
                    Some(former) if former.id != version.id => {
                        tracing::info!(kek = %self.id(), version = %version.id, "an Azure key has a new version");
                    }
                    Some(_) => {}
                }
                Ok(version)
            }
            Err(error) => match former {
                Some(former) if error.is_retryable() => {
                    tracing::warn!(
                        kek = %self.id(),
                        error = %error,
                        "the version of an Azure key that wraps could not be asked for; it is taken for what it was"
                    );
                    Ok(former)
                }
                _ => {
                    self.lock().due = None;
                    Err(error)
                }
            },
        }
    }

    /// A version to wrap under, which is in use. If what is known is not, the vault is asked once more.
    pub(super) async fn version_in_use(&self, deadline: Monotonic) -> Result<String> {
        let (began, now) = (self.client.now(), self.client.wall_clock());
        let version = self.version(deadline).await?;
        if version.is_too_old(began, self.client.refresh()) {
            let version = self.resolve(deadline).await?;
            return version.check(now).map(|()| version.id);
        }
        let Err(refused) = version.check(now) else {
            return Ok(version.id);
        };
        // It may be in use by now, or have a successor.
        match self.resolve(deadline).await {
            Ok(version) => version.check(now).map(|()| version.id),
            Err(_) => Err(refused),
        }
    }

    /// Another version than this one, if the vault has one by now that is in use: this one is disabled or gone.
    pub(super) async fn instead_of(&self, version: &str, deadline: Monotonic) -> Option<String> {
        if self.pinned.is_some() {
            return None;
        }
        let new = self.resolve(deadline).await.ok()?;
        let is_good = new.id != version && new.check(self.client.wall_clock()).is_ok();
        is_good.then_some(new.id)
    }

    /// Asks which version wraps, and for its state.
    async fn resolve(&self, deadline: Monotonic) -> Result<Version> {
        let read = self.client.now();
        let pinned = self.pinned.as_deref();
        let version = match self.get(pinned, deadline).await {
            Ok(found) => {
                let kid = found.key.as_ref().and_then(|key| key.kid.as_deref());
                let kek = self.answered(kid, pinned)?;
                self.check(&found)?;
                Version {
                    id: kek.version().to_owned(),
                    validity: Validity::of(found.attributes.as_ref()),
                    read,
                }
            }
            // The version is known, and there is no right to read it.
            Err(error) => match pinned {
                Some(pinned) if error.kind() == ErrorKind::Denied => Version {
                    id: pinned.to_owned(),
                    validity: Validity::default(),
                    read,
                },
                _ => return Err(error),
            },
        };
        let mut known = self.lock();
        known.version = Some(version.clone());
        known.due = Some(self.client.now() + self.client.refresh());
        Ok(version)
    }

    /// All versions, the newest first. Listed once for all stanzas of an envelope: what was listed a moment ago is not
    /// listed again.
    pub(super) async fn versions(&self, deadline: Monotonic) -> Result<Arc<[String]>> {
        let now = self.client.now();
        let listed = self.lock().listed.clone();
        if let Some((at, versions)) = listed
            && now < at + LISTED
        {
            return Ok(versions);
        }
        let versions = versions::all(&self.client, &self.name, Call::Read, deadline).await?;
        let versions: Arc<[String]> = versions.into();
        self.lock().listed = Some((now, Arc::clone(&versions)));
        Ok(versions)
    }

    /// Reads the key, or one version of it.
    pub(super) async fn get(&self, version: Option<&str>, deadline: Monotonic) -> Result<Found> {
        get(&self.client, &self.name, version, Call::Read, deadline).await
    }

    /// Refuses a key that the algorithm is not for.
    fn check(&self, found: &Found) -> Result<()> {
        let wrong = |detail: &'static str| Err(Error::new(ErrorKind::Configuration).with_detail(detail));
        let key = found.key.as_ref();
        let operations = key.and_then(|key| key.key_ops.as_deref());
        if operations.is_some_and(|operations| !operations.iter().any(|operation| operation == "unwrapKey")) {
            return wrong(
                "the key's operations do not include unwrapKey, so nothing that it wraps would open",
            );
        }
        match (self.algorithm, key.and_then(|key| key.kty.as_ref())) {
            (Algorithm::RsaOaep256, Some(KeyType::Rsa | KeyType::RsaHsm)) => {
                let modulus = key.and_then(|key| key.n.as_ref()).map(Vec::len);
                if modulus.is_some_and(|len| len < LEAST_MODULUS) {
                    return wrong("the key has fewer than 2048 bits");
                }
                Ok(())
            }
            (Algorithm::A256Kw, Some(KeyType::Oct | KeyType::OctHsm)) => Ok(()),
            (Algorithm::RsaOaep256, _) => {
                wrong("the key is no RSA key; algorithm=A256KW is for symmetric ones")
            }
            (Algorithm::A256Kw, _) => {
                wrong("the key is no symmetric key; algorithm=RSA-OAEP-256 is for RSA ones")
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // Nothing under it panics half-way.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a key, or one version of it.
pub(super) async fn get(
    client: &Client,
    name: &str,
    version: Option<&str>,
    call: Call,
    deadline: Monotonic,
) -> Result<Found> {
    let (name, version) = (name.to_owned(), version.map(str::to_owned));
    let work = move |sdk: Arc<KeyClient>| {
        let (name, version) = (name.clone(), version.clone());
        async move {
            let options = KeyClientGetKeyOptions {
                key_version: version,
                ..KeyClientGetKeyOptions::default()
            };
            sdk.get_key(&name, Some(options)).await?.into_model()
        }
    };
    client.call(call, deadline, work).await
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id())
            .field("pinned", &self.pinned)
            .field("version", &self.lock().version)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_good_for_twice_the_time_between_two_reads() {
        let seconds = Duration::from_secs;
        let version = Version {
            id: "v".to_owned(),
            validity: Validity::default(),
            read: Monotonic(seconds(1000)),
        };
        for (refresh, age, expected) in [
            (300, 0, false),
            (300, 600, false),
            (300, 601, true),
            // Never less than a minute, in which it is asked for twice.
            (0, 60, false),
            (0, 61, true),
            (u64::MAX, 1 << 40, false),
        ] {
            let now = version.read + seconds(age);
            assert_eq!(
                version.is_too_old(now, seconds(refresh)),
                expected,
                "{refresh} {age}"
            );
        }
        assert!(!version.is_too_old(Monotonic(Duration::ZERO), seconds(300)));
    }
}
