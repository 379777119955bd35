//! `ring export` and `ring import`.

use std::io::{Read, Write};
use std::path::Path;

use serde_json::json;
use waxseal::ring::import as fill;
use waxseal::ring::inventory::MemoryInventory;

use super::using::replace;
use super::{ask, done, open, read_config, show_beside, sources, store, wait};
use crate::arguments::{Import, Transfer};
use crate::failure::{Failure, Result};
use crate::report;
use crate::stream::{Access, Input, Output};

/// The greatest export that is read.
const MAX: u64 = 4 << 30;

/// Writes the whole ring to a file.
pub(crate) fn export(path: &Path, options: &Transfer) -> Result<()> {
    let ring = open(path)?;
    let own = sources(path)?;
    let mut output = Output::create(Some(&options.file), Access::Private, replace(&own))?;
    let (mark, text) = wait(ring.reader.export())?;
    let (name, is_stream) = (output.name(), output.is_stream());
    output
        .write_all(&text)
        .map_err(|error| Failure::of_io("write", &name, error))?;
    output.finish()?;
    ring.end()?;
    let object = json!({
        "schema": report::SCHEMA,
        "command": "ring export",
        "output": name.to_string(),
        "mark": mark.to_string(),
        "bytes": text.len(),
    });
    show_beside(is_stream, &object, || {
        format!("revision {} is in {name}; its mark is {mark}\n", mark.revision)
    })
}

/// Fills an empty inventory. Its place and what is believed stand in the configuration.
pub(crate) fn import(path: &Path, options: &Import) -> Result<()> {
    let config = read_config(path)?;
    let trust = config.trust()?;
    let mut input = Input::open(Some(&options.file))?;
    let name = input.name();
    let mut text = Vec::new();
    let read = (&mut input).take(MAX + 1).read_to_end(&mut text);
    read.map_err(|error| Failure::of_io("read", &name, error))?;
    if text.len() as u64 > MAX {
        return Err(Failure::refused(format!("{name} has more than 4 GiB")));
    }
    ask::whether(
        &options.consent,
        &format!("This fills the empty inventory {} with {name}.", config.store),
    )?;
    // What does not verify leaves nothing behind.
    wait(fill(&trust, &MemoryInventory::new(), &text))?;
    let inventory = store::create(&config.store)?;
    let held = || -> Result<()> {
        match wait(inventory.revision())? {
            0 => Ok(()),
            revision => Err(Failure::refused(format!(
                "the inventory {} holds a ring already, at revision {revision}, and only an empty one is filled: verify it with `waxseal \
                 ring check`; to go back to the export all the same, move the inventory away first, or name another in {}",
                config.store,
                path.display()
            ))),
        }
    };
    held()?;
    let mark = match wait(fill(&trust, &*inventory, &text)) {
        Ok(mark) => mark,
        // Somebody else may have been faster.
        Err(failure) => return Err(held().err().unwrap_or(failure)),
    };
    config.keep_mark(&waxseal::ring::Trust::new(config.ring, config.authority).with_mark(mark))?;
    done(
        "ring import",
        json!({ "input": name.to_string(), "mark": mark.to_string() }),
        || format!("the ring is at revision {}, as in {name}\n", mark.revision),
    )
}
