//! The synchronous half of opening: a DEK out of an envelope.

use std::fmt;
use std::io::{BufRead, Read};
use std::sync::Arc;

use super::during;
use crate::envelope::{Cut, Envelope, Header};
use crate::message::parallel::Parallel;
use crate::message::{ChunkMachine, InContext, Message, OpenReader, OpenedInPlace, VerifiedHeader};
use crate::runtime::{Monotonic, Runtime};
use crate::source::lease::DekLease;
use crate::value::aad::Aad;
use crate::value::context::EncryptionContext;
use crate::value::error::{Error, ErrorKind, Operation, Result};
use crate::value::secret::Plaintext;

/// The DEK of an envelope, in one context: opens that envelope and every other of the same DEK, synchronously.
///
/// An opener of a sealer ends by age, as a data key does ([`Builder::data_key_age`](super::Builder::data_key_age), one
/// hour by default), or with its lease. At every call it asks the lease whether the lease was revoked or has expired. A
/// reader asks at every chunk whether the lease was revoked, and may finish its message after the opener has ended. A
/// [`RangeReader`](crate::message::RangeReader) asks for both at every read.
///
/// ```
/// # use waxseal::{Aad, EncryptionContext, Kek, blocking::Sealer, backend::local::LocalKey};
/// # let sealer = Sealer::new(LocalKey::new(&Kek::generate()?));
/// # let context = EncryptionContext::new([("tenant", "acme")])?;
/// # let key = sealer.data_key(&context)?;
/// # let rows = [key.seal(b"alice", Aad::new("row 0"))?, key.seal(b"bob", Aad::new("row 1"))?];
/// use waxseal::envelope::Header;
///
/// // One call to the key manager for all rows that share a DEK.
/// let opener = sealer.opener(&Header::parse(&rows[0])?, &context)?;
/// assert_eq!(opener.open(&rows[0], Aad::new("row 0"))?, b"alice");
/// assert_eq!(opener.open(&rows[1], Aad::new("row 1"))?, b"bob");
/// # Ok::<(), waxseal::Error>(())
/// ```
pub struct Opener {
    pub(super) lease: Arc<DekLease>,
    pub(super) context: EncryptionContext,
    pub(super) runtime: Arc<dyn Runtime>,
    end: Option<Monotonic>,
    parallel: Option<Parallel>,
}

impl Opener {
    pub(super) fn new(lease: Arc<DekLease>, context: EncryptionContext, runtime: Arc<dyn Runtime>) -> Self {
        Self {
            lease,
            context,
            runtime,
            end: None,
            parallel: None,
        }
    }

    /// Ends the opener then, unless its lease ends before.
    pub(super) fn ending(mut self, end: Monotonic) -> Self {
        self.end = Some(end);
        self
    }

    /// Makes an opener of a lease that the caller has, for stores of DEKs, whose envelopes are detached.
    ///
    /// The opener ends only with the lease. A registry ends it only if the registry knows the lease: see
    /// [`Leases::remember`](crate::source::Leases::remember).
    #[must_use]
    pub fn from_lease(lease: Arc<DekLease>, context: &EncryptionContext, runtime: Arc<dyn Runtime>) -> Self {
        Self::new(lease, context.clone(), runtime)
    }

    /// Opens large payloads and streams on several threads, or with `None` on the calling thread alone.
    #[must_use]
    pub fn with_parallel(mut self, parallel: impl Into<Option<Parallel>>) -> Self {
        self.parallel = parallel.into();
        self
    }

    pub(super) fn parallel(&self) -> Option<&Parallel> {
        self.parallel.as_ref()
    }

    /// Returns when the opener ends, in the time of its runtime, unless its lease is revoked before; `None` if it does
    /// not end by itself.
    #[must_use]
    pub fn expires_at(&self) -> Option<Monotonic> {
        self.end.into_iter().chain(self.lease.expires_at()).min()
    }

    pub(super) fn check(&self) -> Result<()> {
        check(&self.lease, self.end, self.runtime.now())
    }

    pub(super) fn verify<'h>(&'h self, header: &Header<'h>) -> Result<VerifiedHeader<'h>> {
        self.lease.verify_header(InContext::check(header, &self.context)?)
    }

