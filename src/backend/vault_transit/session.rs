//! Tokens: logging in, renewing at two thirds of the time, logging in again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use reqwest::{Method, StatusCode};
use secrecy::ExposeSecret;
use serde_json::json;
use zeroize::Zeroizing;

use super::PROVIDER;
use super::client::Client;
use super::config::{Auth, JwtSource};
use super::wire::{Answer, Granted, TokenInfo};
use crate::backend::shared::answer::invalid_answer;
use crate::backend::shared::secret_file;
use crate::runtime::{Monotonic, Runtime, run_blocking, with_timeout};
use crate::value::error::{Error, ErrorKind, Result};

/// The greatest JWT that is read from a file.
const MAX_JWT: usize = 64 << 10;
/// How long a token that may not look itself up, and was denied when it was fresh, is not replaced for being refused. It may
/// be revoked, so not forever.
const BLIND: Duration = Duration::from_secs(60);

/// A token, and for how long.
pub(super) struct Session {
    token: Zeroizing<String>,
    /// What the login granted: renewing is over once it grants less.
    granted: Duration,
    renewable: bool,
    /// Absent for a token without an end.
    times: Option<Times>,
    /// Whether a login or the server said how long it is good.
    knows_itself: bool,
    /// Whether a call was made with it that was not refused.
    worked: AtomicBool,
    /// Until when a refusal is taken for a denial: fresh from its login it was refused, and may not look itself up.
    blind: Mutex<Option<Monotonic>>,
}

#[derive(Clone, Copy)]
struct Times {
    renew: Monotonic,
    end: Monotonic,
}

impl Session {
    fn new(token: Zeroizing<String>, ttl: u64, renewable: bool, now: Monotonic) -> Self {
        let granted = Duration::from_secs(ttl);
        Self {
            token,
            granted,
            renewable,
            times: times(granted, now),
            knows_itself: true,
            worked: AtomicBool::new(false),
            blind: Mutex::default(),
        }
    }

    /// The same token with other times.
    fn with_times(&self, renewable: bool, times: Option<Times>) -> Self {
        Self {
            token: self.token.clone(),
            granted: self.granted,
            renewable,
            times,
            knows_itself: self.knows_itself,
            worked: AtomicBool::new(self.worked.load(Ordering::Relaxed)),
            blind: Mutex::new(*self.blind.lock().unwrap_or_else(PoisonError::into_inner)),
        }
    }

    /// Notes that a call was not refused.
    pub(super) fn has_worked(&self) {
        self.worked.store(true, Ordering::Relaxed);
    }

    /// Notes that a refusal, of a token that is fresh from its login, was a denial.
    pub(super) fn was_denied_when_fresh(&self, now: Monotonic) {
        *self.blind.lock().unwrap_or_else(PoisonError::into_inner) = Some(now + BLIND);
    }

    /// Whether a refusal is a denial as far as is known, though the token may not look itself up.
    pub(super) fn is_taken_for_denied(&self, now: Monotonic) -> bool {
        let blind = *self.blind.lock().unwrap_or_else(PoisonError::into_inner);
        blind.is_some_and(|until| now < until) || (!self.knows_itself && self.worked.load(Ordering::Relaxed))
    }

    pub(super) fn token(&self) -> &str {
        &self.token
    }
}

fn times(granted: Duration, now: Monotonic) -> Option<Times> {
    (!granted.is_zero()).then(|| Times {
        // Whatever number a server grants: two thirds, without a product that overflows.
        renew: now + granted.saturating_sub(granted / 3),
        end: now + granted,
    })
}

pub(super) struct Sessions {
    auth: Auth,
    current: Mutex<Option<Arc<Session>>>,
    /// Held while a call logs in or renews, so that one call does it for all.
    renewing: Arc<async_lock::Mutex<()>>,
}

impl Sessions {
    pub(super) fn new(auth: Auth) -> Self {
        Self {
            auth,
            current: Mutex::new(None),
            renewing: Arc::default(),
        }
    }

    pub(super) fn auth(&self) -> &Auth {
        &self.auth
    }

