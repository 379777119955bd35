//! `keys rotate`.

use std::path::Path;

use serde_json::{Value, json};
use waxseal::ring::{Rollout, Rotated, Rotation, Target, Unfinished};

use super::{id_of, orphan_json, orphan_text, warn};
use crate::arguments::{Actor, Rotate};
use crate::failure::{Failure, Result};
use crate::ring::{administer_gated, done, parsed, wait};

/// Makes successors.
pub(super) fn rotate(path: &Path, actor: &Actor, options: &Rotate) -> Result<()> {
    let (targets, rollout) = plan(options)?;
    let ring = administer_gated(path, actor, &options.skip_reader, &options.gated)?;
    let rotation = wait(ring.admin.rotate_all(&targets, rollout, &options.reason))?;
    ring.end()?;
    for one in &rotation.rotated {
        warn(&one.warnings);
    }
    let all: Vec<Value> = rotation.rotated.iter().map(to_json).collect();
    let unfinished: Vec<Value> = rotation.unfinished.iter().map(unfinished_json).collect();
    done(
        "keys rotate",
        json!({ "rotated": all, "unfinished": unfinished }),
        || {
            let rotated = rotation.rotated.iter().map(line);
            rotated
                .chain(rotation.unfinished.iter().map(unfinished_line))
                .collect()
        },
    )?;
    end(rotation)
}

/// What is not as it was asked for decides the exit code. A tick goes on with all of it.
fn end(rotation: Rotation) -> Result<()> {
    if let Some(unfinished) = rotation.unfinished.into_iter().next() {
        return Err(unfinished.error.into());
    }
    let hindered = rotation
        .rotated
        .iter()
        .find_map(|rotated| Some((rotated.key, rotated.hindered.as_ref()?)));
    match hindered {
        None => Ok(()),
        Some((key, error)) => Err(Failure::refused(format!(
            "the successor {key} is there and not promoted yet: {}",
            error.detail().unwrap_or("its promotion failed")
        ))),
    }
}

/// Which keys, and how far.
fn plan(options: &Rotate) -> Result<(Vec<Target>, Rollout)> {
    let mut targets = match (&options.id, &options.scope) {
        (Some(id), _) => vec![Target::Key(id_of(id)?)],
        (None, Some(scope)) => vec![Target::Scope(parsed("--scope", scope)?)],
        (None, None) => Vec::new(),
    };
    let rollout = match options.canary.as_deref() {
        None if options.stage => Rollout::Staged,
        None => Rollout::AtOnce,
        Some(share) => match share.strip_suffix('%') {
            Some(percent) => match percent.parse() {
                Ok(percent @ 1..=100) => Rollout::Canary(percent),
                _ => return Err(Failure::usage("--canary is a share from 1% to 100%, or scopes")),
            },
            None => {
                if options.scope.is_some() || options.id.is_some() {
                    return Err(Failure::usage(
                        "--canary with scopes says which keys: leave out ID and --scope",
                    ));
                }
                targets = share
                    .split(',')
                    .map(|scope| parsed("--canary", scope).map(Target::Scope))
                    .collect::<Result<_>>()?;
                Rollout::AtOnce
            }
        },
    };
    if targets.is_empty() {
        return Err(Failure::usage(
            "name what is rotated: ID, --scope or --canary SCOPE,…",
        ));
    }
    Ok((targets, rollout))
}

fn to_json(rotated: &Rotated) -> Value {
    json!({
        "key": rotated.key.to_string(),
        "predecessor": rotated.predecessor.to_string(),
        "state": rotated.state.name(),
        "hindered": rotated.hindered.as_ref().map(ToString::to_string),
        "orphans": rotated.orphans.iter().map(orphan_json).collect::<Vec<_>>(),
    })
}

fn unfinished_json(unfinished: &Unfinished) -> Value {
    json!({
        "key": unfinished.key.to_string(),
        "predecessor": unfinished.predecessor.to_string(),
        "scope": unfinished.scope.to_string(),
        "reason": unfinished.error.to_string(),
    })
}

fn unfinished_line(unfinished: &Unfinished) -> String {
    format!(
        "the successor of {} in {} was begun, and is not there yet; a tick goes on with it: {}\n",
        unfinished.predecessor,
        unfinished.scope,
        crate::failure::printable(&unfinished.error.to_string())
    )
}

fn line(rotated: &Rotated) -> String {
    let mut text = format!(
        "{} follows {} and is {}\n",
        rotated.key, rotated.predecessor, rotated.state
    );
    if let Some(error) = &rotated.hindered {
        text += &format!(
            "  not promoted yet: {}\n",
            crate::failure::printable(&error.to_string())
        );
    }
    for orphan in &rotated.orphans {
        text += &format!("  {}", orphan_text(orphan));
    }
    text
}
