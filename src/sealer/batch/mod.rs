//! Many small values at once: a column.

mod opened;
mod sealed;

use std::sync::Arc;

pub use opened::OpenedBatch;
pub use sealed::SealedBatch;

use super::data_key::{DataKey, Opener, during};
use crate::envelope::{BODY_HEAD, BodyHead, Cut, Envelope};
use crate::message::{Message, Nonces, Session, SessionKeys};
use crate::source::lease::DekLease;
use crate::value::error::{Error, Operation, Result};
use crate::value::limits;

/// The least that an envelope adds: magic, kind and length, then head, commitment, nonce and a tag.
const OVERHEAD_MIN: usize = 8 + BODY_HEAD + 12 + 16;

impl DataKey {
    /// Seals `values` and appends their envelopes to `out`: all of them or, after an error, none. `aad` gives the
    /// AAD of each row, which is counted from 0.
    ///
    /// The envelopes are those that [`seal`](Self::seal) gives, under the same limits and budgets; a session that
    /// ends in the middle is followed by the next. What a batch saves is the allocation for each value: there is one
    /// for all of them, and none where `out` has room. Beside that each row costs what a call of
    /// [`seal_into`](Self::seal_into) does, which is little more than its AEAD call: look-ups and the draw of nonces
    /// are shared by sixteen rows. The lease and the clock are asked as often. The values are gone through twice, the
    /// first time for their lengths.
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
    /// As [`seal`](Self::seal); `InvalidArgument` where the values are not the same the second time.
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
            let dek = self.opener.lease.dek();
            let mut room = out.append(rows, len)?;
            let mut nonces = Nonces::default();
            let mut session: Option<Arc<Session>> = None;
            for (row, value) in values.enumerate() {
                let (value, aad) = (value.as_ref(), aad(row));
                let aad = aad.as_ref();
                limits::AAD.check(aad.len())?;
                let layout = self.layout(value.len())?;
                let envelope = room.next(layout.envelope_len()).ok_or_else(changed)?;
                // Whatever the caller's code did, a fork included, it did before this.
                if nonces.is_empty() || session.as_ref().is_none_or(|session| session.has_forked()) {
                    session = Some(self.in_session(|session| {
                        session.begin_many(rows.saturating_sub(row), &mut nonces)?;
                        Ok(Arc::clone(session))
                    })?);
                }
                let (Some(session), Some(nonce)) = (&session, nonces.next()) else {
                    return Err(changed());
                };
                let parallel = self.parallel();
                session.seal_to_slice(dek, &self.prefix, nonce, aad, value, envelope, layout, parallel)?;
            }
            room.finish().ok_or_else(changed)
        })
    }

    /// Opens `envelopes` of this DEK and appends a row for each to `out`: its plaintext, or the error of that row. One
    /// bad row does not lose the others. `aad` gives the AAD of each row, counted from 0.
    ///
    /// Memory is taken once for all rows, and none where `out` has room. Rows of the session in use here are told by
    /// their first bytes and not parsed; of others, wraps and head are parsed once for as long as they stay the same,
    /// which saves a third of a call of [`Opener::open_into`]. The clock is asked once, and for revocation at
    /// every row.
    ///
    /// # Errors
    /// Of a row as [`open`](Self::open). Of the whole, which then leaves `out` as it was: `KeyRevoked`, or
    /// `LeaseExpired` where the data key has ended.
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
                .map(|session| (&**session, self.prefix.as_slice()));
            open_batch(&self.opener, own, envelopes.into_iter(), aad, out)
        })
    }
}

impl Opener {
    /// Opens `envelopes` of this DEK, see [`DataKey::open_batch`].
    ///
    /// # Errors
    /// Of a row as [`open`](Self::open). Of the whole, which then leaves `out` as it was: `KeyRevoked` or
    /// `LeaseExpired`.
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
            open_batch(self, None, envelopes.into_iter(), aad, out)
        })
    }
}

