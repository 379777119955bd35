//! Snapshots.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, SqlSafeStr};
use waxseal::Result;
use waxseal::envelope::KekRef;
use waxseal::ring::inventory::{MAX_BODY, NodePath, RecordKind, Row, Signed, Snapshot, check_node_path};
use waxseal::ring::{RecordId, Scope, Time};

use super::parameters;
use crate::link::{Begin, Link, Record, Select, Value, invalid};

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

/// What stands in one column for each kind of what is read: one statement reads them all, so that they are of one moment.
const WHOLE: Select = Select {
    table: "waxseal_ring",
    columns: &[
        "part",
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
        "settings_body",
        "settings_signer",
        "settings_signature",
    ],
    key: 1,
};

/// The parts of what is read, by their numbers.
const PARTS: [&str; 5] = [
    // The casts say what type the columns have in the others, too.
    "select cast(0 as bigint), substr(ring, 1, 256), cast(null as text), cast(null as text), cast(null as text), cast(null as text), revision, \
    cast(null as text), cast(null as text), cast(null as text), cast(null as bigint), \
    substr(head_body, 1, 262145), substr(head_signer, 1, 33), substr(head_signature, 1, 65), \
    substr(settings_body, 1, 262145), substr(settings_signer, 1, 33), substr(settings_signature, 1, 65) \
    from waxseal_ring where ring = $1",
    "select cast(1 as bigint), null, null, null, null, null, position, null, null, null, null, \
    substr(body, 1, 262145), substr(signer, 1, 33), substr(signature, 1, 65), null, null, null \
    from waxseal_succession where ring = $1",
    "select cast(2 as bigint), substr(path, 1, 4), null, null, null, null, null, null, null, null, null, \
    substr(body, 1, 262145), null, null, null, null, null \
    from waxseal_node where ring = $1 and path in",
    "select cast(3 as bigint), COLUMNS, null, null, null from waxseal_row where ring = $1 and scope in",
    "select cast(4 as bigint), COLUMNS, null, null, null from waxseal_provisioned where ring = $1 and scope in",
];

/// Reads these scopes and these nodes, and what is there once: by one statement, or by several of one moment if there are many of them.
pub(crate) async fn read(
    link: &mut dyn Link,
    ring: &str,
    scopes: &[Scope],
    nodes: &[NodePath],
) -> Result<Snapshot> {
    let mut nodes: Vec<_> = nodes
        .iter()
        .filter(|path| check_node_path(path).is_ok())
        .map(String::as_str)
        .collect();
    nodes.sort_unstable();
    nodes.dedup();
    let mut scopes: Vec<_> = scopes.iter().map(Scope::as_str).collect();
    scopes.sort_unstable();
    scopes.dedup();
    let (nodes, scopes) = (parts(&nodes), parts(&scopes));
    let statements = nodes.len().max(scopes.len()).max(1);
    if statements > 1 {
        link.begin(Begin::Read).await?;
    }
    let mut read = Read::default();
    for index in 0..statements {
        let of = |parts: &[Vec<_>]| parts.get(index).cloned().unwrap_or_default();
        read_part(link, ring, index == 0, &of(&nodes), &of(&scopes), &mut read).await?;
    }
    if statements > 1 {
        link.commit().await?;
    }
    read.finish()
}

/// What was read.
#[derive(Default)]
struct Read {
    snapshot: Snapshot,
    successions: BTreeMap<u64, Signed>,
}

impl Read {
    fn add(&mut self, mut record: Record) -> Result<()> {
        let part = record.count("part")?;
        let snapshot = &mut self.snapshot;
        match part {
            0 => of_ring(record.pick(RING, &[1, 6, 11, 12, 13, 14, 15, 16]), snapshot)?,
            1 => {
                let mut record = record.pick(SUCCESSION, &[6, 11, 12, 13]);
                let position = record.count("position")?;
                let signed = signed(&mut record)?;
                self.successions.insert(position, signed);
            }
            2 => {
                let mut record = record.pick(NODE, &[1, 11]);
                let path = record.text("path")?.to_owned();
                let body = record.bytes("body", MAX_BODY)?;
                snapshot.nodes.insert(path, body);
            }
            3 => snapshot.rows.push(row(record.pick(ROW, &ROW_CELLS))?),
            _ => {
                let select = Select {
                    table: "waxseal_provisioned",
                    ..ROW
                };
                snapshot.provisioned.push(row(record.pick(select, &ROW_CELLS))?);
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Snapshot> {
        for (index, (position, signed)) in (1..).zip(self.successions) {
            if position != index {
                return Err(invalid(
                    SUCCESSION.table,
                    &position.to_string(),
                    "position",
                    "the successions are not counted from 1",
                ));
            }
            self.snapshot.successions.push(signed);
        }
        Ok(self.snapshot)
    }
}

/// Where the columns of a row are.
const ROW_CELLS: [usize; 13] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13];

async fn read_part(
    link: &mut dyn Link,
    ring: &str,
    with_ring: bool,
    nodes: &[&str],
    scopes: &[&str],
    read: &mut Read,
) -> Result<()> {
    let [head, succession, node, rows, provisioned] = PARTS;
    // It says the types of the columns, also where it returns no row.
    let mut selects = match with_ring {
        true => vec![head.to_owned(), succession.to_owned()],
        false => vec![format!("{head} and revision < 0")],
    };
    if !nodes.is_empty() {
        selects.push(format!("{node} ({})", parameters(2, nodes.len())));
    }
    if !scopes.is_empty() {
        let of = parameters(2 + nodes.len(), scopes.len());
        for part in [rows, provisioned] {
            selects.push(format!("{} ({of})", part.replace("COLUMNS", ROW_COLUMNS)));
        }
    }
    let sql = AssertSqlSafe(selects.join(" union all ")).into_sql_str();
    let values: Vec<Value<'_>> = std::iter::once(&ring)
        .chain(nodes)
        .chain(scopes)
        .map(|value| Value::from(*value))
        .collect();
    for record in link.rows(&WHOLE, sql, &values).await? {
        read.add(record)?;
    }
    Ok(())
}

fn of_ring(mut record: Record, snapshot: &mut Snapshot) -> Result<()> {
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
