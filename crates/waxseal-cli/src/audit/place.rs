//! Where an audit log is: in a directory, or in a database.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};

#[cfg(feature = "postgres")]
use waxseal::audit::LogSource as _;
use waxseal::audit::{Checkpoint, LogKey, LogReader, VerifierKey};
use waxseal::{Error, ErrorKind};

use crate::failure::{Failure, Result, printable};

/// What stands before the name of a variable.
const POSTGRES: &str = "postgres-env:";
const FORM: &str = "an audit log is a directory, or postgres-env:VARIABLE?key=FILE, where the variable holds the URL of the database and the file the key of the log";
/// The most bytes of the file of a key.
const MAX: u64 = 4_096;

/// A log that is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LogPlace {
    Folder(PathBuf),
    /// In PostgreSQL, at the URL that a variable has, with the key of this file.
    PostgresEnv {
        variable: String,
        key: PathBuf,
    },
}

impl LogPlace {
    pub(super) fn parse(option: &str, text: &OsStr) -> Result<Self> {
        // A directory of such a name can be written as `./postgres-env:…`.
        let Some(place) = text.to_str().and_then(|text| text.strip_prefix(POSTGRES)) else {
            return Ok(Self::Folder(PathBuf::from(text)));
        };
        let (variable, key) = place
            .split_once("?key=")
            .filter(|(variable, key)| {
                !variable.is_empty() && !variable.contains(['?', '/', ':']) && !key.is_empty()
            })
            .ok_or_else(|| Failure::usage(format!("{option}: {FORM}")))?;
        Ok(Self::PostgresEnv {
            variable: variable.to_owned(),
            key: PathBuf::from(key),
        })
    }
}

impl fmt::Display for LogPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => write!(f, "{}", path.display()),
            Self::PostgresEnv { variable, key } => {
                write!(f, "{POSTGRES}{variable}?key={}", key.display())
            }
        }
    }
}

/// A log that is read, as it is.
pub(super) enum NamedPlace {
    Folder(LogReader),
    /// With its key, from the file that names it.
    #[cfg(feature = "postgres")]
    Database(Box<waxseal_sql::PostgresLogReader>, VerifierKey),
}

impl NamedPlace {
    pub(super) fn open(log: &Path) -> Result<Self> {
        match LogPlace::parse("LOG", log.as_os_str())? {
            LogPlace::Folder(path) => Ok(Self::Folder(LogReader::open(path)?)),
            #[cfg(feature = "postgres")]
            LogPlace::PostgresEnv { variable, key } => {
                let key = verifier_of(&key)?;
                let reader = postgres::reader(&variable, &key)?;
                Ok(Self::Database(Box::new(reader), key))
            }
            #[cfg(not(feature = "postgres"))]
            LogPlace::PostgresEnv { .. } => Err(no_postgres()),
        }
    }

    pub(super) fn checkpoint(&self) -> &Checkpoint {
        match self {
            Self::Folder(reader) => reader.checkpoint(),
            #[cfg(feature = "postgres")]
            Self::Database(reader, _) => reader.checkpoint(),
        }
    }

    /// How many records are in no checkpoint yet. A database keeps none without one.
    pub(super) fn count_uncovered(&self) -> Result<u64> {
        match self {
            Self::Folder(reader) => Ok(reader.count_uncovered()?),
            #[cfg(feature = "postgres")]
            Self::Database(..) => Ok(0),
        }
    }

    /// Gives each record to `each`, with its number. Nothing proves them here.
    pub(super) fn each_record(&self, each: impl FnMut(u64, &[u8]) -> waxseal::Result<()>) -> Result<()> {
        match self {
            Self::Folder(reader) => Ok(reader.each_record(each)?),
            #[cfg(feature = "postgres")]
            Self::Database(reader, _) => {
                let mut each = each;
                let (mut at, size) = (0, reader.checkpoint().size());
                while at < size {
                    let records = pollster::block_on(reader.records(at, size - at))?;
                    if records.is_empty() {
                        return Err(missing(at));
                    }
                    for record in &records {
                        each(at, record)?;
                        at += 1;
                    }
                }
                Ok(())
            }
        }
    }
}

#[cfg(feature = "postgres")]
fn missing(record: u64) -> Failure {
    let detail = format!("record {record} of the log is missing: `waxseal audit verify` shows what is wrong");
    Error::new(ErrorKind::Store).with_detail(detail).into()
}

/// The failure of a log that is not what was signed: that needs attention.
pub(super) fn found(error: Error) -> Failure {
    match error.kind() {
        ErrorKind::Audit if !error.is_retryable() => {
            Failure::attention(printable(error.detail().unwrap_or_default()))
        }
        _ => error.into(),
    }
}

