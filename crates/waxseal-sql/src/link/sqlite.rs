//! A connection to SQLite.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::TryStreamExt;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Column, Connection, Row, SqlStr, Sqlite, SqliteConnection, TypeInfo, ValueRef};
use waxseal::ring::Time;
use waxseal::runtime::Runtime;
use waxseal::{Error, ErrorKind, Result};

use super::{Begin, Budget, Cell, Link, Said, Select, Value, fixed, general_error};
use crate::schema;

/// `main` of `SQLITE_*` (<https://www.sqlite.org/rescode.html>).
mod code {
    pub(super) const PERM: i32 = 3;
    pub(super) const BUSY: i32 = 5;
    pub(super) const LOCKED: i32 = 6;
    pub(super) const READONLY: i32 = 8;
    pub(super) const INTERRUPT: i32 = 9;
    pub(super) const IOERR: i32 = 10;
    pub(super) const CORRUPT: i32 = 11;
    pub(super) const FULL: i32 = 13;
    pub(super) const CANTOPEN: i32 = 14;
    pub(super) const AUTH: i32 = 23;
    pub(super) const NOTADB: i32 = 26;
    /// Extended: a unique index, a primary key.
    pub(super) const UNIQUE: [i32; 2] = [2067, 1555];
}

#[derive(Debug)]
pub(crate) struct SqliteLink {
    connection: SqliteConnection,
    /// A statement that still runs when this is gone is ended.
    _alive: Arc<()>,
    runtime: Arc<dyn Runtime>,
    /// Which file it is: the path may lead to another one meanwhile.
    pub(crate) file: (u64, u64),
}

/// After so many steps of a statement SQLite asks whether somebody still waits for it: some milliseconds.
const STEPS: i32 = 100_000;

impl SqliteLink {
    pub(crate) async fn new(
        mut connection: SqliteConnection,
        runtime: Arc<dyn Runtime>,
        file: (u64, u64),
    ) -> Result<Self> {
        let alive = Arc::new(());
        let awaited = Arc::downgrade(&alive);
        let mut handle = connection.lock_handle().await.map_err(fault)?;
        handle.set_progress_handler(STEPS, move || awaited.strong_count() > 0);
        drop(handle);
        Ok(Self {
            connection,
            _alive: alive,
            runtime,
            file,
        })
    }
}

fn bound<'q>(sql: SqlStr, values: &[Value<'_>]) -> sqlx::query::Query<'q, Sqlite, SqliteArguments> {
    let mut query = sqlx::query::<Sqlite>(sql);
    for value in values {
        query = match *value {
            Value::Int(value) => query.bind(value),
            Value::Text(value) => query.bind(value.map(str::to_owned)),
            Value::Bytes(value) => query.bind(value.map(<[u8]>::to_vec)),
            // No statement for SQLite has one.
            #[cfg(all(feature = "fleet", feature = "postgres"))]
            Value::Texts(_) | Value::Blobs(_) => query.bind(None::<i64>),
        };
    }
    query
}

fn cells(row: &SqliteRow) -> Result<Vec<Cell>> {
    row.columns()
        .iter()
        .map(|column| {
            let index = column.ordinal();
            let value = row.try_get_raw(index).map_err(fault)?;
            if value.is_null() {
                return Ok(Cell::Null);
            }
            let kind = value.type_info();
            let cell = match kind.name() {
                "INTEGER" => row.try_get_unchecked(index).map(Cell::Int),
                "TEXT" => row.try_get_unchecked(index).map(Cell::Text),
                "BLOB" => row.try_get_unchecked(index).map(Cell::Bytes),
                _ => Ok(Cell::Other),
            };
            Ok(cell.unwrap_or(Cell::Other))
        })
        .collect()
}

