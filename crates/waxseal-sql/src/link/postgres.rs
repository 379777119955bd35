//! A connection to PostgreSQL.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::TryStreamExt;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{Column, Connection, PgConnection, Postgres, Row, SqlStr, TypeInfo, ValueRef};
use waxseal::{Error, ErrorKind, Result};

use super::{Begin, Budget, Cell, Link, Said, Select, Value, fixed, general_error};
use crate::schema;

/// The advisory lock of whoever makes tables: "waxs" and "schm".
const SCHEMA_LOCK: i64 = 0x7761_7873_7363_686d;

#[derive(Debug)]
pub(crate) struct PgLink(PgConnection);

/// What a server says of itself and of a session.
pub(crate) struct Session {
    /// In milliseconds.
    pub(crate) lock_timeout: i64,
    pub(crate) is_standby: bool,
    /// How long ago the last transaction that a standby has replayed was committed, if it knows.
    pub(crate) behind: Option<Duration>,
}

impl PgLink {
    pub(crate) const fn new(connection: PgConnection) -> Self {
        Self(connection)
    }

    pub(crate) async fn session(&mut self) -> Result<Session> {
        let select = Select {
            table: "pg_settings",
            columns: &["lock_timeout", "is_standby", "behind"],
            key: 0,
        };
        let sql = fixed(
            "select setting::bigint, pg_is_in_recovery(), \
            (extract(epoch from clock_timestamp() - pg_last_xact_replay_timestamp()) * 1000000)::bigint \
            from pg_settings where name = 'lock_timeout'",
        );
        let record = (self as &mut dyn Link).row(&select, sql, &[]).await?;
        let record = record.ok_or_else(|| {
            Error::new(ErrorKind::Store).with_detail("the database did not say how it is set up")
        })?;
        Ok(Session {
            lock_timeout: record.int("lock_timeout")?,
            is_standby: record.int("is_standby")? != 0,
            behind: record
                .optional_int("behind")?
                // Less than nothing: the clock here is behind that of the primary by that much or more.
                .map(|behind| Duration::from_micros(behind.unsigned_abs())),
        })
    }
}

fn bound<'q>(sql: SqlStr, values: &[Value<'_>]) -> sqlx::query::Query<'q, Postgres, PgArguments> {
    let mut query = sqlx::query::<Postgres>(sql);
    for value in values {
        query = match *value {
            Value::Int(value) => query.bind(value),
            Value::Text(value) => query.bind(value.map(str::to_owned)),
            Value::Bytes(value) => query.bind(value.map(<[u8]>::to_vec)),
            #[cfg(feature = "fleet")]
            Value::Texts(values) => query.bind(values.to_vec()),
            #[cfg(feature = "fleet")]
            Value::Blobs(values) => query.bind(values.to_vec()),
        };
    }
    query
}

fn cells(row: &PgRow) -> Result<Vec<Cell>> {
    row.columns()
        .iter()
        .map(|column| {
            let index = column.ordinal();
            if row.try_get_raw(index).map_err(fault)?.is_null() {
                return Ok(Cell::Null);
            }
            let cell = match column.type_info().name() {
                "INT8" => row.try_get_unchecked(index).map(Cell::Int),
                "BOOL" => row
                    .try_get_unchecked(index)
                    .map(|value: bool| Cell::Int(value.into())),
                "TEXT" => row.try_get_unchecked(index).map(Cell::Text),
                "BYTEA" => row.try_get_unchecked(index).map(Cell::Bytes),
                _ => Ok(Cell::Other),
            };
            Ok(cell.unwrap_or(Cell::Other))
        })
        .collect()
}

