//! Key URIs. Nothing that may be a key by mistake is quoted.

use secrecy::SecretString;
use waxseal::local::{Kdf, LocalKeys, PassphraseKeys, kek_from_text};
use waxseal::{Builder, KeyManager};

use crate::failure::{Failure, Result};

const SCHEMES: &str = "env:NAME, file:PATH or passphrase-env:NAME";

/// A parsed key URI.
pub(crate) enum KekUri {
    /// A KEK in an environment variable.
    Env { name: String },
    /// A KEK in a file.
    File { path: String, allow_shared: bool },
    /// A passphrase in an environment variable.
    Passphrase {
        variable: String,
        kdf: Option<KdfChoice>,
        name: Option<String>,
    },
}

/// The KDF of a URI.
#[derive(Clone, Copy)]
pub(crate) struct KdfChoice {
    kdf: Kdf,
    /// Whether it was named, so that no other opens.
    is_only: bool,
}

/// What a key is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Wraps,
    Opens,
}

/// Parses the URIs of an option. All errors are usage errors.
pub(crate) fn parse_all(option: &str, uris: &[String]) -> Result<Vec<KekUri>> {
    let parse = |uri: &String| parse(uri).map_err(|what| Failure::usage(format!("{option}: {what}")));
    uris.iter().map(parse).collect()
}

fn parse(uri: &str) -> Result<KekUri, String> {
    let Some((scheme, rest)) = uri.split_once(':') else {
        return Err(format!("a key is named as {SCHEMES}"));
    };
    let (place, options) = rest.rsplit_once('?').unwrap_or((rest, ""));
    if kek_from_text(&SecretString::from(place)).is_ok() {
        return Err(format!(
            "a key itself stands where the name of its place belongs; keep keys off the command line, and use {SCHEMES}"
        ));
    }
    let mut options = Options::parse(options)?;
    let parsed = match scheme {
        "env" => KekUri::Env {
            name: variable(place)?,
        },
        "file" if place.is_empty() => return Err("file: has no path".into()),
        "file" => KekUri::File {
            path: place.into(),
            allow_shared: match options.take("allow-shared") {
                None | Some("false") => false,
                Some("true") => true,
                Some(_) => return Err("allow-shared is true or false".into()),
            },
        },
        "passphrase-env" => KekUri::Passphrase {
            variable: variable(place)?,
            kdf: kdf(&mut options)?,
            name: options.take("name").map(str::to_owned),
        },
        // A passphrase can have a colon in it, so only what looks like a scheme is quoted.
        _ if scheme.len() <= 20 && scheme.bytes().all(|b| b.is_ascii_lowercase() || b == b'-') => {
            return Err(format!("the scheme {scheme}: is not known; use {SCHEMES}"));
        }
        _ => return Err(format!("the part before ':' is no scheme; use {SCHEMES}")),
    };
    options.end(scheme)?;
    Ok(parsed)
}

fn variable(name: &str) -> Result<String, String> {
    let is_name = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && name.bytes().next().is_some_and(|b| !b.is_ascii_digit());
    if is_name {
        Ok(name.into())
    } else {
        Err("the name of an environment variable has letters, digits and '_' only".into())
    }
}

fn kdf(options: &mut Options<'_>) -> Result<Option<KdfChoice>, String> {
    let name = options.take("kdf");
    let is_only = name.is_some();
    match name {
        None if options.has("iterations") => {}
        None => return Ok(None),
        Some("pbkdf2") => {}
        Some("argon2id") => {
            let Kdf::Argon2id {
                memory,
                passes,
                lanes,
            } = Kdf::ARGON2ID
            else {
                return Err("argon2id is not available".into());
            };
            let kdf = Kdf::Argon2id {
                memory: options.number("memory")?.unwrap_or(memory),
                passes: options.number("passes")?.unwrap_or(passes),
                lanes: options.number("lanes")?.unwrap_or(lanes),
            };
            return Ok(Some(KdfChoice { kdf, is_only }));
        }
        Some(_) => return Err("kdf is pbkdf2 or argon2id".into()),
    }
    let kdf = match options.number("iterations")? {
        Some(iterations) => Kdf::Pbkdf2 { iterations },
        None => Kdf::PBKDF2,
    };
    Ok(Some(KdfChoice { kdf, is_only }))
}

/// `a=1&b=2`, each taken once.
struct Options<'a>(Vec<(&'a str, &'a str)>);

const KNOWN: &[&str] = &[
    "allow-shared",
    "kdf",
    "iterations",
    "memory",
    "passes",
    "lanes",
    "name",
];

impl<'a> Options<'a> {
    fn parse(text: &'a str) -> Result<Self, String> {
        let mut options: Vec<(&str, &str)> = Vec::new();
        for option in text.split('&').filter(|option| !option.is_empty()) {
            let (key, value) = option
                .split_once('=')
                .filter(|(key, _)| KNOWN.contains(key))
                .ok_or_else(|| format!("after '?' stand {} with a value each", KNOWN.join(", ")))?;
            if options.iter().any(|(other, _)| *other == key) {
                return Err(format!("{key} is given twice"));
            }
            options.push((key, value));
        }
        Ok(Self(options))
    }

    fn has(&self, key: &str) -> bool {
        self.0.iter().any(|(other, _)| *other == key)
    }