    fn kept(&self) -> Option<Arc<Session>> {
        self.current
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn keep(&self, session: Session) -> Arc<Session> {
        let session = Arc::new(session);
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&session));
        session
    }

    /// Returns the session for a call, and renews it if two thirds of its time are over.
    pub(super) async fn current(&self, client: &Client, deadline: Monotonic) -> Result<Arc<Session>> {
        let due = |session: &Session| {
            session
                .times
                .is_some_and(|times| client.place().now() >= times.renew)
        };
        let over = |session: &Session| {
            session
                .times
                .is_some_and(|times| client.place().now() >= times.end)
        };
        let kept = self.kept();
        match &kept {
            Some(session) if !due(session) => return Ok(Arc::clone(session)),
            _ => {}
        }
        let one = match kept.filter(|session| !over(session)) {
            // Another call renews it already, and it is still valid.
            Some(session) => match self.renewing.try_lock_arc() {
                Some(guard) => guard,
                None => return Ok(session),
            },
            None => self.lock(client, deadline).await?,
        };
        let now = match self.kept() {
            // Another call has done it meanwhile.
            Some(session) if !due(&session) => return Ok(session),
            Some(session) if !over(&session) => Some(session),
            _ => None,
        };
        let own = client.clone();
        let work = async move {
            let _one = one;
            let (sessions, deadline) = (own.sessions(), own.deadline(None));
            match now {
                Some(session) if session.renewable => sessions.renew(&own, &session, deadline).await,
                Some(session) => sessions.log_in_or_keep(&own, session, deadline).await,
                None => sessions.log_in(&own, deadline).await,
            }
        };
        client.run_for_all(deadline, work).await
    }

    /// Replaces a session that was refused.
    pub(super) async fn replace(
        &self,
        client: &Client,
        refused: &Arc<Session>,
        deadline: Monotonic,
    ) -> Result<Arc<Session>> {
        let one = self.lock(client, deadline).await?;
        match self.kept() {
            Some(session) if !Arc::ptr_eq(&session, refused) => return Ok(session),
            _ if matches!(self.auth, Auth::Token(_)) => {
                return Err(unauthenticated(match refused.knows_itself {
                    true => "the token is over or was revoked",
                    false => {
                        "the token is over or was revoked, or has neither the right to the call nor to look itself up"
                    }
                }));
            }
            _ => {}
        }
        let own = client.clone();
        let work = async move {
            let _one = one;
            own.sessions().log_in(&own, own.deadline(None)).await
        };
        client.run_for_all(deadline, work).await
    }

    /// Lets one call at a time work. The work goes on if the call that began it gives up: a login that takes longer than any caller
    /// waits would otherwise never end.
    async fn lock(&self, client: &Client, deadline: Monotonic) -> Result<async_lock::MutexGuardArc<()>> {
        let left = client.left(deadline)?;
        let lock = async { Ok(self.renewing.lock_arc().await) };
        with_timeout(client.place(), Some(left), lock)
            .await
            .map_err(|error| error.with_provider(PROVIDER))
    }

    async fn renew(
        &self,
        client: &Client,
        session: &Arc<Session>,
        deadline: Monotonic,
    ) -> Result<Arc<Session>> {
        let body = Bytes::from_static(b"{}");
        let path = "auth/token/renew-self";
        let answered = client
            .send(Method::POST, path, Some(body), Some(session), deadline)
            .await;
        let granted = answered.and_then(|answered| match answered.status {
            StatusCode::OK => granted(&answered.body),
            _ => Err(answered.error()),
        });
        match granted {
            Ok(granted) if Duration::from_secs(granted.lease_duration) >= session.granted => {
                let (ttl, renewable) = (granted.lease_duration, granted.renewable);
                let token = session.token.clone();
                Ok(self.keep(Session::new(token, ttl, renewable, client.place().now())))
            }
            // The server shortened the time, because the token's maximum is near.
            Ok(granted) if matches!(self.auth, Auth::Token(_)) => {
                let now = client.place().now();
                let ttl = Duration::from_secs(granted.lease_duration);
                Ok(self.keep(session.with_times(granted.renewable, times(ttl, now))))
            }
            Ok(_) | Err(_) => self.log_in_or_keep(client, Arc::clone(session), deadline).await,
        }
    }

    /// Logs in anew, or keeps the session if that fails and the session is still valid.
    async fn log_in_or_keep(
        &self,
        client: &Client,
        session: Arc<Session>,
        deadline: Monotonic,
    ) -> Result<Arc<Session>> {
        let error = if matches!(self.auth, Auth::Token(_)) {
            None
        } else {
            match self.log_in(client, deadline).await {
                Ok(session) => return Ok(session),
                Err(error) => Some(error),
            }
        };
        tracing::warn!(provider = PROVIDER, error = ?error.map(|error| error.kind()), "the token could not be renewed");
        let now = client.place().now();
        let times = session.times.map(|times| Times {
            // After half of the time that is left, and not with every call.
            renew: now + times.end.0.saturating_sub(now.0) / 2,
            end: times.end,
        });
        Ok(self.keep(session.with_times(session.renewable, times)))
    }

    async fn log_in(&self, client: &Client, deadline: Monotonic) -> Result<Arc<Session>> {
        let (mount, fields) = match &self.auth {
            Auth::Token(token) => return self.look_up(client, token.expose_secret(), deadline).await,
            Auth::AppRole {
                mount,
                role_id,
                secret_id,
            } => (
                mount,
                json!({"role_id": role_id, "secret_id": secret_id.expose_secret()}),
            ),
            Auth::Kubernetes { mount, role, jwt } | Auth::Jwt { mount, role, jwt } => {
                let jwt = read_jwt(client, jwt, deadline).await?;
                (mount, json!({"role": role, "jwt": &**jwt}))
            }
        };
        let body =
            Zeroizing::new(serde_json::to_vec(&fields).map_err(|_| invalid_answer("the login has no JSON"))?);
        let path = format!("auth/{}/login", mount.trim_matches('/'));
        let answered = client
            .send(Method::POST, &path, Some(Bytes::from_owner(body)), None, deadline)
            .await?;
        match answered.status {
            StatusCode::OK => {}
            StatusCode::BAD_REQUEST if answered.is_no_api() => return Err(answered.error()),
            // One of them, by method and by what is wrong with what it was shown.
            StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => {
                return Err(unauthenticated("the login was refused"));
            }
            StatusCode::NOT_FOUND => return Err(unauthenticated("there is no such auth method")),
            _ => return Err(answered.error()),
        }
        let granted = granted(&answered.body)?;
        let now = client.place().now();
        Ok(self.keep(Session::new(
            granted.client_token,
            granted.lease_duration,
            granted.renewable,
            now,
        )))
    }

    /// Looks up how long a token that was made elsewhere is valid.
    async fn look_up(&self, client: &Client, token: &str, deadline: Monotonic) -> Result<Arc<Session>> {
        let now = client.place().now();
        let unknown = || Session {
            knows_itself: false,
            ..Session::new(Zeroizing::new(token.to_owned()), 0, false, now)
        };
        let answered = client
            .send(
                Method::GET,
                "auth/token/lookup-self",
                None,
                Some(&unknown()),
                deadline,
            )
            .await?;
        match answered.status {
            StatusCode::OK => {
                let answer: Answer<TokenInfo> = serde_json::from_slice(&answered.body)
                    .map_err(|_| invalid_answer("the answer about the token is not JSON as documented"))?;
                let info = answer
                    .data
                    .ok_or_else(|| invalid_answer("there is no answer about the token"))?;
                Ok(self.keep(Session::new(
                    Zeroizing::new(token.to_owned()),
                    info.ttl,
                    info.renewable,
                    now,
                )))
            }
            // Not valid, or without the right to look itself up: the call it is for will show.
            StatusCode::FORBIDDEN => Ok(self.keep(unknown())),
            _ => Err(answered.error()),
        }
    }
}

