//! The key manager of one crypto key.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use google_cloud_kms_v1::model::crypto_key_version::CryptoKeyVersionState;
use zeroize::{Zeroize, Zeroizing};

use super::client::Client;
use super::map::{self, Call};
use super::{PROVIDER, names};
use crate::backend::shared::answer::invalid_answer;
use crate::envelope::{KekRef, WrapAlgorithm, WrapRef, WrappedDek};
use crate::key::{
    Binds, Capabilities, KeyManager, Recognition, Request, Unwrapped, Versions, not_recognized, not_this_kek,
};
use crate::runtime::Monotonic;
use crate::value::error::{Error, ErrorKind, Operation, Result};
use crate::value::secret::Dek;

pub(super) const ALGORITHM: WrapAlgorithm = WrapAlgorithm::GCP_KMS;

/// Wraps and unwraps with one crypto key: wraps under its primary version, and unwraps under the version that made the wrap. Cloning
/// is cheap: clones share the client.
#[derive(Clone, Debug)]
pub struct GcpKey {
    client: Client,
    kek: KekRef,
}

impl GcpKey {
    pub(super) fn new(client: &Client, key: &str) -> Result<Self> {
        names::check_key(key)?;
        Ok(Self {
            client: client.clone(),
            kek: KekRef::new(PROVIDER, key, "")?,
        })
    }

    /// Returns the id of the KEK: the name of the key.
    #[must_use]
    pub fn kek_id(&self) -> &str {
        self.kek.id()
    }

    async fn try_wrap(&self, dek: &Dek, request: &Request<'_>) -> Result<WrappedDek> {
        let deadline = self.client.deadline(Some(request));
        let key = self.kek.id().to_owned();
        // Wiped when the last that holds it lets go.
        let plaintext = Bytes::from_owner(Zeroizing::new(*dek.expose_bytes()));
        let aad = request.wrap_aad();
        let answered = self
            .client
            .call(Call::Encrypt, deadline, move |service| {
                let (plaintext_sum, aad_sum) = (checksum(&plaintext), checksum(&aad));
                service
                    .encrypt()
                    .set_name(key)
                    .set_plaintext(plaintext)
                    .set_plaintext_crc32c(plaintext_sum)
                    .set_additional_authenticated_data(Bytes::copy_from_slice(&aad))
                    .set_additional_authenticated_data_crc32c(aad_sum)
                    .send()
            })
            .await;
        let answer = match answered {
            Ok(answer) => answer,
            Err(error) => return Err(self.why(error, None, deadline).await),
        };
        let Some(kek) = names::answered(self.kek.id(), &answer.name) else {
            return Err(invalid_answer("the answer names another key"));
        };
        self.check(&answer.ciphertext, answer.ciphertext_crc32c)?;
        let verified = [
            answer.verified_plaintext_crc32c,
            answer.verified_additional_authenticated_data_crc32c,
        ];
        // Some emulators verify the plaintext only, and some verify nothing.
        if self.client.demands_checksums() && verified.contains(&false) {
            return Err(map::damaged(
                "the service did not verify the checksums of the request",
            ));
        }
        if answer.ciphertext.is_empty() {
            return Err(invalid_answer("the answer has no ciphertext"));
        }
        WrappedDek::new(ALGORITHM, kek, answer.ciphertext.to_vec())
    }

    async fn try_unwrap(&self, wrapped: WrapRef<'_>, request: &Request<'_>) -> Result<Unwrapped> {
        if self.recognizes(wrapped).is_no() {
            return Err(not_recognized(&wrapped));
        }
        let deadline = self.client.deadline(Some(request));
        let key = self.kek.id().to_owned();
        let ciphertext = Bytes::copy_from_slice(wrapped.checked_wrapped()?);
        let aad = request.wrap_aad();
        let answered = self
            .client
            .call(Call::Decrypt, deadline, move |service| {
                let (ciphertext_sum, aad_sum) = (checksum(&ciphertext), checksum(&aad));
                service
                    .decrypt()
                    .set_name(key)
                    .set_ciphertext(ciphertext)
                    .set_ciphertext_crc32c(ciphertext_sum)
                    .set_additional_authenticated_data(Bytes::copy_from_slice(&aad))
                    .set_additional_authenticated_data_crc32c(aad_sum)
                    .send()
            })
            .await;
        let mut answer = match answered {
            Ok(answer) => answer,
            Err(error) => return Err(self.why(error, Some(wrapped.kek_version), deadline).await),
        };
        let sum = answer.plaintext_crc32c;
        let plaintext = Secret(std::mem::take(&mut answer.plaintext));
        self.check(&plaintext.0, sum)?;
        // Somebody else may encrypt under this key too, and not only DEKs.
        let dek = Dek::from_slice(&plaintext.0).map_err(|_| Error::cannot_open())?;
        // The answer does not name the version.
        Ok(Unwrapped::new(dek, self.kek.clone()))
    }

