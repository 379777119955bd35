//! Environment variables.

use std::env::VarError;
use std::fmt::Debug;
use std::io::Read;

use secrecy::{ExposeSecret, SecretString};

use crate::value::error::{Error, Result};

/// The place that configuration is read from: the environment of the process, or that of a test.
pub trait Environment: Debug + Send + Sync {
    /// Returns the value of a variable, or `None` if the variable is not set.
    ///
    /// # Errors
    /// `Configuration` if the value is not UTF-8.
    fn var(&self, name: &str) -> Result<Option<SecretString>>;

    /// Asks a person for a secret, for key URIs that say `passphrase-prompt:`. `what` says which secret, such as
    /// `passphrase "ops"`. Returns `None`, which is the default, if there is nobody to ask.
    ///
    /// A program that seals asks twice and compares. The call may take as long as the person does.
    ///
    /// # Errors
    /// The error of the program that asks, such as `InvalidArgument` if what was typed twice is not the same.
    fn ask(&self, what: &str) -> Result<Option<SecretString>> {
        let _ = what;
        Ok(None)
    }

    /// Hands over an open descriptor of the process, for key URIs that say `passphrase-fd:`. It is read to its end.
    ///
    /// With `None`, which is the default, the library opens `/dev/fd/N`. On Linux this opens what the descriptor leads to once
    /// more: it fails if the file or pipe belongs to another user, reads a file from its start wherever the descriptor
    /// stands, and reads whatever is open under that number by then. A program that knows which descriptors it was
    /// started with returns a duplicate.
    ///
    /// # Errors
    /// The error of the program, such as `Configuration` if it was not started with the descriptor.
    fn descriptor(&self, number: u32) -> Result<Option<Box<dyn Read + Send>>> {
        let _ = number;
        Ok(None)
    }
}

/// Returns a variable that is set and not empty, without one line end at its end.
pub(crate) fn set_var(environment: &dyn Environment, name: &str) -> Result<Option<SecretString>> {
    let Some(value) = environment.var(name)? else {
        return Ok(None);
    };
    let text = value.expose_secret();
    let kept = without_line_end(text);
    Ok(match kept.len() {
        0 => None,
        len if len == text.len() => Some(value),
        _ => Some(kept.into()),
    })
}

/// The one rule for secrets that are read as text: one line end at the end, LF or CRLF, is not part of the secret.
pub(crate) fn without_line_end(text: &str) -> &str {
    match text.strip_suffix('\n') {
        Some(line) => line.strip_suffix('\r').unwrap_or(line),
        None => text,
    }
}

/// Returns the value of a variable that must be set, to `what`, and must not be empty.
pub(crate) fn required_var(environment: &dyn Environment, name: &str, what: &str) -> Result<SecretString> {
    set_var(environment, name)?.ok_or_else(|| {
        Error::configuration(format!(
            "the environment variable {name} is not set; set it to {what}"
        ))
    })
}

/// The environment of this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn var(&self, name: &str) -> Result<Option<SecretString>> {
        // The standard library panics for names that no environment can have, or cannot find them.
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(Error::configuration(
                "the name of an environment variable is empty or has '=' in it",
            ));
        }
        match std::env::var(name) {
            Ok(value) => Ok(Some(value.into())),
            Err(VarError::NotPresent) => Ok(None),
            Err(VarError::NotUnicode(_)) => Err(Error::configuration(format!(
                "the environment variable {name} is not UTF-8"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_end_is_left_out_and_nothing_else() {
        for (text, expected) in [
            ("a", "a"),
            ("a\n", "a"),
            ("a\r\n", "a"),
            ("a\n\n", "a\n"),
            ("a\r", "a\r"),
            (" a \n", " a "),
            ("\n", ""),
            ("", ""),
        ] {
            assert_eq!(without_line_end(text), expected, "{text:?}");
        }
    }

    #[test]
    fn reads_what_cargo_sets_and_misses_what_nobody_does() {
        let name = ProcessEnvironment.var("CARGO_PKG_NAME").unwrap().unwrap();
        assert_eq!(name.expose_secret(), "waxseal");
        assert!(
            ProcessEnvironment
                .var("WAXSEAL_NOBODY_SETS_THIS")
                .unwrap()
                .is_none()
        );
        assert!(ProcessEnvironment.var("A=B").is_err());
        assert!(ProcessEnvironment.var("").is_err());
    }
}
