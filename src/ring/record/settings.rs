//! The settings of a ring, which its authority signs.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{NamedReader, READER, invalid};
use crate::ring::authority::AuthorityKey;
use crate::ring::clock::COMMIT;
use crate::ring::evidence::Covered;
use crate::ring::{Period, Preset, RecordId, ScopeTemplate, Time};
use crate::value::error::{Error, Result};

/// The greatest number of readers that may be demanded, and of keys of each kind.
const MAX_LISTED: usize = 1000;
/// How many corrections of the clock are kept.
const MAX_CORRECTIONS: usize = 32;
/// The longest that each of the periods may be that evidence waits for, in days.
const MAX_WAIT_DAYS: u64 = 3660;

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

/// Somebody has set the time of a ring back, after a change was signed by a wrong clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ClockCorrection {
    /// The revision of the ring that it made. What is of an earlier revision happened before.
    pub revision: u64,
    /// The time that the ring had.
    pub from: Time,
    /// The time that it was.
    pub to: Time,
    /// Who did it.
    pub actor: String,
    /// Why.
    pub reason: String,
}

/// How long what was done under former settings may have an effect, if they allowed more than the present ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FormerWait {
    /// When they were last replaced, and with which revision.
    at: Time,
    revision: u64,
    /// The longest that they allowed.
    wait: Period,
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
    /// For how long a stream that was begun may go on after the end of its lease. 1 hour by default.
    pub stream_age: Period,
    /// How long what was written to a store may be invisible to a census: replication, buffers. None by default.
    pub store_delay: Period,
    /// How far the clock of the inventory and that of whoever signs may be apart. 5 minutes by default.
    pub clock_tolerance: Period,
    /// What a census must have covered before a key is retired or destroyed by its receipt. None by default.
    #[serde(default)]
    pub must_cover: Vec<Covered>,
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
    /// Readers that must have reported a successful probe of a successor in a scope that they serve before its promotion.
    #[serde(default)]
    pub readers: Vec<NamedReader>,
    /// What settings before these allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) former_wait: Option<FormerWait>,
    /// When the clock was corrected, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) clock_corrections: Vec<ClockCorrection>,
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
            stream_age: "PT1H".parse()?,
            store_delay: Period::zero(),
            clock_tolerance: "PT5M".parse()?,
            must_cover: Vec::new(),
            retire: RetireBy::Evidence,
            cooling_off: "P7D".parse()?,
            preset: None,
            cadence: "P90D".parse()?,
            overlap: "PT24H".parse()?,
            readers: Vec::new(),
            former_wait: None,
            clock_corrections: Vec::new(),
        })
    }

    /// Returns who may sign records.
    #[must_use]
    pub fn authorities(&self) -> &[AuthorityKey] {
        &self.authorities
    }

    /// Returns when the clock of the ring was corrected, the oldest first. At most the last 32 corrections are kept.
    #[must_use]
    pub fn clock_corrections(&self) -> &[ClockCorrection] {
        &self.clock_corrections
    }

    /// Returns how long after a key has stopped wrapping somebody may still seal under it, or a census may not see it: the greater of
    /// `max_stale` and `max_stale_open`, `lease_age`, `stream_age`, `store_delay`, twice `clock_tolerance` (the clock of whoever moved the key
    /// and that of the census), and 60 seconds for the change itself. Only a census that began after that counts. If former
    /// settings allowed more, it waits for those, too.
    #[must_use]
    pub fn evidence_wait(&self) -> Duration {
        let stale = self.max_stale.at_most().max(self.max_stale_open.at_most());
        let parts = [
            stale,
            self.lease_age.at_most(),
            self.stream_age.at_most(),
            self.store_delay.at_most(),
            self.clock_tolerance.at_most(),
            self.clock_tolerance.at_most(),
            COMMIT,
        ];
        parts.into_iter().fold(Duration::ZERO, Duration::saturating_add)
    }

    /// Before when somebody may still seal under a key that stopped wrapping at this time and with this revision.
    pub(crate) fn quiet_after(&self, stopped: Time, revision: u64) -> Time {
        let now = self
            .corrected(stopped, revision)
            .saturating_add(self.evidence_wait());
        match &self.former_wait {
            Some(former) => now.max(
                self.corrected(former.at, former.revision)
                    .saturating_add(former.wait.at_most()),
            ),
            None => now,
        }
    }

    /// A time that a change of this revision bears, as far as later corrections of the clock leave it believable.
    pub(crate) fn corrected(&self, at: Time, revision: u64) -> Time {
        let later = self
            .clock_corrections
            .iter()
            .filter(|made| made.revision > revision);
        later.map(|made| made.to).fold(at, Time::min)
    }

    /// Keeps what former settings allowed, which these follow with this revision.
    pub(crate) fn follow(&mut self, former: &Self, at: Time, revision: u64) -> Result<()> {
        self.former_wait.clone_from(&former.former_wait);
        let wait = former.evidence_wait();
        if self.evidence_wait() >= wait {
            return Ok(());
        }
        let before = self
            .former_wait
            .as_ref()
            .map(|kept| (kept.at, kept.wait.at_most()));
        // What is over has no effect anymore.
        let before = before.filter(|(since, wait)| since.saturating_add(*wait) > at);
        let before = before.map_or(Duration::ZERO, |(_, wait)| wait);
        self.former_wait = Some(FormerWait {
            at,
            revision,
            wait: Period::at_least(wait.max(before))?,
        });
        Ok(())
    }

    /// Notes a correction of the clock.
    pub(crate) fn note_correction(&mut self, made: ClockCorrection) {
        self.clock_corrections.push(made);
        let many = self.clock_corrections.len().saturating_sub(MAX_CORRECTIONS);
        self.clock_corrections.drain(..many);
    }

    /// Refuses settings that contradict each other.
    ///
    /// # Errors
    /// `InvalidArgument`, with the setting and what is expected.
    pub fn check(&self) -> Result<()> {
        let periods = [self.max_stale, self.lease_age, self.clock_tolerance, self.cadence];
        if periods.iter().any(|period| period.is_zero()) {
            return Err(Error::argument(
                "max_stale, lease_age, clock_tolerance and cadence must be longer than nothing, for example PT60S, PT5M, PT5M, P90D",
            ));
        }
        if self.max_stale_open.at_most() < self.max_stale.at_most() {
            return Err(Error::argument(format!(
                "max_stale_open ({}) must not be shorter than max_stale ({}); set both",
                self.max_stale_open, self.max_stale
            )));
        }
        let longest = Duration::from_secs(MAX_WAIT_DAYS * 86_400);
        let waits = [
            ("max_stale_open", self.max_stale_open),
            ("lease_age", self.lease_age),
            ("stream_age", self.stream_age),
            ("store_delay", self.store_delay),
            ("clock_tolerance", self.clock_tolerance),
        ];
        if let Some((name, period)) = waits.iter().find(|(_, period)| period.at_most() > longest) {
            return Err(Error::argument(format!("{name} is at most P10Y, got {period}")));
        }
        if self.must_cover.len() > MAX_LISTED {
            return Err(Error::argument(format!(
                "a census must cover at most {MAX_LISTED} places"
            )));
        }
        self.must_cover.iter().try_for_each(Covered::check)?;
        if self.clock_corrections.len() > MAX_CORRECTIONS {
            return Err(invalid("there are too many corrections of the clock"));
        }
        let names: BTreeSet<&str> = self.readers.iter().map(|reader| reader.name.as_str()).collect();
        let is_good = |reader: &NamedReader| reader.is_good() && reader.scopes.len() <= MAX_LISTED;
        if self.readers.len() > MAX_LISTED
            || names.len() < self.readers.len()
            || !self.readers.iter().all(is_good)
        {
            return Err(Error::argument(format!(
                "readers are at most {MAX_LISTED} different names of 1 to 255 bytes without control characters, = and a comma, each with at most {MAX_LISTED} scopes"
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
