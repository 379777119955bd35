//! What a job tells of itself: a bar while it runs, and a report.

use std::io::{IsTerminal, Write, stderr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use waxseal::fleet::{Counts, Report};

use crate::failure::{Failure, Result, printable};
use crate::report::{self, many};
use crate::stream::Output;

/// Work that takes no longer has no bar.
const QUIET: Duration = Duration::from_millis(800);

/// Shows how far a job is, where somebody can see it.
#[derive(Clone)]
pub(super) struct Bar(Arc<Inner>);

struct Inner {
    is_wanted: bool,
    since: Instant,
    bar: Mutex<Option<ProgressBar>>,
}

impl Bar {
    pub(super) fn new() -> Self {
        Self(Arc::new(Inner {
            is_wanted: stderr().is_terminal() && !report::is_json(),
            since: Instant::now(),
            bar: Mutex::default(),
        }))
    }

    pub(super) fn show(&self, counts: &Counts) {
        if !self.0.is_wanted || self.0.since.elapsed() < QUIET {
            return;
        }
        let mut bar = self.0.bar.lock().unwrap_or_else(PoisonError::into_inner);
        let bar = bar.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {pos} items, {per_sec}: {msg}") {
                bar.set_style(style);
            }
            bar
        });
        bar.set_position(counts.examined);
        bar.set_message(format!("{} moved, {} faults", counts.moved(), counts.faults()));
    }

    pub(super) fn end(&self) {
        let bar = self.0.bar.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
    }
}

/// Prints what was done, and writes it to the file that was asked for.
pub(super) fn report(done: &Report, output: Option<Output>) -> Result<()> {
    if let Some(mut output) = output {
        let name = output.name();
        let text = match name.to_string().ends_with(".md") {
            true => markdown(done),
            false => report::ascii(&object(done).to_string()) + "\n",
        };
        output
            .write_all(text.as_bytes())
            .map_err(|error| Failure::of_io("write", &name, error))?;
        output.finish()?;
    }
    if report::is_json() {
        return report::result(&object(done), false);
    }
    report::print(&text(done))
}

fn object(done: &Report) -> Value {
    let counts = serde_json::to_value(done.counts).unwrap_or_default();
    let faults: Vec<Value> = done
        .faults
        .iter()
        .map(|fault| json!({ "id": fault.id, "class": fault.class.name(), "reason": fault.reason }))
        .collect();
    json!({
        "schema": report::SCHEMA,
        "command": "rewrap",
        "store": done.store,
        "dry_run": done.is_dry_run,
        "whole": done.is_whole,
        "counts": counts,
        "moved": done.counts.moved(),
        "failed": done.counts.faults(),
        "faults": faults,
    })
}

/// How many of what, those that are none left out.
fn lines(counts: &Counts) -> Vec<(u64, &'static str)> {
    [
        (counts.examined, "examined"),
        (counts.rewrapped, "moved, with calls to the keys"),
        (
            counts.reused,
            "moved with the wraps of another item of their data key, without a call",
        ),
        (counts.current, "wrapped as configured already"),
        (counts.foreign, "no envelopes"),
        (counts.gone, "gone meanwhile"),
        (
            counts.revisited,
            "times read again, because others had changed an item",
        ),
        (counts.read_back, "read back and compared"),
        (
            counts.unverified,
            "re-wrapped by the KMS on its own side, without a look at the data key",
        ),
        (counts.kept, "wraps of others kept"),
        (counts.dropped, "wraps dropped"),
        (counts.short, "still miss a requirement of their profile"),
        (counts.unlisted, "places that could not be listed"),
        (counts.tampered, "not moved: altered, or of another context"),
        (counts.unknown_key, "not moved: no key opens them"),
        (counts.denied, "not moved: refused"),
        (counts.too_large, "not moved: too large"),
        (counts.contended, "not moved: others were at them"),
        (counts.unreadable, "not moved: not read or written"),
        (counts.unavailable, "not moved: no answer"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .collect()
}

fn head(done: &Report) -> String {
    let what = if done.is_dry_run { "dry run" } else { "re-wrap" };
    let whole = if done.is_whole { "whole" } else { "not whole" };
    format!("{what} of {}: {whole}", done.store)
}

fn text(done: &Report) -> String {
    let mut text = printable(&head(done)) + "\n";
    let lines = lines(&done.counts);
    let width = lines
        .iter()
        .map(|(count, _)| count.to_string().len())
        .max()
        .unwrap_or(0);
    for (count, what) in lines {
        text += &format!("  {count:>width$}  {what}\n");
    }
    for fault in done.faults.iter().take(20) {
        text += &printable(&format!("{}: {}: {}", fault.class.name(), fault.id, fault.reason));
        text.push('\n');
    }
    if done.faults.len() > 20 {
        text += &format!("and {} more\n", many(done.faults.len() as u64 - 20, "fault"));
    }
    text
}

fn markdown(done: &Report) -> String {
    let cell = |text: &str| printable(text).replace('|', "\\|").replace('`', "'");
    let mut text = format!(
        "# {}\n\n| items | what became of them |\n|---:|---|\n",
        cell(&head(done))
    );
    for (count, what) in lines(&done.counts) {
        text += &format!("| {count} | {what} |\n");
    }
    if !done.faults.is_empty() {
        text += "\n| item | class | reason |\n|---|---|---|\n";
        for fault in &done.faults {
            text += &format!(
                "| `{}` | {} | {} |\n",
                cell(&fault.id),
                fault.class.name(),
                cell(&fault.reason)
            );
        }
    }
    text
}
