//! `ring status` and `ring check`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use waxseal::ring::{Mark, STATES, State, Time, Tombstone, View};

use super::exposed::{Exposed, Sharing, lines};
use super::keys::{tombstone_json, tombstone_line};
use super::{
    Opened, believing, each_provisioned, each_readable, open, parsed, read_config, settings, show, table,
    wait,
};
use crate::arguments::Check;
use crate::failure::{Failure, Result};
use crate::report::{self, many};

/// Whose heartbeats are shown.
const LATELY: Duration = Duration::from_secs(3600);

/// Shows the settings, how many keys there are, which are exposed, when something is due next, and who reads the ring.
pub(crate) fn status(path: &Path) -> Result<()> {
    let ring = open(path)?;
    let view = wait(ring.reader.scopes(&[]))?;
    let mut counts = [0_usize; STATES.len()];
    let mut exposed: Vec<Exposed> = Vec::new();
    let mut sharing: Vec<Sharing> = Vec::new();
    // Those whose keys are not all gone, and how many there are.
    let mut shredded: Vec<Arc<Tombstone>> = Vec::new();
    let mut tombstones = 0_u64;
    let mut bad = each_readable(&ring.reader, |page| {
        for tombstone in page.all_tombstones() {
            tombstones += 1;
            let mut keys = page.keys(&tombstone.scope).iter();
            if keys.any(|key| key.state != State::Destroyed) {
                shredded.push(Arc::clone(tombstone));
            }
        }
        for key in page.all_keys() {
            exposed.extend(Exposed::of(key, page));
            sharing.extend(Sharing::of(key));
            let index = STATES.iter().position(|row| row.state == key.state);
            if let Some(count) = index.and_then(|index| counts.get_mut(index)) {
                *count += 1;
            }
        }
    })?;
    let provisioned = each_provisioned(&ring.reader, |key, page| exposed.extend(Exposed::of(key, page)))?;
    bad = bad.or(provisioned);
    for one in &mut exposed {
        one.meet(&sharing);
    }
    let inventory = ring.reader.inventory();
    let now = wait(inventory.now())?;
    let next = wait(inventory.next_due())?;
    let lately = now.as_microseconds() - i64::try_from(LATELY.as_micros()).unwrap_or(0);
    let beats = wait(inventory.heartbeats(Time::from_microseconds(lately)?))?;
    let branches = branches_of(&ring, &view)?;
    ring.end()?;
    let keys: Map<String, Value> = STATES
        .iter()
        .zip(counts)
        .map(|(row, count)| (row.state.name().to_owned(), count.into()))
        .collect();
    let readers: Vec<Value> = beats
        .iter()
        .map(|beat| {
            json!({
                "reader": beat.reader,
                "process": beat.process,
                "revision": beat.revision,
                "at": beat.at.map(|at| at.to_string()),
                "probed": beat.probed.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "failed": beat.failed.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "signed": beat.signed.is_some(),
                "malformed": beat.malformed,
            })
        })
        .collect();
    let object = json!({
        "schema": report::SCHEMA,
        "ring": view.ring().to_string(),
        "revision": view.revision(),
        "changed": view.changed().to_string(),
        "actor": view.actor(),
        "authority": view.authority().to_string(),
        "now": now.to_string(),
        "next": next.map(|next| next.to_string()),
        "keys": keys,
        "branch_keys": branches
            .iter()
            .map(|(parent, scope, count)| json!({ "parent": parent, "parent_scope": scope, "keys": count }))
            .collect::<Vec<_>>(),
        "exported": view.exported().map(|exported| json!({
            "revision": exported.revision,
            "digest": exported.digest,
            "at": exported.at.to_string(),
            "actor": exported.actor,
        })),
        "exposed": exposed.iter().map(Exposed::to_json).collect::<Vec<_>>(),
        "tombstones": tombstones,
        "shredded": shredded.iter().map(|one| tombstone_json(one)).collect::<Vec<_>>(),
        "settings": settings::to_json(view.settings()),
        "readers": readers,
    });
    show(&object, || {
        let mut rows = vec![
            ("ring", view.ring().to_string()),
            (
                "revision",
                format!("{}, of {} by {}", view.revision(), view.changed(), view.actor()),
            ),
            ("authority", view.authority().to_string()),
            ("inventory's clock", now.to_string()),
            ("next due", table::or_dash(next)),
        ];
        for (row, count) in STATES.iter().zip(counts).filter(|(_, count)| *count > 0) {
            rows.push((
                row.state.name(),
                many(u64::try_from(count).unwrap_or(u64::MAX), "key"),
            ));
        }
        for (parent, scope, count) in &branches {
            let of = scope
                .as_ref()
                .map_or_else(String::new, |scope| format!(" of {scope}"));
            rows.push((
                "branch keys",
                format!("{} under {parent}{of}", many(*count, "key")),
            ));
        }
        if let Some(exported) = view.exported() {
            rows.push((
                "newest export",
                format!(
                    "revision {}, of {} by {}",
                    exported.revision, exported.at, exported.actor
                ),
            ));
        }
        for line in lines(&exposed) {
            rows.push(("exposed", crate::failure::printable(&line)));
        }
        if tombstones > 0 {
            rows.push(("tombstones", many(tombstones, "scope")));
        }
        for one in &shredded {
            rows.push(("shredded", crate::failure::printable(&tombstone_line(one))));
        }
        rows.extend(settings::shown(view.settings()));
        for beat in &beats {
            let list = |what: &str, ids: &[waxseal::ring::RecordId]| match ids {
                [] => String::new(),
                ids => {
                    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
                    format!(", {what} {}", ids.join(", "))
                }
            };
            if let Some(why) = &beat.malformed {
                let row = format!("{}: counts as none, {why}", beat.reader);
                rows.push(("reader", crate::failure::printable(&row)));
                continue;
            }
            let probed = list("can use", &beat.probed) + &list("cannot use", &beat.failed);
            rows.push((
                "reader",
                format!(
                    "{} at revision {}, {}{probed}",
                    beat.reader,
                    beat.revision,
                    table::or_dash(beat.at)
                ),
            ));
        }
        table::fields(&rows)
    })?;
    bad.map_or(Ok(()), Err)
}

