//! What a profile demands and does not get.

use std::fmt;

#[cfg(feature = "ring")]
use crate::value::error::{Error, ErrorKind};

/// A requirement of a [profile](crate::manual::errors#profiles) that is not met, and by which key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Unmet {
    /// The name of the requirement in a profiles file, for example `"classes"`.
    pub requirement: &'static str,
    /// The key that does not meet it, if it is about a key: the id of a ring's key, or else the provider and its place.
    pub key: Option<String>,
    /// What was found and what is expected. Names keys and context keys, and never a value.
    pub detail: String,
}

impl Unmet {
    /// A requirement that is not met, and why, for a person. Put no context value and no secret into it.
    #[must_use]
    pub fn new(requirement: &'static str, detail: impl Into<String>) -> Self {
        Self {
            requirement,
            key: None,
            detail: detail.into(),
        }
    }

    /// Names the key that does not meet it.
    #[must_use]
    pub fn by_key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.requirement)?;
        if let Some(key) = &self.key {
            // An id alone tells a person nothing.
            #[cfg(feature = "ring")]
            if key.parse::<crate::ring::RecordId>().is_ok() {
                f.write_str("key ")?;
            }
            write!(f, "{key} ")?;
        }
        f.write_str(&self.detail)
    }
}

/// Returns the error that names these requirements, or `None` if there are none. `whose` names the profile.
#[cfg(feature = "ring")]
pub(crate) fn refusal(whose: &str, unmet: &[Unmet]) -> Option<Error> {
    let first = unmet.first()?;
    let all: Vec<String> = unmet.iter().map(ToString::to_string).collect();
    let kind = ErrorKind::ProfileRefused {
        requirement: first.requirement,
    };
    Some(Error::new(kind).with_detail(format!("{whose}: {}", all.join("; "))))
}
