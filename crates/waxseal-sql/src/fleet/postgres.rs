//! Rows in PostgreSQL.

mod catalog;
#[cfg(test)]
mod plans;

use async_trait::async_trait;
use waxseal::Result;
use waxseal::fleet::Replaced;

use super::key::{KeyKind, KeyPart};
use super::rows::{Dialect, Swap};
use super::shape::{KeyColumn, KeyRange, Shape, Words, sql};
use super::table::Table;
use crate::link::{Begin, Cell, Link, Value, fixed};
use crate::postgres::Server;

/// A table of fewer rows is divided exactly.
const EXACT: usize = 100_000;
/// How many pages of a larger one, of 8 KiB each, are looked at.
const SAMPLE: i64 = 500;
/// No sample has more rows, unless it is larger than it should be.
const SAMPLED: usize = 190_000;

fn key_out(column: &KeyColumn) -> String {
    match column.kind {
        KeyKind::Int => format!("t.{}::int8", column.name),
        KeyKind::Text | KeyKind::Uuid => format!("t.{}::text", column.name),
        KeyKind::Bytes => format!("t.{}::bytea", column.name),
    }
}

fn key_in(column: &KeyColumn, place: usize) -> String {
    match column.kind {
        KeyKind::Int | KeyKind::Bytes => format!("${place}::{}", column.cast),
        KeyKind::Text | KeyKind::Uuid => format!("${place}::text::{}", column.cast),
    }
}

fn class(column: &str) -> String {
    format!("case when {column} is null then 'null' else 'blob' end")
}

fn text(column: &str) -> String {
    format!("t.{column}::text")
}

#[async_trait]
impl Dialect for Server {
    const WORDS: Words = Words {
        key_out,
        key_in,
        // Each change of a row makes a new version of it, in a new place, and says which transaction has made it. `xmin` stays when a row is frozen.
        seen: "t.xmin::text || ' ' || t.ctid::text",
        class,
        text,
    };

    async fn find(link: &mut dyn Link, table: &Table) -> Result<Shape> {
        catalog::find(link, table).await
    }

    async fn replace(link: &mut dyn Link, shape: &Shape, swaps: &[Swap]) -> Result<Vec<Replaced>> {
        link.begin(Begin::Write).await?;
        // Whoever holds one row keeps the others waiting for half of the time of a call. The other half is left to do them one by one.
        let wait = "select set_config('lock_timeout', (setting::int8 / 2)::text, true) from pg_catalog.pg_settings where name = 'lock_timeout'";
        link.execute(fixed(wait), &[]).await?;
        let columns = Columns::of(shape, swaps);
        let done = numbers(link.cells(sql(replacing(shape)), &columns.all()).await?);
        let mut answers = vec![Replaced::Gone; swaps.len()];
        if done.len() < swaps.len() {
            let there = link.cells(sql(existing(shape)), &columns.keys()).await?;
            mark(&mut answers, &numbers(there), Replaced::Changed);
        }
        mark(&mut answers, &done, Replaced::Done);
        link.commit().await?;
        Ok(answers)
    }

    async fn cuts(
        link: &mut dyn Link,
        shape: &Shape,
        range: &KeyRange,
        parts: usize,
    ) -> Result<Vec<Vec<Cell>>> {
        let (within, values) = shape.within(&Self::WORDS, range);
        let statement = sql(format!(
            "select count(*) from (select 1 from {} as t where {within} limit {}) as t",
            shape.table,
            EXACT + 1
        ));
        let count = numbers(link.cells(statement, &values).await?)
            .pop()
            .unwrap_or_default();
        let (source, most) = match count > EXACT {
            true => (sampled(link, shape).await?, SAMPLED),
            false => (format!("{} as t", shape.table), EXACT),
        };
        let statement = sql(format!(
            "select {} from {source} where {within} and t.{} is not null order by {} limit {most}",
            shape.key_out(&Self::WORDS),
            shape.envelope,
            shape.order(),
        ));
        let keys = link.cells(statement, &values).await?;
        let each = keys.len().div_ceil(parts).max(1);
        let cuts = keys.into_iter().enumerate();
        let cuts = cuts.filter(|(at, _)| (at + 1) % each == 0).map(|(_, key)| key);
        Ok(cuts.collect())
    }
}

/// The table with about so many of its pages that the sample is large enough.
async fn sampled(link: &mut dyn Link, shape: &Shape) -> Result<String> {
    // With the partitions of it, and theirs.
    let statement = fixed(
        "with recursive parts(oid) as (select $1::int8::oid union all \
        select i.inhrelid from pg_catalog.pg_inherits as i join parts on i.inhparent = parts.oid) \
        select coalesce(sum(pg_catalog.pg_relation_size(oid)), 0)::int8 / 8192 from parts",
    );
    let pages = link.cells(statement, &[shape.oid.into()]).await?;
    let pages = numbers(pages).pop().unwrap_or_default();
    let pages = i64::try_from(pages).unwrap_or(i64::MAX).max(1);
    // In millionths of a percent, so that no fraction is calculated with.
    let share = (SAMPLE.saturating_mul(100_000_000) / pages).clamp(1, 100_000_000);
    Ok(format!(
        "{} as t tablesample system ({}.{:06}) repeatable (7)",
        shape.table,
        share / 1_000_000,
        share % 1_000_000
    ))
}

