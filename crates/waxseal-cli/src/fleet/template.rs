//! Text with places for what each item has: `{tenant_id}`.

/// Text and names, one after the other.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Template(Vec<Part>);

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Name(String),
}

impl Template {
    /// `{{` and `}}` stand for braces.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text.chars().peekable();
        while let Some(next) = rest.next() {
            match next {
                '{' | '}' if rest.peek() == Some(&next) => {
                    rest.next();
                    plain.push(next);
                }
                '{' => {
                    let mut name = String::new();
                    loop {
                        match rest.next() {
                            Some('}') => break,
                            Some(other) if other != '{' => name.push(other),
                            _ => return Err(format!("{text:?}: a brace is not closed; {{{{ stands for one")),
                        }
                    }
                    if name.is_empty() {
                        return Err(format!("{text:?}: no name is between the braces"));
                    }
                    if !plain.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut plain)));
                    }
                    parts.push(Part::Name(name));
                }
                '}' => return Err(format!("{text:?}: a brace was not opened; }}}} stands for one")),
                other => plain.push(other),
            }
        }
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self(parts))
    }

    /// The text of an item. An error is the name that it has not.
    pub(super) fn fill<'v>(&self, value: impl Fn(&str) -> Option<&'v str>) -> Result<String, &str> {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Text(plain) => text += plain,
                Part::Name(name) => text += value(name).ok_or(name.as_str())?,
            }
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_filled_in_and_braces_can_be_written() {
        let value = |name: &str| (name == "a").then_some("x{y}");
        for (text, filled) in [
            ("", ""),
            ("plain", "plain"),
            ("{a}", "x{y}"),
            ("<{a}-{a}>", "<x{y}-x{y}>"),
            ("{{a}}", "{a}"),
        ] {
            assert_eq!(
                Template::parse(text).unwrap().fill(value),
                Ok(filled.to_owned()),
                "{text}"
            );
        }
        assert_eq!(Template::parse("{b}").unwrap().fill(value), Err("b"));
        for text in ["{", "{a", "a}", "{}", "{a{b}}"] {
            assert!(Template::parse(text).is_err(), "{text}");
        }
    }
}
