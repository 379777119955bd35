//! A counter that changes in the child of every `fork`.
//!
//! This is one of the few modules that may contain `unsafe`: no safe way to notice a fork
//! is cheap enough to use before each nonce (`getpid` is a system call, 100 ns). The unsafe part is one call,
//! made once, and a handler that adds one to an atomic integer.
#![allow(unsafe_code)]

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

static GENERATION: AtomicU64 = AtomicU64::new(1);

/// Returns how many forks are between the first process and this process, counted from 1.
///
/// On a platform without `fork`, always returns 1. Sessions and leases of another generation
/// came through a fork.
pub(crate) fn generation() -> u64 {
    watched_generation().unwrap_or_else(|| u64::from(std::process::id()))
}

/// Returns the same, or `None` if this process cannot notice forks, so that nothing may be buffered.
pub(crate) fn watched_generation() -> Option<u64> {
    static WATCHED: OnceLock<bool> = OnceLock::new();
    WATCHED
        .get_or_init(watch)
        .then(|| GENERATION.load(Ordering::Relaxed))
}

#[cfg(unix)]
fn watch() -> bool {
    extern "C" fn in_child() {
        GENERATION.fetch_add(1, Ordering::Relaxed);
    }
    // SAFETY: `pthread_atfork` takes up to three function pointers that live for the whole program.
    // `in_child` is one, captures nothing, and does nothing but add to an atomic integer, which is
    // async-signal-safe, as POSIX asks of what runs between `fork` and `exec` in a process with threads.
    // The handler stays registered until the process ends; this crate is never unloaded before that, unless
    // it is part of a library that is closed with `dlclose`, which Rust does not support for libraries
    // that use thread-local storage with destructors, as the standard library itself does.
    unsafe { libc::pthread_atfork(None, None, Some(in_child)) == 0 }
}

#[cfg(not(unix))]
fn watch() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forks_are_watched_here() {
        assert_eq!(watched_generation(), Some(generation()));
    }
}
