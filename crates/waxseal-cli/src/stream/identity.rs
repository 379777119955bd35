//! Which file it is, whatever it is called, and whether it was changed.

use std::fs::Metadata;

/// A file, by what its system says of it. Equal for two names of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    number: u64,
    /// What stands behind a device file; there may be several for one device.
    special: u64,
}

/// A file at one moment: not equal if it was written to, replaced, or given other rights meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    identity: Option<Identity>,
    len: u64,
    modified: Option<std::time::SystemTime>,
    changed: (i64, i64),
}

impl Identity {
    #[cfg(unix)]
    pub(super) fn of(metadata: &Metadata) -> Option<Self> {
        use std::os::unix::fs::{FileTypeExt, MetadataExt};
        let kind = metadata.file_type();
        if kind.is_char_device() || kind.is_block_device() {
            return Some(Self {
                device: u64::from(kind.is_block_device()),
                number: 0,
                special: metadata.rdev(),
            });
        }
        Some(Self {
            device: metadata.dev(),
            number: metadata.ino(),
            special: 0,
        })
    }

    /// There is none here that the standard library knows of.
    #[cfg(not(unix))]
    pub(super) fn of(_: &Metadata) -> Option<Self> {
        None
    }
}

impl Stamp {
    pub(super) fn of(metadata: &Metadata) -> Self {
        #[cfg(unix)]
        let changed = {
            use std::os::unix::fs::MetadataExt;
            (metadata.ctime(), metadata.ctime_nsec())
        };
        #[cfg(not(unix))]
        let changed = (0, 0);
        Self {
            identity: Identity::of(metadata),
            len: metadata.len(),
            modified: metadata.modified().ok(),
            changed,
        }
    }

    pub(super) fn identity(&self) -> Option<Identity> {
        self.identity
    }
}

/// Whether what is read from it is gone afterwards: a pipe, a socket, a terminal. Not `/dev/null` and its like, which
/// say the same to everybody.
#[cfg(unix)]
pub(super) fn is_used_up(metadata: &Metadata) -> bool {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let kind = metadata.file_type();
    kind.is_fifo() || kind.is_socket() || kind.is_char_device() && !is_memory(metadata.rdev())
}

#[cfg(not(unix))]
pub(super) fn is_used_up(metadata: &Metadata) -> bool {
    !metadata.is_file()
}

/// The memory devices: `/dev/null`, `/dev/zero`, `/dev/full`, `/dev/urandom`.
#[cfg(target_os = "linux")]
fn is_memory(device: u64) -> bool {
    rustix::fs::major(device) == 1
}

#[cfg(all(unix, not(target_os = "linux")))]
fn is_memory(device: u64) -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/dev/null").is_ok_and(|null| null.rdev() == device)
}
