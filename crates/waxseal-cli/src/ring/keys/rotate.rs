//! `keys rotate`.

use std::path::Path;

use serde_json::{Value, json};
use waxseal::ring::{Rollout, Rotated, Target};

use super::{id_of, orphan_json, orphan_text, warn};
use crate::arguments::{Actor, Rotate};
use crate::failure::{Failure, Result};
use crate::ring::{administer, done, parsed, wait};

/// Makes successors.
pub(super) fn rotate(path: &Path, actor: &Actor, options: &Rotate) -> Result<()> {
    let (targets, rollout) = plan(options)?;
    let ring = administer(path, actor, &options.skip_reader)?;
    let mut rotated = Vec::new();
    for target in &targets {
        rotated.extend(wait(ring.admin.rotate(target, rollout, &options.reason))?);
    }
    ring.end()?;
    for one in &rotated {
        warn(&one.warnings);
    }
    let all: Vec<Value> = rotated.iter().map(to_json).collect();
    done("keys rotate", json!({ "rotated": all }), || {
        rotated.iter().map(line).collect()
    })
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
