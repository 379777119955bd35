//! A data key opens what it seals.

use std::io::{BufRead, Read};

use super::super::opener::front;
use super::{DataKey, during};
use crate::envelope::{Cut, Header};
use crate::message::{ChunkMachine, Message, OpenReader, OpenedInPlace};
use crate::value::aad::Aad;
use crate::value::error::{Operation, Result};
use crate::value::secret::Plaintext;

impl DataKey {
    /// Verifies an envelope, and has `work` open it.
    fn with_message<T>(
        &self,
        envelope: &[u8],
        aad: Aad<'_>,
        work: impl FnOnce(Message<'_>, &[u8], Cut) -> Result<T>,
    ) -> Result<T> {
        self.check()?;
        // The front of an envelope of this session is known byte for byte, so nothing is parsed.
        if let Some(session) = self.sessions.current()
            && let Some((verified, chunks)) = session.own(&self.prefix, envelope)
        {
            let cut = verified.cut(chunks, envelope)?;
            return work(verified.message(aad)?.on(self.parallel()), chunks, cut);
        }
        self.opener.with_message(envelope, aad, work)
    }

    /// Opens an envelope of this DEK. Plaintext is released only after all of it was verified.
    ///
    /// # Errors
    /// The errors of [`Opener::open`](crate::Opener::open); `LeaseExpired` if the data key has ended.
    pub fn open(&self, envelope: &[u8], aad: Aad<'_>) -> Result<Plaintext> {
        let mut out = Vec::new();
        self.open_into(envelope, aad, &mut out)?;
        Ok(Plaintext::new(out))
    }

    /// Opens an envelope of this DEK and appends its plaintext to `out`, which is as it was after an error.
    ///
    /// # Errors
    /// The errors of [`open`](Self::open).
    pub fn open_into(&self, envelope: &[u8], aad: Aad<'_>, out: &mut Vec<u8>) -> Result<()> {
        during(Operation::Open, || {
            self.with_message(envelope, aad, |message, chunks, cut| {
                message.open_to_vec(chunks, cut, out)
            })
        })
    }

    /// Opens an envelope of this DEK to the front of `out`, and returns the length of the plaintext, see
    /// [`Opener::open_to_slice`](crate::Opener::open_to_slice).
    ///
    /// # Errors
    /// The errors of [`open`](Self::open); `InvalidArgument` if `out` is too short.
    pub fn open_to_slice(&self, envelope: &[u8], aad: Aad<'_>, out: &mut [u8]) -> Result<usize> {
        during(Operation::Open, || {
            self.with_message(envelope, aad, |message, chunks, cut| {
                let out = front(out, cut)?;
                message.open_to(chunks, cut, out)?;
                Ok(out.len())
            })
        })
    }

    /// Opens an envelope of this DEK where it lies, see [`Opener::open_in_place`](crate::Opener::open_in_place).
    ///
    /// # Errors
    /// The errors of [`open`](Self::open).
    pub fn open_in_place<'b>(&self, envelope: &'b mut [u8], aad: Aad<'_>) -> Result<OpenedInPlace<'b>> {
        during(Operation::Open, || {
            self.check()?;
            self.opener.open_where_it_lies(envelope, aad)
        })
    }

    /// Returns a reader that opens the chunks in `reader`, see [`Opener::reader`](crate::Opener::reader).
    ///
    /// # Errors
    /// The errors of [`Opener::reader`](crate::Opener::reader); `LeaseExpired` if the data key has ended.
    pub fn reader<R: Read>(&self, header: &Header<'_>, reader: R, aad: Aad<'_>) -> Result<OpenReader<R>> {
        Ok(OpenReader::new(
            reader,
            self.chunks(header, aad)?,
            self.parallel(),
        ))
    }

    /// The same over a reader with a buffer, see [`Opener::buf_reader`](crate::Opener::buf_reader).
    ///
    /// # Errors
    /// The errors of [`reader`](Self::reader).
    pub fn buf_reader<R: BufRead>(
        &self,
        header: &Header<'_>,
        reader: R,
        aad: Aad<'_>,
    ) -> Result<OpenReader<R>> {
        Ok(OpenReader::buffered(
            reader,
            self.chunks(header, aad)?,
            self.parallel(),
        ))
    }

    /// What opens the chunks behind `header`.
    pub(in super::super) fn chunks(&self, header: &Header<'_>, aad: Aad<'_>) -> Result<ChunkMachine> {
        during(Operation::Open, || {
            self.check()?;
            self.opener.chunks(header, aad)
        })
    }
}