    /// Parses and verifies an envelope, and has `work` open it.
    pub(super) fn with_message<T>(
        &self,
        envelope: &[u8],
        aad: Aad<'_>,
        work: impl FnOnce(Message<'_>, &[u8], Cut) -> Result<T>,
    ) -> Result<T> {
        let envelope = Envelope::parse(envelope)?;
        let verified = self.verify(envelope.header())?;
        let message = verified.message(aad)?.on(self.parallel());
        work(message, envelope.chunks(), envelope.cut())
    }

    /// What opens the chunks behind `header`.
    pub(super) fn chunks(&self, header: &Header<'_>, aad: Aad<'_>) -> Result<ChunkMachine> {
        self.check()?;
        self.verify(header)?
            .chunks(aad, self.lease.stop_flag(Some(&self.runtime)))
    }

    /// Opens an envelope. Plaintext is released only after all of it was verified.
    ///
    /// # Errors
    /// - `CannotOpen` for an envelope of another DEK or context, another AAD, or altered bytes
    /// - `ContextMismatch` if another context is stored in the envelope
    /// - `KeyRevoked` or `LeaseExpired` if the lease is over
    /// - `OverLimit` for an AAD above 65,536 bytes
    /// - the errors of [`Envelope::parse`]
    pub fn open(&self, envelope: &[u8], aad: Aad<'_>) -> Result<Plaintext> {
        let mut out = Vec::new();
        self.open_into(envelope, aad, &mut out)?;
        Ok(Plaintext::new(out))
    }

    /// Opens an envelope and appends its plaintext to `out`, which is as it was after an error.
    ///
    /// # Errors
    /// The errors of [`open`](Self::open).
    pub fn open_into(&self, envelope: &[u8], aad: Aad<'_>, out: &mut Vec<u8>) -> Result<()> {
        during(Operation::Open, || {
            self.check()?;
            self.with_message(envelope, aad, |message, chunks, cut| {
                message.open_to_vec(chunks, cut, out)
            })
        })
    }

    /// Opens an envelope to the front of `out`, which must be at least as long as the plaintext, and returns the length
    /// of the plaintext.
    ///
    /// It neither copies nor allocates nor clears `out` first. For large payloads and a buffer that is used again, it is
    /// the fastest way that keeps the envelope. If the payload does not open, nothing of it stays in `out`.
    ///
    /// # Errors
    /// The errors of [`open`](Self::open); `InvalidArgument` if `out` is too short.
    pub fn open_to_slice(&self, envelope: &[u8], aad: Aad<'_>, out: &mut [u8]) -> Result<usize> {
        during(Operation::Open, || {
            self.check()?;
            self.with_message(envelope, aad, |message, chunks, cut| {
                let out = front(out, cut)?;
                message.open_to(chunks, cut, out)?;
                Ok(out.len())
            })
        })
    }

    /// Opens an envelope where it lies, without copying. After an error the chunks are wiped, and `envelope` is no longer
    /// an envelope.
    ///
    /// # Errors
    /// The errors of [`open`](Self::open).
    pub fn open_in_place<'b>(&self, envelope: &'b mut [u8], aad: Aad<'_>) -> Result<OpenedInPlace<'b>> {
        during(Operation::Open, || {
            self.check()?;
            self.open_where_it_lies(envelope, aad)
        })
    }

    pub(super) fn open_where_it_lies<'b>(
        &self,
        envelope: &'b mut [u8],
        aad: Aad<'_>,
    ) -> Result<OpenedInPlace<'b>> {
        let (len, cut) = {
            let envelope = Envelope::parse(envelope)?;
            (envelope.header().len(), envelope.cut())
        };
        let (header, chunks) = envelope
            .split_at_mut_checked(len)
            .ok_or_else(Error::cannot_open)?;
        let verified = self.verify(&Header::parse(header)?)?;
        verified
            .message(aad)?
            .on(self.parallel())
            .open_in_place(chunks, cut)
    }

    /// Returns a reader that opens the chunks in `reader`, in constant memory. `reader` is the rest of the stream that
    /// `header` was read from.
    ///
    /// # Errors
    /// - `CannotOpen` for the header of another DEK or context
    /// - `ContextMismatch` if another context is stored in the header
    /// - `KeyRevoked` or `LeaseExpired` if the lease is over
    /// - `OverLimit` for an AAD above 65,536 bytes
    pub fn reader<R: Read>(&self, header: &Header<'_>, reader: R, aad: Aad<'_>) -> Result<OpenReader<R>> {
        let chunks = during(Operation::Open, || self.chunks(header, aad))?;
        Ok(OpenReader::new(reader, chunks, self.parallel()))
    }

    /// The same over a reader with a buffer. Chunks in the buffer are opened from there, which saves a copy. This helps
    /// only if the buffer holds more than one chunk, as bytes in memory and memory maps do.
    ///
    /// # Errors
    /// The errors of [`reader`](Self::reader).
    pub fn buf_reader<R: BufRead>(
        &self,
        header: &Header<'_>,
        reader: R,
        aad: Aad<'_>,
    ) -> Result<OpenReader<R>> {
        let chunks = during(Operation::Open, || self.chunks(header, aad))?;
        Ok(OpenReader::buffered(reader, chunks, self.parallel()))
    }

    /// Returns the lease, to read or to revoke it.
    #[must_use]
    pub fn lease(&self) -> &Arc<DekLease> {
        &self.lease
    }
}

/// Whether a handle of a lease that ends at `end` may be used.
pub(super) fn check(lease: &DekLease, end: Option<Monotonic>, now: Monotonic) -> Result<()> {
    lease.check(now)?;
    if end.is_some_and(|end| now >= end) {
        return Err(Error::new(ErrorKind::LeaseExpired));
    }
    Ok(())
}

/// Returns the front of `out`, of the length of a plaintext.
pub(super) fn front(out: &mut [u8], cut: Cut) -> Result<&mut [u8]> {
    let (needed, given) = (cut.plaintext_len(), out.len());
    out.get_mut(..needed).ok_or_else(|| {
        Error::argument(format!(
            "the buffer must have at least the {needed} bytes of the plaintext, got {given}"
        ))
    })
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener")
            .field("lease", &self.lease)
            .field("context", &self.context)
            .finish_non_exhaustive()
    }
}
