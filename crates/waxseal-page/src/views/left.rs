//! What is still under keys that seal no more, and what retiring them would lose.

use maud::{Markup, html};
use waxseal::ring::evidence::Total;

use super::{Asked, View};
use crate::markup::{Paged, bytes, heads, many, number, state, table, time};
use crate::rows::Row;

pub(super) fn view(asked: &Asked<'_>) -> View {
    let counted = asked.shown.censuses.iter().any(Result::is_ok);
    let mut left: Vec<(&Row, Total)> = asked
        .shown
        .rows
        .iter()
        .filter_map(|row| Some((&**row, row.left()?)))
        .collect();
    left.sort_unstable_by_key(|(row, objects)| (std::cmp::Reverse((objects.sole, objects.items)), row.id));
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
                }
            }
        }
    };
    let names = [
        "Scope",
        "Key",
        "State",
        "Envelopes#",
        "Would be lost#",
        "Perhaps under it#",
        "Bytes#",
    ];
    View::new(
        "Left",
        html! {
            @if !counted {
                p { "Nothing was counted, so nobody knows what is still under old keys. A census reads the front of every envelope, and needs no key:" }
                pre { code { "waxseal census --ring ring.toml --signer census.key -o receipt.json DIRECTORY\nwaxseal page --ring ring.toml --receipt receipt.json" } }
            } @else if left.is_empty() {
                p { "Nothing was found under keys that seal no more: they can be retired, as far as the censuses below reach." }
            } @else {
                p { "Re-wrap these before their keys are retired. " em { "Would be lost" } " is what no other key opens." }
                (table("Envelopes under keys that seal no more", &heads(&names), &rows))
                (paged.links(asked.query, &own, "key"))
            }
            (censuses(asked))
        },
    )
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
