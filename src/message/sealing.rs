//! Sealing: a session that counts its messages and gives no two of them the same number.

use std::sync::Arc;

use super::header::VerifiedHeader;
use super::layout::Layout;
use super::machine::{ChunkMachine, MessageKeys, SealStart};
use super::messages::Messages;
use super::nonces::{Begun, Nonces};
use super::session::{Front, Session};
use super::whole::{FRESH_PAGES, Message, room};
use crate::envelope::{ChunkSize, FLAG_STORED_CONTEXT, HEAD, push_stored_context};
use crate::message::StopFlag;
use crate::message::chunk::refused;
use crate::message::parallel::Parallel;
use crate::value::aad::Aad;
use crate::value::context::EncryptionContext;
use crate::value::entropy;
use crate::value::error::{Error, ErrorKind, Result};
use crate::value::limits;
use crate::value::secret::Dek;
use crate::value::suite::Suite;

/// How payloads are sealed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sealing {
    pub(crate) suite: Suite,
    pub(crate) chunk_size: ChunkSize,
    pub(crate) store_context: bool,
}

impl Session {
    /// Derives the keys of a new session with a random id, which seals a bounded number of messages in this process.
    pub(crate) fn start(dek: &Dek, sealing: Sealing, context: &EncryptionContext) -> Result<Self> {
        let generation = entropy::generation();
        let flags = if sealing.store_context {
            FLAG_STORED_CONTEXT
        } else {
            0
        };
        let id: [u8; 16] = entropy::array()?;
        let mut head = [0; HEAD];
        head[..4].copy_from_slice(&[sealing.suite.id(), sealing.chunk_size.exponent(), flags, 0]);
        head[4..].copy_from_slice(&id);
        let Sealing {
            suite, chunk_size, ..
        } = sealing;
        let mut session = Self::derive(dek.share(), suite, chunk_size, &head, context.digest())?;
        if sealing.store_context {
            push_stored_context(&mut session.stored_context, context.canonical())?;
        }
        session.messages = Messages::default();
        session.generation = generation;
        Ok(session)
    }

    /// Whether this session seals for these settings and this context.
    pub(crate) fn serves(&self, sealing: Sealing, context: &EncryptionContext) -> bool {
        self.suite() == sealing.suite
            && self.chunk_size() == sealing.chunk_size
            && self.stored_context.is_empty() != sealing.store_context
            && self.digest() == context.digest()
    }

    /// Whether it has ended: its messages are used up, or the process has forked.
    pub(crate) fn is_over(&self) -> bool {
        self.messages.are_taken() || self.has_forked()
    }

    /// Whether the process has forked since this session was started.
    pub(crate) fn has_forked(&self) -> bool {
        self.generation != entropy::generation()
    }

