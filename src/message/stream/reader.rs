//! Opening a stream.

use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;

use zeroize::Zeroize;

use crate::aead::{AeadKey, TAG};
use crate::envelope::read_full;
use crate::error::{Error, Operation, Result};
use crate::limits;
use crate::message::{SessionKeys, StopFlag, chunk_nonce};

/// Opens the chunks of an envelope that it reads from another reader, whose header was read already.
///
/// Holds one chunk in memory. It releases a chunk only after the whole chunk was verified, and says that the
/// stream has ended only after the final chunk was: a stream that is cut off anywhere ends in an error, never
/// in an end of file. What was read before the error was authentic, in order, and is not all there is.
///
/// It reads the other reader to its end, since an envelope ends where its bytes do: bytes after the final chunk
/// are an error. Where an envelope lies inside something longer, limit the other reader with [`Read::take`].
///
/// Errors come as [`io::Error`] around an [`Error`]; [`io::Error::downcast`] gets it back. Their kinds are
/// `CannotOpen` and `Malformed` for bytes that were altered or cut off, `KeyRevoked` at the next chunk after the
/// DEK's lease was revoked, `OverLimit`, and `Io` where the other reader fails (`WouldBlock` included, so it has
/// to block). After an error every read fails with the same kind.
pub struct OpenReader<R: Read> {
    inner: R,
    keys: Arc<SessionKeys>,
    message_key: AeadKey,
    stop: StopFlag,
    nonce: [u8; 12],
    aad: Vec<u8>,
    chunk_size: usize,
    /// One sealed chunk, and the first byte after it, which tells whether the chunk is the final one.
    buffer: Vec<u8>,
    /// Sealed bytes in the buffer that are not yet opened.
    sealed: usize,
    /// Plaintext in the buffer that is not yet handed out.
    ready: std::ops::Range<usize>,
    index: u64,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Reading,
    Done,
    Failed(crate::ErrorKind),
}

impl<R: Read> OpenReader<R> {
    #[allow(clippy::too_many_arguments, reason = "one caller, in the lease")]
    pub(crate) fn new(
        inner: R,
        keys: Arc<SessionKeys>,
        message_key: AeadKey,
        stop: StopFlag,
        nonce: [u8; 12],
        aad: Vec<u8>,
        chunk_size: usize,
    ) -> Self {
        Self {
            inner,
            keys,
            message_key,
            stop,
            nonce,
            aad,
            chunk_size,
            buffer: Vec::new(),
            sealed: 0,
            ready: 0..0,
            index: 0,
            state: State::Reading,
        }
    }

    /// Reads and opens the next chunk.
    fn next_chunk(&mut self) -> Result<()> {
        self.stop.check()?;
        let whole = self.chunk_size + TAG;
        if self.buffer.is_empty() {
            // Not before the commitment was verified, which covers the chunk size.
            self.buffer.resize(whole + 1, 0);
        } else {
            // The byte that was read ahead begins this chunk.
            self.buffer.copy_within(whole..whole + 1, 0);
            self.sealed = 1;
        }
        let room = self.buffer.get_mut(self.sealed..).unwrap_or_default();
        self.sealed += read_full(&mut self.inner, room)?;
        let last = self.sealed <= whole;
        let len = self.sealed.min(whole);
        if self.index >= limits::CHUNKS.max {
            return Err(limits::CHUNKS.error());
        }
        if (self.index + 1).saturating_mul(self.chunk_size as u64) > limits::MESSAGE.max {
            return Err(limits::MESSAGE.error());
        }
        let chunk = self.buffer.get_mut(..len).unwrap_or_default();
        let chunk = chunk.split_last_chunk_mut::<TAG>();
        let Some((body, tag)) = chunk.filter(|(body, _)| self.index == 0 || !body.is_empty()) else {
            // Fewer bytes than a tag, or an empty final chunk after a full one. Where it lies among the
            // chunks is what the offset says here.
            let at = self.index.saturating_mul(whole as u64);
            return Err(Error::malformed(
                "chunks",
                usize::try_from(at).unwrap_or(usize::MAX),
            ));
        };
        if last && self.index == 0 {
            self.keys.aead.open_in_place(&self.nonce, &self.aad, body, tag)?;
        } else {
            self.message_key
                .open_in_place(&chunk_nonce(self.index, last), &self.aad, body, tag)?;
        }
        self.ready = 0..body.len();
        self.index += 1;
        if last {
            self.state = State::Done;
        }
        Ok(())
    }
}

impl<R: Read> Read for OpenReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        while self.ready.is_empty() {
            match self.state {
                State::Done => return Ok(0),
                State::Failed(kind) => return Err(Error::new(kind).with_operation(Operation::Open).into()),
                State::Reading => self.next_chunk().map_err(|error| {
                    self.state = State::Failed(error.kind());
                    self.buffer.as_mut_slice().zeroize();
                    error.with_operation(Operation::Open)
                })?,
            }
        }
        let ready = self.buffer.get_mut(self.ready.clone()).unwrap_or_default();
        let len = ready.len().min(out.len());
        out[..len].copy_from_slice(&ready[..len]);
        self.ready.start += len;
        Ok(len)
    }
}

impl<R: Read> Drop for OpenReader<R> {
    fn drop(&mut self) {
        self.buffer.as_mut_slice().zeroize();
    }
}

impl<R: Read> fmt::Debug for OpenReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenReader")
            .field("chunks", &self.index)
            .finish_non_exhaustive()
    }
}
