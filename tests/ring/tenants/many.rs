//! As many tenants as a test has time for, with little memory.

use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pollster::block_on;
use waxseal::ring::{BranchRewrap, KeyRing, Scope, Slot};
use waxseal::source::Caching;
use waxseal::{ErrorKind, Sealer};

use super::{Bench, CountedBackends, context, scope};
use crate::live::variable;
use crate::places::{Store, backends};

/// How many on each store, unless the environment says otherwise: before a change lands, and elsewhere.
const TENANTS: &str = "WAXSEAL_TEST_TENANTS";
const MANY: usize = 25_000;
const FEW: usize = 5_000;
/// How many a process keeps.
const KEPT: usize = 1_000;
const THREADS: usize = 4;
/// How many values are opened at the end.
const SAMPLES: usize = 500;
/// How much more memory is in use after so many more tenants, at most. What grows with them would take a few hundred bytes for each.
const ROOM: usize = 48 << 20;

/// A value of one tenant.
struct Sample {
    tenant: usize,
    sealed: Vec<u8>,
}

pub(super) fn tenants(bench: &Bench) {
    let default = if variable("CI").is_some_and(|ci| ci == "true") {
        MANY
    } else {
        FEW
    };
    let count = variable(TENANTS).map_or(default, |count| count.parse().unwrap());
    let samples = meet(bench, count);
    opens_all(bench, &samples);
    print_size(&bench.store, count);
    take_over(bench, count);
    opens_all(bench, &samples);
    rewrap(bench, count);
    opens_all(bench, &samples);
    print_size(&bench.store, count);
}

fn print_size(store: &Store, count: usize) {
    if let Store::Sqlite(path) = store {
        let size = std::fs::metadata(path).unwrap().len();
        println!("{} bytes of the file for each tenant", size / count as u64);
    }
}

fn few() -> NonZeroUsize {
    NonZeroUsize::new(KEPT).unwrap()
}

/// One value is sealed for each tenant. The parent is rotated when half of them are there.
fn meet(bench: &Bench, count: usize) -> Vec<Sample> {
    let kms = CountedBackends::default();
    let ring = bench.builder(bench.store.open(), std::sync::Arc::new(kms.clone()));
    let ring = block_on(ring.scopes(few()).branch_keys(few()).open()).unwrap();
    let sealer = sealer(&ring);
    let (next, samples) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let (began, every) = (Instant::now(), (count / SAMPLES).max(1));
    let (mut full, mut rotated) = (None, None);
    std::thread::scope(|threads| {
        let workers: Vec<_> = (0..THREADS)
            .map(|_| {
                threads.spawn(|| {
                    while let tenant = next.fetch_add(1, Ordering::SeqCst)
                        && tenant < count
                    {
                        let sealed = seal(&sealer, tenant);
                        if tenant.is_multiple_of(every) {
                            samples.lock().unwrap().push(Sample { tenant, sealed });
                        }
                    }
                })
            })
            .collect();
        while workers.iter().any(|worker| !worker.is_finished()) {
            std::thread::sleep(Duration::from_millis(20));
            let met = next.load(Ordering::SeqCst);
            // All caches are full by then.
            if met >= (KEPT * 2).min(count / 2) {
                full.get_or_insert_with(resident);
            }
            if met >= count / 2 {
                rotated.get_or_insert_with(|| bench.rotate_parent());
            }
        }
    });
    let (took, [wraps, unwraps, _]) = (began.elapsed(), kms.take());
    let (full, now) = (full.unwrap(), resident());
    println!(
        "{count} tenants met in {took:?}: {} in a second; {} MB resident, and {} MB at the end",
        per_second(count, took),
        full >> 20,
        now >> 20
    );
    assert!(now < full + ROOM, "{full} bytes were resident, and then {now}");
    let known = ring.status().unwrap();
    assert!(known.scopes <= KEPT, "{known:?}");
    assert!(known.branch_keys <= KEPT, "{known:?}");
    // One for each, and one more for those that were made when the parent was rotated.
    assert!((count..=count + THREADS).contains(&wraps), "{wraps}");
    assert_eq!(unwraps, 0);
    assert!(rotated.is_some());
    samples.into_inner().unwrap()
}

