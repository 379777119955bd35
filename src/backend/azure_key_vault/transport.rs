//! HTTP under Microsoft's client: no redirects, bounded answers, wiped buffers, errors that say what happened.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use azure_core::error::{Error as SdkError, ErrorKind as SdkKind};
use azure_core::http::headers::Headers;
use azure_core::http::{AsyncRawResponse, HttpClient, Method, Request, StatusCode, Url};
use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use secrecy::ExposeSecret;
use zeroize::Zeroizing;

use super::config::{Ca, Config};
use super::names::parse_vault;
use super::times;
use crate::value::error::{Error, Result};

/// The greatest answer that is read. A page of versions has a tenth of it.
const MAX_ANSWER: usize = 1 << 20;

/// Why there was no whole answer, or no token may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    TimedOut,
    Certificate,
    Broken,
    TooLong,
    /// The vault asks for a token that is not for it.
    Challenge,
}

#[derive(Debug)]
pub(super) struct Fault {
    pub(super) why: Why,
    source: Option<reqwest::Error>,
}

impl Fault {
    pub(super) fn new(why: Why) -> Self {
        Self { why, source: None }
    }

    /// As Microsoft's client carries it. Of this kind, so that it is never tried again there.
    pub(super) fn into_sdk(self) -> SdkError {
        SdkError::new(SdkKind::Other, self)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.why {
            Why::TimedOut => "no answer in time",
            Why::Certificate => "the server's certificate is not one to trust",
            Why::Broken => "no whole answer",
            Why::TooLong => "the answer is too long",
            Why::Challenge => "the token asked for is not for the vault",
        })
    }
}

impl StdError for Fault {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}

/// Whom a connection is to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    Vault,
    Entra,
    /// Near by, and without TLS: what gives tokens to managed identities.
    Machine,
}

#[derive(Debug)]
pub(super) struct Http {
    client: reqwest::Client,
    /// The only host that is asked, whatever address an answer gives.
    only: Option<Url>,
    peer: Peer,
}

impl Http {
    pub(super) fn new(config: &Config, peer: Peer) -> Result<Self> {
        let mut http = reqwest::Client::builder()
            // A redirect would take the token and the DEK along.
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            // Variables of the process choose no way; those of the configuration's environment may.
            .no_proxy()
            .https_only(peer != Peer::Machine)
            .pool_idle_timeout(Duration::from_secs(60))
            .tcp_nodelay(true);
        // On another machine than Azure's nobody answers there.
        http = http.connect_timeout(match peer {
            Peer::Machine => config.connect_timeout.min(Duration::from_secs(1)),
            _ => config.connect_timeout,
        });
        if let (Some(proxy), Peer::Vault | Peer::Entra) = (&config.proxy, peer) {
            let refused = |error: reqwest::Error| {
                Error::configuration("the proxy is no URL of one; see HTTPS_PROXY")
                    .with_source(error.without_url())
            };
            let except = format!("{},localhost,127.0.0.0/8,::1", proxy.except);
            let proxy = reqwest::Proxy::https(proxy.url.expose_secret()).map_err(refused)?;
            http = http.proxy(proxy.no_proxy(reqwest::NoProxy::from_string(&except)));
        }
        http = match (&config.ca, peer) {
            (Some(ca), Peer::Vault) => http.tls_certs_only(certificates(ca)?),
            (Some(ca), _) => http.tls_certs_merge(certificates(ca)?),
            (None, _) => http,
        };
        let http = http
            .build()
            .map_err(|error| Error::configuration("the TLS settings are refused").with_source(error))?;
        Ok(Self {
            client: http,
            only: match peer {
                Peer::Vault => Some(parse_vault(&config.vault)?),
                Peer::Entra | Peer::Machine => None,
            },
            peer,
        })
    }

    async fn send(&self, request: &Request) -> std::result::Result<AsyncRawResponse, Fault> {
        let method = match request.method() {
            Method::Delete => reqwest::Method::DELETE,
            Method::Get => reqwest::Method::GET,
            Method::Head => reqwest::Method::HEAD,
            Method::Patch => reqwest::Method::PATCH,
            Method::Post => reqwest::Method::POST,
            Method::Put => reqwest::Method::PUT,
            _ => return Err(Fault::new(Why::Broken)),
        };
        let mut url = request.url().clone();
        if let Some(only) = &self.only {
            let set = url.set_host(only.host_str()).is_ok() && url.set_port(only.port()).is_ok();
            if !set || url.origin() != only.origin() {
                return Err(Fault::new(Why::Broken));
            }
        }
        let mut outgoing = self.client.request(method, url);
        for (name, value) in request.headers().iter() {
            let mut shown = HeaderValue::from_str(value.as_str()).map_err(|_| Fault::new(Why::Broken))?;
            shown.set_sensitive(name.as_str().eq_ignore_ascii_case(AUTHORIZATION.as_str()));
            outgoing = outgoing.header(name.as_str(), shown);
        }
        let mut response = outgoing.body(Bytes::from(request.body())).send().await?;
        let status = StatusCode::from(response.status().as_u16());
        let mut headers = Headers::new();
        for (name, value) in response.headers() {
            if let Ok(value) = value.to_str() {
                headers.insert(name.as_str().to_owned(), value.to_owned());
            }
        }
        let mut body = Zeroizing::new(Vec::with_capacity(4096));
        while let Some(part) = response.chunk().await? {
            let len = body.len() + part.len();
            if len > MAX_ANSWER {
                return Err(Fault::new(Why::TooLong));
            }
            if len > body.capacity() {
                // Growing in place would leave the old allocation as it was.
                let mut larger = Zeroizing::new(Vec::with_capacity(len.max(2 * body.capacity())));
                larger.extend_from_slice(&body);
                body = larger;
            }
            body.extend_from_slice(&part);
        }
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
impl HttpClient for Http {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        self.send(request).await.map_err(Fault::into_sdk)
    }
}

impl From<reqwest::Error> for Fault {
    fn from(error: reqwest::Error) -> Self {
        let why = if is_certificate(&error) {
            Why::Certificate
        } else if error.is_timeout() && !error.is_connect() {
            Why::TimedOut
        } else {
            Why::Broken
        };
        // The address is the configured one; the cause needs none.
        Self {
            why,
            source: Some(error.without_url()),
        }
    }
}

fn is_certificate(error: &reqwest::Error) -> bool {
    let mut cause: Option<&(dyn StdError + 'static)> = error.source();
    while let Some(error) = cause {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return matches!(tls, rustls::Error::InvalidCertificate(_));
        }
        // An I/O error gives the source of what is in it, not what is in it.
        let inner = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        cause = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    false
}

fn certificates(ca: &Ca) -> Result<Vec<reqwest::Certificate>> {
    let read;
    let pem = match ca {
        Ca::Pem(pem) => pem,
        Ca::File(path) => {
            read = std::fs::read(path).map_err(|error| {
                Error::configuration(format!(
                    "the CA file {} cannot be read; see ca and SSL_CERT_FILE",
                    path.display()
                ))
                .with_source(error)
            })?;
            &read
        }
    };
    let certificates = reqwest::Certificate::from_pem_bundle(pem)
        .map_err(|error| Error::configuration("the CA is not PEM").with_source(error))?;
    if certificates.is_empty() {
        return Err(Error::configuration("the CA has no certificate in it"));
    }
    Ok(certificates)
}
