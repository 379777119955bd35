//! Snapshots.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, SqlSafeStr};
use waxseal::Result;
use waxseal::envelope::KekRef;
use waxseal::ring::inventory::{MAX_BODY, NodePath, RecordKind, Row, Signed, Snapshot, check_node_path};
use waxseal::ring::{RecordId, Scope, Time};

use super::parameters;
use crate::link::{Begin, Link, Record, Select, Value, invalid};

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

/// What a snapshot is read from, each in the columns of a row behind the name of the part: so it is one statement, of one moment. What is typed comes first.
const ROWS: Part = Part {
    name: "row",
    select: ROW,
    sql: "select 'row', ROW_COLUMNS from waxseal_row where ring = $1 and scope in (SCOPES)",
};

const PROVISIONED: Part = Part {
    name: "provisioned",
    select: Select {
        table: "waxseal_provisioned",
        ..ROW
    },
    sql: "select 'provisioned', ROW_COLUMNS from waxseal_provisioned where ring = $1 and scope in (SCOPES)",
};

const NODES: Part = Part {
    name: "node",
    select: Select {
        table: "waxseal_node",
        columns: &["path", "", "", "", "", "", "", "", "", "", "body", "", ""],
        key: 1,
    },
    sql: "select 'node', substr(path, 1, 4), null, null, null, null, null, null, null, null, null, substr(body, 1, 262145), null, null \
        from waxseal_node where ring = $1 and path in (NODES)",
};

const HEAD: Part = Part {
    name: "head",
    select: Select {
        table: "waxseal_ring",
        columns: &[
            "ring",
            "",
            "",
            "",
            "",
            "revision",
            "",
            "",
            "",
            "",
            "head_body",
            "head_signer",
            "head_signature",
        ],
        key: 1,
    },
    sql: "select 'head', substr(ring, 1, 256), null, null, null, null, revision, null, null, null, null, \
        substr(head_body, 1, 262145), substr(head_signer, 1, 33), substr(head_signature, 1, 65) from waxseal_ring where ring = $1",
};

const SETTINGS: Part = Part {
    name: "settings",
    select: Select {
        table: "waxseal_ring",
        columns: &[
            "ring",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
            "settings_body",
            "settings_signer",
            "settings_signature",
        ],
        key: 1,
    },
    sql: "select 'settings', substr(ring, 1, 256), null, null, null, null, null, null, null, null, null, \
        substr(settings_body, 1, 262145), substr(settings_signer, 1, 33), substr(settings_signature, 1, 65) from waxseal_ring where ring = $1",
};

const SUCCESSIONS: Part = Part {
    name: "succession",
    select: Select {
        table: "waxseal_succession",
        columns: &[
            "",
            "",
            "",
            "",
            "",
            "position",
            "",
            "",
            "",
            "",
            "body",
            "signer",
            "signature",
        ],
        key: 0,
    },
    sql: "select 'succession', null, null, null, null, null, position, null, null, null, null, \
        substr(body, 1, 262145), substr(signer, 1, 33), substr(signature, 1, 65) from waxseal_succession where ring = $1",
};

/// One of the things that a snapshot is read from.
struct Part {
    name: &'static str,
    select: Select,
    sql: &'static str,
}

/// The column that says of which part a record is.
const TAGGED: Select = Select {
    table: "waxseal_row",
    columns: &["part"],
    key: 0,
};

