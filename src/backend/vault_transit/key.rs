//! The key manager of one Transit key.

use std::sync::Arc;

use async_trait::async_trait;
use reqwest::StatusCode;

use super::client::{Answered, Client};
use super::transit_key::{Key, data, why_not_wrapped, why_refused};
use super::wire::{self, Body, Ciphertext, Item, KeyInfo, parse_version};
use super::{Mode, PROVIDER};
use crate::backend::shared::answer::invalid_answer;
use crate::envelope::{KekRef, WrapRef, WrappedDek};
use crate::key::{
    Binds, Capabilities, KeyManager, Recognition, Request, Unwrapped, Versions, not_recognized, not_this_kek,
};
use crate::runtime::Monotonic;
use crate::value::error::{Error, Operation, Result};
use crate::value::secret::Dek;

/// Wraps and unwraps with one Transit key and all its versions. Cloning is cheap: clones share the client.
#[derive(Clone, Debug)]
pub struct TransitKey(pub(super) Key);

/// What is asked about a wrap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Decrypt,
    Rewrap,
}

impl Action {
    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::Decrypt => "decrypt",
            Self::Rewrap => "rewrap",
        }
    }
}

impl TransitKey {
    pub(super) fn new(client: &Client, name: &str) -> Result<Self> {
        Key::new(client, super::MOUNT, name, Mode::Encrypt).map(Self)
    }

    /// Uses the key of this name of the Transit engine at `mount`.
    ///
    /// # Errors
    /// `Configuration` if `mount` is not the path of a mount.
    pub fn with_mount(self, mount: &str) -> Result<Self> {
        Key::new(&self.0.client, mount, self.0.name(), self.0.mode).map(Self)
    }

    /// Uses the key in this mode.
    #[must_use]
    pub fn with_mode(self, mode: Mode) -> Self {
        Self(self.0.with_mode(mode))
    }

