//! The connection to the service, and the one place where calls are made.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use google_cloud_kms_v1::client::KeyManagementService;
use reqwest::Url;
use reqwest::header::HeaderMap;

use super::PROVIDER;
use super::admin::GcpAdmin;
use super::config::{Auth, Config};
use super::credentials::credentials;
use super::key::GcpKey;
use super::map::{self, Call};
use super::transport::Transport;
use crate::backend::shared::door::Door;
use crate::backend::shared::for_all::ForAll;
use crate::backend::shared::http::{
    Http, Settings, Surroundings, Trust, address_of, parse_endpoint, warn_if_plain,
};
use crate::key::Request;
use crate::runtime::{Kept, Monotonic, ProcessEnvironment};
use crate::value::error::{Error, Result};

/// Where Google's own service is.
const ENDPOINT: &str = "https://cloudkms.googleapis.com";

/// Connects to the service as one account, with connections and a token that all its key managers share. Cloning is cheap.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    auth: Auth,
    endpoint: Option<String>,
    http: Kept<Http>,
    door: Door,
    // Made by the first call: that may ask the metadata server.
    service: Kept<ForAll<KeyManagementService>>,
}

impl Client {
    /// Makes a client of this account. Makes no call, and looks for no credentials yet.
    ///
    /// The client works from any thread, in a runtime or not, and outlives the runtime that it is made in: it does its I/O on the
    /// tokio runtime of this crate, or on the runtime that the configuration names.
    ///
    /// # Errors
    /// `Configuration` if the endpoint is invalid; `Unavailable` if the process cannot start another thread.
    #[allow(
        clippy::unused_async,
        reason = "the clients of all backends are made alike, and one has to wait"
    )]
    pub async fn connect(config: Config) -> Result<Self> {
        Self::build(config).map_err(|error| error.with_provider(PROVIDER))
    }

    /// Returns the crypto key `projects/P/locations/L/keyRings/R/cryptoKeys/K`, of purpose `ENCRYPT_DECRYPT`. Makes no call.
    ///
    /// # Errors
    /// `Configuration` if `name` is not the name of a key, or has a version.
    pub fn key(&self, name: &str) -> Result<GcpKey> {
        GcpKey::new(self, name)
    }

    /// Returns the administration of the keys of `projects/P/locations/L/keyRings/R`, which must exist, with this client's
    /// credentials. Makes no call.
    ///
    /// # Errors
    /// `Configuration` if `key_ring` is not the name of a key ring.
    pub fn admin(&self, key_ring: &str) -> Result<GcpAdmin> {
        GcpAdmin::new(self, key_ring)
    }

    fn build(config: Config) -> Result<Self> {
        if let Some(endpoint) = &config.endpoint {
            let what = config.endpoint_source.unwrap_or("the endpoint");
            warn_if_plain(&parse_endpoint(endpoint, what, false)?, PROVIDER);
        }
        let endpoint = config.endpoint.as_deref().unwrap_or(ENDPOINT);
        let peer = Url::parse(endpoint).ok().and_then(|url| address_of(&url));
        let peer = peer.unwrap_or_default();
        let surroundings = match config.surroundings {
            Some(read) => read,
            None => Surroundings::from_environment(&ProcessEnvironment)?,
        };
        let http = Http::new(Settings {
            trust: &Trust::system(&surroundings)?,
            proxy: surroundings.proxy.as_ref(),
            connect_timeout: None,
            read_timeout: None,
            https_only: false,
            headers: HeaderMap::new(),
            named: config
                .endpoint_source
                .filter(|_| config.endpoint.is_some())
                .map(|source| (peer.clone(), source))
                .into_iter()
                .collect(),
        })?;
        Ok(Self(Arc::new(Inner {
            auth: config.auth,
            endpoint: config.endpoint,
            http: Kept::new(http),
            door: Door::new(config.handle, config.timeout, peer)?,
            service: Kept::new(ForAll::new()),
        })))
    }

    /// Google's own service always answers with checksums, and never answers nobody.
    pub(super) fn demands_checksums(&self) -> bool {
        !matches!(self.0.auth, Auth::Anonymous)
    }

    /// Returns the time by which a call that begins now must end.
    pub(super) fn deadline(&self, request: Option<&Request<'_>>) -> Monotonic {
        self.0.door.deadline(request)
    }

    /// Makes one call, by `deadline`.
    pub(super) async fn call<T, F>(
        &self,
        call: Call,
        deadline: Monotonic,
        work: impl FnOnce(KeyManagementService) -> F + Send + 'static,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = google_cloud_gax::Result<T>> + Send + 'static,
    {
        let inner = Arc::clone(&self.0);
        let work = async move {
            let own = Arc::clone(&inner);
            let connect = async move { own.connect().await };
            let (door, service) = (&inner.door, inner.service.get()?);
            let service = service.get_or_make(door.place(), door.timeout(), connect).await?;
            let answer = work(service).await;
            answer.map_err(|error| map::error(error, call))
        };
        let answer = self.0.door.run_by(deadline, work).await;
        answer.map_err(|error| error.with_provider(PROVIDER))
    }
}

impl Inner {
    async fn connect(&self) -> Result<KeyManagementService> {
        let credentials = credentials(&self.auth)?;
        let endpoint = match &self.endpoint {
            Some(endpoint) => endpoint.clone(),
            // This may ask the metadata server.
            None => match credentials.universe_domain().await {
                Some(domain) => format!("https://cloudkms.{domain}"),
                None => ENDPOINT.to_owned(),
            },
        };
        let endpoint = Url::parse(&endpoint)
            .map_err(|_| Error::configuration("the universe domain of the credentials is not a host name"))?;
        Ok(KeyManagementService::from_stub(Transport {
            http: self.http.get()?.clone(),
            endpoint,
            credentials,
        }))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("endpoint", &self.0.endpoint)
            .field("auth", &self.0.auth)
            .field("timeout", &self.0.door.timeout())
            .finish_non_exhaustive()
    }
}