    fn take(&mut self, key: &str) -> Option<&'a str> {
        let at = self.0.iter().position(|(other, _)| *other == key)?;
        Some(self.0.remove(at).1)
    }

    fn number(&mut self, key: &str) -> Result<Option<u32>, String> {
        let parse = |text: &str| text.parse().map_err(|_| format!("{key} is a number"));
        self.take(key).map(parse).transpose()
    }

    fn end(&self, scheme: &str) -> Result<(), String> {
        match self.0.first() {
            Some((key, _)) => Err(format!("{scheme}: does not take {key} here")),
            None => Ok(()),
        }
    }
}

impl KekUri {
    /// Adds this key to a builder. Reads the variable or file now.
    pub(crate) fn configure(&self, builder: Builder, role: Role) -> Result<Builder> {
        match self {
            Self::Env { name } => {
                require(
                    name,
                    "to 32 random bytes as base64 or hex: `waxseal keygen` makes a key",
                )?;
                Ok(add(builder, role, LocalKeys::from_env(name)?))
            }
            Self::File { path, allow_shared } => {
                let keys = if *allow_shared {
                    LocalKeys::from_shared_file(path)?
                } else {
                    LocalKeys::from_file(path)?
                };
                Ok(add(builder, role, keys))
            }
            Self::Passphrase { variable, kdf, name } => {
                require(variable, "to the passphrase")?;
                let usage = |error| Failure::usage_of("passphrase-env", &error);
                let mut keys = PassphraseKeys::from_env(variable)?;
                if let Some(name) = name {
                    keys = keys.with_name(name).map_err(usage)?;
                }
                let chosen = kdf.map_or(Kdf::PBKDF2, |choice| choice.kdf);
                let other = keys.clone().with_kdf(Kdf::ARGON2ID)?;
                let builder = add(builder, role, keys.with_kdf(chosen).map_err(usage)?);
                if kdf.is_some_and(|choice| choice.is_only) {
                    Ok(builder)
                } else {
                    Ok(builder.open_with(other))
                }
            }
        }
    }
}

/// The first of these wraps, and all of them open.
pub(crate) fn first_wraps(mut builder: Builder, keks: &[KekUri]) -> Result<Builder> {
    let mut role = Role::Wraps;
    for kek in keks {
        builder = kek.configure(builder, role)?;
        role = Role::Opens;
    }
    Ok(builder)
}

/// All of these have this role.
pub(crate) fn each(mut builder: Builder, keks: &[KekUri], role: Role) -> Result<Builder> {
    for kek in keks {
        builder = kek.configure(builder, role)?;
    }
    Ok(builder)
}

fn add(builder: Builder, role: Role, keys: impl KeyManager + 'static) -> Builder {
    match role {
        Role::Wraps => builder.wrap_with(keys),
        Role::Opens => builder.open_with(keys),
    }
}

/// Refuses a variable that is not set, and says what to set it to.
fn require(name: &str, what: &str) -> Result<()> {
    match std::env::var_os(name) {
        Some(value) if !value.is_empty() => Ok(()),
        _ => Err(Failure::refused(format!(
            "the environment variable {name} is not set; set it {what}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scheme_and_option_is_taken() {
        for good in [
            "env:KEY",
            "env:_k1",
            "file:/run/kek",
            "file:kek?allow-shared=true",
            "file:what?allow-shared=false?",
            "passphrase-env:P",
            "passphrase-env:P?iterations=700000",
            "passphrase-env:P?kdf=pbkdf2&iterations=700000&name=ops",
            "passphrase-env:P?kdf=argon2id&memory=19456&passes=2&lanes=1",
        ] {
            assert!(parse(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_and_what_may_be_secret_is_not() {
        for (bad, named) in [
            ("CANARY", SCHEMES),
            ("aws-kms:CANARY", "aws-kms:"),
            ("hunter2CANARY:x", SCHEMES),
            ("env:", "letters"),
            ("env:1CANARY", "letters"),
            ("env:CANARY=", "letters"),
            ("env:KEY?CANARY", "after '?'"),
            ("env:KEY?CANARY=1", "after '?'"),
            ("env:KEY?allow-shared=true", "does not take allow-shared"),
            ("file:", "no path"),
            ("file:?allow-shared=true", "no path"),
            ("file:k?allow-shared=CANARY", "allow-shared is"),
            ("passphrase-env:P?kdf=CANARY", "kdf is"),
            ("passphrase-env:P?kdf=pbkdf2&kdf=pbkdf2", "twice"),
            ("passphrase-env:P?kdf=pbkdf2&memory=65536", "does not take memory"),
            ("passphrase-env:P?memory=65536", "does not take memory"),
            (
                "passphrase-env:P?kdf=argon2id&iterations=600000",
                "does not take iterations",
            ),
            ("passphrase-env:P?iterations=CANARY", "iterations is a number"),
        ] {
            let what = parse(bad).err().unwrap();
            assert!(what.contains(named), "{bad}: {what}");
            assert!(!what.contains("CANARY"), "{what}");
        }
    }

    #[test]
    fn a_key_on_the_command_line_is_refused_and_not_quoted() {
        let hex: String = (1..=32)
            .map(|i| format!("a{i:x}"))
            .map(|s| s[..2].to_owned())
            .collect();
        let base64 = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA";
        for scheme in ["env", "file", "passphrase-env"] {
            for key in [hex.as_str(), base64] {
                let what = parse(&format!("{scheme}:{key}")).err().unwrap();
                assert!(what.contains("a key itself") && !what.contains(key), "{what}");
            }
        }
    }
}
