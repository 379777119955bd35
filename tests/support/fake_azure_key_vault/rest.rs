//! The REST interface of the vault: which call is it, and what does it answer.

use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::{Map, Value, json};

use super::crypto::Material;
use super::state::{Key, State, Version, now};

/// Versions on one page of a list.
const PAGE: usize = 2;

type Answer = Result<Value, (u16, Value)>;

/// An error as the service has it.
pub(super) fn error(status: u16, code: &str, inner: Option<&str>) -> (u16, Value) {
    let mut body = json!({"error": {"code": code, "message": "said by the fake, CANARY-BODY"}});
    if let Some(inner) = inner {
        body["error"]["innererror"] = json!({"code": inner});
    }
    (status, body)
}

fn refused<T>(status: u16, code: &str) -> Result<T, (u16, Value)> {
    Err(error(status, code, None))
}

pub(super) fn answer(state: &mut State, method: &str, target: &str, body: &Value) -> (u16, Value) {
    match route(state, method, target, body) {
        Ok(answer) => (200, answer),
        Err(refusal) => refusal,
    }
}

fn route(state: &mut State, method: &str, target: &str, body: &Value) -> Answer {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match (method, parts.as_slice()) {
        ("POST", ["keys", name, "create"]) => create(state, name, body),
        ("POST", ["keys", name, "rotate"]) => rotate(state, name),
        ("GET", ["keys", name, "versions"]) => list(state, name, query),
        ("GET", ["keys", name] | ["keys", name, ""]) => get(state, name, None),
        ("GET", ["keys", name, version]) => get(state, name, Some(version)),
        ("PATCH", ["keys", name] | ["keys", name, ""]) => update(state, name, None, body),
        ("PATCH", ["keys", name, version]) => update(state, name, Some(version), body),
        ("DELETE", ["keys", name]) => delete(state, name),
        ("GET", ["deletedkeys", name]) => {
            let found = state.keys.get(*name).and_then(|key| state.deleted(name, key));
            found.ok_or_else(|| error(404, "KeyNotFound", None))
        }
        ("POST", ["deletedkeys", name, "recover"]) => {
            let key = state.keys.get_mut(*name).filter(|key| key.deleted.is_some());
            key.ok_or_else(|| error(404, "KeyNotFound", None))?.deleted = None;
            get(state, name, None)
        }
        // Two slashes, where a version belongs.
        ("POST", ["keys", _, "", "wrapkey" | "unwrapkey"]) => refused(400, "BadParameter"),
        ("POST", ["keys", name, version, operation @ ("wrapkey" | "unwrapkey")]) => {
            operate(state, name, version, operation, body)
        }
        _ => refused(404, "NotFound"),
    }
}

fn found<'s>(state: &'s State, name: &str) -> Result<&'s Key, (u16, Value)> {
    let key = state.keys.get(name).filter(|key| key.deleted.is_none());
    key.ok_or_else(|| error(404, "KeyNotFound", None))
}

fn position(key: &Key, version: Option<&str>) -> Result<usize, (u16, Value)> {
    let at = match version {
        None => key.versions.len().checked_sub(1),
        Some(version) => key.versions.iter().position(|of| of.id == version),
    };
    at.ok_or_else(|| error(404, "KeyNotFound", None))
}

fn strings(value: &Value) -> Vec<String> {
    let all = value.as_array().into_iter().flatten();
    all.filter_map(|one| one.as_str().map(str::to_owned)).collect()
}

