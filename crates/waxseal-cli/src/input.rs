//! Where input comes from.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Result};

/// Standard input, or a file.
pub(crate) struct Input {
    file: File,
    name: Name,
    len: Option<u64>,
}

/// What an input or output is called in messages.
#[derive(Clone)]
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

impl Input {
    /// Opens the input of an option.
    pub(crate) fn open(option: Option<&PathBuf>) -> Result<Self> {
        match path_of(option) {
            Some(path) => Self::from_path(path),
            None => Self::standard(),
        }
    }

    fn standard() -> Result<Self> {
        let name = Name::Stream("standard input");
        let file = standard_input().map_err(|error| Failure::of_io("read", &name, error))?;
        Ok(Self {
            file,
            name,
            len: None,
        })
    }

    fn from_path(path: &Path) -> Result<Self> {
        let name = Name::Path(path.into());
        let file = File::open(path).map_err(|error| {
            if error.kind() == io::ErrorKind::NotFound && path.as_os_str().to_string_lossy().contains('=') {
                // A pair whose --context was forgotten is taken for INPUT. Its value is not to be quoted.
                return Failure::refused(
                    "INPUT does not exist, and has '=' in its name; each KEY=VALUE needs its own --context",
                );
            }
            Failure::of_io("read", &name, error)
        })?;
        let metadata = file
            .metadata()
            .map_err(|error| Failure::of_io("read", &name, error))?;
        let len = metadata.is_file().then_some(metadata.len());
        Ok(Self { file, name, len })
    }

    /// What it is called.
    pub(crate) fn name(&self) -> Name {
        self.name.clone()
    }

    /// Its length, where it is a file.
    pub(crate) fn len(&self) -> Option<u64> {
        self.len
    }
}

impl Read for Input {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.file.read(out)
    }
}

// The streams of the standard library have buffers of their own, which nobody wipes.

#[cfg(unix)]
fn standard_input() -> io::Result<File> {
    use std::os::fd::AsFd;
    Ok(io::stdin().as_fd().try_clone_to_owned()?.into())
}

#[cfg(windows)]
fn standard_input() -> io::Result<File> {
    use std::os::windows::io::AsHandle;
    Ok(io::stdin().as_handle().try_clone_to_owned()?.into())
}
