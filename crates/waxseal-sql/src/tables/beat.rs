//! Heartbeats.

use sqlx::{AssertSqlSafe, SqlSafeStr};
use waxseal::Result;
use waxseal::ring::inventory::{Heartbeat, MAX_BODY, MAX_PROBED, MAX_READER, Signed};
use waxseal::ring::{RecordId, Time};

use super::read::time;
use crate::link::{Link, Record, Select, Value, fixed};

const HEARTBEAT: Select = Select {
    table: "waxseal_heartbeat",
    columns: &[
        "reader",
        "process",
        "revision",
        "probed",
        "failed",
        "body",
        "signer",
        "signature",
        "written",
    ],
    key: 2,
};

/// Writes a heartbeat of this time.
pub(crate) async fn beat(link: &mut dyn Link, ring: &str, heartbeat: &Heartbeat) -> Result<()> {
    let now = super::now(link).await?.as_microseconds();
    let ids = |ids: &[RecordId]| ids.iter().map(|id| format!("{id},")).collect::<String>();
    let (probed, failed) = (ids(&heartbeat.probed), ids(&heartbeat.failed));
    let signed = heartbeat.signed.as_ref();
    let sql = fixed(
        "insert into waxseal_heartbeat (ring, reader, process, revision, probed, failed, body, signer, signature, written) \
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
        on conflict (ring, reader, process) do update set revision = excluded.revision, probed = excluded.probed, \
        failed = excluded.failed, body = excluded.body, signer = excluded.signer, signature = excluded.signature, \
        written = excluded.written",
    );
    let values = [
        ring.into(),
        heartbeat.reader.as_str().into(),
        heartbeat.process.as_str().into(),
        i64::try_from(heartbeat.revision).unwrap_or(i64::MAX).into(),
        probed.as_str().into(),
        failed.as_str().into(),
        Value::Bytes(signed.map(|signed| signed.body.as_slice())),
        Value::Bytes(signed.map(|signed| signed.signer.as_slice())),
        Value::Bytes(signed.map(|signed| signed.signature.as_slice())),
        now.into(),
    ];
    link.execute(sql, &values).await.map(drop)
}

/// The heartbeats since then: of one reader, or of all.
pub(crate) async fn heartbeats(
    link: &mut dyn Link,
    ring: &str,
    reader: Option<&str>,
    since: Time,
) -> Result<Vec<Heartbeat>> {
    let now = super::now(link).await?;
    // The newest of what one call may read: any reader may write as much as it likes, and whatever time.
    let of = reader.map_or("", |_| "and reader = $4");
    let sql = format!(
        "select substr(reader, 1, 256), substr(process, 1, 256), revision, substr(probed, 1, 151553), substr(failed, 1, 151553), \
        substr(body, 1, 262145), substr(signer, 1, 33), substr(signature, 1, 65), written \
        from (select *, sum(octet_length(probed) + octet_length(failed) + coalesce(octet_length(body), 0)) \
            over (order by written desc, reader, process rows unbounded preceding) as total \
            from (select * from waxseal_heartbeat where ring = $1 and written >= $2 and written <= $3 {of} order by written desc limit 10000) newest) \
        counted where total <= 134217728 order by written desc",
    );
    let mut values: Vec<Value<'_>> = vec![
        ring.into(),
        since.as_microseconds().into(),
        now.as_microseconds().into(),
    ];
    values.extend(reader.map(Value::from));
    let sql = AssertSqlSafe(sql).into_sql_str();
    let records = link.rows(&HEARTBEAT, sql, &values).await?;
    Ok(records.into_iter().map(heartbeat).collect())
}

/// The heartbeat of a row. Any reader may write any row here, so one that is wrong must hinder nobody else.
fn heartbeat(mut record: Record) -> Heartbeat {
    let name = |record: &Record, column| record.text(column).unwrap_or("?").chars().take(64).collect();
    let (reader, process) = (name(&record, "reader"), name(&record, "process"));
    parsed(&mut record).unwrap_or_else(|error| {
        let why = error.detail().unwrap_or("it is wrong").to_owned();
        Heartbeat::malformed(reader, process, why)
    })
}

fn parsed(record: &mut Record) -> Result<Heartbeat> {
    let signed = match record.optional_bytes("body", MAX_BODY)? {
        Some(body) => Some(Signed::new(
            body,
            record.array("signer")?,
            record.array("signature")?,
        )),
        None => None,
    };
    let record = &*record;
    let name = |column| record.parsed(column, |text| (text.len() <= MAX_READER).then(|| text.to_owned()));
    let ids = |column| {
        record.parsed(column, |text| {
            let ids: Option<Vec<RecordId>> = text.split_terminator(',').map(|id| id.parse().ok()).collect();
            ids.filter(|ids| ids.len() <= MAX_PROBED)
        })
    };
    let revision = record.count("revision")?;
    let heartbeat = Heartbeat::new(name("reader")?, name("process")?, revision, ids("probed")?);
    let mut heartbeat = heartbeat.with_failed(ids("failed")?).with_signed(signed);
    heartbeat.at = time(record, "written")?;
    heartbeat.check()?;
    Ok(heartbeat)
}
