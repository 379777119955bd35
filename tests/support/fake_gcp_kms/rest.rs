//! The REST interface: which call is it, and what does it answer.

use base64ct::{Base64, Base64Url, Encoding};
use serde_json::{Value, json};

use super::state::{Key, State};

/// The most that is encrypted, and the most that is authenticated beside it.
const LIMIT: usize = 64 * 1024;

const PURPOSES: [&str; 2] = ["", "ENCRYPT_DECRYPT"];
const STATES: [&str; 3] = ["", "ENABLED", "DISABLED"];

/// Name or number: JSON of Protocol Buffers has both.
pub(super) fn enumerated<'a>(value: &'a Value, names: &[&'a str]) -> &'a str {
    let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
    let name = number.and_then(|number| names.get(number).copied());
    name.or_else(|| value.as_str()).unwrap_or_default()
}

type Answer = Result<Value, (u16, Value)>;

/// An error as Google has it.
pub(super) fn error(status: &str, details: Value) -> (u16, Value) {
    let code = match status {
        "UNAUTHENTICATED" => 401,
        "PERMISSION_DENIED" => 403,
        "NOT_FOUND" => 404,
        "ALREADY_EXISTS" => 409,
        "UNIMPLEMENTED" => 501,
        _ => 400,
    };
    let mut body =
        json!({"error": {"code": code, "message": "said by the fake, CANARY-BODY", "status": status}});
    if details.as_array().is_some_and(|details| !details.is_empty()) {
        body["error"]["details"] = details;
    }
    (code, body)
}

fn refused<T>(status: &str) -> Result<T, (u16, Value)> {
    Err(error(status, json!([])))
}

pub(super) fn answer(state: &mut State, method: &str, target: &str, body: &Value) -> (u16, Value) {
    match route(state, method, target, body) {
        Ok(answer) => (200, answer),
        Err(refusal) => refusal,
    }
}

fn route(state: &mut State, method: &str, target: &str, body: &Value) -> Answer {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let Some(path) = path.strip_prefix("/v1/") else {
        return refused("NOT_FOUND");
    };
    let (path, verb) = path.split_once(':').unwrap_or((path, ""));
    let parameter = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.to_owned())
    };
    if method == "POST" && path.ends_with("/cryptoKeys") {
        return create_key(state, path, &parameter("cryptoKeyId").unwrap_or_default(), body);
    }
    if method == "POST" && path.ends_with("/keyRings") {
        let ring = parameter("keyRingId").unwrap_or_default();
        return Ok(json!({"name": format!("{path}/{ring}")}));
    }
    let (name, version) = path.split_once("/cryptoKeyVersions").unwrap_or((path, ""));
    let is_collection = path.ends_with("/cryptoKeyVersions");
    let number = version.trim_start_matches('/').parse::<usize>().ok();
    let explains = state.explains;
    let Some(key) = state.keys.get_mut(name) else {
        return refused("NOT_FOUND");
    };
    match (method, verb, number) {
        ("POST", "encrypt", _) => encrypt(key, name, number, body, explains),
        ("POST", "decrypt", None) => decrypt(key, body, explains),
        ("POST", "updatePrimaryVersion", None) => {
            let number = body["cryptoKeyVersionId"]
                .as_str()
                .and_then(|id| id.parse().ok())
                .unwrap_or(0);
            if key.version(number).is_none() {
                return refused("NOT_FOUND");
            }
            key.primary = number;
            Ok(key.show(name))
        }
        ("POST", "", None) if is_collection => {
            let number = key.add_version();
            Ok(key.show_version(name, number))
        }
        ("GET", "", None) if is_collection => {
            // Two to a page, so that whoever reads the first page only is found out.
            let from: usize = parameter("pageToken")
                .and_then(|token| token.parse().ok())
                .unwrap_or(0);
            let to = key.versions.len().min(from + 2);
            let shown: Vec<Value> = (from + 1..=to)
                .map(|number| key.show_version(name, number))
                .collect();
            let next = if to < key.versions.len() {
                to.to_string()
            } else {
                String::new()
            };
            Ok(json!({"cryptoKeyVersions": shown, "nextPageToken": next, "totalSize": key.versions.len()}))
        }
        ("GET", "", None) => Ok(key.show(name)),
        ("PATCH", "", None) => {
            if parameter("updateMask").as_deref() != Some("labels") {
                return refused("INVALID_ARGUMENT");
            }
            check_labels(&body["labels"])?;
            key.labels = body["labels"].clone();
            Ok(key.show(name))
        }
        (_, _, Some(number)) if key.version(number).is_none() => refused("NOT_FOUND"),
        ("GET", "", Some(number)) => Ok(key.show_version(name, number)),
        (_, _, Some(number)) => {
            change(
                key,
                number,
                method,
                verb,
                body,
                parameter("updateMask").as_deref(),
            )?;
            Ok(key.show_version(name, number))
        }
        _ => refused("UNIMPLEMENTED"),
    }
}

fn create_key(state: &mut State, path: &str, id: &str, body: &Value) -> Answer {
    if id.is_empty() || enumerated(&body["purpose"], &PURPOSES) != "ENCRYPT_DECRYPT" {
        return refused("INVALID_ARGUMENT");
    }
    if let Some(labels) = body.get("labels") {
        check_labels(labels)?;
    }
    let name = format!("{path}/{id}");
    if state.keys.contains_key(&name) {
        return refused("ALREADY_EXISTS");
    }
    let mut key = Key::new(body);
    key.primary = key.add_version();
    let shown = key.show(&name);
    state.keys.insert(name, key);
    Ok(shown)
}

