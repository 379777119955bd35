//! One key: read anew, with its history and what was done under it.

use std::sync::Arc;

use maud::{Markup, html};
use waxseal::ErrorKind;
use waxseal::audit::EventFilter;
use waxseal::envelope::AlgorithmClass;
use waxseal::ring::{KeyRecord, RecordId, View as Ring};

use super::events;
use super::{Asked, View};
use crate::logs::find;
use crate::markup::{bytes, heads, many, number, state, table, time};

/// How many events of a log are shown.
const EVENTS: usize = 20;

pub(super) fn view(asked: &Asked<'_>) -> View {
    let name = asked.place.view.trim_start_matches("/keys/");
    let Ok(id) = name.parse::<RecordId>() else {
        return missing(asked);
    };
    let (scope, ring) = match pollster::block_on(asked.source.reader.scope_of(id)) {
        Ok(read) => read,
        Err(error) if error.kind() == ErrorKind::InvalidArgument => return missing(asked),
        Err(error) => {
            let body = html! { p.problem role="alert" { strong { "The key cannot be shown. " } (error) } };
            return View::unavailable("Key", body);
        }
    };
    let Some(key) = ring.keys(&scope).iter().find(|key| key.id == id) else {
        return missing(asked);
    };
    View::new(
        &format!("Key {id}"),
        html! {
            (facts(asked, &ring, key))
            (history(key))
            (under(asked, key))
        },
    )
}

fn missing(asked: &Asked<'_>) -> View {
    View::not_found(html! {
        p { "The ring has no such key. " a href=(asked.link("/keys", &[])) { "All keys" } }
    })
}

fn facts(asked: &Asked<'_>, ring: &Ring, key: &Arc<KeyRecord>) -> Markup {
    let link = |id: RecordId| html! { a href=(asked.place.path(&format!("/keys/{id}"))) { code { (id) } } };
    let dates = [
        ("Made", Some(key.created)),
        ("Active since", key.activated),
        ("Deprecated", key.deprecated),
        ("Destroyed", key.destroyed),
    ];
    let row = asked.shown.rows.iter().find(|row| row.id == key.id);
    let parent = ring.parent(key).ok().flatten();
    let now = parent.map_or(key.state, |parent| key.state.under(parent.state));
    let same_kek = asked.shown.rows.iter();
    let same_kek = same_kek.filter(|other| row.is_some_and(|row| row.kek == other.kek && row.id != other.id));
    html! {
        dl {
            div { dt { "State" } dd { (state(now)) @if now != key.state { " by its parent, itself " (state(key.state)) } " " span.note { "NIST SP 800-57: " (now.row().nist) } } }
            div { dt { "Scope" } dd { a href=(asked.link("/keys", &[("scope", key.scope.as_str()), ("exact", "yes")])) { code { (key.scope) } } ", slot " code { (key.slot) } } }
            div { dt { "Reached by" } dd { code { (key.provenance.uri) } } }
            div { dt { "KEK" } dd { (key.provenance.provider) " " code { (key.provenance.id) } @if !key.provenance.version.is_empty() { ", version " code { (key.provenance.version) } } } }
            div { dt { "Algorithm" } dd { (key.protecting_algorithm()) ", " (key.class().map_or("unknown class", AlgorithmClass::name)) } }
            div { dt { "Protection" } dd { (key.protection.name()) } }
            @if let Some(branch) = &key.branch {
                div { dt { "Wrapped under" } dd { (link(branch.parent)) " of " code { (branch.parent_scope) } ", by " (branch.wrapped.algorithm) } }
                @for former in &branch.former {
                    div { dt { "Wrapped before" } dd { "under " (link(former.parent)) " of " code { (former.parent_scope) } ", by " (former.algorithm) ": copies may be in backups" } }
                }
            }
            @if ring.branches_under(key.id) > 0 {
                div { dt { "Branch keys under it" } dd { (number(ring.branches_under(key.id))) } }
            }
            @if ring.is_provisioned(key.id) {
                div { dt { "Signed by" } dd { "a provisioner, on first use; no administrator has taken it over" } }
            }
            @for (name, at) in dates {
                @if let Some(at) = at { div { dt { (name) } dd { (time(at)) } } }
            }
            @if let Some((next, at)) = key.next_move_under(parent.map(|parent| &**parent)) {
                div { dt { "Next" } dd { span.late[at <= asked.shown.now] { (next.name()) ", " (time(at)) @if at <= asked.shown.now { ", overdue" } } } }
            }
            div { dt { "Cadence and overlap" } dd { (key.cadence) ", " (key.overlap) } }
            @if let Some(before) = key.predecessor { div { dt { "Follows" } dd { (link(before)) } } }
            @if let Some(after) = key.successor { div { dt { "Followed by" } dd { (link(after)) } } }
            @for (name, value) in &key.labels { div { dt { "Label " code { (name) } } dd { (value) } } }
            @for other in same_kek { div { dt { "The same KEK" } dd { (link(other.id)) " of " code { (other.scope) } } } }
            div {
                dt { "Under it" }
                dd {
                    @match row.and_then(|row| row.objects) {
                        Some(objects) => {
                            (many(objects.items, "envelope")) ", " (bytes(objects.bytes)) "; " (many(objects.sole, "envelope"))
                            " that no other key opens"
                            @if objects.unknown > 0 { "; perhaps " (many(objects.unknown, "more")) ", which do not say so" }
                            @if objects.branches > 0 { "; " (many(objects.branches, "branch key")) }
                            @if let Some(through) = row.and_then(|row| row.through) {
                                "; through branch keys " (many(through.items, "envelope")) ", " (bytes(through.bytes))
                            }
                        }
                        None => { "not counted: see " a href=(asked.link("/left", &[])) { "what is left" } }
                    }
                }
            }
        }
    }
}

