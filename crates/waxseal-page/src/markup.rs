//! Parts that all views have.

use maud::{DOCTYPE, Markup, html};
use waxseal::ring::{State, Time};

use crate::query::Query;
use crate::source::{Failed, Shown};

/// The views in the navigation: path and title.
const VIEWS: [(&str, &str); 6] = [
    ("/", "Overview"),
    ("/keys", "Keys"),
    ("/due", "Due"),
    ("/left", "Left"),
    ("/events", "Events"),
    ("/health", "Health"),
];

/// Where a page is mounted, and which view it is.
pub(crate) struct Place<'p> {
    /// The path before that of the views: empty at the root.
    pub(crate) base: &'p str,
    /// The path of the view.
    pub(crate) view: &'p str,
}

impl Place<'_> {
    pub(crate) fn path(&self, view: &str) -> String {
        match (self.base, view) {
            // An application that nests routes has none with a slash more.
            (base, "/") if !base.is_empty() => base.to_owned(),
            (base, view) => format!("{base}{view}"),
        }
    }
}

pub(crate) fn document(place: &Place<'_>, title: &str, body: &Markup, foot: &Markup) -> Markup {
    let section = |path: &str| match path {
        "/" => place.view == "/",
        path => place.view.starts_with(path),
    };
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " - waxseal" }
                link rel="stylesheet" href=(place.path("/style.css"));
                link rel="icon" type="image/svg+xml" href=(place.path("/icon.svg"));
            }
            body {
                a.skip href="#main" { "Skip to the content" }
                header {
                    p.name { "waxseal " span { "key ring" } }
                    nav aria-label="Views" {
                        ul {
                            @for (path, name) in VIEWS {
                                li { a href=(place.path(path)) aria-current=[section(path).then_some("page")] { (name) } }
                            }
                        }
                    }
                }
                main #main tabindex="-1" {
                    h1 { (title) }
                    (body)
                }
                footer { (foot) }
            }
        }
    }
}

/// What was read when, and what has failed since.
pub(crate) fn freshness(shown: &Shown) -> Markup {
    html! {
        p {
            "Key ring " (shown.view.ring()) ", revision " (shown.view.revision()) ", read at "
            (clock(shown.read)) " in " (shown.took.as_millis()) " ms. Every record that is shown was verified then."
        }
    }
}

pub(crate) fn failure(failed: Option<&Failed>) -> Markup {
    html! {
        @if let Some(failed) = failed {
            p.problem role="alert" {
                strong { "The ring could not be read at " (clock(failed.at)) ". " }
                (failed.text) " What you see was read before that."
            }
        }
    }
}

/// A time of this machine.
pub(crate) fn clock(at: std::time::SystemTime) -> Markup {
    let since = at.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let micros = i64::try_from(since.as_micros()).ok();
    match micros.and_then(|micros| Time::from_microseconds(micros).ok()) {
        Some(at) => time(at),
        None => html! { "an unknown time" },
    }
}

/// A time to the second.
pub(crate) fn time(at: Time) -> Markup {
    let text = at.to_string();
    let seconds = text
        .split_once('.')
        .map_or(text.trim_end_matches('Z'), |(seconds, _)| seconds);
    html! { time datetime=(text) { (seconds.replace('T', " ")) " UTC" } }
}

/// A day.
pub(crate) fn day(at: Time) -> Markup {
    let text = at.to_string();
    html! { time datetime=(text) { (text.get(..10).unwrap_or(&text)) } }
}

pub(crate) fn state(state: State) -> Markup {
    html! { span class={ "state " (state.name()) } { (state.name()) } }
}

pub(crate) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            // A narrow space, which does not break.
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// "1 key", "2 keys".
pub(crate) fn many(count: u64, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        count => format!("{} {what}s", number(count)),
    }
}

