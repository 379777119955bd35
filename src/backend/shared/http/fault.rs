//! Why a request got no whole answer: the address, the step and the kind of cause.

use std::error::Error as StdError;
use std::fmt;
use std::io::ErrorKind as Io;

use rustls::CertificateError;

use super::resolve::NotResolved;
use crate::value::error::{Error, ErrorKind};

/// The causes of an error, an I/O error's own among them.
pub(in crate::backend) fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| {
        let error: &'a (dyn StdError + 'static) = *error;
        // An I/O error returns the source of its inner error, and not the inner error.
        let inner = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        match inner {
            Some(inner) => Some(inner as &(dyn StdError + 'static)),
            None => error.source(),
        }
    })
}

/// What kind of cause there was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::backend) enum Class {
    /// The request could not be made.
    Request,
    UnknownHost,
    Refused,
    Unreachable,
    NotConnected,
    ConnectTimedOut,
    /// The proxy did not open the way.
    Tunnel,
    /// What answers does not speak TLS.
    NotTls,
    Certificate(&'static str),
    Tls,
    /// What answers does not speak HTTP.
    NotHttp,
    BrokenOff,
    TimedOut,
    TooLong,
}

impl Class {
    /// The class of an error, by the types of its causes.
    pub(in crate::backend) fn of(error: &(dyn StdError + 'static), is_proxied: bool) -> Self {
        let (mut is_connect, mut is_timeout, mut is_request) = (false, false, false);
        for cause in causes(error) {
            if cause.is::<NotResolved>() {
                return Self::UnknownHost;
            }
            if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
                return of_tls(tls);
            }
            if let Some(http) = cause.downcast_ref::<hyper::Error>()
                && http.is_parse()
            {
                return Self::NotHttp;
            }
            if let Some(error) = cause.downcast_ref::<reqwest::Error>() {
                is_connect |= error.is_connect();
                is_timeout |= error.is_timeout();
                is_request |= error.is_builder();
            }
            if let Some(io) = cause.downcast_ref::<std::io::Error>() {
                match io.kind() {
                    Io::ConnectionRefused => return Self::Refused,
                    Io::HostUnreachable | Io::NetworkUnreachable | Io::AddrNotAvailable => {
                        return Self::Unreachable;
                    }
                    _ => {}
                }
            }
            // The resolver of a client that is not ours has no public type.
            if is_connect && cause.to_string() == "dns error" {
                return Self::UnknownHost;
            }
        }
        match (is_request, is_connect, is_timeout) {
            (true, ..) => Self::Request,
            (_, true, true) => Self::ConnectTimedOut,
            (_, true, _) if is_proxied => Self::Tunnel,
            (_, true, _) => Self::NotConnected,
            (_, _, true) => Self::TimedOut,
            _ => Self::BrokenOff,
        }
    }

    fn kind(self) -> ErrorKind {
        match self {
            Self::Request => ErrorKind::Configuration,
            Self::ConnectTimedOut | Self::TimedOut => ErrorKind::TimedOut,
            Self::TooLong => ErrorKind::InvalidAnswer,
            _ => ErrorKind::Unavailable,
        }
    }

    /// Whether it will be as wrong the next time.
    fn lasts(self) -> bool {
        matches!(
            self,
            Self::Certificate(_) | Self::NotTls | Self::Request | Self::TooLong
        )
    }

    /// Returns whether the peer of the connection, which may be a proxy, was not reached.
    fn is_before_the_peer(self) -> bool {
        matches!(
            self,
            Self::UnknownHost | Self::Refused | Self::Unreachable | Self::ConnectTimedOut | Self::Tunnel
        )
    }

    /// The step at which it failed.
    fn step(self) -> &'static str {
        match self {
            Self::Request => "making a request to",
            Self::UnknownHost => "resolving",
            Self::Refused | Self::Unreachable | Self::NotConnected | Self::ConnectTimedOut | Self::Tunnel => {
                "connecting to"
            }
            Self::NotTls | Self::Certificate(_) | Self::Tls => "TLS with",
            Self::NotHttp | Self::BrokenOff | Self::TimedOut | Self::TooLong => "HTTP with",
        }
    }

    fn cause(self) -> &'static str {
        match self {
            Self::Request => "the request cannot be made of these settings",
            Self::UnknownHost => "the host is unknown",
            Self::Refused => "the connection was refused",
            Self::Unreachable => "the host cannot be reached",
            Self::NotConnected => "the connection was not made",
            Self::ConnectTimedOut | Self::TimedOut => "no answer in time",
            Self::Tunnel => "the proxy did not open the way",
            Self::NotTls => "what answers there does not speak TLS; is the port one for plain HTTP?",
            Self::Certificate(why) => why,
            Self::Tls => "the handshake failed",
            Self::NotHttp => "what answers there does not speak HTTP; is the port one for TLS?",
            Self::BrokenOff => "the connection broke off",
            Self::TooLong => "the answer is too long",
        }
    }
}

