//! Whether those who read a ring can use a key that is about to become active.

use std::collections::BTreeSet;
use std::time::Duration;

use super::RingAdmin;
use crate::ring::RecordId;
use crate::ring::inventory::Heartbeat;
use crate::ring::record::Settings;
use crate::value::error::Result;

/// For how long a heartbeat says something of its process: readers write one every 30 seconds.
const FRESH: Duration = Duration::from_secs(300);
/// The most readers that are named in a refusal.
const NAMED: usize = 5;

/// What readers have reported of a pending key.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Reports {
    /// Readers that hinder a promotion, and why.
    pub(super) hindering: Vec<String>,
    /// Readers that would, were they not skipped.
    pub(super) skipped: Vec<String>,
}

impl Reports {
    /// What the readers of a ring say of a key, by heartbeats that are fresh.
    ///
    /// Readers that the settings name must have probed it. No other process may have failed to, or not have read the ring since the
    /// key is in it.
    pub(super) fn of(
        key: RecordId,
        since_revision: u64,
        settings: &Settings,
        beats: &[Heartbeat],
        skipped: &BTreeSet<String>,
    ) -> Self {
        let mut reports = Self::default();
        let mut add = |reader: &str, what: String| {
            if !skipped.contains(reader) {
                reports.hindering.push(what);
            } else if !reports.skipped.iter().any(|there| there == reader) {
                reports.skipped.push(reader.to_owned());
            }
        };
        for reader in &settings.readers {
            let mut own = beats.iter().filter(|beat| beat.reader == *reader);
            if !own.any(|beat| beat.probed.contains(&key)) {
                add(
                    reader,
                    format!("the reader {reader} has not reported that it can use it"),
                );
            }
        }
        for beat in beats {
            let process = || format!("{} (process {})", beat.reader, beat.process);
            if beat.probed.contains(&key) {
                continue;
            }
            if beat.failed.contains(&key) {
                add(&beat.reader, format!("the reader {} cannot use it", process()));
            } else if beat.revision < since_revision {
                add(
                    &beat.reader,
                    format!("the reader {} does not know it yet", process()),
                );
            } else if settings.readers.contains(&beat.reader) {
                add(
                    &beat.reader,
                    format!("the reader {} has not reported that it can use it", process()),
                );
            }
        }
        reports
    }

    /// Why a promotion must wait. `None` if it need not.
    pub(super) fn hindrance(&self) -> Option<String> {
        let named: Vec<_> = self.hindering.iter().take(NAMED).cloned().collect();
        let more = self.hindering.len().saturating_sub(NAMED);
        match (named.is_empty(), more) {
            (true, _) => None,
            (false, 0) => Some(named.join("; ")),
            (false, more) => Some(format!("{}; and {more} more", named.join("; "))),
        }
    }
}

impl RingAdmin {
    /// What readers have reported of a pending key.
    pub(super) async fn reports(
        &self,
        key: RecordId,
        since_revision: u64,
        settings: &Settings,
    ) -> Result<Reports> {
        let beats = self.fresh_beats().await?;
        Ok(Reports::of(key, since_revision, settings, &beats, &self.skipped))
    }

    /// The heartbeats that still say something of their processes.
    pub(super) async fn fresh_beats(&self) -> Result<Vec<Heartbeat>> {
        let now = self.inventory().now().await?;
        self.inventory().heartbeats(now.saturating_sub(FRESH)).await
    }
}
