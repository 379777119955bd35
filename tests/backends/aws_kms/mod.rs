//! AWS KMS, against moto and ministack (`scripts/services up microburst ministack moto`), which nobody here wrote, and against
//! answers that no such server gives.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod admin;
mod cache;
mod faults;
mod keys;
#[cfg(feature = "resilience")]
mod microburst;
mod names;
mod recovery;
mod refused;
mod rewrap;
mod saw;
pub(crate) mod server;
mod states;
mod wire;
