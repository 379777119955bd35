//! Many small values at once: a column.

mod opened;
mod sealed;

use std::sync::Arc;

pub use opened::OpenedBatch;
pub use sealed::SealedBatch;

use super::{DataKey, Opener, during};
use crate::envelope::{BODY_FIXED, Envelope};
use crate::message::{Front, Nonces, Session, VerifiedHeader};
use crate::value::aad::Aad;
use crate::value::error::{Error, ErrorKind, Operation, Result};

/// The least that an envelope adds: magic, kind and length, then head, commitment, nonce and a tag.
const OVERHEAD_MIN: usize = 8 + BODY_FIXED + 16;
/// Rows that are opened between two looks at the clock.
const CLOCK: usize = 16;

impl DataKey {
    /// Seals `values` and appends their envelopes to `out`: all of them or, after an error, none. `aad` returns the AAD
    /// of each row, counted from 0.
    ///
    /// The envelopes are those that [`seal`](Self::seal) returns, under the same limits and budgets. If a session ends in
    /// the middle, the next one follows. A batch saves the allocation for each value: it allocates once, or not at all if
    /// `out` has room. A row costs little more than its AEAD call: sixteen rows share look-ups, the draw of nonces and a
    /// look at the clock. The batch asks at every row whether the lease was revoked. It goes through the values twice,
    /// the first time for their lengths.
    ///
    /// ```
    /// # use waxseal::{EncryptionContext, Kek, sealer::OpenedBatch, sealer::SealedBatch, blocking::Sealer, backend::local::LocalKey};
    /// # let sealer = Sealer::new(LocalKey::new(&Kek::generate()?));
    /// # let context = EncryptionContext::new([("tenant", "acme"), ("table", "users")])?;
    /// struct User {
    ///     id: u64,
    ///     email: String,
    /// }
    /// # let users = [User { id: 7, email: "a@example.com".into() }, User { id: 9, email: String::new() }];
    /// let key = sealer.data_key(&context)?;
    /// let emails = users.iter().map(|user| &user.email);
    /// let mut sealed = SealedBatch::new();
    /// key.seal_batch(emails, |row| users[row].id.to_be_bytes(), &mut sealed)?;
    ///
    /// let mut opened = OpenedBatch::new();
    /// key.open_batch(sealed.iter(), |row| users[row].id.to_be_bytes(), &mut opened)?;
    /// assert!(opened.errors().is_empty());
    /// for (user, email) in users.iter().zip(opened.iter()) {
    ///     assert_eq!(email.unwrap(), user.email.as_bytes());
    /// }
    /// # Ok::<(), waxseal::Error>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`seal`](Self::seal); `InvalidArgument` if the values are not the same the second time.
    pub fn seal_batch<I, A>(
        &self,
        values: I,
        mut aad: impl FnMut(usize) -> A,
        out: &mut SealedBatch,
    ) -> Result<()>
    where
        I: IntoIterator<IntoIter: Clone, Item: AsRef<[u8]>>,
        A: AsRef<[u8]>,
    {
        during(Operation::Seal, || {
            self.check()?;
            let values = values.into_iter();
            let (mut rows, mut len) = (0, 0_usize);
            for value in values.clone() {
                rows += 1;
                len = len.saturating_add(self.layout(value.as_ref().len())?.envelope_len());
            }
            let mut room = out.append(rows, len)?;
            let mut nonces = Nonces::default();
            let mut session: Option<Arc<Session>> = None;
            for (row, value) in values.enumerate() {
                let (value, aad) = (value.as_ref(), aad(row));
                let aad = Aad::new(&aad);
                aad.check()?;
                let len = self.layout(value.len())?.envelope_len();
                let envelope = room.next(len).ok_or_else(changed)?;
                // Whatever the caller's code did, including a fork, it did before this.
                if nonces.is_empty() || session.as_ref().is_none_or(|session| session.has_forked()) {
                    session = Some(self.in_session(|session| {
                        session.begin_many(rows.saturating_sub(row), &mut nonces)?;
                        Ok(Arc::clone(session))
                    })?);
                } else if self.opener.lease.is_revoked() {
                    return Err(Error::new(ErrorKind::KeyRevoked));
                }
                let (Some(session), Some(begun)) = (&session, nonces.next()) else {
                    return Err(changed());
                };
                let parallel = self.parallel();
                session.seal_to(&begun, &self.prefix, value, aad, envelope, parallel)?;
            }
            room.finish().ok_or_else(changed)
        })
    }

    /// Opens `envelopes` of this DEK and appends a row for each to `out`: its plaintext, or the error of that row. One
    /// bad row does not lose the others. `aad` returns the AAD of each row, counted from 0.
    ///
    /// The batch allocates once for all rows, or not at all if `out` has room. It recognizes rows of its own session by
    /// their first bytes and does not parse them. For other rows it parses wraps and head once for as long as they stay
    /// the same, which saves a third of a call of [`Opener::open_into`]. It reads the clock at every sixteenth row, and
    /// asks at every row whether the lease was revoked.
    ///
    /// # Errors
    /// A row has the errors of [`open`](Self::open). The whole batch fails, and leaves `out` as it was, with
    /// - `KeyRevoked` if the lease was revoked
    /// - `LeaseExpired` if the data key has ended
    pub fn open_batch<I, A>(
        &self,
        envelopes: I,
        aad: impl FnMut(usize) -> A,
        out: &mut OpenedBatch,
    ) -> Result<()>
    where
        I: IntoIterator<IntoIter: Clone, Item: AsRef<[u8]>>,
        A: AsRef<[u8]>,
    {
        during(Operation::Open, || {
            self.check()?;
            let own = self
                .sessions
                .current()
                .map(|session| (session, self.prefix.as_slice()));
            open_batch(
                &self.opener,
                own,
                || self.check(),
                envelopes.into_iter(),
                aad,
                out,
            )
        })
    }
}

