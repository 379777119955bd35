//! What the catalog of PostgreSQL says of a table.

use waxseal::{Error, ErrorKind, Result};

use crate::fleet::cell::{int, text};
use crate::fleet::key::KeyKind;
use crate::fleet::shape::{KeyColumn, Shape, quoted};
use crate::fleet::table::Table;
use crate::link::{Cell, Link, Value, fixed};

/// A column.
struct Found {
    name: String,
    /// The type, or what its domain is made of. Empty if it is no type of PostgreSQL's own.
    kind: String,
    is_generated: bool,
    may_read: bool,
    may_write: bool,
}

fn configuration(detail: impl Into<String>) -> Error {
    Error::new(ErrorKind::Configuration).with_detail(detail.into())
}

fn denied(detail: impl Into<String>) -> Error {
    Error::new(ErrorKind::Denied).with_detail(detail.into())
}

pub(super) async fn find(link: &mut dyn Link, table: &Table) -> Result<Shape> {
    let context = table.check()?;
    let (oid, schema, kind) = relation(link, table).await?;
    let title = format!("{schema}.{}", table.name);
    let columns = columns(link, oid).await?;
    let column = |name: &str| -> Result<&Found> {
        let found = columns.iter().find(|column| column.name == name);
        found.ok_or_else(|| {
            let names: Vec<_> = columns.iter().map(|column| column.name.as_str()).collect();
            configuration(format!(
                "the table {title} has no column {name:?}; it has {}",
                names.join(", ")
            ))
        })
    };
    let envelope = column(&table.envelope)?;
    if envelope.kind != "bytea" {
        return Err(configuration(format!(
            "the column {:?} of {title} is of the type {:?}; one that holds envelopes is bytea",
            envelope.name, envelope.kind
        )));
    }
    let mut sources: Vec<String> = Vec::new();
    for name in context.iter().flat_map(|(_, template)| template.columns()) {
        let kind = &column(name)?.kind;
        if !["int2", "int4", "int8", "text", "varchar", "uuid", "bool"].contains(&kind.as_str()) {
            return Err(configuration(format!(
                "the column {name:?} of {title} is of the type {kind:?}; a context takes integers, text, varchar, uuid and boolean, whose text no setting changes"
            )));
        }
        if !sources.iter().any(|source| source == name) {
            sources.push(name.to_owned());
        }
    }
    if let Some(name) = &table.kek_id {
        let kind = &column(name)?.kind;
        if !["text", "varchar"].contains(&kind.as_str()) {
            return Err(configuration(format!(
                "the column {name:?} of {title} is of the type {kind:?}; one that holds ids of KEKs is text or varchar"
            )));
        }
    }
    let wrapped_at = match &table.wrapped_at {
        Some(name) => Some((quoted(name), now(name, &column(name)?.kind)?)),
        None => None,
    };
    let key = key(link, oid, table, &title).await?;
    let key_columns = key.iter().map(|name| column(name)).collect::<Result<Vec<_>>>()?;
    let read = key_columns.iter().copied().chain([envelope]);
    let others = sources
        .iter()
        .map(|name| column(name))
        .collect::<Result<Vec<_>>>()?;
    for column in read.chain(others) {
        if !column.may_read {
            return Err(denied(format!(
                "this role may not read the column {:?} of {title}: grant select on it",
                column.name
            )));
        }
    }
    may_see(link, oid, &title).await?;
    for name in table.written() {
        check_written(column(name)?, &title, table.is_read_only)?;
    }
    // The rows of tables that inherit from this one are not in its index.
    let only = if kind == "p" { "" } else { "only " };
    Ok(Shape {
        title: format!("rows:{title}.{}", table.envelope),
        table: format!("{only}{}.{}", quoted(&schema), quoted(&table.name)),
        key: key_columns
            .into_iter()
            .map(|column| key_column(column, &title))
            .collect::<Result<_>>()?,
        envelope: quoted(&table.envelope),
        context,
        sources,
        kek_id: table.kek_id.as_deref().map(quoted),
        wrapped_at,
        is_read_only: table.is_read_only,
        is_utf_16: false,
        oid,
    })
}

