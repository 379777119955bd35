//! Jobs over files in processes that are killed.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use pollster::block_on;
use waxseal::fleet::{DirectoryStore, FileLedger, Report, RewrapJob, Verify};
use waxseal::testing::FakeKeyManager;
use waxseal::{EncryptionContext, Sealer};

pub(crate) const TESTS: &[crate::Test] = &[
    ("fleet::worker", worker),
    (
        "fleet::a_job_that_is_killed_again_and_again_loses_and_forgets_nothing",
        a_job_that_is_killed_again_and_again_loses_and_forgets_nothing,
    ),
];

/// Where the files are.
const WHERE: &str = "WAXSEAL_TEST_FLEET_WORKER";
const FILES: usize = 300;
const KILLS: usize = 40;

fn context() -> EncryptionContext {
    EncryptionContext::new([("tenant", "acme")]).unwrap()
}

fn old() -> FakeKeyManager {
    FakeKeyManager::new("old")
}

fn new() -> FakeKeyManager {
    FakeKeyManager::new("a key with a much longer name")
}

fn run(folder: &Path) -> Report {
    let sealer = Sealer::builder()
        .wrap_with(new())
        .open_with(old())
        .build()
        .unwrap();
    let store = DirectoryStore::open(folder.join("files"))
        .unwrap()
        .sealed_in(context());
    let job = RewrapJob::new(sealer, Arc::new(store)).verify(Verify::All);
    let job = job.batch(5.try_into().unwrap());
    let ledger = FileLedger::open(folder.join("job.json")).unwrap();
    block_on(job.ledger(Arc::new(ledger)).run()).unwrap()
}

/// Does nothing but in the process that is killed.
fn worker() {
    if let Some(folder) = std::env::var_os(WHERE) {
        run(Path::new(&folder));
    }
}

fn a_job_that_is_killed_again_and_again_loses_and_forgets_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let files = folder.path().join("files");
    fs::create_dir(&files).unwrap();
    let path = |number: usize| files.join(format!("{number:03}"));
    for number in 0..FILES {
        // Those with room are written where they are, through a journal; the others anew.
        let padding = if number % 2 == 0 { 512 } else { 0 };
        let sealer = Sealer::builder()
            .wrap_with(old())
            .padding(padding)
            .build()
            .unwrap();
        let sealed = block_on(sealer.seal(&number.to_be_bytes(), &context())).unwrap();
        fs::write(path(number), sealed).unwrap();
    }
    let (mut kills, mut inside) = (0, 0);
    while kills < KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .env(crate::ALONE, "fleet::worker")
            .env(WHERE, folder.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let nanos = SystemTime::UNIX_EPOCH.elapsed().unwrap().subsec_nanos();
        thread::sleep(Duration::from_micros(u64::from(nanos / 1000 % 60_000)));
        child.kill().unwrap();
        inside += usize::from(!child.wait().unwrap().success());
        kills += 1;
    }
    let report = run(folder.path());
    assert!(report.is_whole, "{report:?}");
    assert_eq!(report.counts.faults(), 0, "{:?}", report.faults);
    // What the last batches of the killed processes had done is found to be done.
    assert!(
        report.counts.examined >= FILES as u64 && report.counts.moved() <= FILES as u64,
        "{report:?}"
    );
    let sealer = Sealer::new(new());
    for number in 0..FILES {
        let sealed = fs::read(path(number)).unwrap();
        let opened = block_on(sealer.open(&sealed, &context())).unwrap();
        assert_eq!(opened, &number.to_be_bytes()[..]);
    }
    let left = fs::read_dir(&files).unwrap().count();
    assert_eq!(left, FILES);
    println!(
        "{inside} of {kills} kills ended a process; {} items moved by the last",
        report.counts.moved()
    );
}
