//! `ring report` and `ring cbom`: what an auditor asks of a ring.

mod cbom;
mod markdown;
mod rows;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use waxseal::envelope::AlgorithmClass;
use waxseal::ring::evidence::Total;
use waxseal::ring::{KeyRecord, Scope, State, Time, View};

use self::rows::{Due, Reported};

use super::counted::{censuses_json, check_apart, total_json};
use super::keys::{key_json, receipts, verified};
use super::{each_key_record, open, show, wait};
use crate::arguments::Report as Options;
use crate::failure::{Failure, Result};
use crate::report;

/// Bytes that whoever keeps them today can open with a quantum computer.
pub(super) struct Harvest {
    keys: u64,
    objects: Total,
    since: Time,
}

/// Everything that a report says.
pub(super) struct Reporting {
    view: View,
    now: Time,
    keys: Vec<Reported>,
    scopes: u64,
    censuses: Vec<Value>,
}

/// `ring report`.
pub(super) fn run(path: &Path, options: &Options) -> Result<()> {
    let (reporting, bad) = read(path, options)?;
    let object = reporting.to_json();
    show(&object, || markdown::text(&reporting))?;
    bad.map_or(Ok(()), Err)
}

/// `ring cbom`.
pub(super) fn cbom(path: &Path, options: &Options) -> Result<()> {
    let (reporting, bad) = read(path, options)?;
    let bom = cbom::of(&reporting);
    // A document of another standard: it has no schema number of this command.
    report::print(&format!("{bom:#}\n"))?;
    bad.map_or(Ok(()), Err)
}

/// Reads the whole ring. A scope that cannot be read hinders no other: what is wrong with the first comes back.
fn read(path: &Path, options: &Options) -> Result<(Reporting, Option<Failure>)> {
    let receipts = receipts(&options.receipt)?;
    let ring = open(path)?;
    let view = wait(ring.reader.scopes(&[]))?;
    let verified = verified(&receipts, &view, options.allow_empty)?;
    check_apart(&verified)?;
    let now = wait(ring.reader.inventory().now())?;
    let mut keys: Vec<(Arc<KeyRecord>, Option<Total>)> = Vec::new();
    let mut scopes = 0_u64;
    let mut last: Option<Scope> = None;
    // All keys of a scope come one after the other.
    let bad = each_key_record(&ring.reader, |key| {
        if last.as_ref() != Some(&key.scope) {
            scopes += 1;
            last = Some(key.scope.clone());
        }
        let objects = (!verified.is_empty()).then(|| Total::of(&verified, key));
        keys.push((Arc::clone(key), objects));
    })?;
    ring.end()?;
    let keys = rows::of(keys, now);
    let censuses = censuses_json(&verified);
    Ok((
        Reporting {
            view,
            now,
            keys,
            scopes,
            censuses,
        },
        bad,
    ))
}

impl Reporting {
    fn states(&self) -> BTreeMap<&'static str, u64> {
        count_by(&self.keys, |one| one.state.name())
    }

    fn algorithms(&self) -> BTreeMap<(String, &'static str), u64> {
        let living = self.keys.iter().filter(|one| one.state != State::Destroyed);
        let named = |one: &Reported| {
            (
                one.key.protecting_algorithm().to_owned(),
                one.key.class().map_or("unknown", AlgorithmClass::name),
            )
        };
        count_by(living, named)
    }

    /// What is due at some time, the soonest first.
    fn due(&self) -> Vec<(&Reported, Due)> {
        let mut due: Vec<_> = self.keys.iter().filter_map(|one| Some((one, one.due?))).collect();
        due.sort_by_key(|(one, due)| (due.at, one.key.id));
        due
    }

    /// Keys under which nothing more is sealed and something still is.
    fn left(&self) -> impl Iterator<Item = (&Reported, Total)> {
        let out_of_use = [
            State::Deprecated,
            State::Retired,
            State::Compromised,
            State::Destroying,
        ];
        let left = self
            .keys
            .iter()
            .filter(move |one| out_of_use.contains(&one.state));
        left.filter_map(|one| Some((one, one.objects?)))
            .filter(|(one, objects)| *objects != Total::default() || one.through != Some(Total::default()))
    }

    /// What is under classical keys, for each scope. `None` if no census was given.
    fn harvest(&self) -> Option<BTreeMap<&Scope, Harvest>> {
        (!self.censuses.is_empty()).then(|| harvest(&self.keys))
    }

    fn to_json(&self) -> Value {
        let keys = self.keys.iter().map(|one| {
            let key = &one.key;
            let mut object = key_json(key);
            let more = json!({
                "uri": key.provenance.uri,
                "cadence": key.cadence.to_string(),
                "overlap": key.overlap.to_string(),
                "deprecated": key.deprecated.map(|at| at.to_string()),
                "destruction_due": key.destruction_due.map(|at| at.to_string()),
                "destroyed": key.destroyed.map(|at| at.to_string()),
                "effective_state": one.state.name(),
                "nist": one.state.row().nist,
                "cyclonedx": one.state.row().cyclonedx,
                "same_kek": one.same_kek.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "objects": one.objects.map(total_json),
                "through_branch_keys": one.through.map(total_json),
            });
            report::extend(&mut object, more);
            object
        });
        let due = self.due().into_iter().map(|(one, due)| {
            json!({
                "key": one.key.id.to_string(),
                "scope": one.key.scope.to_string(),
                "what": due.what,
                "at": due.at.to_string(),
                "overdue": due.is_overdue,
            })
        });
        let left = self.left().map(|(one, objects)| {
            json!({
                "key": one.key.id.to_string(),
                "scope": one.key.scope.to_string(),
                "state": one.state.name(),
                "objects": total_json(objects),
                "through_branch_keys": one.through.map(total_json),
            })
        });
        let harvest = self.harvest().map(|harvest| {
            let each = harvest.into_iter().map(|(scope, harvest)| {
                json!({
                    "scope": scope.to_string(),
                    "keys": harvest.keys,
                    "since": harvest.since.to_string(),
                    "objects": total_json(harvest.objects),
                })
            });
            each.collect::<Vec<_>>()
        });
        let algorithms = self.algorithms().into_iter().map(|((algorithm, class), keys)| {
            json!({ "algorithm": algorithm, "class": Some(class).filter(|class| *class != "unknown"), "keys": keys })
        });
        json!({
            "schema": report::SCHEMA,
            "command": "ring report",
            "ring": self.view.ring().to_string(),
            "revision": self.view.revision(),
            "mark": self.view.mark().to_string(),
            "authority": self.view.authority().to_string(),
            "at": self.now.to_string(),
            "scopes": self.scopes,
            "states": self.states(),
            "algorithms": algorithms.collect::<Vec<_>>(),
            "censuses": self.censuses,
            "due": due.collect::<Vec<_>>(),
            "left": (!self.censuses.is_empty()).then(|| left.collect::<Vec<_>>()),
            "harvest": harvest,
            "keys": keys.collect::<Vec<_>>(),
        })
    }
}

