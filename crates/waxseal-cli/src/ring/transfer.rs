//! `ring export` and `ring import`.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use serde_json::json;
use waxseal::ring::config::RingConfig;
use waxseal::ring::inventory::MemoryInventory;
use waxseal::ring::{Exported, Mark, Operation, Trust, import as fill};

use super::using::replace;
use super::{Opened, administer, ask, audited, done, open, read_config, show_beside, sources, store, wait};
use crate::arguments::{Actor, Import, Transfer};
use crate::failure::{Failure, Result, printable};
use crate::report::{self, many};
use crate::stream::{Access, Input, Name, Output};
use crate::warnings;

/// The greatest export that is read.
const MAX: u64 = 4 << 30;

/// Writes the whole ring to a file. Of a ring with branch keys, the authority remembers it. That is a revision of its own, so the file is written
/// once more after it: whoever has seen the newest revision accepts the newest export alone. The mark moves last, so that it never is ahead of a file that
/// is complete.
pub(crate) fn export(path: &Path, actor: &Actor, options: &Transfer) -> Result<()> {
    let ring = open(path)?;
    let head = wait(ring.reader.scopes(&[]))?;
    let mut written = Written::of(path, &ring, &options.file)?;
    let has_branches = head.branch_parents().next().is_some() || head.settings().provision.is_some();
    let mut remembered = None;
    if has_branches && !written.is_stream && ring.config.administration.is_some() {
        let is_written = head.revision() == written.mark.revision;
        remembered = match head.exported() {
            // The ring has done nothing since then but remember it.
            Some(last) if is_written && last.revision.saturating_add(1) == head.revision() => {
                Some(last.clone())
            }
            _ => remember(path, actor, options)?,
        };
        if let Some(exported) = &remembered
            && exported.revision >= written.mark.revision
        {
            written = Written::of(path, &ring, &options.file)?;
            written.read_again(&ring, &options.file)?;
        }
    }
    let unbelieved = wait(ring.reader.unbelieved())?;
    let (name, mark) = (&written.name, written.mark);
    let trust = ring.reader.trust();
    ring.config
        .keep_mark(&Trust::new(trust.ring(), trust.authority()).with_mark(mark))?;
    let object = json!({
        "schema": report::SCHEMA,
        "command": "ring export",
        "output": name.to_string(),
        "mark": mark.to_string(),
        "bytes": written.bytes,
        "unbelieved": unbelieved.scopes,
        "remembered": remembered.as_ref().map(|exported| exported.revision),
    });
    if let Some((scope, why)) = unbelieved.named.first() {
        let _ = warnings::warning(&printable(&format!(
            "the export leaves out first keys that are not believed, of {}, for example {scope}: {why}; see waxseal ring check",
            many(unbelieved.scopes, "scope")
        )));
    }
    show_beside(written.is_stream, &object, || {
        let mut text = format!("revision {} is in {name}; its mark is {mark}\n", mark.revision);
        if let Some(exported) = &remembered {
            text += &format!(
                "the ring remembers an export of revision {}: keep this one, which has all of it\n",
                exported.revision
            );
        }
        text
    })
}

/// An export that is complete.
struct Written {
    mark: Mark,
    bytes: usize,
    name: Name,
    is_stream: bool,
}

impl Written {
    fn of(path: &Path, ring: &Opened, file: &PathBuf) -> Result<Self> {
        let own = sources(path)?;
        let mut output = Output::create(Some(file), Access::Private, replace(&own))?;
        let (mark, text) = wait(ring.reader.export())?;
        let (name, is_stream) = (output.name(), output.is_stream());
        output
            .write_all(&text)
            .map_err(|error| Failure::of_io("write", &name, error))?;
        output.finish()?;
        Ok(Self {
            mark,
            bytes: text.len(),
            name,
            is_stream,
        })
    }

    /// Verifies what is in the file.
    fn read_again(&self, ring: &Opened, file: &Path) -> Result<()> {
        let text = std::fs::read(file).map_err(|error| Failure::of_io("read", file.display(), error))?;
        let trust = ring.reader.trust();
        let alone = Trust::new(trust.ring(), trust.authority()).with_mark(self.mark);
        wait(fill(&alone, &MemoryInventory::new(), &text)).map(drop)
    }
}

/// Lets the ring remember what is in the file. A failure leaves the export as good as it is.
fn remember(path: &Path, actor: &Actor, options: &Transfer) -> Result<Option<Exported>> {
    let written = std::fs::read(&options.file)
        .map_err(|error| Failure::of_io("read", options.file.display(), error))?;
    // The mark stays where it is: the file that is there is older than what this commits.
    let remembered = administer(path, actor, &[]).and_then(|ring| wait(ring.admin.remember_export(&written)));
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
pub(crate) fn import(path: &Path, actor: &Actor, options: &Import) -> Result<()> {
    let actor = ask::actor(actor)?;
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
    let mark = audited::job(Operation::Import, config.ring, &actor, || {
        restore(path, &config, &trust, &text)
    })?;
    config.keep_mark(&Trust::new(config.ring, config.authority).with_mark(mark))?;
    done(
        "ring import",
        json!({ "input": name.to_string(), "mark": mark.to_string() }),
        || format!("the ring is at revision {}, as in {name}\n", mark.revision),
    )
}

/// Fills the inventory, if it is empty.
fn restore(path: &Path, config: &RingConfig, trust: &Trust, text: &[u8]) -> Result<Mark> {
    // What does not verify leaves nothing behind.
    wait(fill(trust, &MemoryInventory::new(), text))?;
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
    // Somebody else may have been faster.
    wait(fill(trust, &*inventory, text)).map_err(|failure| held().err().unwrap_or(failure))
}
