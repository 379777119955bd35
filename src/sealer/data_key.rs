//! A DEK at hand: the synchronous half of sealing and opening.

use std::fmt;
use std::io::{Read, Write};
use std::sync::Arc;

use super::sessions::Sessions;
use super::{in_session, is_session_over};
use crate::envelope::{Envelope, Header, Wraps};
use crate::message::ChunkOpener;
#[cfg(any(feature = "futures-io", feature = "tokio"))]
use crate::message::SealStart;
use crate::message::parallel::Parallel;
use crate::message::{Layout, OpenReader, OpenedInPlace, SealWriter, Sealing, Session};
use crate::runtime::{Monotonic, Runtime};
use crate::source::lease::DekLease;
use crate::value::aad::Aad;
use crate::value::context::EncryptionContext;
use crate::value::error::{Error, ErrorKind, Operation, Result};
use crate::value::secret::Plaintext;

/// The DEK of an envelope, in one context: opens that envelope and every other of the same DEK.
///
/// Checks on every call that its lease was neither revoked nor has expired. A reader checks for revocation
/// at every chunk, and may finish its message after the lease expired.
/// A [`RangeReader`](crate::message::RangeReader) asks for both at every read.
pub struct Opener {
    pub(super) lease: Arc<DekLease>,
    pub(super) context: EncryptionContext,
    runtime: Arc<dyn Runtime>,
    parallel: Option<Parallel>,
}

impl Opener {
    pub(super) fn new(lease: Arc<DekLease>, context: EncryptionContext, runtime: Arc<dyn Runtime>) -> Self {
        Self {
            lease,
            context,
            runtime,
            parallel: None,
        }
    }

    /// An opener of a lease that the caller has: for stores of DEKs, whose envelopes are detached.
    #[must_use]
    pub fn from_lease(lease: Arc<DekLease>, context: &EncryptionContext, runtime: Arc<dyn Runtime>) -> Self {
        Self::new(lease, context.clone(), runtime)
    }

    /// Opens large payloads and streams on several threads; on the calling one alone with `None`.
    #[must_use]
    pub fn with_parallel(mut self, parallel: impl Into<Option<Parallel>>) -> Self {
        self.parallel = parallel.into();
        self
    }

    pub(super) fn parallel(&self) -> Option<&Parallel> {
        self.parallel.as_ref()
    }

    pub(super) fn check(&self) -> Result<()> {
        self.lease.check(self.runtime.now())
    }

    /// Opens an envelope. Plaintext is released only after all of it was verified.
    ///
    /// # Errors
    /// `CannotOpen` for an envelope of another DEK or context, another AAD, or altered bytes; `ContextMismatch`
    /// where another context is stored in it; `KeyRevoked` or `LeaseExpired`; `OverLimit` for an AAD above 65,536
    /// bytes; as [`Envelope::parse`].
    pub fn open(&self, envelope: &[u8], aad: Aad<'_>) -> Result<Plaintext> {
        let mut out = Vec::new();
        self.open_into(envelope, aad, &mut out)?;
        Ok(Plaintext::new(out))
    }

    /// Opens an envelope and appends its plaintext to `out`, which is as it was after an error.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_into(&self, envelope: &[u8], aad: Aad<'_>, out: &mut Vec<u8>) -> Result<()> {
        let open = || {
            self.check()?;
            let envelope = Envelope::parse(envelope)?;
            envelope.header().check_stored_context(self.context.digest())?;
            self.lease
                .open_to(&envelope, &self.context, aad.as_bytes(), out, self.parallel())
        };
        during(Operation::Open, open)
    }

    /// Opens an envelope to the front of `out`, which has at least the length of its plaintext, and says how long that
    /// is. Neither copies nor allocates nor clears first: for large payloads and a buffer that is used again, the
    /// fastest way that keeps the envelope. Nothing of a payload that does not open stays in `out`.
    ///
    /// # Errors
    /// As [`open`](Self::open); `InvalidArgument` where `out` is too short.
    pub fn open_to_slice(&self, envelope: &[u8], aad: Aad<'_>, out: &mut [u8]) -> Result<usize> {
        during(Operation::Open, || {
            self.check()?;
            let envelope = Envelope::parse(envelope)?;
            envelope.header().check_stored_context(self.context.digest())?;
            let len = envelope.cut().plaintext_len();
            let out = out
                .get_mut(..len)
                .ok_or_else(|| Error::argument("the buffer is shorter than the plaintext"))?;
            self.lease
                .open_to_slice(&envelope, &self.context, aad.as_bytes(), out, self.parallel())?;
            Ok(len)
        })
    }

    /// Opens an envelope where it lies, without copying. After an error the chunks are wiped: `envelope` is
    /// then no envelope any more.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_in_place<'b>(&self, envelope: &'b mut [u8], aad: Aad<'_>) -> Result<OpenedInPlace<'b>> {
        during(Operation::Open, || {
            self.check()?;
            self.lease
                .open_in_place(envelope, &self.context, aad.as_bytes(), self.parallel())
        })
    }

    /// Opens the chunks that `reader` gives, in constant memory: the rest of the stream that `header` was
    /// read from.
    ///
    /// # Errors
    /// `CannotOpen` for the header of another DEK or context; `ContextMismatch`; `KeyRevoked` or
    /// `LeaseExpired`; `OverLimit` for an AAD above 65,536 bytes.
    pub fn reader<R: Read>(&self, header: &Header<'_>, reader: R, aad: Aad<'_>) -> Result<OpenReader<R>> {
        during(Operation::Open, || {
            self.check()?;
            header.check_stored_context(self.context.digest())?;
            self.lease.reader(
                header,
                &self.context,
                aad.as_bytes(),
                reader,
                self.parallel(),
                &self.runtime,
            )
        })
    }

    /// The lease, to look at or to revoke.
    #[must_use]
    pub fn lease(&self) -> &Arc<DekLease> {
        &self.lease
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener")
            .field("lease", &self.lease)
            .field("context", &self.context)
            .finish_non_exhaustive()
    }
}

