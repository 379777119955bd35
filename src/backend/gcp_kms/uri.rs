//! `gcp-kms:projects/P/locations/L/keyRings/R/cryptoKeys/K`.

use std::fmt;

use crate::backend::kek_uri::Options;
use crate::value::error::{Error, Result};

/// What the URI says; credentials are where every Google program looks for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::backend) struct GcpUri {
    key: String,
    endpoint: Option<String>,
    anonymous: bool,
}

impl GcpUri {
    pub(in crate::backend) fn parse(key: &str, options: &mut Options<'_>) -> Result<Self> {
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
        let endpoint = options.text("endpoint")?;
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
    use crate::backend::gcp_kms::{Auth, Client, Config, GcpAdmin, GcpKey};
    use crate::backend::kek_uri::KeyManagers;
    use crate::value::error::Result;

    impl GcpUri {
        pub(in crate::backend) fn open(&self) -> Result<KeyManagers> {
            let mut config = Config::new();
            if self.anonymous {
                config = config.with_auth(Auth::Anonymous);
            }
            if let Some(endpoint) = &self.endpoint {
                config = config.with_endpoint(endpoint);
            }
            let client = Client::new(config)?;
            let keys = GcpKey::new(&client, &self.key)?;
            let ring = self.key.split("/cryptoKeys/").next().unwrap_or_default();
            KeyManagers::one(keys).administered(&self.key, GcpAdmin::new(&client, ring)?)
        }
    }
}

impl fmt::Display for GcpUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gcp-kms:{}", self.key.escape_debug())
    }
}
