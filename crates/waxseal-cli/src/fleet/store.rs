//! Stores, as files describe them.
//!
//! ```toml
//! kind = "dir"
//! path = "/srv/data"
//!
//! [context]            # without it, each envelope stores its own
//! tenant = "{1}"       # the first name of the path
//! table = "reports"
//! ```
//!
//! ```toml
//! kind = "postgres"    # or "sqlite", with a path
//! url_variable = "DATABASE_URL"
//! table = "users"
//! envelope = "email"   # the column
//!
//! [context]
//! tenant = "{tenant_id}"
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use waxseal::fleet::{DirectoryStore, Store};
use waxseal::{EncryptionContext, Error, ErrorKind};

use super::template::Template;
use crate::failure::{Failure, Result};

/// No description is longer.
const MAX: u64 = 64 << 10;

/// What a file says of a store.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Described {
    Dir(Directory),
    Sqlite(Rows),
    Postgres(Rows),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Directory {
    path: PathBuf,
    context: Option<BTreeMap<String, String>>,
}

/// The rows of a table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(
    not(feature = "ring"),
    expect(dead_code, reason = "without a database only the form is looked at")
)]
struct Rows {
    /// The file of SQLite.
    path: Option<PathBuf>,
    /// The variable that has the URL of PostgreSQL.
    url_variable: Option<String>,
    schema: Option<String>,
    table: String,
    envelope: String,
    key: Option<Vec<String>>,
    kek_id: Option<String>,
    wrapped_at: Option<String>,
    context: Option<BTreeMap<String, String>>,
}

/// Whether an argument names a store, and no envelope.
pub(crate) fn is_named(path: &Path) -> bool {
    path.is_dir() || path.extension().is_some_and(|extension| extension == "toml")
}

/// Opens a directory whose files are sealed in this context, or store their own.
pub(super) fn of_directory(path: &Path, context: Option<EncryptionContext>) -> Result<Arc<dyn Store>> {
    let store = opened(path)?;
    Ok(Arc::new(match context {
        Some(context) => store.sealed_in(context),
        None => store,
    }))
}

/// Opens the store that a file describes. What is only read needs no right to write.
pub(super) fn described(path: &Path, is_read_only: bool) -> Result<Arc<dyn Store>> {
    let shown = path.display();
    let read = |error| Failure::of_io("read", &shown, error);
    let metadata = fs::metadata(path).map_err(read)?;
    if metadata.len() > MAX {
        return Err(Failure::usage(format!(
            "{shown}: the description of a store has at most {MAX} bytes"
        )));
    }
    let text = fs::read_to_string(path).map_err(read)?;
    let described: Described =
        toml::from_str(&text).map_err(|error| Failure::usage(format!("{shown}: {}", one_line(&error))))?;
    match described {
        Described::Sqlite(rows) => sqlite(path, &rows, is_read_only),
        Described::Postgres(rows) => postgres(path, &rows, is_read_only),
        Described::Dir(directory) => {
            // Relative to the file, wherever the command runs.
            let root = path.parent().unwrap_or(Path::new("")).join(&directory.path);
            let Some(templates) = directory.context else {
                return of_directory(&root, None);
            };
            let templates = templates
                .iter()
                .map(|(key, text)| Ok((key.clone(), Template::parse(text)?)))
                .collect::<Result<Vec<_>, String>>()
                .map_err(|error| Failure::usage(format!("{shown}: context: {error}")))?;
            let store = opened(&root)?;
            Ok(Arc::new(store.sealed_by(move |id| {
                let names: Vec<&str> = id.split('/').collect();
                let value = |name: &str| match name {
                    "path" => Some(id),
                    number => names.get(number.parse::<usize>().ok()?.checked_sub(1)?).copied(),
                };
                let mut pairs = Vec::new();
                for (key, template) in &templates {
                    let text = template.fill(value).map_err(|missing| {
                        Error::new(ErrorKind::InvalidArgument).with_detail(format!(
                            "the template of the context key {key} has {{{missing}}}, which this path has not"
                        ))
                    })?;
                    pairs.push((key.as_str(), text));
                }
                EncryptionContext::new(pairs).map(Some)
            })))
        }
    }
}

/// Rows of a file, which is named relative to the description.
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
    let path = file.parent().unwrap_or(Path::new("")).join(path);
    let opened = waxseal_sql::SqliteRows::open(path, table(rows, is_read_only));
    Ok(Arc::new(pollster::block_on(opened)?))
}

#[cfg(not(feature = "ring"))]
fn sqlite(_: &Path, _: &Rows, _: bool) -> Result<Arc<dyn Store>> {
    Err(Error::new(ErrorKind::Configuration)
        .with_detail("SQLite was not compiled in; add the feature `ring` of waxseal-cli")
        .into())
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
    Err(Error::new(ErrorKind::Configuration)
        .with_detail("PostgreSQL was not compiled in; add the feature `postgres` of waxseal-cli")
        .into())
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

fn opened(path: &Path) -> Result<DirectoryStore> {
    DirectoryStore::open(path).map_err(|error| Failure::of_stream("open", path.display(), error))
}

/// Where in the file it is, and what.
fn one_line(error: &toml::de::Error) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}