#[async_trait]
impl Link for SqliteLink {
    async fn execute(&mut self, sql: SqlStr, values: &[Value<'_>]) -> Result<u64> {
        let done = bound(sql, values).execute(&mut self.connection).await;
        Ok(done.map_err(fault)?.rows_affected())
    }

    async fn cells(&mut self, sql: SqlStr, values: &[Value<'_>]) -> Result<Vec<Vec<Cell>>> {
        let (mut budget, mut read) = (Budget::default(), Vec::new());
        let mut rows = bound(sql, values).fetch(&mut self.connection);
        while let Some(row) = rows.try_next().await.map_err(fault)? {
            let cells = cells(&row)?;
            budget.spend(&cells)?;
            read.push(cells);
        }
        Ok(read)
    }

    async fn script(&mut self, sql: &'static str) -> Result<()> {
        let done = sqlx::raw_sql(sql).execute(&mut self.connection).await;
        done.map(drop).map_err(fault)
    }

    async fn begin(&mut self, begin: Begin) -> Result<()> {
        // One that begins to write at once never finds, after it has read, that another was faster.
        let sql = match begin {
            Begin::Read => "begin",
            Begin::Write => "begin immediate",
        };
        self.execute(fixed(sql), &[]).await.map(drop)
    }

    async fn clock(&mut self) -> Result<i64> {
        Ok(Time::try_from(self.runtime.wall_clock())?.as_microseconds())
    }

    async fn lock_schema(&mut self) -> Result<()> {
        // `begin immediate` has.
        Ok(())
    }

    async fn schema_version(&mut self) -> Result<Option<i64>> {
        let select = Select {
            table: "sqlite_schema",
            columns: &["type"],
            key: 0,
        };
        let sql = fixed("select type from sqlite_schema where name = 'waxseal_schema'");
        let table = (self as &mut dyn Link).row(&select, sql, &[]).await?;
        match table {
            Some(_) => schema::version(self).await,
            None => Ok(None),
        }
    }

    fn migrations(&self) -> &'static [&'static str] {
        &[
            include_str!("../../migrations/sqlite/1_inventory.sql"),
            include_str!("../../migrations/sqlite/2_jobs.sql"),
        ]
    }

    fn provision(&self) -> &'static str {
        // One statement is one transaction, and nobody else writes meanwhile.
        "insert into waxseal_provisioned (ring, follows, COLUMNS) select $1, $2, VALUES \
        where exists (select 1 from waxseal_ring where ring = $1 and revision = $2) \
        and not exists (select 1 from waxseal_row where ring = $1 and scope = $5) \
        and not exists (select 1 from waxseal_row where ring = $1 and id = $3)"
    }

    #[cfg(feature = "fleet")]
    fn skip_locked(&self) -> &'static str {
        // Nobody else writes meanwhile.
        ""
    }

    async fn is_alive(&mut self) -> bool {
        self.connection.ping().await.is_ok()
    }
}

/// What went wrong, by code.
pub(crate) fn fault(error: sqlx::Error) -> Error {
    let Some(said) = error.as_database_error() else {
        return general_error(error);
    };
    let extended: i32 = said.code().and_then(|code| code.parse().ok()).unwrap_or_default();
    let said = Said::new(said);
    let of = |kind, detail: &'static str| Error::new(kind).with_detail(detail);
    let fault = match extended & 0xff {
        _ if code::UNIQUE.contains(&extended) => of(
            ErrorKind::Conflict,
            "there would be two active keys in one scope and slot",
        ),
        code::BUSY | code::LOCKED => of(
            ErrorKind::TimedOut,
            "another process has locked the file for too long",
        ),
        code::INTERRUPT => of(ErrorKind::TimedOut, "the statement took too long"),
        code::READONLY => of(
            ErrorKind::Denied,
            "the file, or its folder, may not be written by this account",
        ),
        code::PERM | code::AUTH => of(ErrorKind::Denied, "this account may not do that with the file"),
        code::CANTOPEN => of(
            ErrorKind::Unavailable,
            "the file, or the journal beside it, could not be opened",
        ),
        code::CORRUPT | code::NOTADB => of(
            ErrorKind::InventoryInvalid,
            "the file is damaged, or no SQLite database; restore it from a backup",
        ),
        code::FULL => of(ErrorKind::Store, "there is no room on the disk"),
        code::IOERR => of(ErrorKind::Store, "reading or writing the file failed"),
        _ => of(ErrorKind::Store, "SQLite refused a statement"),
    };
    fault.with_source(said)
}
