//! What a file that is replaced had, and its successor is to have.
//!
//! A file is replaced by another one that takes its name: other names of it, its owner, its rights and attributes do not
//! come along by themselves. What can be kept is kept; what cannot is found out on the new file while it is still empty,
//! and refused with its reason.

use std::ffi::{CStr, CString};
use std::fs::{self, File, Metadata, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::Path;

use super::identity::Stamp;
use super::{Input, Name};
use crate::failure::{Failure, Result};

/// Everything about a file but its content and its name.
pub(super) struct Kept {
    stamp: Stamp,
    owner: (u32, u32),
    mode: u32,
    attributes: Vec<(CString, Vec<u8>)>,
    /// Locked as long as this is there, so that a re-wrap in place by another process waits.
    _lock: Option<File>,
}

impl Kept {
    /// Looks at the file at `path`, which leads through no link. Refuses one that cannot be replaced.
    pub(super) fn of(path: &Path, name: &Name, break_links: bool, input: Option<&Input>) -> Result<Self> {
        let metadata = fs::metadata(path).map_err(|error| Failure::of_io("write", name, error))?;
        if metadata.nlink() > 1 && !break_links {
            return Err(Failure::refused(format!(
                "{name} has {} names (hard links), and a new file would take one of them: the others would keep the \
                 old content; name another output, or let the names part with --break-links",
                metadata.nlink()
            )));
        }
        check_replaceable(path, &metadata, name)?;
        // What was read is what must still be there, not what came meanwhile.
        let stamp = match input {
            Some(input) if input.is_at(path) => input.stamp(),
            _ => Stamp::of(&metadata),
        };
        let attributes =
            attributes(path).map_err(|error| Failure::of_io("read the attributes of", name, error))?;
        Ok(Self {
            stamp,
            owner: (metadata.uid(), metadata.gid()),
            mode: metadata.mode() & 0o7777,
            attributes,
            _lock: lock(path, name)?,
        })
    }

    /// Finds out whether an empty file can be given all of it. Afterwards only its owner can read it.
    pub(super) fn try_on(&self, file: &File, name: &Name) -> Result<()> {
        let cannot = |what: String, error: io::Error| {
            Failure::io(format!(
                "cannot replace {name}: {what} cannot be kept ({error}); name another output, or move the file away"
            ))
        };
        let (user, group) = self.owner;
        fchown(file, Some(user), Some(group))
            .map_err(|error| cannot(format!("its owner (user {user}, group {group})"), error))?;
        let moded = file
            .set_permissions(Permissions::from_mode(self.mode))
            .and_then(|()| file.metadata())
            .and_then(|now| match now.mode() & 0o7777 == self.mode {
                true => Ok(()),
                // The system leaves out a bit that its owner may not set, and says nothing.
                false => Err(io::ErrorKind::PermissionDenied.into()),
            });
        moded.map_err(|error| cannot(format!("its mode {:o}", self.mode), error))?;
        for (attribute, value) in &self.attributes {
            set(file, attribute, value)
                .map_err(|error| cannot(format!("its attribute {}", attribute.to_string_lossy()), error))?;
        }
        self.take_others(file)
            .map_err(|error| cannot("that it has no access control list".into(), error))?;
        file.set_permissions(Permissions::from_mode(0o600))
            .map_err(|error| cannot("its mode".into(), error))
    }

    /// Takes the access control list that a new file inherits of its directory, if the old one had none: it would let
    /// others in.
    #[cfg(target_os = "linux")]
    fn take_others(&self, file: &File) -> io::Result<()> {
        use rustix::io::Errno;
        const LIST: &CStr = c"system.posix_acl_access";
        if self.attributes.iter().any(|(name, _)| name.as_c_str() == LIST) {
            return Ok(());
        }
        match rustix::fs::fremovexattr(file, LIST) {
            Ok(()) | Err(Errno::NODATA | Errno::NOTSUP) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    #[cfg(not(target_os = "linux"))]
    #[allow(
        clippy::unnecessary_wraps,
        clippy::unused_self,
        reason = "it can fail elsewhere"
    )]
    fn take_others(&self, _: &File) -> io::Result<()> {
        Ok(())
    }

    /// Gives the finished file all of it.
    pub(super) fn put_on(&self, file: &File) -> io::Result<()> {
        let (user, group) = self.owner;
        fchown(file, Some(user), Some(group))?;
        file.set_permissions(Permissions::from_mode(self.mode))?;
        for (attribute, value) in &self.attributes {
            set(file, attribute, value)?;
        }
        self.take_others(file)
    }

    /// Whether the file is still the one that was looked at, as it was then.
    pub(super) fn is_there(&self, path: &Path) -> bool {
        fs::symlink_metadata(path).is_ok_and(|now| Stamp::of(&now) == self.stamp)
    }
}

/// Refuses what would fail only when the work is done: the name cannot be given to another file.
fn check_replaceable(path: &Path, metadata: &Metadata, name: &Name) -> Result<()> {
    let cannot = |why: &str| {
        Err(Failure::io(format!(
            "cannot replace {name}: {why}; name another output"
        )))
    };
    let directory = path.parent().unwrap_or(Path::new("/"));
    let of_directory =
        fs::metadata(directory).map_err(|error| Failure::of_io("read", directory.display(), error))?;
    let me = rustix::process::geteuid().as_raw();
    let is_mine = |metadata: &Metadata| metadata.uid() == me;
    if of_directory.mode() & 0o1000 != 0 && me != 0 && !is_mine(metadata) && !is_mine(&of_directory) {
        return cannot(
            "it belongs to another user, and its directory (mode +t) lets only owners replace files",
        );
    }
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{AtFlags, CWD, StatxAttributes as Is, StatxFlags, statx};
        let look = |path: &Path| {
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            let asked = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
            // An old kernel, or a sandbox, that cannot say: the rename will.
            statx(CWD, path, flags, asked).ok()
        };
        if let (Some(file), Some(directory)) = (look(path), look(directory)) {
            if file.stx_attributes.contains(Is::IMMUTABLE) {
                return cannot("it is marked as immutable (chattr +i)");
            }
            if file.stx_attributes.contains(Is::APPEND) {
                return cannot("it can only be appended to (chattr +a)");
            }
            if directory.stx_attributes.intersects(Is::IMMUTABLE | Is::APPEND) {
                return cannot("its directory is marked as immutable or append-only (chattr)");
            }
            let mounts = StatxFlags::MNT_ID.bits();
            let knows = file.stx_mask & directory.stx_mask & mounts != 0;
            if file.stx_attributes.contains(Is::MOUNT_ROOT)
                || knows && file.stx_mnt_id != directory.stx_mnt_id
            {
                return cannot(
                    "it is a mount point of its own (one file that is mounted, as into a container)",
                );
            }
        }
    }
    if metadata.dev() != of_directory.dev() {
        return cannot("it is on another file system than its directory");
    }
    Ok(())
}

