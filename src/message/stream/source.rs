//! The reader under a stream.

use std::io::{self, BufRead, Read};

use crate::value::error::{Error, Result};

/// A reader, and how to look into its buffer if it has one.
pub(super) struct Source<R> {
    inner: R,
    buffered: Option<Buffered<R>>,
    /// A byte that was read ahead, if there is no buffer to look into.
    next_byte: Option<u8>,
}

/// The methods of [`BufRead`], of a reader that has them.
struct Buffered<R> {
    fill: fn(&mut R) -> io::Result<&[u8]>,
    consume: fn(&mut R, usize),
}

/// What follows the bytes that were read.
pub(super) enum Follows {
    More,
    End,
    /// Nobody knows, for this reason.
    Failed(Error),
}

impl<R: Read> Source<R> {
    pub(super) fn new(inner: R) -> Self {
        Self {
            inner,
            buffered: None,
            next_byte: None,
        }
    }

    pub(super) fn buffered(inner: R) -> Self
    where
        R: BufRead,
    {
        Self {
            buffered: Some(Buffered {
                fill: R::fill_buf,
                consume: R::consume,
            }),
            ..Self::new(inner)
        }
    }

    /// Returns the next `len` bytes, if they lie in the reader's own buffer with at least one more byte behind them. They
    /// stay there until they are [`consumed`](Self::consume).
    pub(super) fn peek(&mut self, len: usize) -> Result<Option<&[u8]>> {
        let Some(buffered) = &self.buffered else {
            return Ok(None);
        };
        let lying = retried(|| (buffered.fill)(&mut self.inner).map(<[u8]>::len))?;
        if lying <= len {
            return Ok(None);
        }
        // The reader returns the same bytes again, because nothing was consumed. If it does not, the bytes are read
        // instead.
        match (buffered.fill)(&mut self.inner) {
            Ok(bytes) => Ok(bytes.get(..len).filter(|_| bytes.len() > len)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
            Err(error) => Err(Error::io(error)),
        }
    }

    pub(super) fn consume(&mut self, len: usize) {
        if let Some(buffered) = &self.buffered {
            (buffered.consume)(&mut self.inner, len);
        }
    }

    /// Reads into all of `bytes` except the last, which is room for the byte that shows whether more follows. Returns how
    /// many were read, and what follows. After an error it counts only bytes that something follows.
    pub(super) fn fill(&mut self, bytes: &mut [u8]) -> (usize, Follows) {
        let mut got = 0;
        let result = if self.buffered.is_some() {
            let len = bytes.len().saturating_sub(1);
            let room = bytes.get_mut(..len).unwrap_or_default();
            match read_on(&mut self.inner, room, &mut got) {
                Ok(()) if got < len => Ok(false),
                Ok(()) => self.has_more(),
                Err(error) => Err(error),
            }
        } else {
            if let (Some(byte), Some(first)) = (self.next_byte.take(), bytes.first_mut()) {
                *first = byte;
                got = 1;
            }
            let result = read_on(&mut self.inner, bytes, &mut got);
            let is_full = got == bytes.len();
            if result.is_ok() && is_full {
                self.next_byte = bytes.last().copied();
                got -= 1;
            }
            result.map(|()| is_full)
        };
        match result {
            Ok(true) => (got, Follows::More),
            Ok(false) => (got, Follows::End),
            Err(error) => (got.saturating_sub(1), Follows::Failed(error)),
        }
    }

    fn has_more(&mut self) -> Result<bool> {
        let Some(buffered) = &self.buffered else {
            return Ok(false);
        };
        retried(|| (buffered.fill)(&mut self.inner).map(|bytes| !bytes.is_empty()))
    }
}

/// Reads until `bytes` are full or the reader ends. What came before an error is counted in `got` too.
fn read_on(reader: &mut impl Read, bytes: &mut [u8], got: &mut usize) -> Result<()> {
    while let Some(room @ [_, ..]) = bytes.get_mut(*got..) {
        match retried(|| reader.read(room))? {
            0 => break,
            n => *got = got.saturating_add(n),
        }
    }
    // A reader may count more than it was given.
    *got = (*got).min(bytes.len());
    Ok(())
}

/// Tries again for as long as the call is only interrupted.
fn retried<T>(mut work: impl FnMut() -> io::Result<T>) -> Result<T> {
    loop {
        match work() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result.map_err(Error::io),
        }
    }
}
