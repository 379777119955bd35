//! RFC 7512 URIs that name a key on a token.

use std::fmt;
use std::path::{Path, PathBuf};

use super::mechanism::Mechanism;
use super::pin::PinSource;
use crate::value::error::{Error, Result};

/// The scheme, with its colon.
const SCHEME: &str = "pkcs11:";

/// What the path may name.
const PATH: [&str; 8] = [
    "token",
    "object",
    "id",
    "type",
    "serial",
    "model",
    "manufacturer",
    "slot-id",
];

/// What the query may name.
const QUERY: [&str; 6] = [
    "module-path",
    "pin-source",
    "algorithm",
    "final-try",
    "module-restart",
    "allow-shared",
];

/// Which token, by the fields that it reports. Only the given fields are compared, and all of them must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenMatch {
    /// The label of the token.
    pub label: Option<String>,
    /// The serial number of the token.
    pub serial: Option<String>,
    /// The model of the token.
    pub model: Option<String>,
    /// The manufacturer of the token.
    pub manufacturer: Option<String>,
    /// The number of the slot that the token is in.
    pub slot: Option<u64>,
}

impl TokenMatch {
    /// Selects the token of this label.
    #[must_use]
    pub fn labeled(label: impl Into<String>) -> Self {
        Self {
            label: Some(label.into()),
            ..Self::default()
        }
    }

    /// Returns whether no field is given.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A parsed RFC 7512 URI that names a key on a token.
///
/// ```text
/// pkcs11:token=T;object=LABEL[;id=%01][;type=TYPE][;serial=S][;model=M][;manufacturer=M][;slot-id=N]
///       ?module-path=PATH[&pin-source=env:VAR|file:PATH][&allow-shared=true]
///       [&algorithm=AES-GCM|AES-KEY-WRAP-PAD|RSA-OAEP-256][&final-try=true][&module-restart=true]
/// ```
///
/// - `token`, `serial`, `model`, `manufacturer`, `slot-id`: at least one; together they must match one token.
/// - `object`: the label of the key, which is the KEK's id.
/// - `id`: pins the version that wraps. Without `id` the greatest version wraps.
/// - `type`: `secret-key`, or `private` or `public` with `RSA-OAEP-256`; optional.
/// - `module-path`: the token's PKCS#11 module.
/// - `pin-source`: where the PIN is: `env:VAR`, a variable, or `file:PATH`, a file that only its owner can
///   read. One line end at the end of the PIN is removed. A `pin-value` is refused, because URIs are logged.
/// - `allow-shared` (not in the RFC): `true` accepts a PIN file that its group or others can read.
/// - `algorithm` (not in the RFC, which allows such additions): how to wrap; `AES-GCM` by default.
/// - `final-try` (not in the RFC): `true` tries the PIN even if one more wrong PIN locks the token.
/// - `module-restart` (not in the RFC): `true` lets the client start the module again if nothing else helps. Use this only if nothing
///   else in the process uses the module.
///
/// Values are percent-encoded (`%20`). Each attribute may occur once, and no other attribute may occur.
///
/// ```
/// use waxseal::backend::pkcs11::Uri;
///
/// let uri = Uri::parse("pkcs11:token=payments;object=kek?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=env:PIN")?;
/// assert_eq!(uri.object(), "kek");
/// # Ok::<(), waxseal::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Uri {
    token: TokenMatch,
    object: String,
    id: Option<Vec<u8>>,
    module: PathBuf,
    pin: Option<PinSource>,
    mechanism: Mechanism,
    final_try: bool,
    module_restart: bool,
}

