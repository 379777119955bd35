//! Names that become parts of a path: nothing in them can lead elsewhere.

use crate::value::error::{Error, Result};

fn is_segment(text: &str) -> bool {
    text.len() <= 128
        && text.chars().any(|c| c.is_ascii_alphanumeric())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

/// The name of a key.
pub(super) fn check_name(name: &str) -> Result<()> {
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
    if is_segment(name) && ends(name.chars().next()) && ends(name.chars().next_back()) {
        Ok(())
    } else {
        Err(refused(
            "the name of a Transit key has up to 128 of A-Z a-z 0-9 _ - . and begins and ends with none of - .",
        ))
    }
}

/// A mount or a namespace, without slashes around it.
pub(super) fn check_path(path: &str, what: &str) -> Result<String> {
    let path = path.trim_matches('/');
    if path.split('/').all(is_segment) {
        Ok(path.to_owned())
    } else {
        Err(refused(format!(
            "{what} has parts of A-Z a-z 0-9 _ - . with / between them"
        )))
    }
}

fn refused(detail: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::configuration(detail).with_provider(super::PROVIDER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_leads_elsewhere_is_a_name() {
        for good in ["orders", "a", "A_b-c.d", "_x", "2026.orders"] {
            check_name(good).unwrap();
        }
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "a?b",
            "a#b",
            "a%2fb",
            "-a",
            "a.",
            "é",
            "a b",
            &"a".repeat(129),
        ] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        assert_eq!(check_path("/team/transit/", "a mount").unwrap(), "team/transit");
        for bad in ["", "/", "a//b", "a/../b", "a/./b", "a?b", "a b"] {
            assert!(check_path(bad, "a mount").is_err(), "{bad}");
        }
    }
}
