//! One KEK in AWS KMS.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::DataKeySpec;
use zeroize::Zeroizing;

use super::PROVIDER;
use super::bind::ContextForm;
use super::client::Client;
use super::resolve::Key;
use crate::backend::shared::answer::invalid_answer;
use crate::envelope::{KekRef, WrapRef, WrappedDek};
use crate::key::failure::worse;
use crate::key::{
    Binds, Capabilities, KeyManager, Recognition, Request, Unwrapped, Versions, not_recognized, not_this_kek,
};
use crate::value::error::{Error, ErrorKind, Operation, Result};
use crate::value::secret::Dek;

/// The longest ciphertext that `Decrypt` takes, in bytes (AWS KMS API reference, `CiphertextBlob`).
const LONGEST_CIPHERTEXT: usize = 6_144;

/// Wraps and unwraps with one KEK in AWS KMS, and unwraps with any number of former KEKs.
///
/// Make it with [`Client::key`]. Cloning is cheap. The [module](super) documents what it binds, records, costs and needs.
#[derive(Clone)]
pub struct AwsKey {
    client: Client,
    active: Arc<Key>,
    former: Vec<Arc<Key>>,
    form: ContextForm,
    grant_tokens: Arc<[String]>,
}

impl AwsKey {
    pub(super) fn new(client: Client, key: &str) -> Result<Self> {
        Ok(Self {
            active: Arc::new(Key::new(client.clone(), key)?),
            client,
            former: Vec::new(),
            form: ContextForm::default(),
            grant_tokens: Arc::new([]),
        })
    }

    /// Also unwraps with this other KEK: a former KEK, or a former target of the alias. The other KEK never wraps. If ids are hidden,
    /// each KEK is tried.
    ///
    /// # Errors
    /// `Configuration` if `key` is not a key id, key ARN or alias, or names a key of another region that is not a multi-region key.
    pub fn also_opening(mut self, key: &str) -> Result<Self> {
        self.former.push(Arc::new(Key::new(self.client.clone(), key)?));
        Ok(self)
    }

    /// Sends the context in this form.
    #[must_use]
    pub fn with_context_form(mut self, form: ContextForm) -> Self {
        self.form = form;
        self
    }

    /// Sends these grant tokens with every call, for grants that are too new to be known everywhere in AWS.
    #[must_use]
    pub fn with_grant_tokens<T: Into<String>>(mut self, tokens: impl IntoIterator<Item = T>) -> Self {
        self.grant_tokens = tokens.into_iter().map(Into::into).collect();
        self
    }

    /// Returns the key that wraps, as AWS names it. Asks AWS if an alias or an id was configured.
    ///
    /// # Errors
    /// The same kinds as [`wrap`](KeyManager::wrap), under the same conditions.
    pub async fn resolve(&self) -> Result<KekRef> {
        let resolve = async {
            let call = self.client.kms()?.describe_key();
            let target = self.active.target(None, &self.grant_tokens).await?;
            let answer = call.key_id(&target).set_grant_tokens(self.tokens()).send();
            let key = self.client.call(None, answer).await?.key_metadata;
            let arn = key.as_ref().and_then(|key| key.arn.as_deref());
            self.active.answered(&target, arn, None)
        };
        resolve.await.map_err(|error| named(error, Operation::Configure))
    }

