//! `audit init` and `audit publish`.

use serde_json::json;
#[cfg(not(feature = "object-store"))]
use waxseal::Error;
use waxseal::ErrorKind;
use waxseal::audit::{Log, LogReader, LogSource, Published, TileFolder, TileStore, VerifierKey, publish};

use super::place::{LogPlace, found, verifier_of};
use super::verify::{key_or_warning, verifier_key};
use crate::arguments::{AuditInit, AuditPublish};
use crate::failure::{Failure, Result, printable};
use crate::report;

/// Makes a log, with its key, and prints its public key.
pub(super) fn init(options: &AuditInit) -> Result<()> {
    let place = LogPlace::parse("LOG", options.log.as_os_str())?;
    let (verifier, is_new) = match &place {
        LogPlace::Folder(path) => {
            if options.origin.is_some() {
                return Err(Failure::usage(
                    "--origin is for a log in a database: that of a directory is chosen when it is made",
                ));
            }
            let is_new = !path.join("checkpoint").exists();
            (Log::open(path)?.verifier().clone(), is_new)
        }
        #[cfg(feature = "postgres")]
        LogPlace::PostgresEnv { variable, key } => {
            let config = super::place::postgres::config(variable)?;
            let (key, is_new) = super::place::postgres::key_of(key, options.origin.as_deref())?;
            let verifier = key.verifier();
            pollster::block_on(waxseal_sql::PostgresLog::create(config, key))?;
            (verifier, is_new)
        }
        #[cfg(not(feature = "postgres"))]
        LogPlace::PostgresEnv { .. } => return Err(super::place::no_postgres()),
    };
    if report::is_json() {
        let object = json!({
            "schema": report::SCHEMA,
            "command": "audit init",
            "log": place.to_string(),
            "origin": verifier.name(),
            "key": verifier.to_string(),
            "new_key": is_new,
        });
        return report::result(&object, false);
    }
    report::print(&format!("{verifier}\n"))
}

pub(super) fn run(options: &AuditPublish) -> Result<()> {
    let place = LogPlace::parse("LOG", options.log.as_os_str())?;
    let given = options.key.as_deref().map(|key| verifier_key("--key", key));
    let given = given.transpose()?;
    let (verifier, published) = match &place {
        LogPlace::Folder(path) => {
            let reader = LogReader::open(path)?;
            let key = key_or_warning(&reader, given)?;
            let published = to_copy(&reader, &key, options)?;
            (key, published)
        }
        #[cfg(feature = "postgres")]
        LogPlace::PostgresEnv { variable, key } => {
            let key = verifier_of(key)?;
            super::place::check_same(given.as_ref(), &key)?;
            let reader = super::place::postgres::reader(variable, &key)?;
            let published = to_copy(&reader, &key, options)?;
            (key, published)
        }
        #[cfg(not(feature = "postgres"))]
        LogPlace::PostgresEnv { key, .. } => {
            verifier_of(key)?;
            return Err(super::place::no_postgres());
        }
    };
    if report::is_json() {
        let object = json!({
            "schema": report::SCHEMA,
            "command": "audit publish",
            "log": place.to_string(),
            "to": options.to.display().to_string(),
            "origin": verifier.name(),
            "key": verifier.to_string(),
            "size": published.size,
            "added": published.added,
            "files": published.files,
        });
        return report::result(&object, false);
    }
    let (all, new) = (report::many(published.size, "record"), published.added);
    report::print(&format!(
        "{all} of {}, {new} of them new\n",
        printable(verifier.name())
    ))
}

fn to_copy(log: &dyn LogSource, key: &VerifierKey, options: &AuditPublish) -> Result<Published> {
    let published = match options.to.to_str().filter(|to| to.contains("://")) {
        Some(url) => pollster::block_on(publish(log, key, &*objects(url)?)),
        None => pollster::block_on(publish(log, key, &TileFolder::new(&options.to))),
    };
    published.map_err(found)
}

#[cfg(feature = "object-store")]
fn objects(url: &str) -> Result<Box<dyn TileStore>> {
    let tiles = waxseal_object_store::ObjectTiles::from_url(url);
    Ok(Box::new(tiles.map_err(|error| match error.kind() {
        ErrorKind::InvalidArgument => Failure::usage_of("--to", &error),
        _ => error.into(),
    })?))
}

#[cfg(not(feature = "object-store"))]
fn objects(_: &str) -> Result<Box<dyn TileStore>> {
    let detail = "stores of objects were not compiled in; add the feature `object-store` of waxseal-cli, or give a directory";
    Err(Error::new(ErrorKind::Configuration).with_detail(detail).into())
}
