//! The table, written down.

use std::path::Path;

#[path = "sections.rs"]
mod sections;

/// Writes the table with what it was measured on.
pub(crate) fn write(table: &str) {
    let text = format!(
        "Written by `cargo bench -p waxseal-benches --bench ratios -- --write`. {}.\nThread CPU time, cases \
         interleaved in one process, best of many rounds. Absolute figures move with the machine; the ratios are what \
         counts.\n\n{table}",
        sections::conditions(),
    );
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/RESULTS.md");
    sections::replace(Path::new(path), "ratios", "Beside the primitives", &text);
    println!("written to {path}");
}
