//! What is due, on a time line and as a list.

use std::cmp::Ordering;
use std::time::Duration;

use maud::{Markup, html};
use waxseal::ring::{NextMove, Time};

use super::{Asked, View};
use crate::markup::{Paged, day, many, number, state, table, time};
use crate::rows::Row;
use crate::sorting::{Column, Sorting};

const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
const WEEKS: usize = 26;
/// The size of a bar, in the units of the drawing.
const STEP: usize = 24;
const HIGH: u64 = 100;

/// What happens to a key next, and when.
type Move<'r> = (&'r Row, NextMove, Time);

const COLUMNS: [Column; 5] = [
    Column::new("when", "When"),
    Column::new("what", "What"),
    Column::new("scope", "Scope"),
    Column::new("", "Key"),
    Column::new("state", "State"),
];

pub(super) fn view(asked: &Asked<'_>) -> View {
    let mut due: Vec<Move<'_>> = asked
        .shown
        .rows
        .iter()
        .filter_map(|row| row.next.map(|(next, at)| (&**row, next, at)))
        .collect();
    let sorting = Sorting::of(asked.query, &COLUMNS, "when");
    due.sort_unstable_by(|one, other| compare(&sorting, one, other));
    let (now, own) = (asked.shown.now, asked.own());
    let paged = Paged::of(&due, asked.query);
    let overdue = due.iter().filter(|(_, _, at)| *at <= now).count() as u64;
    let rows = html! {
        tbody {
            @for (row, next, at) in paged.rows {
                tr {
                    td { span.late[*at <= now] { (time(*at)) @if *at <= now { ", overdue" } } }
                    td { (next.name()) }
                    td { code { (row.scope) } }
                    td { a href=(asked.place.path(&format!("/keys/{}", row.id))) { code { (row.id) } } }
                    td { (state(row.state)) }
                }
            }
        }
    };
    View::new(
        "Due",
        html! {
            @if due.is_empty() {
                p { "Nothing is due. Active keys with a cadence, deprecated keys and keys that are being destroyed are listed here." }
            } @else {
                @if overdue > 0 {
                    p.problem role="status" {
                        strong { (many(overdue, "move")) " overdue. " }
                        code { "waxseal keys tick" } " does what is due; let a timer run it."
                    }
                }
                (line(&due, now))
                (table("What is due", &sorting.heads(asked.query, &own), &rows))
                (paged.links(asked.query, &own, "move"))
            }
        },
    )
}

fn compare(sorting: &Sorting<'_>, one: &Move<'_>, other: &Move<'_>) -> Ordering {
    let order = match sorting.by() {
        "what" => sorting.order(&one.1.name(), &other.1.name()),
        "scope" => sorting.order(&one.0.scope, &other.0.scope),
        "state" => sorting.order(&one.0.state, &other.0.state),
        _ => sorting.order(&one.2, &other.2),
    };
    order
        .then_with(|| one.2.cmp(&other.2))
        .then_with(|| one.0.id.cmp(&other.0.id))
}

/// A bar for each of the next weeks.
fn line(due: &[Move<'_>], now: Time) -> Markup {
    let mut weeks = [0_u64; WEEKS];
    let mut later = 0_u64;
    for (_, _, at) in due.iter().filter(|(_, _, at)| *at > now) {
        let week = at.since(now).as_secs() / WEEK.as_secs();
        match usize::try_from(week).ok().and_then(|week| weeks.get_mut(week)) {
            Some(count) => *count += 1,
            None => later += 1,
        }
    }
    let most = weeks.iter().copied().max().unwrap_or_default().max(1);
    let total: u64 = weeks.iter().sum();
    let label = format!(
        "{} in the next 26 weeks, at most {} in one week, and {} later",
        many(total, "move"),
        number(most.min(total)),
        number(later)
    );
    let width = WEEKS * STEP;
    html! {
        figure {
            svg.line viewBox={ "0 0 " (width) " " (HIGH + 24) } role="img" aria-label=(label) {
                @for (index, count) in weeks.iter().enumerate() {
                    @let high = (count * HIGH).div_ceil(most);
                    rect.bar x=(index * STEP + 2) y=(HIGH - high) width=(STEP - 4) height=(high) {
                        title { (many(*count, "move")) " in week " (index + 1) }
                    }
                }
                path.axis d={ "M0 " (HIGH) "H" (width) } {}
                text x="0" y=(HIGH + 18) { "today" }
                text x=(width / 2) y=(HIGH + 18) text-anchor="middle" { "13 weeks" }
                text x=(width) y=(HIGH + 18) text-anchor="end" { "26 weeks" }
            }
            figcaption { (label) ". From " (day(now)) "." }
        }
    }
}
