#![cfg_attr(docsrs, feature(doc_cfg))]
//! SQLite and PostgreSQL for [waxseal](https://docs.rs/waxseal): where a key ring keeps its inventory.

mod delegate;
mod door;
mod kept;
mod link;
mod schema;
#[cfg(feature = "sqlite")]
mod sqlite;
mod store;
mod tables;

#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteConfig, SqliteInventory};
