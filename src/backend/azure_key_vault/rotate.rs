//! Rotating a key: a new version, which is the current one from then on, and a tag on it that says by which
//! idempotency key it was made.

use std::sync::Arc;

use azure_security_keyvault_keys::KeyClient;
use azure_security_keyvault_keys::models::{KeyProperties, UpdateKeyPropertiesParameters};

use super::admin::{AzureAdmin, digest, tag};
use super::map::Call;
use super::names::KeyId;
use super::resolve::Key;
use super::versions;
use crate::envelope::KekRef;
use crate::key::KekDescription;
use crate::runtime::Monotonic;
use crate::value::error::Result;

/// The tag that says by which rotation a version was made.
const ROTATED: &str = "waxseal-rotated";

impl AzureAdmin {
    pub(super) async fn try_rotate(&self, kek: &KekRef, idempotency_key: &str) -> Result<KekDescription> {
        let (key, named) = self.key(kek)?;
        let deadline = self.client.deadline(None);
        let found = self.get(&key, None, deadline).await?;
        let current = self.describe_found(&key, Some(kek), &found, None)?;
        let mark = digest(idempotency_key);
        if tag(&found, ROTATED) == Some(&mark) {
            return Ok(current);
        }
        if named.is_some_and(|named| !named.eq_ignore_ascii_case(current.kek.version())) {
            // Rotated away from it already, by a call whose answer was lost or by somebody else.
            return Ok(current);
        }
        if let Some(version) = self.made_before(&key, &mark, deadline).await? {
            let found = self.get(&key, Some(&version), deadline).await?;
            return self.describe_found(&key, Some(kek), &found, Some(&version));
        }
        let name = key.name.clone();
        let work = move |sdk: Arc<KeyClient>| {
            let name = name.clone();
            async move { sdk.rotate_key(&name, None).await?.into_model() }
        };
        let made = self.client.call(Call::Administer, deadline, work).await?;
        let made_kek = self.describe_found(&key, Some(kek), &made, None)?.kek;
        // A new version may have the tags of the one before it.
        let mut tags = made
            .tags
            .clone()
            .filter(|tags| !tags.is_empty())
            .or(found.tags)
            .unwrap_or_default();
        tags.insert(ROTATED.to_owned(), mark);
        let parameters = UpdateKeyPropertiesParameters {
            tags: Some(tags),
            ..UpdateKeyPropertiesParameters::default()
        };
        let version = made_kek.version();
        let after = self.update(&key, version, parameters, deadline).await?;
        self.describe_found(&key, Some(kek), &after, Some(version))
    }

    /// The version that an earlier call with this idempotency key made, though there are newer ones.
    async fn made_before(&self, key: &Key, mark: &str, deadline: Monotonic) -> Result<Option<String>> {
        let all = versions::properties(&self.client, &key.name, Call::Administer, deadline).await?;
        let is_it = |of: &&KeyProperties| {
            of.tags
                .as_ref()
                .and_then(|tags| tags.get(ROTATED))
                .map(String::as_str)
                == Some(mark)
        };
        let kid = all.iter().find(is_it).and_then(|of| of.kid.as_deref());
        Ok(kid
            .and_then(KeyId::parse)
            .and_then(|kid| kid.version.map(str::to_owned)))
    }
}
