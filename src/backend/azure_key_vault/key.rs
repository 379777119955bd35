//! The key manager of one key.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use azure_core::http::{Body, RequestContent};
use azure_security_keyvault_keys::KeyClient;
use azure_security_keyvault_keys::models::{
    KeyClientWrapKeyOptions, KeyOperationParameters, KeyOperationResult,
};
use base64ct::{Base64UrlUnpadded, Encoding};
use bytes::Bytes;
use zeroize::Zeroizing;

use super::client::Client;
use super::map::Call;
use super::resolve::{Key, LEAST_MODULUS, Validity, out_of_use};
use super::{Algorithm, PROVIDER, names};
use crate::backend::shared::answer::invalid_answer;
use crate::envelope::{KekRef, WrapRef, WrappedDek};
use crate::key::failure::worse;
use crate::key::{
    Binds, Capabilities, KeyManager, Recognition, Request, Unwrapped, Versions, not_recognized, not_this_kek,
};
use crate::runtime::Monotonic;
use crate::value::error::{Error, ErrorKind, Operation, Result};
use crate::value::secret::Dek;

/// DEK and binding, as A256KW wraps them: one block more.
const A256KW_LEN: usize = 72;
/// The greatest modulus, in bytes: twice what the service has.
const GREATEST_MODULUS: usize = 1024;

/// Wraps and unwraps with one key: wraps under its current or pinned version, and unwraps under the version that a stanza names.
/// Cloning is cheap: clones share the client.
#[derive(Clone)]
pub struct AzureKey {
    key: Arc<Key>,
}

impl AzureKey {
    pub(super) fn new(client: &Client, key: &str) -> Result<Self> {
        Ok(Self {
            key: Arc::new(Key::new(client, key, Algorithm::RsaOaep256)?),
        })
    }

    /// Wraps and unwraps with this algorithm.
    #[must_use]
    pub fn with_algorithm(self, algorithm: Algorithm) -> Self {
        Self {
            key: Arc::new(self.key.with_algorithm(algorithm)),
        }
    }

    /// Returns the id of the KEK: `https://HOST/keys/NAME`. A vault outside Azure's own domains may call itself by another host than
    /// the configured host: then the id is known after the vault has answered.
    #[must_use]
    pub fn kek_id(&self) -> String {
        self.key.id()
    }

    /// `alg` and `value`, in a buffer that is wiped.
    fn body(&self, value: &[u8]) -> Bytes {
        let text = Zeroizing::new(Base64UrlUnpadded::encode_string(value));
        let body = [
            "{\"alg\":\"",
            self.key.algorithm.name(),
            "\",\"value\":\"",
            text.as_str(),
            "\"}",
        ]
        .concat();
        Bytes::from_owner(Zeroizing::new(body.into_bytes()))
    }

    async fn wrap_under(&self, version: &str, body: Bytes, deadline: Monotonic) -> Result<WrappedDek> {
        let (name, asked) = (self.key.name.clone(), version.to_owned());
        let work = move |sdk: Arc<KeyClient>| {
            let (name, version, body) = (name.clone(), asked.clone(), content(&body));
            async move {
                let options = KeyClientWrapKeyOptions {
                    key_version: Some(version),
                    ..KeyClientWrapKeyOptions::default()
                };
                sdk.wrap_key(&name, body, Some(options)).await?.into_model()
            }
        };
        let answered = self.key.client.call(Call::Wrap, deadline, work).await;
        let answer = match answered {
            Ok(answer) => answer,
            Err(error) => return Err(self.why(error, version, deadline).await),
        };
        let kek = self.key.answered(answer.kid.as_deref(), Some(version))?;
        let wrapped = answer.result.unwrap_or_default();
        if !self.is_wrap(wrapped.len()) {
            return Err(invalid_answer(
                "the answer has no wrap, or one of a key with fewer than 2048 bits",
            ));
        }
        WrappedDek::new(self.key.algorithm.wrap_algorithm(), kek, wrapped)
    }

    async fn try_wrap(&self, dek: &Dek, request: &Request<'_>) -> Result<WrappedDek> {
        let deadline = self.key.client.deadline(Some(request));
        let version = self.key.version_in_use(deadline).await?;
        let body = self.body(request.embed(dek).as_slice());
        match self.wrap_under(&version, body.clone(), deadline).await {
            // The key was rotated meanwhile, and the old version was disabled.
            Err(error) if matches!(error.kind(), ErrorKind::KeyDisabled | ErrorKind::KeyNotFound) => {
                match self.key.instead_of(&version, deadline).await {
                    Some(newer) => self.wrap_under(&newer, body, deadline).await,
                    None => Err(error),
                }
            }
            done => done,
        }
    }

    async fn unwrap_under(
        &self,
        version: &str,
        wrapped: &WrapRef<'_>,
        request: &Request<'_>,
        deadline: Monotonic,
    ) -> Result<Unwrapped> {
        let (name, asked) = (self.key.name.clone(), version.to_owned());
        let body = self.body(wrapped.wrapped);
        let work = move |sdk: Arc<KeyClient>| {
            let (name, version, body) = (name.clone(), asked.clone(), content(&body));
            async move {
                let answer: KeyOperationResult =
                    sdk.unwrap_key(&name, &version, body, None).await?.into_model()?;
                // Wiped from here on.
                Ok((answer.kid, Zeroizing::new(answer.result.unwrap_or_default())))
            }
        };
        let answered = self.key.client.call(Call::Unwrap, deadline, work).await;
        let (kid, plaintext) = match answered {
            Ok(answer) => answer,
            Err(error) => return Err(self.why(error, version, deadline).await),
        };
        let kek: KekRef = self.key.answered(kid.as_deref(), Some(version))?;
        // The vault's own name is known now.
        if !self.key.may_be(wrapped.kek_id) {
            return Err(not_recognized(wrapped));
        }
        Ok(Unwrapped::new(request.extract(&plaintext)?, kek))
    }

