//! Where output goes: a stream as it comes, a file all or nothing.

use std::fs::{self, File, Metadata};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::failure::{Failure, Result};
use crate::input::{Name, path_of};

/// An output that is not there before [`finish`](Output::finish), unless it is a stream.
pub(crate) struct Output {
    sink: Sink,
    name: Name,
}

enum Sink {
    /// A pipe, a terminal or a device. What was written cannot be taken back.
    Stream(File),
    /// A file that takes its place when it is complete.
    Staged {
        file: Staged,
        directory: PathBuf,
        target: PathBuf,
        place: Place,
    },
}

/// What is at the target, and what becomes of it.
enum Place {
    /// Whatever there is, if anything, is replaced.
    Free,
    /// The file of this owner and mode is replaced, and they stay.
    Held(Box<Metadata>),
    /// There must be nothing, and nothing is replaced.
    Empty,
}

/// A file in the target's directory without a name of its own, where the system has such files: the system
/// removes it, however the process ends. Elsewhere one with a name, which stays if the process is killed.
enum Staged {
    #[cfg(target_os = "linux")]
    Unnamed(File),
    Named(NamedTempFile),
}

/// Who can read a new file.
#[derive(Clone, Copy)]
pub(crate) enum Access {
    /// Whom the umask lets.
    Usual,
    /// Its owner.
    Private,
}

impl Output {
    /// The output of an option. A file that exists keeps its owner and mode.
    pub(crate) fn create(option: Option<&PathBuf>, access: Access) -> Result<Self> {
        let Some(path) = path_of(option) else {
            let name = Name::Stream("standard output");
            let file = standard_output().map_err(|error| Failure::of_io("write", &name, error))?;
            return Ok(Self {
                sink: Sink::Stream(file),
                name,
            });
        };
        let name = Name::Path(path.into());
        let sink = replacing(path, access).map_err(|error| Failure::of_io("write", &name, error))?;
        Ok(Self { sink, name })
    }

    /// A new file that only its owner can read; refused where anything is there.
    pub(crate) fn create_new(path: &Path) -> Result<Self> {
        let name = Name::Path(path.into());
        if fs::symlink_metadata(path).is_ok() {
            return Err(exists(&name));
        }
        let sink = stage(path, Access::Private, Place::Empty);
        let sink = sink.map_err(|error| Failure::of_io("write", &name, error))?;
        Ok(Self { sink, name })
    }

    /// What it is called.
    pub(crate) fn name(&self) -> Name {
        self.name.clone()
    }

    /// Whether somebody is looking at it.
    pub(crate) fn is_terminal(&self) -> bool {
        matches!(&self.sink, Sink::Stream(file) if file.is_terminal())
    }

    /// Puts a file in its place, after it has reached the disk.
    pub(crate) fn finish(self) -> Result<()> {
        let name = self.name;
        put_in_place(self.sink).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => exists(&name),
            _ => Failure::of_io("write", &name, error),
        })
    }
}

fn exists(name: &Name) -> Failure {
    Failure::refused(format!(
        "{name} exists, and a key is never overwritten; name another file or move it away"
    ))
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.sink {
            Sink::Stream(file) => file.write(bytes),
            Sink::Staged { file, .. } => file.file().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Staged {
    fn new(directory: &Path, mode: u32) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        if let Some(file) = unnamed(directory, mode)? {
            return Ok(Self::Unnamed(file));
        }
        let mut builder = tempfile::Builder::new();
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(mode));
        #[cfg(not(unix))]
        let _ = mode;
        let file = builder.prefix(PREFIX).tempfile_in(directory);
        // Without the made-up path that the error tells of.
        file.map(Self::Named).map_err(|error| error.kind().into())
    }

    fn file(&self) -> &File {
        match self {
            #[cfg(target_os = "linux")]
            Self::Unnamed(file) => file,
            Self::Named(file) => file.as_file(),
        }
    }
}

const PREFIX: &str = ".waxseal-";

