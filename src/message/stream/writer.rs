//! Sealing a stream.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use super::ahead::{Ahead, Buffer, Unit, Work};
use crate::message::chunks::{Chunks, Run, seal_chunk};
use crate::message::parallel::Parallel;
use crate::message::{Session, StopFlag};
use crate::value::aead::{AeadKey, TAG};
use crate::value::error::{Error, ErrorKind, Operation, Result};
use crate::value::limits;

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
/// Holds one chunk in memory; on several threads ([`Parallel`]) as much as that says, and the other writer gets
/// the chunks in order, from the calling thread alone. [`finish`](SealWriter::finish) must be called: it seals the final chunk, and
/// without it what was written is a truncated envelope that does not open.
///
/// A write that fails ends the stream: every later write fails too, and what was written is of no use. That
/// holds for `WouldBlock` as well, so the other writer has to block. `flush` writes what is on
/// other threads, flushes the other writer, and keeps the chunk that is not full, since a chunk is sealed once.
///
/// Errors come as [`io::Error`] around an [`Error`]; `io::Error::downcast` gets it back. Revocation of the DEK's
/// lease reaches the stream at the next chunk (on several threads: the next 256 KiB or so); expiry does not, so a stream that was begun may be finished. A
/// child that was forked meanwhile is refused: the stream is finished by the process that began it.
///
/// ```
/// # use std::io::Write;
/// # use waxseal::{EncryptionContext, Kek, blocking::Sealer, backend::local::LocalKey};
/// # let sealer = Sealer::new(LocalKey::new(&Kek::generate()?));
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
/// # use waxseal::{EncryptionContext, Kek, blocking::Sealer, backend::local::LocalKey};
/// # let sealer = Sealer::new(LocalKey::new(&Kek::generate()?));
/// # let context = EncryptionContext::new([("tenant", "acme")])?;
/// sealer.writer(Vec::new(), &context)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a stream that is not finished does not open"]
pub struct SealWriter<W: Write> {
    /// There until the stream is finished.
    inner: Option<W>,
    session: Arc<Session>,
    stop: StopFlag,
    /// What stands before the chunks, until it is written.
    header: Vec<u8>,
    ahead: Ahead<Keys>,
    /// The unit that is being filled: the plaintext of its chunks, with room for a tag behind each but the last.
    buffer: Buffer,
    /// Chunks of the units before it.
    index: u64,
    failed: bool,
}

/// What the chunks of the stream are sealed with.
struct Keys {
    session: Arc<Session>,
    message_key: AeadKey,
    nonce: [u8; 12],
    aad: Vec<u8>,
    chunk_size: usize,
}

impl Keys {
    fn chunks(&self) -> Chunks<'_> {
        Chunks {
            key: &self.message_key,
            aad: &self.aad,
            size: self.chunk_size,
        }
    }
}

impl Work for Keys {
    fn work(&self, unit: &mut Unit) {
        let sealed = if unit.is_single(self.chunk_size + TAG) {
            let key = &self.session.keys().aead;
            seal_chunk(key, &self.nonce, &self.aad, unit.chunks())
        } else {
            let run = Run::of(unit.first, unit.is_last, unit.len, self.chunk_size);
            self.chunks().seal_in_place(run, unit.chunks())
        };
        unit.error = sealed.err();
    }
}

impl<W: Write> SealWriter<W> {
    pub(crate) fn new(inner: W, start: SealStart, parallel: Option<&Parallel>) -> Self {
        let SealStart {
            session,
            message_key,
            stop,
            nonce,
            aad,
            header,
        } = start;
        let chunk_size = session.sealing().chunk_size.bytes();
        let keys = Keys {
            session: Arc::clone(&session),
            message_key,
            nonce,
            aad,
            chunk_size,
        };
        Self {
            inner: Some(inner),
            session,
            stop,
            header,
            ahead: Ahead::new(keys, parallel, chunk_size),
            buffer: Buffer::default(),
            index: 0,
            failed: false,
        }
    }

    /// Seals the final chunk and gives the other writer back, flushed.
    ///
    /// # Errors
    /// `Io` where the other writer fails, or failed before; `KeyRevoked` where the DEK's lease was revoked
    /// meanwhile; `OverLimit` beyond 2^46 bytes or 2^32 chunks; `InvalidArgument` in a process that was forked
    /// after the stream was begun; `Unavailable` where a thread of a pool panicked.
    pub fn finish(mut self) -> Result<W> {
        self.attempt(|writer| {
            writer.seal_unit(true)?;
            while writer.write_oldest(true)? {}
            Ok(())
        })?;
        let mut inner = self.inner.take().ok_or_else(finished)?;
        inner.flush().map_err(Error::io)?;
        Ok(inner)
    }

    fn chunk_size(&self) -> usize {
        self.session.sealing().chunk_size.bytes()
    }

