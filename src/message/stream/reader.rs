//! Opening a stream.

use std::fmt;
use std::io::{self, BufRead, Read};
use std::ops::Range;
use std::sync::Arc;

use zeroize::Zeroize;

use super::ahead::{Ahead, Unit, Work};
use super::source::{Follows, Source};
use crate::message::machine::{ChunkMachine, MessageKeys};
use crate::message::parallel::Parallel;
use crate::value::aead::TAG;
use crate::value::error::{Error, ErrorKind, Operation, Result};

/// Opens the chunks of an envelope that it reads from another reader, whose header was read already.
///
/// It holds one chunk in memory; on several threads ([`Parallel`]) as much as that says, and the calling thread reads the
/// other reader ahead. It releases a chunk only after the whole chunk was verified, and reports the end of the stream only
/// after the final chunk was verified: a stream that is cut off anywhere ends in an error, never in an end of file. What
/// was read before the error was authentic, in order, and is not all of the payload.
///
/// It reads the other reader to its end, since an envelope ends where its bytes do: bytes after the final chunk
/// are an error. If an envelope lies inside something longer, limit the other reader with [`Read::take`].
///
/// # Copies
/// A read into at least one chunk's length ([`Header::body`](crate::envelope::Header::body) tells it, 64 KiB by default)
/// opens the chunk to where it is wanted. [`BufRead`] lends the opened chunk itself. If the other reader is a [`BufRead`]
/// too, `buf_reader` ([`Opener::buf_reader`](crate::Opener::buf_reader), and its siblings) opens chunks from where they lie
/// in the other reader's buffer: bytes in memory, a memory map, or a `BufReader` of several chunks. On several threads
/// chunks are copied to the threads.
///
/// # Errors
/// Errors come as [`io::Error`] around an [`Error`]; [`io::Error::downcast`] returns it. Their kinds:
///
/// - `CannotOpen` and `Malformed` for bytes that were altered or cut off;
/// - `KeyRevoked` after the DEK's lease was revoked, at the next chunk (on several threads: at the next unit that is read);
/// - `OverLimit` beyond 2^46 bytes or 2^32 chunks;
/// - `Io` if the other reader fails (`WouldBlock` included: it has to block);
/// - `Unavailable` if a thread of a pool panicked.
///
/// After an error every read fails in the same way.
///
/// ```
/// # use std::io::{BufRead, Read};
/// # use waxseal::{EncryptionContext, Kek, blocking::Sealer, backend::local::LocalKey};
/// # let sealer = Sealer::new(LocalKey::new(&Kek::generate()?));
/// # let context = EncryptionContext::new([("tenant", "acme")])?;
/// # let envelope = sealer.seal(b"one\ntwo\n", &context)?;
/// // From any reader, such as a file or a socket.
/// let mut text = String::new();
/// sealer.reader(&mut envelope.as_slice(), &context)?.read_to_string(&mut text)?;
/// assert_eq!(text, "one\ntwo\n");
///
/// // From bytes in memory, without a copy.
/// let lines: Vec<String> = sealer.buf_reader(envelope.as_slice(), &context)?.lines().collect::<Result<_, _>>()?;
/// assert_eq!(lines, ["one", "two"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct OpenReader<R: Read> {
    source: Source<R>,
    machine: ChunkMachine,
    ahead: Ahead<Opens>,
    input: Input,
    /// Opened chunks, handed out up to the byte `at`.
    ready: Unit,
    at: usize,
    state: State,
    /// Why it has failed.
    failure: Option<Error>,
}

/// What there is to read.
enum Input {
    More,
    Ended,
    /// Nothing, for this reason; which counts after what was read before it is handed out.
    Failed(Error),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Reading,
    Done,
    Failed,
}

/// What is done to each unit of the stream.
struct Opens(Arc<MessageKeys>);

impl Work for Opens {
    fn work(&self, unit: &mut Unit) {
        let run = unit.run;
        let (opened, result) = self.0.open_in_place(run, unit.chunks());
        unit.done = opened;
        unit.error = result.err();
    }
}

impl<R: Read> OpenReader<R> {
    pub(crate) fn new(inner: R, machine: ChunkMachine, parallel: Option<&Parallel>) -> Self {
        Self::over(Source::new(inner), machine, parallel)
    }

