//! What follows the `?` of a URI.

use super::Scheme;
use crate::value::error::{Error, Result};

/// `a=1&b=2`, each taken once.
pub(in crate::backend) struct Options<'a> {
    scheme: &'static Scheme,
    given: Vec<(&'a str, &'a str)>,
    /// Options whose values are those of variables, and the names of the variables.
    sources: Vec<(&'static str, &'static str)>,
}

impl<'a> Options<'a> {
    pub(in crate::backend) fn parse(text: &'a str, scheme: &'static Scheme) -> Result<Self> {
        let mut given: Vec<(&str, &str)> = Vec::new();
        for option in text.split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option
                .split_once('=')
                .ok_or_else(|| unknown(scheme, "what follows '?' is not name=value"))?;
            if !scheme.takes(name) {
                // What is no name may be anything, a secret too: it is not repeated.
                return Err(match is_name(name) {
                    true => unknown(scheme, &format!("the option {name} is not known")),
                    false => unknown(scheme, "an option is not known"),
                });
            }
            if given.iter().any(|(other, _)| *other == name) {
                return Err(Error::argument(format!(
                    "the option {name} of {}: is given twice",
                    scheme.name
                )));
            }
            given.push((name, value));
        }
        Ok(Self {
            scheme,
            given,
            sources: Vec::new(),
        })
    }

    /// Says which options have the values of which variables, for errors.
    pub(super) fn with_sources(mut self, sources: &[(&'static str, &'static str)]) -> Self {
        self.sources = sources.to_vec();
        self
    }

    /// Where the value of an option comes from, for errors: a variable, or the option itself, which is named `otherwise`.
    #[cfg(any(
        feature = "aws-kms",
        feature = "azure-key-vault",
        feature = "gcp-kms",
        feature = "vault-transit"
    ))]
    pub(in crate::backend) fn source(&self, name: &str, otherwise: &'static str) -> &'static str {
        let mut known = self.sources.iter();
        known
            .find(|(option, _)| *option == name)
            .map_or(otherwise, |(_, variable)| variable)
    }

    pub(in crate::backend) fn has(&self, name: &str) -> bool {
        self.given.iter().any(|(other, _)| *other == name)
    }

    pub(in crate::backend) fn take(&mut self, name: &str) -> Option<&'a str> {
        let at = self.given.iter().position(|(other, _)| *other == name)?;
        Some(self.given.remove(at).1)
    }

    pub(in crate::backend) fn number(&mut self, name: &str) -> Result<Option<u32>> {
        let parse = |text: &str| {
            text.parse()
                .map_err(|_| Error::argument(format!("{name} is a number")))
        };
        self.take(name).map(parse).transpose()
    }

    /// Takes an option that must not be empty.
    #[cfg(any(
        feature = "aws-kms",
        feature = "azure-key-vault",
        feature = "gcp-kms",
        feature = "vault-transit"
    ))]
    pub(in crate::backend) fn text(&mut self, name: &str) -> Result<Option<String>> {
        match self.take(name) {
            Some("") => Err(Error::argument(format!("{name} is empty"))),
            value => Ok(value.map(str::to_owned)),
        }
    }

    /// Takes the address of a service, checked by [`parse_endpoint`](crate::backend::shared::http::parse_endpoint), and the place that it
    /// comes from.
    #[cfg(any(
        feature = "aws-kms",
        feature = "azure-key-vault",
        feature = "gcp-kms",
        feature = "vault-transit"
    ))]
    pub(in crate::backend) fn endpoint(
        &mut self,
        name: &str,
        otherwise: &'static str,
        may_have_path: bool,
    ) -> Result<Option<Endpoint>> {
        let source = self.source(name, otherwise);
        let Some(url) = self.text(name)? else {
            return Ok(None);
        };
        match crate::backend::shared::http::parse_endpoint(&url, source, may_have_path) {
            Ok(_) => Ok(Some(Endpoint { url, source })),
            Err(error) => Err(Error::argument(
                error.detail().unwrap_or("the address is wrong").to_owned(),
            )),
        }
    }

    /// Takes `true` or `false`, which is the default.
    pub(in crate::backend) fn flag(&mut self, name: &str) -> Result<bool> {
        match self.take(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Error::argument(format!("{name} is true or false"))),
        }
    }

    /// Takes a number of seconds, at least 1.
    #[cfg(any(feature = "aws-kms", feature = "azure-key-vault"))]
    pub(in crate::backend) fn seconds(&mut self, name: &str) -> Result<Option<std::time::Duration>> {
        match self.number(name)? {
            Some(0) => Err(Error::argument(format!("{name} is at least 1 second"))),
            seconds => Ok(seconds.map(|seconds| std::time::Duration::from_secs(seconds.into()))),
        }
    }

    /// Refuses options that the scheme has not taken.
    pub(in crate::backend) fn end(&self) -> Result<()> {
        match self.given.first() {
            Some((name, _)) => Err(Error::argument(format!(
                "{}: does not take {name} beside the other options",
                self.scheme.name
            ))),
            None => Ok(()),
        }
    }
}

/// The address of a service, and the option or variable that it was taken from.
#[cfg(any(
    feature = "aws-kms",
    feature = "azure-key-vault",
    feature = "gcp-kms",
    feature = "vault-transit"
))]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::backend) struct Endpoint {
    pub(in crate::backend) url: String,
    pub(in crate::backend) source: &'static str,
}

/// Whether this can be the name of something, and so may be shown.
pub(super) fn is_name(text: &str) -> bool {
    (1..=20).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
}

/// An error with all the options of a scheme.
fn unknown(scheme: &Scheme, what: &str) -> Error {
    let name = scheme.name;
    let known: Vec<&str> = scheme.options.iter().map(|option| option.name).collect();
    Error::argument(match known.as_slice() {
        [] => format!("{what}; {name}: takes no options"),
        known => format!("{what}; {name}: takes {}", known.join(", ")),
    })
}
