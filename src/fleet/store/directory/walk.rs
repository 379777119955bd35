//! The files below a directory, in the order of their ids.

use std::fs;
use std::path::{Path, PathBuf};

use super::beside;
use crate::fleet::store::{Range, check_id};
use crate::value::error::{Error, Result};

/// One file, or what could not be read.
pub(super) struct Walked {
    pub(super) id: String,
    pub(super) fault: Option<Error>,
}

/// The files of a range. Holds the names of the directories on the way to the current one.
pub(super) struct Walk<'r> {
    root: PathBuf,
    range: &'r Range,
    /// For each directory on the way what is left of it, the last one first.
    left: Vec<Vec<Entry>>,
}

struct Entry {
    /// Its path from the root; of a directory with `/` at its end, so that ids are in order.
    id: String,
    fault: Option<Error>,
}

impl<'r> Walk<'r> {
    pub(super) fn of(root: &Path, range: &'r Range) -> Self {
        let mut walk = Self {
            root: root.to_owned(),
            range,
            left: Vec::new(),
        };
        walk.enter("");
        walk
    }

    fn enter(&mut self, prefix: &str) {
        let mut entries = match entries(&self.root.join(prefix), prefix) {
            Ok(entries) => entries,
            Err(error) => vec![Entry {
                id: prefix.to_owned(),
                fault: Some(error),
            }],
        };
        entries.sort_by(|one, other| other.id.cmp(&one.id));
        self.left.push(entries);
    }

    /// Whether it, or anything below it, is in the range.
    fn reaches(&self, id: &str) -> bool {
        let is_above = |after: &str| id > after || (id.ends_with('/') && after.starts_with(id));
        self.range.after().is_none_or(is_above) && self.range.until().is_none_or(|until| id <= until)
    }
}

impl Iterator for Walk<'_> {
    type Item = Walked;

    fn next(&mut self) -> Option<Walked> {
        loop {
            let Some(entry) = self.left.last_mut()?.pop() else {
                self.left.pop();
                continue;
            };
            if !self.reaches(&entry.id) {
                continue;
            }
            if entry.fault.is_none() && entry.id.ends_with('/') {
                self.enter(&entry.id);
                continue;
            }
            return Some(Walked {
                id: entry.id,
                fault: entry.fault,
            });
        }
    }
}

fn entries(folder: &Path, prefix: &str) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io)? {
        let entry = entry.map_err(Error::io)?;
        let name = entry.file_name();
        let text = name.to_string_lossy();
        let kind = entry.file_type().map_err(Error::io)?;
        if kind.is_symlink() || (!kind.is_dir() && beside::is_own(&text)) {
            continue;
        }
        let id = format!("{prefix}{text}{}", if kind.is_dir() { "/" } else { "" });
        let fault = match name.to_str() {
            None => Some(Error::argument("its name is not UTF-8: rename it")),
            Some(_) => check_id(&id).err(),
        };
        entries.push(Entry { id, fault });
    }
    Ok(entries)
}
