//! Calls to the service by the HTTP that all network backends share, behind Google's own client and models.
//!
//! Google's transport follows variables of the process that choose a proxy for plain HTTP and for loopback addresses, and its
//! errors do not say where a connection failed.

use bytes::Bytes;
use google_cloud_auth::credentials::{CacheableResource, Credentials};
use google_cloud_gax::Result;
use google_cloud_gax::error::Error;
use google_cloud_gax::error::rpc::Status;
use google_cloud_gax::options::RequestOptions;
use google_cloud_gax::response::Response;
use google_cloud_kms_v1::model;
use google_cloud_kms_v1::stub::KeyManagementService;
use http::Extensions;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Method, RequestBuilder, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::backend::shared::http::Http;

/// Longer than any body with a DEK, so that none is copied when it grows.
const BODY: usize = 8 << 10;

pub(super) struct Transport {
    pub(super) http: Http,
    /// `https://HOST`
    pub(super) endpoint: Url,
    pub(super) credentials: Credentials,
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport")
            .field("endpoint", &self.endpoint.as_str())
            .finish_non_exhaustive()
    }
}

impl Transport {
    fn request(&self, method: Method, path: &str, query: &[(&str, String)]) -> RequestBuilder {
        let mut url = self.endpoint.clone();
        url.set_path(&format!("/v1/{path}"));
        let mut pairs = url.query_pairs_mut();
        pairs.append_pair("$alt", "json;enum-encoding=int");
        for (name, value) in query {
            if !value.is_empty() {
                pairs.append_pair(name, value);
            }
        }
        drop(pairs);
        self.http.request(method, url)
    }

    async fn get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, String)]) -> Result<Response<T>> {
        self.send(self.request(Method::GET, path, query)).await
    }

    async fn with_body<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, String)],
        body: &(impl Serialize + Sync),
    ) -> Result<Response<T>> {
        let mut text = Zeroizing::new(Vec::with_capacity(BODY));
        serde_json::to_writer(&mut *text, body).map_err(Error::ser)?;
        let request = self.request(method, path, query);
        let request = request.header(CONTENT_TYPE, "application/json");
        // Wiped when the last that holds it lets go.
        self.send(request.body(Bytes::from_owner(text))).await
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &(impl Serialize + Sync),
    ) -> Result<Response<T>> {
        self.with_body(Method::POST, path, &[], body).await
    }

    async fn send<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<Response<T>> {
        let headers = self.headers().await?;
        let answer = self
            .http
            .send(request.headers(headers))
            .await
            .map_err(Error::io)?;
        if answer.status.is_success() {
            let body: T = serde_json::from_slice(&answer.body).map_err(Error::deser)?;
            return Ok(Response::from(body));
        }
        let (status, body) = (answer.status.as_u16(), Bytes::from_owner(answer.body));
        Err(match Status::try_from(&body) {
            Ok(said) => Error::service_with_http_metadata(said, Some(status), Some(answer.headers)),
            Err(_) => Error::http(status, answer.headers, body),
        })
    }

    async fn headers(&self) -> Result<HeaderMap> {
        let shown = self.credentials.headers(Extensions::new()).await;
        match shown.map_err(Error::authentication)? {
            CacheableResource::New { data, .. } => Ok(data),
            CacheableResource::NotModified => Ok(HeaderMap::new()),
        }
    }
}

/// What may be changed, as a query has it.
fn mask(mask: Option<&google_cloud_wkt::FieldMask>) -> Result<String> {
    let text = mask.map(serde_json::to_value).transpose().map_err(Error::ser)?;
    let text = text.as_ref().and_then(serde_json::Value::as_str);
    Ok(text.unwrap_or_default().to_owned())
}

impl KeyManagementService for Transport {
    async fn get_crypto_key(
        &self,
        request: model::GetCryptoKeyRequest,
        _: RequestOptions,
    ) -> Result<Response<model::CryptoKey>> {
        self.get(&request.name, &[]).await
    }

    async fn get_crypto_key_version(
        &self,
        request: model::GetCryptoKeyVersionRequest,
        _: RequestOptions,
    ) -> Result<Response<model::CryptoKeyVersion>> {
        self.get(&request.name, &[]).await
    }

