//! `keys create` and `keys adopt`.

use std::path::Path;

use serde_json::json;
use waxseal::backend::kek_uri::KekUri;
use waxseal::ring::{KeySource, NewKey};
use waxseal::ring::{Scope, State};

use super::{move_json, moved};
use crate::arguments::{Actor, Adopt, Create, New};
use crate::failure::{Failure, Result};
use crate::ring::{administer, done, parsed, wait};

/// Creates a key of a KEK that is there, or of a new key file.
pub(super) fn create(path: &Path, actor: &Actor, options: &Create) -> Result<()> {
    if options.parent.is_some() && options.kek != "branch" {
        return Err(Failure::usage(
            "--parent names the scope of the key that wraps a branch key: it goes with --kek branch",
        ));
    }
    let ring = administer(path, actor, &[])?;
    let source = if options.kek == "branch" {
        let parent = options.parent.as_ref().map(|parent| parsed("--parent", parent));
        KeySource::Branch {
            parent: parent.transpose()?,
        }
    } else if options.kek == "local" {
        let keys = ring.config.administration()?.keys.clone().ok_or_else(|| {
            Failure::usage("--kek local: the ring's configuration names no folder for keys: set `keys` in [administration]")
        })?;
        // The name is chosen by the ring.
        KeySource::MadeBeside(format!("file:{}/key", keys.display()))
    } else {
        KeySource::Existing(stored(&options.kek)?)
    };
    let key = new_key(&options.new, source, "created")?;
    let created = wait(ring.admin.create(&key))?;
    ring.end()?;
    moved("keys create", &created)
}

/// Registers a KEK that wraps data already.
pub(super) fn adopt(path: &Path, actor: &Actor, options: &Adopt) -> Result<()> {
    let ring = administer(path, actor, &[])?;
    let state: State = parsed("--state", &options.state)?;
    let key = new_key(
        &options.new,
        KeySource::Existing(stored(&options.kek)?),
        "adopted",
    )?;
    let adopted = wait(ring.admin.adopt(&key, state))?;
    ring.end()?;
    let moves: Vec<_> = adopted
        .iter()
        .map(|key| move_json(key.id, None, key.state))
        .collect();
    done("keys adopt", json!({ "moves": moves }), || {
        let line = |key: &std::sync::Arc<waxseal::ring::KeyRecord>| {
            format!("{} is {}, and was not in the ring\n", key.id, key.state)
        };
        adopted.iter().map(line).collect()
    })
}

/// A URI that a record can name.
fn stored(uri: &str) -> Result<String> {
    let uri: KekUri = parsed("--kek", uri)?;
    let stored = uri
        .to_stored()
        .map_err(|error| Failure::usage_of("--kek", &error))?;
    Ok(stored.to_owned())
}

fn new_key(options: &New, source: KeySource, reason: &str) -> Result<NewKey> {
    let scope: Scope = parsed("--scope", &options.scope)?;
    let mut key = NewKey::new(scope, source).in_slot(parsed("--slot", &options.slot)?);
    if let Some(cadence) = &options.cadence {
        key.cadence = Some(parsed("--cadence", cadence)?);
    }
    if let Some(overlap) = &options.overlap {
        key.overlap = Some(parsed("--overlap", overlap)?);
    }
    for label in &options.label {
        let (name, value) = label
            .split_once('=')
            .ok_or_else(|| Failure::usage("--label has no '=': write --label NAME=VALUE"))?;
        key.labels.insert(name.to_owned(), value.to_owned());
    }
    key.reason = options.reason.clone().unwrap_or_else(|| reason.to_owned());
    Ok(key)
}
