//! The trait of backends: one [`KeyManager`] is one KEK (with the versions that it opens), wherever the KEK is kept.

mod admin;
mod authorization;
mod budget;
mod capabilities;
pub(crate) mod failure;
mod recognition;
mod request;
mod rules;
#[cfg(feature = "audit")]
pub(crate) mod sighting;

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

pub use admin::{KekAdmin, KekDescription, KekState, KekTemplate, Protection};
pub use authorization::Authorization;
pub use budget::CallBudget;
pub use capabilities::{Binds, Capabilities, Versions};
pub use recognition::Recognition;
pub use request::{Purpose, Request};
pub use rules::RewrapRules;
#[cfg(feature = "audit")]
pub(crate) use sighting::Sighting;
#[cfg(all(feature = "audit", feature = "ring"))]
pub(crate) use sighting::{Sighted, SightedScope};

use crate::envelope::{KekRef, WrapRef, WrappedDek};
use crate::value::error::{Error, ErrorKind, Operation, Result};
use crate::value::secret::Dek;

/// A DEK that was unwrapped, and the KEK that did it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Unwrapped {
    /// The DEK.
    pub dek: Dek,
    /// The KEK, with the version that unwrapped if the backend reports it, else without a version. Revocation and
    /// audit use this KEK, because a stanza may hide its id or claim another.
    pub kek: KekRef,
}

impl Unwrapped {
    /// Makes the result of an unwrap: the DEK, and the KEK that unwrapped it.
    #[must_use]
    pub fn new(dek: Dek, kek: KekRef) -> Self {
        Self { dek, kek }
    }
}

/// One KEK, wherever it is kept. Every backend implements this trait, and other crates can.
///
/// See the [manual](crate::manual::key_manager) for a complete example.
///
/// # Contract
/// *Binding.* A wrap made under one [`Request::binding`] never unwraps under another; such an unwrap returns
/// [`ErrorKind::CannotOpen`], and so does a wrap that was altered or made under another key.
///
/// *Configuration decides.* A key manager uses its own KEKs and its own algorithm. An id, version or
/// algorithm in a stanza never makes the key manager use another, and is never used as an address.
///
/// *Idempotence.* Every method may be called again after an error or a cancellation. A wrap that was made
/// and not stored is harmless.
///
/// *Cancel safety.* A caller may drop every future at any await; no secret stays behind and no lock stays held.
///
/// *Errors by kind.* `Denied`, `Unauthenticated`, `KeyNotFound`, `KeyDisabled`, `KeyNotReady`,
/// `KeyPendingDestruction`, `KeyDestroyed`, `Throttled`, `Unavailable` or `TimedOut` if the backend returns such a code (never
/// decided by its text); `CannotOpen` as above; `InvalidAnswer` if the backend's answer breaks its contract; `Malformed` or
/// `OverLimit` for a stanza that is refused before any work. No error text contains a secret or a response body.
///
/// *Recognizing* never calls a network. A source does not ask a key manager to unwrap a stanza that the key manager does not recognize.
/// If asked anyway, the key manager returns [`ErrorKind::NoUsableKey`]. It returns `Mine` only for an id that is unique
/// in the world and resolved: a re-wrap drops such a stanza without unwrapping it.
///
/// *Calls.* If a key manager needs more than one call to its backend for one answer, it takes each further call from
/// the request's budget with [`Request::take_call`].
///
/// `testing::conformance` (feature `testing`) tests an implementation against this contract.
#[async_trait]
pub trait KeyManager: Any + Debug + Send + Sync {
    /// Returns the provider name in stanzas, for example `"aws-kms"`: 1 to 32 of `a-z 0-9 -`.
    fn provider(&self) -> &str;

    /// Returns what this key manager can do.
    fn capabilities(&self) -> Capabilities;

