//! The inventories against their contract, against each other's processes and against servers that misbehave.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

#[cfg(feature = "sqlite")]
mod files;
#[cfg(all(feature = "sqlite", unix))]
mod fork;
mod forms;
#[cfg(feature = "postgres")]
mod hangs;
#[cfg(all(feature = "sqlite", unix))]
mod kills;
#[cfg(feature = "postgres")]
mod postgres;
mod support;
#[cfg(feature = "sqlite")]
mod tampering;
