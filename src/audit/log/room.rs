//! Whether there is room for a log in a directory, before anything is written.

use std::path::Path;

use super::journal::{self, Journaled};
use super::key::is_missing;
use super::{damaged, not_kept};
use crate::value::error::Result;

/// What a log that was begun has, and no other directory is expected to have.
const OWN: [&str; 6] = [
    "lock",
    "journal",
    "journal.new",
    "vkey",
    "vkey.new",
    "checkpoint.new",
];

/// Refuses a place where no log can be made: what is no directory, and a directory that holds something else. The writer looks again under its
/// lock; until then nothing is there that was not there before.
///
/// # Errors
/// `Audit`.
pub(super) fn check(folder: &Path) -> Result<()> {
    let is_log = || folder.join("checkpoint").exists();
    if is_log() {
        return Ok(());
    }
    // Somebody else may have made the log meanwhile, and written to it.
    look(folder).or_else(|error| if is_log() { Ok(()) } else { Err(error) })
}

/// Refuses a directory that holds something else than the beginning of a log.
///
/// # Errors
/// `Audit`.
pub(super) fn look(folder: &Path) -> Result<()> {
    let failed = |error| not_kept(format_args!("begin the audit log {}", folder.display()), error);
    match std::fs::metadata(folder) {
        Err(error) if is_missing(&error) => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(metadata) if !metadata.is_dir() => {
            return Err(damaged(format!(
                "{} is no directory: give an empty or a new one for the audit log",
                folder.display()
            )));
        }
        Ok(_) => {}
    }
    let holds_records = folder.join("tile").exists()
        || match journal::look(folder).map_err(failed)? {
            Journaled::None => false,
            Journaled::Held(held) => !held.records.is_empty(),
            // Nobody knows what it held.
            Journaled::Foreign => true,
        };
    if holds_records {
        return Err(damaged(format!(
            "{} has records and no checkpoint: put its checkpoint back, or give another directory",
            folder.display()
        )));
    }
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if !OWN.iter().any(|own| name == *own) {
            return Err(damaged(format!(
                "{} is no audit log and is not empty: give an empty or a new directory",
                folder.display()
            )));
        }
    }
    Ok(())
}
