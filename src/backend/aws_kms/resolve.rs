//! One configured key, and what it stands for.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_sdk_kms::primitives::DateTimeFormat as Format;
use aws_sdk_kms::types::{KeySpec, KeyState, KeyUsageType};

use super::PROVIDER;
use super::client::Client;
use super::names::{KeyArn, Name};
use crate::backend::shared::answer::invalid_answer;
use crate::envelope::KekRef;
use crate::key::Recognition;
use crate::runtime::Monotonic;
use crate::value::error::{Error, ErrorKind, Result};

/// When to resolve again after a failure, at the latest.
const AGAIN: Duration = Duration::from_secs(30);

pub(super) struct Key {
    client: Client,
    name: Name,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// The ARN, once it is known.
    arn: Option<String>,
    /// When an alias is to be resolved again.
    due: Option<Monotonic>,
}

impl Key {
    pub(super) fn new(client: Client, name: &str) -> Result<Self> {
        let name = Name::parse(name, client.region())?;
        let arn = match &name {
            Name::Arn(arn) => Some(arn.clone()),
            _ => None,
        };
        Ok(Self {
            client,
            name,
            known: Mutex::new(Known { arn, due: None }),
        })
    }

    /// Whether a KEK id is this key's, as far as is known without a call: of an alias that is not resolved, or is
    /// to be resolved again, it may be any key of the region; behind an endpoint that was configured, of any region,
    /// since an emulator may have but one, and puts that in each ARN.
    ///
    /// For certain it is this key's only by a full ARN, as configured or as AWS has said it.
    pub(super) fn recognizes(&self, kek_id: &str) -> Recognition {
        if kek_id.is_empty() {
            return Recognition::Perhaps;
        }
        let Some(arn) = KeyArn::parse(kek_id) else {
            return Recognition::No;
        };
        let known = self.lock();
        if known.arn.as_deref().is_some_and(|known| is_same(known, &arn)) {
            return Recognition::Mine;
        }
        let is_near = || self.client.has_endpoint() || arn.is_usable_in(self.client.region());
        let may_be = match &self.name {
            Name::Arn(_) => false,
            Name::Id(id) => known.arn.is_none() && arn.id == id && is_near(),
            Name::Alias(_) => self.is_due(&known) && is_near(),
        };
        if may_be {
            Recognition::Perhaps
        } else {
            Recognition::No
        }
    }

    /// Whether a KEK id may be this key's.
    pub(super) fn may_be(&self, kek_id: &str) -> bool {
        !self.recognizes(kek_id).is_no()
    }

    /// Whether a KEK id is this key's, now that a [`target`](Self::target) is known.
    pub(super) fn is(&self, kek_id: &str, target: &str) -> bool {
        if kek_id.is_empty() {
            return true;
        }
        KeyArn::parse(kek_id).is_some_and(|arn| is_same(target, &arn) || arn.id == target)
    }

    /// Returns what to ask AWS for: the key's ARN or id, never an alias.
    pub(super) async fn target(&self, deadline: Option<Monotonic>, tokens: &[String]) -> Result<String> {
        let former = {
            let mut known = self.lock();
            match (&known.arn, &self.name) {
                (Some(arn), Name::Alias(_)) if !self.is_due(&known) => return Ok(arn.clone()),
                (Some(arn), Name::Alias(_)) => {
                    let arn = arn.clone();
                    // Calls that come meanwhile go on with what is known.
                    known.due = Some(self.client.now() + AGAIN.min(self.client.refresh()));
                    Some(arn)
                }
                (Some(arn), _) => return Ok(arn.clone()),
                (None, Name::Alias(_)) => None,
                (None, name) => return Ok(name.as_str().to_owned()),
            }
        };
        match self.describe(deadline, tokens).await {
            Ok(arn) => {
                let mut known = self.lock();
                match &former {
                    None => {
                        tracing::info!(alias = self.name.as_str(), kek = %arn, "an AWS KMS alias was resolved");
                    }
                    Some(former) if *former != arn => {
                        tracing::info!(alias = self.name.as_str(), kek = %arn, "an AWS KMS alias has moved");
                    }
                    Some(_) => {}
                }
                known.arn = Some(arn.clone());
                known.due = Some(self.client.now() + self.client.refresh());
                Ok(arn)
            }
            Err(error) => match former {
                Some(former) if error.is_retryable() => {
                    tracing::warn!(
                        alias = self.name.as_str(),
                        error = %error,
                        "an AWS KMS alias could not be resolved again; it is taken for what it was"
                    );
                    Ok(former)
                }
                _ => {
                    self.lock().due = None;
                    Err(error)
                }
            },
        }
    }

