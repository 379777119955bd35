//! Where the service is, and who asks.

use std::fmt;
use std::time::Duration;

use secrecy::SecretString;
use tokio::runtime::Handle;

use crate::backend::shared::http::Surroundings;
use crate::runtime::Environment;
use crate::value::error::Result;

/// How long one call of a key manager may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Who asks.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum Auth {
    /// Application Default Credentials: the file that `GOOGLE_APPLICATION_CREDENTIALS` names (a service account,
    /// or workload identity federation), else what `gcloud auth application-default login` left, else the service
    /// account of the machine or pod that this runs on (the metadata server).
    #[default]
    ApplicationDefault,
    /// An access token that was made elsewhere, for as long as it lives.
    AccessToken(SecretString),
    /// No account: for emulators. Google's own service refuses this. Answers without checksums, or without a report that the request's
    /// checksums were verified, are then accepted, because not every emulator has them.
    Anonymous,
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ApplicationDefault => "ApplicationDefault",
            Self::AccessToken(_) => "AccessToken(..)",
            Self::Anonymous => "Anonymous",
        })
    }
}

/// Where the service is, who asks, and how long to wait. By default Google's own service, with Application Default Credentials.
#[derive(Clone, Debug)]
#[must_use]
pub struct Config {
    pub(super) auth: Auth,
    pub(super) endpoint: Option<String>,
    /// The variable or option that the endpoint was taken from.
    pub(super) endpoint_source: Option<&'static str>,
    pub(super) surroundings: Option<Surroundings>,
    pub(super) timeout: Duration,
    pub(super) handle: Option<Handle>,
}

impl Config {
    /// Configures Google's own service, with Application Default Credentials.
    pub fn new() -> Self {
        Self {
            auth: Auth::default(),
            endpoint: None,
            endpoint_source: None,
            surroundings: None,
            timeout: TIMEOUT,
            handle: None,
        }
    }

    /// Asks as this account.
    pub fn with_auth(mut self, auth: Auth) -> Self {
        self.auth = auth;
        self
    }

    /// Uses the service at this address (`https://HOST` or `http://HOST:PORT`): a regional or private endpoint, or an emulator.
    pub fn with_endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoint = Some(endpoint.into());
        self.endpoint_source = Some("with_endpoint");
        self
    }

    /// Names the option that the endpoint was taken from, for errors.
    pub(in crate::backend) fn with_endpoint_source(mut self, source: &'static str) -> Self {
        self.endpoint_source = Some(source);
        self
    }

    /// Takes what is said about connections from this environment instead of the process's: `HTTPS_PROXY`, `NO_PROXY`,
    /// `SSL_CERT_FILE` and `SSL_CERT_DIR`.
    pub(in crate::backend) fn in_environment(mut self, environment: &dyn Environment) -> Result<Self> {
        self.surroundings = Some(Surroundings::from_environment(environment)?);
        Ok(self)
    }

    /// Limits how long one call of a key manager may take, from end to end and with a request for a token: 10 s by default. An
    /// earlier deadline of the request applies.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Does the client's I/O on this tokio runtime, which needs time and I/O enabled, instead of the runtime that this crate keeps
    /// for all its network backends.
    pub fn with_handle(mut self, handle: Handle) -> Self {
        self.handle = Some(handle);
        self
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::new()
    }
}
