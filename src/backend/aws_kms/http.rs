//! HTTP for the AWS SDK, by the client that all network backends share.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use aws_sdk_kms::config::http::{HttpRequest, HttpResponse};
use aws_sdk_kms::config::{HttpClient, RuntimeComponents};
use aws_sdk_kms::error::ConnectorError;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use zeroize::Zeroizing;

use crate::backend::shared::http::{Class, Fault, Http, Proxy, Settings, Trust};

/// What carries tokens, beside `Authorization`.
const SECRET: [&str; 2] = ["x-amz-security-token", "x-aws-ec2-metadata-token"];

/// Connections of one client: to KMS, and to the services that return credentials.
#[derive(Debug)]
pub(super) struct Connections {
    trust: Trust,
    proxy: Option<Proxy>,
    named: Vec<(String, &'static str)>,
    made: Mutex<Vec<(Timeouts, SharedHttpConnector)>>,
}

/// To connect, and to the first byte of an answer.
type Timeouts = (Option<Duration>, Option<Duration>);

impl Connections {
    pub(super) fn new(trust: Trust, proxy: Option<Proxy>, named: Vec<(String, &'static str)>) -> Self {
        Self {
            trust,
            proxy,
            named,
            made: Mutex::default(),
        }
    }

    fn make(&self, (connect_timeout, read_timeout): Timeouts) -> SharedHttpConnector {
        let http = Http::new(Settings {
            trust: &self.trust,
            proxy: self.proxy.as_ref(),
            connect_timeout,
            read_timeout,
            https_only: false,
            headers: HeaderMap::new(),
            named: self.named.clone(),
        });
        match http {
            Ok(http) => SharedHttpConnector::new(Connector(http)),
            Err(error) => SharedHttpConnector::new(Refuses(error.to_string())),
        }
    }
}

impl HttpClient for Connections {
    fn http_connector(&self, settings: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        let timeouts = (settings.connect_timeout(), settings.read_timeout());
        // Nothing under it panics half-way.
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, connector)) = made.iter().find(|(known, _)| *known == timeouts) {
            return connector.clone();
        }
        let connector = self.make(timeouts);
        made.push((timeouts, connector.clone()));
        connector
    }
}

#[derive(Debug)]
struct Connector(Http);

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let http = self.0.clone();
        HttpConnectorFuture::new(async move { send(&http, request).await })
    }
}

/// The body of an answer. The SDK writes an answer to its log at TRACE: a body that the SDK cannot show keeps DEKs out of there.
struct Answer(Option<Bytes>);

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

async fn send(http: &Http, mut request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
    let user = |what: &'static str| ConnectorError::user(what.into());
    let url = Url::parse(request.uri()).map_err(|_| user("the address is no URL"))?;
    let method: Method = request
        .method()
        .parse()
        .map_err(|_| user("the HTTP method is invalid"))?;
    let mut outgoing = http.request(method, url);
    for (name, value) in request.headers() {
        let name: HeaderName = name
            .parse()
            .map_err(|_| user("the name of a header is invalid"))?;
        let mut value = HeaderValue::from_str(value).map_err(|_| user("the value of a header is invalid"))?;
        value.set_sensitive(name == AUTHORIZATION || SECRET.contains(&name.as_str()));
        outgoing = outgoing.header(name, value);
    }
    let body = request.take_body();
    let bytes = body.bytes().ok_or_else(|| user("the body is a stream"))?;
    // Wiped when the last that holds it lets go.
    let bytes = Bytes::from_owner(Zeroizing::new(bytes.to_vec()));
    let answer = http.send(outgoing.body(bytes)).await.map_err(failed)?;
    let status = answer.status.as_u16().try_into();
    let status = status.map_err(|_| ConnectorError::other("the HTTP status is invalid".into(), None))?;
    let mut response = HttpResponse::new(
        status,
        SdkBody::from_body_1_x(Answer(Some(Bytes::from_owner(answer.body)))),
    );
    for (name, value) in &answer.headers {
        if let Ok(value) = value.to_str() {
            // What the SDK does not take it does not need.
            let _ = response
                .headers_mut()
                .try_append(name.as_str().to_owned(), value.to_owned());
        }
    }
    Ok(response)
}

fn failed(fault: Fault) -> ConnectorError {
    match fault.class {
        Class::TimedOut | Class::ConnectTimedOut => ConnectorError::timeout(fault.into()),
        Class::Request => ConnectorError::user(fault.into()),
        _ => ConnectorError::io(fault.into()),
    }
}

/// In the place of a connector that cannot be made.
#[derive(Debug)]
struct Refuses(String);

impl HttpConnector for Refuses {
    fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
        HttpConnectorFuture::ready(Err(ConnectorError::user(self.0.clone().into())))
    }
}
