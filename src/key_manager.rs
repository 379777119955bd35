//! The joint: what a backend is. One [`KeyManager`] is one KEK (with the versions it opens), wherever it is kept.

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use zeroize::Zeroizing;

use crate::context::EncryptionContext;
use crate::envelope::{KekRef, WrapAlgorithm, WrapRef, WrappedDek};
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::Monotonic;
use crate::secret::{self, Dek, KEY_LEN};

const WRAP_AAD: &[u8; 15] = b"waxseal v1 wrap";

/// What a request is for. Key managers may log it, and policies may look at it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Purpose {
    /// To seal payloads.
    #[default]
    Seal,
    /// To open payloads.
    Open,
    /// To replace wraps.
    Rewrap,
    /// To find out whether a key works; no data depends on it.
    Probe,
}

/// Who allowed an operation that is otherwise forbidden, and where that is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorisation {
    /// The ticket or incident.
    pub ticket: String,
    /// Who approved.
    pub approver: String,
}

/// One request to a key manager: the context, and who asks for what until when.
///
/// Built from a context; everything else is optional.
#[derive(Clone)]
#[non_exhaustive]
pub struct Request<'a> {
    context: &'a EncryptionContext,
    binding: [u8; 32],
    purpose: Purpose,
    profile: Option<&'a str>,
    actor: Option<&'a str>,
    request_id: Option<&'a str>,
    deadline: Option<Monotonic>,
    authorisation: Option<&'a Authorisation>,
}

impl<'a> Request<'a> {
    /// A request in this context. Its binding is the context's digest.
    #[must_use]
    pub fn new(context: &'a EncryptionContext) -> Self {
        Self {
            context,
            binding: *context.digest(),
            purpose: Purpose::default(),
            profile: None,
            actor: None,
            request_id: None,
            deadline: None,
            authorisation: None,
        }
    }

    /// Says what it is for.
    #[must_use]
    pub fn with_purpose(mut self, purpose: Purpose) -> Self {
        self.purpose = purpose;
        self
    }

    /// Names the profile whose demands hold.
    #[must_use]
    pub fn with_profile(mut self, profile: &'a str) -> Self {
        self.profile = Some(profile);
        self
    }

    /// Names who asks, for audit and policy. Never sent to a KMS.
    #[must_use]
    pub fn with_actor(mut self, actor: &'a str) -> Self {
        self.actor = Some(actor);
        self
    }

    /// Gives an id that ties log lines together.
    #[must_use]
    pub fn with_request_id(mut self, id: &'a str) -> Self {
        self.request_id = Some(id);
        self
    }

    /// Sets when a key manager must have answered, in the time of the runtime of whoever asks. The key manager
    /// keeps it; nobody else does.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Monotonic) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Shows who allowed what is otherwise forbidden.
    #[must_use]
    pub fn with_authorisation(mut self, authorisation: &'a Authorisation) -> Self {
        self.authorisation = Some(authorisation);
        self
    }

    /// Replaces the 32 bytes that a wrap must carry: for shares of a DEK, which are bound to more than the
    /// context.
    #[must_use]
    pub fn with_binding(mut self, binding: [u8; 32]) -> Self {
        self.binding = binding;
        self
    }

    /// The encryption context.
    #[must_use]
    pub fn context(&self) -> &'a EncryptionContext {
        self.context
    }

    /// The 32 bytes that a wrap must carry: the context's digest, or a share's.
    #[must_use]
    pub fn binding(&self) -> &[u8; 32] {
        &self.binding
    }

    /// What it is for.
    #[must_use]
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// The profile whose demands hold.
    #[must_use]
    pub fn profile(&self) -> Option<&'a str> {
        self.profile
    }

    /// Who asks.
    #[must_use]
    pub fn actor(&self) -> Option<&'a str> {
        self.actor
    }

    /// The id that ties log lines together.
    #[must_use]
    pub fn request_id(&self) -> Option<&'a str> {
        self.request_id
    }

    /// When a key manager must have answered.
    #[must_use]
    pub fn deadline(&self) -> Option<Monotonic> {
        self.deadline
    }

    /// Who allowed what is otherwise forbidden.
    #[must_use]
    pub fn authorisation(&self) -> Option<&'a Authorisation> {
        self.authorisation
    }

    /// The AAD of a wrap, for backends that authenticate extra data: a label and the binding, 47 bytes.
    #[must_use]
    pub fn wrap_aad(&self) -> [u8; 47] {
        let mut aad = [0; 47];
        aad[..15].copy_from_slice(WRAP_AAD);
        aad[15..].copy_from_slice(&self.binding);
        aad
    }

    /// What to wrap, for backends that authenticate no extra data: the DEK and the binding, 64 bytes.
    #[must_use]
    pub fn embed(&self, dek: &Dek) -> Zeroizing<[u8; 64]> {
        let mut embedded = Zeroizing::new([0; 64]);
        embedded[..KEY_LEN].copy_from_slice(dek.expose_bytes());
        embedded[KEY_LEN..].copy_from_slice(&self.binding);
        embedded
    }

    /// The DEK out of what [`embed`](Request::embed) made, if it carries this request's binding. Compared in
    /// constant time.
    ///
    /// # Errors
    /// `CannotOpen` for another length or another binding.
    pub fn extract(&self, embedded: &[u8]) -> Result<Dek> {
        let embedded: &[u8; 64] = embedded.try_into().map_err(|_| Error::cannot_open())?;
        let (dek, binding) = embedded
            .split_first_chunk::<32>()
            .ok_or_else(Error::cannot_open)?;
        let binding = binding.try_into().map_err(|_| Error::cannot_open())?;
        if secret::ct_eq_32(binding, &self.binding) {
            Ok(Dek::from_bytes(dek))
        } else {
            Err(Error::cannot_open())
        }
    }
}