    fn tokens(&self) -> Option<Vec<String>> {
        (!self.grant_tokens.is_empty()).then(|| self.grant_tokens.to_vec())
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Key>> {
        std::iter::once(&self.active).chain(&self.former)
    }

    fn is_ours(&self, wrapped: &WrapRef<'_>) -> bool {
        wrapped.algorithm == self.form.algorithm() && wrapped.provider == PROVIDER
    }

    async fn target(&self, key: &Key, request: &Request<'_>) -> Result<String> {
        key.target(request.deadline(), &self.grant_tokens).await
    }

    /// Asks for the state of a key if AWS reports only that the state does not allow the call. This needs the right `kms:DescribeKey`;
    /// without the right, the error stays as it is.
    async fn told<T>(&self, key: &Key, answer: Result<T>, request: &Request<'_>) -> Result<T> {
        match answer {
            Err(error) if error.kind() == ErrorKind::KeyNotReady => {
                let state = key.state(request.deadline(), &self.grant_tokens).await;
                Err(state.unwrap_or(error))
            }
            answer => answer,
        }
    }

    fn wrapped(&self, kek: KekRef, ciphertext: Option<Blob>) -> Result<WrappedDek> {
        let ciphertext = ciphertext.map(Blob::into_inner).unwrap_or_default();
        if ciphertext.is_empty() || ciphertext.len() > LONGEST_CIPHERTEXT {
            return Err(invalid_answer("the answer has no ciphertext"));
        }
        WrappedDek::new(self.form.algorithm(), kek, ciphertext)
    }

    async fn try_generate(&self, request: &Request<'_>) -> Result<(Dek, WrappedDek)> {
        let context = self.form.encryption_context(request)?;
        let target = self.target(&self.active, request).await?;
        let call = self.client.kms()?.generate_data_key();
        let call = call
            .key_id(&target)
            .key_spec(DataKeySpec::Aes256)
            .set_encryption_context(context)
            .set_grant_tokens(self.tokens());
        let answer = self.client.call(request.deadline(), call.send()).await;
        let answer = self.told(&self.active, answer, request).await?;
        let dek = Zeroizing::new(answer.plaintext.map(Blob::into_inner).unwrap_or_default());
        let dek =
            Dek::from_slice(&dek).map_err(|_| invalid_answer("the answer has no data key of 32 bytes"))?;
        let material = answer.key_material_id.as_deref();
        let kek = self
            .active
            .answered(&target, answer.key_id.as_deref(), material)?;
        Ok((dek, self.wrapped(kek, answer.ciphertext_blob)?))
    }

    async fn try_wrap(&self, dek: &Dek, request: &Request<'_>) -> Result<WrappedDek> {
        let context = self.form.encryption_context(request)?;
        let target = self.target(&self.active, request).await?;
        let call = self.client.kms()?.encrypt();
        let call = call
            .key_id(&target)
            .plaintext(Blob::new(dek.expose_bytes().as_slice()))
            .set_encryption_context(context)
            .set_grant_tokens(self.tokens());
        let answer = self.client.call(request.deadline(), call.send()).await;
        let answer = self.told(&self.active, answer, request).await?;
        let kek = self.active.answered(&target, answer.key_id.as_deref(), None)?;
        self.wrapped(kek, answer.ciphertext_blob)
    }

    async fn unwrap_under(
        &self,
        key: &Key,
        wrapped: &WrapRef<'_>,
        request: &Request<'_>,
    ) -> Result<Unwrapped> {
        let target = self.target(key, request).await?;
        if !key.is(wrapped.kek_id, &target) {
            return Err(not_recognized(wrapped));
        }
        // Nothing can have been wrapped for such a request.
        let context = self.form.encryption_context(request);
        let context = context.map_err(|_| Error::new(ErrorKind::CannotOpen))?;
        let call = self.client.kms()?.decrypt();
        let call = call
            .key_id(&target)
            .ciphertext_blob(Blob::new(wrapped.wrapped))
            .set_encryption_context(context)
            .set_grant_tokens(self.tokens());
        let answer = self.client.call(request.deadline(), call.send()).await;
        let answer = self.told(key, answer, request).await?;
        let dek = Zeroizing::new(answer.plaintext.map(Blob::into_inner).unwrap_or_default());
        let material = answer.key_material_id.as_deref();
        let kek = key.answered(&target, answer.key_id.as_deref(), material)?;
        Ok(Unwrapped::new(Dek::from_slice(&dek)?, kek))
    }

    async fn rewrap_from(
        &self,
        key: &Key,
        wrapped: &WrapRef<'_>,
        request: &Request<'_>,
    ) -> Result<Option<WrappedDek>> {
        let source = self.target(key, request).await?;
        if !key.is(wrapped.kek_id, &source) {
            return Ok(None);
        }
        let context = self.form.encryption_context(request)?;
        let destination = self.target(&self.active, request).await?;
        let call = self.client.kms()?.re_encrypt();
        let call = call
            .ciphertext_blob(Blob::new(wrapped.wrapped))
            .source_key_id(&source)
            .set_source_encryption_context(context.clone())
            .destination_key_id(&destination)
            .set_destination_encryption_context(context)
            .set_grant_tokens(self.tokens());
        let answer = match self.client.call(request.deadline(), call.send()).await {
            // The caller unwraps and wraps instead.
            Err(error) if matches!(error.kind(), ErrorKind::Unsupported { .. }) => return Ok(None),
            answer => {
                let answer = self.told(key, answer, request).await;
                self.told(&self.active, answer, request).await?
            }
        };
        key.answered(&source, answer.source_key_id.as_deref(), None)?;
        let material = answer.destination_key_material_id.as_deref();
        let kek = self
            .active
            .answered(&destination, answer.key_id.as_deref(), material)?;
        Ok(Some(self.wrapped(kek, answer.ciphertext_blob)?))
    }
}

#[async_trait]
impl KeyManager for AwsKey {
    fn provider(&self) -> &str {
        PROVIDER
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::new(self.form.algorithm(), Binds::Aad)
            .generating()
            .rewrapping()
            .hiding_versions()
            .with_versions(Versions::Unproven)
    }

