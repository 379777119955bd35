//! Tables that are sorted by the column that a request asks for.

use std::cmp::Ordering;

use maud::{Markup, html};

use crate::query::Query;

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    /// How a request names it. Empty: nobody sorts by it.
    name: &'static str,
    title: &'static str,
    is_number: bool,
    /// Whether the greatest comes first if nobody asks for the reverse.
    is_descending: bool,
}

impl Column {
    pub(crate) const fn new(name: &'static str, title: &'static str) -> Self {
        Self {
            name,
            title,
            is_number: false,
            is_descending: false,
        }
    }

    /// One of counts: the greatest comes first.
    pub(crate) const fn count(name: &'static str, title: &'static str) -> Self {
        Self {
            is_number: true,
            is_descending: true,
            ..Self::new(name, title)
        }
    }

    pub(crate) const fn descending(self) -> Self {
        Self {
            is_descending: true,
            ..self
        }
    }
}

/// By which column, and in which direction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sorting<'c> {
    columns: &'c [Column],
    by: Column,
    is_descending: bool,
}

impl<'c> Sorting<'c> {
    /// What a request asks for, or by the column of this name.
    pub(crate) fn of(query: &Query, columns: &'c [Column], otherwise: &str) -> Self {
        let named = |name: &str| {
            columns
                .iter()
                .find(|column| column.name == name && !name.is_empty())
        };
        let asked = query.get("sort").and_then(named);
        let by = *asked.or_else(|| named(otherwise)).unwrap_or(&Column::new("", ""));
        let is_reversed = query.get("order") == Some("reversed");
        Self {
            columns,
            by,
            is_descending: by.is_descending != is_reversed,
        }
    }

    /// The name of the column.
    pub(crate) fn by(&self) -> &'static str {
        self.by.name
    }

    /// Compares what two rows have in the column.
    pub(crate) fn order<T: Ord>(&self, one: &T, other: &T) -> Ordering {
        let order = one.cmp(other);
        if self.is_descending {
            order.reverse()
        } else {
            order
        }
    }

    /// The same of what a row may lack: that comes last, whatever the direction.
    pub(crate) fn order_some<T: Ord>(&self, one: Option<T>, other: Option<T>) -> Ordering {
        match (one, other) {
            (Some(one), Some(other)) => self.order(&one, &other),
            (one, other) => other.is_some().cmp(&one.is_some()),
        }
    }

    /// The heads of the columns, with links that sort by them.
    pub(crate) fn heads(&self, query: &Query, path: &str) -> Markup {
        html! { @for column in self.columns { (self.head(column, query, path)) } }
    }

    fn head(&self, column: &Column, query: &Query, path: &str) -> Markup {
        let class = column.is_number.then_some("number");
        if column.name.is_empty() {
            return html! { th class=[class] scope="col" { (column.title) } };
        }
        let is_sorted = self.by.name == column.name;
        let sorted = match (is_sorted, self.is_descending) {
            (false, _) => None,
            (true, false) => Some(("ascending", " ↑")),
            (true, true) => Some(("descending", " ↓")),
        };
        let is_first = self.is_descending == column.is_descending;
        let order = if is_sorted && is_first { "reversed" } else { "" };
        html! {
            th class=[class] scope="col" aria-sort=[sorted.map(|(sorted, _)| sorted)] {
                a href=(query.link(path, &[("sort", column.name), ("order", order), ("page", "")])) {
                    (column.title)
                    span.arrow aria-hidden="true" { @if let Some((_, arrow)) = sorted { (arrow) } }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 3] = [
        Column::new("name", "Name"),
        Column::count("count", "Count"),
        Column::new("", "More"),
    ];

    fn sorted(query: &str) -> (Vec<Option<u32>>, String) {
        let query = Query::parse(Some(query)).unwrap();
        let sorting = Sorting::of(&query, &COLUMNS, "name");
        let mut all = vec![Some(2), None, Some(3), Some(1)];
        all.sort_by(|one, other| sorting.order_some(*one, *other));
        (all, sorting.heads(&query, "/here").into_string())
    }

    #[test]
    fn what_is_announced_is_what_is_shown_and_what_is_absent_comes_last() {
        let (up, down) = (
            [Some(1), Some(2), Some(3), None],
            [Some(3), Some(2), Some(1), None],
        );
        for (query, order, announced) in [
            ("", up, "ascending\"><a href=\"/here?order=reversed&amp;sort=name"),
            ("order=reversed", down, "descending\"><a href=\"/here?sort=name"),
            (
                "sort=count",
                down,
                "descending\"><a href=\"/here?order=reversed&amp;sort=count",
            ),
            (
                "sort=count&order=reversed",
                up,
                "ascending\"><a href=\"/here?sort=count",
            ),
            (
                "sort=nothing",
                up,
                "ascending\"><a href=\"/here?order=reversed&amp;sort=name",
            ),
        ] {
            let (all, heads) = sorted(query);
            assert_eq!(all, order, "{query}");
            assert!(heads.contains(announced), "{query}: {heads}");
            assert_eq!(heads.matches("aria-sort").count(), 1, "{heads}");
        }
    }
}
