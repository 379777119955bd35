//! Where an audit log is: in a directory, or in a database.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};

use waxseal::audit::{LogKey, VerifierKey};
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
    use waxseal::audit::LogKey;
    use waxseal_sql::PostgresConfig;

    use crate::database;
    use crate::failure::{Failure, Result, printable};

    /// The database of a variable. A log is found there by its origin, whatever the ring is.
    pub(in crate::audit) fn config(variable: &str) -> Result<PostgresConfig> {
        database::postgres(variable, "audit", "log")
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
