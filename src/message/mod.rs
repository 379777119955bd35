//! Sealing and opening payloads under a DEK. Synchronous; no key manager, no wraps.

mod chunk;
mod header;
mod keys;
mod layout;
mod machine;
mod nonces;
mod opened;
pub(crate) mod parallel;
mod range;
mod sealing;
mod session;
mod stream;
mod whole;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

pub(crate) use header::{InContext, Verified};
pub use layout::Layout;
pub(crate) use machine::{ChunkMachine, SealStart};
pub(crate) use nonces::Nonces;
pub use opened::OpenedInPlace;
pub use parallel::{Parallel, Pool};
pub use range::{RangePlan, RangeReader};
pub(crate) use sealing::Sealing;
pub(crate) use session::{Front, Held, Session};
#[cfg(any(feature = "futures-io", feature = "tokio"))]
pub use stream::{AsyncOpenReader, AsyncSealWriter};
pub use stream::{OpenReader, SealWriter};
pub(crate) use whole::Message;

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
}
