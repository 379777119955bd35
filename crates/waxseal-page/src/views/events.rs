//! What was done, by the audit logs.

use std::cmp::Ordering;

use maud::{Markup, html};
use waxseal::audit::{EventFilter, RecordedEvent};

use super::{Asked, View};
use crate::logs::find;
use crate::markup::{ROWS, heads, number, table};
use crate::sorting::{Column, Sorting};

/// An event, and the number of its record.
type Recorded = (u64, RecordedEvent);

const COLUMNS: [Column; 6] = [
    Column::count("record", "Record"),
    Column::new("when", "When").descending(),
    Column::new("what", "What"),
    Column::new("outcome", "Outcome"),
    Column::new("who", "Who"),
    Column::new("", "Keys"),
];

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

pub(super) fn without_logs() -> Markup {
    html! {
        p { "No audit log is shown. Let each process write one, and give it to this page:" }
        pre { code { "waxseal page --ring ring.toml --log DIRECTORY" } }
    }
}

pub(super) fn view(asked: &Asked<'_>) -> View {
    if asked.source.logs.is_empty() {
        return View::new("Events", without_logs());
    }
    let index = asked
        .query
        .number("log")
        .and_then(|index| usize::try_from(index).ok())
        .unwrap_or_default();
    let Some(log) = asked.source.logs.get(index) else {
        return View::not_found(
            html! { p { "There is no such log. " a href=(asked.own()) { "The first log" } } },
        );
    };
    let outcome = asked.query.get("outcome");
    let is_shown = |event: &RecordedEvent| match outcome {
        Some("refused") => matches!(event.outcome(), Some("denied" | "refused")),
        Some(outcome) => event.outcome() == Some(outcome),
        None => true,
    };
    let found = filter(asked).and_then(|filter| {
        find(
            &log.reader()?,
            &filter,
            asked.query.number("before"),
            ROWS,
            is_shown,
        )
    });
    let own = asked.own();
    View::new(
        "Events",
        html! {
            (form(asked, index))
            @match found {
                Err(error) => p.problem role="alert" { (error) },
                Ok(found) => {
                    @let before = found.before;
                    @if found.events.is_empty() {
                        p { "No event like that among the " (number(found.looked_at)) " records that were looked at." }
                    } @else {
                        (sorted(asked, index, found.events, &own))
                    }
                    (older(asked, before, &own))
                }
            }
            p.note { "Nothing is proven here record by record: " a href=(asked.link("/health", &[])) { "Health" } " says whether the whole log verifies." }
        },
    )
}

fn filter(asked: &Asked<'_>) -> waxseal::Result<EventFilter> {
    let mut filter = EventFilter::new();
    if let Some(key) = asked.query.get("key") {
        filter = filter.key(key);
    }
    if let Some(actor) = asked.query.get("actor") {
        filter = filter.actor(actor);
    }
    if let Some(from) = asked.query.get("from") {
        filter = filter.from(from)?;
    }
    if let Some(to) = asked.query.get("to") {
        filter = filter.to(to)?;
    }
    Ok(filter)
}

fn older(asked: &Asked<'_>, before: Option<u64>, own: &str) -> Markup {
    html! {
        nav.pages aria-label="Pages" {
            ul {
                @if asked.query.get("before").is_some() {
                    li { a rel="prev" href=(asked.query.link(own, &[("before", "")])) { "Newest" } }
                }
                @if let Some(before) = before {
                    li { a rel="next" href=(asked.query.link(own, &[("before", &before.to_string())])) { "Older" } }
                }
            }
        }
    }
}

fn form(asked: &Asked<'_>, index: usize) -> Markup {
    let query = asked.query;
    let outcomes = [
        ("", "any"),
        ("success", "success"),
        ("refused", "denied or refused"),
        ("failed", "failed"),
        ("abandoned", "abandoned"),
        ("intended", "intended"),
    ];
    html! {
        form.filter method="get" action=(asked.own()) role="search" aria-label="Choose events" {
            label {
                "Log"
                select name="log" {
                    @for (other, look) in asked.looks.iter().enumerate() {
                        option value=(other) selected[other == index] { (look.folder) }
                    }
                }
            }
            label { "Key or KEK id" input type="text" name="key" value=[query.get("key")] autocomplete="off"; }
            label { "Actor" input type="text" name="actor" value=[query.get("actor")] autocomplete="off"; }
            label { "From" input type="text" name="from" value=[query.get("from")] placeholder="2026-11-27T09:30:00Z" autocomplete="off"; }
            label { "Before" input type="text" name="to" value=[query.get("to")] placeholder="2026-11-28" autocomplete="off"; }
            label {
                "Outcome"
                select name="outcome" {
                    @for (value, name) in outcomes {
                        option value=(value) selected[query.get("outcome").unwrap_or_default() == value] { (name) }
                    }
                }
            }
            @for kept in ["sort", "order"] {
                @if let Some(value) = query.get(kept) { input type="hidden" name=(kept) value=(value); }
            }
            button type="submit" { "Show" }
        }
    }
}

/// The newest events like that, in the order that is asked for.
fn sorted(asked: &Asked<'_>, log: usize, mut events: Vec<Recorded>, own: &str) -> Markup {
    let sorting = Sorting::of(asked.query, &COLUMNS, "record");
    events.sort_by(|one, other| compare(&sorting, one, other));
    list(
        asked,
        log,
        &events,
        "The newest events like that",
        &sorting.heads(asked.query, own),
    )
}

fn compare(sorting: &Sorting<'_>, one: &Recorded, other: &Recorded) -> Ordering {
    let by = |of: fn(&RecordedEvent) -> Option<&str>| sorting.order_some(of(&one.1), of(&other.1));
    let order = match sorting.by() {
        "when" => by(RecordedEvent::time),
        "what" => by(RecordedEvent::action),
        "outcome" => by(RecordedEvent::outcome),
        "who" => by(RecordedEvent::actor),
        _ => sorting.order(&one.0, &other.0),
    };
    order.then_with(|| other.0.cmp(&one.0))
}

/// The newest events of a log, the newest first.
pub(super) fn plain(asked: &Asked<'_>, log: usize, events: &[Recorded], caption: &str) -> Markup {
    let names = ["Record#", "When", "What", "Outcome", "Who", "Keys"];
    list(asked, log, events, caption, &heads(&names))
}

fn list(asked: &Asked<'_>, log: usize, events: &[Recorded], caption: &str, head: &Markup) -> Markup {
    let log = log.to_string();
    let or_dash = |text: Option<&str>| text.unwrap_or("-").to_owned();
    let rows = html! {
        tbody {
            @for (record, event) in events {
                tr {
                    td.number { (record) }
                    td.when { (or_dash(event.time()).replace('T', " ").trim_end_matches('Z')) }
                    td { (or_dash(event.action())) @if let Some(purpose) = event.purpose() { " " span.note { "to " (purpose) } } }
                    td {
                        span.late[matches!(event.outcome(), Some("denied" | "refused" | "failed"))] { (or_dash(event.outcome())) }
                        @if let Some(error) = event.error() { " " span.note { (error) } }
                    }
                    td {
                        @if let Some(actor) = event.actor() {
                            a href=(asked.link("/events", &[("log", &log), ("actor", actor)])) { (actor) }
                        } @else { "-" }
                    }
                    td {
                        @for (index, subject) in event.subjects().iter().take(4).enumerate() { @if index > 0 { br; } (subject) }
                        @if event.subjects().len() > 4 { br; "and more" }
                    }
                }
            }
        }
    };
    table(caption, head, &rows)
}
