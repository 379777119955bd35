//! Opening a stream.

use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;

use zeroize::Zeroize;

use super::ahead::{Ahead, Unit, Work};
use crate::message::chunks::{Chunks, Run, open_chunk};
use crate::message::parallel::Parallel;
use crate::message::{SessionKeys, StopFlag};
use crate::value::aead::{AeadKey, TAG};
use crate::value::error::{Error, ErrorKind, Operation, Result};
use crate::value::limits;

/// Opens the chunks of an envelope that it reads from another reader, whose header was read already.
///
/// Holds one chunk in memory; on several threads ([`Parallel`]) as much as that says, and the other reader is read
/// ahead by the thread that calls. It releases a chunk only after the whole chunk was verified, and says that the
/// stream has ended only after the final chunk was: a stream that is cut off anywhere ends in an error, never
/// in an end of file. What was read before the error was authentic, in order, and is not all there is.
///
/// It reads the other reader to its end, since an envelope ends where its bytes do: bytes after the final chunk
/// are an error. Where an envelope lies inside something longer, limit the other reader with [`Read::take`].
///
/// Errors come as [`io::Error`] around an [`Error`]; [`io::Error::downcast`] gets it back. Their kinds are
/// `CannotOpen` and `Malformed` for bytes that were altered or cut off, `KeyRevoked` at the next chunk after the
/// DEK's lease was revoked, `OverLimit`, and `Io` where the other reader fails (`WouldBlock` included, so it has
/// to block), `Unavailable` where a thread of a pool panicked. After an error every read fails with the same kind.
pub struct OpenReader<R: Read> {
    inner: R,
    stop: StopFlag,
    ahead: Ahead<Keys>,
    chunk_size: usize,
    /// The first byte behind the units that were read, which tells that their last chunk is not the final one.
    next_byte: Option<u8>,
    /// Chunks that were read.
    index: u64,
    input: Input,
    /// Opened chunks, handed out up to the byte `at`.
    ready: Unit,
    at: usize,
    state: State,
}

/// What there is to read.
enum Input {
    More,
    Ended,
    /// Nothing, for this reason; which counts once what was read before it is handed out.
    Failed(Error),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Reading,
    Done,
    Failed(ErrorKind),
}

/// What the chunks of the stream are opened with.
pub(crate) struct Keys {
    pub(crate) session: Arc<SessionKeys>,
    pub(crate) message_key: AeadKey,
    pub(crate) nonce: [u8; 12],
    pub(crate) aad: Vec<u8>,
    pub(crate) chunk_size: usize,
}

impl Keys {
    /// Opens the one chunk of a unit to `out`, which has its length.
    fn open_to(&self, unit: &mut Unit, out: &mut [u8]) -> Result<()> {
        let whole = self.chunk_size + TAG;
        let run = Run::of(unit.first, unit.is_last, unit.len, self.chunk_size);
        let is_single = unit.is_single(whole);
        let chunks = unit.chunks();
        let opened = if is_single {
            let (body, tag) = chunks.split_last_chunk::<TAG>().ok_or_else(Error::cannot_open)?;
            self.session.aead.open_to(&self.nonce, &self.aad, body, tag, out)
        } else {
            self.chunks().open(run, chunks, out)
        };
        if opened.is_err() {
            // A library may leave something there.
            out.zeroize();
        }
        opened
    }

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
        let (opened, result) = if unit.is_single(self.chunk_size + TAG) {
            let result = open_chunk(&self.session.aead, &self.nonce, &self.aad, unit.chunks());
            (usize::from(result.is_ok()), result)
        } else {
            let run = Run::of(unit.first, unit.is_last, unit.len, self.chunk_size);
            self.chunks().open_in_place(run, unit.chunks())
        };
        unit.done = opened;
        unit.error = result.err();
    }
}

impl<R: Read> OpenReader<R> {
    pub(crate) fn new(inner: R, keys: Keys, stop: StopFlag, parallel: Option<&Parallel>) -> Self {
        let chunk_size = keys.chunk_size;
        Self {
            inner,
            stop,
            ahead: Ahead::new(keys, parallel, chunk_size),
            chunk_size,
            next_byte: None,
            index: 0,
            input: Input::More,
            ready: Unit::default(),
            at: 0,
            state: State::Reading,
        }
    }

    fn whole(&self) -> usize {
        self.chunk_size + TAG
    }

    /// Reads a unit and puts it under way.
    fn read_unit(&mut self) -> Result<()> {
        let whole = self.whole();
        let mut bytes = self.ahead.buffer();
        // Not before the commitment was verified, which covers the chunk size.
        bytes.resize(self.ahead.chunks() * whole + 1, 0);
        let mut got = 0;
        if let (Some(byte), Some(first)) = (self.next_byte.take(), bytes.first_mut()) {
            *first = byte;
            got = 1;
        }
        let result = read_on(&mut self.inner, &mut bytes, &mut got);
        let (len, input) = match result {
            Ok(()) if got == bytes.len() => {
                self.next_byte = bytes.last().copied();
                (got - 1, Input::More)
            }
            Ok(()) => self.end_at(got),
            // Only chunks that something follows are known not to be the final one.
            Err(error) => (got.saturating_sub(1) / whole * whole, Input::Failed(error)),
        };
        let chunks = len.div_ceil(whole) as u64;
        let after = self.index.saturating_add(chunks);
        self.input = if after > limits::CHUNKS.max {
            Input::Failed(limits::CHUNKS.error())
        } else if after.saturating_mul(self.chunk_size as u64) > limits::MESSAGE.max {
            Input::Failed(limits::MESSAGE.error())
        } else {
            let first = std::mem::replace(&mut self.index, after);
            let is_last = matches!(input, Input::Ended);
            self.input = input;
            if len == 0 {
                return Ok(());
            }
            let unit = Unit {
                bytes,
                len,
                first,
                is_last,
                ..Unit::default()
            };
            return self.ahead.push(unit);
        };
        Ok(())
    }

