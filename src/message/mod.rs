//! Sealing and opening payloads under a DEK. Synchronous; no key manager, no wraps.

mod chunks;
mod keys;
mod open;
pub(crate) mod parallel;
mod range;
mod session;
mod stream;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

pub(crate) use keys::SessionKeys;
pub(crate) use open::Message;
pub use open::OpenedInPlace;
pub use parallel::{Parallel, Pool};
pub use range::{RangePlan, RangeReader};
pub use session::Layout;
pub(crate) use session::{Nonces, Sealing, Session};
#[cfg(any(feature = "futures-io", feature = "tokio"))]
pub use stream::{AsyncOpenReader, AsyncSealWriter};
pub(crate) use stream::{ChunkOpener, OpenKeys, SealStart};
pub use stream::{OpenReader, SealWriter};

use crate::value::error::{Error, ErrorKind, Result};

/// A flag that a lease shares with what works under it: once set, nothing more is sealed or opened.
#[derive(Clone, Debug, Default)]
pub(crate) struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    pub(crate) fn check(&self) -> Result<()> {
        check_stop(&self.0)
    }
}

/// A flag that is not kept: it is there while the lease is, or anything that works under it.
#[cfg(feature = "cache")]
#[derive(Debug)]
pub(crate) struct WeakStopFlag(std::sync::Weak<AtomicBool>);

#[cfg(feature = "cache")]
impl WeakStopFlag {
    pub(crate) fn new(flag: &StopFlag) -> Self {
        Self(Arc::downgrade(&flag.0))
    }

    pub(crate) fn is_there(&self) -> bool {
        self.0.strong_count() > 0
    }

    pub(crate) fn upgrade(&self) -> Option<StopFlag> {
        self.0.upgrade().map(StopFlag)
    }
}

/// Whether a lease was stopped; with a flag for others, made when the first of them asks.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    is_set: AtomicBool,
    shared: Mutex<Option<StopFlag>>,
}

impl Stop {
    pub(crate) fn set(&self) {
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_set.store(true, Ordering::SeqCst);
        if let Some(flag) = &*shared {
            flag.set();
        }
    }

    pub(crate) fn is_set(&self) -> bool {
        self.is_set.load(Ordering::Relaxed)
    }

    pub(crate) fn check(&self) -> Result<()> {
        check_stop(&self.is_set)
    }

    /// A flag that is set when this is.
    pub(crate) fn flag(&self) -> StopFlag {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let flag = shared.get_or_insert_default();
        if self.is_set() {
            flag.set();
        }
        flag.clone()
    }
}

fn check_stop(is_set: &AtomicBool) -> Result<()> {
    if is_set.load(Ordering::Relaxed) {
        Err(Error::new(ErrorKind::KeyRevoked))
    } else {
        Ok(())
    }
}

/// The nonce of chunk `index` of a message of several chunks.
fn chunk_nonce(index: u64, last: bool) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[3..11].copy_from_slice(&index.to_be_bytes());
    nonce[11] = u8::from(last);
    nonce
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_is_set_with_what_it_came_from_whichever_was_first() {
        let stop = Stop::default();
        let before = stop.flag();
        assert!(before.check().is_ok() && stop.check().is_ok());
        stop.set();
        for checked in [before.check(), stop.flag().check(), stop.check()] {
            assert_eq!(checked.unwrap_err().kind(), ErrorKind::KeyRevoked);
        }
        let stopped = Stop::default();
        stopped.set();
        assert!(stopped.flag().check().is_err());
    }

    #[test]
    fn a_chunk_nonce_is_index_and_end() {
        assert_eq!(chunk_nonce(0x0102, false), [0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0]);
        assert_eq!(
            chunk_nonce(u64::MAX, true),
            [0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255, 1]
        );
    }
}
