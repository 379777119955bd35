//! One row that was read, and the checks of its form.

use waxseal::{Error, ErrorKind, Result};

/// One column of a row.
#[derive(Debug)]
pub(crate) enum Cell {
    Null,
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
    /// Of a type that no column has, or a text that is no UTF-8.
    Other,
}

impl Cell {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Null | Self::Other => 0,
            Self::Int(_) => 8,
            Self::Text(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
        }
    }
}

/// Which columns of which table a statement returns, in order. The first columns name the row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Select {
    pub(crate) table: &'static str,
    pub(crate) columns: &'static [&'static str],
    /// How many columns name the row.
    pub(crate) key: usize,
}

/// One row that was read.
#[derive(Debug)]
pub(crate) struct Record {
    select: Select,
    cells: Vec<Cell>,
}

/// What was read has not the form that it must have.
pub(crate) fn invalid(table: &str, row: &str, column: &str, why: &str) -> Error {
    Error::new(ErrorKind::InventoryInvalid)
        .with_detail(format!("table {table}, row {row}, column {column}: {why}"))
}

/// The longest name of a row in an error.
const SHOWN: usize = 64;

impl Record {
    pub(crate) fn new(select: Select, cells: Vec<Cell>) -> Self {
        Self { select, cells }
    }

    /// A row of another table, whose columns are at these places of this one.
    pub(crate) fn pick(&mut self, select: Select, places: &[usize]) -> Self {
        let cell = |place: &usize| {
            let cell = self.cells.get_mut(*place);
            cell.map_or(Cell::Null, |cell| std::mem::replace(cell, Cell::Null))
        };
        let cells = places.iter().map(cell).collect();
        Self { select, cells }
    }

    /// An error about this column.
    pub(crate) fn invalid(&self, column: &str, why: &str) -> Error {
        let key: Vec<_> = self.cells.iter().take(self.select.key).map(shown).collect();
        let row = match key.as_slice() {
            [] => "?".to_owned(),
            key => key.join(" "),
        };
        invalid(self.select.table, &row, column, why)
    }

    fn cell(&self, column: &str) -> Result<&Cell> {
        let index = self.select.columns.iter().position(|name| *name == column);
        index
            .and_then(|index| self.cells.get(index))
            .ok_or_else(|| self.invalid(column, "it is missing"))
    }

    fn take(&mut self, column: &str) -> Result<Cell> {
        let index = self.select.columns.iter().position(|name| *name == column);
        let cell = index.and_then(|index| self.cells.get_mut(index));
        match cell {
            Some(cell) => Ok(std::mem::replace(cell, Cell::Null)),
            None => Err(self.invalid(column, "it is missing")),
        }
    }

    pub(crate) fn int(&self, column: &str) -> Result<i64> {
        self.optional_int(column)?
            .ok_or_else(|| self.invalid(column, "it is null"))
    }

    pub(crate) fn optional_int(&self, column: &str) -> Result<Option<i64>> {
        match self.cell(column)? {
            Cell::Int(value) => Ok(Some(*value)),
            Cell::Null => Ok(None),
            _ => Err(self.invalid(column, "it is no integer")),
        }
    }

    pub(crate) fn is_null(&self, column: &str) -> Result<bool> {
        Ok(matches!(self.cell(column)?, Cell::Null))
    }

    /// An integer that is not negative.
    pub(crate) fn count(&self, column: &str) -> Result<u64> {
        u64::try_from(self.int(column)?).map_err(|_| self.invalid(column, "it is negative"))
    }

    pub(crate) fn text(&self, column: &str) -> Result<&str> {
        self.optional_text(column)?
            .ok_or_else(|| self.invalid(column, "it is null"))
    }

    pub(crate) fn optional_text(&self, column: &str) -> Result<Option<&str>> {
        match self.cell(column)? {
            Cell::Text(value) => Ok(Some(value)),
            Cell::Null => Ok(None),
            _ => Err(self.invalid(column, "it is no text")),
        }
    }

    /// A text of this form.
    pub(crate) fn parsed<T>(&self, column: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T> {
        parse(self.text(column)?).ok_or_else(|| self.invalid(column, "it has not the form that it must have"))
    }

    pub(crate) fn bytes(&mut self, column: &str, most: usize) -> Result<Vec<u8>> {
        self.optional_bytes(column, most)?
            .ok_or_else(|| self.invalid(column, "it is null"))
    }

    pub(crate) fn optional_bytes(&mut self, column: &str, most: usize) -> Result<Option<Vec<u8>>> {
        match self.take(column)? {
            Cell::Bytes(value) if value.len() > most => {
                Err(self.invalid(column, &format!("it has more than {most} bytes")))
            }
            Cell::Bytes(value) => Ok(Some(value)),
            Cell::Null => Ok(None),
            _ => Err(self.invalid(column, "it is no bytes")),
        }
    }

    pub(crate) fn array<const N: usize>(&mut self, column: &str) -> Result<[u8; N]> {
        let bytes = self.bytes(column, N)?;
        <[u8; N]>::try_from(bytes).map_err(|_| self.invalid(column, &format!("it has not {N} bytes")))
    }
}

/// A part of a row's name, which may be anything.
fn shown(cell: &Cell) -> String {
    match cell {
        Cell::Int(value) => value.to_string(),
        Cell::Text(text) if text.is_empty() => "\"\"".to_owned(),
        Cell::Text(text) => text.chars().take(SHOWN).flat_map(char::escape_debug).collect(),
        Cell::Null | Cell::Bytes(_) | Cell::Other => "?".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_table_row_and_column_and_escapes_what_it_names() {
        let select = Select {
            table: "t",
            columns: &["id", "n", "b"],
            key: 1,
        };
        let cells = vec![
            Cell::Text(format!("a\n{}", "x".repeat(100))),
            Cell::Int(-1),
            Cell::Bytes(vec![0; 5]),
        ];
        let mut record = Record::new(select, cells);
        let error = record.count("n").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InventoryInvalid);
        let text = error.to_string();
        assert!(
            text.contains("table t, row a\\nxxx") && text.contains("column n"),
            "{text}"
        );
        assert!(text.len() < 200, "{text}");
        for (error, why) in [
            (record.text("n").map(drop), "no text"),
            (record.int("id").map(drop), "no integer"),
            (record.text("other").map(drop), "missing"),
            (record.bytes("b", 4).map(drop), "more than 4 bytes"),
            // It was taken.
            (record.array::<5>("b").map(drop), "null"),
        ] {
            let error = error.unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
