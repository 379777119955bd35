//! A payload that can be read from anywhere.

use std::fmt;
use std::io::{self, Read, Seek, SeekFrom};

use zeroize::Zeroize;

use crate::envelope::Cut;
use crate::message::ChunkMachine;
use crate::value::aead::TAG;
use crate::value::error::{Error, Operation, Result};

/// Returns an error if the DEK may no longer be used.
pub(crate) type Check = Box<dyn Fn() -> Result<()> + Send + Sync>;

/// Reads the payload of an envelope from anywhere, and opens only the chunks that a read touches.
///
/// The envelope begins at the first byte of the other reader and ends at its last. The reader holds one opened chunk in
/// memory, so that consecutive reads open each chunk once. It wipes the chunk when another takes its place and when it is
/// dropped. A read returns at most the rest of one chunk.
///
/// What is promised:
///
/// - Whatever a read returns is authentic, and stands in the sealed payload at exactly that position. A chunk is verified
///   before a byte of it is returned.
/// - [`len`](Self::len), [`SeekFrom::End`] and the end of the file are authentic. Making a reader reads the header and
///   verifies the final chunk, and a payload that was cut off or extended has no final chunk at its end.
///
/// What is not promised: nothing is known of the chunks that no read touched. If bytes change under the reader
/// afterwards, only a read that touches them notices.
///
/// # Errors
/// Errors come as [`io::Error`] around an [`Error`]; [`io::Error::downcast`] returns it. Their kinds:
///
/// - `CannotOpen` and `Malformed` for bytes that were altered or cut off
/// - `KeyRevoked` and `LeaseExpired` at the next read after the DEK's lease is over, because a reader can be held for
///   long
/// - `Io` if the other reader fails
///
/// A read that failed may be tried again: the position is as it was. A seek before the start is `InvalidInput`. A seek
/// behind the end is allowed, and there is nothing to read there.
///
/// ```
/// # use std::io::{Cursor, Read, Seek, SeekFrom};
/// # use waxseal::{EncryptionContext, Kek, blocking::Sealer, backend::local::LocalKey};
/// # let sealer = Sealer::new(LocalKey::new(&Kek::generate()?));
/// # let context = EncryptionContext::new([("tenant", "acme")])?;
/// # let file = Cursor::new(sealer.seal(b"a long, long payload", &context)?);
/// let mut reader = sealer.range_reader(file, &context)?;
/// reader.seek(SeekFrom::End(-7))?;
/// let mut end = String::new();
/// reader.read_to_string(&mut end)?;
/// assert_eq!(end, "payload");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct RangeReader<R> {
    inner: R,
    chunks: ChunkMachine,
    check: Check,
    cut: Cut,
    /// Length of what stands before the chunks.
    header: u64,
    position: u64,
    /// One chunk and its tag.
    buffer: Vec<u8>,
    /// Which chunk lies in the buffer, opened, and the length of its plaintext.
    held: Option<(u64, usize)>,
    /// Where the other reader stands, if that is known.
    inner_at: Option<u64>,
}

impl<R: Read + Seek> RangeReader<R> {
    /// Makes a reader and verifies the final chunk. `header` is the length of the header.
    pub(crate) fn new(mut inner: R, chunks: ChunkMachine, header: usize, check: Check) -> Result<Self> {
        let end = inner.seek(SeekFrom::End(0)).map_err(Error::io)?;
        let header = header as u64;
        let cut = Cut::of_object(chunks.keys().chunk_size(), header, end)?;
        let mut reader = Self {
            inner,
            chunks,
            check,
            cut,
            header,
            position: 0,
            buffer: Vec::new(),
            held: None,
            inner_at: Some(end),
        };
        reader.hold(cut.count() as u64 - 1)?;
        Ok(reader)
    }

    /// Opens chunk number `index` into the buffer, and returns the length of its plaintext.
    fn hold(&mut self, index: u64) -> Result<usize> {
        // If the other reader panics, nothing counts as opened.
        let held = self.held.take();
        let result = (self.check)().and_then(|()| match held {
            Some((held, len)) if held == index => Ok(len),
            _ => self.open(index),
        });
        match &result {
            Ok(len) => self.held = Some((index, *len)),
            Err(_) => {
                self.held = None;
                self.buffer.as_mut_slice().zeroize();
            }
        }
        result
    }

    fn open(&mut self, index: u64) -> Result<usize> {
        let sealed = self.cut.sealed_range(index);
        let at = self.header + sealed.start;
        let len = usize::try_from(sealed.end - sealed.start).map_err(|_| Error::cannot_open())?;
        // Not before the commitment was verified, because it covers the chunk size.
        if self.buffer.len() < len {
            self.buffer.as_mut_slice().zeroize();
            self.buffer = vec![0; len];
        }
        if self.inner_at != Some(at) {
            self.inner_at = None;
            self.inner.seek(SeekFrom::Start(at)).map_err(Error::io)?;
        }
        self.inner_at = None;
        // Nothing of a longer chunk stays behind a shorter one.
        self.buffer.get_mut(len..).unwrap_or_default().zeroize();
        let chunk = self.buffer.get_mut(..len).unwrap_or_default();
        self.inner.read_exact(chunk).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                Error::malformed("chunks", usize::try_from(at).unwrap_or(usize::MAX))
            }
            _ => Error::io(error),
        })?;
        self.inner_at = Some(at + len as u64);
        let last = index + 1 == self.cut.count() as u64;
        let run = self.chunks.at(index, len, last)?;
        self.chunks.keys().open_in_place(run, chunk).1?;
        Ok(len - TAG)
    }

    fn read_some(&mut self, out: &mut [u8]) -> Result<usize> {
        if out.is_empty() || self.position >= self.len() {
            // Under a lease that is over, a read does not even return the end of the payload.
            (self.check)()?;
            return Ok(0);
        }
        let size = self.chunks.chunk_size() as u64;
        let len = self.hold(self.position / size)?;
        let from = usize::try_from(self.position % size).map_err(|_| Error::cannot_open())?;
        let ready = self.buffer.get(from..len).unwrap_or_default();
        let len = ready.len().min(out.len());
        out[..len].copy_from_slice(&ready[..len]);
        self.position += len as u64;
        Ok(len)
    }
}

impl<R> RangeReader<R> {
    /// Returns the length of the plaintext, in bytes. It is authentic.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.cut.plaintext_len() as u64
    }

    /// Returns whether the plaintext is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<R: Read + Seek> Read for RangeReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.read_some(out)
            .map_err(|error| error.with_operation(Operation::Open).into())
    }
}

impl<R: Read + Seek> Seek for RangeReader<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(by) => self.len().checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }

    fn stream_position(&mut self) -> io::Result<u64> {
        Ok(self.position)
    }
}

impl<R> Drop for RangeReader<R> {
    fn drop(&mut self) {
        self.buffer.as_mut_slice().zeroize();
    }
}

impl<R> fmt::Debug for RangeReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RangeReader")
            .field("len", &self.len())
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}
