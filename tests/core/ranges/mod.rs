//! Parts of payloads: what is read for them, what opens, and what a changed envelope leads to.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs
)]

mod plan;
mod reader;

use std::ops::Range;

use waxseal::message::RangePlan;

use crate::support::CHUNK;

const LENGTHS: [usize; 7] = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 4 * CHUNK + 5];

fn interesting(len: usize) -> Vec<usize> {
    let borders =
        (0..=len / CHUNK + 1).flat_map(|chunk| [chunk * CHUNK, chunk * CHUNK + 1, chunk * CHUNK + 1023]);
    let mut places: Vec<usize> = borders.chain([0, len / 2, len.saturating_sub(1), len]).collect();
    places.retain(|place| *place <= len);
    places.sort_unstable();
    places.dedup();
    places
}

fn fetch<'a>(plan: &RangePlan, object: &'a [u8]) -> Vec<&'a [u8]> {
    let piece = |range: Range<u64>| &object[range.start as usize..range.end as usize];
    plan.ranges().map(piece).collect()
}
