//! Snapshots.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, SqlSafeStr};
use waxseal::Result;
use waxseal::envelope::KekRef;
use waxseal::ring::inventory::{MAX_BODY, NodePath, RecordKind, Row, Signed, Snapshot, check_node_path};
use waxseal::ring::{RecordId, Scope, Time};

use super::parameters;
use crate::link::{Begin, Link, Record, Select, Value, fixed, invalid};

const RING: Select = Select {
    table: "waxseal_ring",
    columns: &[
        "ring",
        "revision",
        "head_body",
        "head_signer",
        "head_signature",
        "settings_body",
        "settings_signer",
        "settings_signature",
    ],
    key: 1,
};

const SUCCESSION: Select = Select {
    table: "waxseal_succession",
    columns: &["position", "body", "signer", "signature"],
    key: 1,
};

const NODE: Select = Select {
    table: "waxseal_node",
    columns: &["path", "body"],
    key: 1,
};

pub(super) const ROW: Select = Select {
    table: "waxseal_row",
    columns: &[
        "id",
        "kind",
        "scope",
        "slot",
        "state",
        "revision",
        "kek_provider",
        "kek_id",
        "kek_version",
        "due",
        "body",
        "signer",
        "signature",
    ],
    key: 1,
};

// Of a text or of bytes, one more than there may be: what is too long is seen, and not read. The tables' own checks may be gone.
pub(super) const ROW_COLUMNS: &str = "substr(id, 1, 37), substr(kind, 1, 17), substr(scope, 1, 513), substr(slot, 1, 65), \
    substr(state, 1, 17), revision, substr(kek_provider, 1, 33), substr(kek_id, 1, 2049), substr(kek_version, 1, 256), \
    due, substr(body, 1, 262145), substr(signer, 1, 33), substr(signature, 1, 65)";

/// How many names one statement asks for: few different statements, which the connection keeps prepared.
const STEPS: [usize; 3] = [1, 10, 100];

/// Parts of what is asked for, each as long as one of the steps: the last name is repeated.
pub(super) fn parts<T: Clone>(mut names: &[T]) -> Vec<Vec<T>> {
    let mut parts = Vec::new();
    while let Some(last) = names.last() {
        let fits = STEPS.into_iter().find(|step| *step >= names.len());
        let step = fits.unwrap_or(100);
        let (part, rest) = names.split_at(step.min(names.len()));
        let mut part = part.to_vec();
        part.resize(step, last.clone());
        parts.push(part);
        names = rest;
    }
    parts
}

/// Reads these scopes and these nodes, and what is there once.
pub(crate) async fn read(
    link: &mut dyn Link,
    ring: &str,
    scopes: &[Scope],
    nodes: &[NodePath],
) -> Result<Snapshot> {
    link.begin(Begin::Read).await?;
    let mut snapshot = Snapshot::default();
    read_ring(link, ring, &mut snapshot).await?;
    let sql = fixed(
        "select position, substr(body, 1, 262145), substr(signer, 1, 33), substr(signature, 1, 65) \
        from waxseal_succession where ring = $1 order by position",
    );
    for mut record in link.rows(&SUCCESSION, sql, &[ring.into()]).await? {
        if record.count("position")? != snapshot.successions.len() as u64 + 1 {
            return Err(record.invalid("position", "the successions are not counted from 1"));
        }
        snapshot.successions.push(signed(&mut record)?);
    }
    let mut nodes: Vec<_> = nodes
        .iter()
        .filter(|path| check_node_path(path).is_ok())
        .collect();
    nodes.sort_unstable();
    nodes.dedup();
    for part in parts(&nodes) {
        read_nodes(link, ring, &part, &mut snapshot.nodes).await?;
    }
    let mut scopes: Vec<_> = scopes.iter().collect();
    scopes.sort_unstable();
    scopes.dedup();
    for part in parts(&scopes) {
        let table = |table: &str| {
            format!(
                "select {ROW_COLUMNS} from {table} where ring = $1 and scope in ({})",
                parameters(2, part.len())
            )
        };
        let values: Vec<Value<'_>> = std::iter::once(ring)
            .chain(part.iter().map(|scope| scope.as_str()))
            .map(Value::from)
            .collect();
        for (name, rows) in [
            ("waxseal_row", &mut snapshot.rows),
            ("waxseal_provisioned", &mut snapshot.provisioned),
        ] {
            let select = Select { table: name, ..ROW };
            let sql = AssertSqlSafe(table(name)).into_sql_str();
            for record in link.rows(&select, sql, &values).await? {
                rows.push(row(record)?);
            }
        }
    }
    link.commit().await?;
    Ok(snapshot)
}