/// The number of the table, its schema and its kind.
async fn relation(link: &mut dyn Link, table: &Table) -> Result<(i64, String, String)> {
    let sql = fixed(
        "select c.oid::int8, n.nspname::text, c.relkind::text, c.relpersistence::text, pg_catalog.row_security_active(c.oid) \
        from pg_catalog.pg_class as c join pg_catalog.pg_namespace as n on n.oid = c.relnamespace \
        where c.relname::text = $1 and c.relkind in ('r', 'p', 'v', 'm', 'f') \
        and case when $2::text is null then pg_catalog.pg_table_is_visible(c.oid) else n.nspname::text = $2::text end",
    );
    let values = [table.name.as_str().into(), Value::Text(table.schema.as_deref())];
    let name = match &table.schema {
        Some(schema) => format!("{schema}.{}", table.name),
        None => table.name.clone(),
    };
    let Some(cells) = link.cells(sql, &values).await?.pop() else {
        return Err(configuration(format!(
            "there is no table {name:?} in the database; names are as the database has them, mostly in lower case, and the schema is named by `in_schema`"
        )));
    };
    let (kind, persistence) = (text(&cells, 2), text(&cells, 3));
    if !["r", "p"].contains(&kind.as_str()) || persistence == "t" {
        return Err(configuration(format!(
            "{name:?} is a view, a foreign or a temporary table; name the table whose rows they are"
        )));
    }
    if int(&cells, 4) != 0 {
        return Err(denied(format!(
            "row security hides rows of {name:?} from this role, and a job would leave them out; take a role that sees all (BYPASSRLS)"
        )));
    }
    Ok((int(&cells, 0), text(&cells, 1), kind))
}

async fn columns(link: &mut dyn Link, oid: i64) -> Result<Vec<Found>> {
    let sql = fixed(
        "select a.attname::text, \
        case when coalesce(b.typnamespace, t.typnamespace) = 'pg_catalog'::regnamespace then coalesce(b.typname, t.typname)::text else '' end, \
        coalesce(to_jsonb(a) ->> 'attgenerated', '') <> '', \
        pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'select'), pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'update') \
        from pg_catalog.pg_attribute as a join pg_catalog.pg_type as t on t.oid = a.atttypid \
        left join pg_catalog.pg_type as b on t.typtype = 'd' and b.oid = t.typbasetype \
        where a.attrelid = $1::int8::oid and a.attnum > 0 and not a.attisdropped order by a.attnum",
    );
    let found = link.cells(sql, &[oid.into()]).await?.into_iter();
    let column = |cells: Vec<Cell>| Found {
        name: text(&cells, 0),
        kind: text(&cells, 1),
        is_generated: int(&cells, 2) != 0,
        may_read: int(&cells, 3) != 0,
        may_write: int(&cells, 4) != 0,
    };
    Ok(found.map(column).collect())
}

/// What tells versions of a row apart is in columns of the system, which a right to single columns does not include.
async fn may_see(link: &mut dyn Link, oid: i64, title: &str) -> Result<()> {
    let sql = fixed(
        "select pg_catalog.has_column_privilege($1::int8::oid, 'xmin', 'select') and pg_catalog.has_column_privilege($1::int8::oid, 'ctid', 'select')",
    );
    let may = link.cells(sql, &[oid.into()]).await?.pop().unwrap_or_default();
    match int(&may, 0) {
        0 => Err(denied(format!(
            "this role may not read the versions of the rows of {title}: grant select (xmin, ctid) on it"
        ))),
        _ => Ok(()),
    }
}

fn check_written(column: &Found, title: &str, is_read_only: bool) -> Result<()> {
    let name = &column.name;
    if column.is_generated {
        return Err(configuration(format!(
            "the column {name:?} of {title} is generated, and cannot be written"
        )));
    }
    if !column.may_write && !is_read_only {
        return Err(denied(format!(
            "this role may not write the column {name:?} of {title}: grant update on it, or open the table `read_only` for a dry run"
        )));
    }
    Ok(())
}

