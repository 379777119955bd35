//! What stands at a place of a row that was read.

use crate::link::Cell;

/// A text; empty if there is none.
pub(super) fn text(cells: &[Cell], at: usize) -> String {
    optional_text(cells, at).unwrap_or_default()
}

pub(super) fn optional_text(cells: &[Cell], at: usize) -> Option<String> {
    match cells.get(at) {
        Some(Cell::Text(text)) => Some(text.clone()),
        _ => None,
    }
}

/// An integer; 0 if there is none.
pub(super) fn int(cells: &[Cell], at: usize) -> i64 {
    match cells.get(at) {
        Some(Cell::Int(int)) => *int,
        _ => 0,
    }
}