    /// Returns the KEK in AWS's answer, if it is the KEK that was asked for.
    pub(super) fn answered(
        &self,
        target: &str,
        key_id: Option<&str>,
        material: Option<&str>,
    ) -> Result<KekRef> {
        let other = || invalid_answer("the answer is about another key than was asked for");
        let key_id = key_id.ok_or_else(other)?;
        let arn = KeyArn::parse(key_id).ok_or_else(other)?;
        if key_id != target && arn.id != target {
            return Err(other());
        }
        if matches!(self.name, Name::Id(_)) {
            self.lock().arn.get_or_insert_with(|| key_id.to_owned());
        }
        KekRef::new(PROVIDER, key_id, material.unwrap_or_default())
            .map_err(|error| Error::new(ErrorKind::InvalidAnswer).with_source(error))
    }

    pub(super) fn name(&self) -> &str {
        self.name.as_str()
    }

    async fn describe(&self, deadline: Option<Monotonic>, tokens: &[String]) -> Result<String> {
        let mut call = self.client.kms()?.describe_key().key_id(self.name.as_str());
        if !tokens.is_empty() {
            call = call.set_grant_tokens(Some(tokens.to_vec()));
        }
        let answer = self.client.call(deadline, call.send()).await?;
        let invalid = || invalid_answer("the answer does not describe a key");
        let key = answer.key_metadata.ok_or_else(invalid)?;
        let is_symmetric = !matches!(&key.key_spec, Some(spec) if *spec != KeySpec::SymmetricDefault)
            && !matches!(&key.key_usage, Some(usage) if *usage != KeyUsageType::EncryptDecrypt);
        if !is_symmetric {
            return Err(Error::new(ErrorKind::Configuration)
                .with_detail("the AWS KMS key is not one for symmetric encryption"));
        }
        key.arn
            .filter(|arn| KeyArn::parse(arn).is_some())
            .ok_or_else(invalid)
    }

    /// Returns an error for a state in which the key does not work; `None` if it works, or AWS does not report its state.
    pub(super) async fn state(&self, deadline: Option<Monotonic>, tokens: &[String]) -> Option<Error> {
        let target = self.target(deadline, tokens).await.ok()?;
        let call = self.client.kms().ok()?.describe_key().key_id(target);
        let call = call.set_grant_tokens((!tokens.is_empty()).then(|| tokens.to_vec()));
        let key = self.client.call(deadline, call.send()).await.ok()?.key_metadata?;
        let when = key.deletion_date.and_then(|date| date.fmt(Format::DateTime).ok());
        Some(match key.key_state? {
            KeyState::Disabled => Error::new(ErrorKind::KeyDisabled),
            KeyState::PendingDeletion | KeyState::PendingReplicaDeletion => {
                Error::new(ErrorKind::KeyPendingDestruction).with_detail(format!(
                    "AWS KMS deletes the key {}; `aws kms cancel-key-deletion` and then `aws kms enable-key` keep it",
                    when.map_or_else(|| "soon".to_owned(), |when| format!("on {when}"))
                ))
            }
            KeyState::PendingImport => Error::new(ErrorKind::KeyNotReady).with_detail(
                "the key has no key material, or its material has expired; import it with `aws kms import-key-material`",
            ),
            KeyState::Creating | KeyState::Updating => Error::new(ErrorKind::KeyNotReady)
                .with_retryable(true)
                .with_detail("the key is being made or changed"),
            KeyState::Unavailable => Error::new(ErrorKind::Unavailable)
                .with_detail("the custom key store of the key is not connected"),
            _ => return None,
        })
    }

    fn is_due(&self, known: &Known) -> bool {
        known.due.is_none_or(|due| due <= self.client.now())
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // Nothing under it panics half-way.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_same(known: &str, other: &KeyArn<'_>) -> bool {
    KeyArn::parse(known).is_some_and(|known| known.is_same_key(other))
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.lock();
        f.debug_struct("Key")
            .field("name", &self.name.as_str())
            .field("arn", &known.arn)
            .finish_non_exhaustive()
    }
}
