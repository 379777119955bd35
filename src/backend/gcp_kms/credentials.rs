//! Who asks, in the terms of Google's client.

use std::future::Future;

use google_cloud_auth::credentials::{
    AccessTokenCredentials, Builder, CacheableResource, Credentials, CredentialsProvider, EntityTag,
    anonymous,
};
use google_cloud_gax::error::CredentialsError;
use http::header::AUTHORIZATION;
use http::{Extensions, HeaderMap, HeaderValue};
use secrecy::ExposeSecret;
use zeroize::Zeroizing;

use super::config::Auth;
use crate::value::error::{Error, Result};

pub(super) fn credentials(auth: &Auth) -> Result<Credentials> {
    Ok(match auth {
        Auth::ApplicationDefault => {
            let built: std::result::Result<AccessTokenCredentials, _> =
                Builder::default().build_access_token_credentials();
            built
                .map_err(|error| {
                    Error::configuration(
                        "there are no usable Application Default Credentials: set GOOGLE_APPLICATION_CREDENTIALS, or \
                         run `gcloud auth application-default login`",
                    )
                    .with_source(error)
                })?
                .into()
        }
        Auth::AccessToken(token) => {
            let text = Zeroizing::new(format!("Bearer {}", token.expose_secret()));
            let mut value = HeaderValue::from_str(&text)
                .map_err(|_| Error::configuration("an access token is visible ASCII"))?;
            value.set_sensitive(true);
            Credentials::from(Fixed {
                headers: HeaderMap::from_iter([(AUTHORIZATION, value)]),
                tag: EntityTag::new(),
            })
        }
        Auth::Anonymous => anonymous::Builder::new().build(),
    })
}

/// A token that stays as it is. Its header is marked as sensitive, so `Debug` does not show it.
#[derive(Debug)]
struct Fixed {
    headers: HeaderMap,
    tag: EntityTag,
}

impl CredentialsProvider for Fixed {
    fn headers(
        &self,
        extensions: Extensions,
    ) -> impl Future<Output = std::result::Result<CacheableResource<HeaderMap>, CredentialsError>> + Send
    {
        let known = extensions.get::<EntityTag>() == Some(&self.tag);
        let answer = if known {
            CacheableResource::NotModified
        } else {
            CacheableResource::New {
                entity_tag: self.tag.clone(),
                data: self.headers.clone(),
            }
        };
        std::future::ready(Ok(answer))
    }

    fn universe_domain(&self) -> impl Future<Output = Option<String>> + Send {
        std::future::ready(None)
    }
}
