//! A file that takes its place when it is complete.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::signals;

/// What stands behind the name of a file while it is written: `.NAME.waxseal-new`.
const SUFFIX: &str = ".waxseal-new";
/// The longest name that file systems have, in bytes.
const NAME_MAX: usize = 255;

/// A file that is being written beside its target.
pub(super) struct Staged {
    file: File,
    target: PathBuf,
    directory: PathBuf,
    /// Its name meanwhile. `None` for a file that has none, which the system removes however the process ends.
    named: Option<Temporary>,
}

/// A file of this name is removed again, also when a signal ends the process. If nothing could (the process was killed),
/// the next run that writes the same target removes it.
struct Temporary(PathBuf);

impl Temporary {
    fn new(path: PathBuf) -> Self {
        signals::remove_at_end(&path);
        Self(path)
    }

    /// It has another name now.
    fn keep(self) {
        signals::keep(&self.0);
        std::mem::forget(self);
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
        signals::keep(&self.0);
    }
}

impl Staged {
    /// An empty file of this mode, less the umask.
    pub(super) fn new(target: &Path, mode: u32) -> io::Result<Self> {
        let directory = match target.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let (file, named) = match unnamed(directory, mode)? {
            Some(file) => (file, None),
            None => {
                let path = temporary_name(target)?;
                let file = create(&path, mode)?;
                (file, Some(Temporary::new(path)))
            }
        };
        // Who finds the name and no lock knows that nobody writes any more.
        let _ = file.try_lock();
        Ok(Self {
            file,
            target: target.into(),
            directory: directory.into(),
            named,
        })
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn target(&self) -> &Path {
        &self.target
    }

    /// Takes the name of the target, which must be free.
    pub(super) fn put(self) -> io::Result<()> {
        self.file.sync_all()?;
        match self.named {
            None => link(&self.file, &self.target)?,
            Some(temporary) => signals::undisturbed(|| {
                rename_if_free(&temporary.0, &self.target)?;
                temporary.keep();
                io::Result::Ok(())
            })?,
        }
        sync_directory(&self.directory)
    }

    /// Takes the place of the target.
    pub(super) fn replace(self) -> io::Result<()> {
        self.file.sync_all()?;
        let temporary = match self.named {
            Some(temporary) => temporary,
            // A name for a moment, since a link never takes the place of another.
            None => {
                let path = temporary_name(&self.target)?;
                clear(&path)?;
                link(&self.file, &path)?;
                Temporary::new(path)
            }
        };
        signals::undisturbed(|| {
            fs::rename(&temporary.0, &self.target)?;
            temporary.keep();
            io::Result::Ok(())
        })?;
        sync_directory(&self.directory)
    }
}

/// The name is on the disk only once the directory is. Not every system can be told so, nor may everybody.
fn sync_directory(directory: &Path) -> io::Result<()> {
    let Ok(directory) = File::open(directory) else {
        return Ok(());
    };
    match directory.sync_all() {
        Err(error) if super::output::cannot_sync(&error) => Ok(()),
        synced => synced,
    }
}

fn temporary_name(target: &Path) -> io::Result<PathBuf> {
    let name = target.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut temporary = OsString::from(".");
    if name.len() + 1 + SUFFIX.len() > NAME_MAX {
        // Not told from that of another long name; two writers then find out.
        temporary.push("long-name");
    } else {
        temporary.push(name);
    }
    temporary.push(SUFFIX);
    Ok(target.with_file_name(temporary))
}

/// Creates a file, in the place of one that a killed run has left.
fn create(path: &Path, mode: u32) -> io::Result<File> {
    clear(path)?;
    let mut options = File::options();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    options.open(path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => busy(),
        _ => error,
    })
}

/// Removes what a killed run of ours has left. One that goes on has it locked.
#[cfg(unix)]
fn clear(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
    let left = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(left) => left,
    };
    let in_the_way = || io::Error::other(format!("{} is in the way", path.display()));
    if !left.is_file() {
        return Err(in_the_way());
    }
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
        .map_err(|_| in_the_way())?;
    file.try_lock().map_err(|_| busy())?;
    let opened = file.metadata()?;
    if (opened.dev(), opened.ino()) != (left.dev(), left.ino()) {
        return Err(busy());
    }
    fs::remove_file(path)
}

#[cfg(not(unix))]
fn clear(_: &Path) -> io::Result<()> {
    Ok(())
}

fn busy() -> io::Error {
    io::Error::new(io::ErrorKind::WouldBlock, "another process is writing it")
}

/// `None` if the file system has no files without a name, or `/proc` is not there to name them by.
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

#[cfg(not(target_os = "linux"))]
#[allow(clippy::unnecessary_wraps, reason = "it can fail elsewhere")]
fn unnamed(_: &Path, _: u32) -> io::Result<Option<File>> {
    Ok(None)
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

#[cfg(not(target_os = "linux"))]
fn link(_: &File, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Renames a file to a name that must be free.
fn rename_if_free(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // Not every file system has it.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {}
            renamed => return renamed.map_err(io::Error::from),
        }
    }
    fs::hard_link(from, to)?;
    fs::remove_file(from)
}
