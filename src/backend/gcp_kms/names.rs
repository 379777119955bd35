//! Resource names: nothing in them can lead elsewhere.

use super::PROVIDER;
use crate::envelope::KekRef;
use crate::value::error::{Error, Result};

const KEY_FORM: &str = "projects/PROJECT/locations/LOCATION/keyRings/RING/cryptoKeys/KEY";
const RING_FORM: &str = "projects/PROJECT/locations/LOCATION/keyRings/RING";

/// What stands between the names, down to the key.
const COLLECTIONS: [&str; 4] = ["projects", "locations", "keyRings", "cryptoKeys"];

/// A project may be of a domain (`example.com:name`). It has at least one letter or digit, so that `..` is not a project.
fn is_project(text: &str) -> bool {
    text.len() <= 128
        && text.chars().any(|c| c.is_ascii_alphanumeric())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ':'))
}

/// A location, a key ring or a key.
pub(super) fn is_name(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
}

fn is_resource(text: &str, depth: usize) -> bool {
    let parts: Vec<&str> = text.split('/').collect();
    parts.len() == 2 * depth
        && parts
            .chunks_exact(2)
            .zip(COLLECTIONS)
            .all(|(pair, collection)| match pair {
                [kind, name] => {
                    *kind == collection && (is_name(name) || (collection == "projects" && is_project(name)))
                }
                _ => false,
            })
}

/// The name of a crypto key, without a version.
pub(super) fn check_key(name: &str) -> Result<()> {
    if is_resource(name, 4) {
        return Ok(());
    }
    let hint = if name.contains("/cryptoKeyVersions/") {
        ", without a version: the service wraps under the primary one"
    } else {
        ""
    };
    Err(Error::configuration(format!("the name of a key is {KEY_FORM}{hint}")).with_provider(PROVIDER))
}

/// The name of a key ring.
pub(super) fn check_ring(name: &str) -> Result<()> {
    if is_resource(name, 3) {
        Ok(())
    } else {
        Err(Error::configuration(format!("the name of a key ring is {RING_FORM}")).with_provider(PROVIDER))
    }
}

/// Whether this is the number of a version: decimal, from 1, without leading zeros.
pub(super) fn is_version(text: &str) -> bool {
    (1..=19).contains(&text.len()) && !text.starts_with('0') && text.chars().all(|c| c.is_ascii_digit())
}

/// The name of one version of a key.
pub(super) fn version_name(key: &str, version: &str) -> String {
    format!("{key}/cryptoKeyVersions/{version}")
}

/// Returns the KEK that an answer names, if it is the key that was asked for. The version is empty if the answer has none, as the
/// answers of some emulators.
pub(super) fn answered(key: &str, name: &str) -> Option<KekRef> {
    let (of, version) = match name.split_once("/cryptoKeyVersions/") {
        Some((of, version)) if is_version(version) => (of, version),
        Some(_) => return None,
        None => (name, ""),
    };
    let is_same = of == key || (of.is_empty() && version.is_empty()) || is_same_but_for_project(key, of);
    is_same
        .then(|| KekRef::new(PROVIDER, key, version).ok())
        .flatten()
}

/// A project has an id and a number, and the service may answer with the other one.
fn is_same_but_for_project(one: &str, two: &str) -> bool {
    let split = |name: &str| -> Option<(String, bool)> {
        let (project, rest) = name.strip_prefix("projects/")?.split_once('/')?;
        Some((rest.to_owned(), project.chars().all(|c| c.is_ascii_digit())))
    };
    match (split(one), split(two)) {
        (Some((rest, numeric)), Some((other_rest, other_numeric))) => {
            rest == other_rest && numeric != other_numeric
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "projects/p/locations/global/keyRings/r/cryptoKeys/k";

    #[test]
    fn nothing_that_leads_elsewhere_is_a_name() {
        for good in [
            KEY,
            "projects/example.com:my-proj/locations/europe-west3/keyRings/R_1/cryptoKeys/K-2",
            "projects/123456/locations/eur4/keyRings/r/cryptoKeys/k",
        ] {
            check_key(good).unwrap();
        }
        for bad in [
            "",
            "k",
            "projects/p/locations/global/keyRings/r",
            "projects/p/locations/global/keyRings/r/cryptoKeys/",
            "projects/p/locations/global/keyRings/../cryptoKeys/k",
            "projects/../locations/global/keyRings/r/cryptoKeys/k",
            "projects/p/locations/global/keyRings/r/cryptoKeys/k:decrypt",
            "projects/p/locations/global/keyRings/r/cryptoKeys/k?x=y",
            "projects/p/locations/global/keyRings/r/cryptoKeys/k%2f",
            "/projects/p/locations/global/keyRings/r/cryptoKeys/k",
            "projects/p/locations/global/keyRings/r/cryptoKeys/k/",
            "https://conformance.invalid/projects/p/locations/global/keyRings/r/cryptoKeys/k",
        ] {
            assert!(check_key(bad).is_err(), "{bad}");
        }
        let error = check_key(&version_name(KEY, "1")).unwrap_err().to_string();
        assert!(error.contains("without a version"), "{error}");
        check_ring("projects/p/locations/global/keyRings/r").unwrap();
        assert!(check_ring(KEY).is_err());
    }

    #[test]
    fn an_answer_must_name_the_key_that_was_asked() {
        for (name, version) in [
            (version_name(KEY, "7"), "7"),
            (KEY.to_owned(), ""),
            (String::new(), ""),
            (
                KEY.replace("projects/p/", "projects/123/") + "/cryptoKeyVersions/12",
                "12",
            ),
        ] {
            let kek = answered(KEY, &name).unwrap();
            assert_eq!((kek.id(), kek.version()), (KEY, version), "{name}");
        }
        for name in [
            version_name(KEY, "07"),
            version_name(KEY, ""),
            version_name(KEY, "1/2"),
            version_name(&KEY.replace("/k", "/k2"), "1"),
            version_name(&KEY.replace("projects/p/", "projects/q/"), "1"),
            version_name("", "1"),
        ] {
            assert!(answered(KEY, &name).is_none(), "{name}");
        }
    }
}
