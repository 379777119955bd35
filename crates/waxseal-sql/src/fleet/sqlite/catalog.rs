//! What SQLite says of a table.

use waxseal::{Error, ErrorKind, Result};

use crate::fleet::cell::{int, text};
use crate::fleet::key::KeyKind;
use crate::fleet::rows::Dialect;
use crate::fleet::shape::{KeyColumn, Shape, quoted, sql};
use crate::fleet::table::Table;
use crate::link::{Cell, Link, fixed};
use crate::sqlite::File;

/// A column.
struct Found {
    name: String,
    /// As it was declared, in upper case.
    kind: String,
    /// Its place in the primary key, from 1 on.
    primary: i64,
    is_generated: bool,
}

fn configuration(detail: impl Into<String>) -> Error {
    Error::new(ErrorKind::Configuration).with_detail(detail.into())
}

pub(super) async fn find(link: &mut dyn Link, table: &Table) -> Result<Shape> {
    let context = table.check()?;
    let name = relation(link, table).await?;
    let columns = columns(link, &name).await?;
    let column = |wanted: &str| -> Result<&Found> {
        // SQLite makes no difference between upper and lower case in names.
        let found = columns
            .iter()
            .find(|column| column.name.eq_ignore_ascii_case(wanted));
        found.ok_or_else(|| {
            let names: Vec<_> = columns.iter().map(|column| column.name.as_str()).collect();
            configuration(format!(
                "the table {name:?} has no column {wanted:?}; it has {}",
                names.join(", ")
            ))
        })
    };
    let envelope = column(&table.envelope)?;
    let is_other = ["INT", "CHAR", "CLOB", "TEXT", "REAL", "FLOA", "DOUB"];
    if is_other.iter().any(|kind| envelope.kind.contains(kind)) {
        return Err(configuration(format!(
            "the column {:?} of {name:?} is declared as {}; one that holds envelopes is BLOB",
            envelope.name, envelope.kind
        )));
    }
    let mut sources: Vec<String> = Vec::new();
    for source in context.iter().flat_map(|(_, template)| template.columns()) {
        column(source)?;
        if !sources.iter().any(|other| other == source) {
            sources.push(source.to_owned());
        }
    }
    for written in table.written() {
        if column(written)?.is_generated {
            return Err(configuration(format!(
                "the column {written:?} of {name:?} is generated, and cannot be written"
            )));
        }
    }
    let wrapped_at = match &table.wrapped_at {
        Some(name) => Some((quoted(name), now(&column(name)?.kind))),
        None => None,
    };
    let key = key(link, &name, &columns, table).await?;
    let shape = Shape {
        title: format!("rows:{name}.{}", envelope.name),
        table: format!("main.{}", quoted(&name)),
        key: key
            .iter()
            .map(|key| key_column(column(key)?, &name))
            .collect::<Result<_>>()?,
        envelope: quoted(&envelope.name),
        context,
        sources,
        kek_id: table.kek_id.as_deref().map(quoted),
        wrapped_at,
        is_read_only: table.is_read_only,
        is_utf_16: is_utf_16(link).await?,
        oid: 0,
    };
    check_order(link, &shape).await?;
    if !table.is_read_only {
        check_writable(link).await?;
    }
    Ok(shape)
}

/// The name of the table, as it was made.
async fn relation(link: &mut dyn Link, table: &Table) -> Result<String> {
    if table
        .schema
        .as_ref()
        .is_some_and(|schema| !schema.eq_ignore_ascii_case("main"))
    {
        return Err(configuration(
            "a file of SQLite has no schema but `main`; leave out `in_schema`",
        ));
    }
    let sql =
        fixed("select name, type from pragma_table_list where schema = 'main' and name = $1 collate nocase");
    let Some(cells) = link.cells(sql, &[table.name.as_str().into()]).await?.pop() else {
        return Err(configuration(format!(
            "there is no table {:?} in the file",
            table.name
        )));
    };
    match text(&cells, 1).as_str() {
        "table" => Ok(text(&cells, 0)),
        kind => Err(configuration(format!(
            "{:?} is a {kind}; name the table whose rows they are",
            table.name
        ))),
    }
}

async fn is_utf_16(link: &mut dyn Link) -> Result<bool> {
    let sql = fixed("select encoding from pragma_encoding");
    let encoding = link.cells(sql, &[]).await?.pop().unwrap_or_default();
    Ok(text(&encoding, 0) != "UTF-8")
}

