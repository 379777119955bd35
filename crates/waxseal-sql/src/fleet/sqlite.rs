//! Rows in SQLite.

mod catalog;

use async_trait::async_trait;
use waxseal::fleet::Replaced;
use waxseal::{Error, ErrorKind, Result};

use super::cell::int;
use super::key::KeyPart;
use super::rows::{Dialect, Swap};
use super::shape::{KeyColumn, KeyRange, Shape, Words, sql};
use super::table::Table;
use crate::link::{Begin, Cell, Link, Value};
use crate::sqlite::File;

fn key_out(column: &KeyColumn) -> String {
    format!("t.{}", column.name)
}

fn key_in(_: &KeyColumn, place: usize) -> String {
    format!("${place}")
}

fn class(column: &str) -> String {
    format!("typeof({column})")
}

fn text(column: &str) -> String {
    format!("t.{column}")
}

#[async_trait]
impl Dialect for File {
    const WORDS: Words = Words {
        key_out,
        key_in,
        // SQLite has no versions of rows.
        seen: "''",
        class,
        text,
    };

    async fn find(link: &mut dyn Link, table: &Table) -> Result<Shape> {
        catalog::find(link, table).await
    }

    async fn replace(link: &mut dyn Link, shape: &Shape, swaps: &[Swap]) -> Result<Vec<Replaced>> {
        link.begin(Begin::Write).await?;
        let (replacing, existing) = (replacing(shape), existing(shape));
        let mut answers = Vec::with_capacity(swaps.len());
        for swap in swaps {
            let mut values: Vec<Value<'_>> = swap.key.0.iter().map(KeyPart::value).collect();
            let there = values.clone();
            values.extend([
                Value::from(swap.len),
                swap.read.as_slice().into(),
                swap.new.as_slice().into(),
            ]);
            if shape.kek_id.is_some() {
                values.push(Value::Text(swap.kek_id.as_deref()));
            }
            let (read, replaced) = (number(swap.read.len()), number(swap.replaces));
            values.extend([Value::from(read), Value::from(replaced)]);
            let replaced = link.cells(sql(replacing.clone()), &values).await?.pop();
            answers.push(match replaced {
                Some(cells) if int(&cells, 0) == swap.new_len() => Replaced::Done,
                // The transaction is not committed.
                Some(_) => {
                    return Err(Error::new(ErrorKind::Store)
                        .with_detail("SQLite joined a front and a body to something else"));
                }
                None if link.cells(sql(existing.clone()), &there).await?.is_empty() => Replaced::Gone,
                None => Replaced::Changed,
            });
        }
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
        let count = sql(format!(
            "select count(*) from {} as t where {within}",
            shape.table
        ));
        let count = int(&link.cells(count, &values).await?.pop().unwrap_or_default(), 0);
        let parts = i64::try_from(parts).unwrap_or(i64::MAX).max(1);
        let each = (count + parts - 1) / parts;
        let names: Vec<_> = (0..shape.key.len()).map(|at| format!("k{at}")).collect();
        let keys = shape.key.iter().zip(&names);
        let keys: Vec<_> = keys
            .map(|(column, name)| format!("t.{} as {name}", column.name))
            .collect();
        let statement = sql(format!(
            "select {} from (select {}, row_number() over (order by {}) as n from {} as t where {within}) where n % {} = 0 order by n",
            names.join(", "),
            keys.join(", "),
            shape.order(),
            shape.table,
            each.max(1),
        ));
        link.cells(statement, &values).await
    }
}

fn number(len: usize) -> i64 {
    i64::try_from(len).unwrap_or(i64::MAX)
}

/// The statement that replaces a front. Its parameters are the key, then the length, what was read, the new front, the id of the KEK if there is a column for
/// it, the length of what was read, and how much is replaced.
fn replacing(shape: &Shape) -> String {
    let Shape { table, envelope, .. } = shape;
    let first = shape.key.len() + 1;
    let [len, read, new] = [first, first + 1, first + 2];
    let kek = shape.kek_id.as_ref().map(|column| (column, first + 3));
    let last = first + 3 + usize::from(kek.is_some());
    let [read_len, replaces] = [last, last + 1];
    let body = format!("substr({envelope}, ${replaces} + 1)");
    // What is joined becomes text, whose bytes stay as they are in UTF-8 alone.
    let mut set = vec![match shape.is_utf_16 {
        true => format!("{envelope} = unhex(hex(${new}) || hex({body}))"),
        false => format!("{envelope} = cast(${new} || {body} as blob)"),
    }];
    set.extend(kek.map(|(column, place)| format!("{column} = ${place}")));
    set.extend(
        shape
            .wrapped_at
            .iter()
            .map(|(column, now)| format!("{column} = {now}")),
    );
    format!(
        "update {table} as t set {} where {} and typeof(t.{envelope}) = 'blob' and octet_length(t.{envelope}) = ${len} \
        and substr(t.{envelope}, 1, ${read_len}) = ${read} returning octet_length({envelope})",
        set.join(", "),
        shape.is_row(&File::WORDS, 1),
    )
}

/// The statement that says whether a row is there.
fn existing(shape: &Shape) -> String {
    format!(
        "select 1 from {} as t where {} and t.{} is not null",
        shape.table,
        shape.is_row(&File::WORDS, 1),
        shape.envelope
    )
}
