//! A ledger in a file.

use std::fs::{File, TryLockError};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{Claim, Claimed, Held, Ledger, Plan, State, Step};
use crate::fleet::report::{Counts, Fault};
use crate::fleet::store::Range;
use crate::value::error::{Error, ErrorKind, Result};

const SCHEMA: &str = "waxseal-job-1";
/// The most bytes of a ledger that is read.
const MAX: u64 = 256 << 20;

/// A ledger in a file: a job that is run by one process after another, until it is done.
///
/// The file is written anew at each step, with all parts and the first 10,000 faults, by a rename after a sync, so that it is whole after an end at any point. Beside it is a file with `.lock` behind
/// its name, which keeps a second process out.
#[derive(Debug)]
pub struct FileLedger {
    path: PathBuf,
    /// Held as long as the ledger is open.
    _lock: Lock,
    state: Mutex<Option<State>>,
}

/// What is in the file.
#[derive(Serialize, Deserialize)]
struct Contents {
    schema: String,
    #[serde(flatten)]
    state: State,
}

impl FileLedger {
    /// Opens a ledger, or makes one when the job begins.
    ///
    /// # Errors
    /// `Io` if the file cannot be read, retryable if another process has it; `Configuration` if it is no ledger.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let lock = Lock::take(&beside(&path, ".lock"))?;
        let state = match File::open(&path) {
            Ok(file) => Some(read(&path, &file)?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(Error::io(error)),
        };
        Ok(Self {
            path,
            _lock: lock,
            state: Mutex::new(state),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Option<State>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state in the file, and here if that went well.
    fn change(&self, change: impl FnOnce(&mut State) -> Held) -> Result<Held> {
        let mut state = self.lock();
        let Some(now) = &*state else {
            return Err(Error::configuration("the job has not begun"));
        };
        let mut next = now.clone();
        if change(&mut next) == Held::Lost {
            return Ok(Held::Lost);
        }
        self.write(&next)?;
        *state = Some(next);
        Ok(Held::Yes)
    }

    fn write(&self, state: &State) -> Result<()> {
        let contents = Contents {
            schema: SCHEMA.to_owned(),
            state: state.clone(),
        };
        let bytes =
            serde_json::to_vec(&contents).map_err(|error| Error::new(ErrorKind::Io).with_source(error))?;
        let new = beside(&self.path, ".new");
        let write = || {
            let mut file = File::create(&new)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            std::fs::rename(&new, &self.path)?;
            sync_folder(&self.path)
        };
        write().map_err(Error::io)
    }
}

fn read(path: &Path, file: &File) -> Result<State> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    file.take(MAX + 1).read_to_end(&mut bytes).map_err(Error::io)?;
    let no_ledger =
        |why: String| Error::configuration(format!("{} is not the ledger of a job: {why}", path.display()));
    if bytes.len() as u64 > MAX {
        return Err(no_ledger(format!("it has more than {MAX} bytes")));
    }
    let contents: Contents = serde_json::from_slice(&bytes).map_err(|error| no_ledger(error.to_string()))?;
    if contents.schema != SCHEMA {
        return Err(no_ledger(format!(
            "its schema is {:?}, and this version reads {SCHEMA}",
            contents.schema
        )));
    }
    Ok(contents.state)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(unix)]
fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_: &Path) -> std::io::Result<()> {
    Ok(())
}

/// A lock file. It stays, since whoever removes one may remove that of another.
#[derive(Debug)]
struct Lock(File);

impl Lock {
    fn take(path: &Path) -> Result<Self> {
        let mut options = File::options();
        let file = options
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(Error::io)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(Error::new(ErrorKind::Io)
                .with_retryable(true)
                .with_detail("another process works by this ledger: wait for it, or give another file")),
            Err(TryLockError::Error(error)) => Err(Error::io(error)),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A child that another thread is starting holds a copy of the descriptor until it executes its program.
        let _ = self.0.unlock();
    }
}

#[async_trait]
impl Ledger for FileLedger {
    async fn begin(&self, plan: &Plan, parts: Vec<Range>) -> Result<()> {
        let mut state = self.lock();
        if let Some(state) = &*state {
            return state.plan.check(plan);
        }
        let new = State::new(plan.clone(), parts);
        self.write(&new)?;
        *state = Some(new);
        Ok(())
    }

    async fn claim(&self, _: &str, lease: Duration) -> Result<Claimed> {
        // A claim is this process's alone, and is not written.
        Ok(self
            .lock()
            .as_mut()
            .map_or(Claimed::Done, |state| state.claim(lease)))
    }

    async fn advance(&self, claim: &Claim, step: Step) -> Result<Held> {
        self.change(|state| state.advance(claim, step))
    }

    async fn renew(&self, claim: &Claim) -> Result<Held> {
        Ok(self
            .lock()
            .as_mut()
            .map_or(Held::Lost, |state| state.renew(claim)))
    }

    async fn release(&self, claim: &Claim) -> Result<()> {
        self.abandon(claim);
        Ok(())
    }

    fn abandon(&self, claim: &Claim) {
        if let Some(state) = self.lock().as_mut() {
            state.release(claim);
        }
    }

    async fn sum(&self) -> Result<(Counts, Vec<Fault>, bool)> {
        Ok(self
            .lock()
            .as_ref()
            .map_or_else(|| (Counts::default(), Vec::new(), true), State::sum))
    }
}
