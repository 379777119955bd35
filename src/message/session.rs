//! A session: one DEK used with one context to seal a bounded number of messages.

use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::chunks::{Chunks, Run, refused, seal_chunk};
use super::keys::{SessionKeys, message_key};
use super::open::Message;
use crate::envelope::{
    BODY_FIXED, BODY_HEAD, BodyHead, ChunkSize, Cut, FLAG_STORED_CONTEXT, HEAD, push_stored_context,
};
use crate::message::parallel::{self, Parallel};
use crate::value::aead::{AeadKey, TAG};
use crate::value::context::EncryptionContext;
use crate::value::entropy;
use crate::value::error::{Error, ErrorKind, Result};
use crate::value::limits;
use crate::value::place::{self, Apart, PLACES};
use crate::value::secret::Dek;
use crate::value::suite::Suite;

/// From this size on a fresh buffer comes as zeroed pages from the system, which cost less than zeroing what is
/// about to be overwritten. In bytes of plaintext.
pub(super) const FRESH_PAGES: usize = 32 * 1024;

/// How payloads are sealed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sealing {
    pub(crate) suite: Suite,
    pub(crate) chunk_size: ChunkSize,
    pub(crate) store_context: bool,
}

pub(crate) struct Session {
    sealing: Sealing,
    context: EncryptionContext,
    /// Head and commitment, as they stand in each envelope.
    body_head: [u8; BODY_HEAD],
    /// The field of the stored context; no bytes without one.
    stored_context: Vec<u8>,
    keys: SessionKeys,
    messages: Messages,
    generation: u64,
}

/// Messages that a thread takes out of the budget at once, once there were as many.
const BLOCK: u64 = 64;

/// The budget of messages. A count that all threads write to costs two threads more than they gain: so each takes a block
/// at a time, and counts its messages in a place of its own.
#[derive(Default)]
struct Messages {
    taken: AtomicU64,
    /// What is left of the blocks; made only for a session that is used for long.
    places: OnceLock<Box<[Apart<AtomicU64>; PLACES]>>,
}

impl Messages {
    fn are_taken(&self) -> bool {
        self.taken.load(Ordering::Relaxed) >= limits::SESSION_MESSAGES.max
    }

    /// Takes up to `want`, and gives how many there were.
    fn take(&self, want: u64) -> u64 {
        // The count may pass the limit by the number of calls that are refused; 64 bits do not come round.
        let count = self.taken.fetch_add(want, Ordering::Relaxed);
        limits::SESSION_MESSAGES.max.saturating_sub(count).min(want)
    }

    /// Takes one; whether there was one.
    fn take_one(&self) -> bool {
        let Some(places) = self.places.get() else {
            let is_many = self.taken.load(Ordering::Relaxed) >= BLOCK;
            if is_many {
                self.places.get_or_init(Box::default);
            }
            return self.take(1) == 1;
        };
        let Some(Apart(place)) = places.get(place::of_this_thread()) else {
            return self.take(1) == 1;
        };
        let mut left = place.load(Ordering::Relaxed);
        while let Some(after) = left.checked_sub(1) {
            // Others may share the place.
            match place.compare_exchange_weak(left, after, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => left = now,
            }
        }
        self.take_block(place)
    }

    #[cold]
    fn take_block(&self, place: &AtomicU64) -> bool {
        // Towards the end one at a time, so that hardly any is lost in the places of others.
        let is_near_its_end =
            self.taken.load(Ordering::Relaxed) + 2 * BLOCK * PLACES as u64 > limits::SESSION_MESSAGES.max;
        let taken = self.take(if is_near_its_end { 1 } else { BLOCK });
        if let Some(rest) = taken.checked_sub(1) {
            place.fetch_add(rest, Ordering::Relaxed);
        }
        taken > 0
    }
}

/// Nonces that are drawn at a time: no more than the generator gives out of its buffer.
const NONCES: usize = 16;

/// Nonces of messages that a session has counted.
#[derive(Default)]
pub(crate) struct Nonces {
    drawn: [[u8; 12]; NONCES],
    left: usize,
}