impl fmt::Debug for Request<'_> {
    // Not the binding: whoever knows what contexts look like could guess theirs by it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("context", &self.context)
            .field("purpose", &self.purpose)
            .field("profile", &self.profile)
            .field("actor", &self.actor)
            .field("request_id", &self.request_id)
            .field("deadline", &self.deadline)
            .field("authorisation", &self.authorisation)
            .finish_non_exhaustive()
    }
}

/// How a key manager binds a wrap to its context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Binds {
    /// As data that the backend authenticates beside the DEK.
    Aad,
    /// Wrapped together with the DEK.
    Embedded,
}

/// What a key manager can do. Never a promise about permissions: those are found out by asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// The wrap algorithm it makes. It opens stanzas of this algorithm only.
    pub algorithm: WrapAlgorithm,
    /// How it binds a wrap to its context.
    pub binds: Binds,
    /// The DEK is generated by the backend. Else by the operating system here.
    pub generates: bool,
    /// It can re-wrap without the DEK leaving the backend.
    pub rewraps: bool,
    /// It can unwrap. A public key cannot: it recognises its stanzas, so that a re-wrap replaces them, and is
    /// never asked to open one.
    pub unwraps: bool,
    /// It answers without a network or device, in under a millisecond.
    pub is_local: bool,
    /// The most items of one batch call; 1 where the backend has no batches.
    pub batch: usize,
}

impl Capabilities {
    /// A key manager that wraps and unwraps one DEK at a time and nothing more.
    #[must_use]
    pub const fn new(algorithm: WrapAlgorithm, binds: Binds) -> Self {
        Self {
            algorithm,
            binds,
            generates: false,
            rewraps: false,
            unwraps: true,
            is_local: false,
            batch: 1,
        }
    }

    /// The DEK is generated by the backend.
    #[must_use]
    pub const fn generating(mut self) -> Self {
        self.generates = true;
        self
    }

    /// It can re-wrap without the DEK leaving the backend.
    #[must_use]
    pub const fn rewrapping(mut self) -> Self {
        self.rewraps = true;
        self
    }

    /// It can wrap and not unwrap.
    #[must_use]
    pub const fn wrap_only(mut self) -> Self {
        self.unwraps = false;
        self
    }

    /// It answers without a network or device.
    #[must_use]
    pub const fn local(mut self) -> Self {
        self.is_local = true;
        self
    }

