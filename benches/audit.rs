//! What it costs to keep every event before anything is released: 8 threads through a required log, against a bare loop that writes
//! and syncs the same batches.
//!
//! ```text
//! cargo bench -p waxseal-benches --bench audit
//! ```
//!
//! Both run in turns; the rate and the ratio are medians of the rounds.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use waxseal::audit::{Auditor, Event, Log, LogReader, Sink};
use waxseal::testing::FakeKeyManager;
use waxseal::{EncryptionContext, Result, Sealer, blocking};

const THREADS: usize = 8;
const ROUNDS: usize = 5;
const EVENTS: usize = 10_000;

/// A log that remembers how many events each of its batches has.
#[derive(Clone, Debug)]
struct Measured {
    log: Log,
    batches: Arc<Mutex<Vec<usize>>>,
}

#[async_trait::async_trait]
impl Sink for Measured {
    async fn keep(&self, events: &[Arc<Event>]) -> Result<()> {
        self.batches.lock().expect("no panic").push(events.len());
        self.log.keep(events).await
    }

    fn keeps_json(&self) -> bool {
        self.log.keeps_json()
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
    // Every record is about as long.
    let reader = LogReader::open(folder.join("log")).expect("a log");
    let record = reader.record(0).expect("a record").len() + 2;
    (took, batches.iter().map(|events| events * record).collect())
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

fn median(mut ratios: Vec<f64>) -> f64 {
    ratios.sort_by(f64::total_cmp);
    ratios.get(ratios.len() / 2).copied().unwrap_or_default()
}

fn main() {
    let (mut rates, mut ratios, mut count) = (Vec::new(), Vec::new(), 0);
    for _ in 0..ROUNDS {
        let folder = tempfile::tempdir().expect("a folder");
        let (took, batches) = through_the_log(folder.path());
        // Twice around the next round, so that a disk that is slow for a while is slow for both.
        let before = bare(folder.path(), &batches);
        let again = tempfile::tempdir().expect("a folder");
        let (took_again, batches_again) = through_the_log(again.path());
        let bare = before + bare(again.path(), &batches_again);
        let took = took + took_again;
        rates.push(2.0 * EVENTS as f64 / took.as_secs_f64());
        ratios.push(bare.as_secs_f64() / took.as_secs_f64());
        count = batches.len();
    }
    println!(
        "{EVENTS} events from {THREADS} threads in {count} batches: {:.0} events a second, {:.2} of a bare loop",
        median(rates),
        median(ratios)
    );
}