impl Nonces {
    fn draw(&mut self, count: usize) -> Result<()> {
        self.left = 0;
        let drawn = self.drawn.get_mut(..count).unwrap_or_default();
        entropy::fill(drawn.as_flattened_mut())?;
        self.left = drawn.len();
        Ok(())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// One that was not given before.
    pub(crate) fn next(&mut self) -> Option<&[u8; 12]> {
        self.left = self.left.checked_sub(1)?;
        self.drawn.get(self.left)
    }
}

impl Session {
    /// Derives the keys of a new session with a random id.
    pub(crate) fn start(dek: &Dek, sealing: Sealing, context: &EncryptionContext) -> Result<Self> {
        Self::start_with_id(dek, sealing, context, entropy::array()?)
    }

    fn start_with_id(dek: &Dek, sealing: Sealing, context: &EncryptionContext, id: [u8; 16]) -> Result<Self> {
        let generation = entropy::generation();
        let flags = if sealing.store_context {
            FLAG_STORED_CONTEXT
        } else {
            0
        };
        let mut head = [0; HEAD];
        head[..4].copy_from_slice(&[sealing.suite.id(), sealing.chunk_size.exponent(), flags, 0]);
        head[4..].copy_from_slice(&id);
        let keys = SessionKeys::derive(sealing.suite, dek, &head, context.digest())?;
        let mut body_head = [0; BODY_HEAD];
        body_head[..HEAD].copy_from_slice(&head);
        body_head[HEAD..].copy_from_slice(&keys.commitment);
        let mut stored_context = Vec::new();
        if sealing.store_context {
            push_stored_context(&mut stored_context, context.canonical())?;
        }
        let context = context.clone();
        Ok(Self {
            stored_context,
            sealing,
            context,
            body_head,
            keys,
            messages: Messages::default(),
            generation,
        })
    }

    /// Whether this session seals for these settings and this context.
    pub(crate) fn serves(&self, sealing: Sealing, context: &EncryptionContext) -> bool {
        self.sealing == sealing && self.context.digest() == context.digest()
    }

    /// Whether it has ended: its messages are used up, or the process has forked.
    pub(crate) fn is_over(&self) -> bool {
        self.messages.are_taken() || self.has_forked()
    }

    /// Whether the process has forked since this session was started.
    pub(crate) fn has_forked(&self) -> bool {
        self.generation != entropy::generation()
    }

    #[cfg(test)]
    pub(crate) fn use_up(&self) {
        self.use_up_to(0);
    }

    /// Leaves so many messages.
    #[cfg(test)]
    pub(crate) fn use_up_to(&self, left: u64) {
        self.messages
            .taken
            .store(limits::SESSION_MESSAGES.max - left, Ordering::Relaxed);
        for Apart(place) in self
            .messages
            .places
            .get()
            .into_iter()
            .flat_map(|places| places.iter())
        {
            place.store(0, Ordering::Relaxed);
        }
    }

    /// Counts one message and draws its nonce. Refused once the session has ended.
    pub(crate) fn begin(&self, nonce: &mut [u8; 12]) -> Result<()> {
        if !self.messages.take_one() || self.has_forked() {
            return Err(Error::new(ErrorKind::BudgetExhausted {
                budget: limits::SESSION_MESSAGES.name,
            }));
        }
        // Into the caller's own: a nonce that is moved about costs more than the count.
        entropy::fill(nonce)
    }

    /// Counts up to `want` messages, as many as there is room for, and draws their nonces. Refused once the session
    /// has ended.
    pub(crate) fn begin_many(&self, want: usize, nonces: &mut Nonces) -> Result<()> {
        let want = want.clamp(1, NONCES);
        let left = self.messages.take(want as u64);
        if left == 0 || self.has_forked() {
            return Err(Error::new(ErrorKind::BudgetExhausted {
                budget: limits::SESSION_MESSAGES.name,
            }));
        }
        nonces.draw(usize::try_from(left).unwrap_or(want))
    }

    /// Where things lie in an envelope of this session with a front of `prefix` bytes.
    pub(crate) fn layout(&self, prefix: usize, plaintext: usize) -> Result<Layout> {
        Layout::new(self.sealing, &self.context, prefix, plaintext)
    }

