//! Four processes tick one ring 40 times each, or as often as `WAXSEAL_TEST_TICKS` says, and are killed and started again all the time.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use pollster::block_on;
use waxseal::envelope::KekRef;
use waxseal::key::KekAdmin;
use waxseal::ring::{
    Authority, AuthorityKey, Backends, KeyRecord, KeySource, NewKey, Reader, RetireBy, RingAdmin, Scope,
    State, Trust,
};

use crate::places::{self, Store, backends};

/// What a worker is to do: its store, the ring, the seed of the authority, and where it counts its ticks.
const WORK: &str = "WAXSEAL_TEST_RING_WORK";
const PROCESSES: usize = 4;
/// How often each of them ticks.
const TICKS: &str = "WAXSEAL_TEST_TICKS";
const SCOPES: usize = 6;
/// The most ticks from one kill to the next, of all four together.
const MOST_BETWEEN: u64 = 5;
/// Long enough for calls on a busy machine, short enough that those who were killed are soon forgotten.
const LEASE: Duration = Duration::from_secs(8);
const CADENCE: Duration = Duration::from_secs(2);

pub(crate) fn on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::sqlite(folder.path());
    four_processes(&store, folder.path());
}

pub(crate) fn on_postgres() {
    let folder = tempfile::tempdir().unwrap();
    let Some(store) = Store::postgres() else { return };
    four_processes(&store, folder.path());
}

fn four_processes(store: &Store, folder: &Path) {
    let Some(vault) = places::vault() else { return };
    let inventory = store.create();
    let authority = Authority::generate().unwrap();
    let trust = block_on(RingAdmin::init(&*inventory, &authority, "alice", |settings| {
        settings.retire = RetireBy::OverlapEnd;
        settings.cadence = "PT2S".parse().unwrap();
        settings.overlap = "PT1S".parse().unwrap();
    }))
    .unwrap();
    let work = |number: usize| {
        [
            store.to_text(),
            trust.ring().to_string(),
            hex::encode(*authority.expose_seed()),
            folder.join(format!("ticks-{number}")).display().to_string(),
        ]
        .join("\n")
    };
    let admin = admin(&work(0));
    let scopes: Vec<Scope> = (0..SCOPES)
        .map(|number| format!("s/{number}").parse().unwrap())
        .collect();
    for scope in &scopes {
        let new = NewKey::new(scope.clone(), KeySource::MadeBeside(vault.clone()));
        assert_eq!(block_on(admin.create(&new)).unwrap().to, State::Active);
    }
    let began = Instant::now();
    let done = || -> u64 {
        let files = (0..PROCESSES).map(|number| fs::metadata(folder.join(format!("ticks-{number}"))));
        files.map(|file| file.map_or(0, |file| file.len())).sum()
    };
    let kills = kill_at_random(&work, &done);

    // What the last ones have left behind is gone on with.
    std::thread::sleep(LEASE);
    let ended = began.elapsed();
    for _ in 0..20 {
        let tick = block_on(admin.tick(None)).unwrap();
        assert!(tick.orphans.is_empty(), "{tick:?}");
        if scopes.iter().all(|scope| is_quiet(&admin, scope)) {
            break;
        }
    }
    let mut rotations = 0;
    for scope in &scopes {
        rotations += check(&admin, scope);
    }
    println!("{kills} kills, {rotations} rotations, {ended:?}");
    assert!(kills >= 20, "{kills} kills");
    assert!(rotations >= SCOPES * 2, "{rotations} rotations");
    let check = block_on(admin.reader().check()).unwrap();
    assert!(check.is_good(), "{:?}", check.findings);
}

/// Starts four, kills one after the other, and starts it again, until each has ticked as often as it has to. Returns the number of kills.
///
/// A kill comes some ticks after the one before it, and not some time: on a machine that is slow, nobody would come to a tick.
fn kill_at_random(work: &impl Fn(usize) -> String, done: &impl Fn() -> u64) -> usize {
    let nanos = SystemTime::UNIX_EPOCH.elapsed().unwrap().subsec_nanos();
    let mut random = (u64::from(std::process::id()) << 32) | u64::from(nanos);
    let mut next = |below: u64| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    let mut workers: Vec<Option<Child>> = (0..PROCESSES).map(|number| Some(start(&work(number)))).collect();
    let (mut kills, began) = (0, Instant::now());
    let mut due = 1 + next(MOST_BETWEEN);
    while workers.iter().any(Option::is_some) {
        assert!(
            began.elapsed() < Duration::from_secs(900),
            "the processes do not end"
        );
        // Somewhere in a tick, or between two.
        std::thread::sleep(Duration::from_millis(10 + next(100)));
        let is_due = done() >= due;
        let victim = usize::try_from(next(PROCESSES as u64)).unwrap();
        for (number, worker) in workers.iter_mut().enumerate() {
            let Some(child) = worker else { continue };
            if let Some(status) = child.try_wait().unwrap() {
                assert!(status.success(), "{status}");
                *worker = None;
            } else if is_due && number == victim {
                // SIGKILL.
                child.kill().unwrap();
                child.wait().unwrap();
                kills += 1;
                due = done() + 1 + next(MOST_BETWEEN);
                *worker = Some(start(&work(number)));
            }
        }
    }
    kills
}

