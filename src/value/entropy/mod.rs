//! Randomness that is safe across `fork`.
//!
//! Every random byte comes from the operating system. A system call for each nonce would cost more than
//! sealing a small value, so each thread keeps a small buffer of system randomness. Bytes are wiped from the
//! buffer as they are handed out. If the process has forked (a counter in `pthread_atfork`'s child handler
//! shows this), the thread throws its buffer away, so that parent and child never hand out the same bytes.
//!
//! This module does not notice a fork that bypasses the C library (a raw `clone` system call), or a virtual machine
//! or process that is resumed twice from a snapshot. A program that may be copied so calls
//! [`disable_buffering`] before it seals anything.

mod fork;

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};

use zeroize::Zeroize;

use crate::value::error::{Error, ErrorKind, Result};

pub(crate) use fork::generation;

/// Bytes fetched by one system call.
const BUFFER: usize = 4096;
/// Requests above this size go to the system directly.
const BUFFERED_MAX: usize = 256;

static UNBUFFERED: AtomicBool = AtomicBool::new(false);

/// Turns buffering off for every thread: each request for randomness becomes a system call.
///
/// For processes whose memory may be copied without their notice: snapshots of running
/// virtual machines or of processes (Firecracker, CRIU). Costs about 250 ns for each nonce. Call this at start-up; it
/// cannot be undone. Sessions that are open at a snapshot stay safe, because their nonces are then
/// drawn after the snapshot. A [`SealWriter`](crate::message::SealWriter) does not stay safe: its nonces count up, so two copies of the
/// process that both continue to write repeat nonces. Have no `SealWriter` open while a snapshot is taken.
pub fn disable_buffering() {
    UNBUFFERED.store(true, Ordering::SeqCst);
}

struct Buffer {
    bytes: Box<[u8; BUFFER]>,
    /// Bytes before this are handed out and wiped.
    used: usize,
    generation: u64,
}

impl Buffer {
    fn take(&mut self, out: &mut [u8], generation: u64) -> Result<()> {
        if self.generation != generation || self.bytes.len() - self.used < out.len() {
            // Nothing is handed out of a buffer that was filled only in part.
            self.used = self.bytes.len();
            system(self.bytes.as_mut_slice())?;
            self.used = 0;
            self.generation = generation;
        }
        let end = self.used + out.len();
        if let Some(bytes) = self.bytes.get_mut(self.used..end) {
            out.copy_from_slice(bytes);
            bytes.zeroize();
        }
        self.used = end;
        Ok(())
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.bytes.as_mut_slice().zeroize();
    }
}

thread_local! {
    static THREAD: RefCell<Buffer> =
        RefCell::new(Buffer { bytes: Box::new([0; BUFFER]), used: BUFFER, generation: 0 });
}

fn system(out: &mut [u8]) -> Result<()> {
    getrandom::fill(out).map_err(|error| Error::new(ErrorKind::Entropy).with_source(error))
}

/// Fills `out`, of any length, with random bytes.
///
/// Up to 256 bytes come from the thread's buffer, more come from a system call.
///
/// # Errors
/// [`ErrorKind::Entropy`] if the operating system returns no randomness. The content of `out` is then unspecified.
pub fn fill(out: &mut [u8]) -> Result<()> {
    if out.len() <= BUFFERED_MAX
        && !UNBUFFERED.load(Ordering::Relaxed)
        && let Some(generation) = fork::watched_generation()
    {
        // While a thread ends, its buffer may already be gone: then the system answers.
        let taken = THREAD.try_with(|buffer| match buffer.try_borrow_mut() {
            Ok(mut buffer) => Some(buffer.take(out, generation)),
            Err(_) => None,
        });
        if let Ok(Some(result)) = taken {
            return result;
        }
    }
    system(out)
}

/// Returns `N` random bytes.
///
/// # Errors
/// [`ErrorKind::Entropy`] if the operating system returns no randomness.
pub fn array<const N: usize>() -> Result<[u8; N]> {
    let mut out = [0; N];
    fill(&mut out)?;
    Ok(out)
}

/// This module's generator behind the `rand_core` traits, for libraries that need one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Generator;

impl rand_core::TryRng for Generator {
    type Error = Error;

    fn try_next_u32(&mut self) -> Result<u32> {
        array().map(u32::from_ne_bytes)
    }

    fn try_next_u64(&mut self) -> Result<u64> {
        array().map(u64::from_ne_bytes)
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<()> {
        fill(out)
    }
}

impl rand_core::TryCryptoRng for Generator {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    // spec: KEY-11
    #[test]
    fn hands_out_no_byte_twice() {
        let mut seen = HashSet::new();
        for _ in 0..10_000 {
            assert!(seen.insert(array::<16>().unwrap()));
        }
    }

    // spec: KEY-10
    #[test]
    fn what_was_handed_out_is_wiped() {
        array::<32>().unwrap();
        THREAD.with(|buffer| {
            let buffer = buffer.borrow();
            assert!(buffer.used > 0);
            assert!(buffer.bytes[..buffer.used].iter().all(|byte| *byte == 0));
            assert!(buffer.bytes[buffer.used..].iter().any(|byte| *byte != 0) || buffer.used == BUFFER);
        });
    }

    // spec: KEY-11
    #[test]
    fn a_new_generation_throws_the_buffer_away() {
        let mut buffer = Buffer {
            bytes: Box::new([7; BUFFER]),
            used: 0,
            generation: 1,
        };
        let mut out = [0; 16];
        buffer.take(&mut out, 1).unwrap();
        assert_eq!(out, [7; 16]);
        buffer.take(&mut out, 2).unwrap();
        assert_ne!(out, [7; 16]);
    }

    #[test]
    fn large_requests_are_filled() {
        let mut out = vec![0; 10_000];
        fill(&mut out).unwrap();
        assert!(out.chunks(64).all(|chunk| chunk.iter().any(|byte| *byte != 0)));
    }
}
