//! The connection to one server, and the one place where requests are made.

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Method, StatusCode, Url};
use secrecy::ExposeSecret;
use zeroize::Zeroizing;

use super::admin::TransitAdmin;
use super::config::{Auth, Config};
use super::key::TransitKey;
use super::names::check_path;
use super::session::{Session, Sessions};
use super::wire::Body;
use super::{PROVIDER, map};
use crate::backend::shared::door::{Door, Place};
use crate::backend::shared::http::{
    Answer, Fault, Http, Settings, Surroundings, Trust, address_of, parse_endpoint, warn_if_plain,
};
use crate::key::Request;
use crate::runtime::{Kept, Monotonic, Runtime};
use crate::value::error::{Error, Result};

/// In answers: how far the storage of a server is. In requests: how far it must be. A standby that is behind asks the active
/// server, so that a client reads its own changes.
const INDEX: &str = "x-vault-index";
const MAX_INDEX: usize = 1024;
const INCONSISTENT: &str = "x-vault-inconsistent";
/// The header with the token for an agent or proxy of the server's. Without it, an agent may send its own token.
const TOKEN: &str = "x-vault-token";
const NAMESPACE: &str = "x-vault-namespace";

/// Connects to one server, with connections and a login that all its key managers share. Cloning is cheap.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    http: Kept<Http>,
    address: Url,
    namespace: Option<String>,
    door: Door,
    sessions: Sessions,
    /// How far the storage was, at the last answer to what may have changed it.
    index: Mutex<Option<HeaderValue>>,
    /// Whether the server lets itself be told that.
    tells: AtomicBool,
    /// Whether the server was seen to heed the namespace.
    heeds_namespace: AtomicBool,
}

/// An answer: the status, and a body that is wiped.
pub(super) struct Answered {
    pub(super) status: StatusCode,
    pub(super) body: Zeroizing<Vec<u8>>,
    retry_after: Option<Duration>,
    index: Option<HeaderValue>,
    /// The address that a redirect leads to.
    location: Option<String>,
    /// What the call needs the right to.
    right: String,
    /// Whether the server was found to be sealed.
    is_sealed: bool,
    /// Whether it was asked without TLS.
    is_plain: bool,
}

impl Answered {
    /// Whether plain HTTP was answered by something else than the server's API.
    pub(super) fn is_no_api(&self) -> bool {
        self.is_plain && !self.body.starts_with(b"{")
    }

    pub(super) fn error(&self) -> Error {
        let status = self.status.as_u16();
        let error = map::status(status, self.retry_after);
        let detail = match status {
            403 => format!(
                "HTTP status 403: the token's policies do not allow {}",
                self.right
            ),
            503 if self.is_sealed => "HTTP status 503: the server is sealed; unseal it".to_owned(),
            301..=303 | 307 | 308 => format!(
                "HTTP status {status}: a redirect to {}, which is not followed; if the active server is alive, give its address",
                self.location.as_deref().unwrap_or("an address that is not one")
            ),
            // The servers answer plain HTTP on a TLS port like this, in text.
            400 if self.is_no_api() => {
                return Error::configuration(
                    "HTTP status 400, and not by the server's API: perhaps the port speaks TLS; give the address as https://",
                )
                .with_provider(PROVIDER);
            }
            _ => return error,
        };
        error.with_detail(detail)
    }
}