fn ticks() -> u64 {
    std::env::var(TICKS).map_or(40, |ticks| ticks.parse().unwrap())
}

fn start(work: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .env(WORK, work)
        .spawn()
        .unwrap()
}

pub(crate) fn is_worker() -> bool {
    std::env::var_os(WORK).is_some()
}

/// Ticks until it has done so as often as it has to, counting those before it was killed.
pub(crate) fn work() -> ExitCode {
    let work = std::env::var(WORK).unwrap();
    let counted = work.lines().last().unwrap().to_owned();
    let admin = admin(&work);
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&counted)
        .unwrap();
    while fs::metadata(&counted).unwrap().len() < ticks() {
        match block_on(admin.tick(None)) {
            Ok(_) => file.write_all(b".").unwrap(),
            // Too many at once, for a moment.
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    ExitCode::SUCCESS
}

fn admin(work: &str) -> RingAdmin {
    let lines: Vec<_> = work.lines().collect();
    let [store, ring, seed, _] = lines.as_slice() else {
        panic!("{} lines", lines.len())
    };
    let seed: [u8; 32] = hex::decode(seed).unwrap().try_into().unwrap();
    let authority = Authority::from_seed(&seed);
    let public: AuthorityKey = authority.public();
    let trust = Trust::new(ring.parse().unwrap(), public);
    let reader = Reader::new(trust, Store::of_text(store).open());
    RingAdmin::new(reader, Arc::new(authority), backends(), "tick").with_lease(LEASE)
}

/// Nothing is half done in a scope.
fn is_quiet(admin: &RingAdmin, scope: &Scope) -> bool {
    let view = block_on(admin.reader().scopes(std::slice::from_ref(scope))).unwrap();
    view.intents(scope).is_empty() && view.keys(scope).iter().all(|key| key.state != State::Pending)
}

/// Each version at OpenBao is one key of the ring, and each was rotated once, when it was due. Returns the number of rotations.
fn check(admin: &RingAdmin, scope: &Scope) -> usize {
    assert!(is_quiet(admin, scope), "{scope}");
    let view = block_on(admin.reader().scopes(std::slice::from_ref(scope))).unwrap();
    let mut keys: Vec<Arc<KeyRecord>> = view.keys(scope).to_vec();
    keys.sort_by_key(|key| key.provenance.version.parse::<u64>().unwrap());
    let kek = &keys[0].provenance;
    let backend: Arc<dyn KekAdmin> = block_on(backends().admin(&kek.uri)).unwrap();
    let all = KekRef::new(&kek.provider, &kek.id, "").unwrap();
    let versions = block_on(backend.describe_versions(&all)).unwrap();
    let mut versions: Vec<_> = versions
        .iter()
        .map(|version| version.kek.version().to_owned())
        .collect();
    versions.reverse();
    let known: Vec<_> = keys.iter().map(|key| key.provenance.version.clone()).collect();
    assert_eq!(
        known, versions,
        "{scope}: keys of the ring, and versions at OpenBao"
    );
    for (index, key) in keys.iter().enumerate() {
        let path: Vec<_> = key.history.iter().map(|made| made.to).collect();
        let full = [State::Pending, State::Active, State::Deprecated, State::Retired];
        assert!(full.starts_with(&path), "{scope}: {path:?}");
        let is_last = index + 1 == keys.len();
        assert_eq!(key.state == State::Active, is_last, "{scope}: {path:?}");
        if let Some(next) = keys.get(index + 1) {
            let (own, next_at) = (key.activated.unwrap(), next.activated.unwrap());
            assert!(
                next_at.since(own) >= CADENCE,
                "{scope}: it was rotated before it was due"
            );
            assert_eq!((next.predecessor, key.successor), (Some(key.id), Some(next.id)));
        }
    }
    assert!(block_on(admin.orphans(scope)).unwrap().is_empty(), "{scope}");
    keys.len() - 1
}