    /// It takes up to `items` in one call.
    #[must_use]
    pub const fn batching(mut self, items: usize) -> Self {
        self.batch = items;
        self
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
/// *Errors by kind.* `Denied`, `Unauthenticated`, `KeyNotFound`, `KeyDisabled`, `KeyDestroyed`, `Throttled`,
/// `Unavailable`, `TimedOut` as the backend says by code, never by text; `CannotOpen` as above;
/// `InvalidAnswer` where it answers with nonsense; `Malformed` or `OverLimit` for a stanza that is refused
/// before any work. No error text holds a secret or a response body.
///
/// *Recognising* never calls a network. A key manager is not asked to unwrap what it does not recognise, and
/// refuses it with [`ErrorKind::NoUsableKey`] if it is asked all the same.
///
/// `testing::conformance` (feature `testing`) tests an implementation against this contract.
#[async_trait]
pub trait KeyManager: Debug + Send + Sync {
    /// The provider name in stanzas, `"aws-kms"` for one: 1 to 32 of `a-z 0-9 -`.
    fn provider(&self) -> &str;

    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// Whether a stanza is under one of this manager's KEKs: algorithm, provider and id are its own, or the
    /// id is hidden. Never a network call.
    fn recognizes(&self, wrapped: WrapRef<'_>) -> bool;

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

    /// Unwraps a DEK, if it was wrapped for this request.
    ///
    /// # Errors
    /// `CannotOpen` where it was not, or was altered; `NoUsableKey` for what is not recognised; `Malformed` or
    /// `OverLimit` before any work; what the backend says, by kind.
    async fn unwrap(&self, wrapped: WrapRef<'_>, request: &Request<'_>) -> Result<Dek>;

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
    async fn unwrap_batch(&self, items: &[(WrapRef<'_>, &Request<'_>)]) -> Vec<Result<Dek>> {
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

    fn recognizes(&self, wrapped: WrapRef<'_>) -> bool {
        (**self).recognizes(wrapped)
    }

    async fn generate(&self, request: &Request<'_>) -> Result<(Dek, WrappedDek)> {
        (**self).generate(request).await
    }

    async fn wrap(&self, dek: &Dek, request: &Request<'_>) -> Result<WrappedDek> {
        (**self).wrap(dek, request).await
    }

    async fn unwrap(&self, wrapped: WrapRef<'_>, request: &Request<'_>) -> Result<Dek> {
        (**self).unwrap(wrapped, request).await
    }

    async fn rewrap(&self, wrapped: WrapRef<'_>, request: &Request<'_>) -> Result<Option<WrappedDek>> {
        (**self).rewrap(wrapped, request).await
    }

    async fn wrap_batch(&self, items: &[(&Dek, &Request<'_>)]) -> Vec<Result<WrappedDek>> {
        (**self).wrap_batch(items).await
    }

    async fn unwrap_batch(&self, items: &[(WrapRef<'_>, &Request<'_>)]) -> Vec<Result<Dek>> {
        (**self).unwrap_batch(items).await
    }

    async fn rewrap_batch(&self, items: &[(WrapRef<'_>, &Request<'_>)]) -> Vec<Result<Option<WrappedDek>>> {
        (**self).rewrap_batch(items).await
    }
}

/// The error of a key manager that is asked to unwrap what it does not recognise.
pub(crate) fn not_recognized(wrapped: &WrapRef<'_>) -> Error {
    Error::new(ErrorKind::NoUsableKey).with_provider(wrapped.provider.to_owned())
}

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
/// *Errors by kind* as in [`KeyManager`], and `Unsupported` for what the backend does not have.
#[async_trait]
pub trait KekAdmin: Debug + Send + Sync {
    /// The provider name, as in [`KeyManager::provider`].
    fn provider(&self) -> &str;

    /// Makes a KEK.
    async fn create(&self, template: &KekTemplate, idempotency_key: &str) -> Result<KekDescription>;

    /// Asks about a KEK or a version of it. A KEK that is gone is described as
    /// [`KekState::Destroyed`] where the backend still knows it, else `KeyNotFound`.
    async fn describe(&self, kek: &KekRef) -> Result<KekDescription>;

    /// Makes a new version the active one and describes it. Older versions go on unwrapping.
    async fn rotate(&self, kek: &KekRef, idempotency_key: &str) -> Result<KekDescription>;

    /// Makes a KEK, or the version that is named, stop wrapping and unwrapping until it is enabled again by
    /// the backend's own means. Disabling what is disabled is no error.
    async fn disable(&self, kek: &KekRef) -> Result<()>;

    /// Schedules destruction after `delay` (the backend's least where that is longer), and gives the time.
    /// What is still wrapped under the KEK is then lost.
    async fn schedule_destroy(&self, kek: &KekRef, delay: Duration) -> Result<SystemTime>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_embedded_dek_comes_out_only_in_its_context() {
        let (a, b) = (
            EncryptionContext::new([("a", "1")]).unwrap(),
            EncryptionContext::empty(),
        );
        let dek = Dek::from_bytes(&[5; 32]);
        let embedded = Request::new(&a).embed(&dek);
        assert!(Request::new(&a).extract(embedded.as_slice()).unwrap().ct_eq(&dek));
        for bad in [&embedded[..63], &embedded[..32], &[]] {
            assert_eq!(
                Request::new(&a).extract(bad).unwrap_err().kind(),
                ErrorKind::CannotOpen
            );
        }
        let error = Request::new(&b).extract(embedded.as_slice()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CannotOpen);
    }

    #[test]
    fn debug_of_a_request_shows_no_value_and_no_digest_to_guess_it_by() {
        let context = EncryptionContext::new([("tenant", "CANARY")]).unwrap();
        let request = Request::new(&context)
            .with_binding([0xab; 32])
            .with_actor("alice");
        let shown = format!("{request:?}");
        assert!(shown.contains("tenant") && shown.contains("alice"), "{shown}");
        assert!(!shown.contains("CANARY") && !shown.contains("171"), "{shown}");
    }

    #[test]
    fn the_wrap_aad_is_label_and_binding() {
        let context = EncryptionContext::empty();
        let request = Request::new(&context);
        assert_eq!(&request.wrap_aad()[..15], b"waxseal v1 wrap");
        assert_eq!(&request.wrap_aad()[15..], context.digest());
        assert_eq!(&request.with_binding([7; 32]).wrap_aad()[15..], [7; 32]);
    }
}
