//! What goes over the wire: request bodies that are wiped, answers that are borrowed, and the text of a wrap.

use base64ct::{Base64, Encoding};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::Mode;
use crate::envelope::WrapRef;
use crate::value::error::{Error, ErrorKind, Result};

/// A request body. Made at its full size, so that growing leaves no copy behind.
pub(super) type Body = Zeroizing<Vec<u8>>;

/// Makes an object of base64 or `vault:` texts, none of which needs escaping, and of the version to wrap under.
pub(super) fn object(fields: &[(&str, &str)], version: Option<u64>) -> Body {
    // As a number: in a batch the server takes no other.
    let version = version.map(|version| format!("\"key_version\":{version}"));
    let size = 3
        + version.as_ref().map_or(0, String::len)
        + fields
            .iter()
            .map(|(name, value)| name.len() + value.len() + 6)
            .sum::<usize>();
    let mut body = Zeroizing::new(Vec::with_capacity(size));
    body.push(b'{');
    for (index, (name, value)) in fields.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        for part in ["\"", name, "\":\"", value, "\""] {
            body.extend_from_slice(part.as_bytes());
        }
    }
    if let Some(version) = version {
        if !fields.is_empty() {
            body.push(b',');
        }
        body.extend_from_slice(version.as_bytes());
    }
    body.push(b'}');
    body
}

/// `{"batch_input":[…]}` of objects as [`object`] makes them.
pub(super) fn batch(items: &[Body]) -> Body {
    let size = 20 + items.iter().map(|item| item.len() + 1).sum::<usize>();
    let mut body = Zeroizing::new(Vec::with_capacity(size));
    body.extend_from_slice(b"{\"batch_input\":[");
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        body.extend_from_slice(item);
    }
    body.extend_from_slice(b"]}");
    body
}

/// Secret bytes as base64, in one wiped allocation.
pub(super) fn encode(bytes: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(Base64::encode_string(bytes))
}

/// Base64 of an answer, as exactly `N` bytes.
pub(super) fn decode<const N: usize>(text: &str) -> Result<Zeroizing<[u8; N]>> {
    // One spare byte, so that what is too long is seen to be.
    let mut buffer = Zeroizing::new(vec![0; N + 3]);
    let decoded = Base64::decode(text, &mut buffer).map_err(|_| Error::new(ErrorKind::InvalidAnswer))?;
    let bytes: &[u8; N] = decoded
        .try_into()
        .map_err(|_| Error::new(ErrorKind::InvalidAnswer))?;
    Ok(Zeroizing::new(*bytes))
}

/// Every answer, without the parts that nobody needs.
#[derive(Deserialize)]
pub(super) struct Answer<T> {
    pub(super) data: Option<T>,
    #[serde(default)]
    pub(super) warnings: Option<Vec<serde::de::IgnoredAny>>,
    #[serde(default)]
    pub(super) auth: Option<Granted>,
}

/// One item of an encrypt, decrypt, rewrap or datakey. The texts are borrowed, so that no key is copied.
#[derive(Deserialize)]
pub(super) struct Item<'a> {
    #[serde(borrow)]
    pub(super) plaintext: Option<&'a str>,
    #[serde(borrow)]
    pub(super) ciphertext: Option<&'a str>,
    #[serde(default)]
    error: Option<String>,
}

impl Item<'_> {
    /// Returns whether this item of a batch failed.
    pub(super) fn failed(&self) -> bool {
        self.error.as_ref().is_some_and(|error| !error.is_empty())
    }
}

#[derive(Deserialize)]
pub(super) struct Items<'a> {
    #[serde(borrow)]
    pub(super) batch_results: Vec<Item<'a>>,
}

/// A token as a login or renewal grants it.
#[derive(Deserialize)]
pub(super) struct Granted {
    pub(super) client_token: Zeroizing<String>,
    #[serde(default)]
    pub(super) lease_duration: u64,
    #[serde(default)]
    pub(super) renewable: bool,
}

/// What `auth/token/lookup-self` reports about a token.
#[derive(Deserialize)]
pub(super) struct TokenInfo {
    #[serde(default)]
    pub(super) ttl: u64,
    #[serde(default)]
    pub(super) renewable: bool,
}

