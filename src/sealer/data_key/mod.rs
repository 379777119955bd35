//! The synchronous half of sealing: a DEK and its wraps at hand.

mod opens;

use std::fmt;
use std::io::Write;
use std::sync::Arc;

use super::opener::{self, Opener};
use super::sessions::Sessions;
use super::{during, in_session, is_session_over};
use crate::envelope::Wraps;
use crate::message::parallel::Parallel;
use crate::message::{Layout, SealStart, SealWriter, Sealing, Session};
use crate::runtime::{Monotonic, Runtime};
use crate::source::lease::DekLease;
use crate::value::aad::Aad;
use crate::value::context::EncryptionContext;
use crate::value::error::{Error, Operation, Result};

/// A DEK and its wraps, in one context: seals any number of values without another call to a key manager, synchronously.
/// It opens what it seals, with the methods of an [`Opener`].
///
/// All of its envelopes have the same wraps, and those of one session show the same session id, so anybody can see that
/// they belong together. Sealing into a caller's buffer allocates nothing and costs one AEAD call and a nonce.
///
/// A data key ends by age ([`Builder::data_key_age`](super::Builder::data_key_age), one hour by default), with its lease,
/// or with the budget of its DEK (2^24 sessions of 2^20 messages). Every call then returns `LeaseExpired`, `KeyRevoked`
/// or `BudgetExhausted`, and the caller asks the sealer for another data key. After a `fork`, parent and child seal in
/// different sessions. Fork while no other thread uses the data key: a lock that is held at that moment, to begin or find
/// a session, is never released in the child.
///
/// ```
/// # use waxseal::{Aad, EncryptionContext, Kek, blocking::Sealer, backend::local::LocalKey};
/// # let sealer = Sealer::new(LocalKey::new(&Kek::generate()?));
/// let context = EncryptionContext::new([("tenant", "acme"), ("table", "users")])?;
/// let key = sealer.data_key(&context)?; // the only call to the key manager
///
/// let rows = ["alice@example.com", "bob@example.com"];
/// for (id, email) in rows.iter().enumerate() {
///     let aad = id.to_be_bytes();
///     let sealed = key.seal(email.as_bytes(), Aad::new(&aad))?;
///     assert_eq!(key.open(&sealed, Aad::new(&aad))?, email.as_bytes());
/// }
/// # Ok::<(), waxseal::Error>(())
/// ```
pub struct DataKey {
    pub(super) opener: Opener,
    pub(super) prefix: Vec<u8>,
    sealing: Sealing,
    end: Monotonic,
    pub(super) sessions: Sessions,
}

impl DataKey {
    pub(super) fn new(opener: Opener, prefix: Vec<u8>, sealing: Sealing, end: Monotonic) -> Result<Self> {
        let sessions = Sessions::new(opener.lease.seal_session(sealing, &opener.context)?);
        Ok(Self {
            opener,
            prefix,
            sealing,
            end,
            sessions,
        })
    }

    /// Makes a data key of a lease whose wraps are known or kept elsewhere, for stores of DEKs, which write detached
    /// envelopes. The data key seals with the default suite and chunk size, until `end` in the time of `runtime`.
    ///
    /// `wraps` must be the wraps of the lease's DEK, and `context` the context that they were made for. Neither can be
    /// checked here, and with others the envelopes never open. A registry ends the data key only if the registry knows
    /// the lease: see [`Leases::remember`](crate::source::Leases::remember).
    ///
    /// # Errors
    /// - `InvalidArgument` for a lease that may not seal
    /// - `BudgetExhausted` if the DEK's sessions are used up
    /// - `KeyRevoked` if the lease was revoked
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

    /// Returns when the data key ends, in the time of its runtime, unless its lease is revoked or its budget is used up
    /// before.
    #[must_use]
    pub fn expires_at(&self) -> Monotonic {
        self.opener
            .lease
            .expires_at()
            .map_or(self.end, |lease| lease.min(self.end))
    }

    pub(super) fn check(&self) -> Result<()> {
        opener::check(&self.opener.lease, Some(self.end), self.opener.runtime.now())
    }

