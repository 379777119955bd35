//! `aws-kms:KEY`.

use std::fmt;
use std::time::Duration;

use super::options::Options;
use crate::error::{Error, Result};

/// What the URI says; the rest is where every AWS program looks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "aws-kms"),
    allow(dead_code, reason = "parsed to say which feature is missing")
)]
pub(super) struct AwsUri {
    key: String,
    region: Option<String>,
    endpoint: Option<String>,
    digest: bool,
    refresh: Option<Duration>,
}

impl AwsUri {
    pub(super) fn parse(key: &str, options: &mut Options<'_>) -> Result<Self> {
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
            endpoint: options.text("endpoint")?,
            digest,
            refresh: options.seconds("refresh")?,
        })
    }
}

#[cfg(feature = "aws-kms")]
mod opening {
    use super::AwsUri;
    use crate::aws_kms::{Client, Config, ContextForm};
    use crate::error::Result;
    use crate::kek_uri::KeyManagers;

    impl AwsUri {
        pub(in crate::kek_uri) async fn open(&self) -> Result<KeyManagers> {
            let mut config = Config::new();
            if let Some(region) = self.region.as_deref().or_else(|| self.region_of_key()) {
                config = config.with_region(region);
            }
            if let Some(endpoint) = &self.endpoint {
                config = config.with_endpoint(endpoint);
            }
            if let Some(every) = self.refresh {
                config = config.with_refresh(every);
            }
            let client = Client::connect(config).await?;
            let mut keys = client.keys(&self.key)?;
            if self.digest {
                keys = keys.with_context_form(ContextForm::Digest);
            }
            KeyManagers::one(keys).administered(&self.key, client.admin())
        }

        /// An ARN names the one region where the key is. A multi-region key is in others as well, so the usual
        /// places are asked for that.
        fn region_of_key(&self) -> Option<&str> {
            let mut parts = self.key.strip_prefix("arn:")?.splitn(5, ':');
            let region = parts.nth(2).filter(|region| !region.is_empty())?;
            let is_elsewhere_too = parts.nth(1)?.starts_with("key/mrk-");
            (!is_elsewhere_too).then_some(region)
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn the_region_is_in_the_arn_of_what_is_in_one_region() {
            let region = |key: &str| {
                let uri = AwsUri::parse(key, &mut super::super::Options::parse("").unwrap()).unwrap();
                uri.region_of_key().map(str::to_owned)
            };
            let there = Some("eu-west-1".to_owned());
            assert_eq!(region("arn:aws:kms:eu-west-1:1:key/1234"), there);
            assert_eq!(region("arn:aws-cn:kms:eu-west-1:1:alias/a/b"), there);
            for none in ["1234", "alias/a", "arn:aws:kms:eu-west-1:1:key/mrk-12", "arn:aws"] {
                assert_eq!(region(none), None, "{none}");
            }
        }
    }
}

impl fmt::Display for AwsUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "aws-kms:{}", self.key.escape_debug())
    }
}
