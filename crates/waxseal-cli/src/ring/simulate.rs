//! `ring simulate`.

use std::path::Path;

use serde_json::{Value, json};
use waxseal::ring::{Simulated, SimulatedMove, Simulation};

use super::keys::{receipts, verified};
use super::{open, parsed, show, wait};
use crate::arguments::Simulate;
use crate::failure::{Failure, Result, printable};
use crate::report::{self, many};

/// Tells what a move would do. Changes nothing.
pub(super) fn run(path: &Path, options: &Simulate) -> Result<()> {
    let of = simulation(options)?;
    let receipts = receipts(&options.receipt)?;
    let ring = open(path)?;
    let view = wait(ring.reader.scopes(&[]))?;
    let verified = verified(&receipts, &view, options.allow_empty)?;
    let simulated = wait(ring.reader.simulate(&of, &verified))?;
    ring.end()?;
    show(&to_json(&simulated), || text(&simulated))?;
    match simulated.refused.first() {
        None => Ok(()),
        Some(first) => Err(Failure::refused(format!("it would be refused now: {first}"))),
    }
}

fn simulation(options: &Simulate) -> Result<Simulation> {
    let id = |name: &str, text: &str| parsed(name, text);
    Ok(match options {
        Simulate {
            retire: Some(key), ..
        } => Simulation::Retire(id("--retire", key)?),
        Simulate {
            revoke: Some(key), ..
        } => Simulation::Revoke(id("--revoke", key)?),
        Simulate {
            destroy: Some(key), ..
        } => Simulation::Destroy(id("--destroy", key)?),
        Simulate {
            rotate: Some(key), ..
        } => Simulation::Rotate(id("--rotate", key)?),
        Simulate { shred, .. } => Simulation::Shred(parsed("--shred", shred.as_deref().unwrap_or_default())?),
    })
}

fn to_json(simulated: &Simulated) -> Value {
    let moves = simulated.moves.iter().map(|made| {
        json!({
            "key": made.key.map(|key| key.to_string()),
            "scope": made.scope.to_string(),
            "from": made.from.map(|state| state.name()),
            "to": made.to.name(),
            "at": made.at.map(|at| at.to_string()),
        })
    });
    let scopes = simulated.scopes.iter().map(|affected| {
        json!({
            "scope": affected.scope.to_string(),
            "why": affected.why.name(),
            "keys": affected.keys.iter().map(ToString::to_string).collect::<Vec<_>>(),
        })
    });
    let counted = simulated.counted.iter().map(|count| {
        json!({
            "key": count.key.to_string(),
            "census": count.census,
            "started": count.started.to_string(),
            "items": count.items,
            "sole": count.sole,
            "unknown": count.unknown,
        })
    });
    let readers = simulated.readers.iter().map(|lags| {
        json!({
            "reader": lags.reader,
            "process": lags.process,
            "revision": lags.revision,
            "why": lags.why,
        })
    });
    json!({
        "schema": report::SCHEMA,
        "command": "ring simulate",
        "revision": simulated.revision,
        "at": simulated.at.to_string(),
        "moves": moves.collect::<Vec<_>>(),
        "scopes": scopes.collect::<Vec<_>>(),
        "counted": counted.collect::<Vec<_>>(),
        "readers": readers.collect::<Vec<_>>(),
        "refused": simulated.refused,
        "due": simulated.due.map(|due| due.to_string()),
        "unreadable": simulated.unreadable,
    })
}

fn line(made: &SimulatedMove) -> String {
    let key = made
        .key
        .map_or_else(|| "a new key".to_owned(), |key| key.to_string());
    let from = made
        .from
        .map_or_else(String::new, |from| format!(", and is {from}"));
    let at = made.at.map_or_else(String::new, |at| format!(" from {at} on"));
    format!("{key} of scope {} would be {}{at}{from}\n", made.scope, made.to)
}

fn text(simulated: &Simulated) -> String {
    let mut text: String = simulated.moves.iter().map(line).collect();
    for affected in &simulated.scopes {
        text += &format!(
            "scope {} is affected ({}): {}\n",
            affected.scope,
            affected.why.name(),
            many(affected.keys.len() as u64, "key")
        );
    }
    if simulated.counted.is_empty() {
        text += "how many envelopes that concerns, only a census tells: --receipt\n";
    }
    for count in &simulated.counted {
        text += &format!(
            "the census of {} found {} under {}, {} under it alone, and {} that may be\n",
            count.started,
            many(count.items, "envelope"),
            count.key,
            count.sole,
            count.unknown
        );
    }
    for lags in &simulated.readers {
        let process = lags
            .process
            .as_ref()
            .map_or_else(String::new, |process| format!(" (process {process})"));
        text += &printable(&format!("the reader {}{process}: {}", lags.reader, lags.why));
        text.push('\n');
    }
    for what in &simulated.unreadable {
        text += &printable(what);
        text.push('\n');
    }
    if let Some(due) = simulated.due {
        text += &format!("due: {due}\n");
    }
    for why in &simulated.refused {
        text += &printable(&format!("refused: {why}"));
        text.push('\n');
    }
    text
}