    /// Counts one message and draws its nonce into `room`. Refused after the session has ended.
    pub(crate) fn begin<'n>(&self, room: &'n mut [u8; 12]) -> Result<Begun<'n>> {
        if !self.messages.take_one() || self.has_forked() {
            return Err(used_up());
        }
        // The nonce goes into the caller's room, because moving it costs more than the count.
        Begun::draw(room)
    }

    /// Counts up to `want` messages, as many as are left, and draws their nonces. Refused after the session has ended.
    pub(crate) fn begin_many(&self, want: usize, nonces: &mut Nonces) -> Result<()> {
        let want = want.clamp(1, Nonces::MOST);
        let left = self.messages.take(want as u64);
        if left == 0 || self.has_forked() {
            return Err(used_up());
        }
        nonces.draw(usize::try_from(left).unwrap_or(want))
    }

    /// Returns where the parts of an envelope of this session lie, behind a front of `prefix` bytes.
    pub(crate) fn layout(&self, prefix: usize, plaintext: usize) -> Result<Layout> {
        Layout::with_stored(self.chunk_size(), self.stored_context.len(), prefix, plaintext)
    }

    /// Returns the fields of a message's header, in order.
    fn header<'h>(&'h self, prefix: &'h [u8], nonce: &'h [u8; 12]) -> [&'h [u8]; 4] {
        [prefix, self.body_head(), nonce, &self.stored_context]
    }

    fn push_header(&self, prefix: &[u8], nonce: &[u8; 12], out: &mut Vec<u8>) {
        for field in self.header(prefix, nonce) {
            out.extend_from_slice(field);
        }
    }

    /// Writes the header of a message into the front of `out`, and returns the rest of `out`.
    fn put_header<'o>(&self, prefix: &[u8], nonce: &[u8; 12], mut out: &'o mut [u8]) -> Result<&'o mut [u8]> {
        for field in self.header(prefix, nonce) {
            let (front, rest) = out.split_at_mut_checked(field.len()).ok_or_else(refused)?;
            front.copy_from_slice(field);
            out = rest;
        }
        Ok(out)
    }

    fn message<'m>(
        &'m self,
        begun: &'m Begun<'_>,
        aad: Aad<'m>,
        parallel: Option<&'m Parallel>,
    ) -> Message<'m> {
        Message::new(self, begun.nonce(), aad).on(parallel)
    }

    /// Appends an envelope to `out`. Allocates nothing if `out` has room. After an error `out` is as it was.
    pub(crate) fn seal_to_vec(
        &self,
        prefix: &[u8],
        plaintext: &[u8],
        aad: Aad<'_>,
        out: &mut Vec<u8>,
        parallel: Option<&Parallel>,
    ) -> Result<()> {
        let layout = self.layout(prefix.len(), plaintext.len())?;
        let mut nonce = [0; 12];
        let begun = self.begin(&mut nonce)?;
        let start = out.len();
        let sealed = if out.capacity() == 0 && layout.envelope_len() >= FRESH_PAGES {
            self.put_header(prefix, begun.nonce(), room(out, layout.envelope_len()))
        } else {
            out.reserve(layout.envelope_len());
            self.push_header(prefix, begun.nonce(), out);
            Ok(room(out, layout.cut().sealed_len()))
        };
        let sealed = sealed.and_then(|chunks| {
            self.message(&begun, aad, parallel)
                .seal_to(plaintext, layout.cut(), chunks)
        });
        if sealed.is_err() {
            out.truncate(start);
        }
        sealed
    }

    /// Seals an envelope in place: `buffer` has its layout, with the plaintext where the layout says.
    pub(crate) fn seal_in_place(
        &self,
        prefix: &[u8],
        buffer: &mut [u8],
        layout: Layout,
        aad: Aad<'_>,
        parallel: Option<&Parallel>,
    ) -> Result<()> {
        layout.check(buffer)?;
        let mut nonce = [0; 12];
        let begun = self.begin(&mut nonce)?;
        let chunks = self.put_header(prefix, begun.nonce(), buffer)?;
        self.message(&begun, aad, parallel)
            .seal_in_place(chunks, layout.cut())
    }

    /// Seals a begun message to `out`, which has the length of its envelope.
    pub(crate) fn seal_to(
        &self,
        begun: &Begun<'_>,
        prefix: &[u8],
        plaintext: &[u8],
        aad: Aad<'_>,
        out: &mut [u8],
        parallel: Option<&Parallel>,
    ) -> Result<()> {
        let layout = self.layout(prefix.len(), plaintext.len())?;
        layout.check(out)?;
        let chunks = self.put_header(prefix, begun.nonce(), out)?;
        self.message(begun, aad, parallel)
            .seal_to(plaintext, layout.cut(), chunks)
    }

    /// Begins a message that is sealed chunk by chunk, in this process and for as long as `stop` is not set.
    pub(crate) fn begin_stream(
        self: &Arc<Self>,
        prefix: &[u8],
        aad: Aad<'_>,
        stop: StopFlag,
    ) -> Result<SealStart> {
        let mut nonce = [0; 12];
        let begun = self.begin(&mut nonce)?;
        let keys = MessageKeys::new(Arc::clone(self), *begun.nonce(), aad)?;
        let mut header = Vec::new();
        self.push_header(prefix, begun.nonce(), &mut header);
        Ok(SealStart {
            machine: ChunkMachine::sealing(Arc::new(keys), stop, self.generation),
            header,
        })
    }

    /// Returns the message of an envelope that this session itself sealed behind this prefix, and its chunks. Nothing is
    /// parsed.
    pub(crate) fn own<'e>(
        self: &'e Arc<Self>,
        prefix: &'e [u8],
        envelope: &'e [u8],
    ) -> Option<(VerifiedHeader<'e>, &'e [u8])> {
        let stored_context = &self.stored_context;
        Front {
            prefix,
            stored_context,
        }
        .verify(self, envelope)
    }
}