    /// Returns whether a stanza is under this KEK. Never calls a network and never panics, whatever the
    /// stanza contains.
    fn recognizes(&self, wrapped: WrapRef<'_>) -> Recognition;

    /// Names the KEK and the place where this key manager reaches it, so that a KEK that is configured twice is asked
    /// once: a wrap that does not open with one manager does not open with another of the same identity. The name
    /// contains no credentials. `None`, the default, means that nothing is known.
    ///
    /// Not for logs: an address may be internal.
    fn identity(&self) -> Option<String> {
        None
    }

    /// Returns a key manager of the same KEK, at the same place, that wraps exactly as `kek` names it, whatever the backend would
    /// choose. Like this key manager, the returned one unwraps every version. Makes no call.
    ///
    /// What is pinned depends on [`Capabilities::versions`]:
    /// - [`Versions::Proven`]: the version of `kek`. `wrap`, `generate` and `rewrap` send this version. A version that does not
    ///   exist, or that does not wrap anymore, is an error, and never another version. An answer of another version is `InvalidAnswer`.
    /// - [`Versions::Unproven`]: the id of `kek`, even if this key manager was configured with an alias. The backend chooses the version,
    ///   and the version of `kek` is not used.
    /// - [`Versions::None`]: the KEK, which has an empty version.
    ///
    /// `kek` comes from configuration or from a record whose signature was verified, and never from an envelope.
    ///
    /// # Errors
    /// `InvalidArgument` if `kek` is not the KEK that this key manager wraps under, or if its version cannot be one of this backend;
    /// `Unsupported`, the default, if the key manager cannot be pinned.
    fn pinned_to(&self, kek: &KekRef) -> Result<Arc<dyn KeyManager>> {
        let _ = kek;
        Err(
            Error::unsupported("pinning this key manager to one version of its KEK")
                .with_operation(Operation::Configure),
        )
    }

    /// Generates a DEK and wraps it. By default the DEK comes from the operating system's randomness, and
    /// [`wrap`](Self::wrap) wraps it.
    ///
    /// # Errors
    /// The same kinds as [`wrap`](Self::wrap), under the same conditions; `Entropy` if the operating system returns no randomness.
    async fn generate(&self, request: &Request<'_>) -> Result<(Dek, WrappedDek)> {
        let dek = Dek::generate()?;
        let wrapped = self.wrap(&dek, request).await?;
        Ok((dek, wrapped))
    }

    /// Wraps a DEK under the active KEK, bound to the request.
    ///
    /// # Errors
    /// The kinds of the [contract](Self#contract), by the backend's code; `KeyDisabled`, for example, if the KEK is disabled.
    async fn wrap(&self, dek: &Dek, request: &Request<'_>) -> Result<WrappedDek>;

    /// Unwraps a DEK that was wrapped for this request, and returns which KEK and version did it: as configured or
    /// as the backend answers, never as the stanza claims.
    ///
    /// # Errors
    /// `CannotOpen` if the DEK was wrapped for another request, or the wrap was altered; `NoUsableKey` if this key manager does not
    /// recognize the stanza; `Malformed` or `OverLimit` if the stanza is refused before any work; and the kinds of the
    /// [contract](Self#contract), by the backend's code.
    async fn unwrap(&self, wrapped: WrapRef<'_>, request: &Request<'_>) -> Result<Unwrapped>;

    /// Re-wraps under this manager's active KEK without the DEK leaving the backend. The caller asks the
    /// *destination*. Returns `None` if the backend cannot do that for this stanza; the caller then unwraps and
    /// wraps.
    ///
    /// # Errors
    /// The same kinds as [`unwrap`](Self::unwrap) and [`wrap`](Self::wrap), under the same conditions.
    async fn rewrap(&self, wrapped: WrapRef<'_>, request: &Request<'_>) -> Result<Option<WrappedDek>> {
        let _ = (wrapped, request);
        Ok(None)
    }

    /// Wraps several DEKs and returns one result for each, in order. By default wraps one after the other.
    async fn wrap_batch(&self, items: &[(&Dek, &Request<'_>)]) -> Vec<Result<WrappedDek>> {
        let mut results = Vec::with_capacity(items.len());
        for (dek, request) in items {
            results.push(self.wrap(dek, request).await);
        }
        results
    }

    /// Unwraps several DEKs and returns one result for each, in order. By default unwraps one after the other.
    async fn unwrap_batch(&self, items: &[(WrapRef<'_>, &Request<'_>)]) -> Vec<Result<Unwrapped>> {
        let mut results = Vec::with_capacity(items.len());
        for (wrapped, request) in items {
            results.push(self.unwrap(*wrapped, request).await);
        }
        results
    }

    /// Re-wraps several DEKs and returns one result for each, in order. By default re-wraps one after the other.
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

    fn pinned_to(&self, kek: &KekRef) -> Result<Arc<dyn KeyManager>> {
        (**self).pinned_to(kek)
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

/// Makes the error of a key manager that is asked to unwrap a stanza that it does not recognize.
pub(crate) fn not_recognized(wrapped: &WrapRef<'_>) -> Error {
    Error::new(ErrorKind::NoUsableKey).with_provider(wrapped.provider.to_owned())
}

/// Makes the error of a key manager that is to be pinned to a KEK that is not its own.
pub(crate) fn not_this_kek(provider: &str) -> Error {
    Error::argument(
        "the KEK to pin is not the KEK of this key manager, or its version is not one of this backend",
    )
    .with_provider(provider.to_owned())
    .with_operation(Operation::Configure)
}
