//! Sealing and opening payloads under a DEK. Synchronous; no key manager, no wraps.

mod chunks;
mod keys;
mod open;
mod range;
mod session;
mod stream;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) use keys::SessionKeys;
pub(crate) use open::Message;
pub use open::OpenedInPlace;
pub use range::{RangePlan, RangeReader};
pub use session::Layout;
pub(crate) use session::{Nonces, Sealing, Session};
#[cfg(any(feature = "futures-io", feature = "tokio"))]
pub use stream::{AsyncOpenReader, AsyncSealWriter};
pub(crate) use stream::{ChunkOpener, OpenKeys, SealStart};
pub use stream::{OpenReader, SealWriter};

use crate::error::{Error, ErrorKind, Result};

/// A flag that a lease shares with what works under it: once set, nothing more is sealed or opened.
#[derive(Clone, Debug, Default)]
pub(crate) struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn check(&self) -> Result<()> {
        if self.is_set() {
            Err(Error::new(ErrorKind::KeyRevoked))
        } else {
            Ok(())
        }
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
    fn a_chunk_nonce_is_index_and_end() {
        assert_eq!(chunk_nonce(0x0102, false), [0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0]);
        assert_eq!(
            chunk_nonce(u64::MAX, true),
            [0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255, 1]
        );
    }
}