/// A DEK and its wraps, in one context: seals any number of values without another call to a key manager.
///
/// Every envelope has the same wraps, and those of one session show the same session id, so they can be told
/// to belong together. Sealing into a caller's buffer allocates nothing and costs one AEAD call and a nonce.
///
/// It ends: by age ([`Builder::data_key_age`](super::Builder::data_key_age), one hour by default), by its
/// lease, by the budget of its DEK (2^24 sessions of 2^20 messages). Then every call gives `LeaseExpired`,
/// `KeyRevoked` or `BudgetExhausted`, and the caller asks the sealer for another. After a `fork` parent and
/// child seal in different sessions.
pub struct DataKey {
    pub(super) opener: Opener,
    pub(super) prefix: Vec<u8>,
    sealing: Sealing,
    end: Monotonic,
    pub(super) sessions: Sessions,
}

impl DataKey {
    pub(super) fn new(opener: Opener, prefix: Vec<u8>, sealing: Sealing, end: Monotonic) -> Result<Self> {
        let sessions = Sessions::new(opener.lease.session(sealing, &opener.context)?);
        Ok(Self {
            opener,
            prefix,
            sealing,
            end,
            sessions,
        })
    }

    /// A data key of a lease whose wraps are known or kept elsewhere: for stores of DEKs, which write
    /// detached envelopes. Seals with the default suite and chunk size, until `end` in the time of `runtime`.
    ///
    /// `wraps` must be those of the lease's DEK, and `context` the one that they were made for. Neither can be
    /// checked here, and with others the envelopes never open.
    ///
    /// # Errors
    /// `InvalidArgument` for a lease that may not seal; `BudgetExhausted`; `KeyRevoked`.
    pub fn from_lease(
        lease: Arc<DekLease>,
        wraps: &Wraps,
        context: &EncryptionContext,
        runtime: Arc<dyn Runtime>,
        end: Monotonic,
    ) -> Result<Self> {
        let prefix = wraps.prefix(0)?;
        Self::new(
            Opener::new(lease, context.clone(), runtime),
            prefix,
            Sealing::default(),
            end,
        )
    }

    /// When it ends, in the time of its runtime, unless its lease is revoked or its budget used up before.
    #[must_use]
    pub fn expires_at(&self) -> Monotonic {
        self.opener
            .lease
            .expires_at()
            .map_or(self.end, |lease| lease.min(self.end))
    }

    pub(super) fn check(&self) -> Result<()> {
        let now = self.opener.runtime.now();
        self.opener.lease.check(now)?;
        if now >= self.end {
            Err(Error::new(ErrorKind::LeaseExpired))
        } else {
            Ok(())
        }
    }

    /// Runs `work` in the open session, or in a new one where that has ended.
    pub(super) fn in_session<T>(&self, mut work: impl FnMut(&Arc<Session>) -> Result<T>) -> Result<T> {
        self.check()?;
        if let Some(session) = self.sessions.current() {
            match work(session) {
                Err(error) if is_session_over(&error) => {}
                result => return result,
            }
            self.sessions
                .put(self.opener.lease.session(self.sealing, &self.opener.context)?);
        }
        in_session(&self.opener.lease, self.sealing, &self.opener.context, work)
    }

