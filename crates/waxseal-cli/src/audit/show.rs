//! `waxseal audit show`.

use serde_json::{Value, json};
use waxseal::audit::{EventFilter, RecordedEvent};

use super::event;
use super::place::NamedPlace;
use crate::arguments::AuditShow;
use crate::failure::{Failure, Result, printable};
use crate::report;

pub(super) fn run(options: &AuditShow) -> Result<()> {
    let filter = filter(options)?;
    let mut shown: Vec<Shown> = Vec::new();
    for (log, path) in options.logs.iter().enumerate() {
        NamedPlace::open(path)?.each_record(|index, record| {
            let Some(recorded) = RecordedEvent::parse(record).filter(|event| filter.shows_event(event))
            else {
                return Ok(());
            };
            shown.push(Shown {
                time: recorded.time().unwrap_or_default().to_owned(),
                log,
                index,
                said: match report::is_json() {
                    true => Said::Json(event(record)),
                    false => Said::Line(line(index, &recorded)),
                },
            });
            Ok(())
        })?;
    }
    if options.logs.len() > 1 {
        // Times of events are written so that their texts are in their order. Those of one log stay as they are in it.
        shown.sort_by(|one, other| one.time.cmp(&other.time));
    }
    let names: Vec<String> = options
        .logs
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let name = |one: &Shown| names.get(one.log).map_or("", String::as_str);
    if report::is_json() {
        let events = shown.iter().map(|one| match &one.said {
            Said::Json(event) => json!({ "log": name(one), "record": one.index, "event": event }),
            Said::Line(_) => json!(null),
        });
        let object = json!({
            "schema": report::SCHEMA,
            "command": "audit show",
            "logs": names,
            "events": events.collect::<Vec<_>>(),
        });
        return report::result(&object, false);
    }
    if shown.is_empty() {
        return report::print("no event meets these conditions\n");
    }
    let mut text = String::new();
    for one in &shown {
        if names.len() > 1 {
            text += &format!("{}  ", printable(name(one)));
        }
        if let Said::Line(line) = &one.said {
            text += line;
        }
    }
    report::print(&text)
}

/// An event that is shown.
struct Shown {
    time: String,
    /// Which of the logs has it.
    log: usize,
    index: u64,
    said: Said,
}

enum Said {
    Json(Value),
    Line(String),
}

fn filter(options: &AuditShow) -> Result<EventFilter> {
    let mut filter = EventFilter::new();
    if let Some(key) = &options.key {
        filter = filter.key(key);
    }
    if let Some(actor) = &options.actor {
        filter = filter.actor(actor);
    }
    if let Some(from) = &options.from {
        filter = filter
            .from(from)
            .map_err(|error| Failure::usage_of("--from", &error))?;
    }
    if let Some(to) = &options.to {
        filter = filter.to(to).map_err(|error| Failure::usage_of("--to", &error))?;
    }
    Ok(filter)
}

/// Number, time, action, outcome, actor and keys.
fn line(index: u64, event: &RecordedEvent) -> String {
    let or_dash = |text: Option<&str>| text.unwrap_or("-").to_owned();
    let outcome = match event.error() {
        Some(error) => format!("{} ({error})", or_dash(event.outcome())),
        None => or_dash(event.outcome()),
    };
    let line = format!(
        "{index}  {}  {}  {outcome}  {}  {}",
        or_dash(event.time()),
        or_dash(event.action()),
        or_dash(event.actor()),
        event.subjects().join(", ")
    );
    format!("{}\n", printable(&line))
}
