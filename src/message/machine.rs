//! One message, chunk by chunk and without input or output. Every stream and every reader of parts is built on it.
//!
//! The machine counts chunks, holds them to the limits, asks the lease before each step, and knows key and nonce of each
//! chunk. Whoever moves the bytes (a reader, a writer, a task, a thread of a pool) only brings them.

use std::sync::Arc;

use super::chunk::Run;
use super::session::Session;
use super::whole::Message;
use crate::envelope::ChunkSize;
use crate::message::StopFlag;
use crate::value::aad::Aad;
use crate::value::aead::{AeadKey, TAG};
use crate::value::entropy;
use crate::value::error::{Error, Result};
use crate::value::limits;

/// What the chunks of one message are sealed and opened with.
pub(crate) struct MessageKeys {
    session: Arc<Session>,
    message_key: AeadKey,
    nonce: [u8; 12],
    aad: Vec<u8>,
}

impl MessageKeys {
    pub(super) fn new(session: Arc<Session>, nonce: [u8; 12], aad: Aad<'_>) -> Result<Self> {
        Ok(Self {
            message_key: session.message_key(&nonce)?,
            session,
            nonce,
            aad: aad.as_bytes().to_vec(),
        })
    }

    fn message(&self) -> Message<'_> {
        Message::new(&self.session, &self.nonce, Aad::new(&self.aad))
    }

    pub(super) fn chunk_size(&self) -> ChunkSize {
        self.session.chunk_size()
    }

    pub(super) fn seal(&self, run: Run, plaintext: &[u8], out: &mut [u8]) -> Result<()> {
        if run.is_single() {
            return self.message().one().seal(plaintext, out);
        }
        self.message().many(&self.message_key).seal(run, plaintext, out)
    }

    pub(super) fn seal_in_place(&self, run: Run, chunks: &mut [u8]) -> Result<()> {
        if run.is_single() {
            return self.message().one().seal_in_place(chunks);
        }
        self.message().many(&self.message_key).seal_in_place(run, chunks)
    }

    /// After an error the content of `out` is unspecified.
    pub(super) fn open(&self, run: Run, chunks: &[u8], out: &mut [u8]) -> Result<()> {
        if run.is_single() {
            return self.message().one().open(chunks, out);
        }
        self.message().many(&self.message_key).open(run, chunks, out)
    }

    /// Opens chunks where they lie, and returns how many opened before one did not. The content of that one is
    /// unspecified.
    pub(super) fn open_in_place(&self, run: Run, chunks: &mut [u8]) -> (usize, Result<()>) {
        if run.is_single() {
            let opened = self.message().one().open_in_place(chunks);
            return (usize::from(opened.is_ok()), opened);
        }
        self.message().many(&self.message_key).open_in_place(run, chunks)
    }
}

/// The chunks of one message, one step after another.
pub(crate) struct ChunkMachine {
    keys: Arc<MessageKeys>,
    stop: StopFlag,
    /// The generation of the process that seals; `None` for opening.
    sealed_by: Option<u64>,
    /// The number of chunks before the next.
    index: u64,
}

impl ChunkMachine {
    pub(super) fn opening(keys: Arc<MessageKeys>, stop: StopFlag) -> Self {
        Self {
            keys,
            stop,
            sealed_by: None,
            index: 0,
        }
    }

    pub(super) fn sealing(keys: Arc<MessageKeys>, stop: StopFlag, generation: u64) -> Self {
        Self {
            sealed_by: Some(generation),
            ..Self::opening(keys, stop)
        }
    }

    pub(super) fn keys(&self) -> &Arc<MessageKeys> {
        &self.keys
    }

    /// Plaintext bytes of a full chunk.
    pub(crate) fn chunk_size(&self) -> usize {
        self.keys.chunk_size().bytes()
    }

    /// Bytes of a full chunk with its tag.
    pub(super) fn whole(&self) -> usize {
        self.chunk_size() + TAG
    }

    /// The number of chunks before the next.
    pub(super) fn index(&self) -> u64 {
        self.index
    }

    /// Refuses to go on under a lease that is over, or to seal in a process that was forked meanwhile. The parent may go
    /// on with this message, under the same key and nonces and with other bytes.
    pub(super) fn check(&self) -> Result<()> {
        self.stop.check()?;
        match self.sealed_by {
            Some(generation) if generation != entropy::generation() => Err(Error::argument(
                "the process has forked; a stream is finished by the process that began it",
            )),
            _ => Ok(()),
        }
    }

    /// Steps over the next chunks, of `sealed` bytes with their tags, and never over the same chunk twice. All of them
    /// are full, except the message's final chunk.
    pub(super) fn advance(&mut self, sealed: usize, is_last: bool) -> Result<Run> {
        self.check()?;
        let count = sealed.div_ceil(self.whole()).max(1) as u64;
        let run = self.run(self.index, count, sealed, is_last)?;
        self.index += count;
        Ok(run)
    }

    /// Returns chunk number `index`, of `sealed` bytes with its tag, in any order.
    pub(super) fn at(&self, index: u64, sealed: usize, is_last: bool) -> Result<Run> {
        self.check()?;
        self.run(index, 1, sealed, is_last)
    }

    fn run(&self, first: u64, count: u64, sealed: usize, is_last: bool) -> Result<Run> {
        let end = first.saturating_add(count);
        if end > limits::CHUNKS.max {
            return Err(limits::CHUNKS.error());
        }
        let before = usize::try_from(count - 1).map_or(usize::MAX, |full| full.saturating_mul(self.whole()));
        self.check_last(end - 1, sealed.saturating_sub(before))?;
        let plaintext = first
            .saturating_mul(self.chunk_size() as u64)
            .saturating_add(sealed as u64)
            .saturating_sub(count.saturating_mul(TAG as u64));
        if plaintext > limits::MESSAGE.max {
            return Err(limits::MESSAGE.error());
        }
        Ok(Run::of(first, count, is_last))
    }

    /// Refuses fewer bytes than a tag, and an empty chunk that is not the only one. The offset counts from the first chunk.
    pub(super) fn check_last(&self, index: u64, sealed: usize) -> Result<()> {
        if sealed < TAG || (sealed == TAG && index > 0) {
            let at = index.saturating_mul(self.whole() as u64);
            return Err(Error::malformed(
                "chunks",
                usize::try_from(at).unwrap_or(usize::MAX),
            ));
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn pretend_to_have_forked(&mut self) {
        self.sealed_by = self.sealed_by.map(|generation| generation.wrapping_sub(1));
    }
}

/// A message that is sealed chunk by chunk: counted, with a nonce of its own.
pub(crate) struct SealStart {
    pub(super) machine: ChunkMachine,
    /// Everything before the chunks.
    pub(super) header: Vec<u8>,
}