impl Uri {
    /// Parses a URI.
    ///
    /// # Errors
    /// `Configuration` if the URI is invalid. The error names the wrong part, but not its value.
    pub fn parse(text: &str) -> Result<Self> {
        let rest = text
            .strip_prefix(SCHEME)
            .ok_or_else(|| Error::configuration("a PKCS#11 URI must begin with \"pkcs11:\""))?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let path = Attributes::parse(path, ';', "path")?;
        let query = Attributes::parse(query, '&', "query")?;
        if path.has("pin-value") || query.has("pin-value") {
            return Err(Error::configuration(
                "the URI has a pin-value; a PIN does not belong in a URI: use pin-source=env:VAR or file:PATH",
            ));
        }
        path.only("path", &PATH, &QUERY)?;
        query.only("query", &QUERY, &PATH)?;

        let token = TokenMatch {
            label: path.text("token")?,
            serial: path.text("serial")?,
            model: path.text("model")?,
            manufacturer: path.text("manufacturer")?,
            slot: path.text("slot-id")?.map(|text| slot(&text)).transpose()?,
        };
        if token.is_empty() {
            return Err(missing("token"));
        }
        let mechanism = match query.text("algorithm")? {
            Some(name) => Mechanism::from_name(&name).ok_or_else(|| {
                wrong(
                    "algorithm",
                    "is none of AES-GCM, AES-KEY-WRAP-PAD and RSA-OAEP-256",
                )
            })?,
            None => Mechanism::AesGcm,
        };
        if let Some(class) = path.text("type")? {
            let good = match mechanism {
                Mechanism::AesGcm | Mechanism::AesKeyWrapPad => class == "secret-key",
                Mechanism::RsaOaep256 => class == "private" || class == "public",
            };
            if !good {
                return Err(wrong("type", "is not that of a key of this algorithm"));
            }
        }
        let allow_shared = query.is_true("allow-shared")?;
        let pin = query
            .text("pin-source")?
            .map(|text| PinSource::parse(&text))
            .transpose()?;
        let pin = match pin {
            Some(PinSource::File(path)) if allow_shared => Some(PinSource::SharedFile(path)),
            Some(PinSource::File(_)) | None if !allow_shared => pin,
            Some(PinSource::Env(_)) if !allow_shared => pin,
            _ => return Err(wrong("allow-shared", "goes with pin-source=file:PATH")),
        };
        let module = query.text("module-path")?.ok_or_else(|| missing("module-path"))?;
        Ok(Self {
            token,
            object: path.text("object")?.ok_or_else(|| missing("object"))?,
            id: path.bytes("id")?,
            module: PathBuf::from(module),
            pin,
            mechanism,
            final_try: query.is_true("final-try")?,
            module_restart: query.is_true("module-restart")?,
        })
    }

    /// Returns the path of a URI that names the key of this label on the same token, without a pinned version.
    pub(super) fn path_for(&self, label: &str) -> String {
        let TokenMatch {
            label: token,
            serial,
            model,
            manufacturer,
            slot,
        } = &self.token;
        let slot = slot.map(|slot| slot.to_string());
        let given = [
            ("token", token.as_deref()),
            ("serial", serial.as_deref()),
            ("model", model.as_deref()),
            ("manufacturer", manufacturer.as_deref()),
            ("slot-id", slot.as_deref()),
            ("object", Some(label)),
        ];
        let given = given
            .iter()
            .filter_map(|(name, value)| value.map(|value| (name, value)));
        let parts: Vec<String> = given
            .map(|(name, value)| format!("{name}={}", percent_encoded(value)))
            .collect();
        parts.join(";")
    }

    /// Returns which token.
    #[must_use]
    pub fn token(&self) -> &TokenMatch {
        &self.token
    }

    /// Returns the label of the key.
    #[must_use]
    pub fn object(&self) -> &str {
        &self.object
    }

    /// Returns the pinned `CKA_ID`, if there is one.
    #[must_use]
    pub fn id(&self) -> Option<&[u8]> {
        self.id.as_deref()
    }

    /// Returns the path of the module.
    #[must_use]
    pub fn module(&self) -> &Path {
        &self.module
    }

    /// Returns where the PIN is, if the URI names a place.
    #[must_use]
    pub fn pin(&self) -> Option<&PinSource> {
        self.pin.as_ref()
    }

    /// Returns whether the client may use the last try before the token locks.
    #[must_use]
    pub fn final_try(&self) -> bool {
        self.final_try
    }

