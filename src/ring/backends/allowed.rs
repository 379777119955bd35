//! Which key URIs a process lets a record name.

use std::fmt;
use std::str::FromStr;

use crate::backend::kek_uri::schemes;
use crate::value::error::{Error, Result};

/// One entry of the list of what may be named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Allowed {
    scheme: String,
    /// `None` for every place with any options.
    place: Option<Place>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    /// Between the scheme and the `?`, less the `*`.
    text: String,
    /// Whether anything may follow `text`.
    is_prefix: bool,
    /// Behind the `?`, to the letter.
    options: Option<String>,
}

impl FromStr for Allowed {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (scheme, rest) = match text.split_once(':') {
            Some((scheme, rest)) => (scheme, Some(rest)),
            None => (text, None),
        };
        let is_name = |name: &str| {
            !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        };
        if !is_name(scheme) || rest.is_some_and(str::is_empty) {
            let known: Vec<_> = schemes().map(|scheme| scheme.name).collect();
            return Err(Error::argument(format!(
                "what may be named is a scheme ({}), or a key URI, with a * at the end of its place if anything may follow there",
                known.join(", ")
            )));
        }
        let place = rest.map(|rest| {
            let (text, options) = match rest.split_once('?') {
                Some((text, options)) => (text, Some(options.to_owned())),
                None => (rest, None),
            };
            Place {
                text: text.strip_suffix('*').unwrap_or(text).to_owned(),
                is_prefix: text.ends_with('*'),
                options,
            }
        });
        Ok(Self {
            scheme: scheme.to_owned(),
            place,
        })
    }
}

impl Allowed {
    /// Whether this entry lets a record name a URI.
    pub(super) fn permits(&self, uri: &str) -> bool {
        let Some(rest) = uri
            .strip_prefix(&self.scheme)
            .and_then(|rest| rest.strip_prefix(':'))
        else {
            return false;
        };
        let Some(allowed) = &self.place else { return true };
        let (text, options) = match rest.split_once('?') {
            Some((text, options)) => (text, Some(options)),
            None => (rest, None),
        };
        // An option may be the address that credentials are sent to.
        if options != allowed.options.as_deref() {
            return false;
        }
        match text.strip_prefix(&allowed.text) {
            Some("") => true,
            // No way up and out of a folder.
            Some(more) if allowed.is_prefix => !more.split('/').any(|part| part == ".." || part == "."),
            _ => false,
        }
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.scheme)?;
        let Some(place) = &self.place else { return Ok(()) };
        write!(f, ":{}", place.text.escape_debug())?;
        if place.is_prefix {
            f.write_str("*")?;
        }
        // Not the options, as elsewhere.
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_permits_what_it_says_and_no_more() {
        let cases = [
            ("env", "env:A", true),
            ("env", "environment:A", false),
            ("env", "file:/env:A", false),
            ("vault-transit", "vault-transit:k?addr=https://elsewhere", true),
            ("vault-transit:k", "vault-transit:k", true),
            ("vault-transit:k", "vault-transit:k2", false),
            ("vault-transit:k*", "vault-transit:k2", true),
            (
                "vault-transit:k*",
                "vault-transit:k2?addr=https://elsewhere",
                false,
            ),
            (
                "vault-transit:k*?addr=https://here",
                "vault-transit:k2?addr=https://here",
                true,
            ),
            ("vault-transit:k*?addr=https://here", "vault-transit:k2", false),
            (
                "vault-transit:k*?addr=https://here",
                "vault-transit:k2?addr=https://here&mount=x",
                false,
            ),
            ("file:/keys/*", "file:/keys/a", true),
            ("file:/keys/*", "file:/keys/a/../b", false),
            ("file:/keys/*", "file:/keys/../etc/b", false),
            ("file:/keys/*", "file:/key", false),
            ("file:/keys/a", "file:/keys/a", true),
        ];
        for (allowed, uri, expected) in cases {
            let parsed: Allowed = allowed.parse().unwrap();
            assert_eq!(parsed.permits(uri), expected, "{allowed} and {uri}");
        }
        for bad in ["", "env:", "*", "Env", "a b", ":x"] {
            assert!(bad.parse::<Allowed>().is_err(), "{bad:?}");
        }
    }
}
