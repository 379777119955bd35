//! `keys list` and `keys show`.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use waxseal::envelope::{AlgorithmClass, KekRef};
use waxseal::ring::{Branch, KeyRecord, Move, Scope, State, View};

use super::id_of;
use crate::arguments::{List, Show};
use crate::failure::Result;
use crate::report;
use crate::ring::{each_readable, kek_json, open, parsed, show as print, table, wait};

/// Lists the keys, by scope and by the time they were made.
pub(super) fn list(path: &Path, options: &List) -> Result<()> {
    let scope: Option<Scope> = match &options.scope {
        Some(scope) => Some(parsed("--scope", scope)?),
        None => None,
    };
    let state: Option<State> = match &options.state {
        Some(state) => Some(parsed("--state", state)?),
        None => None,
    };
    let ring = open(path)?;
    let (mut keys, mut bad) = (Vec::new(), None);
    let mut add = |page: &View| {
        let wanted = page
            .all_keys()
            .filter(|key| state.is_none_or(|state| key.state == state));
        keys.extend(wanted.map(|key| (Arc::clone(key), exposed_by(key, page))));
    };
    match scope {
        Some(scope) => add(&wait(ring.reader.scopes(std::slice::from_ref(&scope)))?),
        None => bad = each_readable(&ring.reader, add)?,
    }
    ring.end()?;
    let object = json!({
        "schema": report::SCHEMA,
        "keys": keys
            .iter()
            .map(|(key, exposed_by)| {
                let mut object = to_json(key);
                report::extend(&mut object, json!({ "exposed_by": exposed_by }));
                object
            })
            .collect::<Vec<_>>(),
    });
    print(&object, || {
        let rows: Vec<[String; 7]> = keys
            .iter()
            .map(|(key, exposed_by)| {
                [
                    key.id.to_string(),
                    key.scope.to_string(),
                    key.slot.to_string(),
                    match exposed_by.is_empty() {
                        true => state_of(key),
                        false => format!("{}, exposed", state_of(key)),
                    },
                    kek_of(key),
                    table::or_dash(key.activated),
                    table::or_dash(match key.state {
                        State::Active | State::Compromised => key.next_rotation,
                        State::Deprecated => key.retirement_due,
                        State::Destroying => key.destruction_due,
                        _ => None,
                    }),
                ]
            })
            .collect();
        table::table(
            ["KEY", "SCOPE", "SLOT", "STATE", "KEK", "ACTIVATED", "DUE"],
            &rows,
        )
    })?;
    bad.map_or(Ok(()), Err)
}

/// The keys that were revoked and that a branch key is or was wrapped under.
fn exposed_by(key: &KeyRecord, view: &View) -> Vec<String> {
    let exposing = view.exposed_by(key);
    let living = exposing.iter().filter(|_| key.state != State::Destroyed);
    living.map(|parent| parent.id.to_string()).collect()
}

/// Shows one key.
pub(super) fn show(path: &Path, options: &Show) -> Result<()> {
    let id = id_of(&options.id)?;
    let ring = open(path)?;
    let (_, view) = wait(ring.reader.scope_of(id))?;
    ring.end()?;
    let Some(key) = view.key(id) else {
        return Ok(());
    };
    let mut object = to_json(key);
    let time = |time: Option<waxseal::ring::Time>| time.map(|time| time.to_string());
    let more = json!({
        "uri": key.provenance.uri,
        "revision": key.revision,
        "canary": key.canary.map(|canary| json!({ "percent": canary.percent, "since": canary.since.to_string() })),
        "has_wrapped": key.has_wrapped,
        "awaits_gate": key.awaits_gate,
        "taken_back": key.taken_back,
        "destruction_told": key.destruction_told,
        "destruction_cancelled": key.destruction_cancelled.is_some(),
        "cadence": key.cadence.to_string(),
        "overlap": key.overlap.to_string(),
        "deprecated": time(key.deprecated),
        "destruction_due": time(key.destruction_due),
        "destroyed": time(key.destroyed),
        "shredded": key.shredded.as_ref().map(|was| json!({ "tombstone": was.tombstone.to_string(), "from": was.from.name() })),
        "nist": key.state.row().nist,
        "exposed_by": exposed_by(key, &view),
        "cyclonedx": key.state.row().cyclonedx,
        "history": history_json(key),
    });
    report::extend(&mut object, more);
    print(&json!({ "schema": report::SCHEMA, "key": object }), || {
        let branch = key.branch.as_ref();
        let mut rows = vec![
            ("key", key.id.to_string()),
            ("scope", format!("{}, slot {}", key.scope, key.slot)),
            (
                "state",
                format!("{} (NIST SP 800-57: {})", state_of(key), key.state.row().nist),
            ),
            ("KEK", kek_of(key)),
            ("reached by", key.provenance.uri.clone()),
            (
                "algorithm",
                format!(
                    "{}, {}",
                    key.protecting_algorithm(),
                    key.class().map_or("unknown class", AlgorithmClass::name)
                ),
            ),
            ("protection", key.protection.name().to_owned()),
            ("cadence", format!("{}, overlap {}", key.cadence, key.overlap)),
            ("created", key.created.to_string()),
        ];
        let dates = [
            ("activated", key.activated),
            ("next rotation", key.next_rotation),
            ("deprecated", key.deprecated),
            ("retirement due", key.retirement_due),
            ("destruction due", key.destruction_due),
            ("destroyed", key.destroyed),
        ];
        rows.extend(
            dates
                .into_iter()
                .filter_map(|(name, date)| Some((name, date?.to_string()))),
        );
        if let Some(branch) = branch {
            rows.push(("parent", format!("{} of {}", branch.parent, branch.parent_scope)));
            rows.push(("wrapped under", wrapped_under(branch)));
            let exposing = exposed_by(key, &view);
            if !exposing.is_empty() {
                rows.push(("exposed by", exposing.join(", ")));
            }
        }
        let linked = [("predecessor", key.predecessor), ("successor", key.successor)];
        rows.extend(
            linked
                .into_iter()
                .filter_map(|(name, id)| Some((name, id?.to_string()))),
        );
        rows.extend(
            key.labels
                .iter()
                .map(|(name, value)| ("label", format!("{name}={value}"))),
        );
        let mut text = table::fields(&rows);
        text.push('\n');
        let history: Vec<[String; 6]> = key
            .history
            .iter()
            .map(|entry| {
                [
                    entry.at.to_string(),
                    table::or_dash(entry.from),
                    entry.to.to_string(),
                    entry.actor.clone(),
                    reason_of(entry),
                    table::or_dash(entry.evidence.as_deref().and_then(|digest| digest.get(..12))),
                ]
            })
            .collect();
        text += &table::table(["AT", "FROM", "TO", "ACTOR", "REASON", "EVIDENCE"], &history);
        text
    })
}

