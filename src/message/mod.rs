//! Sealing and opening payloads under a DEK. Synchronous; no key manager, no wraps.

mod chunks;
mod keys;
mod open;
pub(crate) mod parallel;
mod range;
mod session;
mod stop;
mod stream;

pub(crate) use keys::SessionKeys;
pub(crate) use open::Message;
pub use open::OpenedInPlace;
pub use parallel::{Parallel, Pool};
pub use range::{RangePlan, RangeReader};
pub use session::Layout;
pub(crate) use session::{Nonces, Sealing, Session};
pub use stop::Pulse;
pub(crate) use stop::{Stop, StopFlag, WeakStopFlag};
#[cfg(any(feature = "futures-io", feature = "tokio"))]
pub use stream::{AsyncOpenReader, AsyncSealWriter};
pub(crate) use stream::{ChunkOpener, OpenKeys, SealStart};
pub use stream::{OpenReader, SealWriter};

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
