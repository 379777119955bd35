//! The versions of a key.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;

use azure_security_keyvault_keys::KeyClient;
use azure_security_keyvault_keys::models::{KeyProperties, ListKeyPropertiesResult};
use futures_core::Stream;

use super::client::Client;
use super::map::Call;
use super::names::KeyId;
use crate::backend::shared::answer::invalid_answer;
use crate::runtime::Monotonic;
use crate::value::error::Result;

/// The most versions that are listed. A key that was rotated daily for a year has fewer.
const MOST: usize = 512;

/// Returns all versions, the newest first.
pub(super) async fn all(client: &Client, name: &str, call: Call, deadline: Monotonic) -> Result<Vec<String>> {
    let version = |properties: &KeyProperties| {
        let kid = KeyId::parse(properties.kid.as_deref()?)?;
        let version = kid.version.filter(|_| kid.name.eq_ignore_ascii_case(name))?;
        Some(version.to_owned())
    };
    let found = properties(client, name, call, deadline).await?;
    Ok(found.iter().filter_map(version).collect())
}

/// Returns what the vault reports about each version, the newest first.
pub(super) async fn properties(
    client: &Client,
    name: &str,
    call: Call,
    deadline: Monotonic,
) -> Result<Vec<KeyProperties>> {
    let asked = name.to_owned();
    let work = move |sdk: Arc<KeyClient>| {
        let name = asked.clone();
        async move { list(&sdk, &name).await }
    };
    let mut found = client.call(call, deadline, work).await?;
    if found.len() > MOST {
        return Err(invalid_answer("the list of versions does not end"));
    }
    found.sort_by_key(|properties| {
        let created = properties.attributes.as_ref().and_then(|of| of.created);
        std::cmp::Reverse(created)
    });
    Ok(found)
}

/// Page by page. Wherever a link to the next one leads, the transport asks the configured vault.
async fn list(sdk: &KeyClient, name: &str) -> azure_core::Result<Vec<KeyProperties>> {
    let mut pages = sdk.list_key_properties_versions(name, None)?.into_pages();
    let mut all = Vec::new();
    while let Some(page) = poll_fn(|task| Pin::new(&mut pages).poll_next(task)).await {
        let page: ListKeyPropertiesResult = page?.into_model()?;
        all.extend(page.value);
        if all.len() > MOST {
            break;
        }
    }
    Ok(all)
}
