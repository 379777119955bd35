//! The URI schemes `env:`, `file:` and `passphrase-…:`.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;

use super::admin::check_name;
use super::source::Source;
use crate::backend::kek_uri::{KeyManagers, Options, Parse, Place, Reads, Scheme, UriOption};
use crate::backend::local::{Kdf, LocalAdmin, LocalKey, PassphraseKey};
use crate::envelope::KekRef;
use crate::key::KekAdmin;
use crate::runtime::Environment;
use crate::value::error::{Error, Result};

const ALLOW_SHARED: UriOption = UriOption::new(
    "allow-shared",
    "true|false",
    "accept a file that its group or others can read (default false)",
);
const KDF: UriOption = UriOption::new(
    "kdf",
    "pbkdf2|argon2id",
    "the KDF that wraps; without it PBKDF2 wraps, and both open",
);
const ITERATIONS: UriOption = UriOption::new("iterations", "N", "cost of PBKDF2 (default 600000)");
const MEMORY: UriOption = UriOption::new("memory", "KIB", "memory of Argon2id (default 65536)");
const PASSES: UriOption = UriOption::new("passes", "N", "passes of Argon2id (default 3)");
const LANES: UriOption = UriOption::new("lanes", "N", "lanes of Argon2id (default 4)");
const NAME: UriOption = UriOption::new(
    "name",
    "TEXT",
    "the name of the passphrase in envelopes (default passphrase)",
);
const PASSPHRASE: &[UriOption] = &[KDF, ITERATIONS, MEMORY, PASSES, LANES, NAME];

pub(in crate::backend) const ENV: Scheme = Scheme {
    name: "env",
    provider: super::PROVIDER,
    form: "env:NAME",
    summary: "a key of 32 bytes in an environment variable, as base64 or hex",
    options: &[],
    variables: &[],
    parse: Parse::Place(|place, _| {
        let variable = variable(place)?;
        Ok(Arc::new(LocalUri::Key(Source::Variable(variable))))
    }),
};

pub(in crate::backend) const FILE: Scheme = Scheme {
    name: "file",
    provider: super::PROVIDER,
    form: "file:PATH",
    summary: "a key of 32 bytes in a file, as base64 or hex",
    options: &[ALLOW_SHARED],
    variables: &[],
    parse: Parse::Place(|place, options| Ok(Arc::new(LocalUri::Key(file("file", place, options)?)))),
};

pub(in crate::backend) const PASSPHRASE_ENV: Scheme = Scheme {
    name: "passphrase-env",
    provider: super::PROVIDER,
    form: "passphrase-env:NAME",
    summary: "a passphrase in an environment variable",
    options: PASSPHRASE,
    variables: &[],
    parse: Parse::Place(|place, options| passphrase(Source::Variable(variable(place)?), options)),
};

pub(in crate::backend) const PASSPHRASE_FILE: Scheme = Scheme {
    name: "passphrase-file",
    provider: super::PROVIDER,
    form: "passphrase-file:PATH",
    summary: "a passphrase in a file",
    options: &[ALLOW_SHARED, KDF, ITERATIONS, MEMORY, PASSES, LANES, NAME],
    variables: &[],
    parse: Parse::Place(|place, options| passphrase(file("passphrase-file", place, options)?, options)),
};

pub(in crate::backend) const PASSPHRASE_FD: Scheme = Scheme {
    name: "passphrase-fd",
    provider: super::PROVIDER,
    form: "passphrase-fd:N",
    summary: "a passphrase that is read to the end of descriptor N; 0 is the standard input",
    options: PASSPHRASE,
    variables: &[],
    parse: Parse::Place(|place, options| {
        let is_number = !place.is_empty() && place.bytes().all(|byte| byte.is_ascii_digit());
        let number = is_number.then(|| place.parse().ok()).flatten();
        let number = number.ok_or_else(|| {
            Error::argument("passphrase-fd: needs the number of a descriptor, such as passphrase-fd:3")
        })?;
        passphrase(Source::Descriptor(number), options)
    }),
};

pub(in crate::backend) const PASSPHRASE_COMMAND: Scheme = Scheme {
    name: "passphrase-command",
    provider: super::PROVIDER,
    form: "passphrase-command:COMMAND",
    summary: "a passphrase that a program writes to its standard output; started without a shell",
    options: PASSPHRASE,
    variables: &[],
    parse: Parse::Place(|place, options| {
        let words: Vec<String> = place.split_whitespace().map(str::to_owned).collect();
        if words.is_empty() {
            return Err(Error::argument(
                "passphrase-command: needs a program and its arguments, separated by spaces",
            ));
        }
        passphrase(Source::Command(words), options)
    }),
};

