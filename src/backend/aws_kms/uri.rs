//! `aws-kms:KEY`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::names::KeyArn;
use crate::backend::kek_uri::{Clients, Endpoint, KeyManagers, Options, Parse, Place, Scheme, UriOption};
use crate::envelope::KekRef;
use crate::key::KekAdmin;
use crate::runtime::Environment;
use crate::value::error::{Error, Result};

pub(in crate::backend) const SCHEME: Scheme = Scheme {
    name: "aws-kms",
    provider: super::PROVIDER,
    form: "aws-kms:KEY",
    summary: "a key of AWS KMS, by id, ARN or alias/NAME",
    options: &[
        UriOption::new(
            "region",
            "REGION",
            "the region, if neither the key's ARN nor the AWS configuration is to say it",
        ),
        UriOption::new(
            "endpoint",
            "URL",
            "the address of the service, if it is not the region's",
        ),
        UriOption::new(
            "context",
            "pairs|digest",
            "what AWS sees of the context: its pairs (default) or a digest",
        ),
        UriOption::new(
            "refresh",
            "SECONDS",
            "how often an alias is resolved (default 300)",
        ),
    ],
    variables: &[
        "AWS_REGION",
        "AWS_PROFILE",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_ROLE_ARN",
    ],
    parse: Parse::Place(|place, options| Ok(Arc::new(AwsUri::parse(place, options)?))),
};

#[async_trait]
impl Place for AwsUri {
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
        let form = self.form();
        Ok(Arc::new(
            self.connect(environment).await?.admin().with_context_form(form),
        ))
    }

    fn sibling(&self, _: &str, kek: &KekRef) -> Option<String> {
        KeyArn::parse(kek.id()).map(|_| kek.id().to_owned())
    }
}

/// What the URI says; the rest is where every AWS program looks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct AwsUri {
    key: String,
    region: Option<String>,
    endpoint: Option<Endpoint>,
    digest: bool,
    refresh: Option<Duration>,
}

impl AwsUri {
    fn parse(key: &str, options: &mut Options<'_>) -> Result<Self> {
        if key.is_empty() {
            return Err(Error::argument(
                "aws-kms: has no key: a key id, a key ARN or alias/NAME",
            ));
        }
        let digest = match options.take("context") {
            None | Some("pairs") => false,
            Some("digest") => true,
            Some(_) => return Err(Error::argument("context is pairs or digest")),
        };
        Ok(Self {
            key: key.to_owned(),
            region: options.text("region")?,
            endpoint: options.endpoint("endpoint", "endpoint=", true)?,
            digest,
            refresh: options.seconds("refresh")?,
        })
    }
}

mod opening {
    use super::AwsUri;
    use crate::backend::aws_kms::{Client, Config, ContextForm};
    use crate::backend::kek_uri::KeyManagers;
    use crate::runtime::Environment;
    use crate::value::error::Result;

    impl AwsUri {
        pub(super) fn form(&self) -> ContextForm {
            match self.digest {
                true => ContextForm::Digest,
                false => ContextForm::Pairs,
            }
        }

        pub(super) async fn open_now(&self, environment: &dyn Environment) -> Result<KeyManagers> {
            self.open_with(&self.connect(environment).await?)
        }

        /// Everything that the client depends on, and no more.
        pub(super) fn connection(&self) -> String {
            let connection = Self {
                key: String::new(),
                digest: false,
                ..self.clone()
            };
            format!("{connection:?} {:?}", self.region_of_key())
        }

        pub(super) fn open_with(&self, client: &Client) -> Result<KeyManagers> {
            let keys = client.key(&self.key)?.with_context_form(self.form());
            let admin = client.admin().with_context_form(self.form());
            KeyManagers::one(keys).administered(&self.key, admin)
        }

        pub(super) async fn connect(&self, environment: &dyn Environment) -> Result<Client> {
            let mut config = Config::new().in_environment(environment)?;
            match (&self.region, self.region_of_key()) {
                (Some(region), _) => config = config.with_region(region),
                (None, Some(Found::Only(region))) => config = config.with_region(region),
                (None, Some(Found::OneOf(region))) => config = config.with_fallback_region(region),
                (None, None) => {}
            }
            if let Some(endpoint) = &self.endpoint {
                config = config.with_endpoint(&endpoint.url);
            }
            config = config.with_sources(
                match self.region {
                    Some(_) => "region=",
                    None => "the key's ARN",
                },
                self.endpoint
                    .as_ref()
                    .map_or("endpoint=", |endpoint| endpoint.source),
            );
            if let Some(every) = self.refresh {
                config = config.with_refresh(every);
            }
            Client::connect(config).await
        }

        /// Where a key is, by its ARN.
        fn region_of_key(&self) -> Option<Found<'_>> {
            let mut parts = self.key.strip_prefix("arn:")?.splitn(5, ':');
            let region = parts.nth(2).filter(|region| !region.is_empty())?;
            Some(match parts.nth(1)?.starts_with("key/mrk-") {
                true => Found::OneOf(region),
                false => Found::Only(region),
            })
        }
    }

    /// A region that an ARN names.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Found<'a> {
        Only(&'a str),
        /// A multi-region key may be in others as well, so the usual places are asked for one first.
        OneOf(&'a str),
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn the_region_is_in_the_arn() {
            let there = "eu-west-1";
            for (key, expected) in [
                ("arn:aws:kms:eu-west-1:1:key/1234", Some(Found::Only(there))),
                ("arn:aws-cn:kms:eu-west-1:1:alias/a/b", Some(Found::Only(there))),
                ("arn:aws:kms:eu-west-1:1:key/mrk-12", Some(Found::OneOf(there))),
                ("1234", None),
                ("alias/a", None),
                ("arn:aws", None),
            ] {
                let uri = AwsUri::parse(
                    key,
                    &mut crate::backend::kek_uri::Options::parse("", &super::super::SCHEME).unwrap(),
                )
                .unwrap();
                assert_eq!(uri.region_of_key(), expected, "{key}");
            }
        }
    }
}

impl fmt::Display for AwsUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "aws-kms:{}", self.key.escape_debug())
    }
}
