//! The bodies of the fuzz targets on stable Rust: over the committed corpus, and over random changes of it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use crate::fuzz_bodies;

use std::path::Path;
use waxseal::Aad;

use fuzz_bodies::{BODIES, fixed_context, fixed_data_key, fixed_sealer};

/// Random changes of each file of the corpus.
const ROUNDS: usize = 150;

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = std::fs::read_dir(root.join("fuzz/corpus").join(target)).unwrap();
    let mut files: Vec<_> = folder.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// SplitMix64: the same inputs in every run, so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    /// A few changes of the kinds that a fuzzer makes.
    fn change(&mut self, data: &mut Vec<u8>, others: &[Vec<u8>]) {
        for _ in 0..=self.below(4) {
            let at = self.below(data.len() + 1);
            match self.below(6) {
                0 if at < data.len() => data[at] ^= 1 << self.below(8),
                1 if at < data.len() => data[at] = [0, 1, 2, 3, 16, 127, 128, 255][self.below(8)],
                2 => data.insert(at, self.byte()),
                3 => data.truncate(at),
                4 => {
                    let until = (at + self.below(40)).min(data.len());
                    drop(data.drain(at..until));
                }
                _ => {
                    let other = &others[self.below(others.len())];
                    data.truncate(at);
                    data.extend_from_slice(&other[at.min(other.len())..]);
                }
            }
        }
    }
}

#[test]
fn the_bodies_hold_for_the_corpus_and_for_changes_of_it() {
    let mut random = Random(1);
    for (target, body) in BODIES.iter().copied() {
        let seeds = corpus(target);
        assert!(seeds.len() >= 10, "{target} has {} seeds", seeds.len());
        for seed in &seeds {
            body(seed);
            for _ in 0..ROUNDS {
                let mut data = seed.clone();
                random.change(&mut data, &seeds);
                body(&data);
            }
        }
        for len in 0..200 {
            let data: Vec<_> = (0..len).map(|_| random.byte()).collect();
            body(&data);
        }
    }
}

/// A corpus that no longer opens would still pass, and find nothing.
#[test]
fn the_corpus_reaches_the_chunks() {
    let seeds = corpus("open_fixed_key");
    let opens = |seed: &&Vec<u8>| fixed_sealer().open(seed, fixed_context()).is_ok();
    assert_eq!(seeds.iter().filter(opens).count(), 7);
    let opens = |seed: &&Vec<u8>| fixed_data_key().open(seed, Aad::none()).is_ok();
    assert_eq!(seeds.iter().filter(opens).count(), 2);
}
