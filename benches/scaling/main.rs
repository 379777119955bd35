//! How sealing and opening scale: values of 64 bytes to 64 MiB, on one thread and on two.
//!
//! ```text
//! cargo bench -p waxseal-benches --bench scaling                    # prints the table
//! cargo bench -p waxseal-benches --bench scaling -- --write         # and writes it into benches/RESULTS.md
//! ```
//!
//! Wall-clock time, so it asks for a machine with two idle cores. One thread and two take turns, and so do the
//! cases; each figure is the median of the rounds, and so is the ratio, which is taken within each round.
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

/// Up to this length all ways take turns; longer values are measured one way after another.
const TOGETHER: usize = 4 << 20;

const THREADS: [usize; 2] = [1, 2];
const ROUNDS: usize = 11;
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

/// A way at one length: its workers for each of [`THREADS`], and what was measured.
struct Case {
    sides: [Vec<Worker>; 2],
    times: u32,
    rounds: [Vec<f64>; 3],
}

impl Case {
    fn new(way: &Way, len: usize) -> Self {
        let mut sides = THREADS.map(|threads| (way.workers)(len, threads));
        let once = time(&mut sides[0], 1).min(time(&mut sides[0], 1));
        let times =
            u32::try_from(ROUND.as_nanos() / once.as_nanos().max(100)).map_or(1, |times| times.max(1));
        // Unmeasured: pages, caches, and what each thread finds for the first time.
        for side in &mut sides {
            let _ = time(side, times);
        }
        Self {
            sides,
            times,
            rounds: [const { Vec::new() }; 3],
        }
    }

    fn round(&mut self) {
        let [one, two] = [0, 1].map(|side: usize| {
            let workers = &mut self.sides[side];
            // A worker that uses several threads itself is one worker: it does one value at a time.
            let values = f64::from(self.times) * workers.len() as f64;
            time(workers, self.times).as_secs_f64() * 1e9 / values
        });
        for (figures, figure) in self.rounds.iter_mut().zip([one, two, one / two]) {
            figures.push(figure);
        }
    }
}

/// Nanoseconds for each value on one thread and on two, and how many times as fast two are: of ways that take turns, so
/// that whatever disturbs the machine for a while disturbs a round of each.
fn measure(ways: &[Way], len: usize) -> Vec<[f64; 3]> {
    let mut cases: Vec<_> = ways.iter().map(|way| Case::new(way, len)).collect();
    for _ in 0..ROUNDS {
        cases.iter_mut().for_each(Case::round);
    }
    cases.into_iter().map(|case| case.rounds.map(median)).collect()
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn main() {
    let write = std::env::args().any(|argument| argument == "--write");
    let mut table = String::from(
        "| what | value | one thread (ns) | two threads (ns a value) | times as fast |\n|---|---|---:|---:|---:|\n",
    );
    let mut measured = Vec::new();
    for (len, name) in LENGTHS {
        eprintln!("{name}");
        // The buffers of all ways at once are some gigabytes for long values.
        let group = if len > TOGETHER { 1 } else { WAYS.len() };
        measured.push(
            WAYS.chunks(group)
                .flat_map(|ways| measure(ways, len))
                .collect::<Vec<_>>(),
        );
    }
    for (at, way) in WAYS.iter().enumerate() {
        for ((_, name), figures) in LENGTHS.iter().zip(&measured) {
            let [one, two, ratio] = figures[at];
            table += &format!("| {} | {name} | {one:.0} | {two:.0} | {ratio:.2} |\n", way.name);
        }
    }
    println!("{table}");
    if write {
        let text = format!(
            "Written by `cargo bench -p waxseal-benches --bench scaling -- --write`. {}.\nWall-clock time, one \
             thread and two in turns, median of {ROUNDS} rounds.\n\n{table}",
            sections::conditions(),
        );
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/RESULTS.md");
        sections::replace(Path::new(path), "scaling", "One thread and two", &text);
        println!("written to {path}");
    }
}