async fn read_ring(link: &mut dyn Link, ring: &str, snapshot: &mut Snapshot) -> Result<()> {
    let sql = fixed(
        "select substr(ring, 1, 256), revision, \
        substr(head_body, 1, 262145), substr(head_signer, 1, 33), substr(head_signature, 1, 65), \
        substr(settings_body, 1, 262145), substr(settings_signer, 1, 33), substr(settings_signature, 1, 65) \
        from waxseal_ring where ring = $1",
    );
    let Some(mut record) = link.row(&RING, sql, &[ring.into()]).await? else {
        return Ok(());
    };
    snapshot.revision = record.count("revision")?;
    snapshot.head = Some(Signed::new(
        record.bytes("head_body", MAX_BODY)?,
        record.array("head_signer")?,
        record.array("head_signature")?,
    ));
    snapshot.settings = match record.optional_bytes("settings_body", MAX_BODY)? {
        Some(body) => Some(Signed::new(
            body,
            record.array("settings_signer")?,
            record.array("settings_signature")?,
        )),
        // What is too short or too long must not look like what is absent.
        None if !record.is_null("settings_signer")? || !record.is_null("settings_signature")? => {
            return Err(record.invalid("settings_body", "it is null or empty, and has a signature"));
        }
        None => None,
    };
    Ok(())
}

async fn read_nodes(
    link: &mut dyn Link,
    ring: &str,
    part: &[&NodePath],
    nodes: &mut BTreeMap<NodePath, Vec<u8>>,
) -> Result<()> {
    let sql = format!(
        "select substr(path, 1, 4), substr(body, 1, 262145) from waxseal_node where ring = $1 and path in ({})",
        parameters(2, part.len())
    );
    let values: Vec<Value<'_>> = std::iter::once(ring)
        .chain(part.iter().map(|path| path.as_str()))
        .map(Value::from)
        .collect();
    for mut record in link
        .rows(&NODE, AssertSqlSafe(sql).into_sql_str(), &values)
        .await?
    {
        let path = record.text("path")?.to_owned();
        nodes.insert(path, record.bytes("body", MAX_BODY)?);
    }
    Ok(())
}

fn signed(record: &mut Record) -> Result<Signed> {
    Ok(Signed::new(
        record.bytes("body", MAX_BODY)?,
        record.array("signer")?,
        record.array("signature")?,
    ))
}

pub(super) fn row(mut record: Record) -> Result<Row> {
    let signed = signed(&mut record)?;
    let kek = match (
        record.optional_text("kek_provider")?,
        record.optional_text("kek_id")?,
        record.optional_text("kek_version")?,
    ) {
        (None, None, None) => None,
        (Some(provider), Some(id), Some(version)) => Some(
            KekRef::new(provider, id, version)
                .map_err(|_| record.invalid("kek_id", "with kek_provider and kek_version it names no KEK"))?,
        ),
        _ => {
            return Err(record.invalid(
                "kek_id",
                "kek_provider, kek_id and kek_version are not all null or none",
            ));
        }
    };
    let state = match record.optional_text("state")? {
        Some(state) => Some(
            state
                .parse()
                .map_err(|_| record.invalid("state", "there is no such state"))?,
        ),
        None => None,
    };
    Ok(Row::new(
        record.parsed("id", |text| text.parse::<RecordId>().ok())?,
        record.parsed("kind", RecordKind::of_name)?,
        record.parsed("scope", |text| text.parse().ok())?,
        record.parsed("slot", |text| text.parse().ok())?,
        state,
        record.count("revision")?,
        kek,
        time(&record, "due")?,
        signed,
    ))
}

/// A column that holds a time.
pub(super) fn time(record: &Record, column: &str) -> Result<Option<Time>> {
    match record.optional_int(column)? {
        Some(value) => match Time::from_microseconds(value) {
            Ok(time) => Ok(Some(time)),
            Err(_) => Err(record.invalid(column, "it lies beyond the year 9999")),
        },
        None => Ok(None),
    }
}

/// A column that holds a scope.
pub(super) fn scope(record: &Record) -> Result<Scope> {
    record
        .text("scope")?
        .parse()
        .map_err(|_| invalid("waxseal_row", "?", "scope", "it is no scope"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_few_lengths_and_hold_every_name() {
        for count in [0, 1, 2, 10, 11, 100, 101, 250] {
            let names: Vec<usize> = (0..count).collect();
            let parts = parts(&names);
            assert!(parts.iter().all(|part| STEPS.contains(&part.len())), "{count}");
            assert!(parts.len() <= count / 100 + 1);
            let mut held: Vec<_> = parts.concat();
            held.dedup();
            assert_eq!(held, names);
        }
    }
}
