//! Environment variables.

use std::env::VarError;
use std::fmt::Debug;

use secrecy::{ExposeSecret, SecretString};

use crate::value::error::{Error, Result};

/// Where configuration is read from: the environment of the process, or a test's.
pub trait Environment: Debug + Send + Sync {
    /// The value of a variable; `None` where it is not set.
    ///
    /// # Errors
    /// `Configuration` where the value is not UTF-8.
    fn var(&self, name: &str) -> Result<Option<SecretString>>;
}

/// A variable that is set and not empty.
pub(crate) fn set_var(environment: &dyn Environment, name: &str) -> Result<Option<SecretString>> {
    let value = environment.var(name)?;
    Ok(value.filter(|value| !value.expose_secret().is_empty()))
}

/// The value of a variable that must be set, to `what`, and not empty.
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
        // The standard library panics, or cannot find, names that no environment has.
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
