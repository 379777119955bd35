//! The cache of DEKs, and what the KMS behind it saw.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod bench;
mod bounds;
mod flights;
mod invalidation;
mod keys;
mod many;
mod outage;
mod refresh;
