//! The inventories against their contract, against each other's processes and against servers that misbehave.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod branches;
#[cfg(feature = "sqlite")]
mod files;
#[cfg(all(feature = "sqlite", unix))]
mod first_keys;
#[cfg(all(feature = "sqlite", unix))]
mod fork;
mod forms;
#[cfg(feature = "postgres")]
mod hangs;
#[cfg(all(feature = "sqlite", unix))]
mod kills;
#[cfg(all(feature = "fleet", any(feature = "postgres", feature = "sqlite")))]
mod ledger;
#[cfg(all(feature = "audit", feature = "postgres"))]
mod log;
#[cfg(all(feature = "fleet", any(feature = "postgres", feature = "sqlite")))]
mod place;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(all(feature = "fleet", any(feature = "postgres", feature = "sqlite")))]
mod rows;
#[cfg(all(feature = "fleet", any(feature = "postgres", feature = "sqlite"), unix))]
mod rows_kills;
#[cfg(all(feature = "fleet", feature = "postgres"))]
mod rows_postgres;
#[cfg(all(feature = "fleet", feature = "sqlite"))]
mod rows_sqlite;
#[cfg(all(feature = "postgres", unix))]
mod standby;
mod support;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod tampering;