    /// Seals and opens large payloads and streams on several threads; on the calling one alone with `None`.
    #[must_use]
    pub fn with_parallel(mut self, parallel: impl Into<Option<Parallel>>) -> Self {
        self.opener = self.opener.with_parallel(parallel);
        self
    }

    pub(super) fn parallel(&self) -> Option<&Parallel> {
        self.opener.parallel()
    }

    /// Seals `plaintext` to a new envelope. One allocation.
    ///
    /// # Errors
    /// `LeaseExpired`, `KeyRevoked` or `BudgetExhausted` where the data key has ended; `OverLimit` for an AAD
    /// above 65,536 bytes.
    pub fn seal(&self, plaintext: &[u8], aad: Aad<'_>) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        self.seal_into(plaintext, aad, &mut out)?;
        Ok(out)
    }

    /// Seals `plaintext` and appends the envelope to `out`, which is as it was after an error. Allocates
    /// nothing where `out` has the room that [`layout`](Self::layout) tells.
    ///
    /// # Errors
    /// As [`seal`](Self::seal).
    pub fn seal_into(&self, plaintext: &[u8], aad: Aad<'_>, out: &mut Vec<u8>) -> Result<()> {
        during(Operation::Seal, || {
            aad.check()?;
            let dek = self.opener.lease.dek();
            self.in_session(|session| {
                session.seal_to_vec(dek, &self.prefix, aad.as_bytes(), plaintext, out, self.parallel())
            })
        })
    }

    /// Seals `plaintext` to `out`, which has exactly the length of its [`layout`](Self::layout). Neither copies nor
    /// allocates nor clears first: for large payloads and a buffer that is used again, the fastest way there is. After
    /// an error `out` holds nothing of use.
    ///
    /// # Errors
    /// As [`seal`](Self::seal); `InvalidArgument` where `out` has another length.
    pub fn seal_to_slice(&self, plaintext: &[u8], aad: Aad<'_>, out: &mut [u8]) -> Result<()> {
        during(Operation::Seal, || {
            aad.check()?;
            let layout = self.layout(plaintext.len())?;
            let dek = self.opener.lease.dek();
            self.in_session(|session| {
                let mut nonce = [0; 12];
                layout.check(out)?;
                session.begin(&mut nonce)?;
                session.seal_to_slice(
                    dek,
                    &self.prefix,
                    &nonce,
                    aad.as_bytes(),
                    plaintext,
                    out,
                    layout,
                    self.parallel(),
                )
            })
        })
    }

    /// Where things lie in the envelope of a payload of `plaintext` bytes.
    ///
    /// # Errors
    /// `OverLimit` above 2^46 bytes or 2^32 chunks.
    pub fn layout(&self, plaintext: usize) -> Result<Layout> {
        Layout::new(self.sealing, &self.opener.context, self.prefix.len(), plaintext)
    }

    /// Seals in place, without copying or allocating: `buffer` has exactly the length of `layout`'s envelope,
    /// and the plaintext lies in it where [`Layout::plaintext_ranges`] says.
    ///
    /// ```
    /// # use waxseal::{Aad, EncryptionContext, Kek, blocking::Sealer, backend::local::LocalKey};
    /// # let sealer = Sealer::new(LocalKey::new(&Kek::generate()?));
    /// # let context = EncryptionContext::new([("tenant", "acme")])?;
    /// let key = sealer.data_key(&context)?;
    /// let layout = key.layout(5)?;
    /// let mut buffer = vec![0; layout.envelope_len()];
    /// for range in layout.plaintext_ranges() {
    ///     buffer[range].copy_from_slice(b"hello"); // or read into it from a file
    /// }
    /// key.seal_in_place(&mut buffer, layout, Aad::new("row 7"))?;
    /// assert_eq!(key.open_in_place(&mut buffer, Aad::new("row 7"))?.into_contiguous(), b"hello");
    /// # Ok::<(), waxseal::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`seal`](Self::seal); `InvalidArgument` for a buffer of another length, or a layout of another key.
    pub fn seal_in_place(&self, buffer: &mut [u8], layout: Layout, aad: Aad<'_>) -> Result<()> {
        during(Operation::Seal, || {
            aad.check()?;
            if self.layout(layout.cut().plaintext_len())? != layout {
                return Err(Error::argument("the layout is of another data key"));
            }
            let dek = self.opener.lease.dek();
            self.in_session(|session| {
                session.seal_buffer(dek, &self.prefix, aad.as_bytes(), buffer, layout, self.parallel())
            })
        })
    }