/// Refuses another key than that of the file that names the log.
#[cfg(feature = "postgres")]
pub(super) fn check_same(given: Option<&VerifierKey>, own: &VerifierKey) -> Result<()> {
    match given.is_some_and(|given| given != own) {
        true => Err(Failure::usage("--key is not the key of the file that LOG names")),
        false => Ok(()),
    }
}

/// The directory of a log that is read.
pub(super) fn folder<'p>(option: &str, path: &'p Path) -> Result<&'p Path> {
    match LogPlace::parse(option, path.as_os_str())? {
        LogPlace::Folder(_) => Ok(path),
        LogPlace::PostgresEnv { .. } => Err(Failure::usage(printable(&format!(
            "{option}: a log in a database is read as a copy: run `waxseal audit publish {} --to DIR`, and give DIR",
            path.display()
        )))),
    }
}

/// The public half of the key of a file, which holds either.
pub(super) fn verifier_of(path: &Path) -> Result<VerifierKey> {
    let failed = |error| Failure::of_io("read", path.display(), error);
    let len = std::fs::metadata(path).map_err(failed)?.len();
    if len > MAX {
        return Err(no_key(path));
    }
    let text = zeroize::Zeroizing::new(std::fs::read_to_string(path).map_err(failed)?);
    if text.starts_with("PRIVATE+") {
        return Ok(LogKey::read(path)?.verifier());
    }
    text.parse().map_err(|_| no_key(path))
}

fn no_key(path: &Path) -> Failure {
    let detail = format!("{} holds no key of a log, public or private", path.display());
    Error::new(ErrorKind::Configuration).with_detail(detail).into()
}

#[cfg(feature = "postgres")]
pub(super) mod postgres {
    use std::path::Path;

    use waxseal::ErrorKind;
    use waxseal::audit::{LogKey, VerifierKey};
    use waxseal_sql::{PostgresConfig, PostgresLogReader};

    use crate::database;
    use crate::failure::{Failure, Result, printable};

    /// The database of a variable. A log is found there by its origin, whatever the ring is.
    pub(in crate::audit) fn config(variable: &str) -> Result<PostgresConfig> {
        database::postgres(variable, "audit", "log")
    }

    /// Opens a log to read it. One that another key has signed needs attention.
    pub(in crate::audit) fn reader(variable: &str, key: &VerifierKey) -> Result<PostgresLogReader> {
        let opened = pollster::block_on(PostgresLogReader::open(config(variable)?, key));
        opened.map_err(super::found)
    }

    /// The key of a file, which is made if it is not there.
    pub(in crate::audit) fn key_of(path: &Path, origin: Option<&str>) -> Result<(LogKey, bool)> {
        if path.exists() {
            let key = LogKey::read(path)?;
            let verifier = key.verifier();
            if let Some(origin) = origin.filter(|origin| *origin != verifier.name()) {
                return Err(Failure::usage(printable(&format!(
                    "--origin: the key of {} is that of the log {}, and not of {origin}",
                    path.display(),
                    verifier.name()
                ))));
            }
            return Ok((key, false));
        }
        let origin = origin.ok_or_else(|| {
            Failure::usage(printable(&format!(
                "{} is not there; to make a key, name the log by --origin, such as example.com/audit",
                path.display()
            )))
        })?;
        let key = LogKey::generate(origin).map_err(|error| match error.kind() {
            ErrorKind::InvalidArgument => Failure::usage_of("--origin", &error),
            _ => error.into(),
        })?;
        key.write_new(path)?;
        Ok((key, true))
    }
}

/// A database, in a command that was built without any.
#[cfg(not(feature = "postgres"))]
pub(super) fn no_postgres() -> Failure {
    crate::database::no_postgres("name a directory")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_directory_or_a_variable_and_a_key() {
        let parsed = |text: &str| LogPlace::parse("--log", OsStr::new(text)).ok();
        for folder in ["log", "./postgres-env:X", "/var/log/a?key=b"] {
            assert_eq!(parsed(folder), Some(LogPlace::Folder(folder.into())), "{folder}");
        }
        let text = "postgres-env:URL?key=/etc/a?key=b";
        let place = parsed(text).unwrap();
        assert_eq!(place.to_string(), text);
        let expected = LogPlace::PostgresEnv {
            variable: "URL".to_owned(),
            key: "/etc/a?key=b".into(),
        };
        assert_eq!(place, expected);
        for wrong in [
            "postgres-env:",
            "postgres-env:URL",
            "postgres-env:?key=k",
            "postgres-env:URL?key=",
            "postgres-env:URL/name?key=k",
            "postgres-env:postgres://u:p@h/d?key=k",
        ] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
    }
}
