//! Sealing an asynchronous stream.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use zeroize::Zeroize;

use super::{PollDone, PollWrite, too_many};
use crate::message::{ChunkMachine, SealStart};
use crate::value::aead::TAG;
use crate::value::error::{Error, ErrorKind, Operation, Result};

/// Seals what is written to it, and writes the envelope to another asynchronous writer. It writes the same bytes as
/// [`SealWriter`](crate::message::SealWriter). Over an `AsyncWrite` of `futures-io` (feature `futures-io`) it is one too,
/// and so it is over an `AsyncWrite` of tokio (feature `tokio`). It needs no runtime.
///
/// **Closing finishes.** `close` (futures) or `shutdown` (tokio) seals the final chunk, writes it, and closes the other
/// writer, or only flushes it after [`leave_open`](Self::leave_open). The envelope is complete only after that has
/// returned `Ok`; then [`into_inner`](Self::into_inner) returns the other writer. A writer that is dropped before that
/// leaves a truncated envelope, which never opens as a whole.
///
/// A flush writes and flushes the sealed chunks, and keeps the chunk that is not full, because a chunk is sealed once.
/// What was flushed does not open by itself.
///
/// It holds one chunk in memory. A write takes what fits into the chunk. While a sealed chunk waits for the other writer,
/// a write is pending and takes nothing. It seals a chunk inside the poll, which takes some tens of microseconds for the
/// default chunk of 64 KiB, and milliseconds for a chunk of 16 MiB.
///
/// An error ends the stream: every later write, flush and close fails with the same kind. Errors come as [`io::Error`]
/// around an [`Error`](crate::Error). Their kinds:
///
/// - `Io` if the other writer fails
/// - `KeyRevoked` at the next chunk after the DEK's lease was revoked; after its expiry a stream may be finished
/// - `OverLimit` beyond 2^46 bytes or 2^32 chunks
/// - `InvalidArgument` for a write after closing, or in a process that was forked meanwhile
///
/// The other writer must be `Unpin`. Put a writer that is not into a `Box::pin`.
///
/// ```
/// # use waxseal::{EncryptionContext, Kek, Sealer, backend::local::LocalKey};
/// # #[cfg(feature = "tokio")]
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// # let sealer = Sealer::new(LocalKey::new(&Kek::generate()?));
/// # let context = EncryptionContext::new([("tenant", "acme")])?;
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// let mut writer = sealer.async_writer(Vec::new(), &context).await?;
/// writer.write_all(b"hello").await?;
/// writer.shutdown().await?;
/// let envelope = writer.into_inner()?;
///
/// let mut reader = sealer.tokio_reader(envelope.as_slice(), &context).await?;
/// let mut opened = String::new();
/// reader.read_to_string(&mut opened).await?;
/// assert_eq!(opened, "hello");
/// # Ok(())
/// # }
/// # #[cfg(feature = "tokio")]
/// # pollster::block_on(example()).unwrap();
/// ```
///
/// # Cancel safety
/// Dropping the future of a write, flush or close loses nothing and repeats nothing: a pending write has taken none of
/// its bytes, and closing goes on where it was. `write_all` is as safe as elsewhere: after it was dropped, nobody knows
/// how many of its bytes were taken.
#[must_use = "a stream that is not closed does not open"]
pub struct AsyncSealWriter<W> {
    /// There until it is taken out.
    inner: Option<W>,
    machine: ChunkMachine,
    /// What goes out before the buffer.
    header: Vec<u8>,
    /// Plaintext of the chunk that is being filled, or the sealed chunk that goes out.
    buffer: Vec<u8>,
    /// How much of header and buffer has gone out; `None` while the chunk is being filled.
    sent: Option<usize>,
    /// The first byte of the next chunk, while this chunk goes out. A full chunk is sealed as one that is not the last
    /// only when there is a byte behind it: a write that is given up must not leave an empty last chunk.
    ahead: Option<u8>,
    leave_open: bool,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// The final chunk is sealed.
    Closing,
    Closed,
    Failed(ErrorKind),
}

impl<W> AsyncSealWriter<W> {
    pub(crate) fn new(inner: W, start: SealStart) -> Self {
        let SealStart { machine, header } = start;
        Self {
            inner: Some(inner),
            buffer: Vec::with_capacity(machine.whole()),
            machine,
            header,
            sent: None,
            ahead: None,
            leave_open: false,
            state: State::Open,
        }
    }

