//! What a client is made from.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use tokio::runtime::Handle;

use crate::backend::shared::http::{Ca, Surroundings, parse_endpoint};
use crate::runtime::{Environment, Runtime, ThreadRuntime, set_var};
use crate::value::error::{Error, Result};

/// The longest timeout that can be set.
const LONGEST: Duration = Duration::from_secs(300);

/// Region, endpoint, credentials and timeouts of a [`Client`](super::Client).
///
/// What is not set here comes from the usual places: `AWS_*` variables, the shared configuration files, and the services that
/// return the roles of containers and instances.
#[derive(Clone)]
pub struct Config {
    pub(super) surroundings: Option<(Surroundings, Option<Ca>)>,
    pub(super) region: Option<String>,
    pub(super) fallback_region: Option<String>,
    pub(super) region_source: Option<&'static str>,
    pub(super) endpoint: Option<String>,
    pub(super) endpoint_source: Option<&'static str>,
    pub(super) profile: Option<String>,
    pub(super) credentials: Option<StaticCredentials>,
    pub(super) connect_timeout: Duration,
    pub(super) read_timeout: Duration,
    pub(super) operation_timeout: Duration,
    pub(super) refresh: Duration,
    pub(super) clock: Arc<dyn Runtime>,
    pub(super) handle: Option<Handle>,
}

#[derive(Clone)]
pub(super) struct StaticCredentials {
    pub(super) access_key: String,
    pub(super) secret: SecretString,
    pub(super) session_token: Option<SecretString>,
}

impl Config {
    /// Takes everything from the usual places. Connecting may take 2 s, the first byte of an answer 5 s, and a call 10 s; aliases are
    /// resolved every 5 minutes.
    #[must_use]
    pub fn new() -> Self {
        Self {
            surroundings: None,
            region: None,
            fallback_region: None,
            region_source: None,
            endpoint: None,
            endpoint_source: None,
            profile: None,
            credentials: None,
            connect_timeout: Duration::from_secs(2),
            read_timeout: Duration::from_secs(5),
            operation_timeout: Duration::from_secs(10),
            refresh: Duration::from_secs(300),
            clock: Arc::new(ThreadRuntime),
            handle: None,
        }
    }

    /// Sets the region, such as `eu-central-1`.
    #[must_use]
    pub fn with_region(mut self, region: impl Into<String>) -> Self {
        self.region = Some(region.into());
        self.region_source = Some("with_region");
        self
    }

    /// Sets the region that is used if none is set and the usual places name none.
    pub(crate) fn with_fallback_region(mut self, region: impl Into<String>) -> Self {
        self.fallback_region = Some(region.into());
        self
    }

    /// Sets another endpoint than the region's: a VPC endpoint, a FIPS endpoint or an emulator, as an `http` or `https` URL.
    #[must_use]
    pub fn with_endpoint(mut self, url: impl Into<String>) -> Self {
        self.endpoint = Some(url.into());
        self.endpoint_source = Some("with_endpoint");
        self
    }

    /// Takes what is said about connections from this environment instead of the process's: `HTTPS_PROXY`, `NO_PROXY`,
    /// `SSL_CERT_FILE`, `SSL_CERT_DIR` and `AWS_CA_BUNDLE`.
    pub(in crate::backend) fn in_environment(mut self, environment: &dyn Environment) -> Result<Self> {
        self.surroundings = Some(connections(environment)?);
        Ok(self)
    }

    /// Names the options that region and endpoint were taken from, for errors.
    pub(in crate::backend) fn with_sources(mut self, region: &'static str, endpoint: &'static str) -> Self {
        self.region_source = self.region_source.and(Some(region));
        self.endpoint_source = self.endpoint_source.and(Some(endpoint));
        self
    }

    /// Uses this profile of the shared configuration files, instead of the profile that `AWS_PROFILE` names.
    #[must_use]
    pub fn with_profile(mut self, name: impl Into<String>) -> Self {
        self.profile = Some(name.into());
        self
    }

    /// Uses these credentials and no others: for tests, and for programs that get their credentials in another way.
    #[must_use]
    pub fn with_credentials(
        mut self,
        access_key: impl Into<String>,
        secret: SecretString,
        session_token: Option<SecretString>,
    ) -> Self {
        self.credentials = Some(StaticCredentials {
            access_key: access_key.into(),
            secret,
            session_token,
        });
        self
    }

