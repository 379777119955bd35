//! Which connections go by a proxy: one rule for all network backends.
//!
//! HTTPS goes by the proxy of `HTTPS_PROXY`, except to what `NO_PROXY` names and to loopback addresses. Plain HTTP never
//! goes by a proxy. `ALL_PROXY` and `HTTP_PROXY` are not followed. A variable in small letters comes before the other.

use std::fmt;
use std::net::IpAddr;

use hyper_util::client::proxy::matcher::Matcher;
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};

use crate::runtime::{Environment, set_var};
use crate::value::error::{Error, Result};

/// A proxy, and the hosts that are reached without it.
#[derive(Clone)]
pub(in crate::backend) struct Proxy {
    /// May have a password in it.
    url: SecretString,
    /// `HOST:PORT`.
    address: String,
    except: String,
    source: &'static str,
}

impl Proxy {
    /// What the environment says; `None` if it names no proxy.
    ///
    /// # Errors
    /// `Configuration` if a variable is not UTF-8 or not the URL of a proxy.
    pub(in crate::backend) fn from_environment(environment: &dyn Environment) -> Result<Option<Self>> {
        let either = |names: [&'static str; 2]| -> Result<Option<(SecretString, &'static str)>> {
            for name in names {
                if let Some(value) = set_var(environment, name)? {
                    return Ok(Some((value, name)));
                }
            }
            Ok(None)
        };
        let Some((url, source)) = either(["https_proxy", "HTTPS_PROXY"])? else {
            return Ok(None);
        };
        let except = either(["no_proxy", "NO_PROXY"])?;
        let except = except.map(|(hosts, _)| hosts.expose_secret().to_owned());
        Self::new(&url, except.unwrap_or_default(), source).map(Some)
    }

    /// This proxy, but not for the hosts of `except`: names, suffixes, addresses and networks, separated by commas or
    /// white space; each may end in the port that it is for.
    ///
    /// # Errors
    /// `Configuration` if it is not the URL of a proxy.
    pub(in crate::backend) fn new(url: &SecretString, except: String, source: &'static str) -> Result<Self> {
        // It may hold a password, so it is not quoted.
        let refused =
            || Error::configuration(format!("{source} is not the URL of a proxy: http://HOST:PORT"));
        let text = url.expose_secret();
        let whole = match text.contains("://") {
            true => text.to_owned(),
            false => format!("http://{text}"),
        };
        let parsed = Url::parse(&whole).map_err(|_| refused())?;
        let is_one = matches!(parsed.scheme(), "http" | "https") && parsed.has_host();
        let address = address_of(&parsed).filter(|_| is_one).ok_or_else(refused)?;
        Ok(Self {
            url: whole.into(),
            address,
            except,
            source,
        })
    }

    /// Returns the proxy's address and where it was taken from, if connections to this URL use the proxy.
    pub(super) fn on_the_way_to(&self, url: &Url) -> Option<(String, &'static str)> {
        self.is_for(url).then(|| (self.address.clone(), self.source))
    }

    fn is_for(&self, url: &Url) -> bool {
        let Some(host) = url.host_str() else { return false };
        url.scheme() == "https" && !is_loopback(host) && !self.is_excepted(url, host)
    }

    fn is_excepted(&self, url: &Url, host: &str) -> bool {
        let mut names = String::new();
        for entry in self
            .except
            .split(|c: char| c == ',' || c.is_whitespace())
            .filter(|entry| !entry.is_empty())
        {
            if entry == "*" {
                return true;
            }
            let entry = entry.strip_prefix('*').unwrap_or(entry);
            // `HOST:PORT` is for that port alone. More colons are an IPv6 address, which has brackets before a port.
            let bracketed = entry.strip_prefix('[').and_then(|entry| entry.split_once(']'));
            let (name, port) = match (bracketed, entry.split_once(':')) {
                (Some((address, rest)), _) => (address, rest.strip_prefix(':')),
                (None, Some((name, port))) if !port.contains(':') => (name, Some(port)),
                (None, _) => (entry, None),
            };
            if port.is_some_and(|port| port.parse().ok() != url.port_or_known_default()) {
                continue;
            }
            names.push_str(name);
            names.push(',');
        }
        // The rest is for a library: suffixes, addresses, networks.
        let all = Matcher::builder().all("http://proxy").no(names).build();
        let host = format!("https://{host}").parse();
        host.is_ok_and(|host| all.intercept(&host).is_none())
    }

