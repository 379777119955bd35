//! Files that are there whole or not at all, whenever a process ends.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::value::error::{Error, ErrorKind, Result};

/// How the name of a file ends that is not complete yet. The command has the same ending for its outputs.
const ENDING: &str = ".waxseal-new";

/// Writes a file that does not exist yet, and makes it last.
///
/// # Errors
/// `Configuration` if the file exists, or cannot be written.
pub(super) fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let failed = |error: io::Error| {
        let what = match error.kind() {
            io::ErrorKind::AlreadyExists => {
                format!("{} exists already, and is never overwritten", path.display())
            }
            kind => format!("cannot write {}: {kind}", path.display()),
        };
        Error::new(ErrorKind::Configuration)
            .with_detail(what)
            .with_source(error)
    };
    if path.symlink_metadata().is_ok() {
        return Err(failed(io::ErrorKind::AlreadyExists.into()));
    }
    let put = again(|| {
        let staged = Staged::write(path, bytes, mode)?;
        rename_to_nothing(&staged.path, path)
    });
    put.and_then(|()| sync_folder(path)).map_err(failed)
}

/// Writes a file anew: what was there before is there until the new one is complete.
///
/// # Errors
/// `Io`.
pub(super) fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let put = again(|| {
        let staged = Staged::write(path, bytes, mode)?;
        fs::rename(&staged.path, path)
    });
    put.and_then(|()| sync_folder(path)).map_err(Error::io)
}

/// How often a file is written again that somebody else took for one that is left over: between its making and its lock.
const TRIES: usize = 16;

fn again(put: impl Fn() -> io::Result<()>) -> io::Result<()> {
    for _ in 1..TRIES {
        match put() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            done => return done,
        }
    }
    put()
}

/// Renames a file, unless the new name is taken.
fn rename_to_nothing(from: &Path, to: &Path) -> io::Result<()> {
    // In one step, so that a process that is killed leaves one name and not two.
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use rustix::io::Errno;
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // Not every file system can.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
            done => return Ok(done?),
        }
    }
    match fs::hard_link(from, to) {
        // Nor has every one links. Without them a file that somebody else makes in between is replaced.
        Err(error) if is_without_links(&error) && to.symlink_metadata().is_err() => fs::rename(from, to),
        linked => linked,
    }
}

fn is_without_links(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied
    )
}

/// A complete file beside the one that it becomes. Locked while it is written, and deleted when it is dropped.
struct Staged {
    path: PathBuf,
    _locked: File,
}

impl Staged {
    fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        delete_left_over(path);
        let mut name = prefix(path);
        name.push(format!(
            "{}-{}{ENDING}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        ));
        let path = path.with_file_name(name);
        let mut file = options(mode).create_new(true).open(&path)?;
        // Where there are no locks, nobody takes it for one that is left over either.
        let _ = file.try_lock();
        let written = set_mode(&file, mode)
            .and_then(|()| file.write_all(bytes))
            .and_then(|()| file.sync_all());
        let staged = Self { path, _locked: file };
        written.map(|()| staged)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// What the names of all files begin with that may become this one.
fn prefix(path: &Path) -> std::ffi::OsString {
    let mut prefix = std::ffi::OsString::from(".");
    prefix.push(path.file_name().unwrap_or_default());
    prefix.push(".");
    prefix
}

/// Deletes what processes have left that were killed: it may be half a secret. One that lives holds a lock.
fn delete_left_over(path: &Path) {
    let prefix = prefix(path);
    let is_left = |name: &OsStr| {
        let name = name.as_encoded_bytes();
        name.starts_with(prefix.as_encoded_bytes()) && name.ends_with(ENDING.as_bytes())
    };
    let Ok(entries) = fs::read_dir(folder(path)) else {
        return;
    };
    for entry in entries.flatten().filter(|entry| is_left(&entry.file_name())) {
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        let locked = || File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok());
        if is_file && locked() {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder.components().next().is_some() => folder,
        _ => Path::new("."),
    }
}

#[cfg(unix)]
fn options(mode: u32) -> OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = OpenOptions::new();
    options.write(true).mode(mode);
    options
}

#[cfg(not(unix))]
fn options(_: u32) -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    options
}

/// Whatever the umask says.
#[cfg(unix)]
fn set_mode(file: &File, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
fn set_mode(_: &File, _: u32) -> io::Result<()> {
    Ok(())
}

#[cfg(unix)]
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder(path))?.sync_all()
}

#[cfg(not(unix))]
pub(super) fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_killed_processes_have_left_is_deleted_and_what_living_ones_write_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let left = folder.path().join(".file.4711-0.waxseal-new");
        let lives = folder.path().join(".file.4712-0.waxseal-new");
        let other = folder.path().join(".file.toml");
        for path in [&left, &lives, &other] {
            fs::write(path, "half a sec").unwrap();
        }
        let file = File::open(&lives).unwrap();
        file.lock().unwrap();
        write_new(&path, b"whole", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(
            names(folder.path()),
            [".file.4712-0.waxseal-new", ".file.toml", "file"]
        );
        // Not by closing it: a child that another test forks has it for a moment, too.
        file.unlock().unwrap();
        replace(&path, b"another", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"another");
        assert_eq!(names(folder.path()), [".file.toml", "file"]);
        // Nothing that is there is overwritten, and a link to nowhere is there.
        assert!(write_new(&path, b"third", 0o600).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"another");
        assert_eq!(names(folder.path()), [".file.toml", "file"]);
    }
}
