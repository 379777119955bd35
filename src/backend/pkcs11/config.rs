//! Which token, how to log in to it, and how many calls it gets at once.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;

use super::uri::{TokenMatch, Uri};
use crate::runtime::{Environment, ProcessEnvironment};
use crate::value::error::{Error, Result};

/// The configuration of a [`Client`](super::Client).
#[derive(Clone)]
pub struct Config {
    pub(super) module: PathBuf,
    pub(super) token: TokenMatch,
    pub(super) pin: Option<SecretString>,
    pub(super) sessions: usize,
    pub(super) timeout: Duration,
    pub(super) refresh: Duration,
    pub(super) final_try: bool,
    pub(super) module_restart: bool,
}

impl Config {
    /// Configures the token that the module at this path reaches, without a PIN.
    #[must_use]
    pub fn new(module: impl AsRef<Path>, token: TokenMatch) -> Self {
        Self {
            module: module.as_ref().to_owned(),
            token,
            pin: None,
            sessions: 8,
            timeout: Duration::from_secs(10),
            refresh: Duration::from_secs(300),
            final_try: false,
            module_restart: false,
        }
    }

    /// Configures the token of a URI, with the PIN that its `pin-source` names.
    ///
    /// # Errors
    /// `Configuration` if there is no such PIN.
    pub fn from_uri(uri: &Uri) -> Result<Self> {
        Self::from_uri_in(uri, &ProcessEnvironment)
    }

    /// Configures the token of a URI, with variables of this environment.
    ///
    /// # Errors
    /// `Configuration` if there is no such PIN.
    pub fn from_uri_in(uri: &Uri, environment: &dyn Environment) -> Result<Self> {
        let config = Self::new(uri.module(), uri.token().clone())
            .with_final_try(uri.final_try())
            .with_module_restart(uri.module_restart());
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

    /// Sets how many connections (sessions of PKCS#11) work at once, 8 by default. More calls than that wait. The client keeps one
    /// more connection open.
    ///
    /// # Errors
    /// `Configuration` if `sessions` is 0.
    pub fn with_sessions(mut self, sessions: usize) -> Result<Self> {
        if sessions == 0 {
            return Err(Error::configuration(
                "a token needs at least one connection, got 0",
            ));
        }
        self.sessions = sessions;
        Ok(self)
    }

    /// Sets how long a call may take, including the time that it waits: 10 seconds by default. The client gives up a call that is in the module
    /// for longer.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets whether to try a PIN if one more wrong PIN locks the token (`CKF_USER_PIN_FINAL_TRY`). By default no PIN
    /// is tried then: a process that is restarted again and again with a wrong PIN must not lock the token.
    #[must_use]
    pub fn with_final_try(mut self, final_try: bool) -> Self {
        self.final_try = final_try;
        self
    }

    /// Sets whether the client may shut the module down and start it again (`C_Finalize`, `C_Initialize`) if new
    /// connections do not help. By default the client may not, and its error says that the process must be restarted. Allow a restart
    /// only if nothing else in the process uses the module: the process loses all connections.
    #[must_use]
    pub fn with_module_restart(mut self, module_restart: bool) -> Self {
        self.module_restart = module_restart;
        self
    }

    /// Sets how long the client uses the keys that it has found before it searches again: 5 minutes by default. A version that
    /// somebody else made wraps after the next search.
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
            .field("final_try", &self.final_try)
            .field("module_restart", &self.module_restart)
            .finish()
    }
}
