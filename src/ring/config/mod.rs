//! `ring.toml`: what a process believes of a ring before it reads the inventory, and what it has to know to use it.
//!
//! ```toml
//! schema = 1
//! ring = "0193c5a0-7c1e-7d3a-9f00-0123456789ab"
//! authority = "ed25519:11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
//! store = "sqlite:ring.db"              # or "postgres-env:DATABASE_URL"
//! allow = ["vault-transit:app"]         # what records may name: see `UriBackends::allow`
//! reader = "web"                        # optional: the name in heartbeats
//! reader-key = "reader.key"             # optional: the file of the key that signs them
//! mark = "ring.mark"                    # optional: refuses an older dump of the inventory
//! profiles = "profiles.toml"            # optional: what data of each class demands, see the manual's page on profiles
//! provisioner-key = "provisioner.key"   # optional: the file of the key that makes the first key of a scope
//! otherwise = "/"                       # optional: the scope that serves contexts whose own scope has never had a key
//!
//! [administration]                      # only where keys are made and moved
//! authority = "ring.authority"
//! authority-kek = "vault-transit:ops"   # optional: the file is sealed under it
//! keys = "ring.keys"                    # optional: where local KEKs are made
//! ```
//!
//! Paths are relative to the folder of the file. The file holds no secret, but whoever can write it decides whom the process
//! believes: a file that others can write is refused.

mod pattern;
mod private;
#[cfg(test)]
mod tests;
mod text;
mod written;

use std::fmt::{self, Write as _};
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

pub use pattern::pattern_for;
pub use private::AuthorityFile;
pub(in crate::ring) use text::{from_toml, place, read_text};

use super::inventory::check_reader;
use super::profile::Profiles;
use super::{AuthorityKey, Inventory, KeyRing, KeyRingBuilder, Mark, RecordId, Scope, Trust, UriBackends};
use crate::runtime::Environment;
use crate::value::error::{Error, Result};

/// The version of the file.
const SCHEMA: u32 = 1;
/// What a ring in a database is called, unless it has a name there.
const RING: &str = "ring";

/// Where the inventory of a ring is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreAt {
    /// In this SQLite file: `sqlite:PATH`.
    Sqlite(PathBuf),
    /// In PostgreSQL, at the URL that a variable has: `postgres-env:VARIABLE`, or `postgres-env:VARIABLE/NAME` for one of several
    /// rings of a database.
    PostgresEnv {
        /// The variable.
        variable: String,
        /// The name of the ring in the database. `ring` if none is given.
        name: String,
    },
}

impl StoreAt {
    /// Parses a store as the file and the command have it. A path is relative to `folder`.
    ///
    /// # Errors
    /// `InvalidArgument` for anything else than `sqlite:PATH` and `postgres-env:VARIABLE[/NAME]`. What was given is not quoted: it may
    /// be a URL with a password.
    pub fn parse(text: &str, folder: &Path) -> Result<Self> {
        let wrong = || {
            Error::argument(
                "a store is sqlite:PATH or postgres-env:VARIABLE or postgres-env:VARIABLE/NAME, where the variable holds the URL of the database",
            )
        };
        match text.split_once(':').ok_or_else(wrong)? {
            ("sqlite", path) if !path.is_empty() => Ok(Self::Sqlite(folder.join(path))),
            ("postgres-env", place) => {
                let (variable, name) = place.split_once('/').unwrap_or((place, RING));
                let is_name =
                    |name: &str| !name.is_empty() && name.len() <= 128 && !name.chars().any(char::is_control);
                if !is_variable(variable) || !is_name(name) {
                    return Err(wrong());
                }
                Ok(Self::PostgresEnv {
                    variable: variable.to_owned(),
                    name: name.to_owned(),
                })
            }
            _ => Err(wrong()),
        }
    }
}

fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

impl fmt::Display for StoreAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::PostgresEnv { variable, name } if name == RING => write!(f, "postgres-env:{variable}"),
            Self::PostgresEnv { variable, name } => write!(f, "postgres-env:{variable}/{name}"),
        }
    }
}

/// What only administrators have.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Administration {
    /// The private half of the authority.
    pub authority: AuthorityFile,
    /// The folder in which local KEKs are made.
    pub keys: Option<PathBuf>,
}

impl Administration {
    /// The private half of the authority, and the folder in which local KEKs are made.
    #[must_use]
    pub fn new(authority: AuthorityFile, keys: Option<PathBuf>) -> Self {
        Self { authority, keys }
    }
}