fn history(key: &KeyRecord) -> Markup {
    let rows = html! {
        tbody {
            @for made in &key.history {
                tr {
                    td { (time(made.at)) }
                    td.number { (made.revision) }
                    td { @if let Some(from) = made.from { (from.name()) " → " } (state(made.to)) }
                    td { (made.actor) }
                    td { (made.reason) }
                    td {
                        @if let Some(ticket) = &made.ticket { "ticket " (ticket) " " }
                        @if let Some(approver) = &made.approver { "approved by " (approver) " " }
                        @if let Some(evidence) = &made.evidence { "receipt " code.digest { (evidence) } }
                        @if made.ticket.is_none() && made.approver.is_none() && made.evidence.is_none() { "-" }
                    }
                }
            }
        }
    };
    html! {
        h2 { "History" }
        p { "Signed by the authority of the ring, but for tickets and approvers, which are claims of whoever made the move." }
        (table("Moves of this key, the oldest first", &heads(&["When", "Revision#", "Move", "By", "Why", "Grounds"]), &rows))
    }
}

fn under(asked: &Asked<'_>, key: &KeyRecord) -> Markup {
    let id = key.id.to_string();
    let filter = EventFilter::new().key(&id);
    html! {
        h2 { "What was done under it" }
        @if asked.source.logs.is_empty() { (events::without_logs()) }
        @for (index, (log, look)) in asked.source.logs.iter().zip(asked.looks).enumerate() {
            h3 { "Log " code { (look.folder) } }
            @match log.reader().and_then(|reader| find(&reader, &filter, None, EVENTS, |_| true)) {
                Err(error) => p.problem { (error) },
                Ok(found) if found.events.is_empty() => p { "No event of this key among the last " (number(found.looked_at)) " records." },
                Ok(found) => {
                    (events::plain(asked, index, &found.events, &format!("The newest events of this key in {}", look.folder)))
                    p { a href=(asked.link("/events", &[("log", &index.to_string()), ("key", &id)])) { "More events of this key" } }
                }
            }
            @if let Some(checkpoint) = &look.checkpoint {
                p.note {
                    "Proven by the checkpoint of " code { (checkpoint.origin()) } " at " (number(checkpoint.size())) " records, root "
                    code.digest { (events::hex(checkpoint.root())) }
                    @if look.findings.is_empty() { ", which verifies." } @else { ", which does not verify." }
                }
            }
        }
    }
}
