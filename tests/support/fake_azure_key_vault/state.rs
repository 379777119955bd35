//! The keys of the vault.

use std::collections::BTreeMap;
use std::time::SystemTime;

use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::{Map, Value, json};

use super::crypto::Material;

/// How long a deleted key can be recovered, in days.
pub(super) const RECOVERABLE_DAYS: u64 = 7;

pub(super) struct Version {
    pub(super) id: String,
    pub(super) material: Material,
    pub(super) kty: String,
    pub(super) ops: Vec<String>,
    pub(super) enabled: bool,
    pub(super) created: u64,
    /// `exp` and `nbf`, where they are set. That the time is over changes nothing here.
    pub(super) times: Map<String, Value>,
    pub(super) tags: Map<String, Value>,
}

#[derive(Default)]
pub(super) struct Key {
    /// The newest last.
    pub(super) versions: Vec<Version>,
    pub(super) deleted: Option<u64>,
}

pub(crate) struct State {
    pub(super) keys: BTreeMap<String, Key>,
    pub(super) public: String,
    pub(super) is_hsm: bool,
    /// Whether a version that is disabled wraps, and only does not unwrap.
    pub(crate) wraps_out_of_use: bool,
}

pub(super) fn now() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs()
}

pub(super) fn hex(len: usize) -> String {
    let mut bytes = vec![0; len];
    aws_lc_rs::rand::fill(&mut bytes).unwrap();
    ::hex::encode(bytes)
}

impl State {
    pub(super) fn new(public: String, is_hsm: bool) -> Self {
        Self {
            keys: BTreeMap::new(),
            public,
            is_hsm,
            wraps_out_of_use: false,
        }
    }

    pub(crate) fn is_hsm(&self) -> bool {
        self.is_hsm
    }

    pub(super) fn material(&self, name: &str, version: &str) -> Material {
        let versions = &self.keys[name].versions;
        versions
            .iter()
            .find(|of| of.id == version)
            .unwrap()
            .material
            .clone()
    }

    /// A key that was made elsewhere, as its only version.
    pub(crate) fn import(&mut self, name: &str, material: Material) {
        let kty = match material {
            Material::Rsa(_) => "RSA",
            Material::Aes(_) => "oct-HSM",
        };
        let version = Version::new(material, kty, Vec::new(), Map::new());
        self.keys.entry(name.to_owned()).or_default().versions = vec![version];
    }

    pub(super) fn kid(&self, name: &str, version: &str) -> String {
        format!("{}/keys/{name}/{version}", self.public)
    }

    pub(super) fn bundle(&self, name: &str, version: &Version) -> Value {
        let mut key = json!({"kid": self.kid(name, &version.id), "kty": version.kty, "key_ops": version.ops});
        if let Some((n, e)) = version.material.public() {
            key["n"] = Base64UrlUnpadded::encode_string(&n).into();
            key["e"] = Base64UrlUnpadded::encode_string(&e).into();
        }
        json!({"key": key, "attributes": version.attributes(), "tags": version.tags})
    }

    pub(super) fn deleted(&self, name: &str, key: &Key) -> Option<Value> {
        let (deleted, newest) = (key.deleted?, key.versions.last()?);
        let mut bundle = self.bundle(name, newest);
        bundle["recoveryId"] = format!("{}/deletedkeys/{name}", self.public).into();
        bundle["deletedDate"] = deleted.into();
        bundle["scheduledPurgeDate"] = (deleted + RECOVERABLE_DAYS * 86_400).into();
        Some(bundle)
    }
}

impl Version {
    pub(super) fn new(material: Material, kty: &str, ops: Vec<String>, tags: Map<String, Value>) -> Self {
        let all = ["encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey"];
        Self {
            id: hex(16),
            material,
            kty: kty.to_owned(),
            ops: if ops.is_empty() {
                all.map(str::to_owned).into()
            } else {
                ops
            },
            enabled: true,
            created: now(),
            times: Map::new(),
            tags,
        }
    }

    pub(super) fn attributes(&self) -> Value {
        let mut attributes = json!({
            "enabled": self.enabled,
            "created": self.created,
            "updated": self.created,
            "recoveryLevel": "CustomizedRecoverable+Purgeable",
            "recoverableDays": RECOVERABLE_DAYS,
            "exportable": false,
        });
        for (name, time) in &self.times {
            attributes[name] = time.clone();
        }
        attributes
    }
}