/// Every move of a key, the oldest first.
pub(in crate::ring) fn history_json(key: &KeyRecord) -> Vec<Value> {
    let each = key.history.iter().map(|entry| {
        json!({
            "at": entry.at.to_string(),
            "revision": entry.revision,
            "from": entry.from.map(State::name),
            "to": entry.to.name(),
            "actor": entry.actor,
            "reason": entry.reason,
            "evidence": entry.evidence,
            "ticket": entry.ticket,
            "approver": entry.approver,
        })
    });
    each.collect()
}

/// Why something was done, with what was claimed.
fn reason_of(entry: &Move) -> String {
    match (&entry.ticket, &entry.approver) {
        (Some(ticket), Some(approver)) => {
            format!("{} (ticket {ticket}, approved by {approver})", entry.reason)
        }
        (Some(ticket), None) => format!("{} (ticket {ticket})", entry.reason),
        _ => entry.reason.clone(),
    }
}

/// A key as every listing has it.
pub(in crate::ring) fn to_json(key: &KeyRecord) -> Value {
    let time = |time: Option<waxseal::ring::Time>| time.map(|time| time.to_string());
    json!({
        "id": key.id.to_string(),
        "scope": key.scope.to_string(),
        "slot": key.slot.to_string(),
        "state": key.state.name(),
        "kek": kek_json(&key.provenance.provider, &key.provenance.id, &key.provenance.version),
        "algorithm": key.algorithm,
        "class": key.class().map(AlgorithmClass::name),
        "branch": key.branch.as_ref().map(|branch| json!({
            "parent": branch.parent.to_string(),
            "parent_scope": branch.parent_scope.to_string(),
            "wrapped_under": kek_json(&branch.wrapped.provider, &branch.wrapped.id, &branch.wrapped.version),
            "wrap_algorithm": branch.wrapped.algorithm,
            "former": branch.former.iter().map(|former| json!({
                "parent": former.parent.to_string(),
                "parent_scope": former.parent_scope.to_string(),
                "wrap_algorithm": former.algorithm,
            })).collect::<Vec<_>>(),
        })),
        "protection": key.protection.name(),
        "created": key.created.to_string(),
        "activated": time(key.activated),
        "next_rotation": time(key.next_rotation),
        "retirement_due": time(key.retirement_due),
        "predecessor": key.predecessor.map(|id| id.to_string()),
        "successor": key.successor.map(|id| id.to_string()),
        "labels": key.labels,
    })
}

fn state_of(key: &KeyRecord) -> String {
    match key.canary {
        None if key.taken_back => "taken back".to_owned(),
        None if key.destruction_cancelled.is_some() => format!("{}, cancelled", key.state),
        Some(canary) => format!("{}, canary {}%", key.state, canary.percent),
        None => key.state.to_string(),
    }
}

/// The KEK that wraps a branch key.
fn wrapped_under(branch: &Branch) -> String {
    let wrapped = &branch.wrapped;
    match KekRef::new(&wrapped.provider, &wrapped.id, &wrapped.version) {
        Ok(kek) => format!("{kek}, {}", wrapped.algorithm),
        Err(_) => wrapped.provider.clone(),
    }
}

fn kek_of(key: &KeyRecord) -> String {
    match key.provenance.kek() {
        Ok(kek) => kek.to_string(),
        Err(_) => key.provenance.provider.clone(),
    }
}
