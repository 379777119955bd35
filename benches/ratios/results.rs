//! The table, written down.

use std::path::Path;

#[path = "sections.rs"]
mod sections;

/// Writes the table with what it was measured on.
pub(crate) fn write(table: &str) {
    let text = format!(
        "## Beside the primitives\n\nWritten by `cargo bench -p waxseal-benches --bench ratios -- --write`. {}, AEAD: AWS-LC.\nThread CPU \
         time, cases interleaved in one process, best of many rounds. Absolute figures move with the machine; the ratios \
         are what counts.\n\n{table}",
        sections::machine(),
    );
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/RESULTS.md");
    sections::replace(Path::new(path), "ratios", &text);
    println!("written to {path}");
}
