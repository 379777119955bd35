//! Where the vault is, who asks, and whom to trust.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::runtime::Handle;

use super::PROVIDER;
use crate::backend::shared::http::{Ca, Surroundings};
use crate::runtime::{Environment, ProcessEnvironment, required_var, set_var};
use crate::value::error::{Error, Result};

/// How long a connection may take to come up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long one call of a key manager may take, getting a token before it included.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long the current version of a key is taken for the current one.
const REFRESH: Duration = Duration::from_secs(300);

/// Who asks.
#[derive(Clone)]
#[non_exhaustive]
pub enum Auth {
    /// Workload identity: the token that Kubernetes projects into a file is shown to Entra ID. The file is read again
    /// every 10 minutes, and after a token of Entra ID was refused.
    WorkloadIdentity {
        /// The tenant's id.
        tenant_id: String,
        /// The client id of the application or managed identity.
        client_id: String,
        /// Where the projected token is.
        token_file: PathBuf,
    },
    /// Managed identity: what App Service, Functions or Container Apps offer by `IDENTITY_ENDPOINT` and `IDENTITY_HEADER`
    /// (read by Microsoft's client, from the process environment), else the metadata service of the machine.
    ManagedIdentity {
        /// The client id of a user-assigned identity; `None` for the system-assigned identity.
        client_id: Option<String>,
    },
    /// The secret of an application.
    ClientSecret {
        /// The tenant's id.
        tenant_id: String,
        /// The application's client id.
        client_id: String,
        /// The secret.
        secret: SecretString,
    },
    /// The account that is logged in to the Azure CLI (`az login`), else to the Azure Developer CLI. The client runs these programs.
    DeveloperTools,
    /// The first of these credentials that returns a token. The client stays with it.
    FirstOf(Vec<Auth>),
}

impl Auth {
    /// Chooses by the environment, in the order of Microsoft's other clients: a client secret if `AZURE_CLIENT_SECRET` is set, workload
    /// identity if `AZURE_FEDERATED_TOKEN_FILE` is set, managed identity if `IDENTITY_ENDPOINT` is set; else the machine's managed
    /// identity, then developer tools.
    ///
    /// # Errors
    /// `Configuration` if another variable that the choice needs is not set.
    pub fn from_environment(environment: &dyn Environment) -> Result<Self> {
        if set_var(environment, "AZURE_CLIENT_SECRET")?.is_some() {
            return Self::client_secret(environment);
        }
        if set_var(environment, "AZURE_FEDERATED_TOKEN_FILE")?.is_some() {
            return Self::workload_identity(environment);
        }
        let managed = Self::managed_identity(environment)?;
        if set_var(environment, "IDENTITY_ENDPOINT")?.is_some() {
            return Ok(managed);
        }
        Ok(Self::FirstOf(vec![managed, Self::DeveloperTools]))
    }

    /// Reads a workload identity from `AZURE_TENANT_ID`, `AZURE_CLIENT_ID` and `AZURE_FEDERATED_TOKEN_FILE`.
    ///
    /// # Errors
    /// `Configuration` if one of these variables is not set.
    pub fn workload_identity(environment: &dyn Environment) -> Result<Self> {
        Ok(Self::WorkloadIdentity {
            tenant_id: required(environment, "AZURE_TENANT_ID", "the id of the tenant")?,
            client_id: required(environment, "AZURE_CLIENT_ID", "the client id of the identity")?,
            token_file: required(
                environment,
                "AZURE_FEDERATED_TOKEN_FILE",
                "the path of the projected token",
            )?
            .into(),
        })
    }

    /// Reads a managed identity: the user-assigned identity of `AZURE_CLIENT_ID`, or the system's identity if the variable is not set.
    ///
    /// # Errors
    /// `Configuration` if the variable is not UTF-8.
    pub fn managed_identity(environment: &dyn Environment) -> Result<Self> {
        let client_id = set_var(environment, "AZURE_CLIENT_ID")?;
        Ok(Self::ManagedIdentity {
            client_id: client_id.map(|id| id.expose_secret().to_owned()),
        })
    }

    /// Reads a client secret from `AZURE_TENANT_ID`, `AZURE_CLIENT_ID` and `AZURE_CLIENT_SECRET`.
    ///
    /// # Errors
    /// `Configuration` if one of these variables is not set.
    pub fn client_secret(environment: &dyn Environment) -> Result<Self> {
        Ok(Self::ClientSecret {
            tenant_id: required(environment, "AZURE_TENANT_ID", "the id of the tenant")?,
            client_id: required(environment, "AZURE_CLIENT_ID", "the client id of the application")?,
            secret: required(
                environment,
                "AZURE_CLIENT_SECRET",
                "the secret of the application",
            )?
            .into(),
        })
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WorkloadIdentity {
                tenant_id,
                client_id,
                token_file,
            } => f
                .debug_struct("WorkloadIdentity")
                .field("tenant_id", tenant_id)
                .field("client_id", client_id)
                .field("token_file", token_file)
                .finish(),
            Self::ManagedIdentity { client_id } => f
                .debug_struct("ManagedIdentity")
                .field("client_id", client_id)
                .finish(),
            Self::ClientSecret {
                tenant_id, client_id, ..
            } => f
                .debug_struct("ClientSecret")
                .field("tenant_id", tenant_id)
                .field("client_id", client_id)
                .finish_non_exhaustive(),
            Self::DeveloperTools => f.write_str("DeveloperTools"),
            Self::FirstOf(all) => f.debug_tuple("FirstOf").field(all).finish(),
        }
    }
}