pub(in crate::backend) const PASSPHRASE_PROMPT: Scheme = Scheme {
    name: "passphrase-prompt",
    provider: super::PROVIDER,
    form: "passphrase-prompt:",
    summary: "a passphrase that is typed at the terminal",
    options: PASSPHRASE,
    variables: &[],
    parse: Parse::Place(|place, options| {
        if !place.is_empty() {
            return Err(Error::argument(
                "only options may follow passphrase-prompt: and never a passphrase",
            ));
        }
        passphrase(Source::Prompt, options)
    }),
};

#[derive(Debug)]
enum LocalUri {
    Key(Source),
    Passphrase {
        source: Source,
        kdf: Kdf,
        only_that: bool,
        name: Option<String>,
    },
}

#[async_trait]
impl Place for LocalUri {
    async fn open(&self, environment: &dyn Environment) -> Result<KeyManagers> {
        match self {
            Self::Key(source) => {
                let key = super::text::kek_from_source(source, environment).await?;
                Ok(KeyManagers::one(LocalKey::with_environment(&key, environment)))
            }
            Self::Passphrase {
                source,
                kdf,
                only_that,
                name,
            } => {
                let text = source.read(environment, name.as_deref()).await?;
                let mut keys = PassphraseKey::with_environment(text, environment)?;
                if let Some(name) = name {
                    keys = keys.with_name(name)?;
                }
                let mut opened = KeyManagers::one(keys.clone().with_kdf(*kdf)?);
                if !only_that {
                    opened.also_open.push(Arc::new(keys.with_kdf(Kdf::ARGON2ID)?));
                }
                Ok(opened)
            }
        }
    }

    async fn open_admin(&self, _: &dyn Environment) -> Result<Arc<dyn KekAdmin>> {
        let Self::Key(Source::File { path, .. }) = self else {
            return Err(Error::unsupported("administering the KEKs of this kind of URI")
                .with_detail("a local KEK is administered as a file: use file:PATH"));
        };
        Ok(Arc::new(LocalAdmin::new(folder_of(path))))
    }

    fn check_stored(&self) -> Result<()> {
        let (Self::Key(source) | Self::Passphrase { source, .. }) = self;
        match source {
            Source::Command(_) => Err(Error::argument(
                "passphrase-command: is not stored: whoever changes the stored text would choose the program that runs",
            )),
            Source::Descriptor(_) => Err(Error::argument(
                "passphrase-fd: is not stored: its number means something in one process only",
            )),
            Source::File { path, .. } if path.is_relative() => Err(Error::argument(
                "a relative path is not stored: in another process it is another file; give the whole path",
            )),
            Source::Variable(_) | Source::File { .. } | Source::Prompt => Ok(()),
        }
    }

    fn sibling(&self, name: &str, _: &KekRef) -> Option<String> {
        let Self::Key(Source::File { path, .. }) = self else {
            return None;
        };
        check_name(name).ok()?;
        path.with_file_name(name).to_str().map(str::to_owned)
    }

    fn reads(&self) -> Vec<Reads> {
        let (Self::Key(source) | Self::Passphrase { source, .. }) = self;
        match source {
            Source::File { path, .. } => vec![Reads::File(path.clone())],
            Source::Descriptor(number) => vec![Reads::Descriptor(*number)],
            Source::Variable(_) | Source::Command(_) | Source::Prompt => Vec::new(),
        }
    }
}

impl fmt::Display for LocalUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(source @ Source::File { .. }) => write!(f, "file:{source}"),
            Self::Key(source) => write!(f, "env:{source}"),
            Self::Passphrase { source, .. } => match source {
                Source::Variable(_) => write!(f, "passphrase-env:{source}"),
                Source::File { .. } => write!(f, "passphrase-file:{source}"),
                Source::Descriptor(_) => write!(f, "passphrase-fd:{source}"),
                Source::Command(_) => write!(f, "passphrase-command:{source}"),
                Source::Prompt => write!(f, "passphrase-prompt:{source}"),
            },
        }
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
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
            "the name of an environment variable may only have letters, digits and '_'",
        ))
    }
}

fn file(scheme: &str, path: &str, options: &mut Options<'_>) -> Result<Source> {
    if path.is_empty() {
        return Err(Error::argument(format!("{scheme}: needs a path")));
    }
    Ok(Source::File {
        path: path.into(),
        allow_shared: options.flag("allow-shared")?,
    })
}

fn passphrase(source: Source, options: &mut Options<'_>) -> Result<Arc<dyn Place>> {
    let only_that = options.has("kdf");
    let kdf = kdf(options)?;
    kdf.check()?;
    let name = options.take("name").map(str::to_owned);
    if name.as_deref() == Some("") {
        return Err(Error::argument("the name of a passphrase must not be empty"));
    }
    Ok(Arc::new(LocalUri::Passphrase {
        source,
        kdf,
        only_that,
        name,
    }))
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
        Some(_) => Err(Error::argument("kdf must be pbkdf2 or argon2id")),
    }
}
