//! Sealing a stream.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use super::ahead::{Ahead, Buffer, Unit, Work};
use crate::message::machine::{ChunkMachine, MessageKeys, SealStart};
use crate::message::parallel::Parallel;
use crate::value::aead::TAG;
use crate::value::error::{Error, ErrorKind, Operation, Result};

/// Seals what is written to it, and writes the envelope to another writer.
///
/// A writer holds one chunk in memory, or on several threads ([`Parallel`]) as many as that says. The other writer gets
/// the chunks in order, and only from the calling thread. Call [`finish`](SealWriter::finish) at the end: it seals the
/// final chunk. Without it, what was written is a truncated envelope that does not open.
///
/// A write that fails ends the stream: every later write fails too, and what was written is of no use. This holds for
/// `WouldBlock` as well, so the other writer must block. `flush` writes what is on other threads, flushes the other
/// writer, and keeps the chunk that is not full, because a chunk is sealed once.
///
/// Errors come as [`io::Error`] around an [`Error`]; [`io::Error::downcast`] returns it. A revocation of the DEK's lease
/// reaches the stream at the next chunk (on several threads: after the next 256 KiB or so). Expiry does not, so a stream
/// that was begun may be finished. A process that was forked meanwhile is refused: the process that began the stream
/// finishes it.
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
/// The compiler warns of a writer that is made and not used:
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
    machine: ChunkMachine,
    /// What stands before the chunks, until it is written.
    header: Vec<u8>,
    ahead: Ahead<Seals>,
    /// The unit that is being filled: the plaintext of its chunks, with room for a tag behind each but the last.
    buffer: Buffer,
    failed: bool,
}

/// What is done to each unit of the stream.
struct Seals(Arc<MessageKeys>);

impl Work for Seals {
    fn work(&self, unit: &mut Unit) {
        let run = unit.run;
        unit.error = self.0.seal_in_place(run, unit.chunks()).err();
    }
}

impl<W: Write> SealWriter<W> {
    pub(crate) fn new(inner: W, start: SealStart, parallel: Option<&Parallel>) -> Self {
        let SealStart { machine, header } = start;
        let seals = Seals(Arc::clone(machine.keys()));
        Self {
            inner: Some(inner),
            header,
            ahead: Ahead::new(seals, parallel, machine.chunk_size()),
            machine,
            buffer: Buffer::default(),
            failed: false,
        }
    }

    /// Seals the final chunk and returns the other writer, flushed.
    ///
    /// # Errors
    /// - `Io` if the other writer fails, or failed before
    /// - `KeyRevoked` if the DEK's lease was revoked meanwhile
    /// - `OverLimit` beyond 2^46 bytes or 2^32 chunks
    /// - `InvalidArgument` in a process that was forked after the stream was begun
    /// - `Unavailable` if a thread of a pool panicked
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

    /// Does work that ends the stream if it fails or panics.
    fn attempt<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let result = if self.failed {
            Err(Error::new(ErrorKind::Io).with_detail("an earlier write to this stream failed"))
        } else {
            // Until the work has succeeded: a chunk that was half written is not written again.
            self.failed = true;
            work(self)
        };
        let value = result.map_err(|error| error.with_operation(Operation::Seal))?;
        self.failed = false;
        Ok(value)
    }

    /// Puts what is buffered under way, and writes what is done.
    fn seal_unit(&mut self, is_last: bool) -> Result<()> {
        let run = self.machine.advance(self.buffer.len() + TAG, is_last)?;
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
            run,
            ..Unit::default()
        };
        self.ahead.push(unit)?;
        while self.write_oldest(false)? {}
        Ok(())
    }

    fn extend_by_tag(&mut self) {
        let len = self.buffer.len() + TAG;
        self.buffer.resize(len, 0);
    }

    /// Writes the oldest unit under way, if it is done or `wait` is set. Returns whether there was one.
    fn write_oldest(&mut self, wait: bool) -> Result<bool> {
        let Some(mut unit) = self.ahead.next(wait)? else {
            return Ok(false);
        };
        if let Some(error) = unit.error.take() {
            return Err(error);
        }
        self.machine.check()?;
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
        let run = self.machine.advance(chunk.len() + TAG, false)?;
        let mut sealed = self.ahead.buffer();
        sealed.resize(chunk.len() + TAG, 0);
        self.machine.keys().seal(run, chunk, &mut sealed)?;
        self.write_sealed(&sealed)?;
        self.ahead.recycle(sealed);
        Ok(())
    }
}

impl<W: Write> Write for SealWriter<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if data.is_empty() {
            return Ok(0);
        }
        let size = self.machine.chunk_size();
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
                // All of it at once: growing would leave plaintext behind in the old memory.
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
            .field("chunks", &self.machine.index())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Sealing, Session, StopFlag};
    use crate::value::aad::Aad;
    use crate::value::context::EncryptionContext;
    use crate::value::secret::Dek;

    /// Parent and child would seal different bytes under one key and the same nonces.
    #[test]
    fn a_stream_that_came_through_a_fork_seals_nothing_more() {
        for len in [5, 200_000] {
            let dek = Dek::generate().unwrap();
            let session =
                Arc::new(Session::start(&dek, Sealing::default(), &EncryptionContext::empty()).unwrap());
            let start = session
                .begin_stream(&[1], Aad::none(), StopFlag::default())
                .unwrap();
            let header = start.header.len();
            let mut sealed = Vec::new();
            let mut writer = SealWriter::new(&mut sealed, start, None);
            writer.write_all(&vec![7; len]).unwrap();
            let before = writer.machine.index();
            writer.machine.pretend_to_have_forked();
            let more = writer.write_all(&[8; 65_537]);
            assert_eq!(
                Error::io(more.unwrap_err()).kind(),
                ErrorKind::InvalidArgument,
                "{len}"
            );
            assert_eq!(writer.machine.index(), before);
            assert!(writer.finish().is_err());
            let chunks = usize::try_from(before).unwrap();
            let expected = if chunks == 0 {
                0
            } else {
                header + chunks * (65_536 + TAG)
            };
            assert_eq!(sealed.len(), expected);
        }
    }
}
