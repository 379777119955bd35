//! What it costs to keep every event before anything is released: 8 threads through a required log, against a bare loop that writes
//! and syncs the same batches.
//!
//! ```text
//! cargo bench -p waxseal-benches --bench audit
//! ```
//!
//! Both run in the same folder, one after the other, in turns; the ratio is of their medians.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use waxseal::audit::{Auditor, Event, Log, Sink};
use waxseal::testing::FakeKeyManager;
use waxseal::{EncryptionContext, Result, Sealer, blocking};

const THREADS: usize = 8;
const ROUNDS: usize = 5;
const EVENTS: usize = 10_000;

/// A log that remembers how long each of its batches is, in bytes.
#[derive(Clone, Debug)]
struct Measured {
    log: Log,
    batches: Arc<Mutex<Vec<usize>>>,
}

#[async_trait::async_trait]
impl Sink for Measured {
    async fn keep(&self, events: &[Arc<Event>]) -> Result<()> {
        let bytes = events.iter().map(|event| event.to_json().len() + 2).sum();
        self.batches.lock().expect("no panic").push(bytes);
        self.log.keep(events).await
    }

    async fn flush(&self) -> Result<()> {
        self.log.flush().await
    }
}

/// Seals in all threads, and returns how long that took and which batches it made.
fn through_the_log(folder: &Path) -> (Duration, Vec<usize>) {
    let sink = Measured {
        log: Log::open(folder.join("log")).expect("a new log"),
        batches: Arc::default(),
    };
    let auditor = Auditor::builder()
        .required(sink.clone())
        .build()
        .expect("a thread");
    let builder = Sealer::builder()
        .wrap_with(FakeKeyManager::new("kek"))
        .audit(auditor);
    let sealer = blocking::Sealer::from(builder.build().expect("a key"));
    let context = EncryptionContext::new([("tenant", "acme")]).expect("a context");
    let begun = Instant::now();
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..EVENTS / THREADS {
                    sealer.seal(b"hello", &context).expect("an event that is kept");
                }
            });
        }
    });
    let took = begun.elapsed();
    let batches = sink.batches.lock().expect("no panic").clone();
    (took, batches)
}

fn bare(folder: &Path, batches: &[usize]) -> Duration {
    let mut file = File::create(folder.join("bare")).expect("a new file");
    let bytes = vec![b'x'; batches.iter().copied().max().unwrap_or_default()];
    let begun = Instant::now();
    for batch in batches {
        file.write_all(bytes.get(..*batch).unwrap_or_default())
            .expect("room");
        file.sync_data().expect("a disk");
    }
    begun.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn main() {
    let (mut logged, mut bares, mut count) = (Vec::new(), Vec::new(), 0);
    for _ in 0..ROUNDS {
        let folder = tempfile::tempdir().expect("a folder");
        let (took, batches) = through_the_log(folder.path());
        bares.push(bare(folder.path(), &batches));
        logged.push(took);
        count = batches.len();
    }
    let (logged, bare) = (median(logged), median(bares));
    println!(
        "{EVENTS} events from {THREADS} threads in {count} batches: {:.0} events a second, {:.2} of a bare loop",
        EVENTS as f64 / logged.as_secs_f64(),
        bare.as_secs_f64() / logged.as_secs_f64()
    );
}
