//! `waxseal audit show`.

use serde_json::{Value, json};
use waxseal::audit::EventFilter;

use super::{event, read};
use crate::arguments::AuditShow;
use crate::failure::{Failure, Result, printable};
use crate::report;

pub(super) fn run(options: &AuditShow) -> Result<()> {
    let filter = filter(options)?;
    let reader = read(&options.log)?;
    let (mut events, mut text) = (Vec::new(), String::new());
    reader.each_record(|index, record| {
        if !filter.shows(record) {
            return Ok(());
        }
        let event = event(record);
        match report::is_json() {
            true => events.push(json!({ "record": index, "event": event })),
            false => text += &line(index, &event),
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
fn line(index: u64, event: &Value) -> String {
    let text = |name: &str| event.get(name).and_then(Value::as_str).unwrap_or("-");
    let action = text("event.name").trim_start_matches("waxseal.").to_owned();
    let outcome = match event.get("error.type").and_then(Value::as_str) {
        Some(error) => format!("{} ({error})", text("waxseal.outcome")),
        None => text("waxseal.outcome").to_owned(),
    };
    let names = ["waxseal.keks", "waxseal.envelope.keks"];
    let keks = names.iter().find_map(|name| event.get(*name)?.as_array());
    let keks = keks.into_iter().flatten().map(|kek| {
        let of = |name: &str| kek.get(name).and_then(Value::as_str).unwrap_or_default();
        match of("version") {
            "" => format!("{} {}", of("provider"), of("id")),
            version => format!("{} {} version {version}", of("provider"), of("id")),
        }
    });
    let mut keks: Vec<String> = keks.collect();
    if keks.is_empty() {
        let keys = event.get("waxseal.keys").and_then(Value::as_array);
        let keys = keys.into_iter().flatten().filter_map(Value::as_str);
        keks.extend(keys.map(|key| format!("key {key}")));
    }
    let moves = event.get("waxseal.moves").and_then(Value::as_array);
    keks.extend(moves.into_iter().flatten().map(|moved| {
        let of = |name: &str| moved.get(name).and_then(Value::as_str).unwrap_or("-");
        format!("{} {} {} -> {}", of("record"), of("id"), of("from"), of("to"))
    }));
    let line = format!(
        "{index}  {}  {action}  {outcome}  {}  {}",
        text("time"),
        text("user.id"),
        keks.join(", ")
    );
    format!("{}\n", printable(&line))
}
