//! Making, rotating and ending KEKs in AWS KMS.

use std::fmt;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_sdk_kms::primitives::DateTime;
use aws_sdk_kms::types::{KeyMetadata, KeyState, OriginType};

use super::PROVIDER;
use super::bind::ContextForm;
use super::client::Client;
use super::map;
use super::names::{Name, is_alias};
use super::once;
use crate::backend::shared::answer::invalid_answer;
use crate::envelope::KekRef;
use crate::key::{KekAdmin, KekDescription, KekState, KekTemplate, Protection};
use crate::value::error::{Error, ErrorKind, Operation, Result};

/// Rotations on demand of one key in its life (AWS KMS quotas).
const ROTATIONS: u64 = 25;
/// One administration is over when as many calls, one after the other, would be: for creating, every key of a region may be
/// asked for its tags.
const CALLS: u32 = 12;
const DAY: u64 = 86_400;
/// Days that AWS waits before it deletes a key.
const WAIT: std::ops::RangeInclusive<u64> = 7..=30;

/// Administers KEKs in AWS KMS. Make it with [`Client::admin`], from a client with separate credentials.
///
/// - *Create* makes a symmetric key and its alias `alias/NAME`. AWS KMS keeps every key in validated hardware, so a template that
///   demands hardware changes nothing. A tag keeps the idempotency key. If the alias does not exist yet, every key of the region is
///   asked for its tags, with one call for each key.
/// - *Rotate* makes new key material on demand. The ARN of the key stays the same, and every wrap still opens. AWS allows 25 such
///   rotations of one key, refuses the next rotation (`OverLimit`), and finishes each rotation some time after the call. To retire a
///   key, create another key and re-wrap.
/// - *Disable* and *schedule destruction* apply to the whole key, not to one version. AWS waits 7 to 30 days before it destroys a key,
///   and the key does not unwrap during that time.
#[derive(Clone)]
pub struct AwsAdmin {
    client: Client,
    form: ContextForm,
    multi_region: bool,
}

/// How a key rotates.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RotationStatus {
    /// Whether AWS rotates the key automatically.
    pub automatic: bool,
    /// Days from one automatic rotation to the next.
    pub period_days: Option<u32>,
    /// When AWS rotates the key automatically next.
    pub next: Option<SystemTime>,
    /// When the rotation on demand began that is not finished yet.
    pub in_progress: Option<SystemTime>,
    /// How many rotations were completed.
    pub completed: usize,
}

