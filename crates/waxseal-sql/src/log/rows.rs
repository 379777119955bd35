//! What the tables of a log are asked.

use sqlx::{AssertSqlSafe, SqlSafeStr};
use waxseal::audit::{Checkpoint, LogEnd, LogKey, VerifierKey};
use waxseal::{Error, ErrorKind, Result};

use super::{gone, missing};
use crate::link::{Begin, Link, Select, Value, fixed};
use crate::postgres::{PostgresConfig, Server};
use crate::schema;
use crate::store::Store;

/// Records of others that are followed while the row of the log is held.
const NEAR: u64 = 10_000;
/// Rows that one statement inserts: few sizes, so that few statements are prepared.
const TOGETHER: [usize; 4] = [256, 32, 4, 1];
/// The most bytes of a checkpoint, of the edge of a tree and of a record.
const MAX_NOTE: usize = 131_072;
const MAX_EDGE: usize = 65_280;
const MAX_RECORD: usize = 65_535;

const HEAD: Select = Select {
    table: "waxseal_log",
    columns: &["checkpoint", "edge"],
    key: 0,
};
const LEAF: Select = Select {
    table: "waxseal_log_record",
    columns: &["number", "leaf"],
    key: 1,
};
const RECORD: Select = Select {
    table: "waxseal_log_record",
    columns: &["number", "record"],
    key: 1,
};

/// The end of a log, as it is stored.
pub(super) struct Head {
    note: String,
    edge: Vec<u8>,
}

impl Head {
    pub(super) fn checkpoint(&self) -> Result<Checkpoint> {
        Checkpoint::parse(&self.note).map_err(|error| damaged(error.detail().unwrap_or_default()))
    }

    pub(super) fn end(&self, key: &VerifierKey) -> Result<LogEnd> {
        LogEnd::read(&self.note, &self.edge, key)
    }
}

/// What became of records.
pub(super) enum Appended {
    /// They are kept.
    Until(Box<LogEnd>),
    /// Nothing was written: others have written too much to be followed now.
    Behind,
}

fn damaged(detail: &str) -> Error {
    Error::new(ErrorKind::Audit).with_detail(detail.to_owned())
}

/// Opens the database of the log of this origin, and makes its tables if `creates` says so.
pub(super) async fn open(config: PostgresConfig, origin: &str, creates: bool) -> Result<Store<Server>> {
    let (origin, name) = (origin.to_owned(), origin.to_owned());
    Server::open(config, name, move |link| {
        Box::pin(async move {
            match creates {
                true => schema::migrate(link).await,
                false if link.schema_version().await?.is_none() => Err(missing(&origin)),
                false => schema::check(link).await,
            }
        })
    })
    .await
}

/// Makes a log without records, if there is none of this origin.
pub(super) async fn begin(link: &mut dyn Link, origin: &str, end: LogEnd) -> Result<()> {
    let sql = fixed(
        "insert into waxseal_log (origin, size, checkpoint, edge) values ($1, 0, $2, $3) on conflict do nothing",
    );
    let (note, edge) = (end.checkpoint().as_note().as_bytes(), end.edge());
    link.execute(sql, &[origin.into(), note.into(), edge.as_slice().into()])
        .await
        .map(drop)
}

pub(super) async fn head(link: &mut dyn Link, origin: &str) -> Result<Option<Head>> {
    let sql = fixed("select checkpoint, edge from waxseal_log where origin = $1");
    one_head(link, sql, origin).await
}

async fn one_head(link: &mut dyn Link, sql: sqlx::SqlStr, origin: &str) -> Result<Option<Head>> {
    let Some(mut record) = link.row(&HEAD, sql, &[origin.into()]).await? else {
        return Ok(None);
    };
    let note = String::from_utf8(record.bytes("checkpoint", MAX_NOTE)?);
    Ok(Some(Head {
        note: note.map_err(|_| damaged("the checkpoint of the log is no text"))?,
        edge: record.bytes("edge", MAX_EDGE)?,
    }))
}