/// What a process believes of a ring, and what it needs to use it: the contents of a `ring.toml`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RingConfig {
    /// The ring.
    pub ring: RecordId,
    /// Whom it trusts: the public half of the ring's authority, or of one before it.
    pub authority: AuthorityKey,
    /// Where the inventory is.
    pub store: StoreAt,
    /// Which KEKs records may name: patterns of [`UriBackends::allow`].
    pub allow: Vec<String>,
    /// The name of this process in heartbeats. Without it there are none.
    pub reader: Option<String>,
    /// The file of the key that signs the heartbeats, for [`KeyRingBuilder::reader_key`](super::KeyRingBuilder::reader_key). Whoever
    /// reads it can report in the name of the reader, and do nothing else with it.
    pub reader_key: Option<AuthorityFile>,
    /// The file that keeps the newest revision that was seen.
    pub mark: Option<PathBuf>,
    /// The file of profiles: see [`Profiles`].
    pub profiles: Option<PathBuf>,
    /// The file of a provisioner's key, for [`KeyRingBuilder::provisioner`](super::KeyRingBuilder::provisioner). Whoever reads it can make the first
    /// key of a scope, and do nothing else with it.
    pub provisioner_key: Option<AuthorityFile>,
    /// The scope that serves contexts whose own scope has never had a key: see
    /// [`KeyRingBuilder::otherwise`](super::KeyRingBuilder::otherwise).
    pub otherwise: Option<Scope>,
    /// What only administrators have.
    pub administration: Option<Administration>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Raw {
    schema: u32,
    ring: RecordId,
    authority: AuthorityKey,
    store: String,
    #[serde(default)]
    allow: Vec<String>,
    reader: Option<String>,
    reader_key: Option<PathBuf>,
    mark: Option<PathBuf>,
    profiles: Option<PathBuf>,
    provisioner_key: Option<PathBuf>,
    otherwise: Option<Scope>,
    administration: Option<RawAdministration>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawAdministration {
    authority: PathBuf,
    authority_kek: Option<String>,
    keys: Option<PathBuf>,
}

impl RingConfig {
    /// The configuration of a ring, with nothing that is optional.
    #[must_use]
    pub fn new(ring: RecordId, authority: AuthorityKey, store: StoreAt) -> Self {
        Self {
            ring,
            authority,
            store,
            allow: Vec::new(),
            reader: None,
            reader_key: None,
            mark: None,
            profiles: None,
            provisioner_key: None,
            otherwise: None,
            administration: None,
        }
    }

    /// Reads a `ring.toml`.
    ///
    /// # Errors
    /// `Configuration` if the file cannot be read, is no regular file, has more than 1 MiB, can be written by its group or by
    /// everybody, or is wrong: the error names line and column.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = read_text(path, "ring's configuration")?;
        Self::parse(&text, &folder_of(path)?, &path.display().to_string())
    }

    /// Parses the text of a `ring.toml`. Its paths are relative to `folder`; `shown` names the file in errors.
    ///
    /// # Errors
    /// `Configuration`, with line and column.
    pub fn parse(text: &str, folder: &Path, shown: &str) -> Result<Self> {
        let raw: Raw = from_toml(text, shown)?;
        let wrong = |key: &str, error: &Error| {
            let at = place(text, find_key(text, key));
            let detail = error.detail().unwrap_or("it is wrong").to_owned();
            Error::configuration(format!("{shown}:{at}: {key}: {detail}"))
        };
        backends(&raw.allow).map_err(|error| wrong("allow", &error))?;
        if raw.schema != SCHEMA {
            let error = Error::argument(format!(
                "this library reads schema {SCHEMA}, and the file has {}",
                raw.schema
            ));
            return Err(wrong("schema", &error));
        }
        if let Some(name) = &raw.reader {
            check_reader(name).map_err(|error| wrong("reader", &error))?;
        } else if raw.reader_key.is_some() {
            let error = Error::argument("the key of a reader needs the name of the reader");
            return Err(wrong("reader-key", &error));
        }
        let private = |path: PathBuf| AuthorityFile::new(folder.join(path), None);
        let (reader_key, provisioner_key) = (raw.reader_key.map(private), raw.provisioner_key.map(private));
        let administration = match raw.administration {
            None => None,
            Some(given) => Some(Administration {
                authority: AuthorityFile::new(folder.join(given.authority), given.authority_kek.as_deref())
                    .map_err(|error| wrong("authority-kek", &error))?,
                keys: given.keys.map(|keys| folder.join(keys)),
            }),
        };
        Ok(Self {
            ring: raw.ring,
            authority: raw.authority,
            store: StoreAt::parse(&raw.store, folder).map_err(|error| wrong("store", &error))?,
            allow: raw.allow,
            reader: raw.reader,
            reader_key: reader_key.transpose()?,
            mark: raw.mark.map(|mark| folder.join(mark)),
            profiles: raw.profiles.map(|profiles| folder.join(profiles)),
            provisioner_key: provisioner_key.transpose()?,
            otherwise: raw.otherwise,
            administration,
        })
    }

    /// Returns the text of a `ring.toml` in this folder. Paths below the folder are written relative to it.
    ///
    /// # Errors
    /// `InvalidArgument` if a path is not UTF-8, or a text has control characters.
    pub fn to_toml(&self, folder: &Path) -> Result<String> {
        let relative = |path: &Path| -> Result<String> {
            let below = path.strip_prefix(folder).ok();
            let path = below
                .filter(|below| !below.as_os_str().is_empty())
                .unwrap_or(path);
            path.to_str()
                .map(str::to_owned)
                .ok_or_else(|| Error::argument("a path of a ring's configuration must be UTF-8"))
        };
        let mut text = String::new();
        let mut line = |key: &str, value: &str| -> Result<()> {
            let _ = writeln!(text, "{key} = {}", quoted(value)?);
            Ok(())
        };
        line("ring", &self.ring.to_string())?;
        line("authority", &self.authority.to_string())?;
        line(
            "store",
            &match &self.store {
                StoreAt::Sqlite(path) => format!("sqlite:{}", relative(path)?),
                other => other.to_string(),
            },
        )?;
        if let Some(reader) = &self.reader {
            line("reader", reader)?;
        }
        if let Some(key) = &self.reader_key {
            line("reader-key", &relative(key.path())?)?;
        }
        if let Some(mark) = &self.mark {
            line("mark", &relative(mark)?)?;
        }
        if let Some(profiles) = &self.profiles {
            line("profiles", &relative(profiles)?)?;
        }
        if let Some(key) = &self.provisioner_key {
            line("provisioner-key", &relative(key.path())?)?;
        }
        if let Some(otherwise) = &self.otherwise {
            line("otherwise", otherwise.as_str())?;
        }
        let allowed: Vec<String> = self
            .allow
            .iter()
            .map(|pattern| quoted(pattern))
            .collect::<Result<_>>()?;
        let mut all = format!(
            "# Whom this process believes about the ring, and where the ring is. It holds no secret: copy it to every reader,\n\
             # without [administration], and let nobody else write it.\n\
             schema = {SCHEMA}\n{text}# What the ring's records may name: a scheme, or a key URI with its options and a * at the end of its place.\n\
             allow = [{}]\n",
            allowed.join(", ")
        );
        if let Some(administration) = &self.administration {
            let file = &administration.authority;
            let _ = write!(
                all,
                "\n# Only where keys are made and moved.\n[administration]\nauthority = {}\n",
                quoted(&relative(file.path())?)?
            );
            if let Some(kek) = file.kek() {
                let _ = writeln!(all, "authority-kek = {}", quoted(kek)?);
            }
            if let Some(keys) = &administration.keys {
                let _ = writeln!(all, "keys = {}", quoted(&relative(keys)?)?);
            }
        }
        Ok(all)
    }

    /// Writes a new `ring.toml`, which others can read and nobody else can write.
    ///
    /// # Errors
    /// `Configuration` if the file exists, which is never overwritten, or cannot be written.
    pub fn write_new(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let text = self.to_toml(&folder_of(path)?)?;
        written::write_new(path, text.as_bytes(), 0o644)
    }

    /// Returns what opens the KEKs that records name, with the variables of this environment.
    ///
    /// # Errors
    /// `InvalidArgument` for a pattern that is wrong.
    pub fn backends(&self, environment: Arc<dyn Environment>) -> Result<UriBackends> {
        Ok(backends(&self.allow)?.with_environment(environment))
    }

    /// Returns what to believe of the ring, with the newest revision that the mark file has seen.
    ///
    /// # Errors
    /// `Configuration` if there is a mark file and it cannot be read or is wrong. A mark file that does not exist yet is none.
    pub fn trust(&self) -> Result<Trust> {
        let trust = Trust::new(self.ring, self.authority);
        let Some(path) = &self.mark else { return Ok(trust) };
        let wrong = |what: String| Error::configuration(format!("the mark file {}: {what}", path.display()));
        match fs::read_to_string(path) {
            Ok(text) => {
                let mark: Mark = text
                    .trim_end()
                    .parse()
                    .map_err(|error: Error| wrong(error.detail().unwrap_or("it is wrong").to_owned()))?;
                Ok(trust.with_mark(mark))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(trust),
            Err(error) => Err(wrong(format!("cannot be read: {}", error.kind())).with_source(error)),
        }
    }

    /// Keeps the newest revision that was seen in the mark file, if there is one, and it is newer than what stands there.
    ///
    /// # Errors
    /// `Io` if the file cannot be written.
    pub fn keep_mark(&self, trust: &Trust) -> Result<()> {
        let (Some(path), Some(mark)) = (&self.mark, trust.mark()) else {
            return Ok(());
        };
        let kept = fs::read_to_string(path).ok();
        let kept: Option<Mark> = kept.and_then(|text| text.trim_end().parse().ok());
        if kept.is_some_and(|kept| kept.revision >= mark.revision) {
            return Ok(());
        }
        written::replace(path, format!("{mark}\n").as_bytes(), 0o600)
    }

    /// Begins to open the ring as the file says: whom it trusts, which KEKs it may name, its reader's name and key, its profiles, and which
    /// scope serves where there is no key.
    ///
    /// # Errors
    /// The errors of [`trust`](Self::trust), [`backends`](Self::backends) and [`read_profiles`](Self::read_profiles); `Configuration` if the
    /// key of the reader or of the provisioner cannot be read, has not this form, is sealed, or can be read by others.
    pub fn builder(
        &self,
        inventory: Arc<dyn Inventory>,
        environment: Arc<dyn Environment>,
    ) -> Result<KeyRingBuilder> {
        let backends = Arc::new(self.backends(environment)?);
        let mut builder = KeyRing::builder(self.trust()?, inventory, backends);
        if let Some(reader) = &self.reader {
            builder = builder.reader(reader);
        }
        if let Some(key) = &self.reader_key {
            builder = builder.reader_key(key.read_plain()?);
        }
        if let Some(profiles) = self.read_profiles()? {
            builder = builder.profiles(profiles);
        }
        if let Some(key) = &self.provisioner_key {
            builder = builder.provisioner(key.read_plain()?);
        }
        if let Some(scope) = &self.otherwise {
            builder = builder.otherwise(scope.clone());
        }
        Ok(builder)
    }

    /// Reads the file of profiles, if there is one.
    ///
    /// # Errors
    /// The errors of [`Profiles::read`].
    pub fn read_profiles(&self) -> Result<Option<Profiles>> {
        self.profiles.as_ref().map(Profiles::read).transpose()
    }

    /// Returns what administrators have.
    ///
    /// # Errors
    /// `Configuration` if the file has no `[administration]`: it is that of a reader.
    pub fn administration(&self) -> Result<&Administration> {
        self.administration.as_ref().ok_or_else(|| {
            Error::configuration(
                "this needs the private half of the ring's authority, and the ring's configuration has no [administration]: it is one for readers",
            )
        })
    }
}

fn backends(allow: &[String]) -> Result<UriBackends> {
    let mut patterns = allow.iter();
    patterns.try_fold(UriBackends::new(), |backends, pattern| backends.allow(pattern))
}

/// The folder of a file, without links and dots on the way, so that a record can name what is in it.
fn folder_of(path: &Path) -> Result<PathBuf> {
    let folder = match path.parent() {
        Some(folder) if folder.components().next().is_some() => folder,
        _ => Path::new("."),
    };
    let begins_with_dots = folder.components().any(|part| part == Component::ParentDir);
    let absolute = std::path::absolute(folder);
    let found = if begins_with_dots {
        folder.canonicalize()
    } else {
        absolute
    };
    found.map_err(|error| {
        Error::configuration(format!(
            "there is no folder {}: {}",
            folder.display(),
            error.kind()
        ))
        .with_source(error)
    })
}

/// A basic string of TOML.
fn quoted(text: &str) -> Result<String> {
    if text.chars().any(char::is_control) {
        return Err(Error::argument(
            "a ring's configuration has no control characters",
        ));
    }
    let mut quoted = String::from('"');
    for character in text.chars() {
        if matches!(character, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted.push('"');
    Ok(quoted)
}

/// Where the value of a key begins.
fn find_key(text: &str, key: &str) -> usize {
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let trimmed = line.trim_start();
        let rest = trimmed.strip_prefix(key).map(str::trim_start);
        if rest.is_some_and(|rest| rest.starts_with('=')) {
            return offset + (line.len() - trimmed.len());
        }
        offset += line.len();
    }
    0
}
