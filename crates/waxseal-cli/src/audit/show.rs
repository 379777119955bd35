//! `waxseal audit show`.

use serde_json::json;
use waxseal::audit::{EventFilter, RecordedEvent};

use super::{event, read};
use crate::arguments::AuditShow;
use crate::failure::{Failure, Result, printable};
use crate::report;

pub(super) fn run(options: &AuditShow) -> Result<()> {
    let filter = filter(options)?;
    let reader = read(&options.log)?;
    let (mut events, mut text) = (Vec::new(), String::new());
    reader.each_record(|index, record| {
        let Some(recorded) = RecordedEvent::parse(record).filter(|event| filter.shows_event(event)) else {
            return Ok(());
        };
        match report::is_json() {
            true => events.push(json!({ "record": index, "event": event(record) })),
            false => text += &line(index, &recorded),
        }
        Ok(())
    })?;
    if report::is_json() {
        let object = json!({
            "schema": report::SCHEMA,
            "command": "audit show",
            "log": options.log.log.display().to_string(),
            "events": events,
        });
        return report::result(&object, false);
    }
    if text.is_empty() {
        text = "no event meets these conditions\n".to_owned();
    }
    report::print(&text)
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
