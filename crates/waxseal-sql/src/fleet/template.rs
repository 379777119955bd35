//! A text with the values of columns in it.

use waxseal::Result;

use super::table::argument;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Column(String),
}

impl Template {
    pub(super) fn parse(template: &str) -> Result<Self> {
        let wrong = || {
            argument(format!(
                "the template {template:?} has a brace without its other one; a brace itself is written twice"
            ))
        };
        let (mut pieces, mut text) = (Vec::new(), String::new());
        let mut rest = template;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, behind) = rest.split_at(at);
            text.push_str(before);
            if let Some(behind) = behind.strip_prefix("{{") {
                text.push('{');
                rest = behind;
            } else if let Some(behind) = behind.strip_prefix("}}") {
                text.push('}');
                rest = behind;
            } else {
                let inside = behind.strip_prefix('{').ok_or_else(wrong)?;
                let (column, behind) = inside.split_once('}').ok_or_else(wrong)?;
                if column.contains('{') {
                    return Err(wrong());
                }
                pieces.push(Piece::Text(std::mem::take(&mut text)));
                pieces.push(Piece::Column(column.to_owned()));
                rest = behind;
            }
        }
        text.push_str(rest);
        pieces.push(Piece::Text(text));
        Ok(Self(pieces))
    }

    pub(super) fn columns(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Column(column) => Some(column.as_str()),
            Piece::Text(_) => None,
        })
    }

    /// The text, with what `value` returns for each column.
    pub(super) fn fill<'v>(&self, mut value: impl FnMut(&str) -> Result<&'v str>) -> Result<String> {
        let mut filled = String::new();
        for piece in &self.0 {
            filled.push_str(match piece {
                Piece::Text(text) => text,
                Piece::Column(column) => value(column)?,
            });
        }
        Ok(filled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_filled_in_and_braces_stay() {
        for (template, filled) in [
            ("", ""),
            ("plain", "plain"),
            ("{a}", "<a>"),
            ("x{a}{b c}y", "x<a><b c>y"),
            ("{{a}}", "{a}"),
            ("{{{a}}}", "{<a>}"),
        ] {
            let values = [("a", "<a>"), ("b c", "<b c>")];
            let value = |name: &str| Ok(values.iter().find(|(column, _)| *column == name).unwrap().1);
            assert_eq!(Template::parse(template).unwrap().fill(value).unwrap(), filled);
        }
        for wrong in ["{", "}", "{a", "a}", "{a{b}", "{{a}", "{a}}"] {
            assert!(Template::parse(wrong).is_err(), "{wrong}");
        }
    }
}
