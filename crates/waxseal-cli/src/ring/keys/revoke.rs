//! `keys revoke`.

use std::path::Path;

use serde_json::json;
use waxseal::ring::Revocation;

use super::{id_of, move_json, warn};
use crate::arguments::{Actor, Revoke};
use crate::failure::{Failure, Result, printable};
use crate::ring::{administer_gated, ask, done, wait};
use crate::warnings;

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
                    "no key is in its place yet, and nothing can be sealed there: {}\n  `keys tick` goes on with it, and so does the same command\n",
                    printable(&error.to_string())
                );
            }
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
