//! A job over values in memory: what it moves, what it counts, and what it leaves.

use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use pollster::block_on;
use waxseal::fleet::{
    Change, Claim, Claimed, Counts, FaultClass, Halt, Held, Item, Ledger, Limits, MemoryLedger, MemoryStore,
    Page, Plan, Range, Replaced, RewrapJob, Scanned, Step, Store, Verify,
};
use waxseal::testing::{FakeKeyManager, Fault, Method, SimulatedRuntime};
use waxseal::{EncryptionContext, Error, ErrorKind, Result, Sealer};

use super::{Bench, context};

const fn size(number: usize) -> NonZeroUsize {
    NonZeroUsize::new(number).unwrap()
}

#[test]
fn values_of_a_data_key_cost_one_move_and_stay_values_of_it() {
    let bench = Bench::of(20, 50);
    let report = block_on(bench.job().verify(Verify::All).run()).unwrap();
    let counts = report.counts;
    assert!(report.is_whole && !report.is_dry_run);
    assert_eq!(
        (counts.examined, counts.rewrapped, counts.reused),
        (1000, 20, 980)
    );
    assert_eq!(
        (counts.read_back, counts.faults(), counts.revisited),
        (1000, 0, 0)
    );
    assert_eq!(
        (bench.old.count(Method::Unwrap), bench.new.count(Method::Wrap)),
        (20, 20)
    );
    bench.check_moved();

    // A second run has nothing to do, and writes nothing.
    let (written, calls) = (bench.store.written(), bench.new.total());
    let report = block_on(bench.job().run()).unwrap();
    assert_eq!((report.counts.current, report.counts.moved()), (1000, 0));
    assert_eq!(bench.store.written(), written);
    // Whether a version is the newest is found out once for each data key at most.
    assert!(bench.new.total() <= calls + 40, "{}", bench.new.total());
}

#[test]
fn a_dry_run_counts_what_a_run_does_and_writes_nothing() {
    let bench = Bench::of(5, 10);
    let sealed = bench.store.get("0003-0002").unwrap();
    let mut altered = sealed.clone();
    // The commitment.
    let at = altered.len() - 12 - 9 - 16 - 20;
    altered[at] ^= 1;
    bench.store.put("altered", altered);
    bench.store.put("foreign", b"no envelope".to_vec());
    bench.store.put("empty", Vec::new());
    bench.store.put("cut", &sealed[..40]);
    let stranger = Sealer::new(FakeKeyManager::new("stranger").with_provider("elsewhere"));
    bench
        .store
        .put("strange", block_on(stranger.seal(b"x", &context())).unwrap());
    let before: Vec<_> = bench.store.ids().iter().map(|id| bench.store.get(id)).collect();

    let dry = block_on(bench.job().dry_run().run()).unwrap();
    assert!(dry.is_dry_run);
    assert_eq!(bench.store.written(), 0);
    let after: Vec<_> = bench.store.ids().iter().map(|id| bench.store.get(id)).collect();
    assert_eq!(before, after);

    let run = block_on(bench.job().verify(Verify::None).run()).unwrap();
    assert_eq!(dry.counts, run.counts);
    assert_eq!(dry.faults, run.faults);
    let counts = run.counts;
    assert_eq!(
        (
            counts.moved(),
            counts.foreign,
            counts.tampered,
            counts.unknown_key
        ),
        (50, 2, 2, 1)
    );
    let class = |id: &str| run.faults.iter().find(|fault| fault.id == id).unwrap().class;
    assert_eq!(class("altered"), FaultClass::Tampered);
    assert_eq!(class("cut"), FaultClass::Tampered);
    assert_eq!(class("strange"), FaultClass::UnknownKey);
    // A second run finds the same, and nothing to do.
    let written = bench.store.written();
    let again = block_on(bench.job().run()).unwrap();
    assert_eq!((again.counts.moved(), again.counts.faults()), (0, 3));
    assert_eq!(bench.store.written(), written);
}

/// A store in which others write while a job reads and replaces.
#[derive(Debug)]
struct Busy {
    inner: Arc<MemoryStore>,
    old: FakeKeyManager,
    /// How many of the changes find another value.
    others: AtomicU64,
    fails: Mutex<Vec<ErrorKind>>,
    lies: bool,
    /// What it cannot read the first time.
    unread: &'static str,
    /// What it does not replace.
    kept: &'static str,
}

impl Busy {
    fn of(bench: &Bench, others: u64) -> Self {
        Self {
            inner: bench.store.clone(),
            old: bench.old.clone(),
            others: AtomicU64::new(others),
            fails: Mutex::default(),
            lies: false,
            unread: "nothing",
            kept: "nothing",
        }
    }

    fn job(self, bench: &Bench) -> RewrapJob {
        RewrapJob::new(bench.sealer(), Arc::new(self)).verify(Verify::All)
    }
}

