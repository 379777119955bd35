//! Tokens: logging in, renewing at two thirds of the time, logging in again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use reqwest::{Method, StatusCode};
use secrecy::ExposeSecret;
use serde_json::json;
use zeroize::Zeroizing;

use super::client::Client;
use super::config::{Auth, JwtSource};
use super::wire::{Answer, Granted, TokenInfo};
use super::{PROVIDER, map};
use crate::runtime::{Monotonic, Runtime, run_blocking, with_timeout, without_line_end};
use crate::value::error::{Error, ErrorKind, Result};

/// The greatest JWT that is read from a file.
const MAX_JWT: u64 = 64 << 10;

/// A token, and for how long.
pub(super) struct Session {
    token: Zeroizing<String>,
    /// What the login granted: renewing is over once it grants less.
    granted: Duration,
    renewable: bool,
    /// Absent for a token without an end.
    times: Option<Times>,
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
        }
    }

    pub(super) fn token(&self) -> &str {
        &self.token
    }
}

fn times(granted: Duration, now: Monotonic) -> Option<Times> {
    (!granted.is_zero()).then(|| Times {
        renew: now + granted * 2 / 3,
        end: now + granted,
    })
}

pub(super) struct Sessions {
    auth: Auth,
    current: Mutex<Option<Arc<Session>>>,
    /// Held while logging in or renewing, so that one does it for all.
    renewing: async_lock::Mutex<()>,
}

impl Sessions {
    pub(super) fn new(auth: Auth) -> Self {
        Self {
            auth,
            current: Mutex::new(None),
            renewing: async_lock::Mutex::new(()),
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

    /// The session for a call: renewed where two thirds of its time are over.
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
        let _one = match kept.filter(|session| !over(session)) {
            // Somebody renews it already; until then it is good.
            Some(session) => match self.renewing.try_lock() {
                Some(guard) => guard,
                None => return Ok(session),
            },
            None => self.lock(client, deadline).await?,
        };
        match self.kept() {
            // Another has done it meanwhile.
            Some(session) if !due(&session) => Ok(session),
            Some(session) if session.renewable && !over(&session) => {
                self.renew(client, &session, deadline).await
            }
            Some(session) if !over(&session) => self.log_in_or_keep(client, session, deadline).await,
            _ => self.log_in(client, deadline).await,
        }
    }

    /// Another session in the place of one that was refused.
    pub(super) async fn replace(
        &self,
        client: &Client,
        refused: &Arc<Session>,
        deadline: Monotonic,
    ) -> Result<Arc<Session>> {
        let _one = self.lock(client, deadline).await?;
        match self.kept() {
            Some(session) if !Arc::ptr_eq(&session, refused) => Ok(session),
            _ if matches!(self.auth, Auth::Token(_)) => {
                Err(unauthenticated("the token is over or was revoked"))
            }
            _ => self.log_in(client, deadline).await,
        }
    }

    async fn lock(&self, client: &Client, deadline: Monotonic) -> Result<async_lock::MutexGuard<'_, ()>> {
        let left = client.left(deadline)?;
        let lock = async { Ok(self.renewing.lock().await) };
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
            // Shortened: the most it may ever live is near.
            Ok(granted) if matches!(self.auth, Auth::Token(_)) => {
                let now = client.place().now();
                let ttl = Duration::from_secs(granted.lease_duration);
                Ok(self.keep(Session {
                    token: session.token.clone(),
                    granted: session.granted,
                    renewable: granted.renewable,
                    times: times(ttl, now),
                }))
            }
            Ok(_) | Err(_) => self.log_in_or_keep(client, Arc::clone(session), deadline).await,
        }
    }

    /// A new login, or, while there is none to be had, what is still good.
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
            // Half of what is left: not with every call.
            renew: now + times.end.0.saturating_sub(now.0) / 2,
            end: times.end,
        });
        Ok(self.keep(Session {
            token: session.token.clone(),
            granted: session.granted,
            renewable: session.renewable,
            times,
        }))
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
            Zeroizing::new(serde_json::to_vec(&fields).map_err(|_| map::nonsense("the login has no JSON"))?);
        let path = format!("auth/{}/login", mount.trim_matches('/'));
        let answered = client
            .send(Method::POST, &path, Some(Bytes::from_owner(body)), None, deadline)
            .await?;
        match answered.status {
            StatusCode::OK => {}
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

    /// A token that was made elsewhere: for how long it is good.
    async fn look_up(&self, client: &Client, token: &str, deadline: Monotonic) -> Result<Arc<Session>> {
        let now = client.place().now();
        let unknown = || Session::new(Zeroizing::new(token.to_owned()), 0, false, now);
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
                    .map_err(|_| map::nonsense("the answer about the token is not JSON as documented"))?;
                let info = answer
                    .data
                    .ok_or_else(|| map::nonsense("there is no answer about the token"))?;
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
        .map_err(|_| map::nonsense("the login's answer is not JSON as documented"))?;
    answer
        .auth
        .ok_or_else(|| map::nonsense("the login granted no token"))
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
    let work = run_blocking(client.place(), move || {
        use std::io::Read;
        let mut text = Zeroizing::new(String::with_capacity(8 << 10));
        let read = std::fs::File::open(&path).and_then(|file| file.take(MAX_JWT).read_to_string(&mut text));
        read.map(|_| Zeroizing::new(without_line_end(&text).to_owned()))
            .map_err(|error| {
                Error::configuration(format!("the login's token {} cannot be read", path.display()))
                    .with_source(error)
            })
    });
    let left = client.left(deadline)?;
    with_timeout(client.place(), Some(left), work).await?
}