/// What `keys/NAME` reports about a key.
#[derive(Clone, Deserialize)]
pub(super) struct KeyInfo {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) derived: bool,
    #[serde(default)]
    pub(super) convergent_encryption: bool,
    #[serde(default)]
    pub(super) soft_deleted: bool,
    pub(super) latest_version: u64,
    pub(super) min_decryption_version: u64,
    /// The oldest version that may be named to wrap; 0 for any version.
    #[serde(default)]
    pub(super) min_encryption_version: u64,
    #[serde(default)]
    pub(super) min_available_version: u64,
    /// The time of each version, in seconds since 1970, if the key is symmetric.
    #[serde(default)]
    pub(super) keys: std::collections::BTreeMap<String, serde_json::Value>,
}

/// Reads the number of a version: decimal, from 1, without leading zeros.
pub(super) fn parse_version(text: &str) -> Option<u64> {
    let is_number = (1..=10).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_digit());
    text.parse().ok().filter(|_| is_number && !text.starts_with('0'))
}

/// The text of a wrap, taken apart: `vault:vN:` and the canonical base64 of as many bytes as the mode has.
pub(super) struct Ciphertext<'a> {
    pub(super) text: &'a str,
    pub(super) version: u64,
}

impl<'a> Ciphertext<'a> {
    /// Returns `None` for any other text. This is strict because the server is not: the server ignores line ends and spare bits in
    /// base64, so one wrap would have many texts.
    pub(super) fn parse(bytes: &'a [u8], mode: Mode) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (version, base64) = text.strip_prefix("vault:v")?.split_once(':')?;
        let version = parse_version(version)?;
        let mut buffer = [0; 96];
        let decoded = Base64::decode(base64, &mut buffer).ok()?;
        (decoded.len() == mode.ciphertext_len()).then_some(Self { text, version })
    }

    /// Reads the text of a stanza. The version beside the text is a claim, and is not compared: the text names the version, and the
    /// server uses it.
    pub(super) fn of_stanza(wrapped: &WrapRef<'a>, mode: Mode) -> Result<Self> {
        Self::parse(wrapped.wrapped, mode).ok_or_else(|| Error::malformed("wrapped DEK", 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_text_stands_for_a_wrap() {
        let base64 = Base64::encode_string(&[7; 92]);
        let good = format!("vault:v12:{base64}");
        assert_eq!(
            Ciphertext::parse(good.as_bytes(), Mode::Encrypt).unwrap().version,
            12
        );
        let short = Base64::encode_string(&[7; 91]);
        let spare_bits = format!("{}d=", &base64[..base64.len() - 2]);
        assert_ne!(base64, spare_bits);
        for bad in [
            format!("vault:v12:{base64}\n"),
            format!("vault:v12:\n{base64}"),
            format!("vault:v012:{base64}"),
            format!("vault:v+1:{base64}"),
            format!("vault:v0:{base64}"),
            format!("vault:v:{base64}"),
            format!("vault:v99999999999:{base64}"),
            format!("vault:v1:{base64}:"),
            format!("Vault:v1:{base64}"),
            format!("vault:v1:{short}"),
            format!("vault:v1:{spare_bits}"),
            "vault:v1:".to_owned(),
            "vault:v1".to_owned(),
            String::new(),
        ] {
            assert!(
                Ciphertext::parse(bad.as_bytes(), Mode::Encrypt).is_none(),
                "{bad}"
            );
        }
        assert!(Ciphertext::parse(good.as_bytes(), Mode::DataKey).is_none());
        assert!(Ciphertext::parse(&[0xff; 9], Mode::Encrypt).is_none());
    }

    #[test]
    fn bodies_are_json() {
        let fields = [("plaintext", "AAAA"), ("context", "BB==")];
        for version in [None, Some(1), Some(9_999_999_999)] {
            let item = object(&fields, version);
            let size = item.len();
            assert!(item.capacity() - size <= 3, "it grew, and left a copy behind");
            let parsed: serde_json::Value = serde_json::from_slice(&batch(&[item.clone(), item])).unwrap();
            assert_eq!(parsed["batch_input"][1]["context"], "BB==");
            assert_eq!(parsed["batch_input"][1]["key_version"].as_u64(), version);
            assert_eq!(parsed["batch_input"].as_array().unwrap().len(), 2);
        }
        let alone: serde_json::Value = serde_json::from_slice(&object(&[], Some(7))).unwrap();
        assert_eq!(alone["key_version"], 7);
    }

    #[test]
    fn a_key_has_exactly_its_length() {
        assert_eq!(*decode::<32>(&encode(&[9; 32])).unwrap(), [9; 32]);
        for bad in [vec![0; 31], vec![0; 33], vec![0; 36], vec![]] {
            assert_eq!(
                decode::<32>(&encode(&bad)).unwrap_err().kind(),
                ErrorKind::InvalidAnswer
            );
        }
        assert!(decode::<32>("not base64").is_err());
    }
}