    /// Checks immediately that the key exists and suits the mode, unless the key was checked within the last five minutes.
    ///
    /// # Errors
    /// `KeyNotFound` if the server has no such key; `Configuration` if the key has another type or derivation; and the kinds of the
    /// [backend](super#errors), by the server's status.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub async fn check(&self) -> Result<()> {
        let result = self.0.check(self.0.client.deadline(None)).await;
        result.map_err(|error| labeled(error, Operation::Configure))
    }

    /// Returns the id of the KEK: `MOUNT/keys/NAME`, after the namespace if there is one.
    #[must_use]
    pub fn kek_id(&self) -> &str {
        self.0.id()
    }

    /// Makes the body of an encrypt.
    pub(super) fn encrypt_body(&self, dek: &Dek, request: &Request<'_>) -> Body {
        let version = self.0.pinned;
        match self.0.mode {
            Mode::Encrypt => {
                let plaintext = wire::encode(request.embed(dek).as_slice());
                wire::object(&[("plaintext", &plaintext)], version)
            }
            Mode::DataKey => {
                let plaintext = wire::encode(dek.expose_bytes());
                let context = wire::encode(&request.wrap_aad());
                wire::object(&[("plaintext", &plaintext), ("context", &context)], version)
            }
        }
    }

    /// Makes the body of a decrypt or rewrap.
    pub(super) fn stanza_body(
        &self,
        action: Action,
        ciphertext: &Ciphertext<'_>,
        request: &Request<'_>,
    ) -> Body {
        let version = self.0.pinned.filter(|_| action == Action::Rewrap);
        match self.0.mode {
            Mode::Encrypt => wire::object(&[("ciphertext", ciphertext.text)], version),
            Mode::DataKey => {
                let context = wire::encode(&request.wrap_aad());
                wire::object(&[("ciphertext", ciphertext.text), ("context", &context)], version)
            }
        }
    }

    /// Returns the wrap in an answer.
    pub(super) fn wrapped_of(&self, item: &Item<'_>) -> Result<WrappedDek> {
        let text = item
            .ciphertext
            .ok_or_else(|| invalid_answer("the answer has no ciphertext"))?;
        let parsed = Ciphertext::parse(text.as_bytes(), self.0.mode)
            .ok_or_else(|| invalid_answer("the ciphertext is not what the key makes"))?;
        if self.0.pinned.is_some_and(|pinned| pinned != parsed.version) {
            return Err(invalid_answer(
                "the answer is of another version than the pinned one",
            ));
        }
        WrappedDek::new(
            self.0.mode.algorithm(),
            self.0.kek(parsed.version),
            text.as_bytes().to_vec(),
        )
    }

    /// Returns the wrap in the answer to a rewrap of `version`.
    pub(super) fn rewrapped_of(&self, item: &Item<'_>, version: u64) -> Result<WrappedDek> {
        let wrapped = self.wrapped_of(item)?;
        let new = Ciphertext::parse(wrapped.wrapped(), self.0.mode).map_or(0, |parsed| parsed.version);
        // A pinned version may be older.
        if self.0.pinned.is_none() && new < version {
            // A standby that has not caught up answers like this.
            return Err(invalid_answer("a re-wrap gave a lower version than there was").with_retryable(true));
        }
        Ok(wrapped)
    }

    /// Returns the DEK in the answer to a decrypt.
    pub(super) fn dek_of(&self, item: &Item<'_>, request: &Request<'_>) -> Result<Dek> {
        let text = item
            .plaintext
            .ok_or_else(|| invalid_answer("the answer has no plaintext"))?;
        match self.0.mode {
            Mode::Encrypt => request.extract(wire::decode::<64>(text)?.as_slice()),
            Mode::DataKey => Ok(Dek::from_bytes(&*wire::decode::<32>(text)?)),
        }
    }

    /// Refuses a warning if the server binds the context: the warning can mean that the server did not.
    pub(super) fn heed(&self, warned: bool) -> Result<()> {
        match self.0.mode {
            Mode::DataKey if warned => Err(invalid_answer("the server warns of how it took the parameters")),
            Mode::Encrypt if warned => {
                tracing::warn!(
                    provider = PROVIDER,
                    kek = self.0.id(),
                    "the server's answer came with warnings"
                );
                Ok(())
            }
            Mode::Encrypt | Mode::DataKey => Ok(()),
        }
    }

    /// Returns the one item of an answer. A 400 to an encrypt is about the key, because the server has nothing else to refuse.
    async fn made<'a>(&self, answered: &'a Answered, deadline: Monotonic) -> Result<Item<'a>> {
        if answered.status == StatusCode::BAD_REQUEST {
            let info = self.0.after_refusal(deadline).await?;
            return Err(self.why_not_made(&info).unwrap_or_else(|| answered.error()));
        }
        let (item, warned) = data(answered)?;
        self.heed(warned)?;
        Ok(item)
    }

    /// Why the key does not wrap under the pinned version, if one is pinned and the key tells.
    pub(super) fn why_not_made(&self, info: &KeyInfo) -> Option<Error> {
        self.0.pinned.and_then(|version| why_not_wrapped(info, version))
    }

    /// Why the key refused a wrap of this version to an action.
    pub(super) fn why(&self, action: Action, info: &KeyInfo, version: u64) -> Error {
        let own = match action {
            Action::Decrypt => None,
            Action::Rewrap => self.why_not_made(info),
        };
        own.unwrap_or_else(|| why_refused(info, version))
    }

    async fn try_wrap(&self, dek: &Dek, request: &Request<'_>) -> Result<WrappedDek> {
        let deadline = self.0.client.deadline(Some(request));
        self.0.check(deadline).await?;
        let answered = self
            .0
            .act("encrypt", self.encrypt_body(dek, request), deadline)
            .await?;
        self.wrapped_of(&self.made(&answered, deadline).await?)
    }

    async fn try_generate(&self, request: &Request<'_>) -> Result<(Dek, WrappedDek)> {
        if self.0.mode == Mode::Encrypt || self.0.pinned.is_some() {
            // The binding is wrapped with the DEK, or the version is named, which `datakey` cannot do: so the DEK is made here.
            let dek = Dek::generate()?;
            let wrapped = self.try_wrap(&dek, request).await?;
            return Ok((dek, wrapped));
        }
        let deadline = self.0.client.deadline(Some(request));
        self.0.check(deadline).await?;
        let context = wire::encode(&request.wrap_aad());
        // The server makes 256 bits by default.
        let body = wire::object(&[("context", &context)], None);
        let answered = self.0.act("datakey/plaintext", body, deadline).await?;
        let item = self.made(&answered, deadline).await?;
        let wrapped = self.wrapped_of(&item)?;
        Ok((self.dek_of(&item, request)?, wrapped))
    }

    /// Why a wrap of this version was refused. That takes one more call, for all stanzas of an envelope together, so that
    /// planted ones do not use up its calls in pairs.
    async fn refused(
        &self,
        action: Action,
        version: u64,
        request: &Request<'_>,
        deadline: Monotonic,
    ) -> Error {
        let about = format!("{:?} {}", self.0.mode, self.0.place());
        let calls = request.call_budget();
        let found = match calls.and_then(|calls| calls.noted::<Result<KeyInfo>>(&about)) {
            Some(found) => found,
            None => {
                if let Err(error) = request.take_call() {
                    return match calls {
                        // What is left is for stanzas that were not tried yet.
                        Some(calls) if calls.left() > 0 => Error::cannot_open().with_provider(PROVIDER),
                        _ => error,
                    };
                }
                let found = Arc::new(self.0.after_refusal(deadline).await);
                // What may pass is asked again.
                let lasts = found
                    .as_ref()
                    .as_ref()
                    .err()
                    .is_none_or(|error| !error.is_retryable());
                if let Some(calls) = calls.filter(|_| lasts) {
                    calls.note(about, Arc::clone(&found));
                }
                found
            }
        };
        match Arc::try_unwrap(found) {
            Ok(Ok(info)) => self.why(action, &info, version),
            Ok(Err(error)) => error,
            Err(shared) => match &*shared {
                Ok(info) => self.why(action, info, version),
                Err(error) => Error::new(error.kind())
                    .with_provider(PROVIDER)
                    .with_detail("the server refused the wrap, and does not let us read why"),
            },
        }
    }

    /// Asks for a decrypt or a rewrap.
    async fn ask<'w>(
        &self,
        action: Action,
        wrapped: &WrapRef<'w>,
        request: &Request<'_>,
    ) -> Result<(Ciphertext<'w>, Answered)> {
        let ciphertext = Ciphertext::of_stanza(wrapped, self.0.mode)?;
        let deadline = self.0.client.deadline(Some(request));
        self.0.check(deadline).await?;
        let body = self.stanza_body(action, &ciphertext, request);
        let answered = self.0.act(action.path(), body, deadline).await?;
        if answered.status == StatusCode::BAD_REQUEST {
            return Err(self.refused(action, ciphertext.version, request, deadline).await);
        }
        Ok((ciphertext, answered))
    }

    async fn try_unwrap(&self, wrapped: WrapRef<'_>, request: &Request<'_>) -> Result<Unwrapped> {
        if self.recognizes(wrapped).is_no() {
            return Err(not_recognized(&wrapped));
        }
        let (ciphertext, answered) = self.ask(Action::Decrypt, &wrapped, request).await?;
        let (item, warned) = data(&answered)?;
        self.heed(warned)?;
        // The version is the server's too: by it, and by nothing else, it chose the key.
        Ok(Unwrapped::new(
            self.dek_of(&item, request)?,
            self.0.kek(ciphertext.version),
        ))
    }

    async fn try_rewrap(&self, wrapped: WrapRef<'_>, request: &Request<'_>) -> Result<Option<WrappedDek>> {
        if self.recognizes(wrapped).is_no() {
            // Of another key or backend: the caller unwraps and wraps.
            return Ok(None);
        }
        let (ciphertext, answered) = self.ask(Action::Rewrap, &wrapped, request).await?;
        let (item, warned) = data(&answered)?;
        self.heed(warned)?;
        self.rewrapped_of(&item, ciphertext.version).map(Some)
    }
}

