//! One key of a mount: its paths, and what the server reports about it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde::Deserialize;

use super::client::{Answered, Client};
use super::names::{check_name, check_path};
use super::wire::{Answer, Body, KeyInfo};
use super::{Mode, PROVIDER};
use crate::backend::shared::answer::invalid_answer;
use crate::envelope::KekRef;
use crate::runtime::{Monotonic, Runtime};
use crate::value::error::{Error, ErrorKind, Result};

/// How long a check of a key is valid.
const REFRESH: Duration = Duration::from_secs(300);

#[derive(Clone)]
pub(super) struct Key {
    pub(super) client: Client,
    pub(super) mode: Mode,
    /// The version that wraps; by default the newest.
    pub(super) pinned: Option<u64>,
    mount: Arc<str>,
    name: Arc<str>,
    id: Arc<str>,
    /// When the key last passed a check.
    checked: Arc<Mutex<Option<Monotonic>>>,
}

impl Key {
    pub(super) fn new(client: &Client, mount: &str, name: &str, mode: Mode) -> Result<Self> {
        let mount = check_path(mount, "a mount")?;
        check_name(name)?;
        let id = format!("{}{name}", id_prefix(client, &mount));
        KekRef::new(PROVIDER, &id, "")?;
        Ok(Self {
            client: client.clone(),
            mode,
            pinned: None,
            mount: mount.into(),
            name: name.into(),
            id: id.into(),
            checked: Arc::default(),
        })
    }

    /// Returns the same key, used in another mode.
    pub(super) fn with_mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self.checked = Arc::default();
        self
    }

    /// Returns the same key, which wraps under this version only.
    pub(super) fn with_pinned(mut self, version: u64) -> Self {
        self.pinned = Some(version);
        self
    }

    /// Returns how many items fit into one call.
    pub(super) fn batch(&self) -> usize {
        self.mode.batch(self.pinned.is_some())
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Names the server and the key on it.
    pub(super) fn place(&self) -> String {
        format!("{} {}", self.client.address(), self.id)
    }

    pub(super) fn kek(&self, version: u64) -> KekRef {
        KekRef::trusted(PROVIDER, &self.id, &version.to_string())
    }

    /// `MOUNT/ACTION/NAME`.
    pub(super) async fn act(&self, action: &str, body: Body, deadline: Monotonic) -> Result<Answered> {
        let path = format!("{}/{action}/{}", self.mount, self.name);
        self.client.call(Method::POST, &path, Some(body), deadline).await
    }

    /// `MOUNT/keys/NAME/END`.
    pub(super) async fn manage(
        &self,
        method: Method,
        end: &str,
        body: Option<Body>,
        deadline: Monotonic,
    ) -> Result<Answered> {
        let path = format!("{}/keys/{}{end}", self.mount, self.name);
        self.client.call(method, &path, body, deadline).await
    }

    /// Reads the key.
    pub(super) async fn read(&self, deadline: Monotonic) -> Result<KeyInfo> {
        let answered = self.manage(Method::GET, "", None, deadline).await?;
        let (info, _) = data::<KeyInfo>(&answered)?;
        let path = format!("{}/keys/{}", self.mount, self.name);
        self.client.check_namespace(&path, true, deadline).await?;
        Ok(info)
    }

    /// Refuses a key that would not bind as the mode needs.
    pub(super) fn suits(&self, info: &KeyInfo) -> Result<()> {
        let refused = |detail| {
            Err(Error::new(ErrorKind::Configuration)
                .with_provider(PROVIDER)
                .with_detail(detail))
        };
        if info.kind != "aes256-gcm96" {
            return refused("the Transit key is not of the type aes256-gcm96");
        }
        match self.mode {
            Mode::Encrypt if info.derived => {
                refused("the Transit key is derived: use Mode::DataKey, or a key that is not derived")
            }
            Mode::DataKey if !info.derived => {
                refused("the Transit key is not derived, so the server would ignore the context")
            }
            Mode::DataKey if info.convergent_encryption => {
                refused("the Transit key encrypts convergently: equal DEKs would show")
            }
            Mode::Encrypt | Mode::DataKey => Ok(()),
        }
    }

    /// Checks that the key exists and suits the mode. Reads the key again if the last check was long ago.
    pub(super) async fn check(&self, deadline: Monotonic) -> Result<()> {
        let fresh = |at: Monotonic| self.client.place().now() < at + REFRESH;
        if self.last_check().is_some_and(fresh) {
            return Ok(());
        }
        let info = self.read(deadline).await?;
        self.suits(&info)?;
        *self.checked.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.client.place().now());
        Ok(())
    }

    fn last_check(&self) -> Option<Monotonic> {
        *self.checked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the key after a 400, to find out why: the text of the answer does not decide.
    pub(super) async fn after_refusal(&self, deadline: Monotonic) -> Result<KeyInfo> {
        *self.checked.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let info = self.read(deadline).await?;
        self.suits(&info)?;
        if info.soft_deleted {
            return Err(Error::new(ErrorKind::KeyDisabled)
                .with_provider(PROVIDER)
                .with_detail("the Transit key is soft-deleted"));
        }
        // The key was just read.
        *self.checked.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.client.place().now());
        Ok(info)
    }
}

/// Returns why a wrap of this version did not open.
pub(super) fn why_refused(info: &KeyInfo, version: u64) -> Error {
    let error = if version < info.min_available_version {
        Error::new(ErrorKind::KeyDestroyed).with_detail("the version was trimmed")
    } else if version < info.min_decryption_version {
        Error::new(ErrorKind::KeyDisabled)
            .with_detail("the version is below the key's min_decryption_version")
    } else {
        Error::cannot_open()
    };
    error.with_provider(PROVIDER)
}

/// Returns why the key does not wrap under this version, if the key shows it.
pub(super) fn why_not_wrapped(info: &KeyInfo, version: u64) -> Option<Error> {
    let error = if version > info.latest_version {
        Error::new(ErrorKind::KeyNotFound).with_detail(format!("the Transit key has no version {version}"))
    } else if version < info.min_available_version {
        Error::new(ErrorKind::KeyDestroyed).with_detail("the pinned version was trimmed")
    } else if version < info.min_encryption_version {
        Error::new(ErrorKind::KeyDisabled)
            .with_detail("the pinned version is below the key's min_encryption_version")
    } else if version < info.min_decryption_version {
        Error::new(ErrorKind::KeyDisabled)
            .with_detail("the pinned version is below the key's min_decryption_version")
    } else {
        return None;
    };
    Some(error.with_provider(PROVIDER))
}

pub(super) fn id_prefix(client: &Client, mount: &str) -> String {
    match client.namespace() {
        Some(namespace) => format!("{namespace}/{mount}/keys/"),
        None => format!("{mount}/keys/"),
    }
}

/// Returns the data of a good answer, and whether the answer has warnings.
pub(super) fn data<'a, T: Deserialize<'a>>(answered: &'a Answered) -> Result<(T, bool)> {
    if answered.status != StatusCode::OK {
        return Err(answered.error());
    }
    let answer: Answer<T> = serde_json::from_slice(&answered.body)
        .map_err(|_| invalid_answer("the answer is not JSON as documented"))?;
    let warned = answer.warnings.is_some_and(|warnings| !warnings.is_empty());
    let data = answer
        .data
        .ok_or_else(|| invalid_answer("the answer has no data"))?;
    Ok((data, warned))
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id)
            .field("mode", &self.mode)
            .field("pinned", &self.pinned)
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}
