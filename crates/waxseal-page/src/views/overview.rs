//! The overview: how many keys there are in which state, what is due, and what is wrong.

use std::collections::BTreeMap;
use std::sync::Arc;

use maud::{Markup, html};
use waxseal::ring::evidence::Total;

use super::keys::NOT_DESTROYED;
use super::{Asked, View};
use crate::markup::{bytes, heads, many, number, state, table, time};
use crate::rows::Row;

pub(super) fn view(asked: &Asked<'_>) -> View {
    View::new(
        "Overview",
        html! {
            (problems(asked))
            (next(asked))
            (states(asked))
            (algorithms(asked))
            (places(asked))
        },
    )
}

fn problems(asked: &Asked<'_>) -> Markup {
    let shown = asked.shown;
    let findings = shown.findings.len() as u64 + shown.unlisted;
    let logs = asked.looks.iter().filter(|log| !log.findings.is_empty()).count() as u64;
    let health = asked.link("/health", &[]);
    html! {
        @if findings > 0 {
            p.problem role="alert" {
                strong { (many(findings, "part")) " of the ring cannot be believed. " }
                a href=(health) { "See what is wrong" }
            }
        }
        @if logs > 0 {
            p.problem role="alert" {
                strong { (many(logs, "audit log")) " cannot be believed. " }
                a href=(health) { "See what is wrong" }
            }
        }
    }
}

fn next(asked: &Asked<'_>) -> Markup {
    let now = asked.shown.now;
    let due = || asked.shown.rows.iter().filter_map(|row| Some((row, row.next?)));
    let overdue = due().filter(|(_, (_, at))| *at <= now).count() as u64;
    let soonest = due()
        .filter(|(_, (_, at))| *at > now)
        .min_by_key(|(_, (_, at))| *at);
    let left: Vec<_> = asked
        .shown
        .rows
        .iter()
        .filter(|row| row.left().is_some())
        .collect();
    let under = still_under(&left);
    html! {
        h2 { "What is next" }
        ul.facts {
            li {
                @if overdue > 0 {
                    a.late href=(asked.link("/due", &[])) { (many(overdue, "move")) " overdue" }
                } @else {
                    "Nothing is overdue."
                }
            }
            @if let Some((row, (what, at))) = soonest {
                li { "Next: " (what.name()) " of a key of " code { (row.scope) } ", " (time(at)) }
            }
            li {
                @if asked.shown.censuses.iter().all(Result::is_err) {
                    "What is still under old keys was not counted. "
                    a href=(asked.link("/left", &[])) { "How to count it" }
                } @else if left.is_empty() {
                    "Nothing is known to be under keys that seal no more."
                } @else {
                    a href=(asked.link("/left", &[])) { (many(under.items, "envelope")) ", " (bytes(under.bytes)) }
                    ", still under " @if left.len() == 1 { "1 key that seals no more." } @else { (many(left.len() as u64, "key")) " that seal no more." }
                }
            }
        }
    }
}

/// What these keys have under them. Keys that are the same KEK have the same envelopes.
fn still_under(rows: &[&Arc<Row>]) -> Total {
    let mut of_kek: BTreeMap<u64, Total> = BTreeMap::new();
    for row in rows {
        let objects = row.objects.unwrap_or_default();
        let most = of_kek.entry(row.kek).or_default();
        (most.items, most.bytes) = (most.items.max(objects.items), most.bytes.max(objects.bytes));
    }
    of_kek.into_values().fold(Total::default(), |mut sum, one| {
        sum.add(one);
        sum
    })
}

fn states(asked: &Asked<'_>) -> Markup {
    let shown = asked.shown;
    if shown.rows.is_empty() {
        return html! {
            h2 { "Keys" }
            p { "The ring has no key yet. Make the first one:" }
            pre { code { "waxseal keys create --ring ring.toml --scope / --kek URI" } }
        };
    }
    let rows = html! {
        tbody {
            @for (of, keys) in &shown.states {
                tr {
                    th scope="row" { (state(*of)) }
                    td.number { a href=(asked.link("/keys", &[("state", of.name())])) { (number(*keys)) } }
                    td { (of.row().nist) }
                }
            }
        }
    };
    let caption = format!(
        "{} in {}, by state",
        many(shown.rows.len() as u64, "key"),
        many(shown.scopes as u64, "scope")
    );
    html! {
        h2 { "Keys by state" }
        (table(&caption, &heads(&["State", "Keys#", "In NIST SP 800-57"]), &rows))
    }
}

fn algorithms(asked: &Asked<'_>) -> Markup {
    if asked.shown.algorithms.is_empty() {
        return html! {};
    }
    let rows = html! {
        tbody {
            @for ((algorithm, class), keys) in &asked.shown.algorithms {
                tr {
                    th scope="row" { (algorithm) }
                    td { (class) }
                    td.number { a href=(asked.link("/keys", &[("algorithm", algorithm), ("class", class), ("state", NOT_DESTROYED)])) { (number(*keys)) } }
                }
            }
        }
    };
    html! {
        h2 { "Keys by algorithm" }
        (table("Keys that are not destroyed, by what protects them", &heads(&["Algorithm", "Class", "Keys#"]), &rows))
    }
}

/// The first parts of scopes.
fn places(asked: &Asked<'_>) -> Markup {
    let mut places: BTreeMap<&str, u64> = BTreeMap::new();
    for row in &asked.shown.rows {
        let scope = row.scope.as_str();
        let first = scope.split_once('/').map_or(scope, |(first, _)| first);
        *places.entry(first).or_default() += 1;
    }
    if places.is_empty() {
        return html! {};
    }
    let count = places.len();
    let rows = html! {
        tbody {
            @for (place, keys) in places.iter().take(20) {
                tr {
                    @if place.is_empty() {
                        th scope="row" { code { "/" } }
                        td.number { a href=(asked.link("/keys", &[("scope", "/"), ("exact", "yes")])) { (number(*keys)) } }
                    } @else {
                        th scope="row" { code { (place) } }
                        td.number { a href=(asked.link("/keys", &[("scope", place)])) { (number(*keys)) } }
                    }
                }
            }
        }
    };
    html! {
        h2 { "Keys by scope" }
        (table("Keys by the first part of their scope", &heads(&["Scope", "Keys#"]), &rows))
        @if count > 20 {
            p { "And " (many(count as u64 - 20, "more")) ": " a href=(asked.link("/keys", &[])) { "all keys" } }
        }
    }
}
