//! One connection, and what it takes and returns: the only place where the two databases differ.

#[cfg(feature = "postgres")]
pub(crate) mod postgres;
mod record;
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite;

use std::fmt;

use async_trait::async_trait;
use sqlx::SqlStr;
use waxseal::{Error, ErrorKind, Result};

pub(crate) use record::{Cell, Record, Select, invalid};

/// What a statement is given. The types are those of columns, also of what is absent.
#[derive(Clone, Copy)]
pub(crate) enum Value<'a> {
    Int(Option<i64>),
    Text(Option<&'a str>),
    Bytes(Option<&'a [u8]>),
    /// A column of values, for PostgreSQL alone.
    #[cfg(all(feature = "fleet", feature = "postgres"))]
    Texts(&'a [Option<String>]),
    /// The same.
    #[cfg(all(feature = "fleet", feature = "postgres"))]
    Blobs(&'a [Vec<u8>]),
}

impl From<i64> for Value<'_> {
    fn from(value: i64) -> Self {
        Self::Int(Some(value))
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(value: &'a str) -> Self {
        Self::Text(Some(value))
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(value: &'a [u8]) -> Self {
        Self::Bytes(Some(value))
    }
}

/// What kind of transaction begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    /// Everything that it reads is of one moment.
    Read,
    /// Nobody else writes what it writes.
    Write,
}

/// One connection. After an error it is in no known state, and is not used again.
#[async_trait]
pub(crate) trait Link: Send {
    /// Executes a statement, and returns how many rows it has changed.
    async fn execute(&mut self, sql: SqlStr, values: &[Value<'_>]) -> Result<u64>;

    /// Reads all rows that a statement returns, up to the limits of [`Budget`].
    async fn cells(&mut self, sql: SqlStr, values: &[Value<'_>]) -> Result<Vec<Vec<Cell>>>;

    /// The same, of a table of this crate.
    async fn rows(&mut self, select: &Select, sql: SqlStr, values: &[Value<'_>]) -> Result<Vec<Record>> {
        let rows = self.cells(sql, values).await?.into_iter();
        Ok(rows.map(|cells| Record::new(*select, cells)).collect())
    }

    /// Executes several statements.
    async fn script(&mut self, sql: &'static str) -> Result<()>;

    async fn begin(&mut self, begin: Begin) -> Result<()>;

    /// The database's clock, in microseconds.
    async fn clock(&mut self) -> Result<i64>;

    /// Makes others wait who call this, until the transaction ends.
    async fn lock_schema(&mut self) -> Result<()>;

    /// The version of the tables; `None` if there are none.
    async fn schema_version(&mut self) -> Result<Option<i64>>;

    /// What makes the tables, version by version from 1.
    fn migrations(&self) -> &'static [&'static str];

    /// A statement that inserts a provisioned row: `$1` is the ring, `$2` the revision that it follows, `COLUMNS` and `VALUES` the others, of
    /// which `$3` is the id and `$5` the scope. It inserts nothing if the ring has another revision, the scope a record, or a record the id.
    fn provision(&self) -> &'static str;

    /// What a statement that selects rows says at its end so that they are its own, and that it passes over those of others.
    #[cfg(feature = "fleet")]
    fn skip_locked(&self) -> &'static str;

    async fn is_alive(&mut self) -> bool;
}

impl dyn Link + '_ {
    pub(crate) async fn commit(&mut self) -> Result<()> {
        self.execute(fixed("commit"), &[]).await.map(drop)
    }

    pub(crate) async fn rollback(&mut self) -> Result<()> {
        self.execute(fixed("rollback"), &[]).await.map(drop)
    }

    /// The only row of a statement, if there is one.
    pub(crate) async fn row(
        &mut self,
        select: &Select,
        sql: SqlStr,
        values: &[Value<'_>],
    ) -> Result<Option<Record>> {
        Ok(self.rows(select, sql, values).await?.pop())
    }
}

pub(crate) fn fixed(sql: &'static str) -> SqlStr {
    sqlx::SqlSafeStr::into_sql_str(sql)
}

/// What one call reads at most, whatever the database holds.
#[derive(Default)]
pub(crate) struct Budget {
    rows: usize,
    bytes: usize,
}

impl Budget {
    const ROWS: usize = 200_000;
    const BYTES: usize = 256 * 1024 * 1024;

    pub(crate) fn spend(&mut self, row: &[Cell]) -> Result<()> {
        self.rows += 1;
        self.bytes += row.iter().map(Cell::len).sum::<usize>();
        if self.rows > Self::ROWS {
            return Err(Error::new(ErrorKind::OverLimit {
                limit: "rows of one call",
                max: Self::ROWS as u64,
            }));
        }
        if self.bytes > Self::BYTES {
            return Err(Error::new(ErrorKind::OverLimit {
                limit: "bytes of one call",
                max: Self::BYTES as u64,
            }));
        }
        Ok(())
    }
}

/// What a database said, without values: they may be context values.
#[derive(Debug)]
pub(crate) struct Said {
    code: String,
    message: String,
}

impl Said {
    pub(crate) fn new(error: &dyn sqlx::error::DatabaseError) -> Self {
        Self {
            code: error.code().unwrap_or_default().into_owned(),
            message: error.message().to_owned(),
        }
    }

    #[cfg(any(feature = "fleet", feature = "postgres"))]
    pub(crate) fn code(&self) -> &str {
        &self.code
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (code {})", self.message, self.code)
    }
}

impl std::error::Error for Said {}

/// The errors that both databases share.
pub(crate) fn general_error(error: sqlx::Error) -> Error {
    match error {
        // So comes what rustls does not accept.
        sqlx::Error::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => untrusted(error),
        sqlx::Error::Io(error) => Error::new(ErrorKind::Unavailable)
            .with_detail("the connection to the database failed")
            .with_source(error),
        sqlx::Error::WorkerCrashed => Error::new(ErrorKind::Unavailable)
            .with_retryable(false)
            .with_detail("the thread of the connection has ended"),
        sqlx::Error::Tls(error) => untrusted(error),
        // The texts of others may show a part of the configuration or of a value.
        sqlx::Error::Protocol(_) => {
            Error::new(ErrorKind::Unavailable).with_detail("the other side does not speak the protocol")
        }
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => {
            Error::new(ErrorKind::InventoryInvalid).with_detail("a column has a type that it cannot have")
        }
        _ => Error::new(ErrorKind::Store).with_detail("the database library failed"),
    }
}

fn untrusted(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(ErrorKind::Unavailable)
        .with_retryable(false)
        .with_detail(
            "the database speaks no TLS, or its certificate is not trusted; a private authority is named by sslrootcert",
        )
        .with_source(error)
}