#[async_trait]
impl KeyManager for TransitKey {
    fn provider(&self) -> &str {
        PROVIDER
    }

    fn capabilities(&self) -> Capabilities {
        let mode = self.0.mode;
        match mode {
            Mode::Encrypt => Capabilities::new(mode.algorithm(), Binds::Embedded),
            Mode::DataKey if self.0.pinned.is_some() => Capabilities::new(mode.algorithm(), Binds::Aad),
            Mode::DataKey => Capabilities::new(mode.algorithm(), Binds::Aad).generating(),
        }
        .rewrapping()
        .with_versions(Versions::Proven)
        .batching(self.0.batch())
    }

    fn recognizes(&self, wrapped: WrapRef<'_>) -> Recognition {
        // Another cluster may have the same mount and key.
        let id = self.0.id();
        Recognition::by_id(wrapped, self.0.mode.algorithm(), PROVIDER, id).min(Recognition::Perhaps)
    }

    fn identity(&self) -> Option<String> {
        Some(format!("{:?} {}", self.0.mode, self.0.place()))
    }

    fn pinned_to(&self, kek: &KekRef) -> Result<Arc<dyn KeyManager>> {
        let is_own = (kek.provider(), kek.id()) == (PROVIDER, self.0.id());
        let version = parse_version(kek.version()).filter(|_| is_own);
        let version = version.ok_or_else(|| not_this_kek(PROVIDER))?;
        Ok(Arc::new(Self(self.0.clone().with_pinned(version))))
    }

