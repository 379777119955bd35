//! Processes that meet the same tenants at the same time, and are killed while they do.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use pollster::block_on;
use waxseal::ring::{Authority, BranchRewrap, KeyRing, RecordId, Slot, Trust};
use waxseal::{Envelope, ErrorKind, Sealer};

use super::{Bench, context, scope};
use crate::places::{Store, backends};

/// What a worker is to do: its store, the ring, the public half of the authority, the seed of the provisioner, and its number.
const WORK: &str = "WAXSEAL_TEST_RING_TENANTS";
/// Each two of them meet the same tenants.
const WORKERS: usize = 4;
const KILLS: usize = 200;
/// The tenants of the second two.
const FAR: usize = 1_000_000;
/// Only to fail instead of hanging.
const PATIENCE: Duration = Duration::from_secs(300);

/// A process that is killed when this is dropped.
struct Worker {
    child: Child,
    /// Whether it has met a tenant.
    is_at_work: Arc<AtomicBool>,
}

impl Worker {
    fn start(bench: &Bench, number: usize) -> Self {
        let work = [
            bench.store.to_text(),
            bench.trust.0.to_string(),
            bench.trust.1.to_string(),
            hex::encode(*bench.provisioner.expose_seed()),
            number.to_string(),
            report(bench, number).display().to_string(),
        ];
        let mut child = Command::new(std::env::current_exe().unwrap())
            .env(WORK, work.join("\n"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (says, is_at_work) = (child.stdout.take().unwrap(), Arc::new(AtomicBool::new(false)));
        let at_work = Arc::clone(&is_at_work);
        std::thread::spawn(move || {
            for line in BufReader::new(says).lines().map_while(Result::ok) {
                at_work.fetch_or(line == "sealed", Ordering::SeqCst);
            }
        });
        Self { child, is_at_work }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // SIGKILL.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The file in which a worker says what it has sealed: a line for each tenant, in order.
fn report(bench: &Bench, number: usize) -> PathBuf {
    bench.folder.join(format!("sealed-{number}"))
}

/// What was sealed, by tenant and worker.
fn reported(bench: &Bench) -> Vec<(usize, usize, Vec<u8>)> {
    let mut all = Vec::new();
    for worker in 0..WORKERS {
        let text = fs::read_to_string(report(bench, worker)).unwrap_or_default();
        for (index, line) in text.split_inclusive('\n').enumerate() {
            // Of the last one, only a part may have been written.
            let Some(line) = line.strip_suffix('\n') else {
                continue;
            };
            all.push((first_of(worker) + index, worker, hex::decode(line).unwrap()));
        }
    }
    all
}

fn first_of(worker: usize) -> usize {
    worker / 2 * FAR
}

/// Workers are killed again and again, the parent is rotated, and keys are taken over: whatever a worker has said to be sealed opens, and each
/// tenant has one key.
pub(super) fn lose_nothing(bench: &Bench) {
    let kills = kill_at_random(bench);
    let reported = reported(bench);
    let mut tenants: BTreeMap<usize, Vec<(usize, RecordId)>> = BTreeMap::new();
    check_all(bench, &reported);
    for (tenant, worker, sealed) in &reported {
        tenants
            .entry(*tenant)
            .or_default()
            .push((*worker, kek_of(sealed)));
    }
    let (mut shared, mut taken) = (0, 0);
    for (tenant, by) in &tenants {
        let view = block_on(bench.admin.reader().scopes(&[scope(*tenant)])).unwrap();
        let keys = view.keys(&scope(*tenant));
        assert_eq!(keys.len(), 1, "tenant {tenant}: {keys:?}");
        assert!(view.active(&scope(*tenant), &Slot::default()).is_some());
        taken += usize::from(!view.is_provisioned(keys[0].id));
        for (worker, kek) in by {
            assert_eq!(*kek, keys[0].id, "tenant {tenant} of worker {worker}");
        }
        shared += usize::from(by.len() > 1);
    }
    println!(
        "{kills} kills, {} tenants, {shared} of them met by two processes, {taken} taken over before the end",
        tenants.len()
    );
    assert!(shared >= KILLS / 4 && taken > 0);
    // What is left is taken over and wrapped anew, and still opens.
    let done = block_on(bench.admin.rewrap_branches(&BranchRewrap::default(), |_| {})).unwrap();
    assert_eq!((done.failed, done.left), (0, 0), "{done:?}");
    block_on(bench.admin.tick(None)).unwrap();
    check_all(bench, &reported);
    let check = block_on(bench.admin.reader().check()).unwrap();
    assert!(check.is_good(), "{:?}", check.findings);
}

/// In a process that makes no keys.
fn check_all(bench: &Bench, reported: &[(usize, usize, Vec<u8>)]) {
    let ring = KeyRing::builder(bench.trust(), bench.store.open(), backends());
    let sealer = block_on(ring.open()).unwrap().sealer().build().unwrap();
    for (tenant, worker, sealed) in reported {
        let opened = block_on(sealer.open(sealed, &context(*tenant, "t")));
        assert_eq!(opened.unwrap(), *format!("{tenant} {worker}").as_bytes());
    }
}

/// The key that it is wrapped under.
fn kek_of(sealed: &[u8]) -> RecordId {
    let envelope = Envelope::parse(sealed).unwrap();
    let section = envelope.header().wrap_section().unwrap();
    let wrap = section.stanzas().next().unwrap();
    assert_eq!(wrap.provider, "branch");
    wrap.kek_id.parse().unwrap()
}

/// Returns the number of kills.
fn kill_at_random(bench: &Bench) -> usize {
    let nanos = SystemTime::UNIX_EPOCH.elapsed().unwrap().subsec_nanos();
    let mut random = (u64::from(std::process::id()) << 32) | u64::from(nanos);
    let mut next = |below: u64| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    let mut workers: Vec<Worker> = (0..WORKERS).map(|number| Worker::start(bench, number)).collect();
    let (mut kills, began) = (0, Instant::now());
    while kills < KILLS {
        assert!(began.elapsed() < PATIENCE, "{kills} kills");
        std::thread::sleep(Duration::from_micros(next(40_000)));
        let number = usize::try_from(next(WORKERS as u64)).unwrap();
        let worker = &mut workers[number];
        assert!(
            worker.child.try_wait().unwrap().is_none(),
            "a worker has ended by itself"
        );
        // What is killed while it starts tells nothing.
        if !worker.is_at_work.load(Ordering::SeqCst) {
            continue;
        }
        drop(std::mem::replace(worker, Worker::start(bench, number)));
        kills += 1;
        match kills % 40 {
            20 => drop(bench.rotate_parent()),
            0 => drop(block_on(bench.admin.tick(None)).unwrap()),
            _ => {}
        }
    }
    kills
}

pub(crate) fn is_worker() -> bool {
    std::env::var_os(WORK).is_some()
}

/// Meets one tenant after the other, from where its report ends, until it is killed.
pub(crate) fn work() -> ExitCode {
    let work = std::env::var(WORK).unwrap();
    let lines: Vec<_> = work.lines().collect();
    let [store, ring, authority, seed, number, report] = lines[..] else {
        panic!("{} lines", lines.len())
    };
    let number: usize = number.parse().unwrap();
    let trust = Trust::new(ring.parse().unwrap(), authority.parse().unwrap());
    let seed: [u8; 32] = hex::decode(seed).unwrap().try_into().unwrap();
    let ring = KeyRing::builder(trust, Store::of_text(store).open(), backends());
    let ring = ring.provisioner(Authority::from_seed(&seed));
    let sealer = block_on(ring.open()).unwrap().sealer().build().unwrap();
    let mut file = OpenOptions::new().create(true).append(true).open(report).unwrap();
    let known = fs::read_to_string(report).unwrap();
    let whole = known.rfind('\n').map_or(0, |end| end + 1);
    file.set_len(whole as u64).unwrap();
    let mut tenant = first_of(number) + known.matches('\n').count();
    loop {
        let sealed = seal(&sealer, tenant, number);
        file.write_all(format!("{}\n", hex::encode(sealed)).as_bytes())
            .unwrap();
        println!("sealed");
        tenant += 1;
    }
}

fn seal(sealer: &Sealer, tenant: usize, worker: usize) -> Vec<u8> {
    let (text, context) = (format!("{tenant} {worker}"), context(tenant, "t"));
    loop {
        match block_on(sealer.seal(text.as_bytes(), &context)) {
            Ok(sealed) => return sealed,
            // Others write to the file, or the machine does something else, for a moment.
            Err(error) => assert!(
                error.is_retryable() || error.kind() == ErrorKind::Conflict,
                "{error}"
            ),
        }
    }
}
