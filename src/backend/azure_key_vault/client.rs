//! The connection to one vault, and the one place where calls are made.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use azure_core::http::Url;
use azure_security_keyvault_keys::{KeyClient, KeyClientOptions};

use super::admin::AzureAdmin;
use super::config::Config;
use super::credentials::{Guard, options};
use super::key::AzureKey;
use super::map::{self, Call};
use super::transport::{Peer, Ways};
use super::{PROVIDER, names};
use crate::backend::shared::door::Door;
use crate::backend::shared::http::address_of;
use crate::key::Request;
use crate::runtime::{Kept, Monotonic, Runtime};
use crate::value::error::{Error, Result};

/// Connects to one vault or managed HSM, with connections and a token that all its key managers share. Cloning is cheap.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    vault: Url,
    guard: Kept<Arc<Guard>>,
    sdk: Kept<Arc<KeyClient>>,
    refresh: Duration,
    door: Door,
}

impl Client {
    /// Makes a client of this vault. Makes no call, and reads the files that the configuration names.
    ///
    /// The client works from any thread, in a runtime or not, and outlives the runtime that it is made in: it does its I/O on the
    /// tokio runtime of this crate, or on the runtime that the configuration names.
    ///
    /// # Errors
    /// `Configuration` if the address, CA, proxy or credential is invalid; `Unavailable` if the process cannot start another thread.
    #[allow(
        clippy::unused_async,
        reason = "the clients of all backends are made alike, and one has to wait"
    )]
    pub async fn connect(config: Config) -> Result<Self> {
        Self::build(config).map_err(|error| error.with_provider(PROVIDER))
    }

    /// Returns the key `NAME` or `NAME/VERSION` of the vault, with RSA-OAEP-256; see [`AzureKey::with_algorithm`] for a symmetric key.
    /// Makes no call.
    ///
    /// If a version is named, only this version wraps; every version unwraps what it has wrapped. If no version is named, the vault is
    /// asked for the current version at the first wrap, and then every [`Config::with_refresh`].
    ///
    /// # Errors
    /// `Configuration` if the name or version is invalid.
    pub fn key(&self, name: &str) -> Result<AzureKey> {
        AzureKey::new(self, name)
    }

    /// Returns the administration of the vault's RSA keys, with this client's credentials; see [`AzureAdmin::with_algorithm`] for
    /// symmetric keys.
    #[must_use]
    pub fn admin(&self) -> AzureAdmin {
        AzureAdmin::new(self)
    }

    fn build(config: Config) -> Result<Self> {
        let vault = names::parse_vault(&config.vault)?;
        let host = vault.host_str().unwrap_or_default();
        let door = Door::new(
            config.handle.clone(),
            config.timeout,
            address_of(&vault).unwrap_or_default(),
        )?;
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
        let ways = Ways::new(&config)?;
        let sdk = KeyClientOptions {
            client_options: options(&config, &ways, Peer::Vault)?,
            // The guard checks it, and its error is more exact.
            verify_challenge_resource: Some(false),
            api_version: config
                .api_version
                .clone()
                .unwrap_or_else(|| KeyClientOptions::default().api_version),
        };
        let refresh = config.refresh;
        let guard = Arc::new(Guard::new(config, ways, &vault, door.place().clone())?);
        let sdk = KeyClient::new(vault.as_str(), guard.clone(), Some(sdk))
            .map_err(|_| Error::configuration("the address of the vault is refused"))?;
        Ok(Self(Arc::new(Inner {
            vault,
            guard: Kept::new(guard),
            sdk: Kept::new(Arc::new(sdk)),
            refresh,
            door,
        })))
    }

    pub(super) fn vault(&self) -> &Url {
        &self.0.vault
    }

    pub(super) fn now(&self) -> Monotonic {
        self.0.door.now()
    }

    /// Now, by the calendar.
    pub(super) fn wall_clock(&self) -> SystemTime {
        self.0.door.place().wall_clock()
    }

    pub(super) fn refresh(&self) -> Duration {
        self.0.refresh
    }

    /// Returns the time by which a call that begins now must end.
    pub(super) fn deadline(&self, request: Option<&Request<'_>>) -> Monotonic {
        self.0.door.deadline(request)
    }

    /// One call by `deadline`. Where the vault refuses the token
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
        let inner = Arc::clone(&self.0);
        let work = async move {
            let (guard, sdk) = (inner.guard.get()?, inner.sdk.get()?);
            let generation = guard.generation();
            match work(Arc::clone(sdk)).await {
                Err(error) if map::is_token_refused(&error) => {
                    guard.renew(generation)?;
                    work(Arc::clone(sdk)).await
                }
                answer => answer,
            }
            .map_err(|error| map::error(&error, call))
        };
        let answer = self.0.door.run_by(deadline, work).await;
        answer.map_err(|error| error.with_provider(PROVIDER))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("vault", &self.0.vault.as_str())
            .field("guard", &self.0.guard.get().ok())
            .field("timeout", &self.0.door.timeout())
            .finish_non_exhaustive()
    }
}
