//! Ids of records and of rings.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::{Builder, Uuid};

use super::Time;
use crate::value::entropy;
use crate::value::error::{Error, Result};

/// The id of a key or of an intent: a UUID of version 7 (RFC 9562), which sorts by the time it was made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RecordId(Uuid);

impl RecordId {
    /// Makes an id at this time.
    ///
    /// # Errors
    /// `Entropy` if the operating system returns no randomness.
    pub fn new(now: Time) -> Result<Self> {
        let millis = u64::try_from(now.as_microseconds() / 1000).unwrap_or(0);
        Ok(Self(
            Builder::from_unix_timestamp_millis(millis, &entropy::array()?).into_uuid(),
        ))
    }

    /// Returns the id of these bytes.
    ///
    /// # Errors
    /// `InvalidArgument` if they are no UUID of version 7.
    pub fn from_bytes(bytes: [u8; 16]) -> Result<Self> {
        let uuid = Uuid::from_bytes(bytes);
        match uuid.get_version_num() {
            7 => Ok(Self(uuid)),
            _ => Err(wrong()),
        }
    }

    /// Returns its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

fn wrong() -> Error {
    Error::argument(
        "an id is a UUID of version 7 with hyphens, for example 0193c5a0-7c1e-7d3a-9f00-0123456789ab",
    )
}

impl FromStr for RecordId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        // Others of its forms would be a second name for one record.
        if text.len() != 36 || text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(wrong());
        }
        let uuid = Uuid::try_parse(text).map_err(|_| wrong())?;
        Self::from_bytes(uuid.into_bytes())
    }
}

impl TryFrom<String> for RecordId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<RecordId> for String {
    fn from(id: RecordId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_and_have_one_form() {
        let early = RecordId::new("2026-01-01T00:00:00Z".parse().unwrap()).unwrap();
        let late = RecordId::new("2026-01-01T00:00:00.001Z".parse().unwrap()).unwrap();
        assert!(early < late);
        let text = early.to_string();
        assert_eq!(text.parse::<RecordId>().unwrap(), early);
        let other_forms = [
            text.to_uppercase(),
            text.replace('-', ""),
            format!("{{{text}}}"),
            format!("urn:uuid:{text}"),
            "00000000-0000-0000-0000-000000000000".to_owned(),
        ];
        for other in other_forms {
            assert!(other.parse::<RecordId>().is_err(), "{other}");
        }
    }
}
