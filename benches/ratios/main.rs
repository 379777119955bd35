//! The ratios this crate promises, measured in one run: what sealing and opening cost beside the primitives
//! that they cannot do without.
//!
//! ```text
//! cargo bench -p waxseal-benches --bench ratios                     # prints the table
//! cargo bench -p waxseal-benches --bench ratios -- --write          # and writes benches/RESULTS.md
//! ```
//!
//! Cases are interleaved, in thread CPU time; each figure is the best of many rounds. Absolute figures move
//! with the machine: quote the ratios.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod primitives;
#[path = "../raw_aead/mod.rs"]
mod raw_aead;
mod results;
mod stopwatch;

use std::hint::black_box;
use std::time::Duration;

use primitives::sum_of_fresh_seal;
use raw_aead::RawAead;
use stopwatch::Stopwatch;
use waxseal::backend::local::LocalKey;
use waxseal::source::Cached;
use waxseal::{
    Aad, EncryptionContext, Envelope, Kek, blocking::Sealer, envelope::Header, sealer::OpenedBatch,
    sealer::SealedBatch, source::AnyOf,
};

/// A case: its name, and a closure that does it `n` times.
struct Case<'a> {
    name: &'static str,
    work: Box<dyn FnMut(u32) + 'a>,
    iterations: u32,
    best: Duration,
}

impl<'a> Case<'a> {
    fn new(name: &'static str, iterations: u32, mut work: impl FnMut() + 'a) -> Self {
        let work = move |n| (0..n).for_each(|_| work());
        Self {
            name,
            work: Box::new(work),
            iterations,
            best: Duration::MAX,
        }
    }

    fn nanos(&self) -> f64 {
        self.best.as_secs_f64() * 1e9 / f64::from(self.iterations)
    }
}

