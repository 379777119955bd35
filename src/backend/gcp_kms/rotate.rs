//! Rotating a key: a new version, noted by a label, then made the primary one. In this order, so that a call which was
//! cut off goes on where it was.

use std::collections::HashMap;

use google_cloud_kms_v1::client::KeyManagementService;
use google_cloud_kms_v1::model::CryptoKey;
use google_cloud_wkt::FieldMask;

use super::admin::{GcpAdmin, describe, describe_key, small_digest};
use super::{map, names};
use crate::backend::shared::answer::invalid_answer;
use crate::envelope::KekRef;
use crate::key::KekDescription;
use crate::runtime::Monotonic;
use crate::value::error::Result;

/// The labels, one for each, that say which version a rotation made.
const ROTATED: &str = "waxseal-rotated-";
/// Rotations that are remembered: a key has room for 64 labels in all.
const REMEMBERED: usize = 16;
impl GcpAdmin {
    pub(super) async fn try_rotate(&self, kek: &KekRef, idempotency_key: &str) -> Result<KekDescription> {
        let key = self.key(kek)?;
        let named = self.version(kek)?;
        let deadline = self.client.deadline(None);
        let found = self.get(key, deadline).await?;
        let primary = found
            .primary
            .as_ref()
            .and_then(|version| names::answered(key, &version.name));
        let mark = format!("{ROTATED}{}", small_digest(idempotency_key));
        let version = if let Some(version) = found
            .labels
            .get(&mark)
            .filter(|version| names::is_version(version))
        {
            version.clone()
        } else if let (Some(named), Some(primary)) = (named, &primary)
            && primary.version() != named
        {
            // Rotated away from it already, by a call whose answer was lost or by somebody else.
            return describe_key(key, &found);
        } else {
            let parent = key.to_owned();
            let work = move |service: KeyManagementService| {
                service.create_crypto_key_version().set_parent(parent).send()
            };
            let made = self.call(deadline, work).await?;
            let made = names::answered(key, &made.name).filter(|made| !made.version().is_empty());
            let version = made
                .ok_or_else(|| invalid_answer("the answer names no version of the key"))?
                .version()
                .to_owned();
            self.note(key, found.labels.clone(), mark, &version, deadline)
                .await?;
            version
        };
        // What was noted may not have become the primary one; what is above it was made since.
        let is_newer = |primary: &KekRef| number(primary.version()) >= number(&version);
        if !primary.is_some_and(|primary| is_newer(&primary)) {
            let (name, id) = (key.to_owned(), version.clone());
            let work = move |service: KeyManagementService| {
                service
                    .update_crypto_key_primary_version()
                    .set_name(name)
                    .set_crypto_key_version_id(id)
                    .send()
            };
            let after = self.call(deadline, work).await?;
            let after = after.primary.and_then(|after| names::answered(key, &after.name));
            if after.is_none_or(|after| after.version() != version) {
                return Err(map::damaged("the new version did not become the primary one"));
            }
        }
        describe(key, &self.get_version(key, &version, deadline).await?)
    }

    /// Notes which version a rotation made, and forgets the oldest of too many.
    async fn note(
        &self,
        key: &str,
        mut labels: HashMap<String, String>,
        mark: String,
        version: &str,
        deadline: Monotonic,
    ) -> Result<()> {
        let mut noted: Vec<(u64, String)> = labels
            .iter()
            .filter(|(label, _)| label.starts_with(ROTATED))
            .map(|(label, version)| (number(version), label.clone()))
            .collect();
        noted.sort_unstable();
        let surplus = (noted.len() + 1).saturating_sub(REMEMBERED);
        for (_, label) in noted.iter().take(surplus) {
            labels.remove(label);
        }
        labels.insert(mark, version.to_owned());
        let update = CryptoKey::new().set_name(key).set_labels(labels);
        let work = move |service: KeyManagementService| {
            service
                .update_crypto_key()
                .set_crypto_key(update)
                .set_update_mask(FieldMask::default().set_paths(["labels"]))
                .send()
        };
        self.call(deadline, work).await.map(|_| ())
    }
}

pub(super) fn number(version: &str) -> u64 {
    version.parse().unwrap_or(0)
}
