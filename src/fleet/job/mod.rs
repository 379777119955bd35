//! A re-wrap of all that a store holds.

mod examine;
mod shards;
mod worker;

use std::fmt;
use std::num::{NonZeroU64, NonZeroUsize};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::brake::Brake;
use super::ledger::{Ledger, MemoryLedger, Plan};
use super::limit::Limits;
use super::report::{Counts, Report};
use super::store::{Range, Store};
use crate::layer::Bucket;
use crate::runtime::join::join;
use crate::runtime::{BoxFuture, Runtime};
use crate::sealer::Sealer;
use crate::value::error::{Operation, Result};
use shards::Shards;

/// How often an item that others change is read again.
const VISITS: u32 = 5;
/// How many parts a job has for each worker, so that one that is slow keeps nobody waiting at the end.
const PARTS: usize = 4;
/// The shortest lease: one that is over before anything is read would be taken again for ever.
const MIN_LEASE: Duration = Duration::from_secs(1);
/// The most workers of one process.
const MAX_WORKERS: usize = 256;

/// How many of the items that were replaced are read again and compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verify {
    /// None: what the store says is believed.
    None,
    /// One of so many, in each worker. By default 100.
    Sample(NonZeroU64),
    /// All.
    All,
}

impl Default for Verify {
    fn default() -> Self {
        Self::Sample(const { NonZeroU64::new(100).unwrap() })
    }
}

/// What a job has done so far, for whoever watches it.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Progress {
    /// What this run has counted.
    pub counts: Counts,
}

type Watch = Arc<dyn Fn(&Progress) + Send + Sync>;

/// Ends a job soon: after the items that are being looked at, whose changes are still made.
#[derive(Clone, Debug, Default)]
pub struct Halt(Arc<AtomicBool>);

impl Halt {
    /// Makes a handle for [`RewrapJob::halted_by`].
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the job. Its report is not whole, and its ledger knows where to go on.
    pub fn halt(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether somebody has said so.
    #[must_use]
    pub fn is_halted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Moves every value of a [`Store`] to the keys that wrap now.
///
/// The sealer says to which keys, from which ones, and by which rules: it wraps with the new keys ([`Builder::wrap_with`](crate::Builder::wrap_with))
/// and opens with the old ones ([`Builder::open_with`](crate::Builder::open_with)), or has a ring that knows both. See [the module](super) for what is
/// certain.
///
/// *Workers* are tasks of one process that share its calls to the KMS: each waits while the KMS answers. They run on the thread that polls
/// [`run`](Self::run). If the KMS is quick, start more processes instead.
pub struct RewrapJob {
    sealer: Sealer,
    store: Arc<dyn Store>,
    ledger: Arc<dyn Ledger>,
    workers: usize,
    batch: usize,
    limits: Limits,
    verify: Verify,
    is_dry_run: bool,
    most_faults: u64,
    lease: Duration,
    name: String,
    purpose: String,
    range: Range,
    halt: Halt,
    watch: Option<Watch>,
}

impl fmt::Debug for RewrapJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RewrapJob")
            .field("store", &self.store)
            .field("ledger", &self.ledger)
            .field("workers", &self.workers)
            .field("batch", &self.batch)
            .field("limits", &self.limits)
            .field("verify", &self.verify)
            .field("is_dry_run", &self.is_dry_run)
            .finish_non_exhaustive()
    }
}

impl RewrapJob {
    /// Makes a job over all of a store, with the default settings.
    #[must_use]
    pub fn new(sealer: Sealer, store: Arc<dyn Store>) -> Self {
        Self {
            sealer,
            store,
            ledger: Arc::new(MemoryLedger::new()),
            workers: 4,
            batch: 200,
            limits: Limits::none(),
            verify: Verify::default(),
            is_dry_run: false,
            most_faults: 100,
            lease: Duration::from_secs(60),
            name: format!("{}", std::process::id()),
            purpose: String::new(),
            range: Range::all(),
            halt: Halt::new(),
            watch: None,
        }
    }

    /// Sets how many workers there are, 4 by default and 256 at most.
    #[must_use]
    pub fn workers(mut self, workers: NonZeroUsize) -> Self {
        self.workers = workers.get().min(MAX_WORKERS);
        self
    }

    /// Sets how many items a worker reads at once, and writes at once. 200 by default.
    #[must_use]
    pub fn batch(mut self, items: NonZeroUsize) -> Self {
        self.batch = items.get();
        self
    }

    /// Sets how much is done in a second.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets how many items are read back. One of 100 by default.
    #[must_use]
    pub fn verify(mut self, verify: Verify) -> Self {
        self.verify = verify;
        self
    }