/// Reads these scopes and these nodes, and what is there once: by one statement, unless there are many of them.
pub(crate) async fn read(
    link: &mut dyn Link,
    ring: &str,
    scopes: &[Scope],
    nodes: &[NodePath],
) -> Result<Snapshot> {
    let mut nodes: Vec<&str> = nodes
        .iter()
        .filter(|path| check_node_path(path).is_ok())
        .map(String::as_str)
        .collect();
    nodes.sort_unstable();
    nodes.dedup();
    let mut scopes: Vec<&str> = scopes.iter().map(Scope::as_str).collect();
    scopes.sort_unstable();
    scopes.dedup();
    let (nodes, scopes) = (parts(&nodes), parts(&scopes));
    let count = nodes.len().max(scopes.len()).max(1);
    let mut snapshot = Snapshot::default();
    if count > 1 {
        link.begin(Begin::Read).await?;
    }
    let none = Vec::new();
    for index in 0..count {
        let (nodes, scopes) = (
            nodes.get(index).unwrap_or(&none),
            scopes.get(index).unwrap_or(&none),
        );
        read_parts(link, ring, index == 0, nodes, scopes, &mut snapshot).await?;
    }
    if count > 1 {
        link.commit().await?;
    }
    Ok(snapshot)
}

/// Reads some of the nodes and scopes by one statement, and `once` what is there once.
async fn read_parts(
    link: &mut dyn Link,
    ring: &str,
    once: bool,
    nodes: &[&str],
    scopes: &[&str],
    snapshot: &mut Snapshot,
) -> Result<()> {
    let wanted = [
        (&ROWS, !scopes.is_empty()),
        (&PROVISIONED, !scopes.is_empty()),
        (&HEAD, once),
        (&SETTINGS, once),
        (&SUCCESSIONS, once),
        (&NODES, !nodes.is_empty()),
    ];
    let (scopes_from, nodes_from) = (2, 2 + scopes.len());
    let sql: Vec<String> = wanted
        .iter()
        .filter(|(_, is_wanted)| *is_wanted)
        .map(|(part, _)| {
            let sql = part.sql.replace("ROW_COLUMNS", ROW_COLUMNS);
            let sql = sql.replace("SCOPES", &parameters(scopes_from, scopes.len()));
            sql.replace("NODES", &parameters(nodes_from, nodes.len()))
        })
        .collect();
    let values: Vec<Value<'_>> = std::iter::once(&ring)
        .chain(scopes)
        .chain(nodes)
        .map(|text| Value::from(*text))
        .collect();
    let sql = AssertSqlSafe(sql.join(" union all ")).into_sql_str();
    let mut successions = BTreeMap::new();
    for record in link.rows(&TAGGED, sql, &values).await? {
        let name = record.text("part")?;
        let part = wanted.iter().find(|(part, _)| part.name == name);
        let (part, _) = part.ok_or_else(|| record.invalid("part", "there is no such part"))?;
        let mut record = record.behind_first(part.select);
        match part.name {
            "row" => snapshot.rows.push(row(record)?),
            "provisioned" => snapshot.provisioned.push(row(record)?),
            "node" => {
                let path = record.text("path")?.to_owned();
                snapshot.nodes.insert(path, record.bytes("body", MAX_BODY)?);
            }
            "head" => {
                snapshot.revision = record.count("revision")?;
                snapshot.head = Some(Signed::new(
                    record.bytes("head_body", MAX_BODY)?,
                    record.array("head_signer")?,
                    record.array("head_signature")?,
                ));
            }
            "settings" => snapshot.settings = settings(record)?,
            _ => {
                let position = record.count("position")?;
                if successions.insert(position, signed(&mut record)?).is_some() {
                    return Err(record.invalid("position", "two successions have the same"));
                }
            }
        }
    }
    if !successions.keys().copied().eq(1..=successions.len() as u64) {
        return Err(invalid(
            SUCCESSIONS.select.table,
            "?",
            "position",
            "the successions are not counted from 1",
        ));
    }
    snapshot.successions.extend(successions.into_values());
    Ok(())
}

fn settings(mut record: Record) -> Result<Option<Signed>> {
    match record.optional_bytes("settings_body", MAX_BODY)? {
        Some(body) => Ok(Some(Signed::new(
            body,
            record.array("settings_signer")?,
            record.array("settings_signature")?,
        ))),
        // What is too short or too long must not look like what is absent.
        None if !record.is_null("settings_signer")? || !record.is_null("settings_signature")? => {
            Err(record.invalid("settings_body", "it is null or empty, and has a signature"))
        }
        None => Ok(None),
    }
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
