//! The keys of a ring as a cryptography bill of materials: [CycloneDX 1.6](https://cyclonedx.org/docs/1.6/json/).

use std::collections::BTreeSet;

use serde_json::{Value, json};
use waxseal::envelope::AlgorithmClass;
use waxseal::ring::{Branch, KeyRecord, Protection, State};

use super::Reporting;
use super::rows::Reported;

/// What a bill of materials has instead of a document's schema number.
const VERSION: &str = "1.6";

pub(super) fn of(report: &Reporting) -> Value {
    let view = &report.view;
    let mut algorithms: BTreeSet<&str> = BTreeSet::new();
    for one in &report.keys {
        algorithms.insert(&one.key.algorithm);
        if let Some(branch) = &one.key.branch {
            algorithms.insert(&branch.wrapped.algorithm);
            algorithms.extend(former_algorithms(branch));
        }
    }
    let classical = |algorithm: &str| {
        let mut keys = report.keys.iter().map(|one| &one.key);
        keys.any(|key| {
            key.protecting_algorithm() == algorithm && key.class() == Some(AlgorithmClass::Classical)
        })
    };
    let known: BTreeSet<String> = report.keys.iter().map(|one| one.key.id.to_string()).collect();
    let components: Vec<Value> = algorithms
        .into_iter()
        .map(|algorithm| algorithm_json(algorithm, classical(algorithm)))
        .chain(report.keys.iter().map(key_json))
        .collect();
    let parents = report.keys.iter().filter_map(|one| {
        let parent = one.key.branch.as_ref()?.parent.to_string();
        let is_known = known.contains(&parent);
        is_known.then(|| json!({ "ref": key_ref(&one.key), "dependsOn": [format!("key/{parent}")] }))
    });
    let ring = json!({
        "ref": "ring",
        "dependsOn": report.keys.iter().map(|one| key_ref(&one.key)).collect::<Vec<_>>(),
    });
    let dependencies: Vec<Value> = std::iter::once(ring).chain(parents).collect();
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": VERSION,
        // The ring has one bill, and a version of it for each revision.
        "serialNumber": format!("urn:uuid:{}", view.ring()),
        "version": view.revision(),
        "metadata": {
            "timestamp": report.now.to_string(),
            "tools": { "components": [{ "type": "application", "name": "waxseal", "version": env!("CARGO_PKG_VERSION") }] },
            "component": { "type": "application", "bom-ref": "ring", "name": format!("key ring {}", view.ring()) },
            "properties": [
                property("waxseal:mark", &view.mark().to_string()),
                property("waxseal:authority", &view.authority().to_string()),
            ],
        },
        "components": components,
        "dependencies": dependencies,
    })
}

fn property(name: &str, value: &str) -> Value {
    json!({ "name": name, "value": value })
}

fn algorithm_ref(algorithm: &str) -> String {
    format!("algorithm/{algorithm}")
}

fn key_ref(key: &KeyRecord) -> String {
    format!("key/{}", key.id)
}

fn algorithm_json(algorithm: &str, is_classical: bool) -> Value {
    let primitive = match algorithm {
        _ if is_classical => "pke",
        name if name.contains("gcm") || name.contains("poly1305") => "ae",
        name if name.contains("ml-kem") || name.contains("mlkem") || name.contains("wing") => "kem",
        _ => "other",
    };
    let functions = match primitive {
        "kem" => ["encapsulate", "decapsulate"],
        _ => ["encrypt", "decrypt"],
    };
    let mut properties = json!({ "primitive": primitive, "cryptoFunctions": functions });
    if let (Value::Object(properties), true) = (&mut properties, is_classical) {
        properties.insert("nistQuantumSecurityLevel".to_owned(), 0.into());
    }
    json!({
        "type": "cryptographic-asset",
        "bom-ref": algorithm_ref(algorithm),
        "name": algorithm,
        "cryptoProperties": { "assetType": "algorithm", "algorithmProperties": properties },
    })
}

/// The algorithms of the wraps that a branch key had before: copies of those may still be in backups.
fn former_algorithms(branch: &Branch) -> BTreeSet<&str> {
    branch
        .former
        .iter()
        .map(|former| former.algorithm.as_str())
        .collect()
}

fn key_json(one: &Reported) -> Value {
    let key = &one.key;
    let mechanism = match (key.protection, &key.branch) {
        (_, Some(_)) => "Wrapped by its parent",
        (Protection::Hardware, None) => "HSM",
        (Protection::Software, None) => "Software",
        (_, None) => "Unknown",
    };
    let mut secured = json!({ "mechanism": mechanism });
    if let (Value::Object(secured), Some(branch)) = (&mut secured, &key.branch) {
        let by = algorithm_ref(&branch.wrapped.algorithm);
        secured.insert("algorithmRef".to_owned(), by.into());
    }
    let is_private = key.branch.is_none() && key.class() == Some(AlgorithmClass::Classical);
    let mut material = json!({
        "type": if is_private { "private-key" } else { "secret-key" },
        "id": key.id.to_string(),
        "state": one.state.row().cyclonedx,
        "algorithmRef": algorithm_ref(&key.algorithm),
        "creationDate": key.created.to_string(),
        "securedBy": secured,
    });
    let dates = [
        ("activationDate", key.activated),
        ("updateDate", key.history.last().map(|last| last.at)),
        (
            "expirationDate",
            key.next_rotation.filter(|_| one.state == State::Active),
        ),
    ];
    if let Value::Object(material) = &mut material {
        for (name, date) in dates {
            if let Some(date) = date {
                material.insert(name.to_owned(), date.to_string().into());
            }
        }
    }
    let mut properties = vec![
        property("waxseal:scope", key.scope.as_str()),
        property("waxseal:slot", &key.slot.to_string()),
        property("waxseal:state", one.state.name()),
        property("waxseal:uri", &key.provenance.uri),
        property("waxseal:cadence", &key.cadence.to_string()),
    ];
    let class = key.class().map_or("unknown", AlgorithmClass::name);
    properties.push(property("waxseal:class", class));
    let former = key.branch.as_ref().map(former_algorithms).unwrap_or_default();
    let former = former
        .into_iter()
        .map(|name| property("waxseal:former-algorithm", name));
    properties.extend(former);
    if let Some(objects) = one.objects {
        properties.push(property("waxseal:envelopes", &objects.items.to_string()));
    }
    if let Some(through) = one.through.filter(|through| through.items > 0) {
        let name = "waxseal:envelopes-through-branch-keys";
        properties.push(property(name, &through.items.to_string()));
    }
    let same = one
        .same_kek
        .iter()
        .map(|id| property("waxseal:same-kek", &id.to_string()));
    properties.extend(same);
    json!({
        "type": "cryptographic-asset",
        "bom-ref": key_ref(key),
        "name": format!("{}, {}", key.scope, key.slot),
        "cryptoProperties": {
            "assetType": "related-crypto-material",
            "relatedCryptoMaterialProperties": material,
        },
        "properties": properties,
    })
}
