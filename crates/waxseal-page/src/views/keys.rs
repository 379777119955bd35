//! The keys of the ring: filtered, sorted, in groups, by pages.

use std::cmp::Ordering;

use maud::{Markup, html};
use waxseal::ring::{STATES, State};

use super::{Asked, View};
use crate::markup::{Paged, day, number, state, table};
use crate::rows::Row;
use crate::sorting::{Column, Sorting};

/// What a request calls all states but that of keys that are gone.
pub(super) const NOT_DESTROYED: &str = "not-destroyed";

const COLUMNS: [Column; 7] = [
    Column::new("scope", "Scope"),
    Column::new("", "Key"),
    Column::new("state", "State"),
    Column::new("algorithm", "Algorithm"),
    Column::new("since", "Active since"),
    Column::new("next", "Next"),
    Column::count("objects", "Envelopes"),
];

pub(super) fn view(asked: &Asked<'_>) -> View {
    let query = asked.query;
    let counts = asked.shown.censuses.iter().any(Result::is_ok);
    let columns = if counts { 7 } else { 6 };
    let shown = COLUMNS.get(..columns).unwrap_or(&COLUMNS);
    let sorting = Sorting::of(query, shown, "scope");
    let mut rows = chosen(asked);
    rows.sort_unstable_by(|one, other| compare(&sorting, one, other));
    let paged = Paged::of(&rows, query);
    let own = asked.own();
    let head = sorting.heads(query, &own);
    let body = html! {
        @for group in groups(paged.rows, sorting.by()) {
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
        scope.is_none_or(|scope| match exact {
            true => row.scope.as_str() == scope,
            false => is_within(row.scope.as_str(), scope),
        })
    };
    let is_in = |row: &Row, state: &str| match state {
        NOT_DESTROYED => row.state != State::Destroyed,
        state => row.state.name() == state,
    };
    let begins = query.get("begins").unwrap_or_default();
    let is_meant = |row: &&Row| {
        is_within(row)
            && row.scope.as_str().starts_with(begins)
            && query.get("state").is_none_or(|state| is_in(row, state))
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

/// Whether a scope is this one or in it: `tenant/a` is in `tenant`, and `tenants` is not.
fn is_within(scope: &str, wider: &str) -> bool {
    let wider = wider.trim_end_matches('/');
    let rest = scope.strip_prefix(wider);
    wider.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn compare(sorting: &Sorting<'_>, one: &Row, other: &Row) -> Ordering {
    let order = match sorting.by() {
        "state" => sorting.order(&one.state, &other.state),
        "algorithm" => sorting.order(&(&one.algorithm, one.class), &(&other.algorithm, other.class)),
        "since" => sorting.order_some(one.since, other.since),
        "next" => sorting.order_some(one.next.map(|next| next.1), other.next.map(|next| next.1)),
        "objects" => {
            let items = |row: &Row| row.objects.map(|objects| objects.items);
            sorting.order_some(items(one), items(other))
        }
        _ => sorting.order(&one.scope, &other.scope),
    };
    order
        .then_with(|| one.scope.cmp(&other.scope))
        .then_with(|| one.id.cmp(&other.id))
}

struct Group<'r> {
    title: Option<Markup>,
    rows: &'r [&'r Row],
}

/// Rows that are sorted by something that many have in common, in groups.
fn groups<'r>(rows: &'r [&'r Row], by: &str) -> Vec<Group<'r>> {
    let is_same = |one: &&Row, other: &&Row| match by {
        "scope" => one.scope == other.scope,
        "state" => one.state == other.state,
        "algorithm" => (&one.algorithm, one.class) == (&other.algorithm, other.class),
        _ => true,
    };
    let title = |row: &Row| match by {
        "scope" => Some(html! { code { (row.scope) } }),
        "state" => Some(state(row.state)),
        "algorithm" => Some(html! { (row.algorithm) ", " (row.class) }),
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
            label { "In the scope" input type="text" name="scope" value=[query.get("scope")] autocomplete="off"; }
            label { "Scope begins with" input type="text" name="begins" value=[query.get("begins")] autocomplete="off"; }
            label { "In no narrower one" input type="checkbox" name="exact" value="yes" checked[query.get("exact").is_some()]; }
            label {
                "State"
                select name="state" {
                    option value="" { "any" }
                    option value=(NOT_DESTROYED) selected[query.get("state") == Some(NOT_DESTROYED)] { "not destroyed" }
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