    /// Over a reader whose buffer is looked into.
    pub(crate) fn buffered(inner: R, machine: ChunkMachine, parallel: Option<&Parallel>) -> Self
    where
        R: BufRead,
    {
        Self::over(Source::buffered(inner), machine, parallel)
    }

    fn over(source: Source<R>, machine: ChunkMachine, parallel: Option<&Parallel>) -> Self {
        let opens = Opens(Arc::clone(machine.keys()));
        Self {
            source,
            ahead: Ahead::new(opens, parallel, machine.chunk_size()),
            machine,
            input: Input::More,
            ready: Unit::default(),
            at: 0,
            state: State::Reading,
            failure: None,
        }
    }

    /// Reads a unit and puts it under way.
    fn read_unit(&mut self) -> Result<()> {
        let whole = self.machine.whole();
        let mut bytes = self.ahead.buffer();
        // Not before the commitment was verified, which covers the chunk size.
        bytes.resize(self.ahead.chunks() * whole + 1, 0);
        let (got, follows) = self.source.fill(&mut bytes);
        let (len, input) = match follows {
            Follows::More => (got, Input::More),
            Follows::End => self.end_at(got),
            // Only chunks that something follows are known not to be the final one.
            Follows::Failed(error) => (got / whole * whole, Input::Failed(error)),
        };
        let is_last = matches!(input, Input::Ended);
        self.input = input;
        if len == 0 {
            return Ok(());
        }
        match self.machine.advance(len, is_last) {
            Ok(run) => self.ahead.push(Unit {
                bytes,
                len,
                run,
                ..Unit::default()
            }),
            Err(error) => {
                self.input = Input::Failed(error);
                Ok(())
            }
        }
    }

    /// How many bytes of a unit are chunks where the stream ends after `got`, and what follows them.
    fn end_at(&self, got: usize) -> (usize, Input) {
        let before = got.saturating_sub(1) / self.machine.whole();
        let index = self.machine.index().saturating_add(before as u64);
        let before = before * self.machine.whole();
        match self.machine.check_last(index, got - before) {
            Ok(()) => (got, Input::Ended),
            Err(error) => (before, Input::Failed(error)),
        }
    }

    /// Reads until a unit is opened; whether there is one.
    fn next_unit(&mut self) -> Result<bool> {
        let spent = std::mem::take(&mut self.ready);
        self.at = 0;
        self.ahead.recycle(spent.bytes);
        loop {
            self.machine.check()?;
            if self.open_peeked()? {
                return Ok(true);
            }
            let wait = self.ahead.is_full() || !matches!(self.input, Input::More);
            if let Some(unit) = self.ahead.next(wait)? {
                self.ready = unit;
                return Ok(true);
            }
            match std::mem::replace(&mut self.input, Input::Ended) {
                Input::More => self.read_unit()?,
                Input::Ended => return Ok(false),
                Input::Failed(error) => return Err(error),
            }
        }
    }

    /// Where in the ready unit the rest of a chunk lies that is opened and not yet handed out; empty where there is none.
    fn rest(&mut self) -> Range<usize> {
        let whole = self.machine.whole();
        while self.at / whole < self.ready.done {
            let start = self.at / whole * whole;
            let end = (start + whole).min(self.ready.len) - TAG;
            if self.at < end {
                return self.at..end;
            }
            self.at = start + whole;
        }
        0..0
    }

    /// Whether chunks can be opened from the reader's buffer: nothing is under way, and more is to come.
    fn can_peek(&self) -> bool {
        self.ahead.is_serial() && self.ahead.is_empty() && matches!(self.input, Input::More)
    }

    /// Opens a chunk from the reader's buffer into ours; whether one lay there.
    fn open_peeked(&mut self) -> Result<bool> {
        let (size, whole) = (self.machine.chunk_size(), self.machine.whole());
        if !self.can_peek() {
            return Ok(false);
        }
        let Some(chunk) = self.source.peek(whole)? else {
            return Ok(false);
        };
        let run = self.machine.advance(whole, false)?;
        let mut bytes = self.ahead.buffer();
        bytes.resize(whole, 0);
        let out = bytes.get_mut(..size).unwrap_or_default();
        self.machine.keys().open(run, chunk, out)?;
        self.source.consume(whole);
        self.ready = Unit {
            bytes,
            len: whole,
            run,
            done: 1,
            error: None,
        };
        Ok(true)
    }