#[async_trait]
impl Store for Busy {
    fn name(&self) -> &str {
        self.inner.name()
    }

    async fn scan(&self, range: &Range, limit: usize) -> Result<Page> {
        let failed = self.fails.lock().unwrap().pop();
        match failed {
            Some(kind) => Err(Error::new(kind).with_retryable(true)),
            None => {
                let mut page = self.inner.scan(range, limit).await?;
                let is_unread = |found: &&mut Scanned| found.id.ends_with(self.unread);
                for found in page.found.iter_mut().filter(is_unread) {
                    found.item = Err(Error::new(ErrorKind::Unavailable));
                }
                Ok(page)
            }
        }
    }

    fn check(&self, change: &Change) -> Result<()> {
        match change.item().id().ends_with(self.kept) {
            true => Err(Error::new(ErrorKind::OverLimit {
                limit: "bytes of a row",
                max: 7,
            })),
            false => Ok(()),
        }
    }

    async fn front(&self, id: &str) -> Result<Option<Item>> {
        self.inner.front(id).await
    }

    async fn replace(&self, changes: &[Change]) -> Vec<Result<Replaced>> {
        for change in changes {
            let left = self
                .others
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
            if left.is_ok() {
                let id = change.item().id();
                let sealed = Sealer::new(self.old.clone())
                    .seal(id.as_bytes(), &context())
                    .await
                    .unwrap();
                self.inner.put(id, sealed);
            }
        }
        match self.lies {
            true => changes.iter().map(|_| Ok(Replaced::Done)).collect(),
            false => self.inner.replace(changes).await,
        }
    }
}

#[test]
fn what_others_write_meanwhile_stays_and_is_moved_then() {
    let bench = Bench::of(4, 25);
    let report = block_on(Busy::of(&bench, 40).job(&bench).run()).unwrap();
    let counts = report.counts;
    assert_eq!((counts.moved(), counts.revisited, counts.faults()), (100, 40, 0));
    bench.check_moved();
}

#[test]
fn what_is_changed_without_end_is_a_fault_and_stays() {
    let bench = Bench::of(1, 3);
    let report = block_on(Busy::of(&bench, u64::MAX).job(&bench).run()).unwrap();
    assert_eq!((report.counts.contended, report.counts.moved()), (3, 0));
    let sealer = Sealer::new(bench.old.clone());
    for id in bench.store.ids() {
        let sealed = bench.store.get(&id).unwrap();
        assert_eq!(block_on(sealer.open(&sealed, &context())).unwrap(), id.as_bytes());
    }
}

#[test]
fn a_store_that_lies_is_found_by_reading_back() {
    let bench = Bench::of(2, 5);
    let store = Busy {
        lies: true,
        ..Busy::of(&bench, 0)
    };
    let report = block_on(store.job(&bench).run()).unwrap();
    assert_eq!((report.counts.unreadable, report.counts.moved()), (10, 0));
    assert!(
        report.faults[0].reason.contains("old wraps"),
        "{:?}",
        report.faults[0]
    );
}