impl Opener {
    /// Opens `envelopes` of this DEK, see [`DataKey::open_batch`].
    ///
    /// # Errors
    /// A row has the errors of [`open`](Self::open). The whole batch fails, and leaves `out` as it was, with `KeyRevoked`
    /// or `LeaseExpired` if the lease is over.
    pub fn open_batch<I, A>(
        &self,
        envelopes: I,
        aad: impl FnMut(usize) -> A,
        out: &mut OpenedBatch,
    ) -> Result<()>
    where
        I: IntoIterator<IntoIter: Clone, Item: AsRef<[u8]>>,
        A: AsRef<[u8]>,
    {
        during(Operation::Open, || {
            self.check()?;
            open_batch(self, None, || self.check(), envelopes.into_iter(), aad, out)
        })
    }
}

fn open_batch<I, A>(
    opener: &Opener,
    own: Option<(&Arc<Session>, &[u8])>,
    check: impl Fn() -> Result<()>,
    envelopes: I,
    mut aad: impl FnMut(usize) -> A,
    out: &mut OpenedBatch,
) -> Result<()>
where
    I: Iterator<Item: AsRef<[u8]>> + Clone,
    A: AsRef<[u8]>,
{
    let (mut rows, mut len) = (0, 0_usize);
    for envelope in envelopes.clone() {
        rows += 1;
        len = len.saturating_add(envelope.as_ref().len().saturating_sub(OVERHEAD_MIN));
    }
    let before = (out.len(), out.as_bytes().len());
    out.reserve(rows, len);
    let mut known = Known::default();
    for (row, envelope) in envelopes.enumerate() {
        let aad = aad(row);
        // Whatever the caller's code did, it did before this.
        if (row % CLOCK == 0 || opener.lease.is_revoked())
            && let Err(error) = check()
        {
            out.truncate(before.0, before.1);
            return Err(error);
        }
        let (envelope, aad) = (envelope.as_ref(), Aad::new(&aad));
        // The second time there may be more values, or others, and then the room is too small.
        out.reserve(1, envelope.len().saturating_sub(OVERHEAD_MIN));
        out.push(|out| {
            let own = own.and_then(|(session, prefix)| session.own(prefix, envelope));
            let opened = match own {
                Some((verified, chunks)) => open_row(opener, &verified, chunks, envelope, aad, out),
                None => known.open(opener, envelope, aad, out),
            };
            opened.map_err(|error| error.with_operation(Operation::Open))
        });
    }
    Ok(())
}

fn open_row(
    opener: &Opener,
    verified: &VerifiedHeader<'_>,
    chunks: &[u8],
    envelope: &[u8],
    aad: Aad<'_>,
    out: &mut Vec<u8>,
) -> Result<()> {
    let cut = verified.cut(chunks, envelope)?;
    let message = verified.message(aad)?.on(opener.parallel());
    message.open_to_vec(chunks, cut, out)
}

/// The front of the envelope that was opened last, and its session. The next envelope is likely to have the same.
#[derive(Default)]
struct Known {
    /// Everything before the body.
    prefix: Vec<u8>,
    /// The stored context, as it stands behind the nonce.
    stored_context: Vec<u8>,
    session: Option<Arc<Session>>,
}

impl Known {
    fn open(&mut self, opener: &Opener, bytes: &[u8], aad: Aad<'_>, out: &mut Vec<u8>) -> Result<()> {
        let front = Front {
            prefix: &self.prefix,
            stored_context: &self.stored_context,
        };
        if let Some(session) = &self.session
            && let Some((verified, chunks)) = front.verify(session, bytes)
        {
            return open_row(opener, &verified, chunks, bytes, aad, out);
        }
        let envelope = Envelope::parse(bytes)?;
        let header = envelope.header();
        let verified = opener.verify(header)?;
        let opened = open_row(opener, &verified, envelope.chunks(), bytes, aad, out);
        // The header was parsed, is of this context, and commits to this DEK, whether the envelope opened or not.
        let (prefix, body) = header
            .as_bytes()
            .split_at_checked(header.body_offset())
            .unwrap_or_default();
        self.prefix.clear();
        self.prefix.extend_from_slice(prefix);
        self.stored_context.clear();
        self.stored_context
            .extend_from_slice(body.get(BODY_FIXED..).unwrap_or_default());
        self.session = Some(verified.session());
        opened
    }
}

/// The error for an iterator over values, or their lengths, that changed after it was cloned.
fn changed() -> Error {
    Error::argument("the values of the batch changed while they were sealed")
}

#[cfg(test)]
mod tests;
