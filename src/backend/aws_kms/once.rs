//! Tags on a key that record what was done for which idempotency key.

use aws_sdk_kms::types::Tag;

use super::client::Client;
use crate::backend::shared::answer::invalid_answer;
pub(super) use crate::backend::shared::idempotency::digest;
use crate::value::error::{Error, ErrorKind, Result};

/// The tag of a key that was created, with the idempotency key's digest.
pub(super) const CREATED: &str = "waxseal-created";
/// The front of the tags of rotations; behind it the idempotency key's digest.
const ROTATED: &str = "waxseal-rotated:";

/// The most pages of one list: as many keys as AWS lets a region have (100 000), at 100 a page.
const PAGES: usize = 1000;

/// The name of the tag of one rotation.
pub(super) fn rotation(idempotency_key: &str) -> String {
    format!("{ROTATED}{}", digest(idempotency_key))
}

pub(super) fn tag(key: &str, value: &str) -> Result<Tag> {
    Tag::builder()
        .tag_key(key)
        .tag_value(value)
        .build()
        .map_err(|error| Error::argument("not a tag as AWS KMS has them").with_source(error))
}

/// All tags of a key.
pub(super) async fn tags(client: &Client, key_id: &str) -> Result<Vec<Tag>> {
    let mut all = Vec::new();
    let mut marker = None;
    for _ in 0..PAGES {
        let call = client
            .kms()?
            .list_resource_tags()
            .key_id(key_id)
            .set_marker(marker);
        let page = client.call(None, call.send()).await?;
        all.extend(page.tags.unwrap_or_default());
        marker = next(page.truncated, page.next_marker)?;
        if marker.is_none() {
            return Ok(all);
        }
    }
    Err(endless())
}

/// How often a key was rotated.
pub(super) async fn rotations(client: &Client, key_id: &str) -> Result<usize> {
    let mut count = 0;
    let mut marker = None;
    for _ in 0..PAGES {
        let call = client
            .kms()?
            .list_key_rotations()
            .key_id(key_id)
            .set_marker(marker);
        let page = client.call(None, call.send()).await?;
        count += page.rotations.unwrap_or_default().len();
        marker = next(page.truncated, page.next_marker)?;
        if marker.is_none() {
            return Ok(count);
        }
    }
    Err(endless())
}

/// The key that was created for an idempotency key and has no alias yet, since the call broke off between the two.
/// Asks about every key of the region.
pub(super) async fn find_created(client: &Client, idempotency_key: &str) -> Result<Option<String>> {
    let wanted = digest(idempotency_key);
    let mut marker = None;
    for _ in 0..PAGES {
        let call = client.kms()?.list_keys().set_marker(marker);
        let page = client.call(None, call.send()).await?;
        for id in page
            .keys
            .unwrap_or_default()
            .into_iter()
            .filter_map(|key| key.key_id)
        {
            let found = match tags(client, &id).await {
                Ok(tags) => tags,
                // AWS's own keys and other people's keys: this crate did not make them.
                Err(error) if matches!(error.kind(), ErrorKind::Denied | ErrorKind::KeyNotFound) => continue,
                Err(error) => return Err(error),
            };
            if has(&found, CREATED, &wanted) {
                return Ok(Some(id));
            }
        }
        marker = next(page.truncated, page.next_marker)?;
        if marker.is_none() {
            return Ok(None);
        }
    }
    Err(endless())
}

pub(super) fn has(tags: &[Tag], key: &str, value: &str) -> bool {
    tags.iter()
        .any(|tag| tag.tag_key == key && tag.tag_value == value)
}

fn endless() -> Error {
    invalid_answer("a list does not end")
}

fn next(truncated: bool, marker: Option<String>) -> Result<Option<String>> {
    match marker.filter(|marker| !marker.is_empty()) {
        _ if !truncated => Ok(None),
        Some(marker) => Ok(Some(marker)),
        None => Err(invalid_answer("a list breaks off")),
    }
}