/// The first column of each row.
fn numbers(rows: Vec<Vec<Cell>>) -> Vec<usize> {
    let number = |cells: Vec<Cell>| match cells.into_iter().next() {
        Some(Cell::Int(number)) => usize::try_from(number).ok(),
        _ => None,
    };
    rows.into_iter().filter_map(number).collect()
}

/// Numbers begin with 1.
fn mark(answers: &mut [Replaced], numbers: &[usize], answer: Replaced) {
    for number in numbers {
        if let Some(place) = number.checked_sub(1).and_then(|at| answers.get_mut(at)) {
            *place = answer;
        }
    }
}

/// The changes, column by column.
struct Columns {
    keys: Vec<Vec<Option<String>>>,
    others: [Vec<Option<String>>; 4],
    old: Vec<Vec<u8>>,
    new: Vec<Vec<u8>>,
}

impl Columns {
    fn of(shape: &Shape, swaps: &[Swap]) -> Self {
        let part = |swap: &Swap, at: usize| swap.key.0.get(at).map(KeyPart::plain);
        let all = |text: fn(&Swap) -> Option<String>| swaps.iter().map(text).collect();
        Self {
            keys: (0..shape.key.len())
                .map(|at| swaps.iter().map(|swap| part(swap, at)).collect())
                .collect(),
            others: [
                all(|swap| swap.seen.split_once(' ').map(|(version, _)| version.to_owned())),
                all(|swap| swap.seen.split_once(' ').map(|(_, place)| place.to_owned())),
                all(|swap| Some(swap.len.to_string())),
                all(|swap| swap.kek_id.clone()),
            ],
            old: swaps.iter().map(|swap| swap.old().to_vec()).collect(),
            new: swaps.iter().map(|swap| swap.new.clone()).collect(),
        }
    }

    fn keys(&self) -> Vec<Value<'_>> {
        self.keys.iter().map(|column| Value::Texts(column)).collect()
    }

    fn all(&self) -> Vec<Value<'_>> {
        let others = self.others.iter().map(|column| Value::Texts(column));
        let fronts = [Value::Blobs(&self.old), Value::Blobs(&self.new)];
        self.keys().into_iter().chain(others).chain(fronts).collect()
    }
}

/// `unnest($1::text[], ...) with ordinality as c(k1, ..., n)`.
fn changes(shape: &Shape, others: &[(&str, &str)]) -> String {
    let keys = (1..=shape.key.len()).map(|number| (format!("k{number}"), "text"));
    let others = others.iter().map(|(name, kind)| ((*name).to_owned(), *kind));
    let (mut names, mut places) = (Vec::new(), Vec::new());
    for (place, (name, kind)) in (1..).zip(keys.chain(others)) {
        names.push(name);
        places.push(format!("${place}::{kind}[]"));
    }
    format!(
        "unnest({}) with ordinality as c({}, n)",
        places.join(", "),
        names.join(", ")
    )
}

/// What joins a row with its change.
fn joined(shape: &Shape) -> String {
    let key = |(number, column): (usize, &KeyColumn)| {
        let value = match column.kind {
            KeyKind::Bytes => format!("decode(c.k{number}, 'hex')"),
            _ => format!("c.k{number}::{}", column.cast),
        };
        format!("t.{} = {value}", column.name)
    };
    let keys: Vec<_> = (1..).zip(&shape.key).map(key).collect();
    keys.join(" and ")
}

/// The statement that replaces all fronts whose rows are what was read. Rows are locked in the order of their keys, so that two workers never wait for
/// each other. The body is joined to the new front in the database, and is neither read nor sent.
fn replacing(shape: &Shape) -> String {
    let Shape { table, envelope, .. } = shape;
    let others = [
        ("version", "text"),
        ("place", "text"),
        ("len", "text"),
        ("kek", "text"),
        ("old", "bytea"),
        ("new", "bytea"),
    ];
    let (changes, joined, order) = (changes(shape, &others), joined(shape), shape.order());
    let mut set = vec![format!(
        "{envelope} = overlay(t.{envelope} placing c.new from 1 for octet_length(c.old))"
    )];
    set.extend(shape.kek_id.iter().map(|column| format!("{column} = c.kek")));
    set.extend(
        shape
            .wrapped_at
            .iter()
            .map(|(column, now)| format!("{column} = {now}")),
    );
    format!(
        "with c as (select * from {changes}), \
        found as (select c.n from c join {table} as t on {joined} \
        where t.xmin::text = c.version and t.ctid = c.place::tid and octet_length(t.{envelope}) = c.len::int8 \
        and substring(t.{envelope} from 1 for octet_length(c.old)) = c.old \
        order by {order} for no key update of t) \
        update {table} as t set {} from c join found on found.n = c.n where {joined} returning c.n",
        set.join(", ")
    )
}

/// The statement that says which of the rows are there.
fn existing(shape: &Shape) -> String {
    format!(
        "select c.n from {} join {} as t on {} where t.{} is not null",
        changes(shape, &[]),
        shape.table,
        joined(shape),
        shape.envelope
    )
}
