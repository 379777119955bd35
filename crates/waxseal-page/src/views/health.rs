//! Whether what is shown can be believed, and who reads the ring.

use maud::{Markup, html};

use super::events::hex;
use super::{Asked, View};
use crate::logs::Look;
use crate::markup::{clock, heads, many, number, table, time};

/// How many findings are shown.
const FINDINGS: usize = 100;

pub(super) fn view(asked: &Asked<'_>) -> View {
    View::new(
        "Health",
        html! {
            (ring(asked))
            (findings(asked))
            (logs(asked))
            (readers(asked))
        },
    )
}

fn ring(asked: &Asked<'_>) -> Markup {
    let shown = asked.shown;
    html! {
        h2 { "The ring" }
        dl {
            div { dt { "Ring" } dd { code { (shown.view.ring()) } } }
            div { dt { "Revision" } dd { (number(shown.view.revision())) ", " (time(shown.view.changed())) ", by " (shown.view.actor()) } }
            div { dt { "Mark" } dd { code.digest { (shown.view.mark()) } p.note { "Keep it elsewhere: whoever is given an older ring notices it by its mark." } } }
            div { dt { "Authority" } dd { code.digest { (shown.view.authority()) } } }
            div { dt { "Inventory's clock" } dd { (time(shown.now)) ", when this machine's was " (clock(shown.read)) } }
            div { dt { "Last reading" } dd { (many(shown.rows.len() as u64, "key")) " in " (many(shown.scopes as u64, "scope")) ", " (shown.took.as_millis()) " ms" } }
        }
    }
}

fn findings(asked: &Asked<'_>) -> Markup {
    let shown = asked.shown;
    html! {
        @if shown.findings.is_empty() && shown.unlisted == 0 {
            @if asked.has_failed {
                p { "Nothing was found wrong when the ring could be read last. Whether it still verifies is not known." }
            } @else {
                p.good { "Every record verifies." }
            }
        } @else {
            h2 { "What cannot be believed" }
            @if shown.unlisted > 0 {
                p.problem role="alert" {
                    strong { (many(shown.unlisted, "record")) " that the ring's head signs are in no scope that the inventory lists. " }
                    "They were deleted, unless a scope was made just now."
                }
            }
            ul.findings {
                @for (scope, why) in shown.findings.iter().take(FINDINGS) {
                    li { code { (scope) } ": " (why) }
                }
            }
            @if shown.findings.len() > FINDINGS {
                p { "And " (many((shown.findings.len() - FINDINGS) as u64, "more")) ": " code { "waxseal ring check" } " lists all." }
            }
        }
    }
}

fn logs(asked: &Asked<'_>) -> Markup {
    html! {
        h2 { "Audit logs" }
        @if asked.looks.is_empty() { (super::events::without_logs()) }
        @for look in asked.looks {
            section {
                h3 { code { (look.folder) } }
                (log(look))
            }
        }
    }
}

fn log(look: &Look) -> Markup {
    html! {
        @if look.findings.is_empty() {
            p.good { "The log is whole and unchanged, as far as its checkpoint reaches. Verified " (clock(look.verified)) "." }
        } @else {
            ul.findings { @for finding in &look.findings { li { (finding) } } }
        }
        dl {
            @if let Some(checkpoint) = &look.checkpoint {
                div { dt { "Origin" } dd { code { (checkpoint.origin()) } } }
                div { dt { "Records" } dd { (number(checkpoint.size())) @if look.uncovered > 0 { ", and " (number(look.uncovered)) " in no checkpoint yet" } } }
                div { dt { "Root" } dd { code.digest { (hex(checkpoint.root())) } } }
            }
            @if let Some((key, is_named)) = &look.key {
                div {
                    dt { "Key" }
                    dd {
                        code.digest { (key) }
                        @if *is_named { p.note { "The log itself names this key: whoever can write the log can exchange both. Give the key to this page to be sure." } }
                    }
                }
            }
        }
        @if let Some(checkpoint) = &look.checkpoint {
            details {
                summary { "Checkpoint, to keep elsewhere" }
                pre { code { (checkpoint.as_note()) } }
            }
        }
    }
}

fn readers(asked: &Asked<'_>) -> Markup {
    let revision = asked.shown.view.revision();
    let rows = |heartbeats: &[waxseal::ring::inventory::Heartbeat]| {
        html! {
            tbody {
                @for beat in heartbeats.iter().take(200) {
                    tr {
                        td { (beat.reader) }
                        td { code { (beat.process) } }
                        td { @if let Some(at) = beat.at { (time(at)) } @else { "-" } }
                        td.number {
                            (number(beat.revision))
                            @if beat.revision < revision { " " span.late { "behind by " (number(revision - beat.revision)) } }
                        }
                        td {
                            @if let Some(why) = &beat.malformed { (why) }
                            @else if beat.failed.is_empty() { "-" }
                            @else { span.late { "cannot use " (many(beat.failed.len() as u64, "key")) } }
                        }
                    }
                }
            }
        }
    };
    html! {
        h2 { "Who reads the ring" }
        @match &asked.shown.heartbeats {
            Err(why) => p.problem { "Heartbeats cannot be read: " (why) },
            Ok(heartbeats) if heartbeats.is_empty() => p { "No process has written a heartbeat in the last day. Processes that open the ring with a reader's name do." },
            Ok(heartbeats) => (table("Heartbeats of the last day, the newest first", &heads(&["Reader", "Process", "When", "Revision#", "Problem"]), &rows(heartbeats))),
        }
    }
}