/// Bytes, to three digits.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let (mut whole, mut rest, mut unit) = (count, 0, "B");
    for next in UNITS {
        if whole < 1024 {
            break;
        }
        (rest, whole, unit) = (whole % 1024, whole / 1024, next);
    }
    if whole < 10 {
        format!("{whole}.{} {unit}", rest * 10 / 1024)
    } else {
        format!("{whole} {unit}")
    }
}

/// A table that scrolls sideways where it is too wide, also by keyboard.
pub(crate) fn table(caption: &str, head: &Markup, rows: &Markup) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label=(caption) {
            table {
                caption { (caption) }
                thead { tr { (head) } }
                (rows)
            }
        }
    }
}

/// Heads of columns. One whose name ends with `#` is above numbers.
pub(crate) fn heads(names: &[&str]) -> Markup {
    html! {
        @for name in names {
            @match name.strip_suffix('#') {
                Some(name) => th.number scope="col" { (name) },
                None => th scope="col" { (name) },
            }
        }
    }
}

/// A page of rows.
pub(crate) struct Paged<'r, T> {
    pub(crate) rows: &'r [T],
    page: u64,
    pages: u64,
    all: u64,
}

/// How many rows a page has.
pub(crate) const ROWS: usize = 100;

impl<'r, T> Paged<'r, T> {
    /// The page that a request asks for, or the last.
    pub(crate) fn of(all: &'r [T], query: &Query) -> Self {
        let pages = all.len().div_ceil(ROWS).max(1);
        let asked = query.number("page").unwrap_or(1).clamp(1, pages as u64);
        let first = usize::try_from(asked - 1).unwrap_or_default() * ROWS;
        let end = all.len().min(first + ROWS);
        Self {
            rows: all.get(first..end).unwrap_or_default(),
            page: asked,
            pages: pages as u64,
            all: all.len() as u64,
        }
    }

    pub(crate) fn links(&self, query: &Query, path: &str, what: &str) -> Markup {
        let link = |page: u64| query.link(path, &[("page", &page.to_string())]);
        html! {
            nav.pages aria-label="Pages" {
                p { (many(self.all, what)) @if self.pages > 1 { ", page " (self.page) " of " (number(self.pages)) } }
                @if self.pages > 1 {
                    ul {
                        @if self.page > 1 {
                            li { a href=(link(1)) { "First" } }
                            li { a rel="prev" href=(link(self.page - 1)) { "Previous" } }
                        }
                        @if self.page < self.pages {
                            li { a rel="next" href=(link(self.page + 1)) { "Next" } }
                            li { a href=(link(self.pages)) { "Last" } }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        let written = [0, 999, 1000, 1_234_567].map(number);
        assert_eq!(written, ["0", "999", "1\u{202f}000", "1\u{202f}234\u{202f}567"]);
        let written = [0, 1023, 1024, 1536, 10 * 1024, 5 << 40, u64::MAX].map(bytes);
        assert_eq!(
            written,
            [
                "0 B", "1023 B", "1.0 KiB", "1.5 KiB", "10 KiB", "5.0 TiB", "15 EiB"
            ]
        );
        assert_eq!([many(0, "key"), many(1, "key")], ["0 keys", "1 key"]);
    }

    #[test]
    fn a_page_that_is_not_there_is_the_last() {
        let all: Vec<u32> = (0..250).collect();
        let asked = |page: &str| {
            let paged = Paged::of(&all, &Query::parse(Some(&format!("page={page}"))).unwrap());
            (paged.rows.first().copied(), paged.rows.len())
        };
        assert_eq!(asked("1"), (Some(0), 100));
        assert_eq!(asked("3"), (Some(200), 50));
        for bad in ["9", "18446744073709551615"] {
            assert_eq!(asked(bad), (Some(200), 50));
        }
        for bad in ["0", "-1", "x"] {
            assert_eq!(asked(bad), (Some(0), 100));
        }
        assert_eq!(Paged::of(&[0; 0], &Query::default()).rows.len(), 0);
    }
}
