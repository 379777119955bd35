//! Extended attributes of a file that is written anew: those of its owner, access control lists, labels.

use std::fs::File;

use crate::value::error::{Error, Result};

/// The most bytes of the names of a file's attributes, and of a value: Linux allows no more (`XATTR_LIST_MAX` and `XATTR_SIZE_MAX` of
/// `linux/limits.h`).
#[cfg(target_os = "linux")]
const MAX: usize = 65_536;

/// Gives a new file all attributes of the old one.
///
/// # Errors
/// `Unsupported` if it cannot have one of them.
#[cfg(target_os = "linux")]
pub(super) fn copy(old: &File, new: &File) -> Result<()> {
    use rustix::fs::{XattrFlags, fgetxattr, flistxattr, fsetxattr};
    use rustix::io::Errno;
    let mut names = vec![0; MAX];
    let len = match flistxattr(old, &mut names) {
        Ok(len) => len,
        Err(Errno::NOTSUP) => return Ok(()),
        Err(error) => return Err(Error::io(error.into())),
    };
    names.truncate(len);
    let (mut value, mut there) = (vec![0; MAX], Vec::new());
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let len = match fgetxattr(old, name, &mut value) {
            Ok(len) => len,
            // It went meanwhile.
            Err(Errno::NODATA) => continue,
            Err(error) => return Err(cannot_keep(name, &error.into())),
        };
        let value = value.get(..len).unwrap_or_default();
        if let Err(error) = fsetxattr(new, name, value, XattrFlags::empty()) {
            // The system has given the new file the same one, and nobody else may.
            there.resize(MAX, 0);
            let is_same = fgetxattr(new, name, &mut there).is_ok_and(|len| there.get(..len) == Some(value));
            if !is_same {
                return Err(cannot_keep(name, &error.into()));
            }
        }
    }
    Ok(())
}

#[cfg(target_os = "linux")]
fn cannot_keep(name: &[u8], error: &std::io::Error) -> Error {
    Error::unsupported("re-wrapping a file whose extended attributes cannot be kept")
        .with_detail(format!("{}: {error}", String::from_utf8_lossy(name)))
}

#[cfg(not(target_os = "linux"))]
pub(super) fn copy(_: &File, _: &File) -> Result<()> {
    Ok(())
}