    /// Head and commitment.
    #[cfg(test)]
    pub(crate) fn body_head(&self) -> &[u8; BODY_HEAD] {
        &self.body_head
    }

    #[cfg(test)]
    pub(crate) fn pretend_to_have_forked(&mut self) {
        self.generation -= 1;
    }

    pub(crate) fn keys(&self) -> &SessionKeys {
        &self.keys
    }

    pub(crate) fn sealing(&self) -> Sealing {
        self.sealing
    }

    /// The fields of a message's header, one after another.
    fn header<'h>(&'h self, prefix: &'h [u8], nonce: &'h [u8; 12]) -> [&'h [u8]; 4] {
        [prefix, &self.body_head, nonce, &self.stored_context]
    }

    /// Appends the header of a message.
    pub(crate) fn push_header(&self, prefix: &[u8], nonce: &[u8; 12], out: &mut Vec<u8>) {
        for field in self.header(prefix, nonce) {
            out.extend_from_slice(field);
        }
    }

    /// Writes the header of a message into the front of `out`, and gives what is left of it.
    fn put_header<'o>(&self, prefix: &[u8], nonce: &[u8; 12], mut out: &'o mut [u8]) -> Result<&'o mut [u8]> {
        for field in self.header(prefix, nonce) {
            let (front, rest) = out.split_at_mut_checked(field.len()).ok_or_else(refused)?;
            front.copy_from_slice(field);
            out = rest;
        }
        Ok(out)
    }

    /// Appends an envelope to `out`. Allocates nothing where `out` has room. On an error `out` is as it was.
    pub(crate) fn seal_to_vec(
        &self,
        dek: &Dek,
        prefix: &[u8],
        aad: &[u8],
        plaintext: &[u8],
        out: &mut Vec<u8>,
        parallel: Option<&Parallel>,
    ) -> Result<()> {
        let layout = self.layout(prefix.len(), plaintext.len())?;
        let mut nonce = [0; 12];
        self.begin(&mut nonce)?;
        let start = out.len();
        let chunks = if out.capacity() == 0 && plaintext.len() >= FRESH_PAGES {
            *out = vec![0; layout.envelope_len()];
            self.put_header(prefix, &nonce, out)?
        } else {
            out.reserve(layout.envelope_len());
            self.push_header(prefix, &nonce, out);
            let at = out.len();
            out.resize(at + layout.cut().sealed_len(), 0);
            out.get_mut(at..).unwrap_or_default()
        };
        let sealed = self.seal_chunks(dek, &nonce, aad, plaintext, layout.cut(), chunks, parallel);
        if sealed.is_err() {
            out.truncate(start);
        }
        sealed
    }

    /// Seals an envelope in place: `buffer` has its layout, with the plaintext where the layout says.
    pub(crate) fn seal_buffer(
        &self,
        dek: &Dek,
        prefix: &[u8],
        aad: &[u8],
        buffer: &mut [u8],
        layout: Layout,
        parallel: Option<&Parallel>,
    ) -> Result<()> {
        layout.check(buffer)?;
        let mut nonce = [0; 12];
        self.begin(&mut nonce)?;
        let chunks = self.put_header(prefix, &nonce, buffer)?;
        self.seal_in_place(dek, &nonce, aad, chunks, layout.cut(), parallel)
    }

    /// Seals a message that was begun to `out`, which has the length of its layout.
    #[allow(clippy::too_many_arguments, reason = "what one message is made of")]
    pub(crate) fn seal_to_slice(
        &self,
        dek: &Dek,
        prefix: &[u8],
        nonce: &[u8; 12],
        aad: &[u8],
        plaintext: &[u8],
        out: &mut [u8],
        layout: Layout,
        parallel: Option<&Parallel>,
    ) -> Result<()> {
        let chunks = self.put_header(prefix, nonce, out)?;
        self.seal_chunks(dek, nonce, aad, plaintext, layout.cut(), chunks, parallel)
    }

    /// Nonce and chunks of an envelope of this very session behind this prefix. The commitment is compared in
    /// constant time.
    pub(crate) fn own_message<'e>(
        &self,
        prefix: &[u8],
        envelope: &'e [u8],
    ) -> Option<(&'e [u8; 12], &'e [u8])> {
        let rest = envelope.strip_prefix(prefix)?;
        let (head, rest) = rest.split_first_chunk::<HEAD>()?;
        let (commitment, rest) = rest.split_first_chunk()?;
        if !self.body_head.starts_with(head) || self.keys.check(commitment).is_err() {
            return None;
        }
        let (nonce, rest) = rest.split_first_chunk()?;
        let chunks = match self.stored_context.as_slice() {
            // Not left to the comparison: the C library's masked loads from the address of an empty vector
            // cost more than opening a small value.
            [] => rest,
            stored => rest.strip_prefix(stored)?,
        };
        Some((nonce, chunks))
    }

    /// Opens what [`own_message`](Self::own_message) found and appends the plaintext to `out`.
    pub(crate) fn open_own(
        &self,
        dek: &Dek,
        nonce: &[u8; 12],
        aad: &[u8],
        chunks: &[u8],
        out: &mut Vec<u8>,
        parallel: Option<&Parallel>,
    ) -> Result<()> {
        let body = BodyHead::parse(&self.body_head)?;
        let cut = Cut::of_sealed(self.sealing.chunk_size, chunks.len(), 0)?;
        let message = Message {
            dek,
            keys: &self.keys,
            body,
            nonce,
            digest: self.context.digest(),
            aad,
            parallel,
        };
        message.open_to(chunks, cut, out)
    }

    /// The key of a longer message.
    pub(crate) fn message_key(&self, dek: &Dek, nonce: &[u8; 12]) -> Result<AeadKey> {
        let head = self.body_head.first_chunk().ok_or_else(Error::cannot_open)?;
        message_key(self.sealing.suite, dek, head, nonce, self.context.digest())
    }

    /// Seals `plaintext` to `out`, which has the length that its cut gives.
    #[allow(clippy::too_many_arguments, reason = "what one message is made of")]
    fn seal_chunks(
        &self,
        dek: &Dek,
        nonce: &[u8; 12],
        aad: &[u8],
        plaintext: &[u8],
        cut: Cut,
        out: &mut [u8],
        parallel: Option<&Parallel>,
    ) -> Result<()> {
        if cut.is_single() {
            let (body, tag) = out.split_at_mut_checked(plaintext.len()).ok_or_else(refused)?;
            return self
                .keys
                .aead
                .seal_to(nonce, aad, plaintext, body, tag)
                .map_err(|_| refused());
        }
        let key = self.message_key(dek, nonce)?;
        let chunks = self.chunks(&key, aad);
        let piece = chunks.per_piece();
        let pairs = plaintext
            .chunks(chunks.size * piece)
            .zip(out.chunks_mut((chunks.size + TAG) * piece));
        parallel::each(
            parallel,
            plaintext.len(),
            pairs.enumerate(),
            |(at, (plaintext, out))| chunks.seal(Run::new(at * piece, cut.count()), plaintext, out),
        )
    }

    /// Seals in place: `buffer` holds the plaintext where the cut's ranges say, with room for the tags.
    fn seal_in_place(
        &self,
        dek: &Dek,
        nonce: &[u8; 12],
        aad: &[u8],
        buffer: &mut [u8],
        cut: Cut,
        parallel: Option<&Parallel>,
    ) -> Result<()> {
        if cut.is_single() {
            return seal_chunk(&self.keys.aead, nonce, aad, buffer);
        }
        let key = self.message_key(dek, nonce)?;
        let chunks = self.chunks(&key, aad);
        let piece = chunks.per_piece();
        let pieces = buffer.chunks_mut((chunks.size + TAG) * piece).enumerate();
        parallel::each(parallel, cut.plaintext_len(), pieces, |(at, buffer)| {
            chunks.seal_in_place(Run::new(at * piece, cut.count()), buffer)
        })
    }

    fn chunks<'k>(&self, key: &'k AeadKey, aad: &'k [u8]) -> Chunks<'k> {
        let size = self.sealing.chunk_size.bytes();
        Chunks { key, aad, size }
    }
}

