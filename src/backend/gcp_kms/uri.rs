//! `gcp-kms:projects/P/locations/L/keyRings/R/cryptoKeys/K`.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::names::check_key;
use crate::backend::kek_uri::{Clients, Endpoint, KeyManagers, Options, Parse, Place, Scheme, UriOption};
use crate::envelope::KekRef;
use crate::key::KekAdmin;
use crate::runtime::Environment;
use crate::value::error::{Error, Result};

pub(in crate::backend) const SCHEME: Scheme = Scheme {
    name: "gcp-kms",
    provider: super::PROVIDER,
    form: "gcp-kms:projects/P/locations/L/keyRings/R/cryptoKeys/K",
    summary: "a key of Google Cloud KMS",
    options: &[
        UriOption::new(
            "endpoint",
            "URL",
            "the address of the service, if it is not Google's",
        ),
        UriOption::new(
            "credentials",
            "default|anonymous",
            "Application Default Credentials (default), or none for an emulator",
        ),
    ],
    variables: &["GOOGLE_APPLICATION_CREDENTIALS"],
    parse: Parse::Place(|place, options| Ok(Arc::new(GcpUri::parse(place, options)?))),
};

#[async_trait]
impl Place for GcpUri {
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
        Ok(Arc::new(self.connect(environment).await?.admin(self.ring())?))
    }

    fn sibling(&self, _: &str, kek: &KekRef) -> Option<String> {
        check_key(kek.id()).ok().map(|()| kek.id().to_owned())
    }
}

/// What the URI says; credentials are where every Google program looks for them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct GcpUri {
    key: String,
    endpoint: Option<Endpoint>,
    anonymous: bool,
}

impl GcpUri {
    fn parse(key: &str, options: &mut Options<'_>) -> Result<Self> {
        if key.is_empty() {
            return Err(Error::argument(
                "gcp-kms: has no key: projects/PROJECT/locations/LOCATION/keyRings/RING/cryptoKeys/KEY",
            ));
        }
        let anonymous = match options.take("credentials") {
            None | Some("default") => false,
            Some("anonymous") => true,
            Some(_) => return Err(Error::argument("credentials is default or anonymous")),
        };
        let endpoint = options.endpoint("endpoint", "endpoint=", false)?;
        if anonymous && endpoint.is_none() {
            return Err(Error::argument(
                "credentials=anonymous is for emulators, and needs their endpoint",
            ));
        }
        Ok(Self {
            key: key.to_owned(),
            endpoint,
            anonymous,
        })
    }
}

mod opening {
    use super::GcpUri;
    use crate::backend::gcp_kms::{Auth, Client, Config};
    use crate::backend::kek_uri::KeyManagers;
    use crate::runtime::Environment;
    use crate::value::error::Result;

    impl GcpUri {
        pub(super) fn ring(&self) -> &str {
            self.key.split("/cryptoKeys/").next().unwrap_or_default()
        }

        pub(super) async fn open_now(&self, environment: &dyn Environment) -> Result<KeyManagers> {
            self.open_with(&self.connect(environment).await?)
        }

        /// Everything that the client depends on, and no more.
        pub(super) fn connection(&self) -> String {
            let connection = Self {
                key: String::new(),
                ..self.clone()
            };
            format!("{connection:?}")
        }

        pub(super) fn open_with(&self, client: &Client) -> Result<KeyManagers> {
            let keys = client.key(&self.key)?;
            KeyManagers::one(keys).administered(&self.key, client.admin(self.ring())?)
        }

        pub(super) async fn connect(&self, environment: &dyn Environment) -> Result<Client> {
            let mut config = Config::new().in_environment(environment)?;
            if self.anonymous {
                config = config.with_auth(Auth::Anonymous);
            }
            if let Some(endpoint) = &self.endpoint {
                config = config
                    .with_endpoint(&endpoint.url)
                    .with_endpoint_source(endpoint.source);
            }
            Client::connect(config).await
        }
    }
}

impl fmt::Display for GcpUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gcp-kms:{}", self.key.escape_debug())
    }
}