    /// Opens a whole chunk to where it is wanted, which saves copying it; `None` where that cannot be.
    fn open_to(&mut self, out: &mut [u8]) -> Result<Option<usize>> {
        if !self.can_peek() || out.len() < self.machine.chunk_size() {
            return Ok(None);
        }
        self.machine.check()?;
        let whole = self.machine.whole();
        if let Some(chunk) = self.source.peek(whole)? {
            let run = self.machine.advance(whole, false)?;
            let out = out.get_mut(..whole - TAG).unwrap_or_default();
            wiped_on_error(out, |out| self.machine.keys().open(run, chunk, out))?;
            self.source.consume(whole);
            return Ok(Some(out.len()));
        }
        self.read_unit()?;
        let Some(mut unit) = self.ahead.next_undone() else {
            return Ok(None);
        };
        let (run, out) = (unit.run, out.get_mut(..unit.len - TAG).unwrap_or_default());
        wiped_on_error(out, |out| self.machine.keys().open(run, unit.chunks(), out))?;
        self.ahead.recycle(unit.bytes);
        Ok(Some(out.len()))
    }

    /// Reads until something is ready; whether there is.
    fn make_ready(&mut self) -> Result<bool> {
        loop {
            if !self.rest().is_empty() {
                return Ok(true);
            }
            if let Some(error) = self.ready.error.take() {
                return Err(error);
            }
            if !self.next_unit()? {
                return Ok(false);
            }
        }
    }

    fn read_some(&mut self, out: &mut [u8]) -> Result<usize> {
        if self.rest().is_empty()
            && self.ready.error.is_none()
            && let Some(taken) = self.open_to(out)?.filter(|taken| *taken > 0)
        {
            return Ok(taken);
        }
        if !self.make_ready()? {
            return Ok(0);
        }
        let rest = self.rest();
        let ready = self.ready.bytes.get(rest).unwrap_or_default();
        let taken = ready.len().min(out.len());
        out[..taken].copy_from_slice(&ready[..taken]);
        self.at += taken;
        Ok(taken)
    }

    /// Does something that ends the stream if it fails or panics. The stream is over where it returns its default.
    fn attempt<T: Default + PartialEq>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        match self.state {
            State::Done => return Ok(T::default()),
            State::Failed => {
                let failure = self.failure.as_ref().map(Error::copy);
                // Should the other reader have panicked: where it was then, nobody knows.
                return Err(
                    failure.unwrap_or_else(|| Error::new(ErrorKind::Io).with_operation(Operation::Open))
                );
            }
            State::Reading => self.state = State::Failed,
        }
        match work(self) {
            Ok(value) => {
                self.state = if value == T::default() {
                    State::Done
                } else {
                    State::Reading
                };
                Ok(value)
            }
            Err(error) => {
                let error = error.with_operation(Operation::Open);
                self.failure = Some(error.copy());
                // Later chunks, opened or not, stay here.
                self.ahead.clear();
                self.ready = Unit::default();
                self.at = 0;
                Err(error)
            }
        }
    }
}

impl<R: Read> Read for OpenReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        Ok(self.attempt(|reader| reader.read_some(out))?)
    }
}

impl<R: Read> BufRead for OpenReader<R> {
    /// The rest of the chunk that was opened last, or the next: empty at the end of the payload only.
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.attempt(Self::make_ready)?;
        let rest = self.rest();
        Ok(self.ready.bytes.get(rest).unwrap_or_default())
    }

    fn consume(&mut self, amount: usize) {
        let rest = self.rest();
        self.at += rest.len().min(amount);
    }
}

fn wiped_on_error(out: &mut [u8], work: impl FnOnce(&mut [u8]) -> Result<()>) -> Result<()> {
    let result = work(out);
    if result.is_err() {
        // A library may leave something there.
        out.zeroize();
    }
    result
}

impl<R: Read> fmt::Debug for OpenReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenReader")
            .field("chunks", &self.machine.index())
            .finish_non_exhaustive()
    }
}