    pub(super) fn to_reqwest(&self) -> reqwest::Proxy {
        let proxy = self.clone();
        reqwest::Proxy::custom(move |url| {
            let is_for = proxy.is_for(url);
            is_for.then(|| proxy.url.expose_secret().to_owned())
        })
    }
}

/// `HOST:PORT` of a URL.
pub(in crate::backend) fn address_of(url: &Url) -> Option<String> {
    Some(format!("{}:{}", url.host_str()?, url.port_or_known_default()?))
}

/// Whether a host is this machine.
pub(in crate::backend) fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("address", &self.address)
            .field("except", &self.except)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::error::ErrorKind;

    #[test]
    fn one_rule_says_what_goes_by_the_proxy() {
        for (except, url, expected) in [
            ("", "https://kms.example.com", true),
            ("", "https://10.1.2.3:8200", true),
            // Never plain HTTP, and nothing near by.
            ("", "http://kms.example.com", false),
            ("", "https://localhost:8200", false),
            ("", "https://127.0.0.1:8200", false),
            ("", "https://[::1]:8200", false),
            ("*", "https://kms.example.com", false),
            ("*", "https://10.1.2.3", false),
            ("a.example, *", "https://kms.example.com", false),
            ("example.com", "https://kms.example.com", false),
            (".example.com", "https://kms.example.com", false),
            ("*.example.com", "https://kms.example.com", false),
            ("example.com", "https://kms.example.com.evil", true),
            ("other.com", "https://kms.example.com", true),
            ("10.0.0.0/8", "https://10.1.2.3", false),
            ("10.1.2.3", "https://10.1.2.3:8200", false),
            ("10.0.0.0/8", "https://11.1.2.3", true),
            ("fd00::/8", "https://[fd00::1]:8200", false),
            ("kms.example.com:8200", "https://kms.example.com:8200", false),
            ("kms.example.com:8200", "https://kms.example.com", true),
            ("kms.example.com:443", "https://kms.example.com", false),
            ("[2001:db8::1]", "https://[2001:db8::1]:8200", false),
            ("[2001:db8::1]", "https://[2001:db8::2]:8200", true),
            ("2001:db8::1", "https://[2001:db8::1]:8200", false),
            ("[2001:db8::1]:8200", "https://[2001:db8::1]:8200", false),
            ("[2001:db8::1]:8200", "https://[2001:db8::1]", true),
            ("a.example kms.example.com", "https://kms.example.com", false),
            (
                "a.example\tkms.example.com:443,\n10.0.0.0/8",
                "https://kms.example.com",
                false,
            ),
            ("a.example kms.example.com", "https://other.example.com", true),
        ] {
            let proxy = Proxy::new(&"http://proxy:3128".into(), except.to_owned(), "HTTPS_PROXY").unwrap();
            assert_eq!(
                proxy.is_for(&Url::parse(url).unwrap()),
                expected,
                "{except:?} {url}"
            );
        }
    }

    #[test]
    fn the_address_has_no_password_and_what_is_no_url_is_refused() {
        let proxy = |url: &str| Proxy::new(&url.into(), String::new(), "https_proxy");
        let shown = format!("{:?}", proxy("http://u:CANARY@proxy").unwrap());
        assert!(shown.contains("proxy:80") && !shown.contains("CANARY"), "{shown}");
        assert_eq!(proxy("proxy:3128").unwrap().address, "proxy:3128");
        for bad in [
            "",
            "://CANARY",
            "socks5://CANARY:1",
            "http://",
            "http://u:CANARY@:1",
        ] {
            let error = proxy(bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration, "{bad}");
            let shown = format!("{error} {error:?}");
            assert!(
                shown.contains("https_proxy") && !shown.contains("CANARY"),
                "{shown}"
            );
        }
    }
}
