//! What is still under keys that seal no more, and what retiring them would lose.

use std::cmp::Ordering;

use maud::{Markup, html};
use waxseal::ring::evidence::Total;

use super::{Asked, View};
use crate::markup::{Paged, bytes, many, number, state, table, time};
use crate::rows::Row;
use crate::sorting::{Column, Sorting};

const COLUMNS: [Column; 9] = [
    Column::new("scope", "Scope"),
    Column::new("", "Key"),
    Column::new("state", "State"),
    Column::count("objects", "Envelopes"),
    Column::count("lost", "Would be lost"),
    Column::count("unknown", "Perhaps under it"),
    Column::count("bytes", "Bytes"),
    Column::count("branches", "Branch keys"),
    Column::count("through", "Through branch keys"),
];

pub(super) fn view(asked: &Asked<'_>) -> View {
    let counted = asked.shown.censuses.iter().any(Result::is_ok);
    let mut left: Vec<(&Row, Total)> = asked
        .shown
        .rows
        .iter()
        .filter_map(|row| Some((&**row, row.left()?)))
        .collect();
    let sorting = Sorting::of(asked.query, &COLUMNS, "lost");
    left.sort_unstable_by(|one, other| compare(&sorting, one, other));
    let own = asked.own();
    let paged = Paged::of(&left, asked.query);
    let rows = html! {
        tbody {
            @for (row, objects) in paged.rows {
                tr {
                    td { code { (row.scope) } }
                    td { a href=(asked.place.path(&format!("/keys/{}", row.id))) { code { (row.id) } } }
                    td { (state(row.state)) }
                    td.number { (number(objects.items)) }
                    td.number { span.late[objects.sole > 0] { (number(objects.sole)) } }
                    td.number { (number(objects.unknown)) }
                    td.number { (bytes(objects.bytes)) }
                    td.number { (number(objects.branches)) }
                    td.number { (number(row.through.unwrap_or_default().items)) }
                }
            }
        }
    };
    View::new(
        "Left",
        html! {
            @if !counted {
                p { "Nothing was counted, so nobody knows what is still under old keys. A census reads the front of every envelope, and needs no key:" }
                pre { code { "waxseal census --ring ring.toml --key census.key --receipt receipt.json DIRECTORY\nwaxseal page --ring ring.toml --receipt receipt.json" } }
            } @else if left.is_empty() {
                p { "Nothing was found under keys that seal no more: they can be retired, as far as the censuses below reach." }
            } @else {
                p { "Re-wrap these before their keys are retired. " em { "Would be lost" } " is what no other key opens. " em { "Through branch keys" } " is what is under the branch keys that are wrapped under the key, and opens no more without it. An envelope counts for each key that is the same KEK." }
                (table("Envelopes under keys that seal no more", &sorting.heads(asked.query, &own), &rows))
                (paged.links(asked.query, &own, "key"))
            }
            (censuses(asked))
        },
    )
}

fn compare(sorting: &Sorting<'_>, one: &(&Row, Total), other: &(&Row, Total)) -> Ordering {
    let through = |row: &Row| row.through.unwrap_or_default().items;
    let order = match sorting.by() {
        "scope" => sorting.order(&one.0.scope, &other.0.scope),
        "state" => sorting.order(&one.0.state, &other.0.state),
        "objects" => sorting.order(&one.1.items, &other.1.items),
        "unknown" => sorting.order(&one.1.unknown, &other.1.unknown),
        "bytes" => sorting.order(&one.1.bytes, &other.1.bytes),
        "branches" => sorting.order(&one.1.branches, &other.1.branches),
        "through" => sorting.order(&through(one.0), &through(other.0)),
        _ => sorting.order(&(one.1.sole, one.1.items), &(other.1.sole, other.1.items)),
    };
    order.then_with(|| one.0.id.cmp(&other.0.id))
}

fn censuses(asked: &Asked<'_>) -> Markup {
    if asked.shown.censuses.is_empty() {
        return html! {};
    }
    html! {
        h2 { "Censuses" }
        ul.facts {
            @for census in &asked.shown.censuses {
                li {
                    @match census {
                        Ok(census) => {
                            "Begun " (time(census.started)) ": " (many(census.items, "envelope")) ", " (bytes(census.bytes)) ", in "
                            @for (index, place) in census.covers.iter().enumerate() { @if index > 0 { ", " } code { (place) } }
                            @if !census.whole { ". " strong { "Not whole: something could not be read." } }
                        }
                        Err(why) => { strong { "A census does not count: " } (why) }
                    }
                }
            }
        }
    }
}