/// The lock that a re-wrap in place takes too. `None` if it cannot be had for reasons of the file system or the rights.
fn lock(path: &Path, name: &Name) -> Result<Option<File>> {
    let Ok(file) = File::open(path) else {
        return Ok(None);
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(Failure::busy(format!(
            "another process holds a lock on {name}; try again"
        ))),
        Err(TryLockError::Error(_)) => Ok(None),
    }
}

/// Signatures of the content, which the system makes anew.
#[cfg(target_os = "linux")]
const OF_CONTENT: [&CStr; 2] = [c"security.ima", c"security.evm"];

/// The extended attributes: access control lists and labels among them.
#[cfg(target_os = "linux")]
fn attributes(path: &Path) -> io::Result<Vec<(CString, Vec<u8>)>> {
    use rustix::fs::{lgetxattr, llistxattr};
    /// More than any file system holds.
    const MOST: usize = 64 * 1024;
    let mut names = Vec::with_capacity(MOST);
    match llistxattr(path, rustix::buffer::spare_capacity(&mut names)) {
        Ok(_) => {}
        Err(rustix::io::Errno::NOTSUP) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    }
    let mut found = Vec::new();
    for name in names.split_inclusive(|byte| *byte == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name) else {
            continue;
        };
        if OF_CONTENT.contains(&name) {
            continue;
        }
        let mut value = Vec::with_capacity(MOST);
        lgetxattr(path, name, rustix::buffer::spare_capacity(&mut value))?;
        value.shrink_to_fit();
        found.push((name.to_owned(), value));
    }
    Ok(found)
}

#[cfg(not(target_os = "linux"))]
#[allow(clippy::unnecessary_wraps, reason = "it can fail elsewhere")]
fn attributes(_: &Path) -> io::Result<Vec<(CString, Vec<u8>)>> {
    Ok(Vec::new())
}

#[cfg(target_os = "linux")]
fn set(file: &File, name: &CStr, value: &[u8]) -> io::Result<()> {
    use rustix::fs::{XattrFlags, fgetxattr, fsetxattr};
    // A label that the system gave to the new file, too, need not be set, which not everybody may.
    let mut now = Vec::with_capacity(value.len() + 1);
    if fgetxattr(file, name, rustix::buffer::spare_capacity(&mut now)).is_ok() && now == value {
        return Ok(());
    }
    fsetxattr(file, name, value, XattrFlags::empty()).map_err(io::Error::from)
}

#[cfg(not(target_os = "linux"))]
fn set(_: &File, _: &CStr, _: &[u8]) -> io::Result<()> {
    Ok(())
}