/// Lower-case letters, digits, `-` and `_`, 63 at most; 64 labels at most.
fn check_labels(labels: &Value) -> Result<(), (u16, Value)> {
    let fits = |text: &str| {
        text.len() <= 63
            && text
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_'))
    };
    let empty = serde_json::Map::new();
    let labels = labels.as_object().unwrap_or(&empty);
    let good = labels.len() <= 64
        && labels
            .iter()
            .all(|(key, value)| !key.is_empty() && fits(key) && value.as_str().is_some_and(fits));
    if good { Ok(()) } else { refused("INVALID_ARGUMENT") }
}

fn change(
    key: &mut Key,
    number: usize,
    method: &str,
    verb: &str,
    body: &Value,
    mask: Option<&str>,
) -> Result<(), (u16, Value)> {
    let after = key.destroy_after;
    let Some(version) = key.version(number) else {
        return refused("NOT_FOUND");
    };
    let wanted = enumerated(&body["state"], &STATES);
    match (method, verb, version.state) {
        ("POST", "destroy", "ENABLED" | "DISABLED") => version.schedule(after),
        ("POST", "restore", "DESTROY_SCHEDULED") => version.restore(),
        ("PATCH", "", "ENABLED" | "DISABLED") if mask == Some("state") => {
            version.state = match wanted {
                "ENABLED" => "ENABLED",
                "DISABLED" => "DISABLED",
                _ => return refused("INVALID_ARGUMENT"),
            };
        }
        _ => return refused("FAILED_PRECONDITION"),
    }
    Ok(())
}

fn bytes(body: &Value, field: &str) -> Result<Vec<u8>, (u16, Value)> {
    let text = body[field].as_str().unwrap_or("");
    let decoded = Base64::decode_vec(text).or_else(|_| Base64Url::decode_vec(text));
    decoded.or_else(|_| refused("INVALID_ARGUMENT"))
}

/// Whether a checksum came with `field`. A wrong one is refused.
fn verified(body: &Value, field: &str, bytes: &[u8]) -> Result<bool, (u16, Value)> {
    let sum = &body[format!("{field}Crc32c")];
    let sum = sum
        .as_str()
        .and_then(|text| text.parse().ok())
        .or_else(|| sum.as_i64());
    match sum {
        None => Ok(false),
        Some(sum) if sum == crc32c(bytes) => Ok(true),
        Some(_) => refused("INVALID_ARGUMENT"),
    }
}

fn encrypt(key: &mut Key, name: &str, number: Option<usize>, body: &Value, explains: bool) -> Answer {
    let (plaintext, aad) = (
        bytes(body, "plaintext")?,
        bytes(body, "additionalAuthenticatedData")?,
    );
    let sums = [
        verified(body, "plaintext", &plaintext)?,
        verified(body, "additionalAuthenticatedData", &aad)?,
    ];
    if plaintext.len() > LIMIT || aad.len() > LIMIT {
        return refused("INVALID_ARGUMENT");
    }
    let number = number.unwrap_or(key.primary);
    usable(key, number, explains)?;
    let ciphertext = key.encrypt(number, &plaintext, &aad);
    Ok(json!({
        "name": format!("{name}/cryptoKeyVersions/{number}"),
        "ciphertext": Base64::encode_string(&ciphertext),
        "ciphertextCrc32c": crc32c(&ciphertext).to_string(),
        "verifiedPlaintextCrc32c": sums[0],
        "verifiedAdditionalAuthenticatedDataCrc32c": sums[1],
        "protectionLevel": "SOFTWARE",
    }))
}

fn decrypt(key: &mut Key, body: &Value, explains: bool) -> Answer {
    let (ciphertext, aad) = (
        bytes(body, "ciphertext")?,
        bytes(body, "additionalAuthenticatedData")?,
    );
    verified(body, "ciphertext", &ciphertext)?;
    verified(body, "additionalAuthenticatedData", &aad)?;
    let Some(number) = key.version_of(&ciphertext) else {
        return refused("INVALID_ARGUMENT");
    };
    usable(key, number, explains)?;
    let Some(plaintext) = key.decrypt(number, &ciphertext, &aad) else {
        return refused("INVALID_ARGUMENT");
    };
    Ok(json!({
        "plaintext": Base64::encode_string(&plaintext),
        "plaintextCrc32c": crc32c(&plaintext).to_string(),
        "usedPrimary": number == key.primary,
        "protectionLevel": "SOFTWARE",
    }))
}

fn usable(key: &mut Key, number: usize, explains: bool) -> Result<(), (u16, Value)> {
    match key.version(number).map(|version| version.state) {
        Some("ENABLED") => Ok(()),
        Some(state) if explains => {
            let why = if state == "DESTROYED" {
                "KEY_DESTROYED"
            } else {
                "KEY_DISABLED"
            };
            let details = json!([{
                "@type": "type.googleapis.com/google.rpc.PreconditionFailure",
                "violations": [{"type": why, "subject": "a version", "description": "CANARY-BODY"}],
            }]);
            Err(error("FAILED_PRECONDITION", details))
        }
        _ => refused("FAILED_PRECONDITION"),
    }
}

/// CRC-32C bit by bit: another implementation than the crate's.
fn crc32c(bytes: &[u8]) -> i64 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = if sum & 1 == 1 {
                sum >> 1 ^ 0x82f6_3b78
            } else {
                sum >> 1
            };
        }
    }
    i64::from(!sum)
}