fn harvest(keys: &[Reported]) -> BTreeMap<&Scope, Harvest> {
    let mut all: BTreeMap<&Scope, Harvest> = BTreeMap::new();
    for one in keys
        .iter()
        .filter(|one| one.key.class() == Some(AlgorithmClass::Classical))
    {
        let objects = one.objects.unwrap_or_default();
        if objects.items == 0 {
            continue;
        }
        let since = one.key.activated.unwrap_or(one.key.created);
        let scope = all.entry(&one.key.scope).or_insert(Harvest {
            keys: 0,
            objects: Total::default(),
            since,
        });
        scope.keys += 1;
        scope.since = scope.since.min(since);
        scope.objects.add(objects);
    }
    all
}

fn count_by<'k, K: Ord>(
    keys: impl IntoIterator<Item = &'k Reported>,
    by: impl Fn(&Reported) -> K,
) -> BTreeMap<K, u64> {
    let mut counts = BTreeMap::new();
    for one in keys {
        *counts.entry(by(one)).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reported(number: u32, scope: &str, algorithm: &str, items: u64) -> Reported {
        let at = format!("2026-0{number}-01T00:00:00Z");
        let key = json!({
            "min_reader": 1,
            "id": format!("01a21e93-b0b9-71a6-9136-e7084187000{number}"),
            "scope": scope,
            "slot": "default",
            "revision": 1,
            "state": "active",
            "provenance": { "uri": "azure-key-vault:https://v/keys/k", "provider": "azure-key-vault", "id": "k", "version": "1" },
            "algorithm": algorithm,
            "protection": "unknown",
            "staged": false,
            "has_wrapped": true,
            "in_ring_since": 1,
            "cadence": "P90D",
            "overlap": "PT24H",
            "created": at,
            "activated": at,
            "destruction_told": false,
            "history": [],
            "labels": {},
        });
        let mut objects = Total::default();
        (objects.items, objects.sole, objects.bytes) = (items, 1, items * 100);
        let key = Arc::new(serde_json::from_value(key).unwrap());
        let at = "2026-01-01T00:00:00Z".parse().unwrap();
        rows::of(vec![(key, Some(objects))], at).remove(0)
    }

    /// The same as a branch key that is wrapped under a symmetric key now, and was under an RSA key.
    fn moved_branch(number: u32, scope: &str, items: u64) -> Reported {
        let mut one = reported(number, scope, "xaes-256-gcm", items);
        let key = Arc::get_mut(&mut one.key).unwrap();
        let parent = "01a21e93-b0b9-71a6-9136-e70841870009";
        let branch = json!({
            "parent": parent, "parent_scope": "/", "commitment": "",
            "wrapped": { "provider": "local", "id": "kek", "algorithm": "xaes-256-gcm", "bytes": "" },
            "former": [{ "parent": parent, "parent_scope": "/", "algorithm": "rsa-oaep-256" }],
        });
        key.branch = serde_json::from_value(branch).unwrap();
        one
    }

    #[test]
    fn what_was_wrapped_under_a_classical_key_once_is_still_harvested() {
        let keys = [moved_branch(1, "a", 5)];
        let harvest = harvest(&keys);
        let found: Vec<_> = harvest
            .values()
            .map(|one| (one.keys, one.objects.items))
            .collect();
        assert_eq!(found, [(1, 5)]);
    }

    #[test]
    fn what_a_quantum_computer_opens_is_counted_for_each_scope() {
        let keys = [
            reported(3, "a", "azure-rsa-oaep-256", 5),
            reported(2, "a", "rsa-oaep-256", 7),
            reported(1, "a", "xaes-256-gcm", 9),
            reported(4, "b", "rsa-oaep-256", 0),
            reported(5, "c", "rsa-oaep-256", 2),
        ];
        let harvest = harvest(&keys);
        let found = harvest.iter().map(|(scope, one)| {
            (
                scope.to_string(),
                one.keys,
                one.objects.items,
                one.objects.bytes,
                one.since.to_string(),
            )
        });
        let found: Vec<_> = found.collect();
        let since = |at: &str| at.to_owned();
        assert_eq!(
            found,
            [
                ("a".to_owned(), 2, 12, 1200, since("2026-02-01T00:00:00Z")),
                ("c".to_owned(), 1, 2, 200, since("2026-05-01T00:00:00Z")),
            ]
        );
    }
}
