//! HTTP for network backends: no redirects, no retries, bounded answers in buffers that are wiped, one rule for proxies and
//! trust, and faults that say where, at which step and why.

mod endpoint;
mod fault;
mod proxy;
mod resolve;
mod trust;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub(in crate::backend) use endpoint::{parse_endpoint, warn_if_plain};
pub(in crate::backend) use fault::{Class, Fault, Target, causes};
pub(in crate::backend) use proxy::{Proxy, address_of, is_loopback};
use reqwest::header::HeaderMap;
use reqwest::{Client, Method, RequestBuilder, StatusCode, Url};
use secrecy::ExposeSecret;
pub(in crate::backend) use trust::{Ca, Trust};
use zeroize::Zeroizing;

use crate::runtime::{Environment, ProcessEnvironment, set_var};
use crate::value::error::{Error, Result};

/// The greatest answer that is read. A full batch and a page of versions have a tenth of it.
const MAX_ANSWER: usize = 1 << 20;

/// What the environment says about connections.
#[derive(Clone, Debug, Default)]
pub(in crate::backend) struct Surroundings {
    pub(in crate::backend) proxy: Option<Proxy>,
    cert_file: Option<PathBuf>,
    cert_dir: Option<PathBuf>,
}

impl Surroundings {
    /// `HTTPS_PROXY` and `NO_PROXY`, `SSL_CERT_FILE` and `SSL_CERT_DIR`.
    ///
    /// # Errors
    /// `Configuration` if one of them is not UTF-8, or the first is not the URL of a proxy.
    pub(in crate::backend) fn from_environment(environment: &dyn Environment) -> Result<Self> {
        let path = |name: &str| -> Result<Option<PathBuf>> {
            Ok(set_var(environment, name)?.map(|path| path.expose_secret().into()))
        };
        Ok(Self {
            proxy: Proxy::from_environment(environment)?,
            cert_file: path("SSL_CERT_FILE")?,
            cert_dir: path("SSL_CERT_DIR")?,
        })
    }

    /// Those that were read already, else what the environment of the process says.
    ///
    /// # Errors
    /// As [`from_environment`](Self::from_environment).
    pub(in crate::backend) fn or_of_process(read: Option<Self>) -> Result<Self> {
        read.map_or_else(|| Self::from_environment(&ProcessEnvironment), Ok)
    }
}

/// What a client of HTTP is made from.
#[derive(Debug)]
pub(in crate::backend) struct Settings<'a> {
    pub(in crate::backend) trust: &'a Trust,
    pub(in crate::backend) proxy: Option<&'a Proxy>,
    pub(in crate::backend) connect_timeout: Option<Duration>,
    /// From one byte of an answer to the next.
    pub(in crate::backend) read_timeout: Option<Duration>,
    pub(in crate::backend) https_only: bool,
    pub(in crate::backend) headers: HeaderMap,
    /// Addresses (`HOST:PORT`) and the variables or options that they were taken from.
    pub(in crate::backend) named: Vec<(String, &'static str)>,
}

/// A client of HTTP. Cheap to clone.
#[derive(Clone, Debug)]
pub(in crate::backend) struct Http {
    client: Client,
    proxy: Option<Proxy>,
    named: Vec<(String, &'static str)>,
}

/// An answer, whatever its status. The body is wiped.
pub(in crate::backend) struct Answer {
    pub(in crate::backend) status: StatusCode,
    pub(in crate::backend) headers: HeaderMap,
    pub(in crate::backend) body: Zeroizing<Vec<u8>>,
}

impl Http {
    pub(in crate::backend) fn new(settings: Settings<'_>) -> Result<Self> {
        let mut http = Client::builder()
            .tls_backend_preconfigured(settings.trust.to_rustls()?)
            .dns_resolver(Arc::new(resolve::System))
            .default_headers(settings.headers)
            // A redirect would take the token and the DEK along.
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            // Not what the library reads from the process: one rule for all.
            .no_proxy()
            .https_only(settings.https_only)
            .pool_idle_timeout(Duration::from_secs(60))
            .tcp_nodelay(true);
        if let Some(timeout) = settings.connect_timeout {
            http = http.connect_timeout(timeout);
        }
        if let Some(timeout) = settings.read_timeout {
            http = http.read_timeout(timeout);
        }
        if let Some(proxy) = settings.proxy {
            http = http.proxy(proxy.to_reqwest());
        }
        let client = http
            .build()
            .map_err(|error| Error::configuration("the HTTP settings are refused").with_source(error))?;
        Ok(Self {
            client,
            proxy: settings.proxy.cloned(),
            named: settings.named,
        })
    }

    pub(in crate::backend) fn request(&self, method: Method, url: Url) -> RequestBuilder {
        self.client.request(method, url)
    }

    /// One request and its answer.
    pub(in crate::backend) async fn send(
        &self,
        request: RequestBuilder,
    ) -> std::result::Result<Answer, Fault> {
        let nowhere = || Target {
            address: "an invalid address".to_owned(),
            source: None,
            proxy: None,
        };
        let request = request.build().map_err(|error| Fault::of(error, nowhere()))?;
        let target = self.target(request.url());
        let fault = |error| Fault::of(error, target.clone());
        let mut response = self.client.execute(request).await.map_err(fault)?;
        let mut body = Zeroizing::new(Vec::with_capacity(4096));
        while let Some(part) = response.chunk().await.map_err(fault)? {
            let len = body.len() + part.len();
            if len > MAX_ANSWER {
                return Err(Fault::new(Class::TooLong, target));
            }
            if len > body.capacity() {
                // Growing in place would leave the old allocation as it was.
                let mut larger = Zeroizing::new(Vec::with_capacity(len.max(2 * body.capacity())));
                larger.extend_from_slice(&body);
                body = larger;
            }
            body.extend_from_slice(&part);
        }
        Ok(Answer {
            status: response.status(),
            headers: std::mem::take(response.headers_mut()),
            body,
        })
    }

    /// Where a request to this URL goes.
    pub(in crate::backend) fn target(&self, url: &Url) -> Target {
        let address = address_of(url).unwrap_or_default();
        let named = self.named.iter().find(|(named, _)| *named == address);
        Target {
            source: named.map(|(_, source)| *source),
            proxy: self.proxy.as_ref().and_then(|proxy| proxy.on_the_way_to(url)),
            address,
        }
    }
}