/// Where things lie in an envelope that is sealed in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    header: usize,
    cut: Cut,
}

impl Layout {
    pub(crate) fn new(
        sealing: Sealing,
        context: &EncryptionContext,
        prefix: usize,
        plaintext: usize,
    ) -> Result<Self> {
        let stored = if sealing.store_context {
            2 + context.canonical().len()
        } else {
            0
        };
        let cut = Cut::of_plaintext(sealing.chunk_size, plaintext)?;
        Ok(Self {
            header: prefix + BODY_FIXED + stored,
            cut,
        })
    }

    /// Length of the whole envelope, in bytes.
    #[must_use]
    pub fn envelope_len(&self) -> usize {
        self.header + self.cut.sealed_len()
    }

    /// Length of the header, in bytes; the first chunk begins there.
    #[must_use]
    pub fn header_len(&self) -> usize {
        self.header
    }

    /// Where in the envelope's buffer each chunk of the plaintext lies, in order. A payload of up to one
    /// chunk is one range; after each range there are 16 bytes for its tag.
    pub fn plaintext_ranges(&self) -> impl ExactSizeIterator<Item = Range<usize>> + use<> {
        let header = self.header;
        self.cut
            .ranges()
            .map(move |range| range.start + header..range.end + header)
    }

    pub(crate) fn cut(&self) -> Cut {
        self.cut
    }

