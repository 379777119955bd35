//! Changes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sqlx::{AssertSqlSafe, SqlSafeStr};
use waxseal::envelope::KekRef;
use waxseal::ring::inventory::{Change, Row, Signed, Snapshot};
use waxseal::ring::{State, Time};
use waxseal::{Error, ErrorKind, Result};

use super::provision::{self, take};
use super::{parameters, revision};
use crate::link::{Begin, Link, Value, fixed};

/// For how long heartbeats are kept at least.
const KEPT: Duration = Duration::from_secs(30 * 86_400);

/// How far a heartbeat may be ahead of the clock: a server that takes the place of another has its own.
const AHEAD: Duration = Duration::from_secs(3600);

/// What became of a change that the database took.
pub(crate) enum Outcome {
    Committed,
    /// Nothing was changed, for this reason.
    Conflict(String),
}

impl Outcome {
    pub(crate) fn into_result(self) -> Result<()> {
        match self {
            Self::Committed => Ok(()),
            Self::Conflict(why) => Err(Error::new(ErrorKind::Conflict).with_detail(why)),
        }
    }
}

/// Makes a change, if the ring has the revision that it follows.
pub(crate) async fn commit(link: &mut dyn Link, ring: &str, change: &Change) -> Result<Outcome> {
    link.begin(Begin::Write).await?;
    // First of all, so that whoever commits at the same time waits here: on PostgreSQL the row is locked by this statement, which then
    // compares the revision that the other has left. On SQLite the whole file is locked already.
    if !put_head(link, ring, change).await? {
        let revision = revision(link, ring).await?;
        link.rollback().await?;
        return Ok(Outcome::Conflict(format!(
            "the change follows revision {}, and the ring has revision {revision}",
            change.follows
        )));
    }
    if let Some(conflict) = take(link, ring, &change.take, &change.put).await? {
        return Ok(conflict);
    }
    for id in &change.delete {
        let sql = fixed("delete from waxseal_row where ring = $1 and id = $2");
        link.execute(sql, &[ring.into(), id.to_string().as_str().into()])
            .await?;
    }
    if let Some(conflict) = put_rows(link, ring, &change.put).await? {
        return Ok(conflict);
    }
    put_nodes(link, ring, &change.nodes).await?;
    if let Some(succession) = &change.succession {
        put_succession(link, ring, succession).await?;
    }
    let clock = link.clock().await?;
    let kept = i64::try_from(KEPT.as_micros()).unwrap_or(i64::MAX);
    let sql = fixed("delete from waxseal_heartbeat where ring = $1 and written < $2");
    link.execute(sql, &[ring.into(), clock.saturating_sub(kept).into()])
        .await?;
    // Any reader can write one of the future, which would never be over.
    let ahead = i64::try_from(AHEAD.as_micros()).unwrap_or(i64::MAX);
    let sql = fixed("delete from waxseal_heartbeat where ring = $1 and written > $2");
    link.execute(sql, &[ring.into(), clock.saturating_add(ahead).into()])
        .await?;
    link.commit().await?;
    Ok(Outcome::Committed)
}

/// Fills an empty inventory.
pub(crate) async fn restore(link: &mut dyn Link, ring: &str, whole: &Snapshot) -> Result<Outcome> {
    let Some(head) = whole.head.clone() else {
        return Err(Error::new(ErrorKind::InvalidArgument));
    };
    let mut change = Change::new(0, head);
    change.settings.clone_from(&whole.settings);
    link.begin(Begin::Write).await?;
    if !put_head(link, ring, &change).await? {
        link.rollback().await?;
        return Ok(Outcome::Conflict("the inventory holds a ring already".to_owned()));
    }
    let revision = i64::try_from(whole.revision).unwrap_or(i64::MAX);
    let sql = fixed("update waxseal_ring set revision = $2 where ring = $1");
    link.execute(sql, &[ring.into(), revision.into()]).await?;
    if let Some(conflict) = put_rows(link, ring, &whole.rows).await? {
        return Ok(conflict);
    }
    put_nodes(link, ring, &whole.nodes).await?;
    if let Some(conflict) = provision::restore(link, ring, revision, &whole.provisioned).await? {
        return Ok(conflict);
    }
    for succession in &whole.successions {
        put_succession(link, ring, succession).await?;
    }
    link.commit().await?;
    Ok(Outcome::Committed)
}

/// How many rows one statement writes, where there are as many: an import goes to another machine in a thousand statements instead of
/// fifty thousand.
const BATCH: usize = 50;