    /// Returns whether the client may shut the module down and start it again.
    #[must_use]
    pub fn module_restart(&self) -> bool {
        self.module_restart
    }

    /// Returns how to wrap.
    #[must_use]
    pub fn mechanism(&self) -> Mechanism {
        self.mechanism
    }
}

impl fmt::Debug for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uri")
            .field("token", &self.token)
            .field("object", &self.object)
            .field("id", &self.id)
            .field("module", &self.module)
            .field("pin", &self.pin)
            .field("mechanism", &self.mechanism)
            .finish()
    }
}

fn missing(name: &str) -> Error {
    Error::configuration(format!("the PKCS#11 URI has no {name}"))
}

fn wrong(name: &str, why: &str) -> Error {
    Error::configuration(format!("in the PKCS#11 URI, {name} {why}"))
}

fn slot(text: &str) -> Result<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.then(|| text.parse().ok()).flatten();
    number.ok_or_else(|| wrong("slot-id", "is not a decimal number"))
}

/// Decodes the attributes of path or query.
struct Attributes<'a>(Vec<(&'a str, Vec<u8>)>);

impl<'a> Attributes<'a> {
    fn parse(text: &'a str, separator: char, part: &str) -> Result<Self> {
        let mut found: Vec<(&str, Vec<u8>)> = Vec::new();
        if text.is_empty() {
            return Ok(Self(found));
        }
        for (i, pair) in text.split(separator).enumerate() {
            let Some((name, value)) = pair.split_once('=') else {
                return Err(Error::configuration(format!(
                    "in the {part} of the PKCS#11 URI, attribute {} is not name=value",
                    i + 1
                )));
            };
            // A part that is not a name may be anything, also a PIN: the error does not repeat it.
            let named =
                !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
            if !named {
                return Err(Error::configuration(format!(
                    "in the {part} of the PKCS#11 URI, the name of attribute {} is not one of lower-case letters",
                    i + 1
                )));
            }
            if found.iter().any(|(other, _)| *other == name) {
                return Err(wrong(name, "stands twice"));
            }
            let value = percent_decoded(value).ok_or_else(|| wrong(name, "is not well percent-encoded"))?;
            found.push((name, value));
        }
        Ok(Self(found))
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(other, _)| *other == name)
    }

    fn only(&self, part: &str, known: &[&str], of_the_other: &[&str]) -> Result<()> {
        let Some((name, _)) = self.0.iter().find(|(name, _)| !known.contains(name)) else {
            return Ok(());
        };
        Err(if of_the_other.contains(name) {
            let place = if part == "path" { "after" } else { "before" };
            wrong(name, &format!("belongs {place} the \"?\""))
        } else if *name == "module-name" {
            wrong(
                name,
                "is not supported; give the path of the module as module-path",
            )
        } else {
            wrong(
                name,
                &format!("is not known; its {part} can have {}", known.join(", ")),
            )
        })
    }

    fn is_true(&self, name: &str) -> Result<bool> {
        match self.text(name)?.as_deref() {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(wrong(name, "is neither true nor false")),
        }
    }

    fn bytes(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let found = self.0.iter().find(|(other, _)| *other == name);
        match found {
            Some((_, value)) if value.is_empty() => Err(wrong(name, "is empty")),
            Some((_, value)) => Ok(Some(value.clone())),
            None => Ok(None),
        }
    }

    fn text(&self, name: &str) -> Result<Option<String>> {
        let Some(bytes) = self.bytes(name)? else {
            return Ok(None);
        };
        let text = String::from_utf8(bytes).map_err(|_| wrong(name, "is not UTF-8"))?;
        if text.chars().any(char::is_control) {
            return Err(wrong(name, "has a control character"));
        }
        Ok(Some(text))
    }
}

fn percent_decoded(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits = [bytes.next()?, bytes.next()?];
            let mut decoded = [0];
            base16ct::mixed::decode(digits, &mut decoded).ok()?;
            out.extend_from_slice(&decoded);
        } else {
            out.push(byte);
        }
    }
    Some(out)
}

fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests;
