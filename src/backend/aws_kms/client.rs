//! One region of one account.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::imds::region::ImdsRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::region::ProfileFileRegionProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_kms::config::Credentials;
use aws_sdk_kms::config::http::HttpResponse;
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_types::service_config::ServiceConfigKey;
use secrecy::ExposeSecret;

use super::admin::AwsAdmin;
use super::config::{Config, connections};
use super::credentials::ForAllCalls;
use super::http::Connections;
use super::key::AwsKey;
use super::map;
use crate::backend::shared::door::Door;
use crate::backend::shared::http::{Trust, address_of, parse_endpoint, warn_if_plain};
use crate::runtime::{Kept, Monotonic, ProcessEnvironment, Runtime};
use crate::value::error::{Error, Result};

/// Connects to one region, with credentials, connections and timeouts that all its key managers share. Cloning is cheap.
#[derive(Clone)]
pub struct Client(Arc<Inner>, Option<Monotonic>);

struct Inner {
    kms: Kept<aws_sdk_kms::Client>,
    region: String,
    endpoint: Option<String>,
    refresh: Duration,
    clock: Arc<dyn Runtime>,
    door: Door,
}

impl Client {
    /// Makes a client. Reads from the usual places what the configuration does not set. The client gets credentials and calls KMS only
    /// when a key is used.
    ///
    /// The client works from any thread, in a runtime or not, and outlives the runtime that it is made in: it does its I/O on the
    /// tokio runtime of this crate, or on the runtime that the configuration names.
    ///
    /// # Errors
    /// `Configuration` if no region is found, or a setting is invalid; `TimedOut` if the usual places do not answer; `Unavailable` if the
    /// process cannot start another thread.
    pub async fn connect(config: Config) -> Result<Self> {
        Self::build(config)
            .await
            .map_err(|error| error.with_provider(super::PROVIDER))
    }

