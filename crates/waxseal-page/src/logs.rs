//! The audit logs that a page shows.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use waxseal::audit::{Checkpoint, EventFilter, LogReader, RecordedEvent, VerifierKey};
use waxseal::{Error, Result};

/// The most records that a view looks at.
const LOOKED_AT: u64 = 10_000;
/// How many are read at once, from the end.
const STEP: u64 = 512;
/// The shortest time from one verification of a log to the next.
const PAUSE: Duration = Duration::from_secs(60);
/// And at least so many times as long as the last one took.
const SHARE: u32 = 20;

/// A log that is shown.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) folder: PathBuf,
    key: Option<VerifierKey>,
    kept: Option<Checkpoint>,
}

/// What is known of a log.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    pub(crate) folder: String,
    /// `None` if it cannot be read.
    pub(crate) checkpoint: Option<Checkpoint>,
    pub(crate) uncovered: u64,
    /// What is wrong, the first things.
    pub(crate) findings: Vec<String>,
    /// The key that it was verified with, and whether the log alone names it.
    pub(crate) key: Option<(VerifierKey, bool)>,
    pub(crate) verified: SystemTime,
    next: Instant,
}

impl Log {
    pub(crate) fn new(folder: &Path, key: Option<VerifierKey>, kept: Option<Checkpoint>) -> Self {
        Self {
            folder: folder.to_owned(),
            key,
            kept,
        }
    }

    pub(crate) fn reader(&self) -> Result<LogReader> {
        LogReader::open(&self.folder)
    }

    /// Verifies it, if that was not done lately.
    pub(crate) fn look(&self, before: Option<Look>) -> Look {
        let begun = Instant::now();
        if let Some(before) = before.filter(|before| begun < before.next) {
            return before;
        }
        let mut look = Look {
            folder: self.folder.display().to_string(),
            checkpoint: None,
            uncovered: 0,
            findings: Vec::new(),
            key: None,
            verified: SystemTime::now(),
            next: begun,
        };
        if let Err(error) = self.verify(&mut look) {
            look.findings.push(error.to_string());
        }
        look.next = Instant::now() + PAUSE.max(begun.elapsed().saturating_mul(SHARE));
        look
    }

    fn verify(&self, look: &mut Look) -> Result<()> {
        let reader = self.reader()?;
        look.checkpoint = Some(reader.checkpoint().clone());
        let (key, is_named) = match &self.key {
            Some(key) => (key.clone(), false),
            None => (reader.named_key()?, true),
        };
        let verdict = match is_named {
            true => reader.verify_by_named_key(self.kept.as_ref())?,
            false => reader.verify(&key, self.kept.as_ref())?,
        };
        look.uncovered = verdict.uncovered;
        look.findings
            .extend(verdict.findings.iter().take(20).map(ToString::to_string));
        look.key = Some((key, is_named));
        Ok(())
    }
}

/// Some records of a log, the newest first.
pub(crate) struct Found {
    pub(crate) events: Vec<(u64, RecordedEvent)>,
    /// How many records were looked at.
    pub(crate) looked_at: u64,
    /// Where to go on: before this record. `None` at the beginning of the log.
    pub(crate) before: Option<u64>,
}

/// Looks for events before a record, or from the end, at most `most` of them.
pub(crate) fn find(
    reader: &LogReader,
    filter: &EventFilter,
    before: Option<u64>,
    most: usize,
    is_shown: impl Fn(&RecordedEvent) -> bool,
) -> Result<Found> {
    let end = reader
        .checkpoint()
        .size()
        .saturating_add(reader.count_uncovered()?);
    let mut at = before.map_or(end, |before| before.min(end));
    let mut found = Found {
        events: Vec::new(),
        looked_at: 0,
        before: None,
    };
    while at > 0 && found.events.len() < most && found.looked_at < LOOKED_AT {
        let first = at.saturating_sub(STEP);
        let mut part = Vec::new();
        reader.each_record_from(first, at - first, |index, record| {
            let event = RecordedEvent::parse(record).filter(|event| filter.shows_event(event));
            part.extend(event.filter(|event| is_shown(event)).map(|event| (index, event)));
            Ok::<(), Error>(())
        })?;
        found.looked_at += at - first;
        at = first;
        found.events.extend(part.into_iter().rev());
    }
    if found.events.len() > most {
        found.events.truncate(most);
        at = found.events.last().map_or(at, |(index, _)| *index);
    }
    found.before = (at > 0).then_some(at);
    Ok(found)
}
