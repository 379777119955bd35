//! Opening an asynchronous stream.

use std::fmt;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use zeroize::Zeroize;

use super::too_many;
use crate::envelope::read_async::PollRead;
use crate::message::ChunkMachine;
use crate::value::aead::TAG;
use crate::value::error::{Error, ErrorKind, Operation, Result};

/// Opens the chunks of an envelope that it reads from another asynchronous reader, whose header was already read. It is
/// [`OpenReader`](crate::message::OpenReader) for asynchronous code: over an `AsyncRead` of `futures-io` (feature
/// `futures-io`) it is one too, and so it is over an `AsyncRead` of tokio (feature `tokio`). It needs no runtime.
///
/// It releases a chunk only after the whole chunk was verified, and reports the end of the stream only after the final
/// chunk was verified: a stream that is cut off anywhere ends in an error, never in an end of file. What was read before
/// the error was authentic, in order, and is not all of the payload. It reads the other reader to its end, because an
/// envelope ends where its bytes do.
///
/// It holds one chunk in memory. It opens a chunk inside the poll, which takes some tens of microseconds for the default
/// chunk of 64 KiB, and milliseconds for a chunk of 16 MiB.
///
/// Errors come as [`io::Error`] around an [`Error`](crate::Error), with the kinds of
/// [`OpenReader`](crate::message::OpenReader); among them is `KeyRevoked`, at the next chunk after the DEK's lease was
/// revoked. After an error every read fails with the same kind.
///
/// The other reader must be `Unpin`. Put a reader that is not into a `Box::pin`.
///
/// # Cancel safety
/// Dropping the future of a read loses nothing: what was read of a chunk is kept for the next read.
pub struct AsyncOpenReader<R> {
    inner: R,
    machine: ChunkMachine,
    /// One sealed chunk, and the first byte after it, which tells whether the chunk is the final one.
    buffer: Vec<u8>,
    /// Sealed bytes in the buffer, while a chunk is being read.
    sealed: Option<usize>,
    /// Plaintext in the buffer that is not yet handed out.
    ready: Range<usize>,
    state: State,
    /// Why it has failed.
    failure: Option<Error>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Reading,
    Done,
    Failed,
}

impl<R> AsyncOpenReader<R> {
    pub(crate) fn new(inner: R, machine: ChunkMachine) -> Self {
        Self {
            inner,
            machine,
            buffer: Vec::new(),
            sealed: None,
            ready: 0..0,
            state: State::Reading,
            failure: None,
        }
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>, read: PollRead<R>) -> Poll<Result<()>>
    where
        R: Unpin,
    {
        self.machine.check()?;
        let whole = self.machine.whole();
        let mut sealed = match self.sealed {
            Some(sealed) => sealed,
            None if self.buffer.is_empty() => {
                // Not before the commitment was verified, because it covers the chunk size.
                self.buffer.resize(whole + 1, 0);
                0
            }
            None => {
                // The byte that was read ahead begins this chunk.
                self.buffer.copy_within(whole..=whole, 0);
                1
            }
        };
        self.sealed = Some(sealed);
        while sealed <= whole {
            let room = self.buffer.get_mut(sealed..).unwrap_or_default();
            let len = room.len();
            match ready!(read(Pin::new(&mut self.inner), cx, room)).map_err(Error::io)? {
                0 => break,
                n if n > len => return Poll::Ready(Err(too_many())),
                n => sealed += n,
            }
            self.sealed = Some(sealed);
        }
        let last = sealed <= whole;
        let chunk = self.buffer.get_mut(..sealed.min(whole)).unwrap_or_default();
        let run = self.machine.advance(chunk.len(), last)?;
        self.machine.keys().open_in_place(run, chunk).1?;
        self.ready = 0..chunk.len() - TAG;
        self.sealed = None;
        if last {
            self.state = State::Done;
        }
        Poll::Ready(Ok(()))
    }

    /// The rest of the chunk that was opened last, or the next. None at the end.
    pub(super) fn poll_ready_with(
        &mut self,
        cx: &mut Context<'_>,
        read: PollRead<R>,
    ) -> Poll<io::Result<&[u8]>>
    where
        R: Unpin,
    {
        while self.ready.is_empty() {
            match self.state {
                State::Done => break,
                State::Failed => {
                    let failure = self.failure.as_ref().map(Error::copy);
                    // If the other reader panicked, nobody knows where it was.
                    let failure = failure.unwrap_or_else(|| Error::new(ErrorKind::Io));
                    return Poll::Ready(Err(failure.with_operation(Operation::Open).into()));
                }
                State::Reading => self.state = State::Failed,
            }
            let polled = self.poll_chunk(cx, read);
            if self.state == State::Failed && !matches!(polled, Poll::Ready(Err(_))) {
                self.state = State::Reading;
            }
            if let Err(error) = ready!(polled) {
                let error = error.with_operation(Operation::Open);
                self.failure = Some(error.copy());
                self.buffer.as_mut_slice().zeroize();
                return Poll::Ready(Err(error.into()));
            }
        }
        Poll::Ready(Ok(self.buffer.get(self.ready.clone()).unwrap_or_default()))
    }

    /// Does not return again the first `amount` bytes of what is ready.
    pub(super) fn consume_ready(&mut self, amount: usize) {
        self.ready.start += self.ready.len().min(amount);
    }
}

impl<R> Drop for AsyncOpenReader<R> {
    fn drop(&mut self) {
        self.buffer.as_mut_slice().zeroize();
    }
}

impl<R> fmt::Debug for AsyncOpenReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncOpenReader")
            .field("chunks", &self.machine.index())
            .finish_non_exhaustive()
    }
}