    /// Does something that ends the stream where it fails or panics.
    fn attempt<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let result = if self.failed {
            Err(Error::new(ErrorKind::Io).with_detail("an earlier write to this stream failed"))
        } else {
            // Until it has gone well: a chunk that was half written is not written again.
            self.failed = true;
            work(self)
        };
        let value = result.map_err(|error| error.with_operation(Operation::Seal))?;
        self.failed = false;
        Ok(value)
    }

    /// Refuses to seal `chunks` more, of `len` bytes.
    fn check(&self, chunks: usize, len: usize) -> Result<()> {
        self.stop.check()?;
        if self.session.has_forked() {
            // Its other half may go on with this message: the same key and nonces, and other bytes.
            return Err(Error::argument(
                "the process has forked; a stream is finished by the process that began it",
            ));
        }
        if self.index.saturating_add(chunks as u64) > limits::CHUNKS.max {
            return Err(limits::CHUNKS.error());
        }
        let before = self.index.saturating_mul(self.chunk_size() as u64);
        if before.saturating_add(len as u64) > limits::MESSAGE.max {
            return Err(limits::MESSAGE.error());
        }
        Ok(())
    }

    /// Puts what is buffered under way, and writes what is done.
    fn seal_unit(&mut self, is_last: bool) -> Result<()> {
        let chunks = self.buffer.len().div_ceil(self.chunk_size() + TAG).max(1);
        self.check(chunks, self.buffer.len() - (chunks - 1) * TAG)?;
        self.extend_by_tag();
        while self.ahead.is_full() {
            self.write_oldest(true)?;
        }
        let next = self.ahead.buffer();
        let bytes = std::mem::replace(&mut self.buffer, next);
        self.buffer.clear();
        let unit = Unit {
            len: bytes.len(),
            bytes,
            first: self.index,
            is_last,
            ..Unit::default()
        };
        self.index += chunks as u64;
        self.ahead.push(unit)?;
        while self.write_oldest(false)? {}
        Ok(())
    }

    fn extend_by_tag(&mut self) {
        let len = self.buffer.len() + TAG;
        self.buffer.resize(len, 0);
    }

    /// Writes the oldest unit under way, if it is done or this is to wait for it. Whether there was one.
    fn write_oldest(&mut self, wait: bool) -> Result<bool> {
        let Some(mut unit) = self.ahead.next(wait)? else {
            return Ok(false);
        };
        if let Some(error) = unit.error.take() {
            return Err(error);
        }
        self.stop.check()?;
        self.write_sealed(unit.chunks())?;
        self.ahead.recycle(unit.bytes);
        Ok(true)
    }

    fn write_sealed(&mut self, sealed: &[u8]) -> Result<()> {
        let inner = self.inner.as_mut().ok_or_else(finished)?;
        if !self.header.is_empty() {
            inner.write_all(&self.header).map_err(Error::io)?;
            self.header = Vec::new();
        }
        inner.write_all(sealed).map_err(Error::io)
    }

    /// Seals a chunk that is not the final one from where it lies, which saves copying it.
    fn seal_from(&mut self, chunk: &[u8]) -> Result<()> {
        self.check(1, chunk.len())?;
        let mut sealed = self.ahead.buffer();
        sealed.resize(chunk.len() + TAG, 0);
        let run = Run::of(self.index, false, sealed.len(), chunk.len());
        self.ahead.work().chunks().seal(run, chunk, &mut sealed)?;
        self.write_sealed(&sealed)?;
        self.ahead.recycle(sealed);
        self.index += 1;
        Ok(())
    }
}

impl<W: Write> Write for SealWriter<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if data.is_empty() {
            return Ok(0);
        }
        let size = self.chunk_size();
        let taken = self.attempt(|writer| {
            // A full chunk is sealed only when more follows it: the final chunk is sealed as such.
            if writer.buffer.len() % (size + TAG) == size {
                if writer.buffer.len() + TAG == writer.ahead.chunks() * (size + TAG) {
                    writer.seal_unit(false)?;
                } else {
                    writer.extend_by_tag();
                }
            }
            if let Some((chunk, [_, ..])) = data.split_at_checked(size)
                && writer.buffer.is_empty()
                && writer.ahead.is_serial()
            {
                writer.seal_from(chunk)?;
                return Ok(size);
            }
            let room = size - writer.buffer.len() % (size + TAG);
            let taken = data.get(..room).unwrap_or(data);
            if writer.buffer.capacity() == 0 {
                // All of it at once: growing would leave plaintext behind in what is given back.
                writer.buffer.reserve_exact(writer.ahead.chunks() * (size + TAG));
            }
            writer.buffer.extend_from_slice(taken);
            Ok(taken.len())
        })?;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.attempt(|writer| {
            while writer.write_oldest(true)? {}
            Ok(())
        })?;
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
    use crate::message::Sealing;
    use crate::value::context::EncryptionContext;
    use crate::value::secret::Dek;

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
            let mut writer = SealWriter::new(&mut sealed, start, None);
            writer.write_all(&vec![7; len]).unwrap();
            let before = writer.index;
            let mut forked = Session::start(&dek, Sealing::default(), &EncryptionContext::empty()).unwrap();
            forked.pretend_to_have_forked();
            writer.session = Arc::new(forked);
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