    fn recognizes(&self, wrapped: WrapRef<'_>) -> Recognition {
        if !self.is_ours(&wrapped) {
            return Recognition::No;
        }
        let said = self.all().map(|key| key.recognizes(wrapped.kek_id));
        said.max().unwrap_or(Recognition::No)
    }

    fn identity(&self) -> Option<String> {
        let keys: Vec<&str> = self.all().map(|key| key.name()).collect();
        let place = self.client.place();
        Some(format!("{} {place} {}", self.form.algorithm(), keys.join(" ")))
    }

    fn pinned_to(&self, kek: &KekRef) -> Result<Arc<dyn KeyManager>> {
        // An alias may move: the pinned manager names the key itself.
        if kek.provider() != PROVIDER || kek.id().is_empty() || !self.active.may_be(kek.id()) {
            return Err(not_this_kek(PROVIDER));
        }
        let active =
            Key::new(self.client.clone(), kek.id()).map_err(|error| named(error, Operation::Configure))?;
        Ok(Arc::new(Self {
            active: Arc::new(active),
            ..self.clone()
        }))
    }

    async fn generate(&self, request: &Request<'_>) -> Result<(Dek, WrappedDek)> {
        let generated = self.try_generate(request).await;
        generated.map_err(|error| named(error, Operation::Generate))
    }

    async fn wrap(&self, dek: &Dek, request: &Request<'_>) -> Result<WrappedDek> {
        let wrapped = self.try_wrap(dek, request).await;
        wrapped.map_err(|error| named(error, Operation::Wrap))
    }

    async fn unwrap(&self, wrapped: WrapRef<'_>, request: &Request<'_>) -> Result<Unwrapped> {
        let mut worst = not_recognized(&wrapped);
        if self.is_ours(&wrapped) {
            let candidates = self.all().filter(|key| key.may_be(wrapped.kek_id));
            for (tried, key) in candidates.enumerate() {
                check_length(&wrapped).map_err(|error| named(error, Operation::Unwrap))?;
                // The caller has taken the first call.
                if tried > 0
                    && let Err(error) = request.take_call()
                {
                    worst = worse(worst, error);
                    break;
                }
                match self.unwrap_under(key, &wrapped, request).await {
                    Ok(unwrapped) => return Ok(unwrapped),
                    Err(error) => worst = worse(worst, error),
                }
            }
        }
        Err(named(worst, Operation::Unwrap))
    }

    async fn rewrap(&self, wrapped: WrapRef<'_>, request: &Request<'_>) -> Result<Option<WrappedDek>> {
        let mut worst = None;
        if self.is_ours(&wrapped) {
            for key in self.all().filter(|key| key.may_be(wrapped.kek_id)) {
                check_length(&wrapped).map_err(|error| named(error, Operation::Rewrap))?;
                match self.rewrap_from(key, &wrapped, request).await {
                    Ok(Some(new)) => return Ok(Some(new)),
                    Ok(None) => {}
                    Err(error) => {
                        worst = Some(match worst {
                            None => error,
                            Some(worst) => worse(worst, error),
                        });
                    }
                }
            }
        }
        worst.map_or(Ok(None), |error| Err(named(error, Operation::Rewrap)))
    }
}

fn check_length(wrapped: &WrapRef<'_>) -> Result<()> {
    if wrapped.wrapped.is_empty() || wrapped.wrapped.len() > LONGEST_CIPHERTEXT {
        return Err(Error::malformed("wrapped DEK", 0));
    }
    Ok(())
}

fn named(error: Error, operation: Operation) -> Error {
    error.with_operation(operation).with_provider(PROVIDER)
}

impl fmt::Debug for AwsKey {
    // Without the grant tokens: anybody with a token may use the grant.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsKey")
            .field("region", &self.client.region())
            .field("active", &self.active)
            .field(
                "former",
                &self.former.iter().map(|key| key.name()).collect::<Vec<_>>(),
            )
            .field("form", &self.form)
            .finish_non_exhaustive()
    }
}
