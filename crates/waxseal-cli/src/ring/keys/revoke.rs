//! `keys revoke`.

use std::path::Path;

use serde_json::{Value, json};
use waxseal::ring::{ExposedBranches, Revocation};

use super::{id_of, move_json, warn};
use crate::arguments::{Actor, Revoke};
use crate::failure::{Failure, Result, printable};
use crate::report::many;
use crate::ring::{administer_gated, ask, done, wait};
use crate::warnings;

/// How many branch keys are shown.
const NAMED: usize = 10;

/// Takes a key out of use, at once and for good.
pub(super) fn run(path: &Path, actor: &Actor, options: &Revoke) -> Result<()> {
    let id = id_of(&options.id)?;
    let question =
        format!("The key {id} will be out of use, for good: what is under it alone does not open anymore.");
    ask::whether(&options.consent, &question)?;
    let ring = administer_gated(path, actor, &[], &options.gated)?;
    let mut revocation = Revocation::new(&options.ticket, &options.approver, &options.reason);
    revocation.successor = !options.no_successor;
    revocation.disable_at_backend = options.disable_at_backend;
    let revoked = wait(ring.admin.revoke(id, &revocation))?;
    let is_gated = revoked.without_successor.is_some()
        && (options.gated.gate.is_some() || wait(ring.admin.key(id)).is_ok_and(|key| key.awaits_gate));
    ring.end()?;
    warn(&revoked.moved.warnings);
    for other in &revoked.same_kek {
        let _ = warnings::warning(&format!(
            "the key {other} is the same KEK and is not revoked: whoever has the one has the other"
        ));
    }
    let failed = |error: &Option<waxseal::Error>| error.as_ref().map(ToString::to_string);
    let moved = &revoked.moved;
    done(
        "keys revoke",
        json!({
            "moves": [move_json(moved.key, Some(moved.from), moved.to)],
            "successor": revoked.successor.map(|key| key.to_string()),
            "without_successor": failed(&revoked.without_successor),
            "disabled": revoked.disabled,
            "not_disabled": failed(&revoked.not_disabled),
            "same_kek": revoked.same_kek.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "branch_keys": branches_json(&revoked.branches),
        }),
        || {
            let mut text = match moved.from == moved.to {
                true => format!("{} is {} already\n", moved.key, moved.to),
                false => format!("{} is {}, and was {}\n", moved.key, moved.to, moved.from),
            };
            if let Some(successor) = revoked.successor {
                text += &format!("{successor} is active in its place\n");
            }
            if let Some(error) = &revoked.without_successor {
                text += &format!(
                    "no key is in its place yet, and nothing can be sealed there: {}\n  {}\n",
                    printable(&error.to_string()),
                    goes_on(is_gated)
                );
            }
            text += &branches_text(&revoked.branches);
            if revoked.disabled {
                text += "its backend has disabled it\n";
            }
            if let Some(error) = &revoked.not_disabled {
                text += &format!(
                    "its backend has not disabled it: {}\n",
                    printable(&error.to_string())
                );
            }
            text
        },
    )?;
    match revoked.without_successor.or(revoked.not_disabled) {
        None => Ok(()),
        Some(error) => Err(Failure::from(error)),
    }
}

/// What puts another key in the place of the one that was revoked. A gate that was asked once decides until it agrees.
const fn goes_on(is_gated: bool) -> &'static str {
    match is_gated {
        true => {
            "`keys tick` with --gate goes on with it when the gate agrees, and so does the same command with --gate; without a gate, `keys promote` of the key that waits \
             puts it there"
        }
        false => "`keys tick` goes on with it, and so does the same command",
    }
}

fn branches_json(branches: &ExposedBranches) -> Value {
    let named = branches.named.iter().map(|found| {
        json!({
            "key": found.key.to_string(),
            "scope": found.scope.to_string(),
            "state": found.state.name(),
            "is_parent": found.is_under,
        })
    });
    json!({
        "exposed": branches.keys,
        "active": branches.active,
        "stopped": branches.stopped,
        "unread": branches.unread,
        "keys": named.collect::<Vec<_>>(),
    })
}

/// What else whoever has the key has, and what is to be done.
fn branches_text(branches: &ExposedBranches) -> String {
    let mut text = String::new();
    if branches.keys > 0 {
        text += &format!(
            "{} that are or were wrapped under it are exposed with it:\n",
            many(branches.keys, "branch key")
        );
    }
    for found in branches.named.iter().take(NAMED) {
        let is = if found.is_under { "is" } else { "was" };
        let line = format!(
            "  {} of scope {}, {}, {is} wrapped under it",
            found.key, found.scope, found.state
        );
        text += &printable(&line);
        text.push('\n');
    }
    if branches.keys > NAMED as u64 {
        text += "  and others: `ring status --json` names all\n";
    }
    if branches.stopped > 0 {
        text += &format!(
            "nothing is sealed in the scopes of {} until it is rotated, and what is under it does not open\n",
            many(branches.stopped, "branch key")
        );
    }
    if branches.active > 0 {
        text += "`keys tick` rotates those that are active, at most 1,000 at once: run it until nothing is due, and then re-wrap what they have sealed\n";
    }
    if branches.unread > 0 {
        text += &format!(
            "{} could not be read: see `ring check`\n",
            many(branches.unread, "scope")
        );
    }
    text
}