/// The hashes of the records from one number to below another.
pub(super) async fn leaves(link: &mut dyn Link, origin: &str, first: u64, end: u64) -> Result<Vec<[u8; 32]>> {
    let sql = fixed(
        "select number, leaf from waxseal_log_record where origin = $1 and number >= $2 and number < $3 order by number",
    );
    let values = [origin.into(), number(first).into(), number(end).into()];
    let mut leaves = Vec::new();
    for (at, mut record) in (first..).zip(link.rows(&LEAF, sql, &values).await?) {
        is_next(at, record.count("number")?)?;
        let leaf = <[u8; 32]>::try_from(record.bytes("leaf", 32)?);
        leaves.push(leaf.map_err(|_| record.invalid("leaf", "it has not 32 bytes"))?);
    }
    // What is missing at the end of them. One that is shorter than before is told by whoever follows.
    is_next(end.max(first), first + leaves.len() as u64)?;
    Ok(leaves)
}

/// The records from this number on, `count` at most.
pub(super) async fn records(
    link: &mut dyn Link,
    origin: &str,
    first: u64,
    count: u64,
) -> Result<Vec<Vec<u8>>> {
    let sql = fixed(
        "select number, record from waxseal_log_record where origin = $1 and number >= $2 order by number limit $3",
    );
    let values = [origin.into(), number(first).into(), number(count).into()];
    let mut records = Vec::new();
    for (at, mut record) in (first..).zip(link.rows(&RECORD, sql, &values).await?) {
        is_next(at, record.count("number")?)?;
        records.push(record.bytes("record", MAX_RECORD)?);
    }
    Ok(records)
}

fn is_next(proper: u64, found: u64) -> Result<()> {
    match proper == found {
        true => Ok(()),
        false => Err(damaged(&format!(
            "record {} of the log is missing",
            proper.min(found)
        ))),
    }
}

/// Adds records and the checkpoint that covers them.
pub(super) async fn append(
    link: &mut dyn Link,
    origin: &str,
    known: LogEnd,
    records: &[Vec<u8>],
    key: &LogKey,
    verifier: &VerifierKey,
) -> Result<Appended> {
    link.begin(Begin::Write).await?;
    // Whoever else writes waits here, and then finds what was committed.
    let sql = fixed("select checkpoint, ''::bytea from waxseal_log where origin = $1 for update");
    let head = one_head(link, sql, origin).await?.ok_or_else(|| gone(origin))?;
    let end = if head.note == known.checkpoint().as_note() {
        known
    } else {
        let (newer, size) = (head.checkpoint()?, known.checkpoint().size());
        if newer.size() > size.saturating_add(NEAR) {
            link.rollback().await?;
            return Ok(Appended::Behind);
        }
        let leaves = leaves(link, origin, size, newer.size()).await?;
        known.follow(&leaves, &newer, verifier)?
    };
    let grown = end.add(records, key)?;
    insert(link, origin, end.checkpoint().size(), records).await?;
    let sql = fixed("update waxseal_log set size = $2, checkpoint = $3, edge = $4 where origin = $1");
    let (note, edge) = (grown.checkpoint().as_note().as_bytes(), grown.edge());
    let size = number(grown.checkpoint().size());
    let values = [origin.into(), size.into(), note.into(), edge.as_slice().into()];
    link.execute(sql, &values).await?;
    link.commit().await?;
    Ok(Appended::Until(Box::new(grown)))
}

async fn insert(link: &mut dyn Link, origin: &str, first: u64, records: &[Vec<u8>]) -> Result<()> {
    let (mut at, mut rest) = (first, records);
    for together in TOGETHER {
        let rows: Vec<String> = (0..together)
            .map(|row| format!("($1, ${}, ${}, ${})", row * 3 + 2, row * 3 + 3, row * 3 + 4))
            .collect();
        let sql = format!(
            "insert into waxseal_log_record (origin, number, leaf, record) values {}",
            rows.join(", ")
        );
        while let Some((some, others)) = rest.split_at_checked(together) {
            let leaves: Vec<[u8; 32]> = some.iter().map(|record| LogEnd::leaf(record)).collect();
            let mut values: Vec<Value<'_>> = vec![origin.into()];
            for (record, leaf) in some.iter().zip(&leaves) {
                values.extend([
                    Value::from(number(at)),
                    leaf.as_slice().into(),
                    record.as_slice().into(),
                ]);
                at += 1;
            }
            let inserted = link
                .execute(AssertSqlSafe(sql.clone()).into_sql_str(), &values)
                .await;
            inserted.map_err(|error| match error.kind() {
                ErrorKind::Conflict => {
                    damaged("the log has records behind its checkpoint: somebody has written there, or taken the checkpoint back")
                }
                _ => error,
            })?;
            rest = others;
        }
    }
    Ok(())
}

fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