    /// Runs `work` in the open session, or in a new session if that has ended.
    pub(super) fn in_session<T>(&self, mut work: impl FnMut(&Arc<Session>) -> Result<T>) -> Result<T> {
        self.check()?;
        if let Some(session) = self.sessions.current() {
            match work(session) {
                Err(error) if is_session_over(&error) => {}
                result => return result,
            }
            self.sessions.put(
                self.opener
                    .lease
                    .seal_session(self.sealing, &self.opener.context)?,
            );
        }
        in_session(&self.opener.lease, self.sealing, &self.opener.context, work)
    }

    /// Seals and opens large payloads and streams on several threads, or with `None` on the calling thread alone.
    #[must_use]
    pub fn with_parallel(mut self, parallel: impl Into<Option<Parallel>>) -> Self {
        self.opener = self.opener.with_parallel(parallel);
        self
    }

    pub(super) fn parallel(&self) -> Option<&Parallel> {
        self.opener.parallel()
    }

    /// Seals `plaintext` to a new envelope, with one allocation.
    ///
    /// # Errors
    /// - `LeaseExpired`, `KeyRevoked` or `BudgetExhausted` if the data key has ended
    /// - `OverLimit` for an AAD above 65,536 bytes, or a plaintext above 2^46
    pub fn seal(&self, plaintext: &[u8], aad: Aad<'_>) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        self.seal_into(plaintext, aad, &mut out)?;
        Ok(out)
    }

    /// Seals `plaintext` and appends the envelope to `out`, which is as it was after an error. Allocates nothing if `out`
    /// has the room that [`layout`](Self::layout) returns.
    ///
    /// # Errors
    /// The errors of [`seal`](Self::seal).
    pub fn seal_into(&self, plaintext: &[u8], aad: Aad<'_>, out: &mut Vec<u8>) -> Result<()> {
        during(Operation::Seal, || {
            aad.check()?;
            self.in_session(|session| session.seal_to_vec(&self.prefix, plaintext, aad, out, self.parallel()))
        })
    }

    /// Seals `plaintext` to `out`, which must be exactly as long as its [`layout`](Self::layout) says.
    ///
    /// It neither copies nor allocates nor clears `out` first. For large payloads and a buffer that is used again, it is
    /// the fastest way. After an error, `out` holds nothing of use.
    ///
    /// # Errors
    /// The errors of [`seal`](Self::seal); `InvalidArgument` if `out` has another length.
    pub fn seal_to_slice(&self, plaintext: &[u8], aad: Aad<'_>, out: &mut [u8]) -> Result<()> {
        during(Operation::Seal, || {
            aad.check()?;
            self.layout(plaintext.len())?.check(out)?;
            self.in_session(|session| {
                let mut nonce = [0; 12];
                let begun = session.begin(&mut nonce)?;
                session.seal_to(&begun, &self.prefix, plaintext, aad, out, self.parallel())
            })
        })
    }

    /// Returns where things lie in the envelope of a payload of `plaintext` bytes.
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
    /// The errors of [`seal`](Self::seal); `InvalidArgument` for a buffer of another length, or a layout of another key.
    pub fn seal_in_place(&self, buffer: &mut [u8], layout: Layout, aad: Aad<'_>) -> Result<()> {
        during(Operation::Seal, || {
            aad.check()?;
            if self.layout(layout.cut().plaintext_len())? != layout {
                return Err(Error::argument("the layout is of another data key"));
            }
            self.in_session(|session| {
                session.seal_in_place(&self.prefix, buffer, layout, aad, self.parallel())
            })
        })
    }

    /// Returns a writer that seals what is written to it to an envelope in `writer`, in constant memory. The stream must
    /// be finished with [`SealWriter::finish`].
    ///
    /// # Errors
    /// The errors of [`seal`](Self::seal). `writer` is dropped with an error.
    pub fn writer<W: Write>(&self, writer: W, aad: Aad<'_>) -> Result<SealWriter<W>> {
        Ok(SealWriter::new(writer, self.begin_stream(aad)?, self.parallel()))
    }

    /// Begins a message that is sealed chunk by chunk.
    pub(super) fn begin_stream(&self, aad: Aad<'_>) -> Result<SealStart> {
        during(Operation::Seal, || {
            aad.check()?;
            let lease = &self.opener.lease;
            self.in_session(|session| {
                session.begin_stream(&self.prefix, aad, lease.stop_flag(Some(&self.opener.runtime)))
            })
        })
    }

    /// Returns the lease, to read or to revoke it.
    #[must_use]
    pub fn lease(&self) -> &Arc<DekLease> {
        self.opener.lease()
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
