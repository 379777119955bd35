//! waxseal beside other libraries that seal stored data: `scripts/bench-peers`.
//!
//! All run in one process under a local KEK, in turns, in CPU time of the thread; each figure is the best of many
//! rounds. Every library opens what it sealed, and the result is compared, before it is timed.

mod case;
mod libraries;
mod plot;
#[path = "../../ratios/sections.rs"]
mod sections;
#[path = "../../ratios/stopwatch.rs"]
mod stopwatch;
mod streams;
mod table;

use std::path::Path;
use std::rc::Rc;

use case::Measured;

/// The lengths of the values, in bytes, and how the tables name them.
const LENGTHS: [(usize, &str); 4] = [
    (100, "100 B"),
    (1024, "1 KiB"),
    (64 << 10, "64 KiB"),
    (1 << 20, "1 MiB"),
];

/// Bytes of one stream.
const STREAM: usize = 256 << 20;

fn main() {
    let write = std::env::args().any(|argument| argument == "--write");
    let mut values: Vec<(usize, Vec<Measured>)> = Vec::new();
    for (len, name) in LENGTHS {
        let plaintext: Rc<[u8]> = vec![7; len].into();
        let mut pairs = libraries::all(&plaintext);
        eprintln!("{name}: {} cases", pairs.len());
        values.push((len, case::measure(&mut pairs, 400)));
    }
    eprintln!("streams");
    let streams = case::measure(&mut streams::all(STREAM), 7);

    let text = table::render(&values, &streams);
    println!("{text}");
    if write {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        sections::replace(&root.join("benches/RESULTS.md"), "peers", "Beside other libraries", &text);
        std::fs::write(root.join("docs/img/peers.svg"), plot::render(&values, &sections::machine())).expect("docs/img is there");
        eprintln!("written to benches/RESULTS.md and docs/img/peers.svg");
    }
}
