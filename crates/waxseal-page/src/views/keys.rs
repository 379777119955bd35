//! The keys of the ring: filtered, sorted, in groups, by pages.

use maud::{Markup, html};
use waxseal::ring::STATES;

use super::{Asked, View};
use crate::markup::{Paged, day, number, sortable, state, table};
use crate::rows::{Order, Row};

pub(super) fn view(asked: &Asked<'_>) -> View {
    let query = asked.query;
    let order = query.get("sort").and_then(Order::named).unwrap_or(Order::Scope);
    let mut rows = chosen(asked);
    order.sort(&mut rows, query.get("order") == Some("reversed"));
    let paged = Paged::of(&rows, query);
    let own = asked.own();
    let counts = asked.shown.censuses.iter().any(Result::is_ok);
    let head = html! {
        @for (of, name, title) in Order::ALL {
            @if of != Order::Objects || counts { (sortable(query, &own, name, title, of == Order::Scope)) }
            @if of == Order::Scope { th scope="col" { "Key" } }
        }
    };
    let columns = if counts { 7 } else { 6 };
    let body = html! {
        @for group in groups(paged.rows, order) {
            tbody {
                @if let Some(title) = group.title {
                    tr.group { th scope="rowgroup" colspan=(columns) { (title) } }
                }
                @for row in group.rows { (line(asked, row, counts)) }
            }
        }
    };
    View::new(
        "Keys",
        html! {
            (filter(asked))
            @if asked.shown.rows.is_empty() {
                p { "The ring has no key yet. Make the first one:" }
                pre { code { "waxseal keys create --ring ring.toml --scope / --kek URI" } }
            } @else if rows.is_empty() {
                p { "No key is like that. " a href=(own) { "Show all keys" } }
            } @else {
                (table("Keys", &head, &body))
                (paged.links(query, &own, "key"))
            }
        },
    )
}

fn chosen<'a>(asked: &'a Asked<'_>) -> Vec<&'a Row> {
    let query = asked.query;
    let (scope, exact) = (query.get("scope"), query.get("exact").is_some());
    let is_within = |row: &Row| {
        scope.is_none_or(|scope| {
            if exact {
                row.scope.as_str() == scope
            } else {
                row.scope.as_str().starts_with(scope)
            }
        })
    };
    let is_meant = |row: &&Row| {
        is_within(row)
            && query.get("state").is_none_or(|state| row.state.name() == state)
            && query.get("class").is_none_or(|class| row.class == class)
            && query
                .get("algorithm")
                .is_none_or(|algorithm| *row.algorithm == *algorithm)
    };
    asked
        .shown
        .rows
        .iter()
        .map(|row| &**row)
        .filter(is_meant)
        .collect()
}

struct Group<'r> {
    title: Option<Markup>,
    rows: &'r [&'r Row],
}

/// Rows that are sorted by something that many have in common, in groups.
fn groups<'r>(rows: &'r [&'r Row], order: Order) -> Vec<Group<'r>> {
    let is_same = |one: &&Row, other: &&Row| match order {
        Order::Scope => one.scope == other.scope,
        Order::State => one.state == other.state,
        Order::Algorithm => one.algorithm == other.algorithm,
        _ => true,
    };
    let title = |row: &Row| match order {
        Order::Scope => Some(html! { code { (row.scope) } }),
        Order::State => Some(state(row.state)),
        Order::Algorithm => Some(html! { (row.algorithm) ", " (row.class) }),
        _ => None,
    };
    let of = |rows: &'r [&'r Row]| Group {
        title: rows.first().and_then(|row| title(row)),
        rows,
    };
    rows.chunk_by(is_same).map(of).collect()
}

fn line(asked: &Asked<'_>, row: &Row, counts: bool) -> Markup {
    let now = asked.shown.now;
    html! {
        tr {
            td { code { (row.scope) } @if row.slot != waxseal::ring::Slot::default() { ", slot " code { (row.slot) } } }
            td {
                a href=(asked.place.path(&format!("/keys/{}", row.id))) { code { (row.id) } }
                @if row.is_first { " " span.note { "first key" } }
            }
            td { (state(row.state)) }
            td { (row.algorithm) " " span.note { (row.class) } }
            td { @if let Some(at) = row.since { (day(at)) } @else { "-" } }
            td {
                @if let Some((next, at)) = row.next {
                    span.late[at <= now] { (next.name()) " " (day(at)) @if at <= now { ", overdue" } }
                } @else { "-" }
            }
            @if counts { td.number { (row.objects.map_or_else(|| "-".to_owned(), |objects| number(objects.items))) } }
        }
    }
}

fn filter(asked: &Asked<'_>) -> Markup {
    let query = asked.query;
    let classes = ["symmetric", "classical", "hybrid", "post-quantum", "unknown"];
    html! {
        form.filter method="get" action=(asked.own()) role="search" aria-label="Choose keys" {
            label { "Scope begins with" input type="text" name="scope" value=[query.get("scope")] autocomplete="off"; }
            label {
                "State"
                select name="state" {
                    option value="" { "any" }
                    @for row in STATES {
                        option value=(row.state.name()) selected[query.get("state") == Some(row.state.name())] { (row.state.name()) }
                    }
                }
            }
            label {
                "Class"
                select name="class" {
                    option value="" { "any" }
                    @for class in classes {
                        option value=(class) selected[query.get("class") == Some(class)] { (class) }
                    }
                }
            }
            label {
                "Algorithm"
                select name="algorithm" {
                    option value="" { "any" }
                    @for ((algorithm, _), _) in &asked.shown.algorithms {
                        option value=(algorithm) selected[query.get("algorithm") == Some(algorithm)] { (algorithm) }
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
