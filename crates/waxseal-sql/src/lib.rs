#![cfg_attr(docsrs, feature(doc_cfg))]
//! SQLite and PostgreSQL for [waxseal](https://docs.rs/waxseal): where a key ring keeps its inventory, and processes an audit log.
//!
//! ```
//! # #[cfg(feature = "sqlite")]
//! # pollster::block_on(async {
//! use waxseal::ring::Inventory;
//! use waxseal_sql::SqliteInventory;
//!
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("ring.db");
//! let inventory = SqliteInventory::create(path).await?;
//! assert_eq!(inventory.revision().await?, 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```
//!
//! # Which database
//! | | `SqliteInventory` | `PostgresInventory` |
//! |---|---|---|
//! | feature | `sqlite` (default) | `postgres` |
//! | for | processes of one machine | processes of several machines |
//! | rings | one in a file | several in a database, each with a name |
//! | who may do what | whoever may write the file may write all of it | roles: a reader writes heartbeats only |
//! | clock | the machine's | the server's |
//!
//! A database is believed nothing: the ring verifies what it reads. It can delay, delete and replay, so keep backups and a newer mark.
//!
//! With the feature `fleet`, `fleet::Table` describes a table of an application, and `PostgresRows` and `SqliteRows` re-wrap its rows.
//!
//! # Calls
//! Every call is bounded (10 seconds by default), whatever the server does, and may come from any runtime, or from a thread without
//! one: the I/O is done on a thread of the inventory's own. A process that was forked opens its own inventory. Nothing is printed that
//! was stored, nor any password.
//!
//! # Tables
//! All are named `waxseal_…`. `waxseal_schema` says which version they have; `create` brings them to the newest. Readers of the command line see
//! ids and scopes as text, times in microseconds after 1970, and signed records as JSON in bytes.

#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod delegate;
#[cfg(all(feature = "fleet", any(feature = "postgres", feature = "sqlite")))]
pub mod fleet;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod link;
#[cfg(all(feature = "audit", feature = "postgres"))]
pub mod log;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod schema;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod store;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod tables;

#[cfg(all(feature = "fleet", feature = "postgres"))]
pub use fleet::{PostgresLedger, PostgresRows};
#[cfg(all(feature = "fleet", feature = "sqlite"))]
pub use fleet::{SqliteLedger, SqliteRows};
#[cfg(all(feature = "audit", feature = "postgres"))]
pub use log::{PostgresLog, PostgresLogReader};
#[cfg(feature = "postgres")]
pub use postgres::{PostgresConfig, PostgresInventory};
#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteConfig, SqliteInventory};

#[cfg(all(doctest, feature = "sqlite"))]
#[doc = include_str!("../README.md")]
struct Readme;