    /// Limits how long connecting may take.
    #[must_use]
    pub fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Limits how long the first byte of an answer may take after the request was sent.
    #[must_use]
    pub fn with_read_timeout(mut self, timeout: Duration) -> Self {
        self.read_timeout = timeout;
        self
    }

    /// Limits how long one call may take, from end to end and with a request for credentials. An earlier deadline of the request
    /// applies.
    #[must_use]
    pub fn with_operation_timeout(mut self, timeout: Duration) -> Self {
        self.operation_timeout = timeout;
        self
    }

    /// Sets how often an alias is resolved again.
    #[must_use]
    pub fn with_refresh(mut self, every: Duration) -> Self {
        self.refresh = every;
        self
    }

    /// Sets the clock for [`with_refresh`](Self::with_refresh), for tests that move it.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Runtime>) -> Self {
        self.clock = clock;
        self
    }

    /// Does the client's I/O on this tokio runtime, which needs time and I/O enabled, instead of the runtime that this crate keeps
    /// for all its network backends.
    #[must_use]
    pub fn with_handle(mut self, handle: Handle) -> Self {
        self.handle = Some(handle);
        self
    }

    pub(super) fn check(&self) -> Result<()> {
        for (name, timeout) in [
            ("connect", self.connect_timeout),
            ("read", self.read_timeout),
            ("operation", self.operation_timeout),
        ] {
            if timeout.is_zero() || timeout > LONGEST {
                return Err(Error::configuration(format!(
                    "the {name} timeout is more than nothing and at most {} s",
                    LONGEST.as_secs()
                )));
            }
        }
        if let Some(url) = &self.endpoint {
            parse_endpoint(url, self.endpoint_source.unwrap_or("the endpoint"), true)?;
        }
        Ok(())
    }
}

/// What an environment says about connections, and the CA of `AWS_CA_BUNDLE`.
pub(super) fn connections(environment: &dyn Environment) -> Result<(Surroundings, Option<Ca>)> {
    let bundle = set_var(environment, "AWS_CA_BUNDLE")?;
    let bundle = bundle.map(|file| Ca::File(file.expose_secret().into(), "AWS_CA_BUNDLE"));
    Ok((Surroundings::from_environment(environment)?, bundle))
}

impl Default for Config {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Less what may be a password, which is refused only later.
        let endpoint = self.endpoint.as_deref().and_then(|url| Url::parse(url).ok());
        let endpoint = endpoint.map(|url| url.origin().ascii_serialization());
        f.debug_struct("Config")
            .field("region", &self.region)
            .field("endpoint", &endpoint)
            .field("profile", &self.profile)
            .field("credentials", &self.credentials.as_ref().map(|_| ".."))
            .field("connect_timeout", &self.connect_timeout)
            .field("read_timeout", &self.read_timeout)
            .field("operation_timeout", &self.operation_timeout)
            .field("refresh", &self.refresh)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::error::ErrorKind;

    #[test]
    fn debug_shows_no_credentials() {
        let config = Config::new().with_region("eu-west-1").with_credentials(
            "CANARY-id",
            "CANARY".into(),
            Some("CANARY".into()),
        );
        let shown = format!("{config:?}");
        assert!(
            shown.contains("eu-west-1") && !shown.contains("CANARY"),
            "{shown}"
        );
        let shown = format!(
            "{:?}",
            Config::new().with_endpoint("https://user:CANARY@kms.example.com/CANARY")
        );
        assert!(
            shown.contains("https://kms.example.com") && !shown.contains("CANARY"),
            "{shown}"
        );
    }

    #[test]
    fn timeouts_are_bounded_and_the_endpoint_is_a_url() {
        let none = Duration::ZERO;
        let long = LONGEST + Duration::from_millis(1);
        for bad in [
            Config::new().with_connect_timeout(none),
            Config::new().with_read_timeout(long),
            Config::new().with_operation_timeout(none),
            Config::new().with_endpoint("kms.example.com"),
            Config::new().with_endpoint("https://"),
            Config::new().with_endpoint("https://user:CANARY@kms.example.com"),
            Config::new().with_endpoint("https://CANARY@kms.example.com/path"),
        ] {
            let error = bad.check().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration, "{bad:?}");
            assert!(!format!("{error} {error:?}").contains("CANARY"), "{error}");
        }
        let good = Config::new().with_operation_timeout(LONGEST);
        for url in [
            "http://127.0.0.1:1",
            "https://vpce-1.kms.eu-west-1.vpce.amazonaws.com/a@b",
        ] {
            assert!(good.clone().with_endpoint(url).check().is_ok(), "{url}");
        }
    }
}
