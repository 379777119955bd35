//! The settings of a ring, which its authority signs.

use serde::{Deserialize, Serialize};

use super::READER;
use crate::ring::authority::AuthorityKey;
use crate::ring::{Period, Preset, RecordId, ScopeTemplate};
use crate::value::error::{Error, Result};

/// The greatest number of readers that may be demanded, and of keys of each kind.
const MAX_LISTED: usize = 1000;

/// What retires a deprecated key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum RetireBy {
    /// A census receipt that finds nothing under it.
    #[default]
    Evidence,
    /// The end of its overlap.
    OverlapEnd,
}

/// The settings of a ring.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Settings {
    /// The version of the library that may use them.
    pub(crate) min_reader: u32,
    /// The ring.
    pub(crate) ring: RecordId,
    /// Who may sign records: one key, and during a succession the one before, too.
    pub(crate) authorities: Vec<AuthorityKey>,
    /// Who may sign census receipts, beside the authority.
    #[serde(default)]
    pub census_keys: Vec<AuthorityKey>,
    /// Which scope a context belongs to.
    #[serde(default)]
    pub scope_template: ScopeTemplate,
    /// For how long after the last successful read of the inventory a process seals. 60 seconds by default.
    pub max_stale: Period,
    /// For how long it opens. Not shorter than `max_stale`.
    pub max_stale_open: Period,
    /// How old a lease of a data key may get, in caches and handles. 5 minutes by default.
    pub lease_age: Period,
    /// How long what was written to a store may be invisible to a census: replication, buffers. None by default.
    pub store_delay: Period,
    /// What retires a deprecated key.
    #[serde(default)]
    pub retire: RetireBy,
    /// How long a key stays `destroying` before the backend is told to destroy it. 7 days by default.
    pub cooling_off: Period,
    /// Cadences by the kind of key, for keys that are created without one. None by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<Preset>,
    /// The cadence of keys that are created without one, if there is no preset. 90 days by default.
    pub cadence: Period,
    /// The overlap of keys that are created without one. 24 hours by default.
    pub overlap: Period,
    /// Readers that must have reported a successful probe of a successor before its promotion.
    #[serde(default)]
    pub readers: Vec<String>,
}

impl Settings {
    /// The defaults, for a ring of this authority.
    pub(crate) fn new(ring: RecordId, authority: AuthorityKey) -> Result<Self> {
        Ok(Self {
            min_reader: READER,
            ring,
            authorities: vec![authority],
            census_keys: Vec::new(),
            scope_template: ScopeTemplate::default(),
            max_stale: "PT60S".parse()?,
            max_stale_open: "PT60S".parse()?,
            lease_age: "PT5M".parse()?,
            store_delay: Period::zero(),
            retire: RetireBy::Evidence,
            cooling_off: "P7D".parse()?,
            preset: None,
            cadence: "P90D".parse()?,
            overlap: "PT24H".parse()?,
            readers: Vec::new(),
        })
    }

    /// Returns who may sign records.
    #[must_use]
    pub fn authorities(&self) -> &[AuthorityKey] {
        &self.authorities
    }

    /// Refuses settings that contradict each other.
    ///
    /// # Errors
    /// `InvalidArgument`, with the setting and what is expected.
    pub fn check(&self) -> Result<()> {
        if self.max_stale.is_zero() || self.lease_age.is_zero() || self.cadence.is_zero() {
            return Err(Error::argument(
                "max_stale, lease_age and cadence must be longer than nothing, for example PT60S, PT5M, P90D",
            ));
        }
        if self.max_stale_open.at_most() < self.max_stale.at_most() {
            return Err(Error::argument(format!(
                "max_stale_open ({}) must not be shorter than max_stale ({}); set both",
                self.max_stale_open, self.max_stale
            )));
        }
        let is_name =
            |name: &String| !name.is_empty() && name.len() <= 255 && !name.chars().any(char::is_control);
        if self.readers.len() > MAX_LISTED || !self.readers.iter().all(is_name) {
            return Err(Error::argument(format!(
                "readers are at most {MAX_LISTED} names of 1 to 255 bytes without control characters"
            )));
        }
        if self.authorities.is_empty() || self.authorities.len() > 2 || self.census_keys.len() > MAX_LISTED {
            return Err(Error::argument(format!(
                "a ring has one authority, or two during a succession, and at most {MAX_LISTED} census keys"
            )));
        }
        Ok(())
    }
}
