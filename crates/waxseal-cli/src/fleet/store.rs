//! Opens stores.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use waxseal::EncryptionContext;
use waxseal::fleet::{DirectoryStore, Store};
#[cfg(not(all(feature = "ring", feature = "postgres", feature = "object-store")))]
use waxseal::{Error, ErrorKind};

use super::described::{self, Described, Directory, Objects, Rows};
use crate::failure::{Failure, Result};

/// Whether an argument names a store, and no envelope.
pub(crate) fn is_named(path: &Path) -> bool {
    path.is_dir() || is_described(path)
}

/// Whether an argument is a file that describes a store.
pub(crate) fn is_described(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "toml") && !path.is_dir()
}

/// Opens a directory whose files are sealed in this context, or store their own.
pub(super) fn of_directory(path: &Path, context: Option<EncryptionContext>) -> Result<Arc<dyn Store>> {
    let store = directory(path)?;
    Ok(Arc::new(match context {
        Some(context) => store.sealed_in(context),
        None => store,
    }))
}

/// Opens the store that a file describes. What is only read needs no right to write.
pub(super) fn open(file: &Path, is_read_only: bool) -> Result<Arc<dyn Store>> {
    described(file, described::read(file)?, is_read_only)
}

fn described(file: &Path, described: Described, is_read_only: bool) -> Result<Arc<dyn Store>> {
    match described {
        Described::Dir(Directory { path, context }) => {
            let store = directory(&beside(file, &path))?;
            Ok(Arc::new(match context {
                None => store,
                Some(context) => store.sealed_by(described::contexts(file, &context)?),
            }))
        }
        Described::Sqlite(rows) => sqlite(file, &rows, is_read_only),
        Described::Postgres(rows) => postgres(file, &rows, is_read_only),
        Described::S3(bucket) => objects(file, &bucket.objects("s3")),
        Described::Gcs(bucket) => objects(file, &bucket.objects("gs")),
        Described::AzureBlob(container) => objects(file, &container.objects()),
    }
}

/// What a census scans.
#[cfg(feature = "ring")]
pub(crate) enum Place {
    Files(PathBuf),
    Store { name: String, store: Arc<dyn Store> },
}

/// Opens the store that a file describes, to count what it holds.
#[cfg(feature = "ring")]
pub(crate) fn place(file: &Path) -> Result<Place> {
    let read = described::read(file)?;
    if let Described::Dir(Directory { path, .. }) = &read {
        return Ok(Place::Files(beside(file, path)));
    }
    let name = read.name().map(str::to_owned);
    let store = described(file, read, true)?;
    let own = || store.name().trim_start_matches("rows:").to_owned();
    Ok(Place::Store {
        name: name.unwrap_or_else(own),
        store,
    })
}

/// Relative to the description, wherever the command runs.
fn beside(file: &Path, path: &Path) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).join(path)
}

#[cfg(feature = "ring")]
fn sqlite(file: &Path, rows: &Rows, is_read_only: bool) -> Result<Arc<dyn Store>> {
    let Rows {
        path: Some(path),
        url_variable: None,
        ..
    } = rows
    else {
        return Err(Failure::usage(format!(
            "{}: a store of kind sqlite has a path, and no url_variable",
            file.display()
        )));
    };
    let opened = waxseal_sql::SqliteRows::open(beside(file, path), table(rows, is_read_only));
    Ok(Arc::new(pollster::block_on(opened)?))
}

#[cfg(not(feature = "ring"))]
fn sqlite(_: &Path, _: &Rows, _: bool) -> Result<Arc<dyn Store>> {
    Err(off("SQLite was", "ring"))
}

#[cfg(feature = "postgres")]
fn postgres(file: &Path, rows: &Rows, is_read_only: bool) -> Result<Arc<dyn Store>> {
    let Rows {
        path: None,
        url_variable: Some(variable),
        ..
    } = rows
    else {
        return Err(Failure::usage(format!(
            "{}: a store of kind postgres has a url_variable, and no path",
            file.display()
        )));
    };
    let config = crate::database::postgres(variable, "store", "store")?;
    let opened = waxseal_sql::PostgresRows::open(config, table(rows, is_read_only));
    Ok(Arc::new(pollster::block_on(opened)?))
}

#[cfg(not(feature = "postgres"))]
fn postgres(_: &Path, _: &Rows, _: bool) -> Result<Arc<dyn Store>> {
    Err(off("PostgreSQL was", "postgres"))
}

#[cfg(feature = "object-store")]
fn objects(file: &Path, objects: &Objects) -> Result<Arc<dyn Store>> {
    let store = waxseal_object_store::Objects::from_url(&objects.url)?;
    Ok(Arc::new(match &objects.context {
        None => store,
        Some(context) => store.sealed_by(described::contexts(file, context)?),
    }))
}

#[cfg(not(feature = "object-store"))]
fn objects(_: &Path, _: &Objects) -> Result<Arc<dyn Store>> {
    Err(off("object stores were", "object-store"))
}

#[cfg(not(all(feature = "ring", feature = "postgres", feature = "object-store")))]
fn off(what: &str, feature: &str) -> Failure {
    let detail = format!("{what} not compiled in; add the feature `{feature}` of waxseal-cli");
    Error::new(ErrorKind::Configuration).with_detail(detail).into()
}

#[cfg(feature = "ring")]
fn table(rows: &Rows, is_read_only: bool) -> waxseal_sql::fleet::Table {
    let mut table = waxseal_sql::fleet::Table::new(&rows.table, &rows.envelope);
    if let Some(schema) = &rows.schema {
        table = table.in_schema(schema);
    }
    if let Some(key) = &rows.key {
        table = table.keyed_by(key);
    }
    if let Some(column) = &rows.kek_id {
        table = table.kek_id(column);
    }
    if let Some(column) = &rows.wrapped_at {
        table = table.wrapped_at(column);
    }
    for (key, template) in rows.context.iter().flatten() {
        table = table.context(key, template);
    }
    match is_read_only {
        true => table.read_only(),
        false => table,
    }
}

fn directory(path: &Path) -> Result<DirectoryStore> {
    DirectoryStore::open(path).map_err(|error| Failure::of_stream("open", path.display(), error))
}