/// Where the vault is, who asks, whom to trust, and how long to wait.
#[derive(Clone, Debug)]
#[must_use]
pub struct Config {
    pub(super) vault: String,
    pub(super) auth: Auth,
    pub(super) authority: Option<String>,
    pub(super) ca: Option<Ca>,
    pub(super) verify_challenge: bool,
    pub(super) api_version: Option<String>,
    pub(super) proxy: Option<(SecretString, String)>,
    pub(super) surroundings: Option<Surroundings>,
    /// The variable or option that the address was taken from.
    pub(super) vault_source: Option<&'static str>,
    pub(super) connect_timeout: Duration,
    pub(super) timeout: Duration,
    pub(super) refresh: Duration,
    pub(super) handle: Option<Handle>,
}

impl Config {
    /// Configures a vault or managed HSM at this address (`https://NAME.vault.azure.net`), and who asks.
    pub fn new(vault: impl Into<String>, auth: Auth) -> Self {
        Self {
            vault: vault.into(),
            auth,
            authority: None,
            ca: None,
            verify_challenge: true,
            api_version: None,
            proxy: None,
            surroundings: None,
            vault_source: None,
            connect_timeout: CONNECT_TIMEOUT,
            timeout: TIMEOUT,
            refresh: REFRESH,
            handle: None,
        }
    }

    /// Configures a vault from the process environment: who asks by [`Auth::from_environment`], and the variables of
    /// [`from_environment`](Self::from_environment).
    ///
    /// # Errors
    /// `Configuration` if a variable is missing or is not UTF-8.
    pub fn from_env(vault: impl Into<String>) -> Result<Self> {
        let auth = Auth::from_environment(&ProcessEnvironment).map_err(named)?;
        Self::from_environment(vault, auth, &ProcessEnvironment)
    }

    /// Configures a vault from this environment: `AZURE_AUTHORITY_HOST` (the address of Entra ID), `SSL_CERT_FILE` (the certificates
    /// to trust) and `HTTPS_PROXY` with `NO_PROXY`, each if it is set.
    ///
    /// # Errors
    /// `Configuration` if one of these variables is not UTF-8.
    pub fn from_environment(
        vault: impl Into<String>,
        auth: Auth,
        environment: &dyn Environment,
    ) -> Result<Self> {
        let read = |name: &str| set_var(environment, name).map_err(named);
        let mut config = Self::new(vault, auth);
        if let Some(host) = read("AZURE_AUTHORITY_HOST")? {
            config = config.with_authority_host(host.expose_secret());
        }
        config.surroundings = Some(Surroundings::from_environment(environment).map_err(named)?);
        Ok(config)
    }

    /// Gets tokens from Entra ID at this address, instead of `https://login.microsoftonline.com`: for another cloud, or for a test.
    /// Managed identity and developer tools do not use this address.
    pub fn with_authority_host(mut self, url: impl Into<String>) -> Self {
        self.authority = Some(url.into());
        self
    }

    /// Trusts only the certificates in this PEM file for the vault, and the system's certificates too for Entra ID.
    pub fn with_ca_file(mut self, path: impl AsRef<Path>) -> Self {
        self.ca = Some(Ca::File(path.as_ref().to_owned(), "with_ca_file"));
        self
    }

    /// Trusts these certificates (PEM) like those of [`with_ca_file`](Self::with_ca_file).
    pub fn with_ca_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.ca = Some(Ca::Pem(pem.into()));
        self
    }

    /// Asks for the token that the vault names, even if that token is for another host than the vault's: for addresses outside Azure's
    /// own domains, such as the address of an emulator. Logs a warning. A vault inside Azure's domains is always checked.
    ///
    /// The server at the address then chooses what the token is good for, within Key Vault's audiences, the address itself and loopback
    /// hosts (any audience if the address is a loopback address).
    pub fn without_challenge_check(mut self) -> Self {
        self.verify_challenge = false;
        self
    }

    /// Uses this version of the REST interface (`7.4`), instead of the version that Microsoft's client was made for: for servers that do
    /// not support that version yet.
    pub fn with_api_version(mut self, version: impl Into<String>) -> Self {
        self.api_version = Some(version.into());
        self
    }

    /// Connects to the vault and Entra ID through this HTTP proxy, which sees no more than TLS shows. The hosts, names or networks of
    /// `except` (separated by commas, as in `NO_PROXY`), loopback hosts and managed identity are reached without the proxy.
    pub fn with_proxy(mut self, url: impl Into<SecretString>, except: &str) -> Self {
        self.proxy = Some((url.into(), except.to_owned()));
        self
    }

    /// Names the option that trusts a file, for errors.
    pub(in crate::backend) fn with_ca_option(mut self, path: &str) -> Self {
        self.ca = Some(Ca::File(path.into(), "ca="));
        self
    }

    /// Names the variable or option that the address was taken from, for errors.
    pub(in crate::backend) fn with_vault_source(mut self, source: &'static str) -> Self {
        self.vault_source = Some(source);
        self
    }

    /// Limits how long a connection may take to come up: 3 s by default.
    pub fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Limits how long one call of a key manager may take, from end to end and with a request for a token: 10 s by default. An
    /// earlier deadline of the request applies.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets how often the current version of a key without a pinned version is asked for again: 5 minutes by default.
    pub fn with_refresh(mut self, every: Duration) -> Self {
        self.refresh = every;
        self
    }

    /// Does the client's I/O on this tokio runtime, which needs time and I/O enabled, instead of the runtime that this crate keeps
    /// for all its network backends.
    pub fn with_handle(mut self, handle: Handle) -> Self {
        self.handle = Some(handle);
        self
    }
}

fn required(environment: &dyn Environment, name: &str, what: &str) -> Result<String> {
    let value = required_var(environment, name, what).map_err(named)?;
    Ok(value.expose_secret().to_owned())
}

fn named(error: Error) -> Error {
    error.with_provider(PROVIDER)
}