    pub(crate) fn check(&self, buffer: &[u8]) -> Result<()> {
        if buffer.len() == self.envelope_len() {
            Ok(())
        } else {
            Err(Error::argument(
                "the buffer has not the length of the envelope's layout",
            ))
        }
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
        let error = session.begin(&mut [0; 12]).unwrap_err();
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
            while let Some(nonce) = nonces.next() {
                assert!(seen.insert(*nonce));
                taken += 1;
            }
            assert!(nonces.is_empty());
            taken
        };
        for (want, given) in [(1, 1), (5, 5), (16, 16), (17, 16), (1000, 16)] {
            session.begin_many(want, &mut nonces).unwrap();
            assert_eq!(take(&mut nonces), given);
        }
        assert_eq!(session.messages.taken.load(Ordering::Relaxed), 1 + 5 + 16 * 3);
        session.use_up_to(7);
        session.begin_many(100, &mut nonces).unwrap();
        assert_eq!(take(&mut nonces), 7);
        assert!(session.is_over());
        assert!(session.begin_many(1, &mut nonces).is_err());
        assert_eq!(take(&mut nonces), 0);
    }

    // spec: KEY-3
    #[test]
    fn threads_write_to_places_of_their_own_and_take_no_more_than_there_is() {
        let session = session();
        let count = |threads: usize, each: usize| {
            std::thread::scope(|scope| {
                let running: Vec<_> = (0..threads)
                    .map(|_| {
                        scope.spawn(|| (0..each).filter(|_| session.begin(&mut [0; 12]).is_ok()).count())
                    })
                    .collect();
                running
                    .into_iter()
                    .map(|thread| thread.join().unwrap())
                    .sum::<usize>()
            })
        };
        // A thread writes to what all write to once for each block: here about once for 64 messages.
        assert_eq!(count(2, 6400), 12_800);
        let places = session.messages.places.get().unwrap();
        let left: u64 = places
            .iter()
            .map(|Apart(place)| place.load(Ordering::Relaxed))
            .sum();
        assert_eq!(session.messages.taken.load(Ordering::Relaxed), 12_800 + left);
        assert!(left < 2 * BLOCK, "{left}");
        // At the end all of them together get what there was, and no more.
        session.use_up_to(1000);
        assert_eq!(count(4, 1000), 1000);
        assert!(session.is_over());
    }

    #[test]
    fn ends_at_a_fork() {
        let mut session = session();
        session.pretend_to_have_forked();
        assert!(session.is_over());
        assert!(session.begin(&mut [0; 12]).is_err());
        assert!(session.begin_many(1, &mut Nonces::default()).is_err());
    }
}
