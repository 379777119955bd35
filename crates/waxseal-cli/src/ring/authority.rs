//! `ring authority rotate`.

use std::path::Path;

use serde_json::json;
use waxseal::ring::{Authority, rotate_authority};

use super::{ask, audited, done, open, read_authority, wait};
use crate::arguments::{Actor, Consent};
use crate::failure::Result;
use crate::prompt::Person;

/// Lets another authority follow. Its private half is kept before anything changes, so that an interrupted run can be run again.
pub(crate) fn rotate(path: &Path, actor: &Actor, consent: &Consent) -> Result<()> {
    let actor = ask::actor(actor)?;
    let ring = open(path)?;
    let file = &ring.config.administration()?.authority;
    let current = read_authority(&ring.config, &actor)?;
    ask::whether(
        consent,
        &format!(
            "This replaces the authority {} of the ring {}.",
            current.public(),
            ring.config.ring
        ),
    )?;
    let mut name = file.path().file_name().unwrap_or_default().to_owned();
    name.push(".next");
    let next_file = file.at(file.path().with_file_name(name));
    let next = if next_file.path().exists() {
        // Of a run that was interrupted.
        audited::read_authority(
            &next_file,
            ring.config.ring,
            &actor,
            &Person { types_twice: false },
        )?
    } else {
        let next = Authority::generate()?;
        let person = Person { types_twice: true };
        audited::write_authority(&next_file, &next, ring.config.ring, &actor, &person)?;
        next
    };
    wait(rotate_authority(&ring.reader, &current, &next, &actor))?;
    file.replace_by(&next_file)?;
    let view = wait(ring.reader.scopes(&[]))?;
    ring.end()?;
    let (before, now) = (current.public().to_string(), next.public().to_string());
    done(
        "ring authority rotate",
        json!({ "previous": before, "authority": now, "revision": view.revision() }),
        || {
            format!(
                "the authority is {now}\nput it into the ring.toml of every process: authority = \"{now}\"\n"
            )
        },
    )
}