fn granted(body: &[u8]) -> Result<Granted> {
    let answer: Answer<serde::de::IgnoredAny> = serde_json::from_slice(body)
        .map_err(|_| invalid_answer("the login's answer is not JSON as documented"))?;
    answer
        .auth
        .ok_or_else(|| invalid_answer("the login granted no token"))
}

fn unauthenticated(detail: &'static str) -> Error {
    Error::new(ErrorKind::Unauthenticated)
        .with_provider(PROVIDER)
        .with_detail(detail)
}

async fn read_jwt(client: &Client, source: &JwtSource, deadline: Monotonic) -> Result<Zeroizing<String>> {
    let path = match source {
        JwtSource::Fixed(jwt) => return Ok(Zeroizing::new(jwt.expose_secret().to_owned())),
        JwtSource::File(path) => path.clone(),
    };
    let shown = path.display().to_string();
    let work = run_blocking(client.place(), move || {
        // The owner of the container decides who can read the file.
        let text = secret_file::read_at_most(&path, "token of the login", true, MAX_JWT)?;
        Ok(Zeroizing::new(text.expose_secret().to_owned()))
    });
    let left = client.left(deadline)?;
    let read = with_timeout(client.place(), Some(left), work).await;
    let read = read.map_err(|error| match error.kind() {
        ErrorKind::TimedOut => {
            error.with_detail(format!("the token of the login {shown} was not read in time"))
        }
        _ => error,
    });
    read?.map_err(|error: Error| error.with_provider(PROVIDER))
}
