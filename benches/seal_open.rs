//! Sealing, opening, re-wrapping and parsing from 100 bytes to 1 MiB, beside the raw AEAD in the same run.
//!
//! ```text
//! cargo bench -p waxseal-benches --bench seal_open
//! ```
//!
//! `benches/ratios/main.rs` measures the same interleaved, and prints the ratios that this crate promises.
#![allow(missing_docs, clippy::unwrap_used)]

mod raw_aead;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use raw_aead::RawAead;
use waxseal::backend::local::LocalKey;
use waxseal::{
    Aad, EncryptionContext, Envelope, Kek, blocking::Sealer, sealer::OpenedBatch, sealer::SealedBatch,
};

const SIZES: [(usize, &str); 4] = [
    (100, "100 B"),
    (1024, "1 KiB"),
    (65_536, "64 KiB"),
    (1 << 20, "1 MiB"),
];

fn subject() -> (Sealer, EncryptionContext) {
    let sealer = Sealer::new(LocalKey::new(&Kek::generate().unwrap()));
    let context = EncryptionContext::new([("tenant", "acme"), ("table", "users")]).unwrap();
    (sealer, context)
}

fn seal(criterion: &mut Criterion) {
    let (sealer, context) = subject();
    let key = sealer.data_key(&context).unwrap();
    let raw = RawAead::new();
    let mut group = criterion.benchmark_group("seal");
    for (len, name) in SIZES {
        let plaintext = vec![7; len];
        let layout = key.layout(len).unwrap();
        let mut raw_out = vec![0; len];
        let mut out = Vec::with_capacity(layout.envelope_len());
        let mut buffer = vec![7; layout.envelope_len()];
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(BenchmarkId::new("raw AEAD and nonce", name), |b| {
            b.iter(|| {
                let nonce = waxseal::value::entropy::array().unwrap();
                raw.seal_to(&nonce, black_box(&plaintext), &mut raw_out);
            });
        });
        group.bench_function(BenchmarkId::new("data key, into a buffer", name), |b| {
            b.iter(|| {
                out.clear();
                key.seal_into(black_box(&plaintext), Aad::new("row 7"), &mut out)
                    .unwrap();
            });
        });
        group.bench_function(BenchmarkId::new("data key, in place", name), |b| {
            b.iter(|| {
                key.seal_in_place(black_box(&mut buffer), layout, Aad::new("row 7"))
                    .unwrap();
            });
        });
        group.bench_function(BenchmarkId::new("one-off, fresh DEK", name), |b| {
            b.iter(|| {
                sealer
                    .seal(black_box(&plaintext), context.with_aad(b"row 7"))
                    .unwrap()
            });
        });
    }
    group.finish();
}

fn open(criterion: &mut Criterion) {
    let (sealer, context) = subject();
    let key = sealer.data_key(&context).unwrap();
    let raw = RawAead::new();
    let mut group = criterion.benchmark_group("open");
    for (len, name) in SIZES {
        let plaintext = vec![7; len];
        let sealed = key.seal(&plaintext, Aad::new("row 7")).unwrap();
        let (ciphertext, tag) = raw.seal(&[1; 12], b"row 7", &plaintext);
        let mut raw_out = vec![0; len];
        let mut out = Vec::with_capacity(len);
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(BenchmarkId::new("raw AEAD", name), |b| {
            b.iter(|| raw.open_to(&[1; 12], black_box(&ciphertext), &tag, &mut raw_out));
        });
        group.bench_function(BenchmarkId::new("data key, into a buffer", name), |b| {
            b.iter(|| {
                out.clear();
                key.open_into(black_box(&sealed), Aad::new("row 7"), &mut out)
                    .unwrap();
            });
        });
        group.bench_function(BenchmarkId::new("one-off", name), |b| {
            b.iter(|| {
                sealer
                    .open(black_box(&sealed), context.with_aad(b"row 7"))
                    .unwrap()
            });
        });
    }
    group.finish();
}

/// Columns of 1,000 rows.
fn batch(criterion: &mut Criterion) {
    const ROWS: usize = 1000;
    let (sealer, context) = subject();
    let key = sealer.data_key(&context).unwrap();
    let mut group = criterion.benchmark_group("batch of 1,000");
    for (len, name) in [(16, "16 B"), (100, "100 B"), (1024, "1 KiB")] {
        let values = vec![vec![7; len]; ROWS];
        let mut sealed = SealedBatch::new();
        key.seal_batch(&values, |_| b"row 7", &mut sealed).unwrap();
        let (mut out, mut opened) = (SealedBatch::new(), OpenedBatch::new());
        group.throughput(Throughput::Elements(ROWS as u64));
        group.bench_function(BenchmarkId::new("seal", name), |b| {
            b.iter(|| {
                out.clear();
                key.seal_batch(black_box(&values), |_| b"row 7", &mut out)
                    .unwrap();
            });
        });
        group.bench_function(BenchmarkId::new("open", name), |b| {
            b.iter(|| {
                opened.clear();
                key.open_batch(black_box(sealed.iter()), |_| b"row 7", &mut opened)
                    .unwrap();
            });
        });
    }
    group.finish();
}

fn header(criterion: &mut Criterion) {
    let (sealer, context) = subject();
    let mut group = criterion.benchmark_group("header");
    for (len, name) in SIZES {
        let sealed = sealer.seal(&vec![7; len], &context).unwrap();
        group.bench_function(BenchmarkId::new("parse", name), |b| {
            b.iter(|| Envelope::parse(black_box(&sealed)).unwrap().plaintext_len());
        });
        group.bench_function(BenchmarkId::new("re-wrap", name), |b| {
            b.iter(|| sealer.rewrap(black_box(&sealed), &context).unwrap());
        });
    }
    group.finish();
}

criterion_group!(benches, seal, open, batch, header);
criterion_main!(benches);
