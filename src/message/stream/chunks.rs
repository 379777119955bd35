//! One chunk after another: the half of a stream that does no input or output.

use std::sync::Arc;

use crate::envelope::ChunkSize;
#[cfg(any(feature = "futures-io", feature = "tokio"))]
use crate::message::SealStart;
use crate::message::{SessionKeys, StopFlag, chunk_nonce};
use crate::value::aead::{AeadKey, TAG};
use crate::value::error::{Error, Result};
use crate::value::limits;

/// Seals the chunks of one message, in order.
#[cfg(any(feature = "futures-io", feature = "tokio"))]
pub(super) struct ChunkSealer {
    start: SealStart,
    /// Chunks sealed.
    index: u64,
}

#[cfg(any(feature = "futures-io", feature = "tokio"))]
impl ChunkSealer {
    pub(super) fn new(start: SealStart) -> Self {
        Self { start, index: 0 }
    }

    pub(super) fn chunk_size(&self) -> ChunkSize {
        self.start.session.sealing().chunk_size
    }

    /// How many chunks were sealed.
    pub(super) fn index(&self) -> u64 {
        self.index
    }

    /// What goes out before the first chunk. Empty when it is asked for again.
    pub(super) fn take_header(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.start.header)
    }

    /// Seals the plaintext in `buffer` as the next chunk, and appends its tag. Never the same chunk twice: after
    /// an error the stream is over.
    pub(super) fn seal(&mut self, buffer: &mut Vec<u8>, last: bool) -> Result<()> {
        let SealStart {
            session,
            message_key,
            stop,
            nonce,
            aad,
            ..
        } = &self.start;
        stop.check()?;
        if session.has_forked() {
            // Its other half may go on with this message: the same key and nonces, and other bytes.
            return Err(Error::argument(
                "the process has forked; a stream is finished by the process that began it",
            ));
        }
        if self.index >= limits::CHUNKS.max {
            return Err(limits::CHUNKS.error());
        }
        let before = self.index.saturating_mul(self.chunk_size().bytes() as u64);
        if before.saturating_add(buffer.len() as u64) > limits::MESSAGE.max {
            return Err(limits::MESSAGE.error());
        }
        let tag = if last && self.index == 0 {
            session.keys().aead.seal_in_place(nonce, aad, buffer)?
        } else {
            message_key.seal_in_place(&chunk_nonce(self.index, last), aad, buffer)?
        };
        buffer.extend_from_slice(&tag);
        self.index += 1;
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn pretend_to_have_forked(&mut self) {
        Arc::get_mut(&mut self.start.session)
            .unwrap()
            .pretend_to_have_forked();
    }
}

/// Opens the chunks of one message, in any order.
pub(crate) struct ChunkOpener {
    keys: Arc<SessionKeys>,
    message_key: AeadKey,
    stop: StopFlag,
    nonce: [u8; 12],
    aad: Vec<u8>,
    chunk_size: ChunkSize,
}

impl ChunkOpener {
    pub(crate) fn new(
        keys: Arc<SessionKeys>,
        message_key: AeadKey,
        stop: StopFlag,
        nonce: [u8; 12],
        aad: Vec<u8>,
        chunk_size: ChunkSize,
    ) -> Self {
        Self {
            keys,
            message_key,
            stop,
            nonce,
            aad,
            chunk_size,
        }
    }

    pub(crate) fn chunk_size(&self) -> ChunkSize {
        self.chunk_size
    }

    /// Refuses to go on once the lease is revoked.
    #[cfg(any(feature = "futures-io", feature = "tokio"))]
    pub(crate) fn check(&self) -> Result<()> {
        self.stop.check()
    }

    /// Opens chunk number `index` where it lies, and gives the length of its plaintext. What is left there after
    /// an error is unspecified.
    pub(crate) fn open(&self, index: u64, last: bool, chunk: &mut [u8]) -> Result<usize> {
        self.stop.check()?;
        if index >= limits::CHUNKS.max {
            return Err(limits::CHUNKS.error());
        }
        let size = self.chunk_size.bytes();
        if (index + 1).saturating_mul(size as u64) > limits::MESSAGE.max {
            return Err(limits::MESSAGE.error());
        }
        let chunk = chunk.split_last_chunk_mut::<TAG>();
        let Some((body, tag)) = chunk.filter(|(body, _)| index == 0 || !body.is_empty()) else {
            // Fewer bytes than a tag, or an empty final chunk after a full one. Where it lies among the
            // chunks is what the offset says here.
            let at = index.saturating_mul((size + TAG) as u64);
            return Err(Error::malformed(
                "chunks",
                usize::try_from(at).unwrap_or(usize::MAX),
            ));
        };
        if last && index == 0 {
            self.keys.aead.open_in_place(&self.nonce, &self.aad, body, tag)?;
        } else {
            self.message_key
                .open_in_place(&chunk_nonce(index, last), &self.aad, body, tag)?;
        }
        Ok(body.len())
    }
}
