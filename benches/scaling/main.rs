//! How sealing and opening scale: values of 64 bytes to 64 MiB, on one thread and on two.
//!
//! ```text
//! cargo bench -p waxseal-benches --bench scaling                    # prints the table
//! cargo bench -p waxseal-benches --bench scaling -- --write         # and writes it into benches/RESULTS.md
//! ```
//!
//! Wall-clock time, so it asks for a machine with two idle cores. One thread and two take turns; each figure is the
//! best of many rounds.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

#[path = "../raw_aead/mod.rs"]
mod raw_aead;
#[path = "../ratios/sections.rs"]
mod sections;
mod ways;

use std::path::Path;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use ways::{WAYS, Way, Worker};

const LENGTHS: [(usize, &str); 6] = [
    (64, "64 B"),
    (1 << 10, "1 KiB"),
    (16 << 10, "16 KiB"),
    (256 << 10, "256 KiB"),
    (4 << 20, "4 MiB"),
    (64 << 20, "64 MiB"),
];

const THREADS: [usize; 2] = [1, 2];
const ROUNDS: u32 = 25;
/// One round of one case takes about this long: starting and ending threads is little beside it.
const ROUND: Duration = Duration::from_millis(8);

/// Wall-clock time of each worker doing its work `times` times, all at once: from the first start to the last end,
/// as the workers saw them. The thread that waits for them may be woken late.
fn time(workers: &mut [Worker], times: u32) -> Duration {
    let barrier = Barrier::new(workers.len());
    let spans: Vec<(Instant, Instant)> = std::thread::scope(|scope| {
        let running: Vec<_> = workers
            .iter_mut()
            .map(|worker| {
                let barrier = &barrier;
                scope.spawn(move || {
                    barrier.wait();
                    let start = Instant::now();
                    (0..times).for_each(|_| worker());
                    (start, Instant::now())
                })
            })
            .collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let start = spans.iter().map(|span| span.0).min().unwrap();
    spans.iter().map(|span| span.1).max().unwrap() - start
}

/// Nanoseconds for each value, for each of [`THREADS`].
fn measure(way: &Way, len: usize) -> [f64; 2] {
    let mut sides = THREADS.map(|threads| (way.workers)(len, threads));
    let once = time(&mut sides[0], 1).min(time(&mut sides[0], 1));
    let times = u32::try_from(ROUND.as_nanos() / once.as_nanos().max(200)).map_or(1, |times| times.max(1));
    let mut best = [f64::INFINITY; 2];
    for _ in 0..ROUNDS {
        for (workers, best) in sides.iter_mut().zip(&mut best) {
            // A worker that uses several threads itself is one worker: it does one value at a time.
            let values = f64::from(times) * workers.len() as f64;
            *best = best.min(time(workers, times).as_secs_f64() * 1e9 / values);
        }
    }
    best
}

fn main() {
    let write = std::env::args().any(|argument| argument == "--write");
    let mut table = String::from(
        "| what | value | one thread (ns) | two threads (ns a value) | times as fast |\n|---|---|---:|---:|---:|\n",
    );
    for way in WAYS {
        for (len, name) in LENGTHS {
            let [one, two] = measure(way, len);
            let line = format!(
                "| {} | {name} | {one:.0} | {two:.0} | {:.2} |\n",
                way.name,
                one / two
            );
            eprint!("{line}");
            table += &line;
        }
    }
    println!("{table}");
    if write {
        let text = format!(
            "## One thread and two\n\nWritten by `cargo bench -p waxseal-benches --bench scaling -- --write`. {}.\nWall-clock time, one \
             thread and two in turns, best of {ROUNDS} rounds.\n\n{table}",
            sections::machine(),
        );
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/RESULTS.md");
        sections::replace(Path::new(path), "scaling", &text);
        println!("written to {path}");
    }
}
