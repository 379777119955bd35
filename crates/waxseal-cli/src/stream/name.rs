//! What an input or output is called.

use std::fmt;
use std::path::{Path, PathBuf};

/// What an input or output is called in messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Stream(&'static str),
    Path(PathBuf),
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stream(name) => f.write_str(name),
            Self::Path(path) => write!(f, "{}", path.display()),
        }
    }
}

/// The path of an option that is neither absent nor `-`.
pub(crate) fn path_of(option: Option<&PathBuf>) -> Option<&Path> {
    option
        .map(PathBuf::as_path)
        .filter(|path| *path != Path::new("-"))
}
