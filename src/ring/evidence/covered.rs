//! What a census scans, and what the settings demand that it has scanned.

use std::fmt;
use std::path::{Component, Path};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::value::error::{Error, Result};

/// The longest name in bytes.
const MAX_NAME: usize = 1024;
const BRANCH_KEYS: &str = "branch-keys";

/// What a census has scanned. As text `files:/srv/data`, `store:NAME`, `dek-store:NAME` or `branch-keys`.
///
/// ```
/// use waxseal::ring::evidence::Covered;
///
/// let scanned: Covered = "files:/srv".parse()?;
/// let demanded: Covered = "files:/srv/data".parse()?;
/// assert!(scanned.covers(&demanded) && !demanded.covers(&scanned));
/// assert!("files:data".parse::<Covered>().is_err());
/// # Ok::<(), waxseal::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", content = "name", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Covered {
    /// The files of a folder, or one file: an absolute path without `.` and `..`.
    Files(String),
    /// A store of values, such as a column of a table, by a name of the caller's choice.
    Store(String),
    /// The wrap sections of a DEK store.
    DekStore(String),
    /// The branch keys of the ring.
    BranchKeys,
}

impl Covered {
    /// Returns whether whoever has scanned this has scanned `other`, too: it is the same, or a path below.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            // By the parts of a path: /srv/data does not cover /srv/database.
            (Self::Files(this), Self::Files(other)) => Path::new(other).starts_with(this),
            _ => self == other,
        }
    }

    /// Refuses a name that is empty, too long or not printable, and a path that is not absolute.
    ///
    /// # Errors
    /// `InvalidArgument`.
    pub fn check(&self) -> Result<()> {
        let (Self::Files(name) | Self::Store(name) | Self::DekStore(name)) = self else {
            return Ok(());
        };
        if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
            return Err(Error::argument(format!(
                "what a census covers has a name of 1 to {MAX_NAME} bytes without control characters"
            )));
        }
        let Self::Files(name) = self else { return Ok(()) };
        let path = Path::new(name);
        let is_plain = |part: Component<'_>| !matches!(part, Component::ParentDir | Component::CurDir);
        // Components leave out what is repeated, and a dot that is not the first.
        let is_normal =
            path.components().all(is_plain) && path.components().as_path().as_os_str() == name.as_str();
        match path.is_absolute() && is_normal && !name.contains("/./") && !name.contains("//") {
            true => Ok(()),
            false => Err(Error::argument(format!(
                "files that a census covers are named by an absolute path without . and .., got {name}"
            ))),
        }
    }
}

/// How many envelopes a census counted in one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
#[non_exhaustive]
pub struct PlaceCount {
    /// The place.
    pub place: Covered,
    /// How many envelopes were counted there.
    pub items: u64,
}

impl PlaceCount {
    /// So many envelopes in this place.
    #[must_use]
    pub fn new(place: Covered, items: u64) -> Self {
        Self { place, items }
    }
}

/// A count as a receipt has it: the members of the place, and `items`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    kind: Kind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    items: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Files,
    Store,
    DekStore,
    BranchKeys,
}

impl From<PlaceCount> for Written {
    fn from(count: PlaceCount) -> Self {
        let (kind, name) = match count.place {
            Covered::Files(name) => (Kind::Files, Some(name)),
            Covered::Store(name) => (Kind::Store, Some(name)),
            Covered::DekStore(name) => (Kind::DekStore, Some(name)),
            Covered::BranchKeys => (Kind::BranchKeys, None),
        };
        let items = count.items;
        Self { kind, name, items }
    }
}

impl TryFrom<Written> for PlaceCount {
    type Error = &'static str;

    fn try_from(written: Written) -> std::result::Result<Self, Self::Error> {
        let place = match (written.kind, written.name) {
            (Kind::Files, Some(name)) => Covered::Files(name),
            (Kind::Store, Some(name)) => Covered::Store(name),
            (Kind::DekStore, Some(name)) => Covered::DekStore(name),
            (Kind::BranchKeys, None) => Covered::BranchKeys,
            _ => return Err("what a census covers has a name, and branch-keys have none"),
        };
        let items = written.items;
        Ok(Self { place, items })
    }
}

impl FromStr for Covered {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let covered = match text.split_once(':') {
            None if text == BRANCH_KEYS => Self::BranchKeys,
            Some(("files", name)) => Self::Files(name.to_owned()),
            Some(("store", name)) => Self::Store(name.to_owned()),
            Some(("dek-store", name)) => Self::DekStore(name.to_owned()),
            _ => {
                return Err(Error::argument(
                    "what a census covers is files:PATH, store:NAME, dek-store:NAME or branch-keys",
                ));
            }
        };
        covered.check()?;
        Ok(covered)
    }
}

impl fmt::Display for Covered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files(name) => write!(f, "files:{name}"),
            Self::Store(name) => write!(f, "store:{name}"),
            Self::DekStore(name) => write!(f, "dek-store:{name}"),
            Self::BranchKeys => f.write_str(BRANCH_KEYS),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covered(text: &str) -> Covered {
        text.parse().unwrap()
    }

    #[test]
    fn paths_cover_what_is_below_them_by_whole_names() {
        let all = [
            "files:/srv/data",
            "files:/srv/database",
            "files:/srv",
            "files:/",
            "store:a",
            "dek-store:a",
            "branch-keys",
        ];
        for text in all {
            assert_eq!(covered(text).to_string(), text);
            assert!(covered(text).covers(&covered(text)));
        }
        let covers = |one: &str, other: &str| covered(one).covers(&covered(other));
        assert!(covers("files:/srv", "files:/srv/data"));
        assert!(covers("files:/", "files:/srv/data"));
        for (one, other) in [
            ("files:/srv/data", "files:/srv/database"),
            ("files:/srv/data", "files:/srv"),
            ("store:a", "dek-store:a"),
            ("store:a", "store:ab"),
            ("files:/", "branch-keys"),
        ] {
            assert!(!covers(one, other), "{one} {other}");
        }
    }

    #[test]
    fn names_that_cannot_be_compared_are_refused() {
        let long = format!("store:{}", "x".repeat(MAX_NAME + 1));
        for bad in [
            "",
            "files",
            "files:",
            "files:data",
            "files:./data",
            "files:/srv/../data",
            "files:/srv/./data",
            "files:/srv//data",
            "files:/srv/data/",
            "store:",
            "store:a\nb",
            "folder:/srv",
            "branch-keys:",
            &long,
        ] {
            assert!(bad.parse::<Covered>().is_err(), "{bad}");
        }
    }
}
