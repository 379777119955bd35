//! Cadences that are recommended, by the kind of key.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Labels;
use crate::ring::Period;
use crate::value::error::{Error, Result};

/// The label that says what kind of key it is: `signing`, `credential` or `encryption`.
pub(super) const KIND: &str = "kind";

/// What a key is for. The label `kind` of a key says it; a key without one is for encryption.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyKind {
    /// It wraps data keys.
    #[default]
    Encryption,
    /// It wraps the keys of signers.
    Signing,
    /// It wraps credentials.
    Credential,
}

impl KeyKind {
    pub(super) fn of(labels: &Labels) -> Result<Self> {
        match labels.get(KIND).map(String::as_str) {
            None | Some("encryption") => Ok(Self::Encryption),
            Some("signing") => Ok(Self::Signing),
            Some("credential") => Ok(Self::Credential),
            Some(_) => Err(Error::argument(
                "the label kind is encryption, signing or credential",
            )),
        }
    }
}

/// Cadences of keys that are created without one of their own. The overlap is 24 hours in each.
///
/// | preset | encryption | signing, credential |
/// |---|---|---|
/// | none | the setting `cadence` (90 days) | the same |
/// | `baseline-prod` | 1 year | 90 days |
/// | `baseline-nonprod` | 30 days | 30 days |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Preset {
    /// For production.
    BaselineProd,
    /// For everything else.
    BaselineNonprod,
}

impl Preset {
    const ALL: [(Self, &'static str); 2] = [
        (Self::BaselineProd, "baseline-prod"),
        (Self::BaselineNonprod, "baseline-nonprod"),
    ];

    /// Returns how long a key of this kind is active before it is rotated.
    ///
    /// # Errors
    /// None today.
    pub fn cadence(self, kind: KeyKind) -> Result<Period> {
        match (self, kind) {
            (Self::BaselineProd, KeyKind::Encryption) => "P1Y",
            (Self::BaselineProd, KeyKind::Signing | KeyKind::Credential) => "P90D",
            (Self::BaselineNonprod, _) => "P30D",
        }
        .parse()
    }
}

impl FromStr for Preset {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut all = Self::ALL.into_iter();
        let found = all.find(|(_, name)| *name == text);
        found
            .map(|(preset, _)| preset)
            .ok_or_else(|| Error::argument("a preset is baseline-prod or baseline-nonprod"))
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut all = Self::ALL.into_iter();
        let found = all.find(|(preset, _)| preset == self);
        f.write_str(found.map_or("", |(_, name)| name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cadences_are_those_of_the_table() {
        let rows = [
            ("baseline-prod", ["P1Y", "P90D", "P90D"]),
            ("baseline-nonprod", ["P30D", "P30D", "P30D"]),
        ];
        for (name, cadences) in rows {
            let preset: Preset = name.parse().unwrap();
            assert_eq!(preset.to_string(), name);
            assert_eq!(serde_json::to_string(&preset).unwrap(), format!("\"{name}\""));
            for (kind, cadence) in ["encryption", "signing", "credential"].into_iter().zip(cadences) {
                let labels = Labels::from([(KIND.to_owned(), kind.to_owned())]);
                let kind = KeyKind::of(&labels).unwrap();
                assert_eq!(preset.cadence(kind).unwrap().to_string(), cadence);
            }
        }
        assert_eq!(KeyKind::of(&Labels::new()).unwrap(), KeyKind::Encryption);
        assert!("prod".parse::<Preset>().is_err());
        assert!(KeyKind::of(&Labels::from([(KIND.to_owned(), "other".to_owned())])).is_err());
    }
}
