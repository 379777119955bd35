//! What has to be known of a key before nothing can be opened with it anymore.

use std::fmt;

use super::moves::stopped_wrapping;
use super::refused;
use crate::ring::record::{KeyRecord, Settings};
use crate::ring::{RecordId, Time};
use crate::value::error::Result;

/// What a census has found under one key. A census receipt returns it, after its signature was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Evidence {
    /// The key.
    pub key: RecordId,
    /// When the scan began, by the inventory's clock.
    pub began: Time,
    /// Whether everything was scanned that was to be.
    pub whole: bool,
    /// Items that only this key opens.
    pub sole: u64,
    /// Items that this key and another one open.
    pub shared: u64,
    /// Items that may be under any key: their KEK has no id, or one that the ring does not know.
    pub unknown: u64,
    /// Items that could not be read.
    pub failed: u64,
    /// Where items were seen that are under this key, unknown or failed: some of them, for people.
    pub seen: Vec<String>,
    /// SHA-256 of the receipt, in hexadecimal digits.
    pub digest: String,
}

impl Evidence {
    /// A whole scan that found nothing.
    #[must_use]
    pub fn nothing_under(key: RecordId, began: Time, digest: String) -> Self {
        Self {
            key,
            began,
            whole: true,
            sole: 0,
            shared: 0,
            unknown: 0,
            failed: 0,
            seen: Vec::new(),
            digest,
        }
    }

    /// Returns how many items would be left that nothing is known to open.
    #[must_use]
    pub fn left(&self) -> u64 {
        let counts = [self.sole, self.shared, self.unknown, self.failed];
        counts.into_iter().fold(0, u64::saturating_add)
    }

    /// Whether the scan began after everything that could still be sealed under the key.
    pub(super) fn is_late_enough(&self, key: &KeyRecord, settings: &Settings) -> bool {
        counts_from(key, settings).is_some_and(|after| self.began > after)
    }

    /// Refuses what does not show that nothing is under the key.
    pub(super) fn check(&self, key: &KeyRecord, settings: &Settings) -> Result<()> {
        let about = |what: String| refused(format!("the key {}: {what}", key.id));
        if self.key != key.id {
            return Err(about(format!("the evidence is about the key {}", self.key)));
        }
        let after = counts_from(key, settings);
        match after {
            None => return Err(about("it still wraps, so no census can be the last".to_owned())),
            Some(after) if self.began <= after => {
                return Err(about(format!(
                    "the census began at {}, and only one that began after {after} counts: until then caches may have sealed under the key",
                    self.began
                )));
            }
            Some(_) => {}
        }
        if !self.whole {
            return Err(about("the census did not scan everything".to_owned()));
        }
        if self.left() == 0 {
            return Ok(());
        }
        Err(about(format!(
            "{} would become unreadable, and {} would lose a wrap; under keys that nobody knows: {}; could not be read: {}{}",
            Items(self.sole),
            Items(self.shared),
            Items(self.unknown),
            Items(self.failed),
            Seen(&self.seen)
        )))
    }
}

/// After which time a scan must begin. `None` if the key still wraps.
fn counts_from(key: &KeyRecord, settings: &Settings) -> Option<Time> {
    let stale = settings
        .max_stale
        .at_most()
        .max(settings.max_stale_open.at_most());
    let stopped = stopped_wrapping(key)?;
    Some(
        stopped
            .saturating_add(stale)
            .saturating_add(settings.lease_age.at_most())
            .saturating_add(settings.store_delay.at_most()),
    )
}

struct Items(u64);

impl fmt::Display for Items {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("1 item"),
            count => write!(f, "{count} items"),
        }
    }
}

struct Seen<'s>(&'s [String]);

impl fmt::Display for Seen<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, place) in self.0.iter().take(5).enumerate() {
            let before = if index == 0 { "; for example in " } else { ", " };
            write!(f, "{before}{}", place.escape_debug())?;
        }
        Ok(())
    }
}

/// What a census has found, for each key of a ring: a receipt whose signature was verified.
pub trait EvidenceSource: Send + Sync {
    /// Returns what it says about a key. `None` if it says nothing, not even that nothing is under it.
    fn about(&self, key: &KeyRecord) -> Option<Evidence>;
}

/// Why a key may be retired.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Grounds<'g> {
    /// A census found nothing under it.
    Evidence(&'g Evidence),
    /// Its overlap is over, and the settings say that this suffices.
    OverlapEnd,
    /// Somebody takes the blame.
    Force,
}