    /// Seals what is written to it to an envelope in `writer`, in constant memory. The stream must be
    /// finished with [`SealWriter::finish`].
    ///
    /// # Errors
    /// As [`seal`](Self::seal). `writer` is dropped with an error.
    pub fn writer<W: Write>(&self, writer: W, aad: Aad<'_>) -> Result<SealWriter<W>> {
        during(Operation::Seal, || {
            let lease = &self.opener.lease;
            let start = self.in_session(|session| {
                lease.begin_stream(session, &self.prefix, aad.as_bytes(), &self.opener.runtime)
            })?;
            Ok(SealWriter::new(writer, start, self.parallel()))
        })
    }

    /// Opens an envelope of this DEK. Plaintext is released only after all of it was verified.
    ///
    /// # Errors
    /// As [`Opener::open`], and `LeaseExpired` where the data key has ended.
    pub fn open(&self, envelope: &[u8], aad: Aad<'_>) -> Result<Plaintext> {
        let mut out = Vec::new();
        self.open_into(envelope, aad, &mut out)?;
        Ok(Plaintext::new(out))
    }

    /// Opens an envelope of this DEK and appends its plaintext to `out`, which is as it was after an error.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_into(&self, envelope: &[u8], aad: Aad<'_>, out: &mut Vec<u8>) -> Result<()> {
        during(Operation::Open, || {
            self.check()?;
            // What this session sealed has a front that is known byte for byte: nothing to parse.
            if let Some(session) = self.sessions.current()
                && let Some((nonce, chunks)) = session.own_message(&self.prefix, envelope)
            {
                let dek = self.opener.lease.dek();
                return session.open_own(dek, nonce, aad.as_bytes(), chunks, out, self.parallel());
            }
            let envelope = Envelope::parse(envelope)?;
            envelope
                .header()
                .check_stored_context(self.opener.context.digest())?;
            self.opener.lease.open_to(
                &envelope,
                &self.opener.context,
                aad.as_bytes(),
                out,
                self.parallel(),
            )
        })
    }

    /// Opens an envelope of this DEK to the front of `out`, and says how long the plaintext is, see
    /// [`Opener::open_to_slice`].
    ///
    /// # Errors
    /// As there, and `LeaseExpired` where the data key has ended.
    pub fn open_to_slice(&self, envelope: &[u8], aad: Aad<'_>, out: &mut [u8]) -> Result<usize> {
        during(Operation::Open, || self.check())?;
        self.opener.open_to_slice(envelope, aad, out)
    }

    /// Opens an envelope of this DEK where it lies, see [`Opener::open_in_place`].
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_in_place<'b>(&self, envelope: &'b mut [u8], aad: Aad<'_>) -> Result<OpenedInPlace<'b>> {
        during(Operation::Open, || {
            self.check()?;
            self.opener
                .lease
                .open_in_place(envelope, &self.opener.context, aad.as_bytes(), self.parallel())
        })
    }

    /// Opens the chunks that `reader` gives, see [`Opener::reader`].
    ///
    /// # Errors
    /// As there, and `LeaseExpired` where the data key has ended.
    pub fn reader<R: Read>(&self, header: &Header<'_>, reader: R, aad: Aad<'_>) -> Result<OpenReader<R>> {
        during(Operation::Open, || self.check())?;
        self.opener.reader(header, reader, aad)
    }

    /// The lease, to look at or to revoke.
    #[must_use]
    pub fn lease(&self) -> &Arc<DekLease> {
        self.opener.lease()
    }
}

// For streams and ranges, which stand in files of their own.

impl Opener {
    /// What opens the chunks behind `header`.
    pub(super) fn chunk_opener(&self, header: &Header<'_>, aad: Aad<'_>) -> Result<ChunkOpener> {
        during(Operation::Open, || {
            self.lease.check(self.runtime.now())?;
            header.check_stored_context(self.context.digest())?;
            self.lease
                .chunk_opener(header, &self.context, aad.as_bytes(), &self.runtime)
        })
    }

    pub(super) fn runtime(&self) -> &Arc<dyn Runtime> {
        &self.runtime
    }
}

impl DataKey {
    /// Begins a message that is sealed chunk by chunk.
    #[cfg(any(feature = "futures-io", feature = "tokio"))]
    pub(super) fn begin_stream(&self, aad: Aad<'_>) -> Result<SealStart> {
        during(Operation::Seal, || {
            let lease = &self.opener.lease;
            self.in_session(|session| {
                lease.begin_stream(session, &self.prefix, aad.as_bytes(), &self.opener.runtime)
            })
        })
    }

    pub(super) fn opener(&self) -> &Opener {
        &self.opener
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataKey")
            .field("lease", self.lease())
            .field("context", &self.opener.context)
            .finish_non_exhaustive()
    }
}

pub(super) fn during<T>(operation: Operation, work: impl FnOnce() -> Result<T>) -> Result<T> {
    work().map_err(|error| error.with_operation(operation))
}