async fn columns(link: &mut dyn Link, table: &str) -> Result<Vec<Found>> {
    let sql = fixed("select name, upper(type), pk, hidden from pragma_table_xinfo($1)");
    let found = link.cells(sql, &[table.into()]).await?.into_iter();
    let column = |cells: Vec<Cell>| Found {
        name: text(&cells, 0),
        kind: text(&cells, 1),
        primary: int(&cells, 2),
        is_generated: int(&cells, 3) > 1,
    };
    Ok(found.map(column).collect())
}

fn now(kind: &str) -> &'static str {
    match kind.contains("INT") {
        true => "unixepoch()",
        false => "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')",
    }
}

/// By the rules of <https://www.sqlite.org/datatype3.html#determination_of_column_affinity>. A UUID is mostly kept as text.
fn key_column(column: &Found, table: &str) -> Result<KeyColumn> {
    let has = |kinds: &[&str]| kinds.iter().any(|kind| column.kind.contains(kind));
    let kind = if has(&["INT"]) {
        KeyKind::Int
    } else if has(&["CHAR", "CLOB", "TEXT", "UUID"]) {
        KeyKind::Text
    } else if has(&["BLOB"]) || column.kind.is_empty() {
        KeyKind::Bytes
    } else {
        return Err(configuration(format!(
            "the column {:?} of {table:?} is declared as {}; a key is made of INTEGER, TEXT, UUID and BLOB",
            column.name, column.kind
        )));
    };
    Ok(KeyColumn {
        name: quoted(&column.name),
        kind,
        cast: "",
    })
}

/// The columns of the key, which are the primary key or those of a unique index.
async fn key(link: &mut dyn Link, name: &str, columns: &[Found], table: &Table) -> Result<Vec<String>> {
    let mut primary: Vec<&Found> = columns.iter().filter(|column| column.primary > 0).collect();
    primary.sort_by_key(|column| column.primary);
    let primary: Vec<String> = primary.iter().map(|column| column.name.clone()).collect();
    let mut indexes = vec![primary];
    if !table.key.is_empty() {
        let sql = fixed(
            "select i.seq, c.name from pragma_index_list($1) as i, pragma_index_info(i.name) as c \
            where i.\"unique\" = 1 and i.partial = 0 order by i.seq, c.seqno",
        );
        let mut last = None;
        for cells in link.cells(sql, &[name.into()]).await? {
            if last.replace(int(&cells, 0)) != Some(int(&cells, 0)) {
                indexes.push(Vec::new());
            }
            if let Some(index) = indexes.last_mut() {
                index.push(text(&cells, 1));
            }
        }
    }
    indexes.retain(|index| !index.is_empty());
    let is_meant = |index: &&Vec<String>| {
        table.key.is_empty()
            || (index.len() == table.key.len()
                && index
                    .iter()
                    .zip(&table.key)
                    .all(|(one, other)| one.eq_ignore_ascii_case(other)))
    };
    if let Some(index) = indexes.iter().find(is_meant) {
        return Ok(index.clone());
    }
    let others: Vec<_> = indexes.iter().map(|index| index.join(", ")).collect();
    Err(configuration(match table.key.is_empty() {
        true => {
            format!("the table {name:?} has no primary key; name the columns of a unique index by `keyed_by`")
        }
        false => format!(
            "the table {name:?} has no unique index on ({}), in this order; there is {}",
            table.key.join(", "),
            match others.is_empty() {
                true => "no other one".to_owned(),
                false => format!("({})", others.join("), (")),
            }
        ),
    }))
}

/// An index in another collation than its column has is not in the order in which rows are read, and does not make keys unique in it.
async fn check_order(link: &mut dyn Link, shape: &Shape) -> Result<()> {
    let statement = sql(format!(
        "explain query plan select {} from {} as t order by {}",
        shape.columns(&File::WORDS, 1),
        shape.table,
        shape.order()
    ));
    let plan = link.cells(statement, &[]).await?;
    match plan.iter().any(|cells| text(cells, 3).contains("TEMP B-TREE")) {
        true => Err(configuration(format!(
            "the rows of {} cannot be read in the order of an index on {}: make a unique one in the collations of the columns",
            shape.table,
            shape.order()
        ))),
        false => Ok(()),
    }
}

async fn check_writable(link: &mut dyn Link) -> Result<()> {
    link.begin(crate::link::Begin::Write).await?;
    link.rollback().await
}