fn replacing(path: &Path, access: Access) -> io::Result<Sink> {
    match fs::metadata(path) {
        // Where there is a link, what it leads to is replaced and not the link.
        Ok(found) if found.is_file() => stage(
            &fs::canonicalize(path)?,
            Access::Private,
            Place::Held(found.into()),
        ),
        Ok(found) if found.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        // A device or named pipe is no file to be replaced.
        Ok(_) => Ok(Sink::Stream(File::options().write(true).open(path)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => stage(path, access, Place::Free),
        Err(error) => Err(error),
    }
}

fn stage(path: &Path, access: Access, place: Place) -> io::Result<Sink> {
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    if path.file_name().is_none() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mode = match access {
        Access::Usual => 0o666,
        Access::Private => 0o600,
    };
    Ok(Sink::Staged {
        file: Staged::new(directory, mode)?,
        directory: directory.into(),
        target: path.into(),
        place,
    })
}

fn put_in_place(sink: Sink) -> io::Result<()> {
    let Sink::Staged {
        file,
        directory,
        target,
        place,
    } = sink
    else {
        return Ok(());
    };
    if let Place::Held(old) = &place {
        keep_owner_and_mode(file.file(), old)?;
    }
    file.file().sync_all()?;
    let is_free = !matches!(place, Place::Empty);
    match file {
        #[cfg(target_os = "linux")]
        Staged::Unnamed(file) if is_free => {
            // A name for a moment, since a link never takes the place of another.
            let named = tempfile::Builder::new()
                .prefix(PREFIX)
                .make_in(&directory, |name| link(&file, name))?;
            named.persist(&target).map_err(io::Error::from)?;
        }
        #[cfg(target_os = "linux")]
        Staged::Unnamed(file) => link(&file, &target)?,
        Staged::Named(file) if is_free => drop(file.persist(&target).map_err(io::Error::from)?),
        Staged::Named(file) => drop(file.persist_noclobber(&target).map_err(io::Error::from)?),
    }
    // The name is on the disk only once the directory is. Not every system can be told so.
    if let Ok(directory) = File::open(&directory) {
        let _ = directory.sync_all();
    }
    Ok(())
}

#[cfg(unix)]
fn keep_owner_and_mode(file: &File, old: &Metadata) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let kept = std::os::unix::fs::fchown(file, Some(old.uid()), Some(old.gid())).is_ok();
    // The rights of a group that is now another one are not given to it.
    let mode = old.mode() & if kept { 0o777 } else { 0o700 };
    file.set_permissions(fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
fn keep_owner_and_mode(file: &File, old: &Metadata) -> io::Result<()> {
    file.set_permissions(old.permissions())
}

/// `None` where the file system has no files without a name, or `/proc` is not there to name them by.
#[cfg(target_os = "linux")]
fn unnamed(directory: &Path, mode: u32) -> io::Result<Option<File>> {
    use std::os::unix::fs::OpenOptionsExt;
    let file = File::options()
        .read(true)
        .write(true)
        .mode(mode)
        .custom_flags(libc::O_TMPFILE)
        .open(directory);
    match file {
        Ok(file) => Ok(Some(file).filter(|file| fs::metadata(in_proc(file)).is_ok())),
        Err(error) => match error.raw_os_error() {
            Some(libc::EOPNOTSUPP | libc::EISDIR | libc::EINVAL) => Ok(None),
            _ => Err(error),
        },
    }
}

#[cfg(target_os = "linux")]
fn in_proc(file: &File) -> String {
    use std::os::fd::AsRawFd;
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

/// Gives a file without a name this one, which must be free.
#[cfg(target_os = "linux")]
fn link(file: &File, name: &Path) -> io::Result<()> {
    use rustix::fs::{AtFlags, CWD, linkat};
    linkat(CWD, in_proc(file), CWD, name, AtFlags::SYMLINK_FOLLOW).map_err(io::Error::from)
}

#[cfg(unix)]
fn standard_output() -> io::Result<File> {
    use std::os::fd::AsFd;
    Ok(io::stdout().as_fd().try_clone_to_owned()?.into())
}

#[cfg(windows)]
fn standard_output() -> io::Result<File> {
    use std::os::windows::io::AsHandle;
    Ok(io::stdout().as_handle().try_clone_to_owned()?.into())
}