    async fn generate(&self, request: &Request<'_>) -> Result<(Dek, WrappedDek)> {
        let result = self.try_generate(request).await;
        result.map_err(|error| labeled(error, Operation::Generate))
    }

    async fn wrap(&self, dek: &Dek, request: &Request<'_>) -> Result<WrappedDek> {
        let result = self.try_wrap(dek, request).await;
        result.map_err(|error| labeled(error, Operation::Wrap))
    }

    async fn unwrap(&self, wrapped: WrapRef<'_>, request: &Request<'_>) -> Result<Unwrapped> {
        let result = self.try_unwrap(wrapped, request).await;
        result.map_err(|error| labeled(error, Operation::Unwrap))
    }

    async fn rewrap(&self, wrapped: WrapRef<'_>, request: &Request<'_>) -> Result<Option<WrappedDek>> {
        let result = self.try_rewrap(wrapped, request).await;
        result.map_err(|error| labeled(error, Operation::Rewrap))
    }

    async fn wrap_batch(&self, items: &[(&Dek, &Request<'_>)]) -> Vec<Result<WrappedDek>> {
        named(self.try_wrap_batch(items).await, Operation::Wrap)
    }

    async fn unwrap_batch(&self, items: &[(WrapRef<'_>, &Request<'_>)]) -> Vec<Result<Unwrapped>> {
        named(self.try_unwrap_batch(items).await, Operation::Unwrap)
    }

    async fn rewrap_batch(&self, items: &[(WrapRef<'_>, &Request<'_>)]) -> Vec<Result<Option<WrappedDek>>> {
        named(self.try_rewrap_batch(items).await, Operation::Rewrap)
    }
}

fn named<T>(results: Vec<Result<T>>, operation: Operation) -> Vec<Result<T>> {
    let named = results.into_iter();
    named
        .map(|result| result.map_err(|error| labeled(error, operation)))
        .collect()
}

pub(super) fn labeled(error: Error, operation: Operation) -> Error {
    error.with_operation(operation).with_provider(PROVIDER)
}
