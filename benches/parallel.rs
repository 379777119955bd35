//! One thread and two, from 64 bytes to 64 MiB: wall time.
//!
//! ```text
//! cargo bench -p waxseal-benches --bench parallel                 # prints the table
//! cargo bench -p waxseal-benches --bench parallel -- --write      # and writes it into benches/RESULTS.md
//! cargo bench -p waxseal-benches --bench parallel -- 1 MiB     # one size
//! ```
//!
//! The two are interleaved in one process; each figure is the best of many rounds. It wants a machine with two
//! idle processors: where they are busy, the second thread is not worth much, and this says so.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

#[path = "ratios/sections.rs"]
mod sections;

use std::fmt::Write as _;
use std::hint::black_box;
use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use waxseal::backend::local::LocalKey;
use waxseal::{Aad, DataKey, EncryptionContext, Kek, Sealer, blocking, message::Parallel};

const SIZES: [(usize, &str); 8] = [
    (64, "64 B"),
    (4 << 10, "4 KiB"),
    (64 << 10, "64 KiB"),
    (256 << 10, "256 KiB"),
    (1 << 20, "1 MiB"),
    (4 << 20, "4 MiB"),
    (16 << 20, "16 MiB"),
    (64 << 20, "64 MiB"),
];

/// A way to seal or open, and its buffers.
struct Way<'a> {
    name: &'static str,
    work: Box<dyn FnMut() + 'a>,
    best: Duration,
}

fn way<'a>(name: &'static str, work: impl FnMut() + 'a) -> Way<'a> {
    Way {
        name,
        work: Box::new(work),
        best: Duration::MAX,
    }
}

fn ways(key: &DataKey, len: usize) -> Vec<Way<'_>> {
    let plaintext = vec![7; len];
    let layout = key.layout(len).unwrap();
    let sealed = key.seal(&plaintext, Aad::none()).unwrap();
    let (again, to_open) = (sealed.clone(), sealed.clone());
    let streamed = sealed.clone();
    let (for_new, for_stream) = (plaintext.clone(), plaintext.clone());
    let (for_slice, slice_to_open) = (plaintext.clone(), sealed.clone());
    let (mut slice, mut opened_slice) = (sealed.clone(), plaintext.clone());
    let mut buffer = vec![7; layout.envelope_len()];
    let mut in_place = sealed.clone();
    let mut out = Vec::with_capacity(layout.envelope_len());
    let mut opened = Vec::with_capacity(len);
    let mut written = Vec::with_capacity(layout.envelope_len());
    let mut read = vec![0; 64 << 10];
    vec![
        way("seal, in place", move || {
            key.seal_in_place(black_box(&mut buffer), layout, Aad::none())
                .unwrap();
        }),
        way("seal, into a buffer", move || {
            out.clear();
            key.seal_into(black_box(&plaintext), Aad::none(), &mut out)
                .unwrap();
        }),
        way("seal, to a slice", move || {
            key.seal_to_slice(black_box(&for_slice), Aad::none(), &mut slice)
                .unwrap();
        }),
        way("seal, new", move || {
            black_box(key.seal(black_box(&for_new), Aad::none()).unwrap());
        }),
        way("seal, stream", move || {
            written.clear();
            let mut writer = key.writer(&mut written, Aad::none()).unwrap();
            writer.write_all(&for_stream).unwrap();
            writer.finish().unwrap();
        }),
        way("open, copy and in place", move || {
            in_place.copy_from_slice(&again);
            black_box(key.open_in_place(black_box(&mut in_place), Aad::none()).unwrap());
        }),
        way("open, into a buffer", move || {
            opened.clear();
            key.open_into(black_box(&sealed), Aad::none(), &mut opened)
                .unwrap();
        }),
        way("open, to a slice", move || {
            key.open_to_slice(black_box(&slice_to_open), Aad::none(), &mut opened_slice)
                .unwrap();
        }),
        way("open, new", move || {
            black_box(key.open(black_box(&to_open), Aad::none()).unwrap());
        }),
        way("open, stream", move || {
            let mut envelope = streamed.as_slice();
            let header = waxseal::envelope::HeaderBuf::read_from(&mut envelope).unwrap();
            let mut reader = key
                .reader(&header.header().unwrap(), envelope, Aad::none())
                .unwrap();
            while reader.read(&mut read).unwrap() > 0 {}
        }),
    ]
}

fn main() {
    let context = EncryptionContext::new([("tenant", "acme"), ("table", "users")]).unwrap();
    let keys = || LocalKey::new(&Kek::generate().unwrap());
    let serial = blocking::Sealer::from(Sealer::builder().wrap_with(keys()).build().unwrap());
    let parallel = Sealer::builder()
        .wrap_with(keys())
        .parallel(Parallel::rayon(2).unwrap());
    let parallel = blocking::Sealer::from(parallel.build().unwrap());
    let (one, two) = (
        serial.data_key(&context).unwrap(),
        parallel.data_key(&context).unwrap(),
    );

    let heads = "| what | size | 1 thread (us) | GB/s | 2 threads (us) | GB/s | times |\n|---|---|---:|---:|---:|---:|---:|\n";
    let mut table = String::from(heads);
    print!("{heads}");
    let write = std::env::args().any(|argument| argument == "--write");
    let arguments: Vec<_> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench" && word != "--write")
        .collect();
    let wanted = arguments.join(" ");
    for (len, size) in SIZES {
        if !wanted.is_empty() && wanted != size {
            continue;
        }
        // Some milliseconds without a break: a thread that has gone to sleep takes tens of microseconds to wake.
        let iterations = (32 << 20) / len.clamp(16 << 10, 32 << 20);
        let rounds = if len > 4 << 20 { 20 } else { 60 };
        let (mut ones, mut twos) = (ways(&one, len), ways(&two, len));
        for (one, two) in ones.iter_mut().zip(&mut twos) {
            for _ in 0..rounds {
                for way in [&mut *one, &mut *two] {
                    let start = Instant::now();
                    (0..iterations).for_each(|_| (way.work)());
                    way.best = way.best.min(start.elapsed());
                }
            }
            let micros = |way: &Way<'_>| way.best.as_secs_f64() * 1e6 / iterations as f64;
            let (a, b) = (micros(one), micros(two));
            let rate = |micros: f64| len as f64 / micros / 1e3;
            let row = format!(
                "| {} | {size} | {a:.2} | {:.1} | {b:.2} | {:.1} | {:.2} |",
                one.name,
                rate(a),
                rate(b),
                a / b
            );
            println!("{row}");
            let _ = writeln!(table, "{row}");
        }
    }
    if write {
        let text = format!(
            "Written by `scripts/bench`. {}.\nWall-clock time of one call, with and without \
             `Parallel::rayon(2)`; best of many rounds, in turns. Payloads up to 256 KiB stay on one\nthread, as the \
             default has it.\n\n{table}",
            sections::conditions()
        );
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/RESULTS.md");
        sections::replace(Path::new(path), "parallel", "One payload on two threads", &text);
    }
}
