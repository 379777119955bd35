//! `ring clock`.

use std::path::Path;
use std::time::SystemTime;

use serde_json::json;
use waxseal::ring::{Time, correct_clock};

use super::{ask, done, open, read_authority, show, table, wait};
use crate::arguments::{Actor, Clock};
use crate::failure::{Result, printable};
use crate::report;
use crate::warnings;

/// Shows the times that a ring goes by, or sets its own back.
pub(crate) fn run(path: &Path, actor: &Actor, options: &Clock) -> Result<()> {
    if options.correct {
        return correct(path, actor, options);
    }
    let ring = open(path)?;
    let view = wait(ring.reader.scopes(&[]))?;
    let now = wait(ring.reader.inventory().now())?;
    let here = Time::try_from(SystemTime::now())?;
    ring.end()?;
    let corrections = view.settings().clock_corrections();
    let object = json!({
        "schema": report::SCHEMA,
        "inventory": now.to_string(),
        "machine": here.to_string(),
        "ring": view.changed().to_string(),
        "tolerance": view.settings().clock_tolerance.to_string(),
        "corrections": corrections
            .iter()
            .map(|made| {
                json!({
                    "revision": made.revision,
                    "from": made.from.to_string(),
                    "to": made.to.to_string(),
                    "actor": made.actor,
                    "reason": made.reason,
                })
            })
            .collect::<Vec<_>>(),
    });
    show(&object, || {
        let mut rows = vec![
            ("inventory", now.to_string()),
            ("this machine", here.to_string()),
            ("ring", view.changed().to_string()),
            ("tolerance", view.settings().clock_tolerance.to_string()),
        ];
        for made in corrections {
            let what = format!(
                "from {} to {} by {}: {}",
                made.from, made.to, made.actor, made.reason
            );
            rows.push(("corrected", crate::failure::printable(&what)));
        }
        table::fields(&rows)
    })
}

fn correct(path: &Path, actor: &Actor, options: &Clock) -> Result<()> {
    let actor = ask::actor(actor)?;
    let ring = open(path)?;
    let authority = read_authority(&ring.config, &actor)?;
    let (view, now) = (
        wait(ring.reader.scopes(&[]))?,
        wait(ring.reader.inventory().now())?,
    );
    let question = format!(
        "The time of the ring, {}, is set back to the present. By the inventory that is {now}: if it is later than that, evidence will count too \
         early. Keys with dates of the future have them counted anew from now.",
        view.changed()
    );
    ask::whether(&options.consent, &question)?;
    let reason = options.reason.as_deref().unwrap_or_default();
    let corrected = wait(correct_clock(&ring.reader, &authority, &actor, reason))?;
    ring.end()?;
    for (scope, error) in &corrected.problems {
        let text = format!("the dates of scope {scope} are as they were: {error}");
        let _ = warnings::warning(&printable(&text));
    }
    done(
        "ring clock",
        json!({ "from": corrected.from.to_string(), "to": corrected.to.to_string(), "keys": corrected.keys }),
        || {
            format!(
                "the time of the ring was {}, and is {}; {} keys have other dates\n",
                corrected.from, corrected.to, corrected.keys
            )
        },
    )?;
    match corrected.problems.into_iter().next() {
        Some((_, error)) => Err(error.into()),
        None => Ok(()),
    }
}