fn used_up() -> Error {
    Error::new(ErrorKind::BudgetExhausted {
        budget: limits::SESSION_MESSAGES.name,
    })
}

#[cfg(test)]
impl Session {
    pub(crate) fn use_up(&self) {
        self.use_up_to(0);
    }

    /// Leaves this many messages.
    pub(crate) fn use_up_to(&self, left: u64) {
        self.messages.leave(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> Session {
        let dek = Dek::generate().unwrap();
        Session::start(&dek, Sealing::default(), &EncryptionContext::empty()).unwrap()
    }

    // spec: KEY-3
    #[test]
    fn ends_at_its_message_budget() {
        let session = session();
        session.use_up_to(1);
        assert!(!session.is_over());
        session.begin(&mut [0; 12]).unwrap();
        assert!(session.is_over());
        let error = session.begin(&mut [0; 12]).err().unwrap();
        assert_eq!(
            error.kind(),
            ErrorKind::BudgetExhausted {
                budget: "messages of a session"
            }
        );
    }

    // spec: ENV-4
    #[test]
    fn many_messages_begin_at_once_within_the_budget_and_with_nonces_of_their_own() {
        let (session, mut nonces) = (session(), Nonces::default());
        let mut seen = std::collections::HashSet::new();
        let mut take = |nonces: &mut Nonces| {
            let mut taken = 0;
            while let Some(begun) = nonces.next() {
                assert!(seen.insert(*begun.nonce()));
                taken += 1;
            }
            assert!(nonces.is_empty());
            taken
        };
        for (want, given) in [(1, 1), (5, 5), (16, 16), (17, 16), (1000, 16)] {
            session.begin_many(want, &mut nonces).unwrap();
            assert_eq!(take(&mut nonces), given);
        }
        assert_eq!(session.messages.taken(), 1 + 5 + 16 * 3);
        session.use_up_to(7);
        session.begin_many(100, &mut nonces).unwrap();
        assert_eq!(take(&mut nonces), 7);
        assert!(session.is_over());
        assert!(session.begin_many(1, &mut nonces).is_err());
        assert_eq!(take(&mut nonces), 0);
    }

    #[test]
    fn a_session_out_of_an_envelope_seals_nothing() {
        let started = session();
        let dek = Dek::generate().unwrap();
        let opens = Session::derive(
            dek,
            started.suite(),
            started.chunk_size(),
            started.head(),
            started.digest(),
        )
        .unwrap();
        assert!(opens.is_over());
        assert!(opens.begin(&mut [0; 12]).is_err());
        assert!(opens.begin_many(1, &mut Nonces::default()).is_err());
    }

    // spec: KEY-3
    #[test]
    fn ends_at_a_fork() {
        let mut session = session();
        session.generation -= 1;
        assert!(session.is_over());
        assert!(session.begin(&mut [0; 12]).is_err());
        assert!(session.begin_many(1, &mut Nonces::default()).is_err());
    }
}
