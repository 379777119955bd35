//! `env:`, `file:` and `passphrase-env:`.

use std::fmt;

use crate::backend::kek_uri::{KeyManagers, Options};
use crate::backend::local::{Kdf, LocalKey, PassphraseKey};
use crate::runtime::Environment;
use crate::value::error::{Error, Result};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::backend) enum LocalUri {
    Env {
        variable: String,
    },
    File {
        path: String,
        allow_shared: bool,
    },
    Passphrase {
        variable: String,
        kdf: Kdf,
        only_that: bool,
        name: Option<String>,
    },
}

impl LocalUri {
    /// `None` for a scheme that is not local.
    pub(in crate::backend) fn parse(
        scheme: &str,
        place: &str,
        options: &mut Options<'_>,
    ) -> Result<Option<Self>> {
        Ok(Some(match scheme {
            "env" => Self::Env {
                variable: variable(place)?,
            },
            "file" if place.is_empty() => return Err(Error::argument("file: has no path")),
            "file" => Self::File {
                path: place.into(),
                allow_shared: match options.take("allow-shared") {
                    None | Some("false") => false,
                    Some("true") => true,
                    Some(_) => return Err(Error::argument("allow-shared is true or false")),
                },
            },
            "passphrase-env" => {
                let variable = variable(place)?;
                let only_that = options.has("kdf");
                let kdf = kdf(options)?;
                kdf.check()?;
                let name = options.take("name").map(str::to_owned);
                if name.as_deref() == Some("") {
                    return Err(Error::argument("the name of a passphrase is empty"));
                }
                Self::Passphrase {
                    variable,
                    kdf,
                    only_that,
                    name,
                }
            }
            _ => return Ok(None),
        }))
    }

    pub(in crate::backend) fn open(&self, environment: &dyn Environment) -> Result<KeyManagers> {
        match self {
            Self::Env { variable } => Ok(KeyManagers::one(LocalKey::from_environment(
                environment,
                variable,
            )?)),
            Self::File {
                path,
                allow_shared: true,
            } => Ok(KeyManagers::one(LocalKey::from_shared_file(path)?)),
            Self::File {
                path,
                allow_shared: false,
            } => Ok(KeyManagers::one(LocalKey::from_file(path)?)),
            Self::Passphrase {
                variable,
                kdf,
                only_that,
                name,
            } => {
                let mut keys = PassphraseKey::from_environment(environment, variable)?;
                if let Some(name) = name {
                    keys = keys.with_name(name)?;
                }
                let mut opened = KeyManagers::one(keys.clone().with_kdf(*kdf)?);
                if !only_that {
                    opened
                        .also_open
                        .push(std::sync::Arc::new(keys.with_kdf(Kdf::ARGON2ID)?));
                }
                Ok(opened)
            }
        }
    }
}

impl fmt::Display for LocalUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env { variable } => write!(f, "env:{variable}"),
            Self::File { path, .. } => write!(f, "file:{}", path.escape_default()),
            Self::Passphrase { variable, .. } => write!(f, "passphrase-env:{variable}"),
        }
    }
}

fn variable(name: &str) -> Result<String> {
    let is_name = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
    if is_name {
        Ok(name.into())
    } else {
        Err(Error::argument(
            "the name of an environment variable has letters, digits and '_' only",
        ))
    }
}

fn kdf(options: &mut Options<'_>) -> Result<Kdf> {
    match options.take("kdf") {
        None | Some("pbkdf2") => Ok(match options.number("iterations")? {
            Some(iterations) => Kdf::Pbkdf2 { iterations },
            None => Kdf::PBKDF2,
        }),
        Some("argon2id") => {
            let (memory, passes, lanes) = Kdf::ARGON2ID_COST;
            Ok(Kdf::Argon2id {
                memory: options.number("memory")?.unwrap_or(memory),
                passes: options.number("passes")?.unwrap_or(passes),
                lanes: options.number("lanes")?.unwrap_or(lanes),
            })
        }
        Some(_) => Err(Error::argument("kdf is pbkdf2 or argon2id")),
    }
}