/// Runs all cases in turn, many times, and keeps the best of each.
fn measure(cases: &mut [Case<'_>], rounds: u32) {
    for _ in 0..rounds {
        for case in cases.iter_mut() {
            let watch = Stopwatch::start();
            (case.work)(case.iterations);
            case.best = case.best.min(watch.elapsed());
        }
    }
    for case in cases {
        eprintln!("{:>12.1} ns  {}", case.nanos(), case.name);
    }
}

struct Row {
    what: String,
    ours: f64,
    base: f64,
    target: &'static str,
    holds: bool,
}

fn row(what: impl Into<String>, ours: &Case<'_>, base: &Case<'_>, at_most: f64) -> Row {
    let ratio = ours.nanos() / base.nanos();
    let target: &'static str = Box::leak(format!("at most {at_most:.2}x").into_boxed_str());
    Row {
        what: what.into(),
        ours: ours.nanos(),
        base: base.nanos(),
        target,
        holds: ratio <= at_most,
    }
}

fn held_key(rows: &mut Vec<Row>, sealer: &Sealer, context: &EncryptionContext) {
    for len in [100, 1024] {
        let key = sealer.data_key(context).unwrap();
        let raw = RawAead::new();
        let plaintext = vec![7; len];
        let envelope = key.seal(&plaintext, Aad::new("row 7")).unwrap();
        let (ciphertext, tag) = raw.seal(&[1; 12], b"row 7", &plaintext);
        let (mut raw_out, mut raw_opened) = (vec![0; len], vec![0; len]);
        let mut out = Vec::with_capacity(key.layout(len).unwrap().envelope_len());
        let mut opened = Vec::with_capacity(len);
        let mut cases = [
            Case::new("raw seal and nonce", 2000, || {
                raw.seal_to(
                    &waxseal::value::entropy::array().unwrap(),
                    &plaintext,
                    &mut raw_out,
                );
            }),
            Case::new("raw open and nonce", 2000, || {
                black_box(waxseal::value::entropy::array::<12>().unwrap());
                raw.open_to(&[1; 12], &ciphertext, &tag, &mut raw_opened);
            }),
            Case::new("seal", 2000, || {
                out.clear();
                key.seal_into(black_box(&plaintext), Aad::new("row 7"), &mut out)
                    .unwrap();
            }),
            Case::new("open", 2000, || {
                opened.clear();
                key.open_into(black_box(&envelope), Aad::new("row 7"), &mut opened)
                    .unwrap();
            }),
        ];
        measure(&mut cases, 300);
        let [raw_seal, raw_open, seal, open] = &cases;
        rows.push(row(
            format!("{len} B, data key held, seal / raw AEAD and nonce"),
            seal,
            raw_seal,
            1.3,
        ));
        rows.push(row(
            format!("{len} B, data key held, open / raw AEAD and nonce"),
            open,
            raw_open,
            1.3,
        ));
    }
}

/// A column of 1,000 rows, beside as many single calls into a buffer that is used again.
fn batch(rows: &mut Vec<Row>, sealer: &Sealer, context: &EncryptionContext) {
    const ROWS: usize = 1000;
    for len in [16, 100, 1024] {
        let key = sealer.data_key(context).unwrap();
        let values = vec![vec![7; len]; ROWS];
        let (mut sealed, mut opened) = (SealedBatch::new(), OpenedBatch::new());
        let mut batch = SealedBatch::new();
        key.seal_batch(&values, |_| b"row 7", &mut sealed).unwrap();
        let opener = {
            let header = Header::parse(sealed.get(0).unwrap()).unwrap();
            sealer.opener(&header, context).unwrap()
        };
        let mut opened_singly = Vec::with_capacity(ROWS * len);
        let mut sealed_singly = Vec::with_capacity(sealed.as_bytes().len());
        let mut cases = [
            Case::new("1,000 seals", 1, || {
                sealed_singly.clear();
                for value in &values {
                    key.seal_into(black_box(value), Aad::new("row 7"), &mut sealed_singly)
                        .unwrap();
                }
            }),
            Case::new("seal_batch", 1, || {
                batch.clear();
                key.seal_batch(black_box(&values), |_| b"row 7", &mut batch)
                    .unwrap();
            }),
            Case::new("1,000 opens by an opener", 1, || {
                opened_singly.clear();
                for envelope in sealed.iter() {
                    opener
                        .open_into(black_box(envelope), Aad::new("row 7"), &mut opened_singly)
                        .unwrap();
                }
            }),
            Case::new("open_batch of an opener", 1, || {
                opened.clear();
                opener
                    .open_batch(black_box(sealed.iter()), |_| b"row 7", &mut opened)
                    .unwrap();
            }),
        ];
        measure(&mut cases, 300);
        let [seals, seal_batch, opens, open_batch] = &cases;
        rows.push(row(
            format!("{len} B, a batch of 1,000, seal / single calls"),
            seal_batch,
            seals,
            1.0,
        ));
        rows.push(row(
            format!("{len} B, a batch of 1,000, open by an opener / single calls"),
            open_batch,
            opens,
            1.0,
        ));
    }
}

fn fresh(rows: &mut Vec<Row>, sealer: &Sealer, context: &EncryptionContext) {
    let plaintext = [7; 100];
    let mut cases = [
        Case::new("sum of primitives", 500, || {
            sum_of_fresh_seal(black_box(&plaintext));
        }),
        Case::new("one-off seal", 500, || {
            black_box(
                sealer
                    .seal(black_box(&plaintext), context.with_aad(b"row 7"))
                    .unwrap(),
            );
        }),
    ];
    measure(&mut cases, 300);
    let [sum, seal] = &cases;
    rows.push(row(
        "100 B, one-off seal with a fresh DEK, local KEK / sum of its primitives",
        seal,
        sum,
        1.5,
    ));
}

fn warm_cache(rows: &mut Vec<Row>, keys: LocalKey, context: &EncryptionContext) {
    let sealer = Sealer::from_source(Cached::new(AnyOf::new(keys)));
    let plaintext = [7; 100];
    let key = sealer.data_key(context).unwrap();
    let sealed = sealer.seal(&plaintext, context.with_aad(b"row 7")).unwrap();
    let mut cases = [
        Case::new("data key held, seal", 2000, || {
            black_box(key.seal(black_box(&plaintext), Aad::new("row 7")).unwrap());
        }),
        Case::new("data key held, open", 2000, || {
            black_box(key.open(black_box(&sealed), Aad::new("row 7")).unwrap());
        }),
        Case::new("one-off seal, warm cache", 2000, || {
            let binding = context.with_aad(b"row 7");
            black_box(sealer.seal(black_box(&plaintext), binding).unwrap());
        }),
        Case::new("one-off open, warm cache", 2000, || {
            let binding = context.with_aad(b"row 7");
            black_box(sealer.open(black_box(&sealed), binding).unwrap());
        }),
    ];
    measure(&mut cases, 300);
    let [held_seal, held_open, seal, open] = &cases;
    for (what, ours, base) in [("seal", seal, held_seal), ("open", open, held_open)] {
        rows.push(row(
            format!("100 B, one-off through a warm cache, {what} / data key held"),
            ours,
            base,
            3.0,
        ));
    }
}

fn in_place(rows: &mut Vec<Row>, sealer: &Sealer, context: &EncryptionContext) {
    for (len, name) in [(65_536, "64 KiB"), (1 << 20, "1 MiB")] {
        let key = sealer.data_key(context).unwrap();
        let raw = RawAead::new();
        let layout = key.layout(len).unwrap();
        let mut buffer = vec![7; layout.envelope_len()];
        let sealed = key.seal(&vec![7; len], Aad::none()).unwrap();
        let (mut to_open, mut raw_buffer) = (sealed.clone(), vec![7; len]);
        let (raw_ciphertext, raw_tag) = raw.seal(&[1; 12], b"", &raw_buffer);
        let mut raw_open = raw_ciphertext.clone();
        let mut cases = [
            Case::new("raw seal", 1, || {
                raw.seal_in_place(&[1; 12], black_box(&mut raw_buffer));
            }),
            Case::new("seal in place", 1, || {
                key.seal_in_place(black_box(&mut buffer), layout, Aad::none())
                    .unwrap();
            }),
            // Opening in place needs a fresh ciphertext each time: both sides pay the same copy.
            Case::new("copy and raw open", 1, || {
                raw_open.copy_from_slice(&raw_ciphertext);
                raw.open_in_place(&[1; 12], &mut raw_open, &raw_tag);
            }),
            Case::new("copy and open in place", 1, || {
                to_open.copy_from_slice(&sealed);
                black_box(key.open_in_place(&mut to_open, Aad::none()).unwrap());
            }),
        ];
        measure(&mut cases, 2000);
        let [raw_seal, seal, raw_open, open] = &cases;
        rows.push(row(
            format!("{name} in place, seal / raw AEAD"),
            seal,
            raw_seal,
            1.0 / 0.95,
        ));
        rows.push(row(
            format!("{name} in place, open / raw AEAD (a copy on both sides)"),
            open,
            raw_open,
            1.0 / 0.95,
        ));
    }
}

fn headers(rows: &mut Vec<Row>, sealer: &Sealer, context: &EncryptionContext) {
    let (small, large) = (
        sealer.seal(&[7; 1024], context).unwrap(),
        sealer.seal(&vec![7; 64 << 20], context).unwrap(),
    );
    let mut cases = [
        Case::new("parse", 2000, || {
            black_box(Envelope::parse(black_box(&small)).unwrap());
        }),
        Case::new("rewrap 1 KiB", 200, || {
            black_box(sealer.rewrap(black_box(&small), context).unwrap());
        }),
        Case::new("rewrap 64 MiB", 200, || {
            black_box(sealer.rewrap(black_box(&large), context).unwrap());
        }),
        Case::new("100 ns", 1, || {}),
    ];
    measure(&mut cases, 300);
    cases[3].best = Duration::from_nanos(100);
    let [parse, small, large, hundred] = &cases;
    rows.push(row("parse an envelope / 100 ns", parse, hundred, 1.0));
    rows.push(row("re-wrap 64 MiB / re-wrap 1 KiB", large, small, 1.1));
}

fn main() {
    // `cargo bench` adds `--bench`.
    let write = std::env::args().any(|argument| argument == "--write");
    let kek = Kek::generate().unwrap();
    let sealer = Sealer::new(LocalKey::new(&kek));
    let context = EncryptionContext::new([("tenant", "acme"), ("table", "users")]).unwrap();
    let mut rows = Vec::new();
    held_key(&mut rows, &sealer, &context);
    batch(&mut rows, &sealer, &context);
    fresh(&mut rows, &sealer, &context);
    warm_cache(&mut rows, LocalKey::new(&kek), &context);
    in_place(&mut rows, &sealer, &context);
    headers(&mut rows, &sealer, &context);

    let mut table =
        String::from("| what | ours (ns) | base (ns) | ratio | target | |\n|---|---:|---:|---:|---|---|\n");
    for Row {
        what,
        ours,
        base,
        target,
        holds,
    } in &rows
    {
        let mark = if *holds { "holds" } else { "missed" };
        table += &format!(
            "| {what} | {ours:.0} | {base:.0} | {:.2} | {target} | {mark} |\n",
            ours / base
        );
    }
    println!("{table}");
    if write {
        results::write(&table);
    }
}
