//! What views show: read by a thread of the page's own, and kept until the next time.

use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use waxseal::ring::evidence::{CensusReceipt, VerifiedReceipt};
use waxseal::ring::inventory::Heartbeat;
use waxseal::ring::{Reader, Survey, Time, View};
use waxseal::{Error, Result};

use crate::logs::{Log, Look};
use crate::rows::{Row, together};

/// For how long what was read is shown, before it is read again.
const FRESH: Duration = Duration::from_secs(2);
/// Reading takes at most one of so many parts of the time.
const SHARE: u32 = 10;
/// How long a view waits for the first reading.
const PATIENCE: Duration = Duration::from_secs(5);
/// Heartbeats that are as old as that are shown no more.
const HEARTBEATS: Duration = Duration::from_secs(24 * 3600);

/// A ring, its logs, and what was read of them last.
pub(crate) struct Source {
    pub(crate) reader: Reader,
    pub(crate) logs: Vec<Log>,
    pub(crate) receipts: Vec<CensusReceipt>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    shown: Option<Arc<Shown>>,
    /// What the logs are, whether the ring can be read or not.
    looks: Arc<[Look]>,
    failed: Option<Failed>,
    is_reading: bool,
    /// When to read again.
    next: Option<Instant>,
    survey: Survey<Arc<Row>>,
}

/// A reading that failed.
#[derive(Clone, Debug)]
pub(crate) struct Failed {
    pub(crate) at: SystemTime,
    pub(crate) text: String,
}

/// What there is to show.
pub(crate) struct Latest {
    pub(crate) shown: Arc<Shown>,
    /// What is known of each log.
    pub(crate) looks: Arc<[Look]>,
    /// What has failed since.
    pub(crate) failed: Option<Failed>,
}

/// What was read.
pub(crate) struct Shown {
    /// The head and the settings.
    pub(crate) view: View,
    pub(crate) rows: Vec<Arc<Row>>,
    pub(crate) scopes: usize,
    pub(crate) states: BTreeMap<waxseal::ring::State, u64>,
    pub(crate) algorithms: BTreeMap<(String, &'static str), u64>,
    /// The inventory's time when it was read, and this machine's.
    pub(crate) now: Time,
    pub(crate) read: SystemTime,
    pub(crate) took: Duration,
    /// Scopes that do not verify, and why.
    pub(crate) findings: Vec<(String, String)>,
    pub(crate) unlisted: u64,
    pub(crate) heartbeats: std::result::Result<Vec<Heartbeat>, String>,
    /// Of each receipt: when its census began and what it counted, or why it does not count.
    pub(crate) censuses: Vec<std::result::Result<Census, String>>,
}

pub(crate) struct Census {
    pub(crate) started: Time,
    pub(crate) items: u64,
    pub(crate) bytes: u64,
    pub(crate) whole: bool,
    pub(crate) covers: Vec<String>,
}

impl Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("reader", &self.reader)
            .field("logs", &self.logs)
            .finish_non_exhaustive()
    }
}

