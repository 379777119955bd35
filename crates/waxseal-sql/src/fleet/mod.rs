//! Re-wraps the rows of any table, in place.
//!
//! [`PostgresRows`] and [`SqliteRows`] are stores for a [`RewrapJob`](waxseal::fleet::RewrapJob): they read the
//! fronts of a column of envelopes in the order of the key, and replace fronts in the database.
//!
//! ```
//! # #[cfg(feature = "sqlite")]
//! # pollster::block_on(async {
//! # use sqlx::{ConnectOptions, Connection, Executor};
//! # use waxseal::{EncryptionContext, Kek, Sealer, backend::local::LocalKey};
//! use std::sync::Arc;
//! use waxseal::fleet::RewrapJob;
//! use waxseal_sql::SqliteRows;
//! use waxseal_sql::fleet::Table;
//!
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("app.db");
//! # let (old, new) = (LocalKey::new(&Kek::generate()?), LocalKey::new(&Kek::generate()?));
//! # let sealed = Sealer::new(old.clone()).seal(b"alice@example.com", &EncryptionContext::new([("tenant", "7")])?).await?;
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! #     let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).create_if_missing(true);
//! #     let mut connection = options.connect().await?;
//! #     connection.execute("create table users (id integer primary key, tenant integer not null, email blob)").await?;
//! #     sqlx::query("insert into users values (1, 7, $1), (2, 7, null)").bind(sealed).execute(&mut connection).await?;
//! #     connection.close().await
//! # })?;
//! // create table users (id integer primary key, tenant integer not null, email blob)
//! let users = Table::new("users", "email").context("tenant", "{tenant}");
//! let rows = SqliteRows::open(path, users).await?;
//!
//! let sealer = Sealer::builder().wrap_with(new).open_with(old).build()?;
//! let report = RewrapJob::new(sealer, Arc::new(rows)).run().await?;
//! assert_eq!((report.counts.examined, report.counts.moved()), (1, 1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```
//!
//! # Items
//! Each row whose column is not `NULL` is an item. Its id is the key: of one column, the value itself, with `%25` for `%` in a text; of several, with commas
//! between them, and `%2C` for a comma in a text. Bytes are written in hexadecimal digits. (A key of SQLite that is not of the class that its column is declared
//! for has `%i`, `%t` or `%b` before it: integer, text, bytes.) The order of items is that of the index of the key, in the collations of its columns; each page
//! is a walk through that index from the last key on, whatever the size of the table.
//!
//! # What is read, and what is sent
//! The first 4,096 bytes of each value are read, and more if the header needs it. For a replacement the old and the new bytes before the body are sent, and the
//! database joins the body to them: no body comes to this process. In PostgreSQL, `alter table … alter column … set storage external` lets it cut values out
//! without decompressing them: envelopes cannot be compressed anyway. SQLite has no way to read the beginning of a value that SQL can express, and reads
//! it whole, in its own memory.
//!
//! # When a row is replaced
//! *PostgreSQL*: if it is the same version of the row as was read (`xmin` and `ctid`, which each `UPDATE` changes, also one that changes nothing), and the value
//! has the same length and the same bytes before its body. The last two are for a server that has taken over and lacks the last changes: there a
//! version can come again. So a change of any column of the row makes the job read it again.
//!
//! *SQLite* has no versions. A row is replaced if all that was read of it, its header with the random nonce and the commitment of its data key among it, and the
//! length of the value are the same. Bytes behind that are not compared, and cannot be lost: they stay as they are in the row. A value that was changed and
//! changed back to the same bytes is the value that was read, and is replaced.
//!
//! All rows of a batch are replaced in one transaction, and in PostgreSQL by one statement, which locks them in the order of their keys. If a constraint or a
//! trigger refuses one, or somebody holds it, they are replaced one by one, so that it alone is a fault.
//!
//! # Rights
//! In PostgreSQL, the right to read the columns of the key, of the context and of envelopes, and of `xmin` and `ctid`, and to write the column of envelopes and
//! those of [`kek_id`](Table::kek_id) and [`wrapped_at`](Table::wrapped_at):
//!
//! ```sql
//! grant select (id, tenant, email, xmin, ctid), update (email) on users to rewrapper;
//! ```
//!
//! Row security must not hide rows. Triggers of the table run for each row as for any `UPDATE`.

mod cell;
mod fault;
mod key;
mod ledger;
#[cfg(feature = "postgres")]
mod postgres;
mod rows;
mod shape;
#[cfg(feature = "sqlite")]
mod sqlite;
mod stores;
mod table;
mod template;

pub use ledger::JobState;
#[cfg(feature = "postgres")]
pub use ledger::PostgresLedger;
#[cfg(feature = "sqlite")]
pub use ledger::SqliteLedger;
#[cfg(feature = "postgres")]
pub use stores::PostgresRows;
#[cfg(feature = "sqlite")]
pub use stores::SqliteRows;
pub use table::Table;
