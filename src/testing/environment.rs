//! An environment that a test makes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use secrecy::{ExposeSecret, SecretString};

use crate::runtime::Environment;
use crate::value::error::{Error, Result};

/// Variables that a test sets, in place of the environment of the process.
///
/// Clones share the variables and the record of what was asked for. `Debug` shows names and hides values.
///
/// ```
/// use waxseal::{backend::local::LocalKey, testing::FakeEnvironment};
///
/// let environment = FakeEnvironment::new().with("WAXSEAL_ENVIRONMENT", "development");
/// assert!(LocalKey::from_environment(&environment, "APP_KEK").is_err());
/// assert!(environment.asked().contains(&"APP_KEK".to_owned()));
/// ```
#[derive(Clone, Default)]
pub struct FakeEnvironment(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    variables: BTreeMap<String, Option<SecretString>>,
    asked: Vec<String>,
}

impl FakeEnvironment {
    /// An environment without variables.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with a variable set.
    #[must_use]
    pub fn with(self, name: &str, value: &str) -> Self {
        self.set(name, value);
        self
    }

    /// The same with a variable whose value is not UTF-8.
    #[must_use]
    pub fn with_foreign_bytes(self, name: &str) -> Self {
        self.lock().variables.insert(name.to_owned(), None);
        self
    }

    /// Sets a variable.
    pub fn set(&self, name: &str, value: &str) {
        self.lock()
            .variables
            .insert(name.to_owned(), Some(value.to_owned().into()));
    }

    /// Takes a variable away.
    pub fn unset(&self, name: &str) {
        self.lock().variables.remove(name);
    }

    /// The names that were asked for, in order, set or not.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.lock().asked.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Environment for FakeEnvironment {
    fn var(&self, name: &str) -> Result<Option<SecretString>> {
        let mut state = self.lock();
        state.asked.push(name.to_owned());
        match state.variables.get(name) {
            None => Ok(None),
            Some(Some(value)) => Ok(Some(value.expose_secret().to_owned().into())),
            Some(None) => Err(Error::configuration(format!(
                "the environment variable {name} is not UTF-8"
            ))),
        }
    }
}

impl fmt::Debug for FakeEnvironment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("FakeEnvironment")
            .field("variables", &state.variables.keys().collect::<Vec<_>>())
            .field("asked", &state.asked)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::error::ErrorKind;

    #[test]
    fn answers_as_it_was_set_and_records_every_name() {
        let environment = FakeEnvironment::new().with("A", "CANARY").with_foreign_bytes("B");
        let asker = environment.clone();
        assert_eq!(asker.var("A").unwrap().unwrap().expose_secret(), "CANARY");
        assert_eq!(asker.var("B").unwrap_err().kind(), ErrorKind::Configuration);
        assert!(asker.var("C").unwrap().is_none());
        environment.unset("A");
        assert!(asker.var("A").unwrap().is_none());
        assert_eq!(environment.asked(), ["A", "B", "C", "A"]);
        environment.set("A", "CANARY");
        assert!(!format!("{environment:?}").contains("CANARY"));
    }
}
