//! What the backends warn of, on standard error.

use std::fmt::{self, Write as _};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::failure::Result;
use crate::report;

static HELD: AtomicBool = AtomicBool::new(false);

/// Shows none from now on, since standard error leads to where the output goes: a warning would stand in the middle of it.
pub(crate) fn hold() {
    HELD.store(true, Ordering::Relaxed);
}

/// Prints a line to standard error, unless the output goes there.
pub(crate) fn line(line: &str) -> Result<()> {
    if HELD.load(Ordering::Relaxed) {
        return Ok(());
    }
    report::note(line)
}

/// Prints a warning of the tool itself, in the form of the others.
#[cfg(any(feature = "audit", feature = "ring"))]
pub(crate) fn warning(text: &str) -> Result<()> {
    if report::is_json() {
        let object = json!({ "schema": report::SCHEMA, "warning": { "message": text } });
        return line(&report::ascii(&object.to_string()));
    }
    line(&format!("waxseal: warning: {text}"))
}

/// Shows them from now on. Not the one about local keys, since whoever names a key file on a command line knows; and
/// nothing of the crates below, which is for their debugging.
pub(crate) fn show() {
    let targets = Targets::new()
        .with_target("waxseal::backend", Level::WARN)
        .with_target("waxseal::backend::local::warning", LevelFilter::OFF);
    let lines = tracing_subscriber::fmt::layer()
        .event_format(Line)
        .with_writer(|| Held(io::stderr()));
    // There is no other subscriber: this is the first thing that the tool does.
    let _ = tracing_subscriber::registry()
        .with(targets)
        .with(lines)
        .try_init();
}

/// Standard error, unless warnings are held back.
struct Held(io::Stderr);

impl io::Write for Held {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if HELD.load(Ordering::Relaxed) {
            return Ok(bytes.len());
        }
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

struct Line;

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        if report::is_json() {
            let mut text = Text::default();
            event.record(&mut text);
            let object = json!({ "schema": report::SCHEMA, "warning": { "message": text.0 } });
            return writeln!(writer, "{}", report::ascii(&object.to_string()));
        }
        writer.write_str("waxseal: warning: ")?;
        context.format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

/// An event's message, and its fields behind it.
#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let gap = if self.0.is_empty() { "" } else { " " };
        // Writing to a string does not fail.
        let _ = match field.name() {
            "message" => write!(self.0, "{gap}{value:?}"),
            name => write!(self.0, "{gap}{name}={value:?}"),
        };
    }
}