impl Source {
    pub(crate) fn new(reader: Reader, logs: Vec<Log>, receipts: Vec<CensusReceipt>) -> Arc<Self> {
        Arc::new(Self {
            reader,
            logs,
            receipts,
            state: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was read last, and what went wrong since. Blocks for at most five seconds, if nothing was read yet.
    ///
    /// # Errors
    /// Why there is nothing to show.
    pub(crate) fn latest(self: &Arc<Self>) -> std::result::Result<Latest, String> {
        if let Some(turn) = self.turn() {
            let begun = thread::Builder::new()
                .name("waxseal-page".to_owned())
                .spawn(move || turn.read());
            begun.map_err(|error| format!("no thread to read the ring: {error}"))?;
        }
        let mut state = self.lock();
        if state.shown.is_none() && state.is_reading {
            let waited = self
                .changed
                .wait_timeout_while(state, PATIENCE, |state| state.shown.is_none() && state.is_reading);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        match (&state.shown, &state.failed) {
            (Some(shown), failed) => Ok(Latest {
                shown: Arc::clone(shown),
                looks: Arc::clone(&state.looks),
                failed: failed.clone(),
            }),
            (None, Some(failed)) => Err(failed.text.clone()),
            (None, None) => Err("The ring is being read for the first time.".to_owned()),
        }
    }

    /// The turn to read, if it is time for it and nobody reads.
    fn turn(self: &Arc<Self>) -> Option<Turn> {
        let mut state = self.lock();
        if state.is_reading || state.next.is_some_and(|next| Instant::now() < next) {
            return None;
        }
        state.is_reading = true;
        Some(Turn(Arc::clone(self)))
    }

    fn read(&self, survey: &mut Survey<Arc<Row>>, before: Option<&Shown>) -> Result<Shown> {
        let begun = Instant::now();
        let head = pollster::block_on(self.reader.scopes(&[]))?;
        let judged: Vec<_> = self
            .receipts
            .iter()
            .map(|receipt| receipt.verify(&head))
            .collect();
        let counted: Vec<VerifiedReceipt<'_>> = judged
            .iter()
            .filter_map(|receipt| receipt.as_ref().ok())
            .copied()
            .collect();
        let is_as_before = before.is_none_or(|before| {
            let counts = |census: &std::result::Result<Census, String>| census.is_ok();
            before
                .censuses
                .iter()
                .map(counts)
                .eq(judged.iter().map(Result::is_ok))
        });
        if !is_as_before {
            // What rows say of envelopes is no longer so.
            *survey = Survey::new();
        }
        pollster::block_on(survey.refresh(&self.reader, |key, is_first| {
            Arc::new(Row::of(key, is_first, &counted))
        }))?;
        let inventory = self.reader.inventory();
        let now = pollster::block_on(inventory.now())?;
        let heartbeats = pollster::block_on(inventory.heartbeats(now.saturating_sub(HEARTBEATS)));
        let view = survey.view().cloned().unwrap_or(head);
        let mut rows: Vec<Arc<Row>> = survey.keys().map(|(_, row)| Arc::clone(row)).collect();
        together(&mut rows);
        let (mut states, mut algorithms) = (BTreeMap::new(), BTreeMap::new());
        for row in &rows {
            *states.entry(row.state).or_default() += 1;
            if row.state != waxseal::ring::State::Destroyed {
                *algorithms
                    .entry((row.algorithm.to_string(), row.class))
                    .or_default() += 1;
            }
        }
        Ok(Shown {
            view,
            rows,
            scopes: survey.scopes(),
            states,
            algorithms,
            now,
            read: SystemTime::now(),
            took: begun.elapsed(),
            findings: survey
                .findings()
                .map(|(scope, error)| (scope.to_string(), error.to_string()))
                .collect(),
            unlisted: survey.unlisted(),
            heartbeats: heartbeats.map_err(|error| error.to_string()),
            censuses: judged.into_iter().map(census).collect(),
        })
    }
}

fn census(judged: Result<VerifiedReceipt<'_>>) -> std::result::Result<Census, String> {
    let receipt = judged.map_err(|error: Error| error.to_string())?.receipt();
    Ok(Census {
        started: receipt.started(),
        items: receipt.items(),
        bytes: receipt.bytes(),
        whole: receipt.is_whole(),
        covers: receipt
            .covers()
            .iter()
            .map(|place| place.place.to_string())
            .collect(),
    })
}

/// The turn of the one thread that reads. It ends with this, whatever happens.
struct Turn(Arc<Source>);

impl Turn {
    fn read(&self) {
        let begun = Instant::now();
        let (mut survey, before, looks) = {
            let mut state = self.0.lock();
            let survey = std::mem::take(&mut state.survey);
            (survey, state.shown.clone(), Arc::clone(&state.looks))
        };
        let read = self.0.read(&mut survey, before.as_deref());
        // Logs are where they are, whatever is wrong with the ring.
        let mut looks = looks.iter().cloned();
        let looks = self.0.logs.iter().map(|log| log.look(looks.next())).collect();
        let mut state = self.0.lock();
        state.survey = survey;
        state.looks = looks;
        state.next = Some(Instant::now() + FRESH.max(begun.elapsed().saturating_mul(SHARE - 1)));
        match read {
            Ok(shown) => {
                state.shown = Some(Arc::new(shown));
                state.failed = None;
            }
            Err(error) => {
                state.failed = Some(Failed {
                    at: SystemTime::now(),
                    text: error.to_string(),
                });
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.lock().is_reading = false;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use waxseal::ring::Trust;
    use waxseal::ring::inventory::MemoryInventory;
    use waxseal::testing::large_ring;

    use super::*;

    #[test]
    fn logs_are_looked_at_although_the_ring_cannot_be_read() {
        let ring = pollster::block_on(large_ring(1)).unwrap();
        let trust = Trust::new(ring.trust().ring(), ring.trust().authority());
        let nothing = Reader::new(trust, Arc::new(MemoryInventory::new()));
        let folder = tempfile::tempdir().unwrap();
        let source = Source::new(nothing, vec![Log::new(folder.path(), None, None)], Vec::new());
        source.turn().unwrap().read();
        let state = source.lock();
        assert!(state.failed.is_some() && state.shown.is_none());
        assert_eq!(state.looks.len(), 1);
        assert!(!state.looks[0].findings.is_empty());
    }
}
