//! Sealing a stream.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use zeroize::Zeroize;

use crate::aead::{AeadKey, TAG};
use crate::envelope::ChunkSize;
use crate::error::{Error, ErrorKind, Operation, Result};
use crate::limits;
use crate::message::{Session, StopFlag, chunk_nonce};

/// What a stream begins with: a message of a session, counted and with its own nonce and key.
pub(crate) struct SealStart {
    pub(crate) session: Arc<Session>,
    pub(crate) message_key: AeadKey,
    pub(crate) stop: StopFlag,
    pub(crate) nonce: [u8; 12],
    pub(crate) aad: Vec<u8>,
    /// Everything before the chunks.
    pub(crate) header: Vec<u8>,
}

/// Seals what is written to it, and writes the envelope to another writer.
///
/// Holds one chunk in memory. [`finish`](SealWriter::finish) must be called: it seals the final chunk, and
/// without it what was written is a truncated envelope that does not open.
///
/// A write that fails ends the stream: every later write fails too, and what was written is of no use. That
/// holds for `WouldBlock` as well, so the other writer has to block. `flush` flushes the other writer, and
/// keeps the chunk that is not full, since a chunk is sealed once.
///
/// Errors come as [`io::Error`] around an [`Error`]; `io::Error::downcast` gets it back. Revocation of the DEK's
/// lease reaches the stream at the next chunk; expiry does not, so a stream that was begun may be finished. A
/// child that was forked meanwhile is refused: the stream is finished by the process that began it.
///
/// ```
/// # use std::io::Write;
/// # use waxseal::{EncryptionContext, Kek, blocking::Sealer, local::LocalKeys};
/// # let sealer = Sealer::new(LocalKeys::new(&Kek::generate()?));
/// # let context = EncryptionContext::new([("tenant", "acme")])?;
/// let mut writer = sealer.writer(Vec::new(), &context)?;
/// writer.write_all(b"hello")?;
/// let envelope = writer.finish()?;
/// # assert_eq!(sealer.open(&envelope, &context)?, b"hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// One that is made and not used is warned of:
///
/// ```compile_fail
/// #![deny(unused_must_use)]
/// # use waxseal::{EncryptionContext, Kek, blocking::Sealer, local::LocalKeys};
/// # let sealer = Sealer::new(LocalKeys::new(&Kek::generate()?));
/// # let context = EncryptionContext::new([("tenant", "acme")])?;
/// sealer.writer(Vec::new(), &context)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a stream that is not finished does not open"]
pub struct SealWriter<W: Write> {
    /// There until the stream is finished.
    inner: Option<W>,
    session: Arc<Session>,
    message_key: AeadKey,
    stop: StopFlag,
    nonce: [u8; 12],
    aad: Vec<u8>,
    /// What stands before the chunks, until it is written.
    header: Vec<u8>,
    /// Plaintext of the chunk that is being filled.
    buffer: Vec<u8>,
    /// Full chunks written.
    index: u64,
    failed: bool,
}

impl<W: Write> SealWriter<W> {
    pub(crate) fn new(inner: W, start: SealStart) -> Self {
        let buffer = Vec::with_capacity(start.session.sealing().chunk_size.bytes() + TAG);
        let SealStart {
            session,
            message_key,
            stop,
            nonce,
            aad,
            header,
        } = start;
        let inner = Some(inner);
        Self {
            inner,
            session,
            message_key,
            stop,
            nonce,
            aad,
            header,
            buffer,
            index: 0,
            failed: false,
        }
    }

    /// Seals the final chunk and gives the other writer back, flushed.
    ///
    /// # Errors
    /// `Io` where the other writer fails, or failed before; `KeyRevoked` where the DEK's lease was revoked
    /// meanwhile; `OverLimit` beyond 2^46 bytes or 2^32 chunks; `InvalidArgument` in a process that was forked
    /// after the stream was begun.
    pub fn finish(mut self) -> Result<W> {
        self.seal_buffer(true)
            .map_err(|error| error.with_operation(Operation::Seal))?;
        let mut inner = self.inner.take().ok_or_else(finished)?;
        inner.flush().map_err(Error::io)?;
        Ok(inner)
    }

    fn chunk_size(&self) -> ChunkSize {
        self.session.sealing().chunk_size
    }