#[test]
fn a_store_that_is_away_for_a_while_is_asked_again_and_one_that_refuses_is_not() {
    let bench = Bench::of(1, 5);
    let store = Busy::of(&bench, 0);
    *store.fails.lock().unwrap() = vec![ErrorKind::Unavailable, ErrorKind::TimedOut];
    assert_eq!(block_on(store.job(&bench).run()).unwrap().counts.moved(), 5);
    let bench = Bench::of(1, 5);
    let store = Busy::of(&bench, 0);
    *store.fails.lock().unwrap() = vec![ErrorKind::Denied];
    let error = block_on(store.job(&bench).run()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert_eq!(bench.store.written(), 0);
}

#[test]
fn an_item_that_the_store_could_not_read_for_a_moment_is_read_again() {
    let bench = Bench::of(4, 5);
    let store = Busy {
        unread: "-0002",
        ..Busy::of(&bench, 0)
    };
    let report = block_on(store.job(&bench).run()).unwrap();
    assert_eq!((report.counts.moved(), report.counts.faults()), (20, 0));
    bench.check_moved();
}

#[test]
fn what_a_store_does_not_replace_is_a_fault_in_a_dry_run_too() {
    let bench = Bench::of(4, 5);
    let job = || {
        let store = Busy {
            kept: "-0002",
            ..Busy::of(&bench, 0)
        };
        store.job(&bench).verify(Verify::None)
    };
    let dry = block_on(job().dry_run().run()).unwrap();
    let run = block_on(job().run()).unwrap();
    assert_eq!((dry.counts.moved(), dry.counts.too_large), (15, 5));
    assert_eq!((dry.counts, dry.faults), (run.counts, run.faults));
    assert_eq!(bench.store.written(), 15);
}

#[test]
fn a_kms_that_throttles_slows_all_workers_down_and_loses_nothing() {
    let bench = Bench::of(30, 2);
    for _ in 0..3 {
        bench
            .old
            .script_for(Method::Unwrap, Fault::Fails(ErrorKind::Throttled));
    }
    let report = block_on(bench.job().run()).unwrap();
    assert_eq!((report.counts.moved(), report.counts.faults()), (60, 0));
    bench.check_moved();
}

#[test]
fn too_many_faults_end_a_job_and_it_goes_on_behind_them() {
    let bench = Bench::of(10, 20);
    for number in 0..50 {
        bench
            .store
            .put(&format!("0000-0{number:03}-bad"), b"WAX\x01cut".to_vec());
    }
    let ledger = Arc::new(waxseal::fleet::MemoryLedger::new());
    let job = || {
        let job = bench.job().workers(size(1)).batch(size(10)).most_faults(5);
        job.ledger(ledger.clone())
    };
    let mut runs = 0;
    let report = loop {
        let report = block_on(job().run()).unwrap();
        runs += 1;
        if report.is_whole {
            break report;
        }
        assert!(runs < 20, "{report:?}");
    };
    assert!(runs > 2, "{runs}");
    assert_eq!((report.counts.examined, report.counts.faults()), (250, 50));
    assert_eq!(report.faults.len(), 50);
}

#[test]
fn a_job_that_is_halted_goes_on_where_it_was() {
    let bench = Bench::of(10, 100);
    let halt = Halt::new();
    let halted = halt.clone();
    let ledger = Arc::new(waxseal::fleet::MemoryLedger::new());
    let job = bench.job().ledger(ledger.clone()).batch(size(10)).halted_by(halt);
    let job = job.watch(move |progress| {
        if progress.counts.examined >= 300 {
            halted.halt();
        }
    });
    let report = block_on(job.run()).unwrap();
    assert!(!report.is_whole);
    assert!((300..400).contains(&report.counts.examined), "{report:?}");
    let report = block_on(bench.job().ledger(ledger.clone()).run()).unwrap();
    assert!(report.is_whole);
    assert_eq!((report.counts.examined, report.counts.moved()), (1000, 1000));
    bench.check_moved();
    // It is the ledger of this job alone.
    let error = block_on(bench.job().ledger(ledger).dry_run().run()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("dry run"), "{error}");
}

#[test]
fn limits_hold_for_all_workers_together() {
    let bench = Bench::of(100, 1);
    let runtime = SimulatedRuntime::new();
    let builder = Sealer::builder()
        .wrap_with(bench.new.clone())
        .open_with(bench.old.clone());
    let sealer = builder.runtime(Arc::new(runtime.clone())).build().unwrap();
    let per_second = |number| NonZeroU32::new(number).unwrap();
    let limits = Limits::none().items(per_second(20));
    let job = RewrapJob::new(sealer, bench.store.clone())
        .limits(limits)
        .batch(size(1));
    let began = waxseal::runtime::Runtime::now(&runtime);
    let report = runtime.run(job.run()).unwrap().unwrap();
    assert_eq!(report.counts.rewrapped, 100);
    let took = waxseal::runtime::Runtime::now(&runtime).0 - began.0;
    assert!((4..=6).contains(&took.as_secs()), "{took:?}");
}

#[test]
fn a_dry_run_makes_as_many_calls_as_a_run() {
    use waxseal::layer::{Pace, Paced};
    let bench = Bench::of(20, 5);
    let calls = |is_dry: bool| {
        let pace = Pace::unlimited();
        let builder = Sealer::builder()
            .wrap_with(Paced::new(bench.new.clone(), pace.clone()))
            .open_with(Paced::new(bench.old.clone(), pace.clone()));
        let job = RewrapJob::new(builder.build().unwrap(), bench.store.clone());
        let job = if is_dry { job.dry_run() } else { job };
        let before = bench.old.total() + bench.new.total();
        block_on(job.run()).unwrap();
        (
            pace.calls(),
            (bench.old.total() + bench.new.total() - before) as u64,
        )
    };
    let (dry, seen) = calls(true);
    assert_eq!((dry, seen), (40, 40));
    assert_eq!(calls(false), (40, 40));
}

#[test]
fn values_that_store_their_context_need_no_word_of_it() {
    let store = Arc::new(MemoryStore::with_stored_contexts("users"));
    let (old, new) = (FakeKeyManager::new("old"), FakeKeyManager::new("new"));
    for tenant in ["acme", "globex"] {
        let context = EncryptionContext::new([("tenant", tenant)]).unwrap();
        let sealer = Sealer::builder()
            .wrap_with(old.clone())
            .store_context()
            .build()
            .unwrap();
        store.put(tenant, block_on(sealer.seal(b"x", &context)).unwrap());
    }
    let plain = Sealer::new(old.clone());
    store.put("without", block_on(plain.seal(b"x", &context())).unwrap());
    let sealer = Sealer::builder()
        .wrap_with(new.clone())
        .open_with(old)
        .build()
        .unwrap();
    let report = block_on(RewrapJob::new(sealer, store.clone()).run()).unwrap();
    assert_eq!((report.counts.moved(), report.counts.faults()), (2, 1));
    assert!(report.faults[0].reason.contains("context"), "{:?}", report.faults);
    let context = EncryptionContext::new([("tenant", "acme")]).unwrap();
    let sealed = store.get("acme").unwrap();
    assert_eq!(block_on(Sealer::new(new).open(&sealed, &context)).unwrap(), b"x");
}

/// A ledger that says that another worker has the part, from the so-manieth renewal on.
#[derive(Debug)]
struct Stolen {
    inner: MemoryLedger,
    renewals: AtomicU64,
    halt: Halt,
}

#[async_trait]
impl Ledger for Stolen {
    async fn begin(&self, plan: &Plan, parts: Vec<Range>) -> Result<()> {
        self.inner.begin(plan, parts).await
    }

    async fn claim(&self, worker: &str, lease: Duration) -> Result<Claimed> {
        self.inner.claim(worker, lease).await
    }

    async fn advance(&self, claim: &Claim, step: Step) -> Result<Held> {
        self.inner.advance(claim, step).await
    }

    async fn renew(&self, claim: &Claim) -> Result<Held> {
        let left = self
            .renewals
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        match left {
            Ok(_) => self.inner.renew(claim).await,
            Err(_) => {
                self.halt.halt();
                self.inner.abandon(claim);
                Ok(Held::Lost)
            }
        }
    }

    async fn release(&self, claim: &Claim) -> Result<()> {
        self.inner.release(claim).await
    }

    async fn sum(&self) -> Result<(Counts, Vec<waxseal::fleet::Fault>, bool)> {
        self.inner.sum().await
    }
}

#[test]
fn a_worker_whose_lease_is_over_writes_nothing_more() {
    let bench = Bench::of(20, 1);
    let runtime = SimulatedRuntime::new();
    // Each call takes longer than half of the lease.
    let slow = || Fault::Hangs(Arc::new(runtime.clone()), Duration::from_secs(12));
    bench.old.script_always(slow());
    let builder = Sealer::builder()
        .wrap_with(bench.new.clone())
        .open_with(bench.old.clone());
    let sealer = builder.runtime(Arc::new(runtime.clone())).build().unwrap();
    let halt = Halt::new();
    let ledger = Arc::new(Stolen {
        inner: MemoryLedger::new(),
        renewals: AtomicU64::new(4),
        halt: halt.clone(),
    });
    let job = RewrapJob::new(sealer, bench.store.clone())
        .ledger(ledger)
        .workers(size(1))
        .batch(size(4))
        .lease(Duration::from_secs(20))
        .halted_by(halt);
    // The renewals are enough for the first batch of a part, and not for the second one, which is not written.
    let report = runtime.run(job.run()).unwrap().unwrap();
    assert!(!report.is_whole);
    assert_eq!((report.counts.moved(), bench.store.written()), (4, 4));
}

#[test]
fn what_was_not_waited_for_leaves_its_parts_to_the_next_run() {
    let bench = Bench::of(4, 50);
    let ledger = Arc::new(MemoryLedger::new());
    let job = || bench.job().batch(size(5)).ledger(ledger.clone());
    for polls in [1, 2, 3] {
        let mut running = Box::pin(async { job().run().await });
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        for _ in 0..polls {
            if running.as_mut().poll(&mut context).is_ready() {
                break;
            }
        }
    }
    // At once, and not when a lease is over.
    let report = block_on(job().run()).unwrap();
    assert!(report.is_whole);
    bench.check_moved();
}

#[test]
fn a_ledger_is_of_one_purpose_one_range_and_one_kind_of_run() {
    let bench = Bench::of(1, 5);
    let ledger = Arc::new(MemoryLedger::new());
    let job = || bench.job().ledger(ledger.clone()).purpose("old to new");
    block_on(job().run()).unwrap();
    for (other, what) in [
        (job().purpose("new to newest"), "purpose"),
        (job().over(Range::all().up_to("0002")), "range"),
        (job().dry_run(), "kind"),
    ] {
        let error = block_on(other.run()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains(what), "{error}");
    }
}

#[test]
fn a_sample_is_read_back() {
    let bench = Bench::of(1, 300);
    let sample = Verify::Sample(NonZeroU64::new(10).unwrap());
    let report = block_on(bench.job().workers(size(1)).verify(sample).run()).unwrap();
    assert!((30..=60).contains(&report.counts.read_back), "{report:?}");
}