    /// How many bytes of a unit are chunks where the stream ends behind `got`, and what follows them.
    fn end_at(&self, got: usize) -> (usize, Input) {
        let whole = self.whole();
        let before = got.saturating_sub(1) / whole * whole;
        let at = self.index + (before / whole) as u64;
        // Fewer bytes than a tag, or an empty final chunk after a full one.
        if got - before < TAG || (got - before == TAG && at > 0) {
            // Where it lies among the chunks is what the offset says here.
            let at = usize::try_from(at.saturating_mul(whole as u64)).unwrap_or(usize::MAX);
            return (before, Input::Failed(Error::malformed("chunks", at)));
        }
        (got, Input::Ended)
    }

    /// Reads until a unit is opened; whether there is one.
    fn next_unit(&mut self) -> Result<bool> {
        let spent = std::mem::take(&mut self.ready);
        self.ahead.recycle(spent.bytes);
        loop {
            self.stop.check()?;
            let wait = self.ahead.is_full() || !matches!(self.input, Input::More);
            if let Some(unit) = self.ahead.next(wait)? {
                self.ready = unit;
                self.at = 0;
                return Ok(true);
            }
            match std::mem::replace(&mut self.input, Input::Ended) {
                Input::More => self.read_unit()?,
                Input::Ended => return Ok(false),
                Input::Failed(error) => return Err(error),
            }
        }
    }

    /// Hands out of what is ready.
    fn hand_out(&mut self, out: &mut [u8]) -> usize {
        let whole = self.whole();
        while self.at / whole < self.ready.done {
            let (start, len) = (self.at, self.ready.len);
            let end = (start / whole * whole + whole).min(len) - TAG;
            let chunk = self.ready.bytes.get(start..end).unwrap_or_default();
            if !chunk.is_empty() {
                let taken = chunk.len().min(out.len());
                out[..taken].copy_from_slice(&chunk[..taken]);
                self.at += taken;
                return taken;
            }
            self.at = (start / whole + 1) * whole;
        }
        0
    }

    /// Opens a whole chunk to where it is wanted, which saves copying it; `None` where that cannot be.
    fn open_to(&mut self, out: &mut [u8]) -> Result<Option<usize>> {
        if !self.ahead.is_serial() || out.len() < self.chunk_size || !matches!(self.input, Input::More) {
            return Ok(None);
        }
        self.stop.check()?;
        self.read_unit()?;
        let Some(mut unit) = self.ahead.next_undone() else {
            return Ok(None);
        };
        let out = out.get_mut(..unit.len - TAG).unwrap_or_default();
        self.ahead.work().open_to(&mut unit, out)?;
        self.ahead.recycle(unit.bytes);
        Ok(Some(out.len()))
    }

    fn read_inner(&mut self, out: &mut [u8]) -> Result<usize> {
        loop {
            let taken = self.hand_out(out);
            if taken > 0 {
                return Ok(taken);
            }
            if let Some(error) = self.ready.error.take() {
                return Err(error);
            }
            if let Some(taken) = self.open_to(out)?.filter(|taken| *taken > 0) {
                return Ok(taken);
            }
            if !self.next_unit()? {
                return Ok(0);
            }
        }
    }
}

impl<R: Read> Read for OpenReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        match self.state {
            State::Done => return Ok(0),
            State::Failed(kind) => return Err(Error::new(kind).with_operation(Operation::Open).into()),
            // Should the other reader panic: where it was then, nobody knows.
            State::Reading => self.state = State::Failed(ErrorKind::Io),
        }
        match self.read_inner(out) {
            Ok(taken) => {
                self.state = if taken == 0 { State::Done } else { State::Reading };
                Ok(taken)
            }
            Err(error) => {
                self.state = State::Failed(error.kind());
                // Later chunks, opened or not, stay here.
                self.ahead.clear();
                self.ready = Unit::default();
                Err(error.with_operation(Operation::Open).into())
            }
        }
    }
}

/// Reads until `bytes` are full or the reader ends. What came before an error is counted in `got` too.
fn read_on(reader: &mut impl Read, bytes: &mut [u8], got: &mut usize) -> Result<()> {
    while let Some(room @ [_, ..]) = bytes.get_mut(*got..) {
        match reader.read(room) {
            Ok(0) => break,
            Ok(n) => *got = got.saturating_add(n),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::io(error)),
        }
    }
    *got = (*got).min(bytes.len());
    Ok(())
}

impl<R: Read> fmt::Debug for OpenReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenReader")
            .field("chunks", &self.index)
            .finish_non_exhaustive()
    }
}
