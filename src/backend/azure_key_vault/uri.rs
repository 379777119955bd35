//! `azure-key-vault:https://HOST/keys/NAME[/VERSION]`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::names::KeyId;
use crate::backend::kek_uri::{Clients, KeyManagers, Options, Parse, Place, Reads, Scheme, UriOption};
use crate::envelope::KekRef;
use crate::key::KekAdmin;
use crate::runtime::Environment;
use crate::value::error::{Error, Result};

pub(in crate::backend) const SCHEME: Scheme = Scheme {
    name: "azure-key-vault",
    provider: super::PROVIDER,
    form: "azure-key-vault:https://HOST/keys/NAME[/VERSION]",
    summary: "a key of Azure Key Vault or Managed HSM",
    options: &[
        UriOption::new(
            "endpoint",
            "https://HOST",
            "the vault, if only NAME follows the scheme",
        ),
        UriOption::new(
            "algorithm",
            "RSA-OAEP-256|A256KW",
            "how to wrap: with an RSA key (default), or with a symmetric key of a Managed HSM",
        ),
        UriOption::new(
            "credential",
            "workload|managed|secret|developer",
            "how to log in (default: what the variables say)",
        ),
        UriOption::new(
            "ca",
            "PATH",
            "a PEM file with the CAs to trust instead of the system's",
        ),
        UriOption::new(
            "verify-challenge",
            "on|off",
            "off for a vault outside Azure's domains (default on)",
        ),
        UriOption::new(
            "refresh",
            "SECONDS",
            "how often the current version is asked for (default 300)",
        ),
        UriOption::new("api-version", "VERSION", "the version of the service's API"),
    ],
    variables: &[
        "AZURE_CLIENT_ID",
        "AZURE_TENANT_ID",
        "AZURE_CLIENT_SECRET",
        "AZURE_FEDERATED_TOKEN_FILE",
        "AZURE_AUTHORITY_HOST",
        "IDENTITY_ENDPOINT",
        "IDENTITY_HEADER",
        "SSL_CERT_FILE",
    ],
    parse: Parse::Place(|place, options| Ok(Arc::new(AzureUri::parse(place, options)?))),
};

#[async_trait]
impl Place for AzureUri {
    async fn open(&self, environment: &dyn Environment) -> Result<KeyManagers> {
        self.open_now(environment).await
    }

    async fn open_sharing(&self, environment: &dyn Environment, clients: &Clients) -> Result<KeyManagers> {
        let connecting = self.connect(environment);
        self.open_with(&clients.of(self.connection(), connecting).await?)
    }

    fn client(&self) -> Option<String> {
        Some(self.connection())
    }

    async fn open_admin(&self, environment: &dyn Environment) -> Result<Arc<dyn KekAdmin>> {
        let client = self.connect(environment).await?;
        Ok(Arc::new(client.admin().with_algorithm(self.algorithm())))
    }

    fn sibling(&self, _: &str, kek: &KekRef) -> Option<String> {
        // The vault as it was configured, which may not be its own name for itself.
        let name = KeyId::parse(kek.id()).filter(|id| id.version.is_none())?.name;
        Some(format!("{}/keys/{name}", self.vault))
    }

    fn reads(&self) -> Vec<Reads> {
        self.ca.iter().map(|path| Reads::File(path.into())).collect()
    }
}

/// What the URI says; the rest is in the variables that Azure's own tools read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct AzureUri {
    /// `https://HOST[:PORT]`
    vault: String,
    /// Where the vault was taken from, for errors.
    source: &'static str,
    /// `NAME` or `NAME/VERSION`
    key: String,
    is_symmetric: bool,
    credential: Option<Credential>,
    ca: Option<String>,
    verify_challenge: bool,
    refresh: Option<Duration>,
    api_version: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Credential {
    Workload,
    Managed,
    Secret,
    Developer,
}