impl Client {
    /// Makes a client of this server. Makes no call.
    ///
    /// The client works from any thread, in a runtime or not, and outlives the runtime that it is made in: it does its I/O on the
    /// tokio runtime of this crate, or on the runtime that the configuration names.
    ///
    /// # Errors
    /// `Configuration` if the address, namespace, mount or CA is invalid; `Unavailable` if the process cannot start another thread.
    #[allow(
        clippy::unused_async,
        reason = "the clients of all backends are made alike, and one has to wait"
    )]
    pub async fn connect(config: Config) -> Result<Self> {
        Self::build(config).map_err(|error| error.with_provider(PROVIDER))
    }

    /// Returns the key `name` of the Transit engine at `transit`, with [`Mode::Encrypt`](super::Mode::Encrypt); see
    /// [`TransitKey::with_mount`] and [`TransitKey::with_mode`] for others. Makes no call: the first use reads the key, and
    /// [`TransitKey::check`] reads it immediately.
    ///
    /// # Errors
    /// `Configuration` if `name` is not a valid name of a key.
    pub fn key(&self, name: &str) -> Result<TransitKey> {
        TransitKey::new(self, name)
    }

    /// Returns the administration of the keys of the Transit engine at `transit`, with this client's login; see
    /// [`TransitAdmin::with_mount`] and [`TransitAdmin::with_mode`] for others.
    #[must_use]
    pub fn admin(&self) -> TransitAdmin {
        TransitAdmin::new(self)
    }

    fn build(config: Config) -> Result<Self> {
        let what = config.address_source.unwrap_or("the address of the server");
        let address = parse_endpoint(&config.address, what, true)?;
        let namespace = config
            .namespace
            .map(|namespace| check_path(&namespace, "a namespace"))
            .transpose()?;
        match &config.auth {
            Auth::Token(token) => {
                shown(token.expose_secret())?;
            }
            Auth::AppRole { mount, .. } | Auth::Kubernetes { mount, .. } | Auth::Jwt { mount, .. } => {
                check_path(mount, "the mount of an auth method")?;
            }
        }
        let door = Door::new(
            config.handle,
            config.timeout,
            address_of(&address).unwrap_or_default(),
        )?;
        let mut headers = HeaderMap::new();
        headers.insert("x-vault-request", HeaderValue::from_static("true"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(namespace) = &namespace {
            let value =
                HeaderValue::from_str(namespace).map_err(|_| Error::configuration("a namespace is ASCII"))?;
            headers.insert(NAMESPACE, value);
        }
        let surroundings = Surroundings::or_of_process(config.surroundings)?;
        let trust = match &config.ca {
            Some(ca) => Trust::only(ca)?,
            None => Trust::system(&surroundings)?,
        };
        let named = config.address_source.zip(address_of(&address));
        let http = Http::new(Settings {
            trust: &trust,
            proxy: surroundings.proxy.as_ref(),
            connect_timeout: Some(config.connect_timeout),
            read_timeout: None,
            https_only: false,
            headers,
            named: named
                .into_iter()
                .map(|(source, address)| (address, source))
                .collect(),
        })?;
        warn_if_plain(&address, PROVIDER);
        Ok(Self(Arc::new(Inner {
            http: Kept::new(http),
            address,
            namespace,
            door,
            sessions: Sessions::new(config.auth),
            index: Mutex::default(),
            tells: AtomicBool::new(true),
            heeds_namespace: AtomicBool::new(false),
        })))
    }

    pub(super) fn address(&self) -> &Url {
        &self.0.address
    }

    pub(super) fn namespace(&self) -> Option<&str> {
        self.0.namespace.as_deref()
    }

    pub(super) fn sessions(&self) -> &Sessions {
        &self.0.sessions
    }

    /// Does work that others wait for too. The work goes on if the caller gives up.
    pub(super) async fn run_for_all<T: Send + 'static>(
        &self,
        deadline: Monotonic,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let done = self.0.door.run_for_all(deadline, work).await;
        done.map_err(|error| error.with_provider(PROVIDER))
    }

    pub(super) fn place(&self) -> &Place {
        self.0.door.place()
    }

    /// Returns the time by which a call that begins now must end.
    pub(super) fn deadline(&self, request: Option<&Request<'_>>) -> Monotonic {
        self.0.door.deadline(request)
    }

    /// What is left until then.
    pub(super) fn left(&self, deadline: Monotonic) -> Result<Duration> {
        let left = self.0.door.left(deadline);
        left.map_err(|error| error.with_provider(PROVIDER))
    }

    /// Makes one call with the token of the session. If the token has expired, logs in again, once.
    pub(super) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Body>,
        deadline: Monotonic,
    ) -> Result<Answered> {
        // Bytes, so that a second try does not copy what is to be wiped.
        let body = body.map(Bytes::from_owner);
        let session = self.0.sessions.current(self, deadline).await?;
        let answered = self
            .send(method.clone(), path, body.clone(), Some(&session), deadline)
            .await?;
        if answered.status != StatusCode::FORBIDDEN {
            if answered.status != StatusCode::UNAUTHORIZED {
                session.has_worked();
            }
            return Ok(answered);
        }
        // Denied or expired: the status is the same. If the token is alive, the call is denied.
        let is_denied = session.is_taken_for_denied(self.place().now());
        if is_denied || self.is_alive(&session, deadline).await? {
            return Ok(answered);
        }
        let session = self.0.sessions.replace(self, &session, deadline).await?;
        let again = self.send(method, path, body, Some(&session), deadline).await?;
        if again.status == StatusCode::FORBIDDEN {
            // The login is not the reason, so another login with each call would change nothing.
            session.was_denied_when_fresh(self.place().now());
        }
        Ok(again)
    }

    /// Whether the server is sealed, as far as it says.
    async fn is_sealed(&self, deadline: Monotonic) -> bool {
        let answered = self
            .send_once(Method::GET, "sys/seal-status", None, None, None, deadline)
            .await;
        answered.is_ok_and(|answered| {
            let status: Option<SealStatus> = serde_json::from_slice(&answered.body).ok();
            status.is_some_and(|status| status.sealed)
        })
    }

    /// Refuses a server that does not know namespaces and ignores the header in silence, as the community edition of Vault
    /// does: what it wraps with is the key of that name of the root. A `path` that was
    /// just read can be read in a namespace that there is not only if nobody looks at the namespace. Of one that was not read
    /// a refusal proves nothing.
    pub(super) async fn check_namespace(
        &self,
        path: &str,
        was_read: bool,
        deadline: Monotonic,
    ) -> Result<()> {
        let Some(namespace) = self.namespace() else {
            return Ok(());
        };
        if self.0.heeds_namespace.load(Ordering::Relaxed) {
            return Ok(());
        }
        let nowhere = HeaderValue::from_str(&format!("{namespace}/waxseal-no-such-namespace"))
            .map_err(|_| Error::configuration("a namespace is ASCII"))?;
        let session = self.0.sessions.current(self, deadline).await?;
        let (bearer, token) = shown(session.token())?;
        let http = self.0.http.get()?.clone();
        let request = http
            .request(Method::GET, self.url(path))
            .timeout(self.left(deadline)?)
            .header(NAMESPACE, nowhere)
            .header(AUTHORIZATION, bearer)
            .header(TOKEN, token);
        let work = async move {
            let answer = http.send(request).await.map_err(Fault::into_error)?;
            Ok(answered(answer))
        };
        let answered = self.0.door.run_by(deadline, work).await;
        let answered = answered.map_err(|error| error.with_provider(PROVIDER))?;
        match answered.status {
            StatusCode::OK => Err(Error::configuration(
                "the server ignores namespaces, as the community edition of Vault does, so its keys are not the \
                 namespace's: leave the namespace out (namespace=, VAULT_NAMESPACE), or use a server that has namespaces",
            )
            .with_provider(PROVIDER)),
            StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => {
                if was_read {
                    self.0.heeds_namespace.store(true, Ordering::Relaxed);
                }
                Ok(())
            }
            _ => Err(answered.error()),
        }
    }

    async fn is_alive(&self, session: &Session, deadline: Monotonic) -> Result<bool> {
        let path = "auth/token/lookup-self";
        let answered = self
            .send(Method::GET, path, None, Some(session), deadline)
            .await?;
        match answered.status {
            StatusCode::OK => Ok(true),
            StatusCode::FORBIDDEN => Ok(false),
            _ => Err(answered.error()),
        }
    }

    /// Sends one request and returns its answer, with any status, by `deadline`.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
        session: Option<&Session>,
        deadline: Monotonic,
    ) -> Result<Answered> {
        let reads = method == Method::GET;
        let known = || self.0.index.lock().unwrap_or_else(PoisonError::into_inner);
        let index = reads.then(|| known().clone()).flatten();
        let is_told = index.is_some();
        let mut answered = self
            .send_once(method.clone(), path, body.clone(), session, index, deadline)
            .await?;
        if is_told && answered.status == StatusCode::BAD_REQUEST {
            // HashiCorp Vault refuses to be told so, unless its configuration has it (`allow_forwarding_via_header`).
            self.0.tells.store(false, Ordering::Relaxed);
            *known() = None;
            answered = self
                .send_once(method, path, body, session, None, deadline)
                .await?;
        }
        if answered.status == StatusCode::SERVICE_UNAVAILABLE {
            answered.is_sealed = self.is_sealed(deadline).await;
        }
        if let (false, true, Some(reached)) = (reads, self.0.tells.load(Ordering::Relaxed), &answered.index) {
            *known() = Some(reached.clone());
        }
        Ok(answered)
    }

    async fn send_once(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
        session: Option<&Session>,
        index: Option<HeaderValue>,
        deadline: Monotonic,
    ) -> Result<Answered> {
        let left = self.left(deadline)?;
        let right = format!("{} on {path}", capability(&method));
        let http = self.0.http.get()?.clone();
        let mut request = http.request(method, self.url(path)).timeout(left);
        if let Some(index) = index {
            request = request
                .header(INDEX, index)
                .header(INCONSISTENT, "forward-active-node");
        }
        if let Some(session) = session {
            let (bearer, token) = shown(session.token())?;
            request = request.header(AUTHORIZATION, bearer).header(TOKEN, token);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        let work = async move {
            let answer = http.send(request).await.map_err(Fault::into_error)?;
            Ok(answered(answer))
        };
        let answered = self.0.door.run_by(deadline, work).await;
        let mut answered = answered.map_err(|error| error.with_provider(PROVIDER))?;
        answered.right = right;
        answered.is_plain = self.0.address.scheme() == "http";
        Ok(answered)
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.0.address.clone();
        url.set_path(&format!(
            "{}/v1/{path}",
            self.0.address.path().trim_end_matches('/')
        ));
        url
    }
}

