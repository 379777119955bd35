//! HTTP for Microsoft's client: no redirects, bounded answers, wiped buffers, exact errors.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use azure_core::error::{Error as SdkError, ErrorKind as SdkKind};
use azure_core::http::headers::Headers;
use azure_core::http::{AsyncRawResponse, HttpClient, Method, Request, StatusCode, Url};
use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};

use super::config::Config;
use super::names::parse_vault;
use super::times;
use crate::backend::shared::http::{Class, Fault, Http, Proxy, Settings, Surroundings, Trust, address_of};
use crate::value::error::Result;

/// Why there is no token, beside what a server says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoToken {
    /// The vault asks for a token that is not for it.
    Foreign,
    /// One of several credentials did not answer.
    TimedOut,
}

impl fmt::Display for NoToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Foreign => "the token asked for is not for the vault",
            Self::TimedOut => "no answer in time",
        })
    }
}

impl StdError for NoToken {}

/// As Microsoft's client carries it. Of this kind, so that it is never tried again there.
pub(super) fn into_sdk(error: impl StdError + Send + Sync + 'static) -> SdkError {
    SdkError::new(SdkKind::Other, error)
}

/// How all connections are made.
#[derive(Debug)]
pub(super) struct Ways {
    vault: Trust,
    others: Trust,
    proxy: Option<Proxy>,
}

impl Ways {
    pub(super) fn new(config: &Config) -> Result<Self> {
        let surroundings = Surroundings::or_of_process(config.surroundings.clone())?;
        let system = || Trust::system(&surroundings);
        Ok(Self {
            vault: match &config.ca {
                Some(ca) => Trust::only(ca)?,
                None => system()?,
            },
            others: match &config.ca {
                Some(ca) => system()?.and(ca)?,
                None => system()?,
            },
            proxy: match config.proxy.clone() {
                Some((url, except)) => Some(Proxy::new(&url, except, "with_proxy")?),
                None => surroundings.proxy,
            },
        })
    }
}

/// Whom a connection is to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    Vault,
    Entra,
    /// The service that returns the tokens of managed identities: on this machine or near it, and without TLS.
    Machine,
}

#[derive(Debug)]
pub(super) struct Transport {
    http: Http,
    /// The only host that is asked, whatever address an answer names.
    only: Option<Url>,
    peer: Peer,
}

impl Transport {
    pub(super) fn new(config: &Config, ways: &Ways, peer: Peer) -> Result<Self> {
        let vault = parse_vault(&config.vault)?;
        let named = config.vault_source.zip(address_of(&vault));
        let http = Http::new(Settings {
            trust: match peer {
                Peer::Vault => &ways.vault,
                Peer::Entra | Peer::Machine => &ways.others,
            },
            proxy: ways.proxy.as_ref().filter(|_| peer != Peer::Machine),
            // On another machine than Azure's nobody answers there.
            connect_timeout: Some(match peer {
                Peer::Machine => config.connect_timeout.min(Duration::from_secs(1)),
                _ => config.connect_timeout,
            }),
            read_timeout: None,
            https_only: peer != Peer::Machine,
            headers: HeaderMap::new(),
            named: named
                .into_iter()
                .map(|(source, address)| (address, source))
                .collect(),
        })?;
        Ok(Self {
            http,
            only: (peer == Peer::Vault).then_some(vault),
            peer,
        })
    }

    async fn send(&self, request: &Request) -> std::result::Result<AsyncRawResponse, Fault> {
        let refused = |url: &Url| Fault::new(Class::Request, self.http.target(url));
        let method = match request.method() {
            Method::Delete => reqwest::Method::DELETE,
            Method::Get => reqwest::Method::GET,
            Method::Head => reqwest::Method::HEAD,
            Method::Patch => reqwest::Method::PATCH,
            Method::Post => reqwest::Method::POST,
            Method::Put => reqwest::Method::PUT,
            _ => return Err(refused(request.url())),
        };
        let mut url = request.url().clone();
        if let Some(only) = &self.only {
            let set = url.set_host(only.host_str()).is_ok() && url.set_port(only.port()).is_ok();
            if !set || url.origin() != only.origin() {
                return Err(refused(&url));
            }
        }
        let mut outgoing = self.http.request(method, url.clone());
        for (name, value) in request.headers().iter() {
            let mut shown = HeaderValue::from_str(value.as_str()).map_err(|_| refused(&url))?;
            shown.set_sensitive(name.as_str().eq_ignore_ascii_case(AUTHORIZATION.as_str()));
            outgoing = outgoing.header(name.as_str(), shown);
        }
        let answer = self.http.send(outgoing.body(Bytes::from(request.body()))).await?;
        let status = StatusCode::from(answer.status.as_u16());
        let mut headers = Headers::new();
        for (name, value) in &answer.headers {
            if let Ok(value) = value.to_str() {
                headers.insert(name.as_str().to_owned(), value.to_owned());
            }
        }
        let mut body = answer.body;
        if self.peer == Peer::Machine && status == StatusCode::Ok {
            body = times::as_text(&body);
        }
        // Wiped when the last that holds it lets go.
        Ok(AsyncRawResponse::from_bytes(
            status,
            headers,
            Bytes::from_owner(body),
        ))
    }
}

#[async_trait]
impl HttpClient for Transport {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        self.send(request).await.map_err(into_sdk)
    }
}