    /// Compares bytes of an answer with their checksum.
    fn check(&self, bytes: &[u8], sum: Option<i64>) -> Result<()> {
        match sum {
            Some(sum) if sum == checksum(bytes) => Ok(()),
            Some(_) => Err(map::damaged("the answer and its checksum do not agree")),
            None if self.client.demands_checksums() => Err(map::damaged("the answer has no checksum")),
            None => Ok(()),
        }
    }

    /// Asks for the state of a version that cannot be used, unless the error says that the version is destroyed. This needs one more
    /// permission; without the permission, the key counts as disabled.
    async fn why(&self, error: Error, claimed: Option<&str>, deadline: Monotonic) -> Error {
        if error.kind() != ErrorKind::KeyDisabled {
            return error;
        }
        let key = self.kek.id();
        let state = match claimed {
            // A number, and a version of the configured key: the claim of a stanza leads nowhere else.
            Some(version) if names::is_version(version) => {
                let name = names::version_name(key, version);
                let work = move |service: google_cloud_kms_v1::client::KeyManagementService| {
                    service.get_crypto_key_version().set_name(name).send()
                };
                let answer = self.client.call(Call::Administer, deadline, work).await;
                answer.ok().map(|version| version.state)
            }
            Some(_) => None,
            None => {
                let name = key.to_owned();
                let work = move |service: google_cloud_kms_v1::client::KeyManagementService| {
                    service.get_crypto_key().set_name(name).send()
                };
                let answer = self.client.call(Call::Administer, deadline, work).await;
                answer
                    .ok()
                    .and_then(|key| key.primary)
                    .map(|version| version.state)
            }
        };
        match state {
            Some(CryptoKeyVersionState::Destroyed) => {
                Error::new(ErrorKind::KeyDestroyed).with_provider(PROVIDER)
            }
            Some(CryptoKeyVersionState::DestroyScheduled) => Error::new(ErrorKind::KeyPendingDestruction)
                .with_provider(PROVIDER)
                .with_detail(
                    "the version is scheduled for destruction; `gcloud kms keys versions restore` and then `enable` keep it",
                ),
            Some(
                CryptoKeyVersionState::PendingGeneration
                | CryptoKeyVersionState::PendingImport
                | CryptoKeyVersionState::ImportFailed
                | CryptoKeyVersionState::GenerationFailed,
            ) => Error::new(ErrorKind::KeyNotReady)
                .with_provider(PROVIDER)
                .with_detail("the version has no key material"),
            _ => error,
        }
    }
}

/// CRC-32C, as the service has it.
fn checksum(bytes: &[u8]) -> i64 {
    i64::from(crc32c::crc32c(bytes))
}

/// The plaintext of an answer, wiped.
struct Secret(Bytes);

impl Drop for Secret {
    fn drop(&mut self) {
        if let Ok(mut bytes) = std::mem::take(&mut self.0).try_into_mut() {
            bytes.as_mut().zeroize();
        }
    }
}

fn named(error: Error, operation: Operation) -> Error {
    error.with_operation(operation).with_provider(PROVIDER)
}

#[async_trait]
impl KeyManager for GcpKey {
    fn provider(&self) -> &str {
        PROVIDER
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::new(ALGORITHM, Binds::Aad).with_versions(Versions::Unproven)
    }

    fn recognizes(&self, wrapped: WrapRef<'_>) -> Recognition {
        Recognition::by_id(wrapped, ALGORITHM, PROVIDER, self.kek.id())
    }

    fn identity(&self) -> Option<String> {
        Some(self.kek.to_string())
    }

    fn pinned_to(&self, kek: &KekRef) -> Result<Arc<dyn KeyManager>> {
        if (kek.provider(), kek.id()) == (PROVIDER, self.kek.id()) {
            Ok(Arc::new(self.clone()))
        } else {
            Err(not_this_kek(PROVIDER))
        }
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
