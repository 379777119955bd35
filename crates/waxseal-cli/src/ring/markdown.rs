//! Parts of reports as Markdown. Whatever a ring or a log says is text: it makes no table, no link and no HTML.

use crate::failure::printable;

/// Text within a cell or a line.
pub(super) fn cell(text: &str) -> String {
    let mut escaped = String::new();
    for char in printable(text).chars() {
        match char {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            char if char.is_ascii_punctuation() && !"-.,:;/=%".contains(char) => {
                escaped.push('\\');
                escaped.push(char);
            }
            char => escaped.push(char),
        }
    }
    escaped
}

/// Rows under heads, or `None.` if there are none.
pub(super) fn table<const N: usize>(
    text: &mut String,
    heads: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) {
    let mut rows = rows.peekable();
    if rows.peek().is_none() {
        text.push_str("None.\n");
        return;
    }
    let line = |cells: [String; N]| format!("| {} |\n", cells.join(" | "));
    *text += &line(heads.map(str::to_owned));
    *text += &line(heads.map(|_| "---".to_owned()));
    for row in rows {
        *text += &line(row.map(|text| cell(&text)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_ring_says_is_text() {
        assert_eq!(
            cell("a|<script>alert(1)</script>\n[x](y) `z` *w*"),
            "a\\|&lt;script&gt;alert\\(1\\)&lt;/script&gt;\\\\n\\[x\\]\\(y\\) \\`z\\` \\*w\\*"
        );
    }
}
