//! Administration of KEKs.

use std::fmt::Debug;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;

use crate::envelope::{KekRef, WrapAlgorithm};
use crate::value::error::{Error, Operation, Result};

/// The state of a KEK in its backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KekState {
    /// Wraps and unwraps.
    Enabled,
    /// Exists, and neither wraps nor unwraps.
    Disabled,
    /// Will be destroyed. It depends on the backend whether the KEK still unwraps.
    PendingDestruction,
    /// Destroyed: nothing under the KEK opens anymore.
    Destroyed,
}

/// What kind of KEK to create.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KekTemplate {
    /// The name or alias to give it.
    pub name: String,
    /// Whether it must be kept in hardware.
    pub hardware: bool,
    /// Labels or tags, depending on the backend.
    pub labels: Vec<(String, String)>,
}

impl KekTemplate {
    /// Describes a KEK with this name, in software, without labels.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            hardware: false,
            labels: Vec::new(),
        }
    }
}

/// Where a KEK is kept, as its backend reports it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "ring",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "kebab-case")
)]
#[non_exhaustive]
pub enum Protection {
    /// In an HSM.
    Hardware,
    /// In software: that of a KMS, or a file.
    Software,
    /// The backend does not say.
    #[default]
    Unknown,
}

impl Protection {
    /// Returns its name: `hardware`, `software` or `unknown`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hardware => "hardware",
            Self::Software => "software",
            Self::Unknown => "unknown",
        }
    }
}

#[cfg(feature = "ring")]
impl Protection {
    /// What can be said of something of which one copy is protected in this way, and another in that.
    pub(crate) fn weaker(self, other: Self) -> Self {
        match (self, other) {
            (Self::Software, _) | (_, Self::Software) => Self::Software,
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
            (Self::Hardware, Self::Hardware) => Self::Hardware,
        }
    }
}

/// What a backend reports about a KEK.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KekDescription {
    /// The KEK, with its active version.
    pub kek: KekRef,
    /// Its state.
    pub state: KekState,
    /// The algorithm that it wraps with.
    pub algorithm: WrapAlgorithm,
    /// Where it is kept.
    pub protection: Protection,
    /// When it was created, if the backend reports it.
    pub created: Option<SystemTime>,
    /// When it will be destroyed, if that is scheduled.
    pub destroyed_at: Option<SystemTime>,
    /// From when it may be used, if the backend reports it.
    pub not_before: Option<SystemTime>,
    /// When it stops working by itself, if the backend reports it: a key with an end date, or imported key material.
    pub expires_at: Option<SystemTime>,
}

impl KekDescription {
    /// Describes a KEK without any dates.
    #[must_use]
    pub fn new(kek: KekRef, state: KekState, algorithm: WrapAlgorithm) -> Self {
        Self {
            kek,
            state,
            algorithm,
            protection: Protection::Unknown,
            created: None,
            destroyed_at: None,
            not_before: None,
            expires_at: None,
        }
    }

    /// Says where the KEK is kept.
    #[must_use]
    pub fn with_protection(mut self, protection: Protection) -> Self {
        self.protection = protection;
        self
    }
}

/// Administers KEKs. This is a separate trait with separate credentials, so that an application that seals and opens
/// needs no right to rotate.
///
/// # Contract
/// *Idempotence.* A second call with the same idempotency key does nothing and returns the result of the first
/// call. If the backend has no idempotency keys, the implementation finds what the first call made by
/// a label that contains the key.
///
/// *Cancel safety.* A call whose future was dropped may have taken effect; calling again with the same key is safe.
///
/// *Errors by kind.* The same kinds as in [`KeyManager`](super::KeyManager), under the same conditions; `Unsupported` if the
/// backend does not support the operation.
#[async_trait]
pub trait KekAdmin: Debug + Send + Sync {
    /// Returns the provider name, as in [`KeyManager::provider`](super::KeyManager::provider).
    fn provider(&self) -> &str;

    /// Creates a KEK.
    ///
    /// # Errors
    /// `InvalidArgument` if the name is not valid or, at a backend that can tell, belongs to another KEK; `Unsupported` if the backend cannot
    /// make such a KEK; and the kinds of the [contract](Self#contract), by the backend's code.
    async fn create(&self, template: &KekTemplate, idempotency_key: &str) -> Result<KekDescription>;

    /// Describes a KEK or one of its versions. For a destroyed KEK, returns
    /// [`KekState::Destroyed`] if the backend still knows the KEK.
    ///
    /// # Errors
    /// `KeyNotFound` if the backend does not know the KEK.
    async fn describe(&self, kek: &KekRef) -> Result<KekDescription>;

    /// Describes every version of a KEK that the backend lists, the newest first. By default returns only what
    /// [`describe`](Self::describe) returns, for backends that do not list versions.
    ///
    /// # Errors
    /// The same kinds as [`describe`](Self::describe), under the same conditions.
    async fn describe_versions(&self, kek: &KekRef) -> Result<Vec<KekDescription>> {
        Ok(vec![self.describe(kek).await?])
    }

    /// Makes a new version, activates it and describes it. Older versions continue to unwrap.
    ///
    /// # Errors
    /// `KeyNotFound` if the backend does not know the KEK; `Unsupported` if the backend cannot rotate it; and the kinds of the
    /// [contract](Self#contract), by the backend's code.
    async fn rotate(&self, kek: &KekRef, idempotency_key: &str) -> Result<KekDescription>;

    /// Disables a KEK, or the named version: it neither wraps nor unwraps until it is [enabled](Self::enable)
    /// again. Disabling a disabled KEK is not an error.
    ///
    /// # Errors
    /// `KeyNotFound` if the backend does not know the KEK; `Unsupported` if the backend cannot disable it; and the kinds of the
    /// [contract](Self#contract), by the backend's code.
    async fn disable(&self, kek: &KekRef) -> Result<()>;

    /// Enables a KEK, or the named version, again after [`disable`](Self::disable). Enabling an
    /// enabled KEK is not an error. A scheduled destruction stays scheduled.
    ///
    /// # Errors
    /// `Unsupported`, the default, if the backend cannot enable a KEK again or cannot find out which KEK was disabled.
    async fn enable(&self, kek: &KekRef) -> Result<()> {
        let _ = kek;
        Err(Error::unsupported("enabling a KEK again at this backend").with_operation(Operation::Administer))
    }

    /// Schedules destruction after `delay` (or after the backend's minimum, if that is longer), and returns the time of destruction.
    /// Everything that is still wrapped under the KEK is then lost.
    ///
    /// # Errors
    /// `KeyNotFound` if the backend does not know the KEK; `Unsupported` if the backend cannot schedule destruction; and the kinds of the
    /// [contract](Self#contract), by the backend's code.
    async fn schedule_destroy(&self, kek: &KekRef, delay: Duration) -> Result<SystemTime>;

    /// Calls off a destruction that is scheduled: of a KEK, or of the named version. Depending on the backend the KEK is disabled
    /// afterwards, so [describe](Self::describe) it, and [enable](Self::enable) it if it is to wrap and unwrap. If no destruction is scheduled,
    /// that is not an error.
    ///
    /// # Errors
    /// `Unsupported`, the default, if the backend destroys at once or cannot call off a destruction; `KeyDestroyed` if it is too late;
    /// `KeyNotFound` if the backend does not know the KEK; and the kinds of the [contract](Self#contract), by the backend's code.
    async fn cancel_destroy(&self, kek: &KekRef) -> Result<()> {
        let _ = kek;
        Err(Error::unsupported("calling off a destruction at this backend")
            .with_operation(Operation::Administer))
    }
}
