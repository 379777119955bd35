//! The connection to one vault, and the one place where calls are made.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use azure_core::http::Url;
use azure_security_keyvault_keys::{KeyClient, KeyClientOptions};
use tokio::runtime::Handle;

use super::config::Config;
use super::credentials::{Guard, options};
use super::map::{self, Call};
use super::transport::Peer;
use super::{PROVIDER, names};
use crate::error::{Error, ErrorKind, Result};
use crate::key_manager::Request;
use crate::runtime::{Monotonic, Runtime, TokioRuntime, with_timeout};

/// A vault or managed HSM, with connections and a token that all its key managers share. Cheap to clone.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    vault: Url,
    guard: Arc<Guard>,
    sdk: Arc<KeyClient>,
    timeout: Duration,
    refresh: Duration,
    runtime: TokioRuntime,
    handle: Handle,
}

impl Client {
    /// A client of this vault. Makes no call; reads the files that the configuration names.
    ///
    /// It does its I/O on the tokio runtime that it is made in or that the configuration names, whoever calls it later
    /// from wherever.
    ///
    /// # Errors
    /// `Configuration` outside a tokio runtime, and for an address, CA, proxy or credential that is none.
    pub fn new(config: Config) -> Result<Self> {
        Self::build(config).map_err(|error| error.with_provider(PROVIDER))
    }

    fn build(config: Config) -> Result<Self> {
        let vault = names::parse_vault(&config.vault)?;
        let host = vault.host_str().unwrap_or_default();
        let handle = match &config.handle {
            Some(handle) => handle.clone(),
            None => Handle::try_current().map_err(|_| {
                Error::configuration(
                    "make the client inside a tokio runtime, or give it one by `with_handle`",
                )
            })?,
        };
        if !config.verify_challenge {
            if names::is_azure(host) {
                tracing::warn!(
                    provider = PROVIDER,
                    vault = host,
                    "the vault is one of Azure's own: what it asks a token for is checked all the same"
                );
            } else {
                tracing::warn!(
                    provider = PROVIDER,
                    vault = host,
                    "what the vault asks a token for is not checked against its address"
                );
            }
        }
        let sdk = KeyClientOptions {
            client_options: options(&config, Peer::Vault)?,
            // The guard checks it, with an error of its own.
            verify_challenge_resource: Some(false),
            api_version: config
                .api_version
                .clone()
                .unwrap_or_else(|| KeyClientOptions::default().api_version),
        };
        let (timeout, refresh) = (config.timeout, config.refresh);
        let runtime = TokioRuntime::new(handle.clone());
        let guard = Arc::new(Guard::new(config, &vault, runtime.clone())?);
        let sdk = KeyClient::new(vault.as_str(), guard.clone(), Some(sdk))
            .map_err(|_| Error::configuration("the address of the vault is refused"))?;
        Ok(Self(Arc::new(Inner {
            vault,
            guard,
            sdk: Arc::new(sdk),
            timeout,
            refresh,
            runtime,
            handle,
        })))
    }

    pub(super) fn vault(&self) -> &Url {
        &self.0.vault
    }

    pub(super) fn now(&self) -> Monotonic {
        self.0.runtime.now()
    }

    /// Now, by the calendar.
    pub(super) fn wall_clock(&self) -> SystemTime {
        self.0.runtime.wall_clock()
    }

    pub(super) fn refresh(&self) -> Duration {
        self.0.refresh
    }

    /// Until when a call that begins now must be over.
    pub(super) fn deadline(&self, request: Option<&Request<'_>>) -> Monotonic {
        let own = self.0.runtime.now() + self.0.timeout;
        match request.and_then(Request::deadline) {
            Some(deadline) => deadline.min(own),
            None => own,
        }
    }

    /// One call by `deadline`, on the client's own runtime: the caller may have none. Where the vault refuses the token
    /// it is asked for again, once.
    pub(super) async fn call<T, F>(
        &self,
        call: Call,
        deadline: Monotonic,
        work: impl Fn(Arc<KeyClient>) -> F + Send + Sync + 'static,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = azure_core::Result<T>> + Send + 'static,
    {
        let left = deadline.0.saturating_sub(self.0.runtime.now().0);
        if left.is_zero() {
            return Err(map::timed_out());
        }
        let inner = Arc::clone(&self.0);
        let mut task = AbortOnDrop(self.0.handle.spawn(async move {
            let answer = async {
                let generation = inner.guard.generation();
                match work(Arc::clone(&inner.sdk)).await {
                    Err(error) if map::is_token_refused(&error) => {
                        inner.guard.renew(generation)?;
                        work(Arc::clone(&inner.sdk)).await
                    }
                    answer => answer,
                }
                .map_err(|error| map::error(&error, call))
            };
            with_timeout(&inner.runtime, Some(left), answer)
                .await
                .map_err(|error| error.with_provider(PROVIDER))
        }));
        (&mut task.0).await.map_err(|_| {
            Error::new(ErrorKind::Unavailable)
                .with_provider(PROVIDER)
                .with_detail("the tokio runtime lost a request")
        })?
    }
}

struct AbortOnDrop<T>(tokio::task::JoinHandle<Result<T>>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("vault", &self.0.vault.as_str())
            .field("guard", &self.0.guard)
            .field("timeout", &self.0.timeout)
            .finish_non_exhaustive()
    }
}