/// Nothing is kept of it but what the ring keeps.
fn sealer(ring: &KeyRing) -> Sealer {
    let mut caching = Caching::default();
    (caching.open_entries, caching.seal_entries) = (100, 100);
    ring.sealer().cache(caching).build().unwrap()
}

fn seal(sealer: &Sealer, tenant: usize) -> Vec<u8> {
    let (text, context) = (tenant.to_string(), context(tenant, "t"));
    loop {
        match block_on(sealer.seal(text.as_bytes(), &context)) {
            Ok(sealed) => return sealed,
            // The machine does something else for a moment.
            Err(error) if error.kind() == ErrorKind::TimedOut => println!("{error}"),
            Err(error) => panic!("{error}"),
        }
    }
}

/// In a process that has met none of them.
fn opens_all(bench: &Bench, samples: &[Sample]) {
    let ring = KeyRing::builder(bench.trust(), bench.store.open(), backends());
    let ring = block_on(ring.scopes(few()).branch_keys(few()).open()).unwrap();
    let sealer = sealer(&ring);
    assert!(samples.len() >= SAMPLES.min(100), "{}", samples.len());
    for sample in samples {
        let opened = block_on(sealer.open(&sample.sealed, &context(sample.tenant, "t"))).unwrap();
        assert_eq!(opened, *sample.tenant.to_string().as_bytes());
    }
}

/// Ticks until the authority has signed each key.
fn take_over(bench: &Bench, count: usize) {
    let (began, before, mut taken) = (Instant::now(), resident(), 0);
    loop {
        let tick = block_on(bench.admin.tick(None)).unwrap();
        assert!(tick.problems.is_empty() && tick.warnings.is_empty(), "{tick:?}");
        taken += tick.taken_over;
        if tick.taken_over == 0 {
            break;
        }
    }
    let (took, now) = (began.elapsed(), resident());
    println!(
        "{taken} keys taken over in {took:?}: {} in a second; {} MB resident",
        per_second(taken, took),
        now >> 20
    );
    assert_eq!(taken, count);
    assert!(
        now < before + ROOM,
        "{before} bytes were resident, and then {now}"
    );
    let inventory = bench.admin.reader().inventory();
    assert!(
        block_on(inventory.scopes_provisioned(None, 1))
            .unwrap()
            .is_empty()
    );
}

/// Wraps those under the new parent that were made before it.
fn rewrap(bench: &Bench, count: usize) {
    let (began, before) = (Instant::now(), resident());
    let (mut most, all) = (before, BranchRewrap::default());
    let done = bench.admin.rewrap_branches(&all, |_| most = most.max(resident()));
    let done = block_on(done).unwrap();
    let took = began.elapsed();
    println!(
        "{} keys re-wrapped in {took:?}: {} in a second; {} MB resident at most",
        done.rewrapped,
        per_second(usize::try_from(done.rewrapped).unwrap(), took),
        most >> 20
    );
    assert_eq!((done.failed, done.left), (0, 0), "{done:?}");
    assert_eq!(done.rewrapped + done.current, count as u64, "{done:?}");
    // About half.
    assert!(
        done.rewrapped >= count as u64 / 4 && done.current >= count as u64 / 4,
        "{done:?}"
    );
    assert!(
        most < before + ROOM,
        "{before} bytes were resident, and then {most}"
    );
    let again = block_on(bench.admin.rewrap_branches(&all, |_| {})).unwrap();
    assert_eq!((again.rewrapped, again.current), (0, count as u64), "{again:?}");
    let root = Scope::root();
    let view = block_on(
        bench
            .admin
            .reader()
            .scopes(&[root.clone(), scope(0), scope(count - 1)]),
    )
    .unwrap();
    let parent = view.active(&root, &Slot::default()).unwrap().id;
    for tenant in [0, count - 1] {
        let key = view.active(&scope(tenant), &Slot::default()).unwrap();
        assert_eq!(key.branch.as_ref().unwrap().parent, parent);
    }
}

fn per_second(count: usize, took: Duration) -> u128 {
    count as u128 * 1_000 / took.as_millis().max(1)
}

/// The bytes of memory that are in use.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}