    /// Does everything but replace: reads, asks the KMS for new wraps, and counts. So it finds what a run would find, at the same cost to the KMS. What a
    /// run that was cut off has left is a fault here, since only a run settles it.
    #[must_use]
    pub fn dry_run(mut self) -> Self {
        self.is_dry_run = true;
        self
    }

    /// Sets after how many faults the job ends, 100 by default. It goes on behind them when it is run again.
    #[must_use]
    pub fn most_faults(mut self, faults: u64) -> Self {
        self.most_faults = faults;
        self
    }

    /// Sets for how long a worker has a part without a step, 60 s by default and 1 s at least.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease.max(MIN_LEASE);
        self
    }

    /// Says what is done, from which keys to which ones for example. A ledger refuses to go on with a job that was begun for another purpose: it would
    /// leave out what was moved for that one.
    #[must_use]
    pub fn purpose(mut self, purpose: impl Into<String>) -> Self {
        self.purpose = purpose.into();
        self
    }

    /// Names this process in the ledger.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Goes through this range alone.
    #[must_use]
    pub fn over(mut self, range: Range) -> Self {
        self.range = range;
        self
    }

    /// Keeps in this ledger where it is, so that another process can go on, or help.
    #[must_use]
    pub fn ledger(mut self, ledger: Arc<dyn Ledger>) -> Self {
        self.ledger = ledger;
        self
    }

    /// Ends when this handle says so.
    #[must_use]
    pub fn halted_by(mut self, halt: Halt) -> Self {
        self.halt = halt;
        self
    }

    /// Tells after each batch what was counted.
    #[must_use]
    pub fn watch(mut self, watch: impl Fn(&Progress) + Send + Sync + 'static) -> Self {
        self.watch = Some(Arc::new(watch));
        self
    }

    /// Runs the job, or goes on with it, until nothing is left.
    ///
    /// # Errors
    /// - `Configuration` if the ledger is of another job
    /// - what the store or the ledger returns and is not retryable, or was tried often enough
    ///
    /// What was done until then is done, and the ledger knows of it.
    ///
    /// # Cancel safety
    /// If the future is dropped, each item is as it was or has all of its new wraps. The items of the last batch may be done and not yet noted.
    pub async fn run(&self) -> Result<Report> {
        self.run_inner()
            .await
            .map_err(|error| error.with_operation(Operation::Rewrap))
    }

    async fn run_inner(&self) -> Result<Report> {
        let runtime = self.sealer.runtime();
        let plan = Plan {
            store: self.store.name().to_owned(),
            range: self.range.clone(),
            is_dry_run: self.is_dry_run,
            purpose: self.purpose.clone(),
        };
        let parts = self.store.split(&self.range, self.workers * PARTS).await?;
        self.ledger.begin(&plan, parts).await?;
        let shared = Shared {
            job: self,
            runtime: &*runtime,
            shards: Shards::new(&self.sealer, self.workers),
            brake: Brake::default(),
            items: Bucket::new(self.limits.items),
            bytes: Bucket::new(self.limits.bytes),
            counts: std::sync::Mutex::default(),
            faults: AtomicU64::new(0),
            ends: Halt::new(),
        };
        let workers = (0..self.workers)
            .map(|number| Box::pin(worker::run(&shared, number)) as BoxFuture<'_, Result<()>>);
        for ended in join(workers).await {
            ended?;
        }
        let (counts, faults, is_whole) = self.ledger.sum().await?;
        Ok(Report {
            store: plan.store,
            is_dry_run: self.is_dry_run,
            is_whole: is_whole && counts.unlisted == 0,
            counts,
            faults,
        })
    }
}

/// What the workers of a run share.
struct Shared<'j> {
    job: &'j RewrapJob,
    runtime: &'j dyn Runtime,
    shards: Shards,
    brake: Brake,
    items: Bucket,
    bytes: Bucket,
    /// Of this run.
    counts: std::sync::Mutex<Counts>,
    /// Of this run, with those of steps that are not noted yet.
    faults: AtomicU64,
    /// Set if the run ends before its time: too many faults, or an error of one worker.
    ends: Halt,
}

impl Shared<'_> {
    fn is_halted(&self) -> bool {
        self.ends.is_halted() || self.job.halt.is_halted()
    }

    /// One more fault: perhaps it was one too many.
    fn fault(&self) {
        if self.faults.fetch_add(1, Ordering::Relaxed) >= self.job.most_faults {
            self.ends.halt();
        }
    }

    /// Adds to what this run has counted, and tells.
    fn count(&self, counts: &Counts) {
        let progress = {
            let mut sum = self
                .counts
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            sum.add(counts);
            Progress { counts: *sum }
        };
        if let Some(watch) = &self.job.watch {
            watch(&progress);
        }
    }
}