    async fn list_crypto_key_versions(
        &self,
        request: model::ListCryptoKeyVersionsRequest,
        _: RequestOptions,
    ) -> Result<Response<model::ListCryptoKeyVersionsResponse>> {
        let size = match request.page_size {
            0 => String::new(),
            size => size.to_string(),
        };
        let query = [
            ("pageSize", size),
            ("pageToken", request.page_token),
            ("filter", request.filter),
            ("orderBy", request.order_by),
        ];
        self.get(&format!("{}/cryptoKeyVersions", request.parent), &query)
            .await
    }

    async fn create_crypto_key(
        &self,
        request: model::CreateCryptoKeyRequest,
        _: RequestOptions,
    ) -> Result<Response<model::CryptoKey>> {
        let skip = match request.skip_initial_version_creation {
            true => "true".to_owned(),
            false => String::new(),
        };
        let query = [
            ("cryptoKeyId", request.crypto_key_id),
            ("skipInitialVersionCreation", skip),
        ];
        let path = format!("{}/cryptoKeys", request.parent);
        let key = request.crypto_key.unwrap_or_default();
        self.with_body(Method::POST, &path, &query, &key).await
    }

    async fn create_crypto_key_version(
        &self,
        request: model::CreateCryptoKeyVersionRequest,
        _: RequestOptions,
    ) -> Result<Response<model::CryptoKeyVersion>> {
        let path = format!("{}/cryptoKeyVersions", request.parent);
        self.post(&path, &request.crypto_key_version.unwrap_or_default())
            .await
    }

    async fn update_crypto_key(
        &self,
        request: model::UpdateCryptoKeyRequest,
        _: RequestOptions,
    ) -> Result<Response<model::CryptoKey>> {
        let query = [("updateMask", mask(request.update_mask.as_ref())?)];
        let mut key = request.crypto_key.unwrap_or_default();
        let path = std::mem::take(&mut key.name);
        self.with_body(Method::PATCH, &path, &query, &key).await
    }

    async fn update_crypto_key_version(
        &self,
        request: model::UpdateCryptoKeyVersionRequest,
        _: RequestOptions,
    ) -> Result<Response<model::CryptoKeyVersion>> {
        let query = [("updateMask", mask(request.update_mask.as_ref())?)];
        let mut version = request.crypto_key_version.unwrap_or_default();
        let path = std::mem::take(&mut version.name);
        self.with_body(Method::PATCH, &path, &query, &version).await
    }

    async fn update_crypto_key_primary_version(
        &self,
        mut request: model::UpdateCryptoKeyPrimaryVersionRequest,
        _: RequestOptions,
    ) -> Result<Response<model::CryptoKey>> {
        let name = std::mem::take(&mut request.name);
        self.post(&format!("{name}:updatePrimaryVersion"), &request).await
    }

    async fn destroy_crypto_key_version(
        &self,
        mut request: model::DestroyCryptoKeyVersionRequest,
        _: RequestOptions,
    ) -> Result<Response<model::CryptoKeyVersion>> {
        let name = std::mem::take(&mut request.name);
        self.post(&format!("{name}:destroy"), &request).await
    }

    async fn restore_crypto_key_version(
        &self,
        mut request: model::RestoreCryptoKeyVersionRequest,
        _: RequestOptions,
    ) -> Result<Response<model::CryptoKeyVersion>> {
        let name = std::mem::take(&mut request.name);
        self.post(&format!("{name}:restore"), &request).await
    }

    async fn encrypt(
        &self,
        mut request: model::EncryptRequest,
        _: RequestOptions,
    ) -> Result<Response<model::EncryptResponse>> {
        let name = std::mem::take(&mut request.name);
        self.post(&format!("{name}:encrypt"), &request).await
    }

    async fn decrypt(
        &self,
        mut request: model::DecryptRequest,
        _: RequestOptions,
    ) -> Result<Response<model::DecryptResponse>> {
        let name = std::mem::take(&mut request.name);
        self.post(&format!("{name}:decrypt"), &request).await
    }
}
