//! `ring export` and `ring import`.

use std::io::{Read, Write};
use std::path::Path;

use serde_json::json;
use waxseal::ring::config::RingConfig;
use waxseal::ring::import as fill;

use super::using::replace;
use super::{ask, done, open, sources, store, wait};
use crate::arguments::{Import, Transfer};
use crate::failure::{Failure, Result};
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
    if is_stream {
        return Ok(());
    }
    done(
        "ring export",
        json!({ "output": name.to_string(), "mark": mark.to_string(), "bytes": text.len() }),
        || format!("revision {} is in {name}\n", mark.revision),
    )
}

/// Fills an empty inventory. Its place and what is believed stand in the configuration.
pub(crate) fn import(path: &Path, options: &Import) -> Result<()> {
    let config = RingConfig::read(path)?;
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
    let inventory = store::create(&config.store)?;
    let mark = wait(fill(&trust, &*inventory, &text))?;
    config.keep_mark(&waxseal::ring::Trust::new(config.ring, config.authority).with_mark(mark))?;
    done(
        "ring import",
        json!({ "input": name.to_string(), "mark": mark.to_string() }),
        || format!("the ring is at revision {}, as in {name}\n", mark.revision),
    )
}
