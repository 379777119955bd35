//! The descriptors that this process was started with.
//!
//! The standard library opens `/dev/null` in the place of a standard stream that is
//! closed, before `main`: what is written there is lost, with exit code 0. Nothing but a look before that can tell such a
//! stream from one that was sent to `/dev/null` on purpose. And a descriptor that is named by its number can only be
//! duplicated by a call that the compiler cannot check.
#![allow(unsafe_code, reason = "the module says why")]

use std::fs::File;
use std::io;
use std::os::fd::{FromRawFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};

/// Descriptors that are looked at, from 0.
const WATCHED: RawFd = 64;

/// A bit for each descriptor that was open when the process began.
static OPEN_AT_START: AtomicU64 = AtomicU64::new(0);

/// Whether the look was taken.
const LOOKS: bool = cfg!(any(
    target_os = "linux",
    target_os = "android",
    target_os = "macos"
));

#[cfg(any(target_os = "linux", target_os = "android", target_os = "macos"))]
#[used]
// SAFETY: the section holds pointers to functions without arguments that are called before `main`; this is one.
#[cfg_attr(
    any(target_os = "linux", target_os = "android"),
    unsafe(link_section = ".init_array")
)]
#[cfg_attr(target_os = "macos", unsafe(link_section = "__DATA,__mod_init_func"))]
static LOOK: extern "C" fn() = look;

/// Runs before the standard library is there, so it only asks the system.
#[cfg(any(target_os = "linux", target_os = "android", target_os = "macos"))]
extern "C" fn look() {
    let mut open = 0;
    for descriptor in 0..WATCHED {
        // SAFETY: asking for the flags of a descriptor changes nothing, and one that is closed is an error.
        if unsafe { libc::fcntl(descriptor, libc::F_GETFD) } != -1 {
            open |= 1 << descriptor;
        }
    }
    OPEN_AT_START.store(open, Ordering::Relaxed);
}

/// Whether this process was started with the descriptor.
pub(super) fn was_given(descriptor: RawFd) -> bool {
    match u32::try_from(descriptor) {
        Ok(number) if LOOKS && descriptor < WATCHED => {
            OPEN_AT_START.load(Ordering::Relaxed) & (1 << number) != 0
        }
        // As far as is known.
        Ok(_) => true,
        Err(_) => false,
    }
}

/// The same open file once more: its offset and flags are shared, as a shell has set them.
pub(super) fn duplicate(descriptor: RawFd) -> io::Result<File> {
    if !was_given(descriptor) {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: duplicating any number is safe, and an error where it is no open descriptor.
    let own = unsafe { libc::fcntl(descriptor, libc::F_DUPFD_CLOEXEC, 3) };
    if own == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has just made this descriptor, and nobody else knows it.
    Ok(unsafe { File::from_raw_fd(own) })
}
