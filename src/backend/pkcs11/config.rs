//! Which token, how to log in to it, and how much is asked of it at once.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use super::uri::{TokenMatch, Uri};
use crate::runtime::{AmbientRuntime, Environment, ProcessEnvironment, Runtime};
use crate::value::error::{Error, Result};

/// How a [`Client`](super::Client) is made.
#[derive(Clone)]
pub struct Config {
    pub(super) module: PathBuf,
    pub(super) token: TokenMatch,
    pub(super) pin: Option<SecretString>,
    pub(super) runtime: Arc<dyn Runtime>,
    pub(super) sessions: usize,
    pub(super) timeout: Duration,
    pub(super) refresh: Duration,
}

impl Config {
    /// A token behind the module at this path, without a PIN.
    #[must_use]
    pub fn new(module: impl AsRef<Path>, token: TokenMatch) -> Self {
        Self {
            module: module.as_ref().to_owned(),
            token,
            pin: None,
            runtime: Arc::new(AmbientRuntime),
            sessions: 8,
            timeout: Duration::from_secs(10),
            refresh: Duration::from_secs(300),
        }
    }

    /// The token of a URI, with the PIN that its `pin-source` names.
    ///
    /// # Errors
    /// `Configuration` where there is no such PIN.
    pub fn from_uri(uri: &Uri) -> Result<Self> {
        Self::from_uri_in(uri, &ProcessEnvironment)
    }

    /// The same, with variables of this environment.
    ///
    /// # Errors
    /// As [`from_uri`](Self::from_uri).
    pub fn from_uri_in(uri: &Uri, environment: &dyn Environment) -> Result<Self> {
        let config = Self::new(uri.module(), uri.token().clone());
        match uri.pin() {
            Some(source) => Ok(config.with_pin(source.read(environment)?)),
            None => Ok(config),
        }
    }

    /// Logs in with this PIN.
    #[must_use]
    pub fn with_pin(mut self, pin: SecretString) -> Self {
        self.pin = Some(pin);
        self
    }

    /// Sets where blocking calls run. By default each has a thread of its own; an application on tokio gives its
    /// `TokioRuntime`.
    #[must_use]
    pub fn with_runtime(mut self, runtime: Arc<dyn Runtime>) -> Self {
        self.runtime = runtime;
        self
    }

    /// Sets how many sessions work at once, 8 by default. More calls than that wait for their turn. One more
    /// session is kept open beside them.
    ///
    /// # Errors
    /// `Configuration` for 0.
    pub fn with_sessions(mut self, sessions: usize) -> Result<Self> {
        if sessions == 0 {
            return Err(Error::configuration("a token needs at least one session"));
        }
        self.sessions = sessions;
        Ok(self)
    }

    /// Sets how long a call may take, waiting for its turn included: 10 seconds by default.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets for how long the keys that were found are taken as they were: 5 minutes by default. A version that
    /// somebody else made wraps from then on.
    #[must_use]
    pub fn with_refresh(mut self, refresh: Duration) -> Self {
        self.refresh = refresh;
        self
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("module", &self.module)
            .field("token", &self.token)
            .field("has_pin", &self.pin.is_some())
            .field("sessions", &self.sessions)
            .field("timeout", &self.timeout)
            .field("refresh", &self.refresh)
            .finish_non_exhaustive()
    }
}
