//! Audit in processes that fork, that are killed, and whose disk is full.
#![allow(
    unsafe_code,
    reason = "the standard library has no fork without exec, and no limits"
)]

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use pollster::block_on;
use waxseal::audit::{Auditor, Log, LogReader, Verdict};
use waxseal::envelope::{BodyHead, WrapSection, WrapSet};
use waxseal::key::Request;
use waxseal::source::{AnyOf, DekLease, Rewrapped};
use waxseal::testing::FakeKeyManager;
use waxseal::{DekSource, EncryptionContext, ErrorKind, Result, Sealer};

pub(crate) const TESTS: &[crate::Test] = &[
    (
        "audit::a_child_refuses_to_go_on_with_the_auditor_of_its_parent",
        a_child_refuses_to_go_on_with_the_auditor_of_its_parent,
    ),
    (
        "audit::a_full_disk_releases_nothing_loses_nothing_and_is_gone_on_from",
        a_full_disk_releases_nothing_loses_nothing_and_is_gone_on_from,
    ),
    ("audit::writer", writer),
    (
        "audit::each_key_that_was_released_before_a_kill_is_in_the_log",
        each_key_that_was_released_before_a_kill_is_in_the_log,
    ),
];

fn context() -> EncryptionContext {
    EncryptionContext::new([("tenant", "acme")]).unwrap()
}

fn audited(log: &Path) -> (Sealer, Auditor, FakeKeyManager) {
    let kms = FakeKeyManager::new("kek");
    let auditor = Auditor::builder()
        .required(Log::open(log).unwrap())
        .build()
        .unwrap();
    let builder = Sealer::builder().wrap_with(kms.clone()).audit(auditor.clone());
    (builder.build().unwrap(), auditor, kms)
}

fn verdict(log: &Path) -> Verdict {
    let reader = LogReader::open(log).unwrap();
    let verdict = reader.verify(&reader.named_key().unwrap(), None).unwrap();
    assert!(verdict.is_sound(), "{:?}", verdict.findings);
    verdict
}

fn a_child_refuses_to_go_on_with_the_auditor_of_its_parent() {
    let folder = tempfile::tempdir().unwrap();
    let (log, best) = (folder.path().join("log"), folder.path().join("best"));
    let (sealer, auditor, _) = audited(&log);
    let opened = Log::open(&best).unwrap();
    let lossy = Auditor::builder().best_effort(opened.clone()).build().unwrap();
    let builder = Sealer::builder().wrap_with(FakeKeyManager::new("kek"));
    let freely = builder.audit(lossy.clone()).build().unwrap();
    block_on(sealer.seal(b"hello", &context())).unwrap();
    // The threads of the sinks sleep then, and hold no lock.
    thread::sleep(Duration::from_millis(1500));
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    // SAFETY: the child does what this test says and ends by `_exit`; the threads of the parent hold no lock, since they sleep.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork failed");
    if child == 0 {
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let error = block_on(sealer.seal(b"hello", &context())).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Audit);
            assert!(error.to_string().contains("forked"), "{error}");
            assert_eq!(block_on(auditor.close()).unwrap_err().kind(), ErrorKind::Audit);
            assert_eq!(opened.checkpoint().unwrap_err().kind(), ErrorKind::Audit);
            block_on(freely.seal(b"hello", &context())).unwrap();
            // A log of its own.
            let (own, auditor, _) = audited(&folder.path().join("own"));
            block_on(own.seal(b"hello", &context())).unwrap();
            block_on(auditor.close()).unwrap();
            drop((sealer, auditor, freely, lossy));
        }));
        let _ = writer.write_all(&[u8::from(done.is_ok())]);
        // SAFETY: ends this process and does nothing else.
        unsafe { libc::_exit(0) }
    }
    drop(writer);
    let mut answer = Vec::new();
    reader.read_to_end(&mut answer).unwrap();
    let mut status = 0;
    // SAFETY: `child` is a child of this process that nobody waits for elsewhere; `status` outlives the call.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!((answer, status), (vec![1], 0));
    block_on(sealer.seal(b"hello", &context())).unwrap();
    block_on(auditor.close()).unwrap();
    assert_eq!(verdict(&log).size, 2);
    assert_eq!(verdict(&folder.path().join("own")).size, 1);
}

/// Lets no file grow above this many bytes.
fn limit(bytes: u64) {
    let limit = libc::rlimit {
        rlim_cur: bytes,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: both only change this process, which is for this test alone; `limit` outlives the call.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit), 0);
    }
}

