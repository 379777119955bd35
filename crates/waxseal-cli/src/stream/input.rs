//! Where input comes from.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::identity::{Identity, Stamp};
use super::{Name, Place, path_of};
use crate::failure::{Failure, Result};

/// Standard input, another descriptor, or a file.
pub(crate) struct Input {
    file: File,
    name: Name,
    len: Option<u64>,
    stamp: Stamp,
    is_file: bool,
    /// Where the file is, if it was named by its path.
    path: Option<PathBuf>,
}

impl Input {
    /// Where an option leads to.
    pub(crate) fn place(option: Option<&PathBuf>) -> Place {
        path_of(option).map_or_else(Place::input, Place::of)
    }

    /// Opens the input of an option.
    pub(crate) fn open(option: Option<&PathBuf>) -> Result<Self> {
        let place = Self::place(option);
        let (name, is_stream) = (place.name(), matches!(place, Place::Descriptor(..)));
        Self::of(place).map_err(|error| {
            if error.kind() == io::ErrorKind::NotFound && name.to_string().contains('=') {
                // A pair whose --context was forgotten is taken for INPUT. Its value is not to be quoted.
                return Failure::io(
                    "INPUT does not exist, and has '=' in its name; each KEY=VALUE needs its own --context",
                );
            }
            match is_stream {
                true => Failure::of_descriptor("read", &name, error),
                false => Failure::of_io("read", &name, error),
            }
        })
    }

    /// Opens what is there.
    pub(crate) fn of(place: Place) -> io::Result<Self> {
        let name = place.name();
        let (file, path) = match place {
            Place::Descriptor(number, _) => (given(number)?, None),
            Place::Foreign(path) | Place::Path(path) => {
                let real = fs::canonicalize(&path).ok();
                (File::open(path)?, real)
            }
        };
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        Ok(Self {
            file,
            name,
            // Part of what a descriptor leads to may have been read already.
            len: (metadata.is_file() && path.is_some()).then_some(metadata.len()),
            stamp: Stamp::of(&metadata),
            is_file: metadata.is_file(),
            path,
        })
    }

    /// What it is called.
    pub(crate) fn name(&self) -> Name {
        self.name.clone()
    }

    /// Its length, if it is a file.
    pub(crate) fn len(&self) -> Option<u64> {
        self.len
    }

    /// What is known of a file that is no envelope, beyond that.
    pub(crate) fn explain(&self, failure: Failure) -> Failure {
        let Some(path) = &self.path else {
            return failure;
        };
        let mut journal = path.clone().into_os_string();
        journal.push(".waxseal-journal");
        if failure.is_of_envelope() && fs::symlink_metadata(&journal).is_ok() {
            return failure.and(
                "; a re-wrap in place of this file was interrupted, as the journal beside it shows: run `waxseal rewrap \
                 --in-place` again, which first makes the file whole",
            );
        }
        failure
    }

    /// What it was when it was opened.
    pub(super) fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// Whether the file was named by this path, which leads through no link.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        self.path.as_deref() == Some(path)
    }

    /// Which file it is, unless what is read from it is never what is written to it: a terminal, a socket.
    pub(super) fn written_back(&self) -> Option<Identity> {
        #[cfg(unix)]
        {
            use std::os::unix::fs::FileTypeExt;
            let kind = self.file.metadata().ok()?.file_type();
            if !(self.is_file || kind.is_fifo() || kind.is_block_device()) {
                return None;
            }
        }
        self.stamp.identity().filter(|_| self.is_file || cfg!(unix))
    }
}

impl Read for Input {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        super::patient(&self.file, false, |mut file| file.read(out))
    }
}

// The streams of the standard library have buffers of their own, which nobody wipes.

#[cfg(unix)]
fn given(number: i32) -> io::Result<File> {
    super::descriptors::duplicate(number)
}

#[cfg(windows)]
fn given(_: i32) -> io::Result<File> {
    use std::os::windows::io::AsHandle;
    Ok(io::stdin().as_handle().try_clone_to_owned()?.into())
}