fn now(name: &str, kind: &str) -> Result<&'static str> {
    match kind {
        "timestamptz" => Ok("clock_timestamp()"),
        "timestamp" => Ok("timezone('UTC', clock_timestamp())"),
        "int8" => Ok("extract(epoch from clock_timestamp())::int8"),
        _ => Err(configuration(format!(
            "the column {name:?} is of the type {kind:?}; one that says when a value was wrapped is timestamptz, timestamp or bigint"
        ))),
    }
}

fn key_column(column: &Found, title: &str) -> Result<KeyColumn> {
    let (kind, cast) = match column.kind.as_str() {
        "int2" | "int4" | "int8" => (KeyKind::Int, "int8"),
        "text" | "varchar" => (KeyKind::Text, "text"),
        "bpchar" => (KeyKind::Text, "bpchar"),
        "uuid" => (KeyKind::Uuid, "uuid"),
        "bytea" => (KeyKind::Bytes, "bytea"),
        kind => {
            return Err(configuration(format!(
                "the column {:?} of {title} is of the type {kind:?}; a key is made of integers, text, varchar, char, uuid and bytea",
                column.name
            )));
        }
    };
    Ok(KeyColumn {
        name: quoted(&column.name),
        kind,
        cast,
    })
}

/// A unique index, and whether a key can be read in its order.
struct Index {
    number: i64,
    is_primary: bool,
    columns: Vec<String>,
    is_usable: bool,
}

/// The columns of the key, which must be those of a unique index: so each row has one id, and each page is a walk through the index.
async fn key(link: &mut dyn Link, oid: i64, table: &Table, title: &str) -> Result<Vec<String>> {
    let sql = fixed(
        "select i.indexrelid::int8, i.indisprimary, a.attname::text, \
        a.attnotnull and i.indoption[k.n - 1] = 0 and i.indcollation[k.n - 1] = a.attcollation and o.opcdefault \
        from pg_catalog.pg_index as i cross join lateral generate_series(1, i.indnkeyatts) as k(n) \
        join pg_catalog.pg_attribute as a on a.attrelid = i.indrelid and a.attnum = i.indkey[k.n - 1] \
        join pg_catalog.pg_opclass as o on o.oid = i.indclass[k.n - 1] \
        where i.indrelid = $1::int8::oid and i.indisunique and i.indisvalid and i.indimmediate and i.indpred is null and i.indexprs is null \
        order by i.indexrelid, k.n",
    );
    let mut indexes: Vec<Index> = Vec::new();
    for cells in link.cells(sql, &[oid.into()]).await? {
        let (number, name, is_usable) = (int(&cells, 0), text(&cells, 2), int(&cells, 3) != 0);
        match indexes.last_mut().filter(|index| index.number == number) {
            Some(index) => {
                index.columns.push(name);
                index.is_usable &= is_usable;
            }
            None => indexes.push(Index {
                number,
                is_primary: int(&cells, 1) != 0,
                columns: vec![name],
                is_usable,
            }),
        }
    }
    let is_meant = |index: &&Index| match table.key.is_empty() {
        true => index.is_primary,
        false => index.columns == table.key,
    };
    let (meant, others): (Vec<_>, Vec<_>) = indexes.iter().partition(is_meant);
    if let Some(index) = meant.iter().find(|index| index.is_usable) {
        return Ok(index.columns.clone());
    }
    let others: Vec<_> = others
        .iter()
        .filter(|index| index.is_usable)
        .map(|index| index.columns.join(", "))
        .collect();
    Err(configuration(format!(
        "the table {title} has no {} that orders all of its rows: ascending, of columns that are not null, in their own collations; there is {}",
        match table.key.is_empty() {
            true => "primary key".to_owned(),
            false => format!("unique index on ({}), in this order,", table.key.join(", ")),
        },
        match others.is_empty() {
            true => "no other one".to_owned(),
            false => format!("({})", others.join("), (")),
        }
    )))
}
