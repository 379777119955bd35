//! The files below a directory, in the order of their ids.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use super::leftover;
use crate::fleet::store::{Range, check_id};
use crate::value::error::{Error, Result};

/// What stands at one place.
pub(super) enum Walked {
    /// A file.
    File(String),
    /// What cannot be read, or has to be looked at.
    Faulty(String, Error),
    /// A directory that cannot be listed.
    Unlisted(String, Error),
}

impl Walked {
    pub(super) fn id(&self) -> &str {
        match self {
            Self::File(id) | Self::Faulty(id, _) | Self::Unlisted(id, _) => id,
        }
    }
}

/// The files of a range. Holds the names of what is left of the directories on the way to the current one.
pub(super) struct Walk {
    root: PathBuf,
    range: Range,
    /// For each directory on the way what is left of it, the last one first.
    left: Vec<Vec<Entry>>,
}

/// One name. The id of a directory ends with `/`, so that what is below it comes in the order of the ids.
enum Entry {
    Directory(String),
    Other(Walked),
}

impl Entry {
    fn id(&self) -> &str {
        match self {
            Self::Directory(id) => id,
            Self::Other(walked) => walked.id(),
        }
    }
}

impl Walk {
    /// # Errors
    /// `Io` if the first directory cannot be listed.
    pub(super) fn of(root: &Path, range: &Range) -> Result<Self> {
        let mut walk = Self {
            root: root.to_owned(),
            range: range.clone(),
            left: Vec::new(),
        };
        let first = walk.entries("")?;
        walk.left.push(first);
        Ok(walk)
    }

    /// Whether it, or anything below it, is in the range. What is below a directory is behind it as long as nobody stopped at the directory itself:
    /// that is one that could not be listed.
    fn reaches(&self, id: &str) -> bool {
        let is_behind =
            |after: &str| id > after || (id.ends_with('/') && id != after && after.starts_with(id));
        self.range.after().is_none_or(is_behind) && self.range.until().is_none_or(|until| id <= until)
    }

    /// What a directory holds of the range, the last one first.
    fn entries(&self, prefix: &str) -> Result<Vec<Entry>> {
        let mut names = BTreeSet::new();
        let mut entries = Vec::new();
        for entry in fs::read_dir(self.root.join(prefix)).map_err(Error::io)? {
            let entry = entry.map_err(Error::io)?;
            let kind = entry.file_type().map_err(Error::io)?;
            if kind.is_symlink() {
                continue;
            }
            let name = entry.file_name();
            if !kind.is_dir() && leftover::has_own_ending(&name) {
                names.insert(name);
                continue;
            }
            let entry = entry_of(prefix, &name, kind.is_dir());
            if self.reaches(entry.id()) {
                entries.push(entry);
            }
        }
        self.leftovers(prefix, &names, &mut entries);
        entries.sort_unstable_by(|one, other| other.id().cmp(one.id()));
        Ok(entries)
    }

    /// What has a name as a re-wrap gives it: part of one that was cut off and will be settled with its file, or something to look at.
    fn leftovers(&self, prefix: &str, names: &BTreeSet<OsString>, entries: &mut Vec<Entry>) {
        for name in names {
            let entry = match leftover::of(name, |beside| names.contains(beside)) {
                // Somebody's own file.
                None => entry_of(prefix, name, false),
                Some(file) if self.root.join(prefix).join(&file).symlink_metadata().is_ok() => continue,
                Some(file) => {
                    let id = entry_of(prefix, name, false).id().to_owned();
                    let error = leftover::without_file(&file);
                    Entry::Other(Walked::Faulty(id, error))
                }
            };
            if self.reaches(entry.id()) {
                entries.push(entry);
            }
        }
    }
}

fn entry_of(prefix: &str, name: &OsStr, is_dir: bool) -> Entry {
    let end = if is_dir { "/" } else { "" };
    let Some(text) = name.to_str() else {
        // No name holds a slash, so no other id is equal to this one.
        let bytes = name.as_encoded_bytes();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let id = format!("{prefix}{}//{hex}{end}", name.to_string_lossy());
        let error = Error::argument("its name is not UTF-8: rename it");
        return Entry::Other(match is_dir {
            true => Walked::Unlisted(id, error),
            false => Walked::Faulty(id, error),
        });
    };
    let id = format!("{prefix}{text}{end}");
    match (check_id(&id), is_dir) {
        (Ok(()), true) => Entry::Directory(id),
        (Ok(()), false) => Entry::Other(Walked::File(id)),
        (Err(error), true) => Entry::Other(Walked::Unlisted(id, error)),
        (Err(error), false) => Entry::Other(Walked::Faulty(id, error)),
    }
}

impl Iterator for Walk {
    type Item = Walked;

    fn next(&mut self) -> Option<Walked> {
        loop {
            let Some(entry) = self.left.last_mut()?.pop() else {
                self.left.pop();
                continue;
            };
            match entry {
                Entry::Other(walked) => return Some(walked),
                Entry::Directory(id) => match self.entries(&id) {
                    Ok(entries) => self.left.push(entries),
                    // It went since its parent was read.
                    Err(error) if super::is_missing(&error) => {}
                    Err(error) => return Some(Walked::Unlisted(id, error)),
                },
            }
        }
    }
}
