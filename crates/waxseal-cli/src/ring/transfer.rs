//! `ring export` and `ring import`.

use std::io::{Read, Write};
use std::path::Path;

use serde_json::json;
use waxseal::ring::inventory::MemoryInventory;
use waxseal::ring::{Exported, import as fill};

use super::using::replace;
use super::{administer, ask, done, open, read_config, show_beside, sources, store, wait};
use crate::arguments::{Actor, Import, Transfer};
use crate::failure::{Failure, Result, printable};
use crate::report::{self, many};
use crate::stream::{Access, Input, Output};
use crate::warnings;

/// The greatest export that is read.
const MAX: u64 = 4 << 30;

/// Writes the whole ring to a file. Of a ring with branch keys, the authority remembers it.
pub(crate) fn export(path: &Path, actor: &Actor, options: &Transfer) -> Result<()> {
    let ring = open(path)?;
    let own = sources(path)?;
    let mut output = Output::create(Some(&options.file), Access::Private, replace(&own))?;
    let (mark, text) = wait(ring.reader.export())?;
    let unbelieved = wait(ring.reader.unbelieved())?;
    let (name, is_stream) = (output.name(), output.is_stream());
    output
        .write_all(&text)
        .map_err(|error| Failure::of_io("write", &name, error))?;
    output.finish()?;
    let view = wait(ring.reader.scopes(&[]))?;
    let has_branches = view.branch_parents().next().is_some() || view.settings().provision.is_some();
    let remembered = match (&ring.config.administration, is_stream) {
        (Some(_), false) if has_branches => remember(path, actor, options)?,
        _ => None,
    };
    ring.end()?;
    let object = json!({
        "schema": report::SCHEMA,
        "command": "ring export",
        "output": name.to_string(),
        "mark": mark.to_string(),
        "bytes": text.len(),
        "unbelieved": unbelieved.scopes,
        "remembered": remembered.as_ref().map(|exported| exported.revision),
    });
    if let Some((scope, why)) = unbelieved.named.first() {
        let _ = warnings::warning(&printable(&format!(
            "the export leaves out first keys that are not believed, of {}, for example {scope}: {why}; see waxseal ring check",
            many(unbelieved.scopes, "scope")
        )));
    }
    show_beside(is_stream, &object, || {
        let mut text = format!("revision {} is in {name}; its mark is {mark}\n", mark.revision);
        if let Some(exported) = &remembered {
            text += &format!(
                "the ring remembers an export of revision {}: keep it\n",
                exported.revision
            );
        }
        text
    })
}

/// Lets the ring remember what is in the file. A failure leaves the export as good as it is.
fn remember(path: &Path, actor: &Actor, options: &Transfer) -> Result<Option<Exported>> {
    let written = std::fs::read(&options.file)
        .map_err(|error| Failure::of_io("read", options.file.display(), error))?;
    let remembered = administer(path, actor, &[]).and_then(|ring| {
        let exported = wait(ring.admin.remember_export(&written))?;
        ring.end()?;
        Ok(exported)
    });
    match remembered {
        Ok(exported) => Ok(Some(exported)),
        Err(failure) => {
            let failure = failure.and(
                "; the export is complete, and the ring does not remember it: a key that branch keys were wrapped under is not destroyed before it does",
            );
            failure.warn();
            Ok(None)
        }
    }
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
