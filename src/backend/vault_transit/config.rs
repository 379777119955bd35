//! Where the server is, and how to log in.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::runtime::Handle;

use crate::backend::shared::http::{Ca, Surroundings};
use crate::runtime::{Environment, ProcessEnvironment, set_var};
use crate::value::error::{Error, Result};

/// How long a connection may take to come up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long one call of a key manager may take, with a login or renewal before it.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Where a login takes its signed token (a JWT) from.
#[derive(Clone)]
#[non_exhaustive]
pub enum JwtSource {
    /// This token, for as long as the client lives.
    Fixed(SecretString),
    /// A file that is read again for each login, because Kubernetes often replaces the token in a pod. One line end at its end is not
    /// part of the token.
    File(PathBuf),
}

impl fmt::Debug for JwtSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(_) => f.write_str("Fixed(..)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

/// How to log in.
///
/// Every method except the token has a mount: the path below `auth/`, usually the name of the method.
#[derive(Clone)]
#[non_exhaustive]
pub enum Auth {
    /// A token that was made elsewhere. The client renews it if the server allows that. After the token has expired, calls return
    /// `Unauthenticated`.
    Token(SecretString),
    /// AppRole.
    AppRole {
        /// The path below `auth/`.
        mount: String,
        /// The role's id.
        role_id: String,
        /// The secret that goes with it.
        secret_id: SecretString,
    },
    /// The service account of a pod.
    Kubernetes {
        /// The path below `auth/`.
        mount: String,
        /// The name of the role.
        role: String,
        /// The service account's token.
        jwt: JwtSource,
    },
    /// A token signed by an issuer that the server trusts.
    Jwt {
        /// The path below `auth/`.
        mount: String,
        /// The name of the role.
        role: String,
        /// The signed token.
        jwt: JwtSource,
    },
}

impl Auth {
    /// The path to which Kubernetes projects the token of a pod's service account.
    pub const SERVICE_ACCOUNT_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

    /// Logs in with a token that was made elsewhere.
    #[must_use]
    pub fn token(token: impl Into<SecretString>) -> Self {
        Self::Token(token.into())
    }

    /// Logs in with AppRole, at its usual mount.
    #[must_use]
    pub fn approle(role_id: impl Into<String>, secret_id: impl Into<SecretString>) -> Self {
        Self::AppRole {
            mount: "approle".to_owned(),
            role_id: role_id.into(),
            secret_id: secret_id.into(),
        }
    }

    /// Logs in as a Kubernetes service account, at the usual mount, with the token at its usual place.
    #[must_use]
    pub fn kubernetes(role: impl Into<String>) -> Self {
        Self::Kubernetes {
            mount: "kubernetes".to_owned(),
            role: role.into(),
            jwt: JwtSource::File(PathBuf::from(Self::SERVICE_ACCOUNT_TOKEN)),
        }
    }

    /// Logs in with a JWT, at the usual mount.
    #[must_use]
    pub fn jwt(role: impl Into<String>, jwt: JwtSource) -> Self {
        Self::Jwt {
            mount: "jwt".to_owned(),
            role: role.into(),
            jwt,
        }
    }

    /// Uses the method at another mount. Has no effect on a token.
    #[must_use]
    pub fn at(mut self, path: impl Into<String>) -> Self {
        match &mut self {
            Self::Token(_) => {}
            Self::AppRole { mount, .. } | Self::Kubernetes { mount, .. } | Self::Jwt { mount, .. } => {
                *mount = path.into();
            }
        }
        self
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(_) => f.write_str("Token(..)"),
            Self::AppRole { mount, .. } => f
                .debug_struct("AppRole")
                .field("mount", mount)
                .finish_non_exhaustive(),
            Self::Kubernetes { mount, role, jwt } => f
                .debug_struct("Kubernetes")
                .field("mount", mount)
                .field("role", role)
                .field("jwt", jwt)
                .finish(),
            Self::Jwt { mount, role, jwt } => f
                .debug_struct("Jwt")
                .field("mount", mount)
                .field("role", role)
                .field("jwt", jwt)
                .finish(),
        }
    }
}

