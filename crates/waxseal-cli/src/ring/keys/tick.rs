//! `keys tick`.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use waxseal::ring::Time;
use waxseal::ring::{EvidenceSource, RingAdmin, Tick, Verdict};

use super::{orphan_json, orphan_text, receipts, verified, warn};
use crate::arguments::{self, Actor};
use crate::failure::{Failure, Result, printable};
use crate::report::{self, many};
use crate::ring::{administer_gated, parsed, show, wait};
use crate::warnings;

/// The longest and the shortest time between two ticks of `--watch`.
const LONGEST: Duration = Duration::from_secs(60);
const SHORTEST: Duration = Duration::from_secs(1);

/// Does what is due, once or for ever.
pub(super) fn run(path: &Path, actor: &Actor, options: &arguments::Tick) -> Result<()> {
    let now: Option<Time> = match &options.now {
        Some(time) => Some(parsed("--now", time)?),
        None => None,
    };
    let ring = administer_gated(path, actor, &options.skip_reader, &options.gated)?;
    let receipts = receipts(&options.receipt)?;
    let view = wait(ring.admin.reader().scopes(&[]))?;
    let verified = verified(&receipts, &view, options.allow_empty)?;
    let evidence = (!verified.is_empty()).then_some(&verified as &dyn EvidenceSource);
    if options.dry_run {
        let mut verdict = wait(ring.admin.verdict(now, evidence))?;
        ring.end()?;
        let told = told(&verdict);
        let problems = std::mem::take(&mut verdict.problems);
        for (scope, error) in &problems {
            let _ = warnings::warning(&printable(&format!("scope {scope}: {error}")));
        }
        return match problems.into_iter().next() {
            Some((_, error)) => Err(error.into()),
            None => told,
        };
    }
    loop {
        match wait(ring.admin.tick(evidence)) {
            Ok(mut tick) => {
                ring.end()?;
                warn(&tick.warnings);
                let problems = std::mem::take(&mut tick.problems);
                let is_quiet = tick.done.is_empty() && tick.taken_over == 0 && tick.refused.is_empty();
                if !(options.watch && is_quiet) {
                    print(&tick)?;
                }
                for (scope, error) in &problems {
                    let _ = warnings::warning(&printable(&format!("scope {scope}: {error}")));
                }
                if !options.watch {
                    return match problems.into_iter().next() {
                        Some((_, error)) => Err(error.into()),
                        None => end(&tick),
                    };
                }
                sleep(&ring.admin, tick.next)?;
            }
            // An inventory that is away comes back.
            Err(failure) if options.watch && failure.is_worth_a_new_try() => {
                failure.report();
                std::thread::sleep(LONGEST);
            }
            Err(failure) => return Err(failure),
        }
    }
}

/// Until something is due, and at most a minute: somebody else can change the ring.
fn sleep(admin: &RingAdmin, next: Option<Time>) -> Result<()> {
    let now = match pollster::block_on(admin.reader().inventory().now()) {
        Ok(now) => now,
        Err(_) => {
            std::thread::sleep(LONGEST);
            return Ok(());
        }
    };
    let left = next.map_or(LONGEST, |next| next.since(now));
    std::thread::sleep(left.clamp(SHORTEST, LONGEST));
    Ok(())
}

fn end(tick: &Tick) -> Result<()> {
    let did_nothing = tick.done.is_empty() && tick.taken_over == 0;
    match (did_nothing, tick.refused.first()) {
        (_, Some(refused)) => Err(Failure::refused(format!(
            "{} of what is due was not done, the first: {} {}: {}",
            tick.refused.len(),
            refused.action,
            refused.key,
            refused.reason
        ))),
        (true, None) => {
            let next = tick
                .next
                .map_or_else(String::new, |next| format!(" before {next}"));
            let held = tick.by_others.iter().find_map(|due| Some((due, due.held_until?)));
            let held = held.map_or_else(String::new, |(due, until)| {
                format!(
                    "; what somebody has begun in scope {} is gone on with from {until} on, if that one is dead",
                    due.scope
                )
            });
            Err(Failure::nothing_due(format!("nothing is due{next}{held}")))
        }
        (false, None) => Ok(()),
    }
}

fn refused_json(
    key: &dyn std::fmt::Display,
    action: &dyn std::fmt::Display,
    reason: &str,
    left: Option<u64>,
) -> Value {
    json!({ "key": key.to_string(), "action": action.to_string(), "reason": reason, "left": left })
}

