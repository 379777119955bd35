//! Addresses of services: one rule for all of them.

use reqwest::Url;

use super::is_loopback;
use crate::value::error::{Error, Result};

/// Parses the address of a service: `https://HOST[:PORT]` or `http://HOST[:PORT]`, and a path where `may_have_path`.
///
/// `what` names the address in errors, which never quote it: it may hold a password.
///
/// # Errors
/// `Configuration` for anything else, and for an address with credentials.
pub(in crate::backend) fn parse_endpoint(text: &str, what: &str, may_have_path: bool) -> Result<Url> {
    let form = match may_have_path {
        true => "https://HOST[:PORT][/PATH], or http:// for a server on this machine",
        false => "https://HOST[:PORT], or http:// for a server on this machine, without a path",
    };
    let refused = || Error::configuration(format!("{what} is not an address of the form {form}"));
    // Two parsers could disagree on where the host ends.
    if text.contains(|c: char| c == '\\' || c.is_whitespace() || c.is_control()) {
        return Err(refused());
    }
    let (scheme, rest) = text.split_once("://").ok_or_else(refused)?;
    let url = Url::parse(text).map_err(|_| refused())?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() || rest.starts_with('/') {
        return Err(refused());
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') || !url.username().is_empty() || url.password().is_some() {
        return Err(Error::configuration(format!(
            "{what} has credentials in it; remove them, and log in as the backend's documentation shows"
        )));
    }
    let has_path = !matches!(url.path(), "" | "/");
    if scheme.is_empty() || url.query().is_some() || url.fragment().is_some() || (has_path && !may_have_path)
    {
        return Err(refused());
    }
    Ok(url)
}

/// Warns if the address is one of another machine, without TLS.
pub(in crate::backend) fn warn_if_plain(url: &Url, provider: &str) {
    if is_plain(url) {
        tracing::warn!(
            provider,
            address = %url.origin().ascii_serialization(),
            "the service is addressed by http: anybody on the way reads DEKs and credentials"
        );
    }
}

fn is_plain(url: &Url) -> bool {
    url.scheme() == "http" && !is_loopback(url.host_str().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::error::ErrorKind;

    #[test]
    fn an_address_is_a_scheme_and_a_host_and_is_never_quoted() {
        for (good, path) in [
            ("https://cloudkms.googleapis.com", false),
            ("http://127.0.0.1:80/", false),
            ("http://[::1]:8080", false),
            ("https://vpce-1.kms.eu-west-1.vpce.amazonaws.com/a@b", true),
        ] {
            parse_endpoint(good, "X", path).unwrap();
        }
        for (bad, named) in [
            ("", "X is not an address"),
            ("CANARY.example.com", "X is not an address"),
            ("ftp://CANARY", "X is not an address"),
            ("https://", "X is not an address"),
            ("https:///CANARY", "X is not an address"),
            ("https:CANARY", "X is not an address"),
            ("https://h?x=CANARY", "X is not an address"),
            ("https://h/#CANARY", "X is not an address"),
            ("https://h\\@CANARY", "X is not an address"),
            ("https://h\tCANARY", "X is not an address"),
            (" https://CANARY", "X is not an address"),
            ("https://u:CANARY@h", "X has credentials"),
            ("https://CANARY@h", "X has credentials"),
            ("https://:CANARY@h", "X has credentials"),
            ("https://@CANARY", "X has credentials"),
        ] {
            for path in [false, true] {
                let error = parse_endpoint(bad, "X", path).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Configuration, "{bad}");
                let text = format!("{error} {error:?}");
                assert!(text.contains(named) && !text.contains("CANARY"), "{bad}: {text}");
            }
        }
        assert!(parse_endpoint("https://h/v1", "X", false).is_err());
    }

    #[test]
    fn only_another_machine_without_tls_is_worth_a_warning() {
        for (url, plain) in [
            ("http://kms.example.com", true),
            ("http://10.0.0.1:8200", true),
            ("http://127.0.0.1:8200", false),
            ("http://localhost", false),
            ("http://[::1]:1", false),
            ("https://kms.example.com", false),
        ] {
            assert_eq!(is_plain(&Url::parse(url).unwrap()), plain, "{url}");
        }
    }
}
