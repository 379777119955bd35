//! Keys, their versions, and what they encrypt.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit};
use serde_json::{Value, json};
use waxseal::value::entropy;

use super::rest::enumerated;

/// `destroyScheduledDuration` where none is asked for: 30 days.
const DESTROY_AFTER: u64 = 30 * 24 * 60 * 60;

#[derive(Default)]
pub(super) struct State {
    pub(super) keys: BTreeMap<String, Key>,
    pub(super) explains: bool,
}

pub(super) struct Key {
    uid: [u8; 8],
    pub(super) versions: Vec<Version>,
    pub(super) primary: usize,
    pub(super) labels: Value,
    protection: String,
    pub(super) destroy_after: u64,
    created: SystemTime,
}

pub(super) struct Version {
    pub(super) state: &'static str,
    material: Option<[u8; 32]>,
    created: SystemTime,
    destroyed: Option<SystemTime>,
}

impl Key {
    pub(super) fn new(body: &Value) -> Self {
        let template = &body["versionTemplate"];
        let seconds = body["destroyScheduledDuration"].as_str();
        Self {
            uid: entropy::array().unwrap(),
            versions: Vec::new(),
            primary: 0,
            labels: body.get("labels").cloned().unwrap_or_else(|| json!({})),
            protection: match enumerated(&template["protectionLevel"], &["", "SOFTWARE", "HSM"]) {
                "" => "SOFTWARE".to_owned(),
                level => level.to_owned(),
            },
            destroy_after: seconds
                .and_then(|text| text.trim_end_matches('s').parse().ok())
                .unwrap_or(DESTROY_AFTER),
            created: SystemTime::now(),
        }
    }

    pub(super) fn add_version(&mut self) -> usize {
        self.versions.push(Version {
            state: "ENABLED",
            material: Some(entropy::array().unwrap()),
            created: SystemTime::now(),
            destroyed: None,
        });
        self.versions.len()
    }

    /// The version of a number from 1.
    pub(super) fn version(&mut self, number: usize) -> Option<&mut Version> {
        self.versions.get_mut(number.checked_sub(1)?)
    }

    pub(super) fn show(&self, name: &str) -> Value {
        let mut shown = json!({
            "name": name,
            "purpose": "ENCRYPT_DECRYPT",
            "createTime": rfc3339(self.created),
            "versionTemplate": {"protectionLevel": self.protection, "algorithm": "GOOGLE_SYMMETRIC_ENCRYPTION"},
            "labels": self.labels,
            "destroyScheduledDuration": format!("{}s", self.destroy_after),
        });
        if self.primary > 0 {
            shown["primary"] = self.show_version(name, self.primary);
        }
        shown
    }

    pub(super) fn show_version(&self, name: &str, number: usize) -> Value {
        let version = &self.versions[number - 1];
        let mut shown = json!({
            "name": format!("{name}/cryptoKeyVersions/{number}"),
            "state": version.state,
            "protectionLevel": self.protection,
            "algorithm": "GOOGLE_SYMMETRIC_ENCRYPTION",
            "createTime": rfc3339(version.created),
        });
        if let Some(time) = version.destroyed {
            let field = if version.state == "DESTROYED" {
                "destroyEventTime"
            } else {
                "destroyTime"
            };
            shown[field] = json!(rfc3339(time));
        }
        shown
    }

    /// `uid || version || nonce || ciphertext || tag`, the first three authenticated with the AAD.
    pub(super) fn encrypt(&mut self, number: usize, plaintext: &[u8], aad: &[u8]) -> Vec<u8> {
        let nonce: [u8; 12] = entropy::array().unwrap();
        let mut out = self.uid.to_vec();
        out.extend(u32::try_from(number).unwrap().to_be_bytes());
        out.extend(nonce);
        let aad = [&out, aad].concat();
        let mut text = plaintext.to_vec();
        let cipher = self.cipher(number);
        let tag = cipher.encrypt_inout_detached(&nonce.into(), &aad, text.as_mut_slice().into());
        out.extend(text);
        out.extend(tag.unwrap());
        out
    }

    /// The version that a ciphertext of this key names.
    pub(super) fn version_of(&self, ciphertext: &[u8]) -> Option<usize> {
        let rest = ciphertext.strip_prefix(&self.uid)?;
        let number = u32::from_be_bytes(*rest.first_chunk()?);
        usize::try_from(number)
            .ok()
            .filter(|number| (1..=self.versions.len()).contains(number))
    }

    pub(super) fn decrypt(&mut self, number: usize, ciphertext: &[u8], aad: &[u8]) -> Option<Vec<u8>> {
        let (head, sealed) = ciphertext.split_at_checked(24)?;
        let (text, tag) = sealed.split_last_chunk::<16>()?;
        let nonce: [u8; 12] = *head.last_chunk()?;
        let aad = [head, aad].concat();
        let mut text = text.to_vec();
        let cipher = self.cipher(number);
        let opened =
            cipher.decrypt_inout_detached(&nonce.into(), &aad, text.as_mut_slice().into(), tag.into());
        opened.ok().map(|()| text)
    }

    fn cipher(&self, number: usize) -> Aes256Gcm {
        Aes256Gcm::new(&self.versions[number - 1].material.unwrap().into())
    }
}

impl Version {
    pub(super) fn schedule(&mut self, after: u64) {
        self.state = "DESTROY_SCHEDULED";
        self.destroyed = Some(SystemTime::now() + Duration::from_secs(after));
    }

    pub(super) fn restore(&mut self) {
        self.state = "DISABLED";
        self.destroyed = None;
    }
}

impl State {
    pub(super) fn finish_destruction(&mut self) {
        for version in self.keys.values_mut().flat_map(|key| &mut key.versions) {
            if version.state == "DESTROY_SCHEDULED" {
                version.state = "DESTROYED";
                version.material = None;
            }
        }
    }
}

/// By the days-to-date formula of the proleptic Gregorian calendar.
fn rfc3339(time: SystemTime) -> String {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let z = days + 719_468;
    let (era, day) = (z / 146_097, z % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let date = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{second:02}Z")
}
