//! What a path of the command line leads to: a descriptor that the shell has opened, or a file.

#[cfg(unix)]
use std::fs;
use std::path::{Path, PathBuf};

use super::Name;

/// Symbolic links that are followed, as the kernel has it.
#[cfg(unix)]
const LINKS_MAX: usize = 40;

/// Where bytes come from or go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A descriptor of this process, and what it is called.
    Descriptor(i32, Name),
    /// A descriptor of another process, by its path below `/proc`.
    Foreign(PathBuf),
    /// Anything else.
    Path(PathBuf),
}

impl Place {
    /// Standard input.
    pub(crate) fn input() -> Self {
        Self::Descriptor(0, Name::Stream("standard input"))
    }

    /// Standard output.
    pub(crate) fn output() -> Self {
        Self::Descriptor(1, Name::Stream("standard output"))
    }

    /// What `path` leads to. `/dev/stdout`, `/dev/fd/N`, `/proc/self/fd/N` and links to them are descriptors: what the
    /// shell has opened is written to, and never replaced.
    pub(crate) fn of(path: &Path) -> Self {
        #[cfg(unix)]
        if let Some(found) = descriptor(path) {
            return found;
        }
        Self::Path(path.into())
    }

    /// What it is called.
    pub(crate) fn name(&self) -> Name {
        match self {
            Self::Descriptor(_, name) => name.clone(),
            Self::Foreign(path) | Self::Path(path) => Name::Path(path.clone()),
        }
    }
}

/// The descriptor that a path leads to, if it does.
#[cfg(unix)]
fn descriptor(given: &Path) -> Option<Place> {
    let of = |number| Place::Descriptor(number, Name::Path(given.into()));
    let mut path = given.to_path_buf();
    for _ in 0..LINKS_MAX {
        if let Some(number) = by_name(&path) {
            return Some(of(number));
        }
        let name = path.file_name()?.to_owned();
        let folder = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let folder = fs::canonicalize(folder).ok()?;
        if let Some(owner) = process_of(&folder)
            && let Some(number) = number(&name)
        {
            let is_own = fs::canonicalize("/proc/self").is_ok_and(|own| own == owner);
            return Some(if is_own {
                of(number)
            } else {
                Place::Foreign(given.into())
            });
        }
        let here = folder.join(name);
        if let Some(number) = by_name(&here) {
            return Some(of(number));
        }
        path = folder.join(fs::read_link(here).ok()?);
    }
    None
}

/// The names that every Unix has, whether `/proc` is there or not.
#[cfg(unix)]
fn by_name(path: &Path) -> Option<i32> {
    match path.strip_prefix("/dev").ok()?.to_str()? {
        "stdin" => Some(0),
        "stdout" => Some(1),
        "stderr" => Some(2),
        other => number(other.strip_prefix("fd/")?.as_ref()),
    }
}

/// The folder of the process whose descriptors are in this one: `/proc/PID/fd`, or `/proc/PID/task/TID/fd`.
#[cfg(unix)]
fn process_of(folder: &Path) -> Option<PathBuf> {
    let mut parts = folder.strip_prefix("/proc").ok()?.iter();
    let process = parts.next()?;
    number(process)?;
    let rest: Vec<_> = parts.map(|part| part.to_str().unwrap_or_default()).collect();
    match rest.as_slice() {
        ["fd"] | ["task", _, "fd"] => Some(Path::new("/proc").join(process)),
        _ => None,
    }
}

#[cfg(unix)]
fn number(name: &std::ffi::OsStr) -> Option<i32> {
    let digits = name.to_str()?;
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        digits.parse().ok()
    } else {
        None
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    fn is_descriptor(path: impl AsRef<Path>, expected: i32) {
        let place = Place::of(path.as_ref());
        assert!(
            matches!(place, Place::Descriptor(number, _) if number == expected),
            "{place:?}"
        );
    }

    #[test]
    fn every_name_of_a_descriptor_is_one() {
        let dir = tempfile::tempdir().unwrap();
        let link = |to: &str, name: &str| {
            let link = dir.path().join(name);
            std::os::unix::fs::symlink(to, &link).unwrap();
            link
        };
        let own = std::process::id();
        is_descriptor("/dev/stdin", 0);
        is_descriptor("/dev/stdout", 1);
        is_descriptor("/dev/stderr", 2);
        is_descriptor("/dev/fd/7", 7);
        is_descriptor("/proc/self/fd/1", 1);
        is_descriptor("/proc/thread-self/fd/1", 1);
        is_descriptor(format!("/proc/{own}/fd/12"), 12);
        is_descriptor("/dev/../dev/./fd/3", 3);
        is_descriptor(link("/dev/stdout", "a"), 1);
        is_descriptor(link("a", "b"), 1);
        is_descriptor(link("/proc/self/fd", "c").join("2"), 2);
    }

    #[test]
    fn what_only_looks_like_one_is_none() {
        for path in [
            "stdout",
            "fd/1",
            "/dev/null",
            "/dev/fd/x",
            "/dev/fd/-1",
            "/proc/self/fd",
            ".",
            "/",
            "",
        ] {
            assert_eq!(Place::of(path.as_ref()), Place::Path(path.into()), "{path}");
        }
        assert_eq!(
            Place::of("/proc/1/fd/1".as_ref()),
            Place::Foreign("/proc/1/fd/1".into())
        );
    }
}
