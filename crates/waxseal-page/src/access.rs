//! Who may see the page, if no application decides it.

use std::path::Path;

use axum::Router;
use axum::extract::Request;
use axum::http::header::{AUTHORIZATION, HOST, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use base64ct::{Base64, Encoding};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;
use waxseal::runtime::read_private_file;
use waxseal::{Error, ErrorKind, Result};
use zeroize::Zeroizing;

/// The fewest bytes of a token: 128 bits in base64 or hexadecimal digits are at least as many.
const SHORTEST: usize = 22;
/// The most bytes of an `Authorization` header that are looked at.
const LONGEST: usize = 1024;

/// Who may see the page.
#[derive(Clone, Debug)]
pub struct Access(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Loopback,
    Token(SecretString),
}

impl Access {
    /// Whoever is on this machine. Requests must name it as `localhost` or a loopback address: a web site that lets a name of its own point here gets
    /// nothing.
    #[must_use]
    pub fn loopback() -> Self {
        Self(Kind::Loopback)
    }

    /// Whoever has this token: as `Authorization: Bearer TOKEN`, or, for browsers, as the password of whatever user. Anybody on the way can read it
    /// without TLS.
    ///
    /// # Errors
    /// `InvalidArgument` if it has less than 22 or more than 512 bytes, or others than visible ASCII characters.
    pub fn token(token: SecretString) -> Result<Self> {
        let bytes = token.expose_secret().as_bytes();
        if !(SHORTEST..=512).contains(&bytes.len()) || !bytes.iter().all(u8::is_ascii_graphic) {
            return Err(Error::new(ErrorKind::InvalidArgument).with_detail(
                "a token has 22 to 512 visible ASCII characters: make one with `openssl rand -base64 32`"
                    .to_owned(),
            ));
        }
        Ok(Self(Kind::Token(token)))
    }

    /// The same with the token in a file that only its owner can read.
    ///
    /// # Errors
    /// `Configuration` if the file cannot be read, or others can read it; as [`token`](Self::token).
    pub fn token_file(path: impl AsRef<Path>) -> Result<Self> {
        Self::token(read_private_file(path.as_ref(), "token")?)
    }

    pub(crate) fn is_loopback(&self) -> bool {
        matches!(self.0, Kind::Loopback)
    }

    pub(crate) fn guard(self, router: Router) -> Router {
        router.layer(middleware::from_fn(move |request: Request, next: Next| {
            let refusal = self.refusal(request.headers());
            async move {
                match refusal {
                    None => next.run(request).await,
                    Some(refusal) => refusal,
                }
            }
        }))
    }

    fn refusal(&self, headers: &HeaderMap) -> Option<Response> {
        match &self.0 {
            Kind::Loopback if names_loopback(headers) => None,
            Kind::Loopback => Some(
                (
                    StatusCode::MISDIRECTED_REQUEST,
                    "ask for localhost or 127.0.0.1: this page is for whoever is on this machine\n",
                )
                    .into_response(),
            ),
            Kind::Token(token) if has_token(headers, token) => None,
            Kind::Token(_) => {
                let mut refusal = (
                    StatusCode::UNAUTHORIZED,
                    "this page needs its token, as password of whatever user\n",
                )
                    .into_response();
                let asks = HeaderValue::from_static("Basic realm=\"waxseal\", charset=\"UTF-8\"");
                refusal.headers_mut().insert(WWW_AUTHENTICATE, asks);
                Some(refusal)
            }
        }
    }
}

/// Whether the request names this machine. Exactly one `Host` does.
fn names_loopback(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next().and_then(|host| host.to_str().ok()), hosts.next()) else {
        return false;
    };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    name.eq_ignore_ascii_case("localhost")
        || address
            .unwrap_or(name)
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

fn has_token(headers: &HeaderMap, token: &SecretString) -> bool {
    let token = token.expose_secret().as_bytes();
    let Some(value) = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes) else {
        return false;
    };
    let Some(space) = value.iter().position(|byte| *byte == b' ') else {
        return false;
    };
    let (scheme, rest) = value.split_at(space);
    let rest = rest.trim_ascii();
    if rest.len() > LONGEST {
        return false;
    }
    if scheme.eq_ignore_ascii_case(b"bearer") {
        return bool::from(rest.ct_eq(token));
    }
    if !scheme.eq_ignore_ascii_case(b"basic") {
        return false;
    }
    let Ok(decoded) = std::str::from_utf8(rest).map(Base64::decode_vec) else {
        return false;
    };
    let Ok(pair) = decoded.map(Zeroizing::new) else {
        return false;
    };
    let password = pair
        .iter()
        .position(|byte| *byte == b':')
        .and_then(|colon| pair.get(colon + 1..));
    password.is_some_and(|password| bool::from(password.ct_eq(token)))
}
