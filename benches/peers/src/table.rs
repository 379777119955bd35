//! The tables, in Markdown.

use crate::case::Measured;
use crate::libraries::{ASHERAH, CACHED, HELD, INTO};
use crate::{LENGTHS, STREAM, sections, streams};

/// What is promised: ours, theirs, the length, and how many times faster at least.
const TARGETS: [(&str, &str, usize, f64); 3] = [
    (INTO, ASHERAH, 100, 3.0),
    (INTO, ASHERAH, 1024, 3.0),
    (CACHED, ASHERAH, 100, 1.5),
];

/// How the names of our own cases begin.
const OURS: &str = "waxseal";

/// The same for streams: to seal, and to open.
const STREAM_TARGETS: (f64, f64) = (1.1, 1.3);

pub fn render(values: &[(usize, Vec<Measured>)], streams: &[Measured]) -> String {
    let mut text = format!(
        "Written by `scripts/bench-peers --write`. {}.\nLocal KEKs; CPU time of the thread, \
         cases in turns in one process, best of many rounds; what each sealed was opened\nand compared first. Each \
         cell: the time, and how many times that of \"{HELD}\".\n\n",
        sections::conditions()
    );
    for (name, time) in [("Seal", seal as fn(&Measured) -> f64), ("Open", open)] {
        text += &format!("### {name}\n\n{}", by_length(values, name == "Seal", time));
    }
    text += "Records of asherah and envelopers are left as they are: writing them as JSON and CBOR would take more time, \
             and the bytes\nadded count the CBOR, not the JSON.\n\n";
    text += &format!("### Streams of {} MiB, one thread\n\n", STREAM >> 20);
    text += "| library | seal (GB/s) | open (GB/s) |\n|---|---:|---:|\n";
    for case in streams {
        let rate = |nanos| STREAM as f64 / nanos;
        text += &format!(
            "| {} | {:.1} | {:.1} |\n",
            case.name,
            rate(case.seal),
            rate(case.open)
        );
    }
    text += "\nThe plaintext is in memory; it is sealed into nothing and opened into a small buffer.\n\n";
    text + &targets(values, streams)
}

fn seal(case: &Measured) -> f64 {
    case.seal
}

fn open(case: &Measured) -> f64 {
    case.open
}

fn by_length(values: &[(usize, Vec<Measured>)], added: bool, time: fn(&Measured) -> f64) -> String {
    let mut text = String::from("| library |");
    let mut rule = String::from("|---|");
    for (_, name) in LENGTHS {
        text += &format!(" {name} |");
        rule += "---:|";
    }
    if added {
        text += " bytes added |";
        rule += "---:|";
    }
    text += &format!("\n{rule}\n");
    for (row, case) in values[0].1.iter().enumerate() {
        text += &format!("| {} |", case.name);
        for (_, cases) in values {
            let held = time(find(cases, HELD));
            let nanos = time(&cases[row]);
            text += &format!(" {} ({}) |", duration(nanos), times(nanos / held));
        }
        if added {
            text += &format!(" {} |", case.added);
        }
        text += "\n";
    }
    text + "\n"
}

fn targets(values: &[(usize, Vec<Measured>)], streams: &[Measured]) -> String {
    let mut text = String::from("### Targets\n\n| what | ratio | target | |\n|---|---:|---|---|\n");
    let mut row = |what: String, ratio: f64, at_least: f64| {
        let mark = if ratio >= at_least { "holds" } else { "missed" };
        text += &format!("| {what} | {ratio:.2} | at least {at_least:.1}x | {mark} |\n");
    };
    for (ours, theirs, len, at_least) in TARGETS {
        let (_, cases) = values
            .iter()
            .find(|(known, _)| *known == len)
            .expect("a measured length");
        let (a, b) = (find(cases, ours), find(cases, theirs));
        row(
            format!("{len} B, seal: {theirs} / {ours}"),
            b.seal / a.seal,
            at_least,
        );
        row(
            format!("{len} B, open: {theirs} / {ours}"),
            b.open / a.open,
            at_least,
        );
    }
    for ((_, cases), (_, length)) in values.iter().zip(LENGTHS) {
        for (direction, time) in [("seal", seal as fn(&Measured) -> f64), ("open", open)] {
            let fastest = cases
                .iter()
                .filter(|case| !case.name.starts_with(OURS))
                .min_by(|a, b| time(a).total_cmp(&time(b)))
                .expect("another library");
            row(
                format!("{length}, {direction}: the fastest other ({}) / {HELD}", fastest.name),
                time(fastest) / time(find(cases, HELD)),
                1.0,
            );
        }
    }
    let (ours, theirs) = (find(streams, streams::WAXSEAL), find(streams, streams::KMS_AEAD));
    let mib = STREAM >> 20;
    let (seal, open) = STREAM_TARGETS;
    row(
        format!("{mib} MiB, seal: {} / {}", theirs.name, ours.name),
        theirs.seal / ours.seal,
        seal,
    );
    row(
        format!("{mib} MiB, open: {} / {}", theirs.name, ours.name),
        theirs.open / ours.open,
        open,
    );
    text
}

fn find<'a>(cases: &'a [Measured], name: &str) -> &'a Measured {
    cases
        .iter()
        .find(|case| case.name == name)
        .expect("a measured case")
}

/// Three digits and a unit.
pub fn duration(nanos: f64) -> String {
    match nanos {
        nanos if nanos < 999.5 => format!("{nanos:.0} ns"),
        nanos if nanos < 9995.0 => format!("{:.2} µs", nanos / 1e3),
        nanos if nanos < 99_950.0 => format!("{:.1} µs", nanos / 1e3),
        nanos if nanos < 999_500.0 => format!("{:.0} µs", nanos / 1e3),
        nanos => format!("{:.2} ms", nanos / 1e6),
    }
}

fn times(ratio: f64) -> String {
    if ratio < 9.95 {
        format!("{ratio:.1}x")
    } else {
        format!("{ratio:.0}x")
    }
}