/// Under which key how many branch keys are, and its scope.
fn branches_of(ring: &Opened, view: &View) -> Result<Vec<(String, Option<String>, u64)>> {
    let mut branches = Vec::new();
    for (parent, count) in view.branch_parents() {
        let scope = wait(ring.reader.inventory().scope_of(parent))?;
        branches.push((parent.to_string(), scope.map(|scope| scope.to_string()), count));
    }
    Ok(branches)
}

/// What a look without a mark has not noticed, and how to get one.
fn no_mark(ring: &Opened) -> String {
    let next = match &ring.config.mark {
        Some(path) => format!("from now on {} holds one", path.display()),
        None => "set mark = \"FILE\" in the ring's configuration, which then keeps one".to_owned(),
    };
    format!(
        "nothing newer was known to compare with, so an older dump of the inventory was not noticed: give --mark with the mark of another \
         machine or of the last export; {next}"
    )
}

/// Verifies every record, and names what is wrong.
pub(crate) fn check(path: &Path, options: &Check) -> Result<()> {
    let config = read_config(path)?;
    let mut trust = config.trust()?;
    if let Some(mark) = &options.mark {
        let mark: Mark = parsed("--mark", mark)?;
        match trust.mark() {
            Some(kept) if kept.revision == mark.revision && kept.head != mark.head => {
                return Err(Failure::attention(format!(
                    "--mark and the mark file have two heads of revision {}: one of them is of another ring, or this ring was taken back \
                     to an older state and went on from there",
                    mark.revision
                )));
            }
            Some(kept) if kept.revision > mark.revision => {}
            _ => trust = trust.with_mark(mark),
        }
    }
    let ring = believing(config, trust)?;
    let check = wait(ring.reader.check())?;
    ring.end()?;
    let mut findings: Vec<(Option<String>, Option<String>, String, bool)> = check
        .findings
        .iter()
        .map(|finding| {
            (
                finding.scope.as_ref().map(ToString::to_string),
                finding.record.map(|id| id.to_string()),
                finding.what.clone(),
                finding.is_error,
            )
        })
        .collect();
    if check.compared.is_none() {
        findings.push((None, None, no_mark(&ring), false));
    }
    let keys: Map<String, Value> = STATES
        .iter()
        .zip(check.keys)
        .map(|(row, count)| (row.state.name().to_owned(), count.into()))
        .collect();
    let object = json!({
        "schema": report::SCHEMA,
        "good": check.is_good(),
        "revision": check.mark.revision,
        "mark": check.mark.to_string(),
        "compared": check.compared.map(|mark| mark.to_string()),
        "authority": check.authority.to_string(),
        "scopes": check.scopes,
        "provisioned": check.provisioned,
        "keys": keys,
        "findings": findings
            .iter()
            .map(|(scope, record, what, is_error)| {
                json!({ "scope": scope, "record": record, "what": what, "error": is_error })
            })
            .collect::<Vec<_>>(),
    });
    show(&object, || {
        let count = |count: usize, what| many(u64::try_from(count).unwrap_or(u64::MAX), what);
        let mut text = format!(
            "revision {}: {} in {} verified\nmark: {}\n",
            check.mark.revision,
            count(check.keys.iter().sum(), "key"),
            count(check.scopes, "scope"),
            check.mark
        );
        if let Some(compared) = check.compared {
            text += &format!(
                "not older than revision {}, which was seen before\n",
                compared.revision
            );
        }
        for (_, _, what, is_error) in &findings {
            let kind = if *is_error { "error" } else { "note" };
            text += &format!("{kind}: {}\n", crate::failure::printable(what));
        }
        text
    })?;
    match check.findings.iter().filter(|finding| finding.is_error).count() {
        0 => Ok(()),
        errors => Err(Failure::attention(format!(
            "the ring does not verify: {}; look at who can write the inventory, and restore the newest export: docs/runbooks/ring-backup",
            many(u64::try_from(errors).unwrap_or(u64::MAX), "error")
        ))),
    }
}
