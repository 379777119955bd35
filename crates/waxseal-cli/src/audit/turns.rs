//! A log in a directory, which several commands write in turns.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use waxseal::audit::{Event, Log, Sink, VerifierKey};
use waxseal::{Error, ErrorKind};

use super::cut_off;
use crate::failure::{Failure, Result};

/// How long other commands may have the log.
pub(super) const BUSY: Duration = Duration::from_secs(10);
/// How long a command that has much to write keeps others out.
const TURN: Duration = Duration::from_secs(1);
/// How often somebody who waits for the log looks.
const STEP: Duration = Duration::from_millis(20);
/// For how long a command that had its turn stays away, so that somebody who waits gets it.
const AWAY: Duration = Duration::from_millis(60);

/// A log that is held while records are kept, and for a second more. So a command that waits for its input, for a person, or for a program that writes the
/// same log, keeps nobody out.
#[derive(Debug)]
pub(super) struct Turns {
    path: PathBuf,
    /// The key of the log that was opened first.
    key: VerifierKey,
    held: Mutex<Option<Held>>,
}

#[derive(Debug)]
struct Held {
    log: Log,
    since: Instant,
}

impl Turns {
    /// Opens the log once, so that what is wrong with it is known before anything is done.
    pub(super) fn of(path: &Path) -> Result<Self> {
        let log = open(path).map_err(|error| match is_busy(&error) {
            true => Failure::busy(error.detail().unwrap_or_default().to_owned()),
            false => error.into(),
        })?;
        Ok(Self {
            path: path.to_owned(),
            key: log.verifier().clone(),
            held: Mutex::default(),
        })
    }

    fn held(&self) -> MutexGuard<'_, Option<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the log again. One that was moved away meanwhile gets no second history.
    fn again(&self) -> waxseal::Result<Log> {
        let exchanged = || {
            Error::new(ErrorKind::Audit).with_detail(format!(
                "the audit log {} was moved away or exchanged while a command wrote it",
                self.path.display()
            ))
        };
        if !self.path.join("checkpoint").exists() {
            return Err(exchanged());
        }
        let log = open(&self.path)?;
        match *log.verifier() == self.key {
            true => Ok(log),
            false => Err(exchanged()),
        }
    }

    /// The log, which is this command's from now on if it was not yet.
    fn take(&self) -> waxseal::Result<Log> {
        let mut held = self.held();
        if held.as_ref().is_some_and(|held| held.since.elapsed() >= TURN) {
            *held = None;
            thread::sleep(AWAY);
        }
        if let Some(held) = &*held {
            return Ok(held.log.clone());
        }
        let log = self.again()?;
        *held = Some(Held {
            log: log.clone(),
            since: Instant::now(),
        });
        Ok(log)
    }
}

#[async_trait]
impl Sink for Turns {
    async fn keep(&self, events: &[Arc<Event>]) -> waxseal::Result<()> {
        self.take()?.keep(events).await
    }

    fn keeps_json(&self) -> bool {
        true
    }

    /// Also called when nothing has happened for a second.
    async fn flush(&self) -> waxseal::Result<()> {
        let held = self.held().take();
        match held {
            Some(held) => held.log.flush().await,
            None => Ok(()),
        }
    }
}

/// Opens a log, and waits for another process that has it.
fn open(path: &Path) -> waxseal::Result<Log> {
    let begun = Instant::now();
    let log = loop {
        match Log::open(path) {
            Err(error) if is_busy(&error) && begun.elapsed() < BUSY => thread::sleep(STEP),
            log => break log?,
        }
    };
    cut_off(path, log.cut_off());
    Ok(log)
}

fn is_busy(error: &Error) -> bool {
    error.kind() == ErrorKind::Io && error.is_retryable()
}
