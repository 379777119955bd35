//! What a table looks like in which sealed values are.

use waxseal::{Error, ErrorKind, Result};

use super::template::Template;

/// A table, and the column of it that holds envelopes.
///
/// ```
/// use waxseal_sql::fleet::Table;
///
/// let table = Table::new("users", "email")
///     .in_schema("app")
///     .context("tenant", "{tenant_id}")
///     .context("column", "users.email")
///     .kek_id("email_kek");
/// ```
///
/// All names are as the database has them: `Users` is not `users` in PostgreSQL, and nothing has to be quoted.
///
/// *Key.* The primary key, unless [`keyed_by`](Self::keyed_by) names the columns of another unique index. Its columns hold integers, text, UUIDs or bytes.
#[derive(Clone, Debug)]
#[must_use = "a description does nothing until a store is opened with it"]
pub struct Table {
    pub(super) schema: Option<String>,
    pub(super) name: String,
    pub(super) key: Vec<String>,
    pub(super) envelope: String,
    pub(super) context: Vec<(String, String)>,
    pub(super) kek_id: Option<String>,
    pub(super) wrapped_at: Option<String>,
    pub(super) is_read_only: bool,
}

impl Table {
    /// Describes a table by its name, and by that of the column that holds envelopes: `bytea` in PostgreSQL, `BLOB` in SQLite.
    pub fn new(name: impl Into<String>, envelope: impl Into<String>) -> Self {
        Self {
            schema: None,
            name: name.into(),
            key: Vec::new(),
            envelope: envelope.into(),
            context: Vec::new(),
            kek_id: None,
            wrapped_at: None,
            is_read_only: false,
        }
    }

    /// Names the schema. Without, the table is the one that the `search_path` leads to.
    pub fn in_schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = Some(schema.into());
        self
    }

    /// Names the columns of the key, in the order of a unique index. The primary key by default.
    pub fn keyed_by<C: Into<String>>(mut self, columns: impl IntoIterator<Item = C>) -> Self {
        self.key = columns.into_iter().map(Into::into).collect();
        self
    }

    /// Adds a pair to the encryption context in which each value is sealed. In the template, `{column}` is the text of that column in the row, and `{{` and
    /// `}}` are braces. An integer is written in decimal, a UUID in lower case with hyphens, a boolean as `true` or `false`.
    ///
    /// Without any pair, the envelopes must store their contexts.
    pub fn context(mut self, key: impl Into<String>, template: impl Into<String>) -> Self {
        self.context.push((key.into(), template.into()));
        self
    }

    /// Names a text column that says under which KEK the value is. Each replacement writes it together with the value: the id of the KEK; with several wraps
    /// that of each, on a line of its own; `NULL` if they are hidden. One for which there is no room is a fault, and is not cut off.
    pub fn kek_id(mut self, column: impl Into<String>) -> Self {
        self.kek_id = Some(column.into());
        self
    }

    /// Names a column that says when the value was wrapped, by the clock of the database. Each replacement writes it: a time, in UTC if the column has no time
    /// zone; seconds after 1970 in a column of integers; in a text column of SQLite `2027-01-31T12:00:00.000Z`.
    pub fn wrapped_at(mut self, column: impl Into<String>) -> Self {
        self.wrapped_at = Some(column.into());
        self
    }

    /// Says that nothing will be replaced, so that no right to write is asked for: for dry runs.
    pub fn read_only(mut self) -> Self {
        self.is_read_only = true;
        self
    }

    /// The columns that a replacement writes, the one with the envelope first.
    pub(super) fn written(&self) -> impl Iterator<Item = &String> {
        std::iter::once(&self.envelope)
            .chain(&self.kek_id)
            .chain(&self.wrapped_at)
    }

    /// Checks what can be checked without a database.
    pub(super) fn check(&self) -> Result<Vec<(String, Template)>> {
        let names = [&self.name].into_iter().chain(&self.schema).chain(&self.key);
        for name in names.chain(self.written()) {
            check_name(name)?;
        }
        let written: Vec<_> = self.written().collect();
        let twice = |at: usize, name: &&String| written.iter().skip(at + 1).any(|other| other == name);
        if let Some((_, name)) = written.iter().enumerate().find(|(at, name)| twice(*at, name)) {
            return Err(argument(format!("the column {name:?} cannot hold two things")));
        }
        if let Some(name) = self.written().find(|name| self.key.contains(name)) {
            return Err(argument(format!(
                "the column {name:?} is in the key and is written"
            )));
        }
        let mut templates: Vec<(String, Template)> = Vec::new();
        for (key, template) in &self.context {
            if key.is_empty() || templates.iter().any(|(other, _)| other == key) {
                return Err(argument(format!(
                    "the context has the key {key:?}, which is empty or occurs twice"
                )));
            }
            let template = Template::parse(template)?;
            template.columns().try_for_each(check_name)?;
            templates.push((key.clone(), template));
        }
        Ok(templates)
    }
}

fn check_name(name: &str) -> Result<()> {
    if name.is_empty() || name.contains('\0') {
        return Err(argument(format!(
            "{name:?} is no name of a schema, table or column"
        )));
    }
    Ok(())
}

pub(super) fn argument(detail: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidArgument).with_detail(detail.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_table_can_be_is_refused() {
        let table = || Table::new("t", "e");
        for (table, why) in [
            (Table::new("", "e"), "no name"),
            (Table::new("t", "e\0"), "no name"),
            (table().in_schema(""), "no name"),
            (table().keyed_by(["a", ""]), "no name"),
            (table().kek_id("e"), "two things"),
            (table().keyed_by(["e"]), "is in the key"),
            (table().context("", "x"), "empty or occurs twice"),
            (
                table().context("a", "x").context("a", "y"),
                "empty or occurs twice",
            ),
            (table().context("a", "{}"), "no name"),
            (table().context("a", "{b"), "brace"),
        ] {
            let error = table.check().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.to_string().contains(why), "{error}");
        }
        assert!(
            table()
                .context("a", "{b}")
                .kek_id("k")
                .wrapped_at("w")
                .check()
                .is_ok()
        );
    }
}