impl AwsAdmin {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            form: ContextForm::default(),
            multi_region: false,
        }
    }

    /// Describes KEKs as KEKs that wrap in this form.
    #[must_use]
    pub fn with_context_form(mut self, form: ContextForm) -> Self {
        self.form = form;
        self
    }

    /// Creates multi-region keys, which can be replicated to other regions.
    #[must_use]
    pub fn creating_multi_region(mut self) -> Self {
        self.multi_region = true;
        self
    }

    /// Returns how a key rotates.
    ///
    /// # Errors
    /// `KeyNotFound` if AWS does not know the key; and the kinds of the [backend](super#errors), by AWS's code.
    pub async fn rotation_status(&self, kek: &KekRef) -> Result<RotationStatus> {
        self.begun().status(kek).await.map_err(named)
    }

    /// Begins one administration: one deadline applies to all its calls.
    fn begun(&self) -> Self {
        Self {
            client: self.client.for_several(CALLS),
            ..self.clone()
        }
    }

    async fn status(&self, kek: &KekRef) -> Result<RotationStatus> {
        let id = self.id(kek)?;
        let call = self.client.kms()?.get_key_rotation_status().key_id(&id);
        let status = self.client.call(None, call.send()).await?;
        Ok(RotationStatus {
            automatic: status.key_rotation_enabled,
            period_days: status
                .rotation_period_in_days
                .and_then(|days| days.try_into().ok()),
            next: time(status.next_rotation_date),
            in_progress: time(status.on_demand_rotation_start_date),
            completed: once::rotations(&self.client, &id).await?,
        })
    }

    /// Returns what to ask AWS for: an id, ARN or alias of the client's region.
    fn id(&self, kek: &KekRef) -> Result<String> {
        if kek.provider() != PROVIDER {
            return Err(Error::new(ErrorKind::KeyNotFound).with_detail("it is not a KEK of AWS KMS"));
        }
        Ok(Name::parse(kek.id(), self.client.region())?.as_str().to_owned())
    }

    /// Returns what to ask AWS for, for an operation on a whole key.
    fn whole(&self, kek: &KekRef) -> Result<String> {
        if kek.version().is_empty() {
            self.id(kek)
        } else {
            Err(Error::unsupported("doing this to one version of an AWS KMS key"))
        }
    }

    async fn metadata(&self, key_id: &str) -> Result<KeyMetadata> {
        let call = self.client.kms()?.describe_key().key_id(key_id);
        let answer = self.client.call(None, call.send()).await?;
        answer
            .key_metadata
            .ok_or_else(|| Error::new(ErrorKind::InvalidAnswer))
    }

    fn description(&self, key: &KeyMetadata) -> Result<KekDescription> {
        let invalid = || invalid_answer("the answer does not describe a key");
        let arn = key.arn.as_deref().ok_or_else(invalid)?;
        let version = key.current_key_material_id.as_deref().unwrap_or_default();
        let state = match &key.key_state {
            Some(KeyState::Enabled | KeyState::Updating) => KekState::Enabled,
            Some(KeyState::PendingDeletion | KeyState::PendingReplicaDeletion) => {
                KekState::PendingDestruction
            }
            // Not there yet, or not there now: it does not wrap.
            Some(_) => KekState::Disabled,
            None => return Err(invalid()),
        };
        let kek = KekRef::new(PROVIDER, arn, version).map_err(|_| invalid())?;
        let mut description = KekDescription::new(kek, state, self.form.algorithm());
        // Each of these keeps keys in validated HSMs; an external key store is somebody else's.
        description.protection = match &key.origin {
            Some(OriginType::AwsKms | OriginType::External | OriginType::AwsCloudhsm) => Protection::Hardware,
            _ => Protection::Unknown,
        };
        description.created = time(key.creation_date);
        description.destroyed_at = time(key.deletion_date);
        description.expires_at = time(key.valid_to);
        Ok(description)
    }

    /// The key under an alias, if there is one, and it was created for this idempotency key.
    async fn created(&self, alias: &str, idempotency_key: &str) -> Result<Option<KekDescription>> {
        let key = match self.metadata(alias).await {
            Ok(key) => key,
            Err(error) if error.kind() == ErrorKind::KeyNotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let tags = once::tags(&self.client, &key.key_id).await?;
        if once::has(&tags, once::CREATED, &once::digest(idempotency_key)) {
            return self.description(&key).map(Some);
        }
        Err(Error::argument("there is another KEK of this name"))
    }

    async fn try_create(&self, template: &KekTemplate, idempotency_key: &str) -> Result<KekDescription> {
        let name = template.name.strip_prefix("alias/").unwrap_or(&template.name);
        if !is_alias(name) || name.starts_with("aws/") {
            return Err(Error::argument(
                "the name of an AWS KMS alias has 1 to 250 of a-z, A-Z, 0-9, /, _ and -, and does not begin with aws/",
            ));
        }
        let alias = format!("alias/{name}");
        if let Some(first) = self.created(&alias, idempotency_key).await? {
            return Ok(first);
        }
        let left = once::find_created(&self.client, idempotency_key).await?;
        let key = match left {
            Some(id) => self.metadata(&id).await?,
            None => {
                let mut call = self.client.kms()?.create_key();
                call = call.tags(once::tag(once::CREATED, &once::digest(idempotency_key))?);
                for (label, value) in &template.labels {
                    call = call.tags(once::tag(label, value)?);
                }
                let call = call
                    .description("Wraps data keys of waxseal")
                    .multi_region(self.multi_region);
                let answer = self.client.call(None, call.send()).await?;
                answer
                    .key_metadata
                    .ok_or_else(|| Error::new(ErrorKind::InvalidAnswer))?
            }
        };
        let call = self.client.kms()?.create_alias();
        let call = call.alias_name(&alias).target_key_id(&key.key_id).send();
        match self.client.call(None, call).await {
            Ok(_) => self.description(&key),
            Err(error) if error.kind() == ErrorKind::InvalidArgument => {
                // Somebody was quicker, perhaps with the same idempotency key; then theirs is the one.
                match self.created(&alias, idempotency_key).await? {
                    Some(first) if first.kek.id() != key.arn.as_deref().unwrap_or_default() => {
                        // Nothing was ever wrapped under the other.
                        let call = self.client.kms()?.schedule_key_deletion().key_id(&key.key_id);
                        self.client
                            .call(None, call.pending_window_in_days(7).send())
                            .await?;
                        Ok(first)
                    }
                    Some(first) => Ok(first),
                    None => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }

    async fn try_rotate(&self, kek: &KekRef, idempotency_key: &str) -> Result<KekDescription> {
        // Tags belong to keys, not to aliases.
        let key_id = self.metadata(&self.id(kek)?).await?.key_id;
        let by_id = KekRef::new(PROVIDER, &key_id, "")?;
        let status = self.status(&by_id).await?;
        let mark = once::rotation(idempotency_key);
        let tags = once::tags(&self.client, &key_id).await?;
        let before = tags.iter().find(|tag| tag.tag_key == mark);
        // The tag was set before the rotation, and counts the earlier rotations: so a rotation that broke off differs from a
        // rotation that was done.
        let before: Option<usize> = before.and_then(|tag| tag.tag_value.parse().ok());
        let is_done = before.is_some_and(|before| status.completed > before || status.in_progress.is_some());
        if !is_done {
            let tag = once::tag(&mark, &status.completed.to_string())?;
            let call = self.client.kms()?.tag_resource().key_id(&key_id).tags(tag);
            self.client.call(None, call.send()).await?;
            let call = self.client.kms()?.rotate_key_on_demand().key_id(&key_id).send();
            let rotated = self
                .client
                .call_mapped(None, call, |error| match error.as_service_error() {
                    Some(refused) if refused.is_limit_exceeded_exception() => {
                        Error::new(ErrorKind::OverLimit {
                            limit: "rotations on demand of an AWS KMS key",
                            max: ROTATIONS,
                        })
                    }
                    _ => map::error(error),
                });
            rotated.await?;
        }
        self.description(&self.metadata(&key_id).await?)
    }

    async fn try_schedule(&self, kek: &KekRef, delay: Duration) -> Result<SystemTime> {
        let id = self.whole(kek)?;
        let days = delay.as_secs().div_ceil(DAY).max(*WAIT.start());
        if days > *WAIT.end() {
            return Err(Error::new(ErrorKind::OverLimit {
                limit: "days before AWS KMS deletes a key",
                max: *WAIT.end(),
            }));
        }
        let key = self.metadata(&id).await?;
        if key.key_state == Some(KeyState::PendingDeletion)
            && let Some(at) = time(key.deletion_date)
        {
            return Ok(at);
        }
        let call = self.client.kms()?.schedule_key_deletion().key_id(&key.key_id);
        let call = call.set_pending_window_in_days(i32::try_from(days).ok());
        let answer = self.client.call(None, call.send()).await?;
        time(answer.deletion_date).ok_or_else(|| invalid_answer("the answer has no date"))
    }
}

fn time(date: Option<DateTime>) -> Option<SystemTime> {
    date.and_then(|date| date.try_into().ok())
}

fn named(error: Error) -> Error {
    error
        .with_operation(Operation::Administer)
        .with_provider(PROVIDER)
}

#[async_trait]
impl KekAdmin for AwsAdmin {
    fn provider(&self) -> &str {
        PROVIDER
    }

    async fn create(&self, template: &KekTemplate, idempotency_key: &str) -> Result<KekDescription> {
        self.begun()
            .try_create(template, idempotency_key)
            .await
            .map_err(named)
    }

    async fn describe(&self, kek: &KekRef) -> Result<KekDescription> {
        let own = self.begun();
        let describe = async { own.description(&own.metadata(&own.id(kek)?).await?) };
        describe.await.map_err(named)
    }

    async fn rotate(&self, kek: &KekRef, idempotency_key: &str) -> Result<KekDescription> {
        self.begun().try_rotate(kek, idempotency_key).await.map_err(named)
    }

    async fn disable(&self, kek: &KekRef) -> Result<()> {
        let own = self.begun();
        let disable = async {
            // AWS disables no key by its alias.
            let key_id = own.metadata(&own.whole(kek)?).await?.key_id;
            let call = own.client.kms()?.disable_key().key_id(key_id);
            own.client.call(None, call.send()).await.map(drop)
        };
        disable.await.map_err(named)
    }

    async fn enable(&self, kek: &KekRef) -> Result<()> {
        let own = self.begun();
        let enable = async {
            let key_id = own.metadata(&own.whole(kek)?).await?.key_id;
            let call = own.client.kms()?.enable_key().key_id(key_id);
            own.client.call(None, call.send()).await.map(drop)
        };
        enable.await.map_err(named)
    }

    async fn schedule_destroy(&self, kek: &KekRef, delay: Duration) -> Result<SystemTime> {
        self.begun().try_schedule(kek, delay).await.map_err(named)
    }

    /// AWS leaves the key disabled.
    async fn cancel_destroy(&self, kek: &KekRef) -> Result<()> {
        let own = self.begun();
        let cancel = async {
            let key = own.metadata(&own.whole(kek)?).await?;
            if key.key_state != Some(KeyState::PendingDeletion) {
                return Ok(());
            }
            let call = own.client.kms()?.cancel_key_deletion().key_id(key.key_id);
            own.client.call(None, call.send()).await.map(drop)
        };
        cancel.await.map_err(named)
    }
}

impl fmt::Debug for AwsAdmin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsAdmin")
            .field("client", &self.client)
            .field("form", &self.form)
            .field("multi_region", &self.multi_region)
            .finish()
    }
}