fn tags(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

/// Of a name that there is, a new version.
fn create(state: &mut State, name: &str, body: &Value) -> Answer {
    let kty = body["kty"].as_str().unwrap_or_default();
    let material = match kty {
        "RSA" | "RSA-HSM" => Material::rsa(body["key_size"].as_u64().unwrap_or(2048)),
        "oct-HSM" if state.is_hsm && matches!(body["key_size"].as_u64(), None | Some(256)) => {
            Some(Material::aes())
        }
        _ => None,
    };
    let Some(material) = material else {
        return refused(400, "BadParameter");
    };
    if state.keys.get(name).is_some_and(|key| key.deleted.is_some()) {
        return Err(error(409, "Conflict", Some("ObjectIsDeletedButRecoverable")));
    }
    let version = Version::new(material, kty, strings(&body["key_ops"]), tags(&body["tags"]));
    state
        .keys
        .entry(name.to_owned())
        .or_default()
        .versions
        .push(version);
    get(state, name, None)
}

fn rotate(state: &mut State, name: &str) -> Answer {
    let newest = found(state, name)?.versions.last().unwrap();
    let material = match &newest.material {
        Material::Rsa(_) => Material::rsa(8 * newest.material.public().unwrap().0.len() as u64).unwrap(),
        Material::Aes(_) => Material::aes(),
    };
    let version = Version::new(material, &newest.kty, newest.ops.clone(), newest.tags.clone());
    state.keys.get_mut(name).unwrap().versions.push(version);
    get(state, name, None)
}

fn get(state: &State, name: &str, version: Option<&str>) -> Answer {
    let key = found(state, name)?;
    Ok(state.bundle(name, &key.versions[position(key, version)?]))
}

fn list(state: &State, name: &str, query: &str) -> Answer {
    let key = found(state, name)?;
    let query = query.replace("%24", "$");
    let skip = query.split('&').find_map(|pair| pair.strip_prefix("$skiptoken="));
    let skip: usize = skip.and_then(|skip| skip.parse().ok()).unwrap_or(0);
    let of = |version: &Version| json!({"kid": state.kid(name, &version.id), "attributes": version.attributes(), "tags": version.tags});
    let page: Vec<Value> = key.versions.iter().skip(skip).take(PAGE).map(of).collect();
    let next = (skip + PAGE < key.versions.len()).then(|| {
        format!(
            "{}/keys/{name}/versions?api-version=7.4&$skiptoken={}",
            state.public,
            skip + PAGE
        )
    });
    Ok(json!({"value": page, "nextLink": next}))
}

fn update(state: &mut State, name: &str, version: Option<&str>, body: &Value) -> Answer {
    let at = position(found(state, name)?, version)?;
    let of = &mut state.keys.get_mut(name).unwrap().versions[at];
    if let Some(enabled) = body["attributes"]["enabled"].as_bool() {
        of.enabled = enabled;
    }
    for name in ["exp", "nbf"] {
        match body["attributes"].get(name) {
            Some(Value::Null) => drop(of.times.remove(name)),
            Some(time) => drop(of.times.insert(name.to_owned(), time.clone())),
            None => {}
        }
    }
    if !body["tags"].is_null() {
        of.tags = tags(&body["tags"]);
    }
    if !body["key_ops"].is_null() {
        of.ops = strings(&body["key_ops"]);
    }
    get(state, name, version)
}

fn delete(state: &mut State, name: &str) -> Answer {
    found(state, name)?;
    state.keys.get_mut(name).unwrap().deleted = Some(now());
    Ok(state.deleted(name, &state.keys[name]).unwrap())
}

fn operate(state: &State, name: &str, version: &str, operation: &str, body: &Value) -> Answer {
    let key = found(state, name)?;
    let of = &key.versions[position(key, Some(version))?];
    // As is reported of the service: what is out of use wraps all the same, and does not unwrap.
    let is_lax = state.wraps_out_of_use && operation == "wrapkey";
    if !of.enabled && !is_lax {
        return Err(error(403, "Forbidden", Some("KeyDisabled")));
    }
    let permitted = if operation == "wrapkey" {
        "wrapKey"
    } else {
        "unwrapKey"
    };
    if !of.ops.iter().any(|op| op == permitted) {
        return Err(error(403, "Forbidden", Some("KeyOperationForbidden")));
    }
    let algorithm = body["alg"].as_str().unwrap_or_default();
    let value = body["value"].as_str().unwrap_or_default();
    let value = Base64UrlUnpadded::decode_vec(value).map_err(|_| error(400, "BadParameter", None))?;
    let done = match operation {
        "wrapkey" => of.material.wrap(algorithm, &value),
        _ => of.material.unwrap(algorithm, &value),
    };
    match done {
        Some(done) => {
            Ok(json!({"kid": state.kid(name, version), "value": Base64UrlUnpadded::encode_string(&done)}))
        }
        None => refused(400, "BadParameter"),
    }
}