/// Where the server is, how to log in, and how long to wait.
#[derive(Clone, Debug)]
#[must_use]
pub struct Config {
    pub(super) address: String,
    /// The variable or option that the address was taken from.
    pub(super) address_source: Option<&'static str>,
    pub(super) surroundings: Option<Surroundings>,
    pub(super) namespace: Option<String>,
    pub(super) auth: Auth,
    pub(super) ca: Option<Ca>,
    pub(super) connect_timeout: Duration,
    pub(super) timeout: Duration,
    pub(super) handle: Option<Handle>,
}

impl Config {
    /// Configures a server at this address (`https://vault.example.com:8200`) and a way to log in.
    pub fn new(address: impl Into<String>, auth: Auth) -> Self {
        Self {
            address: address.into(),
            address_source: None,
            surroundings: None,
            namespace: None,
            auth,
            ca: None,
            connect_timeout: CONNECT_TIMEOUT,
            timeout: TIMEOUT,
            handle: None,
        }
    }

    /// Reads the configuration from the process environment: `VAULT_ADDR` and `VAULT_TOKEN`, and `VAULT_NAMESPACE` and `VAULT_CACERT` if
    /// they are set.
    ///
    /// # Errors
    /// `Configuration` if `VAULT_ADDR` or `VAULT_TOKEN` is not set.
    pub fn from_env() -> Result<Self> {
        Self::from_environment(&ProcessEnvironment)
    }

    /// Reads the configuration from this environment, with the variables of [`from_env`](Self::from_env).
    ///
    /// # Errors
    /// `Configuration` if `VAULT_ADDR` or `VAULT_TOKEN` is not set.
    pub fn from_environment(environment: &dyn Environment) -> Result<Self> {
        let token = set_var(environment, "VAULT_TOKEN")?.ok_or_else(|| not_set("VAULT_TOKEN"))?;
        Self::from_environment_with(environment, Auth::Token(token))
    }

    /// Reads the configuration from this environment, with another way to log in: `VAULT_TOKEN` is not read.
    ///
    /// # Errors
    /// `Configuration` if `VAULT_ADDR` is not set.
    pub fn from_environment_with(environment: &dyn Environment, auth: Auth) -> Result<Self> {
        let address = set_var(environment, "VAULT_ADDR")?.ok_or_else(|| not_set("VAULT_ADDR"))?;
        let mut config = Self::new(address.expose_secret(), auth);
        if let Some(namespace) = set_var(environment, "VAULT_NAMESPACE")? {
            config = config.with_namespace(namespace.expose_secret());
        }
        if let Some(ca) = set_var(environment, "VAULT_CACERT")? {
            config.ca = Some(Ca::File(ca.expose_secret().into(), "VAULT_CACERT"));
        }
        config.address_source = Some("VAULT_ADDR");
        config.surroundings = Some(Surroundings::from_environment(environment)?);
        Ok(config)
    }

    /// Names the variable or option that the address was taken from, for errors.
    pub(in crate::backend) fn with_address_source(mut self, source: &'static str) -> Self {
        self.address_source = Some(source);
        self
    }

    /// Works in this namespace. Slashes around the namespace are removed; an empty namespace and `root` mean no namespace.
    pub fn with_namespace(mut self, namespace: &str) -> Self {
        let namespace = namespace.trim_matches('/');
        self.namespace = (!matches!(namespace, "" | "root")).then(|| namespace.to_owned());
        self
    }

    /// Trusts the certificates in this PEM file, and no others.
    pub fn with_ca_file(mut self, path: impl AsRef<Path>) -> Self {
        self.ca = Some(Ca::File(path.as_ref().to_owned(), "with_ca_file"));
        self
    }

    /// Trusts these certificates (PEM), and no others.
    pub fn with_ca_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.ca = Some(Ca::Pem(pem.into()));
        self
    }

    /// Limits how long a connection may take to come up: 3 s by default.
    pub fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Limits how long one call of a key manager may take, from end to end: 10 s by default. An earlier deadline of the request
    /// applies.
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

fn not_set(name: &str) -> Error {
    Error::configuration(format!("the environment variable {name} is not set")).with_provider(super::PROVIDER)
}