fn open_batch<I, A>(
    opener: &Opener,
    own: Option<(&Session, &[u8])>,
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
        if opener.lease.is_revoked() {
            out.truncate(before.0, before.1);
            return opener.check();
        }
        let aad = aad(row);
        let (envelope, aad) = (envelope.as_ref(), aad.as_ref());
        // The second time there may be more, or others: then there is less room than they take.
        out.reserve(1, envelope.len().saturating_sub(OVERHEAD_MIN));
        out.push(|out| {
            let opened = if let Some((session, prefix)) = own
                && let Some((nonce, chunks)) = session.own_message(prefix, envelope)
            {
                let dek = opener.lease.dek();
                session.open_own(dek, nonce, aad, chunks, out, opener.parallel())
            } else {
                known.open(opener, envelope, aad, out)
            };
            opened.map_err(|error| error.with_operation(Operation::Open))
        });
    }
    Ok(())
}

/// The front of the envelope that was opened last, and its keys: the next is likely of the same session.
#[derive(Default)]
struct Known {
    /// Everything before the commitment.
    front: Vec<u8>,
    /// The stored context, as it stands behind the nonce.
    stored: Vec<u8>,
    keys: Option<Arc<SessionKeys>>,
}

impl Known {
    fn open(&mut self, opener: &Opener, bytes: &[u8], aad: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let (lease, digest): (&DekLease, _) = (&opener.lease, opener.context.digest());
        if let Some((keys, body, nonce, chunks)) = self.message(bytes) {
            let cut = Cut::of_sealed(body.chunk_size(), chunks.len(), bytes.len() - chunks.len())
                .map_err(|error| error.with_operation(Operation::Parse))?;
            let message = Message {
                dek: lease.dek(),
                keys,
                body,
                nonce,
                digest,
                aad,
                parallel: opener.parallel(),
            };
            return message.open_to(chunks, cut, out);
        }
        let envelope = Envelope::parse(bytes)?;
        let header = envelope.header();
        header.check_stored_context(digest)?;
        let keys = lease.session_keys(header.body(), digest)?;
        let message = Message::new(lease.dek(), &keys, header, digest, aad);
        let opened = message
            .on(opener.parallel())
            .open_to(envelope.chunks(), envelope.cut(), out);
        // Parsed, of this context, and committed to this DEK: that is known of it whether it opened or not.
        self.remember(header.as_bytes(), header.body_offset(), keys);
        opened
    }

    fn remember(&mut self, header: &[u8], body_offset: usize, keys: Arc<SessionKeys>) {
        let commitment = body_offset + BODY_HEAD - 32;
        self.front.clear();
        self.front
            .extend_from_slice(header.get(..commitment).unwrap_or_default());
        self.stored.clear();
        self.stored
            .extend_from_slice(header.get(commitment + 32 + 12..).unwrap_or_default());
        self.keys = Some(keys);
    }

    /// Keys, head, nonce and chunks of an envelope with that front. The commitment is compared in constant time.
    #[allow(clippy::type_complexity, reason = "the parts of one message")]
    fn message<'e>(&self, bytes: &'e [u8]) -> Option<(&SessionKeys, BodyHead<'e>, &'e [u8; 12], &'e [u8])> {
        let keys = self.keys.as_deref()?;
        let rest = bytes.strip_prefix(self.front.as_slice())?;
        let (commitment, rest) = rest.split_first_chunk()?;
        keys.check(commitment).ok()?;
        let (nonce, rest) = rest.split_first_chunk()?;
        let chunks = if self.stored.is_empty() {
            rest
        } else {
            rest.strip_prefix(self.stored.as_slice())?
        };
        let head = bytes.get(..self.front.len() + 32)?.last_chunk()?;
        Some((keys, BodyHead::parse(head).ok()?, nonce, chunks))
    }
}

/// An iterator over values, or their lengths, that is not what it was when it was cloned.
fn changed() -> Error {
    Error::argument("the values of the batch have changed while they were sealed")
}

#[cfg(test)]
mod tests;
