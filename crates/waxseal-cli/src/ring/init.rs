//! `ring init`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;
use waxseal::backend::kek_uri::KekUri;
use waxseal::ring::config::{Administration, AuthorityFile, RingConfig, StoreAt, pattern_for};
use waxseal::ring::{Authority, Inventory, Reader, RingAdmin, Scope, State, Trust, UriBackends};
use waxseal::ring::{KeySource, NewKey};

use super::settings::Edit;
use super::{ask, done, environment, parsed, store, table, wait};
use crate::arguments::{Actor, Init};
use crate::failure::{Failure, Result};
use crate::prompt::Person;

/// Makes a ring. What an interrupted run has left is used by the next one; nothing is overwritten.
pub(crate) fn run(path: &Path, actor: &Actor, options: &Init) -> Result<()> {
    let actor = ask::actor(actor)?;
    let edit = Edit::parse(&options.settings)?;
    let adopted: Option<KekUri> = match &options.adopt {
        Some(uri) => Some(parsed("--adopt", uri)?),
        None => None,
    };
    if adopted.is_some()
        && options
            .settings
            .scope_template
            .as_deref()
            .is_some_and(|template| template != "/")
    {
        return Err(Failure::usage(
            "--adopt registers a key of the scope /, and the scope template leads elsewhere; use `waxseal keys adopt --scope` afterwards",
        ));
    }
    let name = path.file_stem().unwrap_or_default();
    let folder = folder_of(path)?;
    if path.exists() {
        return Err(Failure::refused(format!(
            "{} exists already, and is never overwritten",
            path.display()
        )));
    }
    let beside = |suffix: &str| {
        let mut beside = name.to_owned();
        beside.push(suffix);
        folder.join(beside)
    };
    let keys = beside(".keys");
    let file = AuthorityFile::new(beside(".authority"), options.authority_kek.as_deref())
        .map_err(|error| Failure::usage_of("--authority-kek", &error))?;
    let store =
        StoreAt::parse(&options.store, &folder).map_err(|error| Failure::usage_of("--store", &error))?;
    let mut allow = vec![format!("file:{}/*", keys.display())];
    for pattern in &options.allow {
        UriBackends::new()
            .allow(pattern)
            .map_err(|error| Failure::usage_of("--allow", &error))?;
        allow.push(pattern.clone());
    }
    if let Some(uri) = &adopted {
        allow.push(pattern_for(uri).map_err(|error| Failure::usage_of("--adopt", &error))?);
    }

    let inventory = store::create(&store)?;
    // Before the ring: without its private half nobody could ever change it.
    let authority = authority(&file)?;
    let trust = match wait(inventory.revision())? {
        0 => wait(RingAdmin::init(&*inventory, &authority, &actor, |settings| {
            edit.apply(settings);
        }))?,
        _ => left_behind(&*inventory, &authority)?,
    };
    let ring = trust.ring();
    make_folder(&keys)?;
    let mut config = RingConfig::new(ring, authority.public(), store);
    config.allow = allow;
    config.reader.clone_from(&options.reader);
    config.mark = Some(beside(".mark"));
    config.administration = Some(Administration::new(file, Some(keys)));
    config.write_new(path)?;

    let mut ids = Vec::new();
    if let Some(uri) = &adopted {
        let backends = config.backends(Arc::new(environment()))?;
        let reader = Reader::new(config.trust()?, inventory);
        let admin = RingAdmin::new(reader, Arc::new(authority), Arc::new(backends), &actor);
        let mut key = NewKey::new(Scope::root(), KeySource::Existing(uri.to_stored()?.to_owned()));
        key.reason = "adopted by ring init".to_owned();
        let adopted = wait(admin.adopt(&key, State::Active))?;
        ids.extend(adopted.iter().map(|key| key.id.to_string()));
        config.keep_mark(admin.reader().trust())?;
    }
    done(
        "ring init",
        json!({
            "ring": ring.to_string(),
            "authority": config.authority.to_string(),
            "config": path.display().to_string(),
            "store": config.store.to_string(),
            "adopted": ids,
        }),
        || {
            let mut rows = vec![
                ("ring", ring.to_string()),
                ("authority", config.authority.to_string()),
                ("configuration", path.display().to_string()),
                ("inventory", config.store.to_string()),
            ];
            rows.extend(ids.iter().map(|id| ("adopted", id.clone())));
            table::fields(&rows)
        },
    )
}

/// The private half of a new authority, or that of an interrupted run.
fn authority(file: &AuthorityFile) -> Result<Authority> {
    // A passphrase that seals is asked for twice.
    let person = Person {
        types_twice: !file.path().exists(),
    };
    if !person.types_twice {
        return wait(file.read(&person));
    }
    let authority = Authority::generate()?;
    wait(file.write_new(&authority, &person))?;
    Ok(authority)
}

/// The ring of an interrupted run: this authority has signed it, so nobody else has made it.
fn left_behind(inventory: &dyn Inventory, authority: &Authority) -> Result<Trust> {
    let occupied = || {
        Failure::refused(
            "the inventory holds a ring of another authority; another ring needs another inventory",
        )
    };
    let head = wait(inventory.read(&[], &[]))?.head.ok_or_else(occupied)?;
    let head: serde_json::Value = serde_json::from_slice(&head.body).map_err(|_| occupied())?;
    let ring = head.get("ring").and_then(serde_json::Value::as_str);
    let ring = ring.and_then(|ring| ring.parse().ok()).ok_or_else(occupied)?;
    let trust = Trust::new(ring, authority.public());
    match wait(trust.read(inventory, &[])) {
        Ok(_) => Ok(trust),
        Err(_) => Err(occupied()),
    }
}

/// Where the configuration will be, without links and dots: records name files there.
fn folder_of(path: &Path) -> Result<PathBuf> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    folder
        .canonicalize()
        .map_err(|error| Failure::of_io("find the folder", folder.display(), error))
}

#[cfg(unix)]
fn make_folder(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().mode(0o700).create(path);
    there(path, made)
}

#[cfg(not(unix))]
fn make_folder(path: &Path) -> Result<()> {
    there(path, std::fs::create_dir(path))
}

fn there(path: &Path, made: std::io::Result<()>) -> Result<()> {
    match made {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(Failure::of_io("make", path.display(), error))
        }
        _ => Ok(()),
    }
}