/// Returns the capability that a policy must have for a call.
fn capability(method: &Method) -> &'static str {
    match *method {
        Method::GET => "read",
        Method::DELETE => "delete",
        _ => "update",
    }
}

#[derive(serde::Deserialize)]
struct SealStatus {
    sealed: bool,
}

/// Returns scheme, host and port of the address that a redirect leads to: the rest may contain anything.
fn origin(location: &str) -> Option<String> {
    let url = Url::parse(location).ok()?;
    matches!(url.scheme(), "http" | "https").then(|| url.origin().ascii_serialization())
}

fn answered(answer: Answer) -> Answered {
    let retry_after = answer.headers.get(RETRY_AFTER).and_then(|value| {
        let seconds = value.to_str().ok()?.parse().ok()?;
        Some(Duration::from_secs(seconds))
    });
    let index = answer.headers.get(INDEX);
    let index = index.filter(|index| index.len() <= MAX_INDEX).cloned();
    let location = answer.headers.get(LOCATION);
    let location = location.and_then(|location| origin(location.to_str().ok()?));
    Answered {
        status: answer.status,
        body: answer.body,
        retry_after,
        index,
        location,
        right: String::new(),
        is_sealed: false,
        is_plain: false,
    }
}

/// Returns a token in the forms of `Authorization` and of [`TOKEN`].
fn shown(token: &str) -> Result<(HeaderValue, HeaderValue)> {
    let is_one = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    let sensitive = |value: &str| {
        let mut value = HeaderValue::from_str(value).ok().filter(|_| is_one)?;
        value.set_sensitive(true);
        Some(value)
    };
    sensitive(&Zeroizing::new(format!("Bearer {token}")))
        .zip(sensitive(token))
        .ok_or_else(|| {
            Error::configuration("a token is printable ASCII without spaces").with_provider(PROVIDER)
        })
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("address", &self.0.address.as_str())
            .field("namespace", &self.0.namespace)
            .field("auth", self.0.sessions.auth())
            .field("timeout", &self.0.door.timeout())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_shown_in_no_debug() {
        let (bearer, token) = shown("CANARY").unwrap();
        assert_eq!(
            (&bearer, &token),
            (&"Bearer CANARY".parse().unwrap(), &"CANARY".parse().unwrap())
        );
        assert!(bearer.is_sensitive() && token.is_sensitive());
        for bad in ["", "a b", "a\n", "\u{e4}"] {
            assert!(shown(bad).is_err(), "{bad:?}");
        }
    }
}
