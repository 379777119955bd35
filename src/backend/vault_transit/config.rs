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
/// How long one call of the key manager may take, a login or renewal before it included.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A signed token (a JWT) that a login shows.
#[derive(Clone)]
#[non_exhaustive]
pub enum JwtSource {
    /// This one, for as long as the client lives.
    Fixed(SecretString),
    /// The content of a file, read anew for each login: what is projected into a pod is replaced often.
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
/// Every method but the token is mounted somewhere: `mount` is the path below `auth/`, usually the method's name.
#[derive(Clone)]
#[non_exhaustive]
pub enum Auth {
    /// A token that was made elsewhere. Renewed where it can be; when it is over, calls fail with
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
    /// Where Kubernetes projects the token of a pod's service account.
    pub const SERVICE_ACCOUNT_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

    /// A token that was made elsewhere.
    #[must_use]
    pub fn token(token: impl Into<SecretString>) -> Self {
        Self::Token(token.into())
    }

    /// AppRole at its usual mount.
    #[must_use]
    pub fn approle(role_id: impl Into<String>, secret_id: impl Into<SecretString>) -> Self {
        Self::AppRole {
            mount: "approle".to_owned(),
            role_id: role_id.into(),
            secret_id: secret_id.into(),
        }
    }

    /// Kubernetes at its usual mount, with the token at its usual place.
    #[must_use]
    pub fn kubernetes(role: impl Into<String>) -> Self {
        Self::Kubernetes {
            mount: "kubernetes".to_owned(),
            role: role.into(),
            jwt: JwtSource::File(PathBuf::from(Self::SERVICE_ACCOUNT_TOKEN)),
        }
    }

    /// JWT at its usual mount.
    #[must_use]
    pub fn jwt(role: impl Into<String>, jwt: JwtSource) -> Self {
        Self::Jwt {
            mount: "jwt".to_owned(),
            role: role.into(),
            jwt,
        }
    }

    /// The same method at another mount. A token has none.
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
    /// A server at this address (`https://vault.example.com:8200`) and a way to log in.
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

    /// What the process environment says: `VAULT_ADDR` and `VAULT_TOKEN`, and if set `VAULT_NAMESPACE` and
    /// `VAULT_CACERT`.
    ///
    /// # Errors
    /// `Configuration` where one of the first two is not set.
    pub fn from_env() -> Result<Self> {
        Self::from_environment(&ProcessEnvironment)
    }

    /// The same, from this environment.
    ///
    /// # Errors
    /// As [`from_env`](Self::from_env).
    pub fn from_environment(environment: &dyn Environment) -> Result<Self> {
        let token = set_var(environment, "VAULT_TOKEN")?.ok_or_else(|| not_set("VAULT_TOKEN"))?;
        Self::from_environment_with(environment, Auth::Token(token))
    }

    /// The same with another way to log in: `VAULT_TOKEN` is not read.
    ///
    /// # Errors
    /// `Configuration` where `VAULT_ADDR` is not set.
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

    /// Works in this namespace; slashes around it are dropped, and an empty one or `root` is none.
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

    /// How long a connection may take to come up: 3 s by default.
    pub fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long one call of a key manager may take, from end to end: 10 s by default. A deadline of the request
    /// that comes earlier holds.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Does its I/O on this tokio runtime, which needs time and I/O enabled, instead of the one that this crate keeps for
    /// all its network backends.
    pub fn with_handle(mut self, handle: Handle) -> Self {
        self.handle = Some(handle);
        self
    }
}

fn not_set(name: &str) -> Error {
    Error::configuration(format!("the environment variable {name} is not set")).with_provider(super::PROVIDER)
}
