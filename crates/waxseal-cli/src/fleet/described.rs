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
//!
//! ```toml
//! kind = "s3"          # or "gcs", or "azure-blob" with a container
//! bucket = "documents"
//! prefix = "2026"
//!
//! [context]
//! tenant = "{1}"
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use waxseal::{EncryptionContext, Error, ErrorKind};

use super::template::Template;
use crate::failure::{Failure, Result};

/// No description is longer.
const MAX: u64 = 64 << 10;

/// The templates of a context, by its keys.
type Templates = BTreeMap<String, String>;

/// What a file says of a store.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(super) enum Described {
    Dir(Directory),
    Sqlite(Rows),
    Postgres(Rows),
    S3(Bucket),
    Gcs(Bucket),
    AzureBlob(Container),
}

#[cfg(feature = "ring")]
impl Described {
    /// What a census calls it, if the file says so.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Dir(_) => None,
            Self::Sqlite(rows) | Self::Postgres(rows) => rows.name.as_deref(),
            Self::S3(bucket) | Self::Gcs(bucket) => bucket.name.as_deref(),
            Self::AzureBlob(container) => container.name.as_deref(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Directory {
    pub(super) path: PathBuf,
    pub(super) context: Option<Templates>,
}

/// The rows of a table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(
    not(feature = "ring"),
    expect(dead_code, reason = "without a database only the form is looked at")
)]
pub(super) struct Rows {
    /// What a census calls it.
    pub(super) name: Option<String>,
    /// The file of SQLite.
    pub(super) path: Option<PathBuf>,
    /// The variable that has the URL of PostgreSQL.
    pub(super) url_variable: Option<String>,
    pub(super) schema: Option<String>,
    pub(super) table: String,
    pub(super) envelope: String,
    pub(super) key: Option<Vec<String>>,
    pub(super) kek_id: Option<String>,
    pub(super) wrapped_at: Option<String>,
    pub(super) context: Option<Templates>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Bucket {
    #[cfg_attr(not(feature = "ring"), expect(dead_code, reason = "for a census"))]
    name: Option<String>,
    bucket: String,
    prefix: Option<String>,
    context: Option<Templates>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Container {
    #[cfg_attr(not(feature = "ring"), expect(dead_code, reason = "for a census"))]
    name: Option<String>,
    container: String,
    prefix: Option<String>,
    context: Option<Templates>,
}

/// The objects below a prefix.
#[cfg_attr(
    not(feature = "object-store"),
    expect(dead_code, reason = "without object stores only the form is looked at")
)]
pub(super) struct Objects {
    pub(super) url: String,
    pub(super) context: Option<Templates>,
}

impl Bucket {
    pub(super) fn objects(self, scheme: &str) -> Objects {
        objects(scheme, &self.bucket, self.prefix.as_deref(), self.context)
    }
}

impl Container {
    pub(super) fn objects(self) -> Objects {
        objects("az", &self.container, self.prefix.as_deref(), self.context)
    }
}

fn objects(scheme: &str, name: &str, prefix: Option<&str>, context: Option<Templates>) -> Objects {
    let url = format!("{scheme}://{name}/{}", prefix.unwrap_or_default());
    Objects { url, context }
}

/// Reads the description of a store.
pub(super) fn read(path: &Path) -> Result<Described> {
    let shown = path.display();
    let failed = |error| Failure::of_io("read", &shown, error);
    let metadata = fs::metadata(path).map_err(failed)?;
    if metadata.len() > MAX {
        return Err(Failure::usage(format!(
            "{shown}: the description of a store has at most {MAX} bytes"
        )));
    }
    let text = fs::read_to_string(path).map_err(failed)?;
    let described: Described =
        toml::from_str(&text).map_err(|error| Failure::usage(format!("{shown}: {}", one_line(&error))))?;
    if let Described::S3(Bucket { bucket: name, .. })
    | Described::Gcs(Bucket { bucket: name, .. })
    | Described::AzureBlob(Container { container: name, .. }) = &described
        && name.contains('/')
    {
        return Err(Failure::usage(format!(
            "{shown}: {name:?} is no name of a bucket or container; what is behind it is the prefix"
        )));
    }
    Ok(described)
}

/// Says in which context each item is sealed whose id is a path.
pub(super) fn contexts(
    file: &Path,
    templates: &Templates,
) -> Result<impl Fn(&str) -> waxseal::Result<Option<EncryptionContext>> + Send + Sync + use<>> {
    let templates = templates
        .iter()
        .map(|(key, text)| Ok((key.clone(), Template::parse(text)?)))
        .collect::<Result<Vec<_>, String>>()
        .map_err(|error| Failure::usage(format!("{}: context: {error}", file.display())))?;
    Ok(move |id: &str| {
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
    })
}

/// Where in the file it is, and what.
fn one_line(error: &toml::de::Error) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}