    /// Seals and writes what is buffered.
    fn seal_buffer(&mut self, last: bool) -> Result<()> {
        if self.failed {
            return Err(Error::new(ErrorKind::Io).with_detail("an earlier write to this stream failed"));
        }
        // Until it has gone well: a chunk that was half written is not written again.
        self.failed = true;
        self.stop.check()?;
        if self.session.has_forked() {
            // Its other half may go on with this message: the same key and nonces, and other bytes.
            return Err(Error::argument(
                "the process has forked; a stream is finished by the process that began it",
            ));
        }
        if self.index >= limits::CHUNKS.max {
            return Err(limits::CHUNKS.error());
        }
        let before = self.index.saturating_mul(self.chunk_size().bytes() as u64);
        if before.saturating_add(self.buffer.len() as u64) > limits::MESSAGE.max {
            return Err(limits::MESSAGE.error());
        }
        let tag = if last && self.index == 0 {
            self.session
                .keys()
                .aead
                .seal_in_place(&self.nonce, &self.aad, &mut self.buffer)?
        } else {
            let nonce = chunk_nonce(self.index, last);
            self.message_key
                .seal_in_place(&nonce, &self.aad, &mut self.buffer)?
        };
        self.buffer.extend_from_slice(&tag);
        let inner = self.inner.as_mut().ok_or_else(finished)?;
        if !self.header.is_empty() {
            inner.write_all(&self.header).map_err(Error::io)?;
            self.header = Vec::new();
        }
        inner.write_all(&self.buffer).map_err(Error::io)?;
        self.buffer.clear();
        self.index += 1;
        self.failed = false;
        Ok(())
    }
}

impl<W: Write> Write for SealWriter<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if data.is_empty() {
            return Ok(0);
        }
        // A full chunk is sealed only when more follows it: the final chunk is sealed as such.
        if self.buffer.len() == self.chunk_size().bytes() || self.failed {
            self.seal_buffer(false)
                .map_err(|error| error.with_operation(Operation::Seal))?;
        }
        let room = self.chunk_size().bytes() - self.buffer.len();
        let taken = data.get(..room).unwrap_or(data);
        self.buffer.extend_from_slice(taken);
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.as_mut().map_or(Ok(()), Write::flush)
    }
}

fn finished() -> Error {
    Error::argument("the stream is finished")
}

impl<W: Write> Drop for SealWriter<W> {
    fn drop(&mut self) {
        if self.inner.is_some() && !self.failed && !std::thread::panicking() {
            tracing::warn!("a SealWriter was dropped without finish(): what it has written does not open");
        }
        self.buffer.as_mut_slice().zeroize();
    }
}

impl<W: Write> fmt::Debug for SealWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealWriter")
            .field("chunks", &self.index)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::EncryptionContext;
    use crate::message::Sealing;
    use crate::secret::Dek;

    /// Parent and child would seal different bytes under one key and the same nonces.
    #[test]
    fn a_stream_that_came_through_a_fork_seals_nothing_more() {
        for len in [5, 200_000] {
            let dek = Dek::generate().unwrap();
            let session = Session::start(&dek, Sealing::default(), &EncryptionContext::empty()).unwrap();
            let mut nonce = [0; 12];
            session.begin(&mut nonce).unwrap();
            let start = SealStart {
                message_key: session.message_key(&dek, &nonce).unwrap(),
                session: Arc::new(session),
                stop: StopFlag::default(),
                nonce,
                aad: Vec::new(),
                header: vec![1],
            };
            let mut sealed = Vec::new();
            let mut writer = SealWriter::new(&mut sealed, start);
            writer.write_all(&vec![7; len]).unwrap();
            let before = writer.index;
            Arc::get_mut(&mut writer.session)
                .unwrap()
                .pretend_to_have_forked();
            let more = writer.write_all(&[8; 65_537]);
            assert_eq!(
                Error::io(more.unwrap_err()).kind(),
                ErrorKind::InvalidArgument,
                "{len}"
            );
            assert_eq!(writer.index, before);
            assert!(writer.finish().is_err());
            let chunks = usize::try_from(before).unwrap();
            assert_eq!(
                sealed.len(),
                if chunks == 0 {
                    0
                } else {
                    1 + chunks * (65_536 + TAG)
                }
            );
        }
    }
}
