//! What follows the `?` of a URI.

use crate::value::error::{Error, Result};

/// Every option of every scheme: what is none of these is not quoted.
const KNOWN: &[&str] = &[
    "allow-shared",
    "kdf",
    "iterations",
    "memory",
    "passes",
    "lanes",
    "name",
    "mount",
    "addr",
    "namespace",
    "auth",
    "auth-mount",
    "jwt-file",
    "role",
    "mode",
    "region",
    "endpoint",
    "context",
    "refresh",
    "credentials",
    "algorithm",
    "api-version",
    "ca",
    "credential",
    "verify-challenge",
];

/// `a=1&b=2`, each taken once.
pub(in crate::backend) struct Options<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Options<'a> {
    pub(in crate::backend) fn parse(text: &'a str) -> Result<Self> {
        let mut options: Vec<(&str, &str)> = Vec::new();
        for option in text.split('&').filter(|option| !option.is_empty()) {
            let (key, value) = option
                .split_once('=')
                .filter(|(key, _)| KNOWN.contains(key))
                .ok_or_else(|| {
                    Error::argument(format!("after '?' stand {} with a value each", KNOWN.join(", ")))
                })?;
            if options.iter().any(|(other, _)| *other == key) {
                return Err(Error::argument(format!("{key} is given twice")));
            }
            options.push((key, value));
        }
        Ok(Self(options))
    }

    pub(in crate::backend) fn has(&self, key: &str) -> bool {
        self.0.iter().any(|(other, _)| *other == key)
    }

    pub(in crate::backend) fn take(&mut self, key: &str) -> Option<&'a str> {
        let at = self.0.iter().position(|(other, _)| *other == key)?;
        Some(self.0.remove(at).1)
    }

    pub(in crate::backend) fn number(&mut self, key: &str) -> Result<Option<u32>> {
        let parse = |text: &str| {
            text.parse()
                .map_err(|_| Error::argument(format!("{key} is a number")))
        };
        self.take(key).map(parse).transpose()
    }

    #[cfg(any(
        feature = "aws-kms",
        feature = "azure-key-vault",
        feature = "gcp-kms",
        feature = "vault-transit"
    ))]
    /// An option that is not empty where it is given.
    pub(in crate::backend) fn text(&mut self, key: &str) -> Result<Option<String>> {
        match self.take(key) {
            Some("") => Err(Error::argument(format!("{key} is empty"))),
            value => Ok(value.map(str::to_owned)),
        }
    }

    /// A number of seconds, from 1 on.
    #[cfg(any(
        feature = "aws-kms",
        feature = "azure-key-vault",
        feature = "gcp-kms",
        feature = "vault-transit"
    ))]
    pub(in crate::backend) fn seconds(&mut self, key: &str) -> Result<Option<std::time::Duration>> {
        match self.number(key)? {
            Some(0) => Err(Error::argument(format!("{key} is at least 1 second"))),
            seconds => Ok(seconds.map(|seconds| std::time::Duration::from_secs(seconds.into()))),
        }
    }

    /// Refuses what the scheme has not taken.
    pub(in crate::backend) fn end(&self, scheme: &str) -> Result<()> {
        match self.0.first() {
            Some((key, _)) => Err(Error::argument(format!("{scheme}: does not take {key} here"))),
            None => Ok(()),
        }
    }
}