/// Writes rows in this order. If the unique index refuses one, the transaction is rolled back.
async fn put_rows(link: &mut dyn Link, ring: &str, rows: &[Row]) -> Result<Option<Outcome>> {
    for batch in rows.chunks(BATCH) {
        let ids: BTreeSet<_> = batch.iter().map(|row| row.id).collect();
        // No statement may write a row twice.
        let size = if ids.len() == BATCH { BATCH } else { 1 };
        for part in batch.chunks(size) {
            match put(link, ring, part).await {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Conflict => {
                    link.rollback().await?;
                    return Ok(Some(Outcome::Conflict(
                        "there would be two active keys in one scope and slot".to_owned(),
                    )));
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(None)
}

/// `false` if the ring has another revision.
async fn put_head(link: &mut dyn Link, ring: &str, change: &Change) -> Result<bool> {
    let settings = change.settings.as_ref();
    let follows = i64::try_from(change.follows).unwrap_or(i64::MAX);
    let values = [
        ring.into(),
        follows.into(),
        change.head.body.as_slice().into(),
        change.head.signer.as_slice().into(),
        change.head.signature.as_slice().into(),
        Value::Bytes(settings.map(|signed| signed.body.as_slice())),
        Value::Bytes(settings.map(|signed| signed.signer.as_slice())),
        Value::Bytes(settings.map(|signed| signed.signature.as_slice())),
    ];
    let sql = if change.follows == 0 {
        fixed(
            "insert into waxseal_ring (ring, revision, head_body, head_signer, head_signature, \
            settings_body, settings_signer, settings_signature) values ($1, $2 + 1, $3, $4, $5, $6, $7, $8) \
            on conflict (ring) do nothing",
        )
    } else {
        fixed(
            "update waxseal_ring set revision = $2 + 1, head_body = $3, head_signer = $4, head_signature = $5, \
            settings_body = coalesce($6, settings_body), settings_signer = coalesce($7, settings_signer), \
            settings_signature = coalesce($8, settings_signature) \
            where ring = $1 and revision = $2",
        )
    };
    Ok(link.execute(sql, &values).await? == 1)
}

/// Writes these rows, in order, by one statement: both databases check the unique index after each row.
async fn put(link: &mut dyn Link, ring: &str, rows: &[Row]) -> Result<()> {
    const COUNT: usize = 13;
    let places: Vec<_> = (0..rows.len())
        .map(|row| format!("($1, {})", parameters(2 + row * COUNT, COUNT)))
        .collect();
    let sql = format!(
        "insert into waxseal_row (ring, {COLUMNS}) values {} \
        on conflict (ring, id) do update set kind = excluded.kind, scope = excluded.scope, slot = excluded.slot, \
        state = excluded.state, revision = excluded.revision, kek_provider = excluded.kek_provider, \
        kek_id = excluded.kek_id, kek_version = excluded.kek_version, due = excluded.due, body = excluded.body, \
        signer = excluded.signer, signature = excluded.signature",
        places.join(", ")
    );
    let ids: Vec<_> = rows.iter().map(|row| row.id.to_string()).collect();
    let mut values: Vec<Value<'_>> = vec![ring.into()];
    for (row, id) in rows.iter().zip(&ids) {
        values.extend(self::values(row, id));
    }
    let sql = AssertSqlSafe(sql).into_sql_str();
    link.execute(sql, &values).await.map(drop)
}

/// The columns of a row.
pub(super) const COLUMNS: &str = "id, kind, scope, slot, state, revision, kek_provider, kek_id, kek_version, due, \
    body, signer, signature";

/// What stands in the columns of a row with this id.
pub(super) fn values<'r>(row: &'r Row, id: &'r str) -> [Value<'r>; 13] {
    let kek = row.kek.as_ref();
    [
        id.into(),
        row.kind.name().into(),
        row.scope.as_str().into(),
        row.slot.as_str().into(),
        Value::Text(row.state.map(State::name)),
        i64::try_from(row.revision).unwrap_or(i64::MAX).into(),
        Value::Text(kek.map(KekRef::provider)),
        Value::Text(kek.map(KekRef::id)),
        Value::Text(kek.map(KekRef::version)),
        Value::Int(row.due.map(Time::as_microseconds)),
        row.signed.body.as_slice().into(),
        row.signed.signer.as_slice().into(),
        row.signed.signature.as_slice().into(),
    ]
}

/// Writes the nodes that have a body, and deletes the others. A commit of many rows changes about as many nodes, and each statement is a round trip.
async fn put_nodes(link: &mut dyn Link, ring: &str, nodes: &BTreeMap<String, Vec<u8>>) -> Result<()> {
    let (gone, there): (Vec<_>, Vec<_>) = nodes.iter().partition(|(_, body)| body.is_empty());
    for (path, _) in gone {
        let sql = fixed("delete from waxseal_node where ring = $1 and path = $2");
        link.execute(sql, &[ring.into(), path.as_str().into()]).await?;
    }
    for batch in there.chunks(BATCH) {
        let size = if batch.len() == BATCH { BATCH } else { 1 };
        for part in batch.chunks(size) {
            let rows: Vec<String> = (0..size)
                .map(|row| format!("($1, {})", parameters(2 + row * 2, 2)))
                .collect();
            let sql = format!(
                "insert into waxseal_node (ring, path, body) values {} \
                on conflict (ring, path) do update set body = excluded.body",
                rows.join(", ")
            );
            let mut values = vec![ring.into()];
            for (path, body) in part {
                values.extend([Value::from(path.as_str()), body.as_slice().into()]);
            }
            link.execute(AssertSqlSafe(sql).into_sql_str(), &values).await?;
        }
    }
    Ok(())
}

async fn put_succession(link: &mut dyn Link, ring: &str, succession: &Signed) -> Result<()> {
    let sql = fixed(
        "insert into waxseal_succession (ring, position, body, signer, signature) \
        select $1, coalesce(max(position), 0) + 1, $2, $3, $4 from waxseal_succession where ring = $1",
    );
    let values = [
        ring.into(),
        succession.body.as_slice().into(),
        succession.signer.as_slice().into(),
        succession.signature.as_slice().into(),
    ];
    link.execute(sql, &values).await.map(drop)
}
