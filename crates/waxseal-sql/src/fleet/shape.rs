//! What the catalog of a database says of a table, and the statements that follow from it.

use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};
use waxseal::{Error, ErrorKind, Result};

use super::key::{Key, KeyKind, KeyPart};
use super::template::Template;
use crate::link::{Cell, Value};

/// How many bytes of a value are read at first. They contain most headers.
pub(super) const FRONT: usize = 4096;

/// A column of the key.
#[derive(Debug)]
pub(super) struct KeyColumn {
    /// Quoted.
    pub(super) name: String,
    pub(super) kind: KeyKind,
    /// The type of a parameter that is compared with it, if the database must be told.
    #[cfg_attr(
        not(feature = "postgres"),
        expect(dead_code, reason = "SQLite needs no such thing")
    )]
    pub(super) cast: &'static str,
}

/// A table that was found, with quoted names.
#[derive(Debug)]
pub(super) struct Shape {
    /// For people and reports.
    pub(super) title: String,
    /// What a statement reads from and writes to.
    pub(super) table: String,
    pub(super) key: Vec<KeyColumn>,
    pub(super) envelope: String,
    pub(super) context: Vec<(String, Template)>,
    /// The columns of the context, each once, as the templates name them.
    pub(super) sources: Vec<String>,
    pub(super) kek_id: Option<String>,
    /// The column, and what it is set to.
    pub(super) wrapped_at: Option<(String, &'static str)>,
    pub(super) is_read_only: bool,
    /// Whether texts are UTF-16 in this file of SQLite.
    #[cfg_attr(
        not(feature = "sqlite"),
        expect(dead_code, reason = "PostgreSQL needs no such thing")
    )]
    pub(super) is_utf_16: bool,
    /// The number of the table in PostgreSQL.
    #[cfg_attr(
        not(feature = "postgres"),
        expect(dead_code, reason = "SQLite needs no such thing")
    )]
    pub(super) oid: i64,
}

/// How the two databases write what they write differently.
pub(super) struct Words {
    pub(super) key_out: fn(&KeyColumn) -> String,
    /// A parameter, by its number, that is compared with a column of the key.
    pub(super) key_in: fn(&KeyColumn, usize) -> String,
    /// What tells one version of a row from another one.
    pub(super) seen: &'static str,
    /// What class of value there is in a column: `null`, `blob` or something else.
    pub(super) class: fn(&str) -> String,
    pub(super) text: fn(&str) -> String,
}

/// A name in a statement. Within the quotes all but a quote is itself, in both databases.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Names were quoted, and all values are parameters.
pub(super) fn sql(sql: String) -> SqlStr {
    AssertSqlSafe(sql).into_sql_str()
}

impl Shape {
    pub(super) fn kinds(&self) -> Vec<KeyKind> {
        self.key.iter().map(|column| column.kind).collect()
    }

    /// A list that stands in parentheses if there is more than one.
    fn list(&self, each: impl Fn(usize, &KeyColumn) -> String) -> String {
        let all: Vec<_> = self
            .key
            .iter()
            .enumerate()
            .map(|(at, column)| each(at, column))
            .collect();
        match all.as_slice() {
            [one] => one.clone(),
            all => format!("({})", all.join(", ")),
        }
    }

    /// `(t."a", t."b") > ($1, $2)`.
    fn compared(&self, words: &Words, operator: &str, first: usize) -> String {
        let columns = self.list(|_, column| format!("t.{}", column.name));
        let values = self.list(|at, column| (words.key_in)(column, first + at));
        format!("{columns} {operator} {values}")
    }

    pub(super) fn order(&self) -> String {
        let columns: Vec<_> = self
            .key
            .iter()
            .map(|column| format!("t.{}", column.name))
            .collect();
        columns.join(", ")
    }

    /// What is true for the rows of a range, with its parameters from `$1` on.
    pub(super) fn within<'k>(&self, words: &Words, range: &'k KeyRange) -> (String, Vec<Value<'k>>) {
        let (mut conditions, mut values) = (Vec::new(), Vec::new());
        for (operator, key) in [(">", &range.after), ("<=", &range.until)] {
            if let Some(key) = key {
                conditions.push(self.compared(words, operator, values.len() + 1));
                values.extend(key.0.iter().map(KeyPart::value));
            }
        }
        match conditions.is_empty() {
            true => ("true".to_owned(), values),
            false => (conditions.join(" and "), values),
        }
    }

    /// What is true for one row, with the parameters from `$first` on.
    pub(super) fn is_row(&self, words: &Words, first: usize) -> String {
        self.compared(words, "=", first)
    }

    pub(super) fn key_out(&self, words: &Words) -> String {
        let columns: Vec<_> = self.key.iter().map(words.key_out).collect();
        columns.join(", ")
    }

    /// The columns of a [`Row`], with so many bytes of the value.
    pub(super) fn columns(&self, words: &Words, front: usize) -> String {
        let envelope = format!("t.{}", self.envelope);
        let mut columns = vec![
            self.key_out(words),
            words.seen.to_owned(),
            (words.class)(&envelope),
            format!("cast(octet_length({envelope}) as bigint)"),
            format!("substr({envelope}, 1, {front})"),
        ];
        let sources = self.sources.iter().map(|source| (words.text)(&quoted(source)));
        columns.extend(sources);
        columns.join(", ")
    }
}

/// A range of keys.
#[derive(Clone, Debug, Default)]
pub(super) struct KeyRange {
    pub(super) after: Option<Key>,
    pub(super) until: Option<Key>,
}

/// A row as it was read.
pub(super) struct Row {
    pub(super) key: Key,
    pub(super) seen: String,
    pub(super) class: String,
    pub(super) len: u64,
    pub(super) front: Vec<u8>,
    pub(super) sources: Vec<Cell>,
}

impl Row {
    pub(super) fn read(shape: &Shape, cells: Vec<Cell>) -> Result<Self> {
        let mut cells = cells.into_iter();
        let key = read_key(shape, &mut cells)?;
        let mut next = || cells.next().unwrap_or(Cell::Null);
        let text = |cell| match cell {
            Cell::Text(text) => text,
            _ => String::new(),
        };
        let (seen, class) = (text(next()), text(next()));
        let len = match next() {
            Cell::Int(len) => u64::try_from(len).unwrap_or_default(),
            _ => 0,
        };
        let front = match next() {
            Cell::Bytes(front) => front,
            _ => Vec::new(),
        };
        Ok(Self {
            key,
            seen,
            class,
            len,
            front,
            sources: cells.collect(),
        })
    }
}

pub(super) fn read_key(shape: &Shape, cells: &mut impl Iterator<Item = Cell>) -> Result<Key> {
    let part = |column: &KeyColumn| {
        match cells.next() {
        Some(Cell::Int(int)) => Ok(KeyPart::Int(int)),
        Some(Cell::Text(text)) => Ok(KeyPart::Text(text)),
        Some(Cell::Bytes(bytes)) => Ok(KeyPart::Bytes(bytes)),
        _ => Err(Error::new(ErrorKind::Store).with_detail(format!(
            "a row has a key that is NULL, a fraction or no valid text in the column {}, and has no place in the order; give it another one",
            column.name
        ))),
    }
    };
    shape.key.iter().map(part).collect::<Result<_>>().map(Key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quote_within_a_name_does_not_end_it() {
        assert_eq!(quoted("select"), "\"select\"");
        assert_eq!(quoted("a\"; drop table \"b"), "\"a\"\"; drop table \"\"b\"");
    }
}
