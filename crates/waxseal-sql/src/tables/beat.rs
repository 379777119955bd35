//! Heartbeats.

use waxseal::Result;
use waxseal::ring::inventory::{Heartbeat, MAX_PROBED, MAX_READER};
use waxseal::ring::{RecordId, Time};

use super::read::time;
use crate::link::{Link, Record, Select, fixed};

const HEARTBEAT: Select = Select {
    table: "waxseal_heartbeat",
    columns: &["reader", "process", "revision", "probed", "failed", "written"],
    key: 2,
};

/// Writes a heartbeat of this time.
pub(crate) async fn beat(link: &mut dyn Link, ring: &str, heartbeat: &Heartbeat) -> Result<()> {
    let now = super::now(link).await?.as_microseconds();
    let ids = |ids: &[RecordId]| ids.iter().map(|id| format!("{id},")).collect::<String>();
    let (probed, failed) = (ids(&heartbeat.probed), ids(&heartbeat.failed));
    let sql = fixed(
        "insert into waxseal_heartbeat (ring, reader, process, revision, probed, failed, written) \
        values ($1, $2, $3, $4, $5, $6, $7) \
        on conflict (ring, reader, process) do update set revision = excluded.revision, probed = excluded.probed, \
        failed = excluded.failed, written = excluded.written",
    );
    let values = [
        ring.into(),
        heartbeat.reader.as_str().into(),
        heartbeat.process.as_str().into(),
        i64::try_from(heartbeat.revision).unwrap_or(i64::MAX).into(),
        probed.as_str().into(),
        failed.as_str().into(),
        now.into(),
    ];
    link.execute(sql, &values).await.map(drop)
}

pub(crate) async fn heartbeats(link: &mut dyn Link, ring: &str, since: Time) -> Result<Vec<Heartbeat>> {
    let sql = fixed(
        "select substr(reader, 1, 256), substr(process, 1, 256), revision, substr(probed, 1, 151553), substr(failed, 1, 151553), written \
        from waxseal_heartbeat where ring = $1 and written >= $2 order by written desc limit 10000",
    );
    let values = [ring.into(), since.as_microseconds().into()];
    let records = link.rows(&HEARTBEAT, sql, &values).await?;
    records.iter().map(heartbeat).collect()
}

fn heartbeat(record: &Record) -> Result<Heartbeat> {
    let name = |column| record.parsed(column, |text| (text.len() <= MAX_READER).then(|| text.to_owned()));
    let ids = |column| {
        record.parsed(column, |text| {
            let ids: Option<Vec<RecordId>> = text.split_terminator(',').map(|id| id.parse().ok()).collect();
            ids.filter(|ids| ids.len() <= MAX_PROBED)
        })
    };
    let revision = record.count("revision")?;
    let heartbeat = Heartbeat::new(name("reader")?, name("process")?, revision, ids("probed")?);
    let mut heartbeat = heartbeat.with_failed(ids("failed")?);
    heartbeat.at = time(record, "written")?;
    Ok(heartbeat)
}