    async fn try_unwrap(&self, wrapped: WrapRef<'_>, request: &Request<'_>) -> Result<Unwrapped> {
        if self.recognizes(wrapped).is_no() {
            return Err(not_recognized(&wrapped));
        }
        if !self.is_wrap(wrapped.wrapped.len()) {
            return Err(Error::malformed("wrapped DEK", 0));
        }
        let deadline = self.key.client.deadline(Some(request));
        match wrapped.kek_version {
            // No writer leaves out the version alone: only one that hides the id as well is worth a search.
            "" if wrapped.kek_id.is_empty() => self.unwrap_somehow(&wrapped, request, deadline).await,
            // Of the configured key, and a name: what a stanza claims leads nowhere else.
            version if names::is_version(version) => {
                self.unwrap_under(version, &wrapped, request, deadline).await
            }
            _ => Err(Error::malformed("KEK version", 0)),
        }
    }

    /// The writer hid which version it was: the current one, or else any other of the key. Each is a call of the envelope's
    /// budget.
    async fn unwrap_somehow(
        &self,
        wrapped: &WrapRef<'_>,
        request: &Request<'_>,
        deadline: Monotonic,
    ) -> Result<Unwrapped> {
        let current = self.key.version(deadline).await?.id;
        let mut worst = match self.unwrap_under(&current, wrapped, request, deadline).await {
            Ok(unwrapped) => return Ok(unwrapped),
            Err(error) => error,
        };
        let others = match self.key.versions(deadline).await {
            Ok(others) => others,
            // Without the right to list, the current one is all there is.
            Err(error) if error.kind() == ErrorKind::Denied => return Err(worst),
            Err(error) => return Err(worse(worst, error)),
        };
        for version in others.iter().filter(|version| **version != current) {
            if let Err(error) = request.take_call() {
                let error = error.with_detail(
                    "the envelope hides its version; configure the key as NAME/VERSION, which is then tried first",
                );
                return Err(worse(worst, error));
            }
            match self.unwrap_under(version, wrapped, request, deadline).await {
                Ok(unwrapped) => return Ok(unwrapped),
                Err(error) => worst = worse(worst, error),
            }
        }
        Err(worst)
    }

    /// Where the error does not say whether the caller or the key is at fault, the key's state is asked. That takes the
    /// right to read it; without it the caller counts as denied.
    async fn why(&self, error: Error, version: &str, deadline: Monotonic) -> Error {
        if error.kind() != ErrorKind::Denied {
            return error;
        }
        let found = self.key.get(Some(version), deadline).await.ok();
        let attributes = found.and_then(|found| found.attributes);
        let validity = Validity::of(attributes.as_ref());
        match validity.why_not(self.key.client.wall_clock()) {
            Some(why) => out_of_use(version, why),
            None => error,
        }
    }

    /// Whether a wrap can be this long. The modulus of the key is not known without a call.
    fn is_wrap(&self, len: usize) -> bool {
        match self.key.algorithm {
            Algorithm::RsaOaep256 => (LEAST_MODULUS..=GREATEST_MODULUS).contains(&len),
            Algorithm::A256Kw => len == A256KW_LEN,
        }
    }
}

fn content(body: &Bytes) -> RequestContent<KeyOperationParameters> {
    Body::from(body.clone()).into()
}

fn named(error: Error, operation: Operation) -> Error {
    error.with_operation(operation).with_provider(PROVIDER)
}

#[async_trait]
impl KeyManager for AzureKey {
    fn provider(&self) -> &str {
        PROVIDER
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::new(self.key.algorithm.wrap_algorithm(), Binds::Embedded)
            .with_versions(Versions::Proven)
    }

    fn recognizes(&self, wrapped: WrapRef<'_>) -> Recognition {
        if wrapped.algorithm == self.key.algorithm.wrap_algorithm() && wrapped.provider == PROVIDER {
            self.key.recognizes(wrapped.kek_id)
        } else {
            Recognition::No
        }
    }

    fn identity(&self) -> Option<String> {
        Some(format!("{} {}", self.key.algorithm.name(), self.key.configured()))
    }

    fn pinned_to(&self, kek: &KekRef) -> Result<Arc<dyn KeyManager>> {
        let is_own = kek.provider() == PROVIDER && !kek.id().is_empty() && self.key.may_be(kek.id());
        if !is_own || !names::is_version(kek.version()) {
            return Err(not_this_kek(PROVIDER));
        }
        Ok(Arc::new(Self {
            key: Arc::new(self.key.pinned_to(kek)),
        }))
    }

    async fn wrap(&self, dek: &Dek, request: &Request<'_>) -> Result<WrappedDek> {
        let result = self.try_wrap(dek, request).await;
        result.map_err(|error| named(error, Operation::Wrap))
    }

    async fn unwrap(&self, wrapped: WrapRef<'_>, request: &Request<'_>) -> Result<Unwrapped> {
        let result = self.try_unwrap(wrapped, request).await;
        result.map_err(|error| named(error, Operation::Unwrap))
    }
}

impl fmt::Debug for AzureKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AzureKey")
            .field("key", &self.key)
            .field("client", &self.key.client)
            .finish()
    }
}