#[async_trait]
impl Link for PgLink {
    async fn execute(&mut self, sql: SqlStr, values: &[Value<'_>]) -> Result<u64> {
        let done = bound(sql, values).execute(&mut self.0).await;
        Ok(done.map_err(fault)?.rows_affected())
    }

    async fn cells(&mut self, sql: SqlStr, values: &[Value<'_>]) -> Result<Vec<Vec<Cell>>> {
        let (mut budget, mut read) = (Budget::default(), Vec::new());
        let mut rows = bound(sql, values).fetch(&mut self.0);
        while let Some(row) = rows.try_next().await.map_err(fault)? {
            let cells = cells(&row)?;
            budget.spend(&cells)?;
            read.push(cells);
        }
        Ok(read)
    }

    async fn script(&mut self, sql: &'static str) -> Result<()> {
        let done = sqlx::raw_sql(sql).execute(&mut self.0).await;
        done.map(drop).map_err(fault)
    }

    async fn begin(&mut self, begin: Begin) -> Result<()> {
        // A writer needs no stricter isolation: its first statement locks the row of the ring, and compares the revision as the last
        // writer has left it.
        let sql = match begin {
            Begin::Read => "begin isolation level repeatable read read only",
            // What is committed lasts, also if the server is told not to wait for the disk.
            Begin::Write => {
                "begin isolation level read committed read write; \
                select set_config('synchronous_commit', 'on', true) where current_setting('synchronous_commit') = 'off'"
            }
        };
        self.script(sql).await
    }

    async fn clock(&mut self) -> Result<i64> {
        let select = Select {
            table: "clock_timestamp()",
            columns: &["now"],
            key: 0,
        };
        let sql = fixed("select (extract(epoch from clock_timestamp()) * 1000000)::bigint");
        let record = (self as &mut dyn Link).row(&select, sql, &[]).await?;
        record
            .ok_or_else(|| {
                Error::new(ErrorKind::Store).with_detail("the database did not say what time it is")
            })?
            .int("now")
    }

    async fn lock_schema(&mut self) -> Result<()> {
        let sql = fixed("select pg_advisory_xact_lock($1)");
        self.execute(sql, &[SCHEMA_LOCK.into()]).await.map(drop)
    }

    async fn schema_version(&mut self) -> Result<Option<i64>> {
        let select = Select {
            table: "pg_class",
            columns: &["exists"],
            key: 0,
        };
        // Not `to_regclass`: that goes by what the session remembers, also after it has waited for a lock.
        let sql = fixed(
            "select exists (select from pg_catalog.pg_class where relname = 'waxseal_schema' and pg_table_is_visible(oid))",
        );
        let record = (self as &mut dyn Link).row(&select, sql, &[]).await?;
        match record.map(|record| record.int("exists")).transpose()? {
            Some(1) => schema::version(self).await,
            _ => Ok(None),
        }
    }

    fn migrations(&self) -> &'static [&'static str] {
        &[
            include_str!("../../migrations/postgres/1_inventory.sql"),
            include_str!("../../migrations/postgres/2_audit_log.sql"),
            include_str!("../../migrations/postgres/3_jobs.sql"),
        ]
    }

    fn provision(&self) -> &'static str {
        // A trigger looks, which may lock what the role of a reader may not.
        "insert into waxseal_provisioned (ring, follows, COLUMNS) values ($1, $2, VALUES)"
    }

    #[cfg(feature = "fleet")]
    fn skip_locked(&self) -> &'static str {
        "for update skip locked"
    }

    async fn is_alive(&mut self) -> bool {
        self.0.ping().await.is_ok()
    }
}

/// What went wrong, by code (<https://www.postgresql.org/docs/current/errcodes-appendix.html>).
pub(crate) fn fault(error: sqlx::Error) -> Error {
    let Some(said) = error.as_database_error() else {
        return general_error(error);
    };
    let said = Said::new(said);
    let of = |kind, detail: &'static str| Error::new(kind).with_detail(detail);
    let fault = match said.code() {
        "23505" => of(
            ErrorKind::Conflict,
            "there would be two active keys in one scope and slot",
        ),
        "42501" => of(
            ErrorKind::Denied,
            "the role may not do that; grant it the right, or take another role",
        ),
        "25006" => of(
            ErrorKind::Denied,
            "the database can only be read: it is a standby, or the role is told to only read",
        ),
        code if code.starts_with("28") => of(
            ErrorKind::Unauthenticated,
            "the database did not accept the role, its password or where the connection comes from",
        ),
        // Canceled by statement_timeout; lock_timeout; idle_in_transaction_session_timeout.
        "57014" | "55P03" | "25P03" => of(
            ErrorKind::TimedOut,
            "the statement took too long, or waited for another process too long",
        ),
        "40001" | "40P01" => of(
            ErrorKind::Unavailable,
            "the transaction was ended in favor of another one",
        ),
        // An unsupported parameter of the start; prepared statements that another session has.
        "08P01" | "26000" | "42P05" => of(
            ErrorKind::Configuration,
            "the server does not keep a session: connections through a pooler such as pgbouncer are not supported; connect to the server itself",
        ),
        "3D000" => of(
            ErrorKind::Configuration,
            "there is no such database; create it, or correct the URL",
        ),
        "42P01" | "42703" => of(
            ErrorKind::Configuration,
            "the tables of the inventory are not there, or are others; restore an export, or make a ring there",
        ),
        // Connections; too many connections; the server stops or starts.
        code if code.starts_with("08") || code.starts_with("57P") || code == "53300" => {
            of(ErrorKind::Unavailable, "the database takes no connection now")
        }
        code if code.starts_with("53") => of(ErrorKind::Store, "the database lacks room or memory"),
        code if code.starts_with("XX") => {
            of(ErrorKind::InventoryInvalid, "the database reports damaged data")
        }
        _ => of(ErrorKind::Store, "the database refused a statement"),
    };
    fault.with_source(said)
}