fn of_tls(error: &rustls::Error) -> Class {
    use CertificateError as Bad;
    match error {
        rustls::Error::InvalidCertificate(bad) => Class::Certificate(match bad {
            Bad::UnknownIssuer => {
                "the certificate is of an unknown issuer; check which CA is trusted (by the backend's own setting, else by SSL_CERT_FILE)"
            }
            Bad::Expired | Bad::ExpiredContext { .. } => "the certificate has expired",
            Bad::NotValidYet | Bad::NotValidYetContext { .. } => {
                "the certificate is not valid yet; check the clock"
            }
            Bad::NotValidForName | Bad::NotValidForNameContext { .. } => {
                "the certificate is for another host name"
            }
            Bad::Revoked => "the certificate was revoked",
            _ => "the certificate is not one to trust",
        }),
        rustls::Error::InvalidMessage(_) => Class::NotTls,
        _ => Class::Tls,
    }
}

/// Where a connection goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::backend) struct Target {
    /// `HOST:PORT`.
    pub(in crate::backend) address: String,
    /// The variable or option that the address was taken from.
    pub(in crate::backend) source: Option<&'static str>,
    /// `HOST:PORT` of the proxy on the way, and where that was taken from.
    pub(in crate::backend) proxy: Option<(String, &'static str)>,
}

/// Why there was no whole answer.
#[derive(Debug)]
pub(in crate::backend) struct Fault {
    pub(in crate::backend) class: Class,
    target: Target,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Fault {
    pub(in crate::backend) fn new(class: Class, target: Target) -> Self {
        Self {
            class,
            target,
            source: None,
        }
    }

    pub(super) fn of(error: reqwest::Error, target: Target) -> Self {
        let class = Class::of(&error, target.proxy.is_some());
        Self {
            class,
            target,
            // The address is in the target, without what else a URL may hold.
            source: Some(Box::new(error.without_url())),
        }
    }

    /// What it means here.
    pub(in crate::backend) fn to_error(&self) -> Error {
        let error = Error::new(self.class.kind()).with_detail(self.to_string());
        match self.class.lasts() {
            true => error.with_retryable(false),
            false => error,
        }
    }

    /// The same, with the cause.
    pub(in crate::backend) fn into_error(self) -> Error {
        let error = self.to_error();
        match self.source {
            Some(source) => error.with_source(source),
            None => error,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe(self.class, &self.target, f)
    }
}

/// `STEP ADDRESS (SOURCE): CAUSE`.
fn describe(class: Class, target: &Target, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let step = class.step();
    let source = |f: &mut fmt::Formatter<'_>| match target.source {
        Some(source) => write!(f, "{} (from {source})", target.address),
        None => f.write_str(&target.address),
    };
    match &target.proxy {
        Some((proxy, from)) if class.is_before_the_peer() => {
            write!(f, "{step} the proxy {proxy} (from {from}) on the way to ")?;
            source(f)?;
        }
        Some((proxy, from)) => {
            write!(f, "{step} ")?;
            source(f)?;
            write!(f, " by the proxy {proxy} (from {from})")?;
        }
        None => {
            write!(f, "{step} ")?;
            source(f)?;
        }
    }
    write!(f, ": {}", class.cause())
}

impl StdError for Fault {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_name_step_address_cause_source_and_proxy() {
        let target = |proxy: Option<&str>| Target {
            address: "kms.example:443".to_owned(),
            source: Some("VAULT_ADDR"),
            proxy: proxy.map(|proxy| (proxy.to_owned(), "HTTPS_PROXY")),
        };
        for (class, proxy, expected) in [
            (
                Class::Refused,
                None,
                "connecting to kms.example:443 (from VAULT_ADDR): the connection was refused",
            ),
            (
                Class::Refused,
                Some("p:1"),
                "connecting to the proxy p:1 (from HTTPS_PROXY) on the way to kms.example:443 (from VAULT_ADDR): the \
                 connection was refused",
            ),
            (
                Class::Certificate("the certificate has expired"),
                Some("p:1"),
                "TLS with kms.example:443 (from VAULT_ADDR) by the proxy p:1 (from HTTPS_PROXY): the certificate has \
                 expired",
            ),
        ] {
            assert_eq!(Fault::new(class, target(proxy)).to_string(), expected);
        }
    }

    #[test]
    fn what_lasts_is_not_retryable() {
        let target = Target {
            address: "h:1".to_owned(),
            source: None,
            proxy: None,
        };
        let error = |class| Fault::new(class, target.clone()).into_error();
        assert!(!error(Class::NotTls).is_retryable());
        assert!(!error(Class::Certificate("x")).is_retryable());
        assert!(error(Class::UnknownHost).is_retryable());
        assert!(error(Class::TimedOut).is_retryable());
        assert_eq!(error(Class::Request).kind(), ErrorKind::Configuration);
    }
}
