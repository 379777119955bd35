//! The joint: what a backend is. One [`KeyManager`] is one KEK (with the versions it opens), wherever it is kept.

mod admin;
mod budget;
mod capabilities;
mod recognition;
mod request;
mod rules;

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

pub use admin::{KekAdmin, KekDescription, KekState, KekTemplate};
pub use budget::CallBudget;
pub use capabilities::{Binds, Capabilities};
pub use recognition::Recognition;
pub use request::{Authorization, Purpose, Request};
pub use rules::RewrapRules;

use crate::envelope::{KekRef, WrapRef, WrappedDek};
use crate::value::error::{Error, ErrorKind, Result};
use crate::value::secret::Dek;

/// A DEK that was unwrapped, and the KEK that did it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Unwrapped {
    /// The DEK.
    pub dek: Dek,
    /// The KEK, with the version that unwrapped where the backend says it, else with none. What revocation and
    /// audit go by: a stanza may hide its id, or claim another.
    pub kek: KekRef,
}

impl Unwrapped {
    /// What a key manager has unwrapped, and under which KEK.
    #[must_use]
    pub fn new(dek: Dek, kek: KekRef) -> Self {
        Self { dek, kek }
    }
}

/// One KEK, wherever it is kept: what a backend is, and what an outside crate implements.
///
/// # Contract
/// *Binding.* A wrap made under one [`Request::binding`] never unwraps under another; such an unwrap gives
/// [`ErrorKind::CannotOpen`], as does a wrap that was altered or made under another key.
///
/// *Configuration decides.* A key manager uses its own KEKs and its own algorithm. An id, version or
/// algorithm in a stanza never makes it use another, and is never an address to be followed.
///
/// *Idempotence.* Every method may be called again after an error or a cancellation. A wrap that was made
/// and not stored is harmless.
///
/// *Cancel safety.* Every future may be dropped at any await; no secret stays behind and no lock is held.
///
/// *Errors by kind.* `Denied`, `Unauthenticated`, `KeyNotFound`, `KeyDisabled`, `KeyNotReady`,
/// `KeyPendingDestruction`, `KeyDestroyed`, `Throttled`,
/// `Unavailable`, `TimedOut` as the backend says by code, never by text; `CannotOpen` as above;
/// `InvalidAnswer` where it answers with nonsense; `Malformed` or `OverLimit` for a stanza that is refused
/// before any work. No error text holds a secret or a response body.
///
/// *Recognizing* never calls a network. A key manager is not asked to unwrap what it does not recognize, and
/// refuses it with [`ErrorKind::NoUsableKey`] if it is asked all the same. It says `Mine` only of an id that is unique
/// in the world and resolved: a re-wrap drops such a stanza without unwrapping it.
///
/// *Calls.* A manager that needs more than one call to its backend to answer one question takes each further call from
/// the request's budget with [`Request::take_call`].
///
/// `testing::conformance` (feature `testing`) tests an implementation against this contract.
#[async_trait]
pub trait KeyManager: Any + Debug + Send + Sync {
    /// The provider name in stanzas, `"aws-kms"` for one: 1 to 32 of `a-z 0-9 -`.
    fn provider(&self) -> &str;

    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// Whether a stanza is under one of this manager's KEKs. Never a network call, and never a panic, whatever the
    /// stanza holds.
    fn recognizes(&self, wrapped: WrapRef<'_>) -> Recognition;

    /// Names the KEKs of this manager and the place where it reaches them, so that one that is configured twice is asked
    /// once: a wrap that does not open with one manager does not open with another of the same identity. Credentials
    /// are no part of it. `None`, the default, says that nothing is known.
    ///
    /// Not for logs: an address may be internal.
    fn identity(&self) -> Option<String> {
        None
    }

    /// A fresh DEK and its wrap. By default from the operating system's randomness, then [`wrap`](Self::wrap).
    ///
    /// # Errors
    /// As [`wrap`](Self::wrap), and `Entropy`.
    async fn generate(&self, request: &Request<'_>) -> Result<(Dek, WrappedDek)> {
        let dek = Dek::generate()?;
        let wrapped = self.wrap(&dek, request).await?;
        Ok((dek, wrapped))
    }

    /// Wraps a DEK under the active KEK, bound to the request.
    ///
    /// # Errors
    /// What the backend says, by kind, as the contract lists them.
    async fn wrap(&self, dek: &Dek, request: &Request<'_>) -> Result<WrappedDek>;

    /// Unwraps a DEK, if it was wrapped for this request, and says which KEK and version did it: as configured or
    /// as the backend answers, never as the stanza claims.
    ///
    /// # Errors
    /// `CannotOpen` where it was not, or was altered; `NoUsableKey` for what is not recognized; `Malformed` or
    /// `OverLimit` before any work; what the backend says, by kind.
    async fn unwrap(&self, wrapped: WrapRef<'_>, request: &Request<'_>) -> Result<Unwrapped>;

    /// Re-wraps under this manager's active KEK without the DEK leaving the backend, asked of the
    /// *destination*. `None` where the backend cannot do that for this stanza; the caller then unwraps and
    /// wraps.
    ///
    /// # Errors
    /// As [`unwrap`](Self::unwrap) and [`wrap`](Self::wrap).
    async fn rewrap(&self, wrapped: WrapRef<'_>, request: &Request<'_>) -> Result<Option<WrappedDek>> {
        let _ = (wrapped, request);
        Ok(None)
    }

    /// Wraps several DEKs; one result each, in order. One after the other by default.
    async fn wrap_batch(&self, items: &[(&Dek, &Request<'_>)]) -> Vec<Result<WrappedDek>> {
        let mut results = Vec::with_capacity(items.len());
        for (dek, request) in items {
            results.push(self.wrap(dek, request).await);
        }
        results
    }

    /// Unwraps several DEKs; one result each, in order. One after the other by default.
    async fn unwrap_batch(&self, items: &[(WrapRef<'_>, &Request<'_>)]) -> Vec<Result<Unwrapped>> {
        let mut results = Vec::with_capacity(items.len());
        for (wrapped, request) in items {
            results.push(self.unwrap(*wrapped, request).await);
        }
        results
    }

    /// Re-wraps several DEKs; one result each, in order. One after the other by default.
    async fn rewrap_batch(&self, items: &[(WrapRef<'_>, &Request<'_>)]) -> Vec<Result<Option<WrappedDek>>> {
        let mut results = Vec::with_capacity(items.len());
        for (wrapped, request) in items {
            results.push(self.rewrap(*wrapped, request).await);
        }
        results
    }
}

#[async_trait]
impl<T: KeyManager + ?Sized> KeyManager for Arc<T> {
    fn provider(&self) -> &str {
        (**self).provider()
    }

    fn capabilities(&self) -> Capabilities {
        (**self).capabilities()
    }

    fn recognizes(&self, wrapped: WrapRef<'_>) -> Recognition {
        (**self).recognizes(wrapped)
    }

    fn identity(&self) -> Option<String> {
        (**self).identity()
    }

    async fn generate(&self, request: &Request<'_>) -> Result<(Dek, WrappedDek)> {
        (**self).generate(request).await
    }

    async fn wrap(&self, dek: &Dek, request: &Request<'_>) -> Result<WrappedDek> {
        (**self).wrap(dek, request).await
    }

    async fn unwrap(&self, wrapped: WrapRef<'_>, request: &Request<'_>) -> Result<Unwrapped> {
        (**self).unwrap(wrapped, request).await
    }

    async fn rewrap(&self, wrapped: WrapRef<'_>, request: &Request<'_>) -> Result<Option<WrappedDek>> {
        (**self).rewrap(wrapped, request).await
    }

    async fn wrap_batch(&self, items: &[(&Dek, &Request<'_>)]) -> Vec<Result<WrappedDek>> {
        (**self).wrap_batch(items).await
    }

    async fn unwrap_batch(&self, items: &[(WrapRef<'_>, &Request<'_>)]) -> Vec<Result<Unwrapped>> {
        (**self).unwrap_batch(items).await
    }

    async fn rewrap_batch(&self, items: &[(WrapRef<'_>, &Request<'_>)]) -> Vec<Result<Option<WrappedDek>>> {
        (**self).rewrap_batch(items).await
    }
}

/// The error of a key manager that is asked to unwrap what it does not recognize.
pub(crate) fn not_recognized(wrapped: &WrapRef<'_>) -> Error {
    Error::new(ErrorKind::NoUsableKey).with_provider(wrapped.provider.to_owned())
}