fn print(tick: &Tick) -> Result<()> {
    let object = json!({
        "schema": report::SCHEMA,
        "done": tick
            .done
            .iter()
            .map(|done| {
                json!({
                    "key": done.key.to_string(),
                    "action": done.action.name(),
                    "from": done.from.map(|state| state.name()),
                    "to": done.to.name(),
                })
            })
            .collect::<Vec<_>>(),
        "refused": tick
            .refused
            .iter()
            .map(|refused| refused_json(&refused.key, &refused.action, &refused.reason, refused.left))
            .collect::<Vec<_>>(),
        "by_others": tick
            .by_others
            .iter()
            .map(|due| {
                json!({
                    "key": due.key.to_string(),
                    "scope": due.scope.to_string(),
                    "action": due.action.name(),
                    "until": due.held_until.map(|until| until.to_string()),
                })
            })
            .collect::<Vec<_>>(),
        "taken_over": tick.taken_over,
        "exposed": tick.exposed,
        "orphans": tick.orphans.iter().map(orphan_json).collect::<Vec<_>>(),
        "next": tick.next.map(|next| next.to_string()),
    });
    show(&object, || {
        let mut text = String::new();
        for done in &tick.done {
            let from = done
                .from
                .map_or_else(String::new, |from| format!(", and was {from}"));
            text += &format!("{}: {} is {}{from}\n", done.action, done.key, done.to);
        }
        for refused in &tick.refused {
            text += &format!(
                "not done: {} {}: {}\n",
                refused.action,
                refused.key,
                printable(&refused.reason)
            );
        }
        for due in &tick.by_others {
            text += &match due.held_until {
                None => format!("done by somebody else: {} {}\n", due.action, due.key),
                Some(until) => format!(
                    "begun by somebody else: {} in scope {}; nobody else goes on with it before {until}\n",
                    due.key, due.scope
                ),
            };
        }
        if tick.taken_over > 0 {
            let count = u64::try_from(tick.taken_over).unwrap_or(u64::MAX);
            text += &format!("taken over from provisioners: {}\n", many(count, "key"));
        }
        if tick.exposed > 0 {
            let count = u64::try_from(tick.exposed).unwrap_or(u64::MAX);
            text += &format!(
                "exposed by a key that was revoked, and due for rotation: {}\n",
                many(count, "branch key")
            );
        }
        for orphan in &tick.orphans {
            text += &orphan_text(orphan);
        }
        match tick.next {
            Some(next) => text += &format!("next: {next}\n"),
            None => text += "next: nothing\n",
        }
        text
    })
}

/// What a tick would do.
fn told(verdict: &Verdict) -> Result<()> {
    let (hindered, free): (Vec<_>, Vec<_>) = verdict.due.iter().partition(|due| due.hindered.is_some());
    let object = json!({
        "schema": report::SCHEMA,
        "at": verdict.at.to_string(),
        "due": free
            .iter()
            .map(|due| {
                json!({
                    "key": due.key.to_string(),
                    "scope": due.scope.to_string(),
                    "action": due.action.name(),
                    "since": due.since.to_string(),
                })
            })
            .collect::<Vec<_>>(),
        "refused": hindered
            .iter()
            .map(|due| refused_json(&due.key, &due.action, due.hindered.as_deref().unwrap_or_default(), due.left))
            .collect::<Vec<_>>(),
        "next": verdict.next.map(|next| next.to_string()),
    });
    show(&object, || {
        let mut text = format!("at {}\n", verdict.at);
        for due in &verdict.due {
            text += &match &due.hindered {
                None => format!(
                    "due: {} {} in {} since {}\n",
                    due.action, due.key, due.scope, due.since
                ),
                Some(why) => format!(
                    "due, and hindered: {} {}: {}\n",
                    due.action,
                    due.key,
                    printable(why)
                ),
            };
        }
        match verdict.next {
            Some(next) => text += &format!("next: {next}\n"),
            None => text += "next: nothing\n",
        }
        text
    })?;
    match (verdict.due.is_empty(), hindered.first()) {
        (true, _) => Err(Failure::nothing_due("nothing is due")),
        (false, None) => Ok(()),
        (false, Some(first)) => Err(Failure::refused(format!(
            "{} of what is due would not be done, the first: {} {}: {}",
            hindered.len(),
            first.action,
            first.key,
            first.hindered.as_deref().unwrap_or_default()
        ))),
    }
}