impl AzureUri {
    fn parse(place: &str, options: &mut Options<'_>) -> Result<Self> {
        let endpoint = options.endpoint("endpoint", "endpoint=", false)?;
        let (vault, key) = split(place, endpoint.as_ref().map(|endpoint| endpoint.url.as_str()))?;
        let is_symmetric = match options.take("algorithm") {
            None | Some("RSA-OAEP-256") => false,
            Some("A256KW") => true,
            Some(_) => return Err(Error::argument("algorithm is RSA-OAEP-256 or A256KW")),
        };
        let credential = match options.take("credential") {
            None => None,
            Some("workload") => Some(Credential::Workload),
            Some("managed") => Some(Credential::Managed),
            Some("secret") => Some(Credential::Secret),
            Some("developer") => Some(Credential::Developer),
            Some(_) => {
                return Err(Error::argument(
                    "credential is workload, managed, secret or developer",
                ));
            }
        };
        let verify_challenge = match options.take("verify-challenge") {
            None | Some("on") => true,
            Some("off") => false,
            Some(_) => return Err(Error::argument("verify-challenge is on or off")),
        };
        Ok(Self {
            vault,
            source: endpoint.map_or("the key's URI", |endpoint| endpoint.source),
            key,
            is_symmetric,
            credential,
            ca: options.text("ca")?,
            verify_challenge,
            refresh: options.seconds("refresh")?,
            api_version: options.text("api-version")?,
        })
    }
}

/// The vault and the key. Where `endpoint` names the vault, the key may be a bare name.
fn split(place: &str, endpoint: Option<&str>) -> Result<(String, String)> {
    let form = || {
        Error::argument(
            "azure-key-vault: is followed by the address of a key, https://HOST/keys/NAME[/VERSION]",
        )
    };
    if let Some((host, key)) = place
        .strip_prefix("https://")
        .and_then(|rest| rest.split_once("/keys/"))
    {
        let vault = format!("https://{host}");
        let is_other = |endpoint: &str| endpoint.trim_end_matches('/') != vault;
        if host.is_empty() || host.contains(['/', '@', '#']) || !is_key(key) {
            return Err(form());
        }
        if endpoint.is_some_and(is_other) {
            return Err(Error::argument(
                "endpoint and the address of the key name different vaults; give one of them",
            ));
        }
        return Ok((vault, key.to_owned()));
    }
    match endpoint {
        Some(vault) if vault.starts_with("https://") && is_key(place) => {
            Ok((vault.trim_end_matches('/').to_owned(), place.to_owned()))
        }
        Some(_) if is_key(place) => Err(Error::argument(
            "endpoint is the address of a vault, https://HOST",
        )),
        _ => Err(form()),
    }
}

/// `NAME` or `NAME/VERSION`.
fn is_key(text: &str) -> bool {
    let is_word = |word: &str| {
        (1..=127).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let mut parts = text.split('/');
    parts.next().is_some_and(is_word) && parts.next().is_none_or(is_word) && parts.next().is_none()
}

mod opening {
    use super::{AzureUri, Credential};
    use crate::backend::azure_key_vault::{Algorithm, Auth, Client, Config};
    use crate::backend::kek_uri::KeyManagers;
    use crate::runtime::Environment;
    use crate::value::error::Result;

    impl AzureUri {
        pub(super) fn algorithm(&self) -> Algorithm {
            match self.is_symmetric {
                true => Algorithm::A256Kw,
                false => Algorithm::RsaOaep256,
            }
        }

        pub(super) async fn open_now(&self, environment: &dyn Environment) -> Result<KeyManagers> {
            self.open_with(&self.connect(environment).await?)
        }

        /// Everything that the client depends on, and no more.
        pub(super) fn connection(&self) -> String {
            let connection = Self {
                key: String::new(),
                is_symmetric: false,
                ..self.clone()
            };
            format!("{connection:?}")
        }

        pub(super) fn open_with(&self, client: &Client) -> Result<KeyManagers> {
            let keys = client.key(&self.key)?.with_algorithm(self.algorithm());
            let id = keys.kek_id();
            KeyManagers::one(keys).administered(&id, client.admin().with_algorithm(self.algorithm()))
        }

        pub(super) async fn connect(&self, environment: &dyn Environment) -> Result<Client> {
            let auth = match self.credential {
                None => Auth::from_environment(environment)?,
                Some(Credential::Workload) => Auth::workload_identity(environment)?,
                Some(Credential::Managed) => Auth::managed_identity(environment)?,
                Some(Credential::Secret) => Auth::client_secret(environment)?,
                Some(Credential::Developer) => Auth::DeveloperTools,
            };
            let mut config = Config::from_environment(&self.vault, auth, environment)?;
            if let Some(ca) = &self.ca {
                config = config.with_ca_option(ca);
            }
            config = config.with_vault_source(self.source);
            if !self.verify_challenge {
                config = config.without_challenge_check();
            }
            if let Some(every) = self.refresh {
                config = config.with_refresh(every);
            }
            if let Some(version) = &self.api_version {
                config = config.with_api_version(version);
            }
            Client::connect(config).await
        }
    }
}

impl fmt::Display for AzureUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "azure-key-vault:{}/keys/{}",
            self.vault.escape_debug(),
            self.key
        )
    }
}