    /// Leaves the other writer open when this writer is closed, and only flushes it. Use it to write more behind the
    /// envelope, or to keep a connection.
    pub fn leave_open(mut self) -> Self {
        self.leave_open = true;
        self
    }

    /// Returns the other writer, after this writer was closed.
    ///
    /// # Errors
    /// `InvalidArgument` if closing has not succeeded: there is no envelope.
    pub fn into_inner(mut self) -> Result<W> {
        match self.state {
            State::Closed => self.inner.take().ok_or_else(finished),
            _ => Err(Error::argument(
                "the stream must be closed first; until then there is no envelope",
            )),
        }
    }

    /// Seals what is buffered, to be written.
    fn seal(&mut self, last: bool) -> Result<()> {
        let sealed = self.buffer.len() + TAG;
        let run = self.machine.advance(sealed, last)?;
        self.buffer.resize(sealed, 0);
        self.machine.keys().seal_in_place(run, &mut self.buffer)?;
        self.sent = Some(0);
        Ok(())
    }

    /// Writes what is sealed, all of it.
    fn poll_drain(&mut self, cx: &mut Context<'_>, write: PollWrite<W>) -> Poll<Result<()>>
    where
        W: Unpin,
    {
        while let Some(sent) = self.sent {
            let rest = match self.header.get(sent..) {
                Some(rest) if !rest.is_empty() => rest,
                _ => self.buffer.get(sent - self.header.len()..).unwrap_or_default(),
            };
            if rest.is_empty() {
                self.header = Vec::new();
                self.buffer.clear();
                self.buffer.extend(self.ahead.take());
                self.sent = None;
                break;
            }
            let inner = self.inner.as_mut().ok_or_else(finished)?;
            // If the other writer panics, nobody knows how much of it was written.
            let state = std::mem::replace(&mut self.state, State::Failed(ErrorKind::Io));
            let written = write(Pin::new(inner), cx, rest);
            self.state = state;
            match ready!(written).map_err(Error::io)? {
                0 => return Poll::Ready(Err(Error::io(io::ErrorKind::WriteZero.into()))),
                n if n > rest.len() => return Poll::Ready(Err(too_many())),
                n => self.sent = Some(sent + n),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_take(&mut self, cx: &mut Context<'_>, data: &[u8], write: PollWrite<W>) -> Poll<Result<usize>>
    where
        W: Unpin,
    {
        if self.state != State::Open {
            return Poll::Ready(Err(finished()));
        }
        let Some((first, behind)) = data.split_first() else {
            return Poll::Ready(Ok(0));
        };
        ready!(self.poll_drain(cx, write))?;
        let size = self.machine.chunk_size();
        if self.buffer.len() < size {
            let taken = data.get(..size - self.buffer.len()).unwrap_or(data);
            self.buffer.extend_from_slice(taken);
            return Poll::Ready(Ok(taken.len()));
        }
        self.ahead = Some(*first);
        self.seal(false)?;
        // The first byte is taken, so this call is not pending whatever happens to the chunk.
        match self.poll_drain(cx, write) {
            Poll::Pending => Poll::Ready(Ok(1)),
            Poll::Ready(drained) => {
                drained?;
                let taken = behind.get(..size - self.buffer.len()).unwrap_or(behind);
                self.buffer.extend_from_slice(taken);
                Poll::Ready(Ok(1 + taken.len()))
            }
        }
    }

    fn poll_finish(
        &mut self,
        cx: &mut Context<'_>,
        write: PollWrite<W>,
        flush: PollDone<W>,
        close: PollDone<W>,
    ) -> Poll<Result<()>>
    where
        W: Unpin,
    {
        if self.state == State::Open {
            ready!(self.poll_drain(cx, write))?;
            self.seal(true)?;
            self.state = State::Closing;
        }
        if self.state == State::Closing {
            ready!(self.poll_drain(cx, write))?;
            let done = if self.leave_open { flush } else { close };
            let inner = self.inner.as_mut().ok_or_else(finished)?;
            ready!(done(Pin::new(inner), cx)).map_err(Error::io)?;
            self.state = State::Closed;
        }
        Poll::Ready(Ok(()))
    }

    /// Does `work` unless the stream has failed, and ends the stream if `work` fails.
    fn unless_failed<T>(&mut self, work: impl FnOnce(&mut Self) -> Poll<Result<T>>) -> Poll<io::Result<T>> {
        let result = match self.state {
            State::Failed(kind) => {
                let error = Error::new(kind).with_detail("an earlier write to this stream failed");
                return Poll::Ready(Err(error.with_operation(Operation::Seal).into()));
            }
            _ => ready!(work(self)),
        };
        Poll::Ready(result.map_err(|error| {
            // A write after the end is refused, and does not harm a complete envelope.
            if self.state == State::Open || self.state == State::Closing {
                self.state = State::Failed(error.kind());
                self.buffer.as_mut_slice().zeroize();
            }
            error.with_operation(Operation::Seal).into()
        }))
    }

    pub(super) fn poll_write_with(
        &mut self,
        cx: &mut Context<'_>,
        data: &[u8],
        write: PollWrite<W>,
    ) -> Poll<io::Result<usize>>
    where
        W: Unpin,
    {
        if self.state == State::Closing {
            return Poll::Ready(Err(finished().with_operation(Operation::Seal).into()));
        }
        self.unless_failed(|this| this.poll_take(cx, data, write))
    }

    pub(super) fn poll_flush_with(
        &mut self,
        cx: &mut Context<'_>,
        write: PollWrite<W>,
        flush: PollDone<W>,
    ) -> Poll<io::Result<()>>
    where
        W: Unpin,
    {
        self.unless_failed(|this| {
            if this.state == State::Closed {
                return Poll::Ready(Ok(()));
            }
            ready!(this.poll_drain(cx, write))?;
            let inner = this.inner.as_mut().ok_or_else(finished)?;
            flush(Pin::new(inner), cx).map_err(Error::io)
        })
    }

    pub(super) fn poll_close_with(
        &mut self,
        cx: &mut Context<'_>,
        write: PollWrite<W>,
        flush: PollDone<W>,
        close: PollDone<W>,
    ) -> Poll<io::Result<()>>
    where
        W: Unpin,
    {
        self.unless_failed(|this| this.poll_finish(cx, write, flush, close))
    }
}

fn finished() -> Error {
    Error::argument("the stream is finished")
}

impl<W> Drop for AsyncSealWriter<W> {
    fn drop(&mut self) {
        if matches!(self.state, State::Open | State::Closing) && !std::thread::panicking() {
            tracing::warn!(
                "an AsyncSealWriter was dropped before it was closed: what it has written does not open"
            );
        }
        self.buffer.as_mut_slice().zeroize();
        self.ahead.zeroize();
    }
}

impl<W> fmt::Debug for AsyncSealWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncSealWriter")
            .field("chunks", &self.machine.index())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Waker;

    use super::*;
    use crate::message::{Sealing, Session, StopFlag};
    use crate::value::aad::Aad;
    use crate::value::context::EncryptionContext;
    use crate::value::secret::Dek;

    fn write(inner: Pin<&mut Vec<u8>>, _: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        inner.get_mut().extend_from_slice(data);
        Poll::Ready(Ok(data.len()))
    }

    fn done(_: Pin<&mut Vec<u8>>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Parent and child would seal different bytes under one key and the same nonces.
    #[test]
    fn a_stream_that_came_through_a_fork_seals_nothing_more() {
        let dek = Dek::generate().unwrap();
        let session =
            Arc::new(Session::start(&dek, Sealing::default(), &EncryptionContext::empty()).unwrap());
        let start = session
            .begin_stream(&[1], Aad::none(), StopFlag::default())
            .unwrap();
        let mut writer = AsyncSealWriter::new(Vec::new(), start);
        let cx = &mut Context::from_waker(Waker::noop());
        let Poll::Ready(Ok(5)) = writer.poll_write_with(cx, b"hello", write) else {
            panic!("nothing here is pending or fails")
        };
        writer.machine.pretend_to_have_forked();
        let Poll::Ready(Err(error)) = writer.poll_close_with(cx, write, done, done) else {
            panic!("closed")
        };
        assert_eq!(Error::io(error).kind(), ErrorKind::InvalidArgument);
        assert_eq!(writer.inner.as_deref(), Some([].as_slice()));
    }
}
