//! Names that a re-wrap gives to what stands beside a file while it is replaced.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::value::error::{Error, ErrorKind};

/// The journal of a re-wrap in place.
const JOURNAL: &str = ".waxseal-journal";
/// The record of an exchange.
const RECORD: &str = ".waxseal-move";
/// The file that takes the place of the old one, and after that the old one.
const OTHER: &str = ".waxseal-new";

/// Where the journal of a re-wrap in place is.
pub(super) fn journal(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(JOURNAL);
    name.into()
}

/// Where the record of a file's exchange is.
pub(super) fn record(path: &Path) -> PathBuf {
    hidden(path, RECORD)
}

/// Where the other file is.
pub(super) fn other(path: &Path) -> PathBuf {
    hidden(path, OTHER)
}

fn hidden(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(ending);
    path.with_file_name(name)
}

/// Whether a name ends as one that a re-wrap gives.
pub(super) fn has_own_ending(name: &OsStr) -> bool {
    let bytes = name.as_encoded_bytes();
    [JOURNAL, RECORD, OTHER]
        .iter()
        .any(|ending| bytes.ends_with(ending.as_bytes()))
}

/// Of which file it is a part, if a re-wrap has made it. `is_there` tells which names stand beside it.
pub(super) fn of(name: &OsStr, is_there: impl Fn(&OsStr) -> bool) -> Option<OsString> {
    let name = name.to_str()?;
    let hidden = |ending: &str| name.strip_prefix('.')?.strip_suffix(ending);
    let file = match (name.strip_suffix(JOURNAL), hidden(RECORD), hidden(OTHER)) {
        (Some(file), _, _) | (None, Some(file), _) => file,
        (None, None, Some(file)) if is_there(OsStr::new(&format!(".{file}{RECORD}"))) => file,
        _ => return None,
    };
    (!file.is_empty()).then(|| file.into())
}

/// The error for what a re-wrap has left, whose file is gone.
pub(super) fn without_file(file: &OsStr) -> Error {
    Error::new(ErrorKind::Store).with_detail(format!(
        "a re-wrap of {} was cut off, and that file is gone: look whether this one holds what is missed, and remove it or rename it",
        file.display()
    ))
}

/// The error for a file that somebody is replacing, or was.
pub(super) fn unsettled() -> Error {
    Error::new(ErrorKind::Conflict)
        .with_retryable(true)
        .with_detail("a re-wrap of it goes on, or was cut off: a run that is no dry run settles it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_rewrap_has_made_is_part_of_a_file() {
        let of = |name: &str, others: &[&str]| {
            let name = OsStr::new(name);
            assert!(has_own_ending(name));
            super::of(name, |name| others.iter().any(|other| *other == name))
        };
        assert_eq!(of("x.waxseal-journal", &[]), Some("x".into()));
        assert_eq!(of(".x.waxseal-move", &[]), Some("x".into()));
        assert_eq!(of(".x.waxseal-new", &[".x.waxseal-move"]), Some("x".into()));
        // Without a record it is somebody's own file.
        for name in [
            ".x.waxseal-new",
            "x.waxseal-new",
            "x.waxseal-move",
            ".waxseal-move",
            "..waxseal-new",
        ] {
            assert_eq!(of(name, &[".y.waxseal-move"]), None, "{name}");
        }
        assert!(!has_own_ending(OsStr::new("waxseal-new")));
        assert_eq!(record(Path::new("/a/b")), Path::new("/a/.b.waxseal-move"));
        assert_eq!(other(Path::new("/a/b")), Path::new("/a/.b.waxseal-new"));
    }
}
