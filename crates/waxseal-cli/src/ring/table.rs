//! Tables.

use crate::failure::printable;

/// Rows under heads, each column as wide as it has to be. A cell is one line.
pub(crate) fn table<const N: usize>(heads: [&str; N], rows: &[[String; N]]) -> String {
    let mut all: Vec<[String; N]> = vec![heads.map(str::to_owned)];
    all.extend(rows.iter().map(|row| row.clone().map(|cell| printable(&cell))));
    let width = |column: usize| {
        let cells = all.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in &all {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line += cell;
            line.extend(std::iter::repeat_n(' ', width - cell.chars().count() + 2));
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// Lines of a name and a value.
pub(crate) fn fields(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let line = |(name, value): &(&str, String)| format!("{name:<width$}  {}\n", printable(value));
    rows.iter().map(line).collect()
}

pub(crate) fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_cells_stay_on_their_line() {
        let rows = [
            ["a".to_owned(), "b".to_owned()],
            ["long\x1b[2J".to_owned(), String::new()],
        ];
        assert_eq!(
            table(["X", "Y"], &rows),
            "X              Y\na              b\nlong\\u{1b}[2J\n"
        );
        assert_eq!(
            fields(&[("a", "1".into()), ("bcd", "2".into())]),
            "a    1\nbcd  2\n"
        );
    }
}
