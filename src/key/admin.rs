//! Administering KEKs, apart from using them.

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
    /// Exists and does neither.
    Disabled,
    /// Will be destroyed; whether it still unwraps depends on the backend.
    PendingDestruction,
    /// Gone.
    Destroyed,
}

/// What a KEK is to be like.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KekTemplate {
    /// The name or alias to give it.
    pub name: String,
    /// Whether it must be kept in hardware.
    pub hardware: bool,
    /// Labels or tags, as the backend has them.
    pub labels: Vec<(String, String)>,
}

impl KekTemplate {
    /// A KEK of this name, in software, without labels.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            hardware: false,
            labels: Vec::new(),
        }
    }
}

/// What a backend says of a KEK.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KekDescription {
    /// Which KEK, with the version that is active.
    pub kek: KekRef,
    /// Its state.
    pub state: KekState,
    /// What it wraps with.
    pub algorithm: WrapAlgorithm,
    /// When it was created, where the backend says.
    pub created: Option<SystemTime>,
    /// When it will be destroyed, where that is scheduled.
    pub destroyed_at: Option<SystemTime>,
    /// From when it may be used, where the backend says.
    pub not_before: Option<SystemTime>,
    /// When it stops working by itself, where the backend says: a key with an end date, or imported key material.
    pub expires_at: Option<SystemTime>,
}

impl KekDescription {
    /// A KEK of which the backend says no more than this.
    #[must_use]
    pub fn new(kek: KekRef, state: KekState, algorithm: WrapAlgorithm) -> Self {
        Self {
            kek,
            state,
            algorithm,
            created: None,
            destroyed_at: None,
            not_before: None,
            expires_at: None,
        }
    }
}

/// Administers KEKs: another trait with credentials of its own, so that an application which seals and opens
/// needs no right to rotate.
///
/// # Contract
/// *Idempotence.* A call with an idempotency key that was used before does nothing again and gives the first
/// call's result. Where the backend has no such thing, the implementation finds what the first call made by
/// a label that carries the key.
///
/// *Cancel safety.* A call that was dropped may have happened; calling again with the same key is safe.
///
/// *Errors by kind* as in [`KeyManager`](super::KeyManager), and `Unsupported` for what the backend does not have.
#[async_trait]
pub trait KekAdmin: Debug + Send + Sync {
    /// The provider name, as in [`KeyManager::provider`](super::KeyManager::provider).
    fn provider(&self) -> &str;

    /// Makes a KEK.
    async fn create(&self, template: &KekTemplate, idempotency_key: &str) -> Result<KekDescription>;

    /// Asks about a KEK or a version of it. A KEK that is gone is described as
    /// [`KekState::Destroyed`] where the backend still knows it, else `KeyNotFound`.
    async fn describe(&self, kek: &KekRef) -> Result<KekDescription>;

    /// Describes every version of a KEK that the backend tells of, the newest first. By default only what
    /// [`describe`](Self::describe) gives, as for a backend that keeps its versions to itself.
    ///
    /// # Errors
    /// As [`describe`](Self::describe).
    async fn describe_versions(&self, kek: &KekRef) -> Result<Vec<KekDescription>> {
        Ok(vec![self.describe(kek).await?])
    }

    /// Makes a new version the active one and describes it. Older versions go on unwrapping.
    async fn rotate(&self, kek: &KekRef, idempotency_key: &str) -> Result<KekDescription>;

    /// Makes a KEK, or the version that is named, stop wrapping and unwrapping until it is [enabled](Self::enable)
    /// again. Disabling what is disabled is no error.
    async fn disable(&self, kek: &KekRef) -> Result<()>;

    /// Makes a KEK, or the version that is named, wrap and unwrap again after [`disable`](Self::disable). Enabling what is
    /// enabled is no error. What will be destroyed stays that way.
    ///
    /// # Errors
    /// `Unsupported`, which is the default, if the backend has no such thing or cannot tell what was disabled.
    async fn enable(&self, kek: &KekRef) -> Result<()> {
        let _ = kek;
        Err(Error::unsupported("enabling a KEK again at this backend").with_operation(Operation::Administer))
    }

    /// Schedules destruction after `delay` (the backend's least where that is longer), and gives the time.
    /// What is still wrapped under the KEK is then lost.
    async fn schedule_destroy(&self, kek: &KekRef, delay: Duration) -> Result<SystemTime>;
}