fn a_full_disk_releases_nothing_loses_nothing_and_is_gone_on_from() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let (sealer, auditor, kms) = audited(&path);
    let sealed = block_on(sealer.seal(b"hello", &context())).unwrap();
    // Without the zeros that were written ahead.
    let journal = fs::read(path.join("journal")).unwrap();
    let len = journal.iter().rposition(|byte| *byte != 0).unwrap() as u64 + 1;
    // No byte, the front of a batch, and all of it but its end.
    for room in [0, 10, 100, 300] {
        limit(len + room);
        let error = block_on(sealer.open(&sealed, &context())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Audit, "{room}");
        assert!(error.is_retryable(), "{error}");
        // What was kept is still all that is there.
        assert_eq!(fs::metadata(path.join("journal")).unwrap().len(), len, "{room}");
    }
    limit(libc::RLIM_INFINITY);
    assert_eq!(auditor.lost(), 4);
    assert_eq!(block_on(sealer.open(&sealed, &context())).unwrap(), b"hello");
    assert_eq!(kms.total(), 6);
    block_on(auditor.close()).unwrap();
    // The seal, the gap, and the open.
    assert_eq!(verdict(&path).size, 3);
    let gap = LogReader::open(&path).unwrap().record(1).unwrap();
    assert!(String::from_utf8(gap).unwrap().contains(r#""waxseal.lost":4"#));
}

/// Where the writer writes.
const WHERE: &str = "WAXSEAL_TEST_AUDIT_WRITER";
const THREADS: usize = 4;
const PROCESSES: usize = 4;
const KILLS: usize = 20;

/// Writes a byte to a file for each answer of the KMS.
#[derive(Debug)]
struct Counting {
    inner: AnyOf,
    calls: File,
}

#[async_trait]
impl DekSource for Counting {
    async fn seal_dek(&self, request: &Request<'_>) -> Result<(Arc<DekLease>, WrapSet)> {
        let answer = self.inner.seal_dek(request).await;
        (&self.calls).write_all(b".").unwrap();
        answer
    }

    async fn open_dek(
        &self,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> Result<Arc<DekLease>> {
        self.inner.open_dek(wraps, body, request).await
    }

    async fn rewrap(
        &self,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> Result<Rewrapped> {
        self.inner.rewrap(wraps, body, request).await
    }
}

/// Does nothing but in the process that is killed: seals for ever, and says each key that it was given.
fn writer() {
    let Some(folder) = std::env::var_os(WHERE) else {
        return;
    };
    let folder = Path::new(&folder);
    let calls = OpenOptions::new()
        .append(true)
        .create(true)
        .open(folder.join("calls"))
        .unwrap();
    let source = Counting {
        inner: AnyOf::new(FakeKeyManager::new("kek")),
        calls,
    };
    let log = Log::open(folder.join("log")).unwrap();
    let auditor = Auditor::builder().required(log).build().unwrap();
    let sealer = Sealer::builder().source(source).audit(auditor).build().unwrap();
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    block_on(sealer.seal(b"hello", &context())).unwrap();
                    println!("released");
                }
            });
        }
    });
}

/// Runs a writer, kills it at any moment, and returns how many keys it said it was given.
fn killed(folder: &Path) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .env(crate::ALONE, "audit::writer")
        .env(WHERE, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(|line| line.ok());
    assert_eq!(lines.next().as_deref(), Some("released"));
    let reader = thread::spawn(move || lines.filter(|line| line == "released").count() as u64);
    let nanos = SystemTime::UNIX_EPOCH.elapsed().unwrap().subsec_nanos();
    // With many events a process lives long enough that its log has tiles.
    let longest = if events() > 0 { 3_000_000 } else { 150_000 };
    thread::sleep(Duration::from_micros(u64::from(nanos / 1000 * 3 % longest)));
    child.kill().unwrap();
    child.wait().unwrap();
    1 + reader.join().unwrap()
}

/// Kills a process again and again, until so many kills and at least so many events. Returns how many there were of both, and how often the KMS was asked.
fn killed_often(kills: usize, least: u64) -> (usize, u64, u64) {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let (mut before, mut called, mut kill) = (0, 0, 0);
    while kill < kills || before < least {
        let released = killed(folder.path());
        let seen = verdict(&log);
        let (all, calls) = (
            seen.size + seen.uncovered,
            fs::metadata(folder.path().join("calls")).unwrap().len(),
        );
        let (events, asked) = (all - before, calls - called);
        let in_flight = THREADS as u64;
        assert!(
            released <= events && events <= asked && asked <= events + in_flight,
            "kill {kill}: {released} released, {events} events, {asked} calls"
        );
        (before, called, kill) = (all, calls, kill + 1);
    }
    // Whoever opens it next makes tiles of it all.
    drop(Log::open(&log).unwrap());
    let seen = verdict(&log);
    assert_eq!((seen.size, seen.uncovered, seen.torn), (before, 0, 0));
    (kill, before, called)
}

/// How many events each process writes at least. `WAXSEAL_TEST_AUDIT_EVENTS=10000` is the size that is promised.
fn events() -> u64 {
    let events = std::env::var("WAXSEAL_TEST_AUDIT_EVENTS").ok();
    events.map_or(0, |events| events.parse().unwrap())
}

fn each_key_that_was_released_before_a_kill_is_in_the_log() {
    let least = events();
    // A log has one writer, so each process has its own.
    let work = || killed_often(KILLS / PROCESSES, least);
    let done: Vec<_> = thread::scope(|scope| {
        let processes: Vec<_> = (0..PROCESSES).map(|_| scope.spawn(work)).collect();
        processes
            .into_iter()
            .map(|process| process.join().unwrap())
            .collect()
    });
    let (kills, events, calls) = done.iter().fold((0, 0, 0), |all, one| {
        (all.0 + one.0, all.1 + one.1, all.2 + one.2)
    });
    println!("{PROCESSES} processes, {kills} kills, {events} events, {calls} calls");
    assert!(kills >= KILLS);
}