    async fn build(config: Config) -> Result<Self> {
        config.check()?;
        let (surroundings, bundle) = match config.surroundings {
            Some(read) => read,
            None => connections(&ProcessEnvironment)?,
        };
        let trust = match &bundle {
            Some(bundle) => Trust::only(bundle)?,
            None => Trust::system(&surroundings)?,
        };
        let proxy = surroundings.proxy;
        let usual = "the places of AWS's configuration".to_owned();
        let door = Door::new(config.handle, config.operation_timeout, usual)?;
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(config.connect_timeout)
            .read_timeout(config.read_timeout)
            .operation_timeout(config.operation_timeout)
            .build();
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts)
            .http_client(Connections::new(trust.clone(), proxy.clone(), Vec::new()));
        if let Some(region) = &config.region {
            loader = loader.region(Region::new(region.clone()));
        } else if let Some(fallback) = &config.fallback_region {
            // The SDK's own chain, but by the connections of this crate: the SDK's follow other proxies and trust other CAs.
            let ours = Connections::new(trust.clone(), proxy.clone(), Vec::new());
            let ours = ProviderConfig::default().with_http_client(ours);
            let mut profile = ProfileFileRegionProvider::builder();
            if let Some(name) = &config.profile {
                profile = profile.profile_name(name);
            }
            let machine = ImdsRegionProvider::builder().configure(&ours).build();
            let usual = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
                .or_else(profile.build())
                .or_else(machine);
            loader = loader.region(usual.or_else(Region::new(fallback.clone())));
        }
        if let Some(profile) = &config.profile {
            loader = loader.profile_name(profile);
        }
        if let Some(given) = &config.credentials {
            loader = loader.credentials_provider(Credentials::new(
                given.access_key.clone(),
                given.secret.expose_secret(),
                given
                    .session_token
                    .as_ref()
                    .map(|token| token.expose_secret().to_owned()),
                None,
                "waxseal",
            ));
        }
        let loaded = door
            .run_by(door.deadline(None), async move { Ok(loader.load().await) })
            .await?;
        let region = loaded
            .region()
            .map(ToString::to_string)
            .ok_or_else(|| Error::configuration("no region: set it, or AWS_REGION"))?;
        let (endpoint, source) = match config.endpoint {
            Some(url) => (Some(url), config.endpoint_source.unwrap_or("the endpoint")),
            None => (configured_endpoint(&loaded), CONFIGURED),
        };
        let endpoint = match endpoint {
            Some(text) => Some((parse_endpoint(&text, source, true)?, text)),
            None => None,
        };
        let address = endpoint.as_ref().and_then(|(url, _)| address_of(url));
        if let Some((url, _)) = &endpoint {
            warn_if_plain(url, super::PROVIDER);
        }
        let named = match &address {
            Some(address) => vec![(address.clone(), source)],
            None => hosts(
                &region,
                config.region_source.unwrap_or("AWS_REGION or the profile"),
            ),
        };
        let peer = address.unwrap_or_else(|| format!("AWS KMS in {region}"));
        let mut kms =
            aws_sdk_kms::config::Builder::from(&loaded).http_client(Connections::new(trust, proxy, named));
        if let Some(provider) = loaded.credentials_provider() {
            let own = ForAllCalls::new(provider, door.place().clone(), door.timeout());
            kms = kms.credentials_provider(SharedCredentialsProvider::new(own));
        }
        // For KMS alone, not for the services that return credentials.
        let endpoint = endpoint.map(|(_, text)| text);
        if let Some(endpoint) = &endpoint {
            kms = kms.endpoint_url(endpoint);
        }
        let inner = Inner {
            kms: Kept::new(aws_sdk_kms::Client::from_conf(kms.build())),
            region,
            endpoint,
            refresh: config.refresh,
            clock: config.clock,
            door: door.to(peer),
        };
        Ok(Self(Arc::new(inner), None))
    }

    /// Returns the same client for several calls with one deadline, which is long enough for as many calls one after the other.
    pub(super) fn for_several(&self, calls: u32) -> Self {
        let door = &self.0.door;
        let until = door.now() + door.timeout().saturating_mul(calls);
        Self(Arc::clone(&self.0), Some(until))
    }

    /// Returns the KEK of this key id, key ARN, alias (`alias/NAME`) or alias ARN. Makes no call.
    ///
    /// # Errors
    /// `Configuration` if `key` is none of these, or names a key of another region that is not a multi-region key.
    pub fn key(&self, key: &str) -> Result<AwsKey> {
        AwsKey::new(self.clone(), key)
    }

    /// Returns the administration of KEKs, with this client's credentials.
    #[must_use]
    pub fn admin(&self) -> AwsAdmin {
        AwsAdmin::new(self.clone())
    }

    /// Returns the region.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.0.region
    }

    /// Names the place of the keys: the region, and the endpoint if one was configured.
    pub(super) fn place(&self) -> String {
        let endpoint = self.0.endpoint.as_deref().unwrap_or("aws");
        format!("{} at {endpoint}", self.0.region)
    }

    /// Returns whether another endpoint than the region's was configured.
    pub(super) fn has_endpoint(&self) -> bool {
        self.0.endpoint.is_some()
    }

    pub(super) fn kms(&self) -> Result<&aws_sdk_kms::Client> {
        self.0.kms.get()
    }

    pub(super) fn now(&self) -> Monotonic {
        self.0.clock.now()
    }

    pub(super) fn refresh(&self) -> Duration {
        self.0.refresh
    }

    /// Returns the answer to one call, by the deadline and the operation timeout.
    pub(super) async fn call<T, E>(
        &self,
        deadline: Option<Monotonic>,
        call: impl Future<Output = Result<T, SdkError<E, HttpResponse>>> + Send + 'static,
    ) -> Result<T>
    where
        T: Send + 'static,
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        self.call_mapped(deadline, call, map::error).await
    }

    /// Returns the answer to one call. `map` makes the error of a failure.
    pub(super) async fn call_mapped<T, E>(
        &self,
        deadline: Option<Monotonic>,
        call: impl Future<Output = Result<T, SdkError<E, HttpResponse>>> + Send + 'static,
        map: impl FnOnce(SdkError<E, HttpResponse>) -> Error + Send + 'static,
    ) -> Result<T>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        let work = async move { call.await.map_err(map) };
        let deadline = self.0.door.deadline_by(deadline.or(self.1));
        self.0.door.run_by(deadline, work).await
    }
}

/// Where the SDK finds an endpoint that neither the configuration nor the URI names.
const CONFIGURED: &str = "AWS_ENDPOINT_URL_KMS, AWS_ENDPOINT_URL or the profile's endpoint_url";

/// Returns the endpoint that the SDK finds in its variables and files.
fn configured_endpoint(loaded: &SdkConfig) -> Option<String> {
    let key = ServiceConfigKey::builder()
        .service_id("KMS")
        .env("AWS_ENDPOINT_URL")
        .profile("endpoint_url")
        .build()
        .ok()?;
    let of_kms = loaded
        .service_config()
        .and_then(|service| service.load_config(key));
    of_kms.or_else(|| loaded.endpoint_url().map(str::to_owned))
}

/// Returns the addresses of AWS KMS in a region.
fn hosts(region: &str, source: &'static str) -> Vec<(String, &'static str)> {
    ["kms", "kms-fips"]
        .iter()
        .flat_map(|service| {
            ["amazonaws.com", "amazonaws.com.cn", "api.aws"]
                .map(|domain| (format!("{service}.{region}.{domain}:443"), source))
        })
        .collect()
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("region", &self.0.region)
            .field("endpoint", &self.0.endpoint)
            .finish_non_exhaustive()
    }
}
