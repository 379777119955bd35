//! Addresses of vaults and names of keys: nothing in them can lead elsewhere.

use reqwest::Url;

use super::PROVIDER;
use crate::backend::shared::http::parse_endpoint;
use crate::value::error::{Error, Result};

/// The domains of Key Vault and Managed HSM in the clouds of Azure.
const DOMAINS: [&str; 8] = [
    "vault.azure.net",
    "managedhsm.azure.net",
    "vault.azure.cn",
    "managedhsm.azure.cn",
    "vault.usgovcloudapi.net",
    "managedhsm.usgovcloudapi.net",
    "vault.microsoftazure.de",
    "managedhsm.microsoftazure.de",
];

/// Parses the address of a vault, `https://HOST[:PORT]`.
pub(super) fn parse_vault(address: &str) -> Result<Url> {
    let url = parse_endpoint(address, "the address of the vault", false)
        .map_err(|error| error.with_provider(PROVIDER))?;
    if url.scheme() != "https" {
        return Err(Error::configuration(
            "the address of the vault must be https://HOST: this crate never sends a key to a vault without TLS",
        )
        .with_provider(PROVIDER));
    }
    Ok(url)
}

/// Scheme, host and port, without a slash at the end.
pub(super) fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// `NAME` or `NAME/VERSION`.
pub(super) fn split_key(key: &str) -> Result<(&str, Option<&str>)> {
    let (name, version) = match key.split_once('/') {
        Some((name, version)) => (name, Some(version)),
        None => (key, None),
    };
    if !is_name(name) {
        return Err(Error::configuration(
            "the key is NAME or NAME/VERSION, the name being 1 to 127 of A-Z a-z 0-9 -",
        )
        .with_provider(PROVIDER));
    }
    if version.is_some_and(|version| !is_version(version)) {
        return Err(Error::configuration(
            "the version of a key is 1 to 64 letters and digits, as its URL has it",
        )
        .with_provider(PROVIDER));
    }
    Ok((name, version))
}

pub(super) fn is_name(text: &str) -> bool {
    (1..=127).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// 32 hexadecimal digits, for the service; other servers have others.
pub(super) fn is_version(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// Whether a host is below one of Azure's own domains, where each vault has one name.
pub(super) fn is_azure(host: &str) -> bool {
    DOMAINS.iter().any(|domain| is_below(host, domain))
}

/// Whether tokens for this host are for vaults and HSMs, in any cloud.
pub(super) fn is_audience(host: &str) -> bool {
    DOMAINS
        .iter()
        .any(|domain| host.eq_ignore_ascii_case(domain) || is_below(host, domain))
}

pub(super) fn is_below(host: &str, domain: &str) -> bool {
    let (host, domain) = (host.to_ascii_lowercase(), domain.to_ascii_lowercase());
    host.strip_suffix(&domain)
        .is_some_and(|front| front.len() > 1 && front.ends_with('.'))
}

pub(super) fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

/// The parts of a key's address, `https://HOST/keys/NAME[/VERSION]`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct KeyId<'a> {
    /// `https://HOST[:PORT]`
    pub(super) origin: &'a str,
    pub(super) name: &'a str,
    pub(super) version: Option<&'a str>,
}

impl<'a> KeyId<'a> {
    /// `None` for what is no address of a key.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let rest = text.strip_prefix("https://")?;
        let (host, path) = rest.split_once('/')?;
        let is_host = !host.is_empty()
            && host.len() <= 260
            && host
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b':' | b'[' | b']'));
        let key = path.strip_prefix("keys/")?;
        let (name, version) = match key.split_once('/') {
            Some((name, version)) => (name, Some(version)),
            None => (key, None),
        };
        let origin = text.get(.."https://".len() + host.len())?;
        (is_host && is_name(name) && version.is_none_or(is_version)).then_some(Self {
            origin,
            name,
            version,
        })
    }
}

/// The id of a KEK: the address of the key without a version.
pub(super) fn kek_id(origin: &str, name: &str) -> String {
    format!("{origin}/keys/{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vault_is_scheme_and_host() {
        for good in [
            "https://v.vault.azure.net",
            "https://127.0.0.1:8443/",
            "https://[::1]:8443",
        ] {
            parse_vault(good).unwrap();
        }
        for bad in [
            "",
            "v.vault.azure.net",
            "http://127.0.0.1:8443",
            "https://v.vault.azure.net/keys/k",
            "https://v.vault.azure.net?x=CANARY",
            "https://u:CANARY@v.vault.azure.net",
        ] {
            let error = parse_vault(bad).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("CANARY"), "{error}");
        }
    }

    // spec: ALG-13
    #[test]
    fn nothing_that_leads_elsewhere_is_a_key() {
        assert_eq!(split_key("orders").unwrap(), ("orders", None));
        assert_eq!(split_key("o-1/0af9").unwrap(), ("o-1", Some("0af9")));
        for bad in [
            "",
            "/",
            "k/",
            "../k",
            "k/..",
            "k/v/wrapkey",
            "k?x=y",
            "k%2f",
            "k/v?x",
            "k:1",
            "ké",
        ] {
            assert!(split_key(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_address_of_a_key_has_parts() {
        let id = KeyId::parse("https://v.vault.azure.net/keys/k/0a").unwrap();
        assert_eq!(
            (id.origin, id.name, id.version),
            ("https://v.vault.azure.net", "k", Some("0a"))
        );
        assert_eq!(KeyId::parse("https://h:1/keys/k").unwrap().version, None);
        for bad in [
            "https://h/secrets/k/0a",
            "http://h/keys/k/0a",
            "https://h/keys/k/0a/wrapkey",
            "https://u@h/keys/k/0a",
            "https:///keys/k",
            "https://h/keys/k/",
            "https://h/keys/k/0a?x",
            "keys/k",
        ] {
            assert_eq!(KeyId::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn azures_own_domains_are_known_and_look_alikes_are_not() {
        assert!(is_azure("v.vault.azure.net") && is_azure("H.ManagedHSM.azure.net"));
        for bad in [
            "vault.azure.net",
            ".vault.azure.net",
            "evilvault.azure.net",
            "v.vault.azure.net.evil.com",
        ] {
            assert!(!is_azure(bad), "{bad}");
        }
        assert!(is_audience("vault.azure.net") && !is_audience("management.azure.com"));
        assert!(is_loopback("127.0.0.1") && is_loopback("[::1]") && !is_loopback("10.0.0.1"));
    }
}
