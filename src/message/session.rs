//! A session: one DEK used with one context to seal a bounded number of messages.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use super::chunk_nonce;
use super::keys::{SessionKeys, message_key};
use crate::aead::{AeadKey, TAG};
use crate::context::EncryptionContext;
use crate::entropy;
use crate::envelope::{BODY_FIXED, BODY_HEAD, ChunkSize, Cut, FLAG_STORED_CONTEXT, HEAD};
use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::secret::Dek;
use crate::suite::Suite;

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
    keys: SessionKeys,
    messages: AtomicU64,
    generation: u64,
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
        let context = context.clone();
        Ok(Self {
            sealing,
            context,
            body_head,
            keys,
            messages: AtomicU64::new(0),
            generation,
        })
    }

    /// Whether this session seals for these settings and this context.
    pub(crate) fn serves(&self, sealing: Sealing, context: &EncryptionContext) -> bool {
        self.sealing == sealing && self.context.digest() == context.digest()
    }

    /// Whether it has ended: its messages are used up, or the process has forked.
    pub(crate) fn is_over(&self) -> bool {
        self.messages.load(Ordering::Relaxed) >= limits::SESSION_MESSAGES.max
            || self.generation != entropy::generation()
    }

    /// Counts one message and draws its nonce. Refused once the session has ended.
    pub(crate) fn begin(&self) -> Result<[u8; 12]> {
        // The count may pass the limit by the number of calls that are refused; 64 bits do not come round.
        let count = self.messages.fetch_add(1, Ordering::Relaxed);
        if count >= limits::SESSION_MESSAGES.max || self.generation != entropy::generation() {
            return Err(Error::new(ErrorKind::BudgetExhausted {
                budget: limits::SESSION_MESSAGES.name,
            }));
        }
        entropy::array()
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

    pub(crate) fn keys(&self) -> &SessionKeys {
        &self.keys
    }

    pub(crate) fn sealing(&self) -> Sealing {
        self.sealing
    }

    /// Writes the header of a message into the front of `out`, and gives what is left of it.
    pub(crate) fn write_header<'o>(
        &self,
        prefix: &[u8],
        nonce: &[u8; 12],
        mut out: &'o mut [u8],
    ) -> Result<&'o mut [u8]> {
        out = put(prefix, out)?;
        out = put(&self.body_head, out)?;
        out = put(nonce, out)?;
        if self.sealing.store_context {
            let stored = self.context.canonical();
            let len = u16::try_from(stored.len()).map_err(|_| limits::CONTEXT.error())?;
            out = put(&len.to_be_bytes(), out)?;
            out = put(stored, out)?;
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
    ) -> Result<()> {
        let layout = self.layout(prefix.len(), plaintext.len())?;
        let nonce = self.begin()?;
        let start = out.len();
        if out.capacity() == 0 {
            // Zeroed pages from the system cost less than zeroing what is about to be overwritten.
            *out = vec![0; layout.envelope_len()];
        } else {
            out.resize(start + layout.envelope_len(), 0);
        }
        let room = out.get_mut(start..).unwrap_or_default();
        let sealed = self
            .write_header(prefix, &nonce, room)
            .and_then(|chunks| self.seal_chunks(dek, &nonce, aad, plaintext, chunks));
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
    ) -> Result<()> {
        if buffer.len() != layout.envelope_len() {
            return Err(Error::argument(
                "the buffer has not the length of the envelope's layout",
            ));
        }
        let nonce = self.begin()?;
        let chunks = self.write_header(prefix, &nonce, buffer)?;
        self.seal_in_place(dek, &nonce, aad, chunks, layout.cut())
    }

    /// The key of a longer message.
    pub(crate) fn message_key(&self, dek: &Dek, nonce: &[u8; 12]) -> Result<AeadKey> {
        let head = self.body_head.first_chunk().ok_or_else(Error::cannot_open)?;
        message_key(self.sealing.suite, dek, head, nonce, self.context.digest())
    }

    /// Seals `plaintext` to `out`, which has the length that its cut gives.
    fn seal_chunks(
        &self,
        dek: &Dek,
        nonce: &[u8; 12],
        aad: &[u8],
        plaintext: &[u8],
        out: &mut [u8],
    ) -> Result<()> {
        let cut = Cut::of_plaintext(self.sealing.chunk_size, plaintext.len())?;
        if cut.is_single() {
            let (body, tag) = out.split_at_mut_checked(plaintext.len()).ok_or_else(refused)?;
            return self
                .keys
                .aead
                .seal_to(nonce, aad, plaintext, body, tag)
                .map_err(|_| refused());
        }
        let key = self.message_key(dek, nonce)?;
        let size = self.sealing.chunk_size.bytes();
        let mut index = 0;
        for (chunk, out) in plaintext.chunks(size).zip(out.chunks_mut(size + TAG)) {
            let nonce = chunk_nonce(index, index + 1 == cut.count() as u64);
            let (body, tag) = out.split_at_mut_checked(chunk.len()).ok_or_else(refused)?;
            key.seal_to(&nonce, aad, chunk, body, tag)
                .map_err(|_| refused())?;
            index += 1;
        }
        Ok(())
    }

    /// Seals in place: `chunks` hold the plaintext where the cut's ranges say, with room for the tags.
    fn seal_in_place(
        &self,
        dek: &Dek,
        nonce: &[u8; 12],
        aad: &[u8],
        chunks: &mut [u8],
        cut: Cut,
    ) -> Result<()> {
        if cut.is_single() {
            return seal_chunk(&self.keys.aead, nonce, aad, chunks);
        }
        let key = self.message_key(dek, nonce)?;
        let mut index = 0;
        for chunk in chunks.chunks_mut(self.sealing.chunk_size.bytes() + TAG) {
            seal_chunk(
                &key,
                &chunk_nonce(index, index + 1 == cut.count() as u64),
                aad,
                chunk,
            )?;
            index += 1;
        }
        Ok(())
    }
}

/// Copies `bytes` into the front of `out`, and gives what is left of it.
fn put<'o>(bytes: &[u8], out: &'o mut [u8]) -> Result<&'o mut [u8]> {
    let (front, rest) = out.split_at_mut_checked(bytes.len()).ok_or_else(refused)?;
    front.copy_from_slice(bytes);
    Ok(rest)
}

fn seal_chunk(key: &AeadKey, nonce: &[u8; 12], aad: &[u8], chunk: &mut [u8]) -> Result<()> {
    let (body, tag) = chunk.split_last_chunk_mut::<TAG>().ok_or_else(refused)?;
    *tag = key.seal_in_place(nonce, aad, body).map_err(|_| refused())?;
    Ok(())
}

/// No AEAD library refuses a chunk of at most 16 MiB, short of running out of memory.
fn refused() -> Error {
    Error::argument("the AEAD refused to seal")
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> Session {
        let dek = Dek::generate().unwrap();
        Session::start(&dek, Sealing::default(), &EncryptionContext::empty()).unwrap()
    }

    #[test]
    fn ends_at_its_message_budget() {
        let session = session();
        session
            .messages
            .store(limits::SESSION_MESSAGES.max - 1, Ordering::Relaxed);
        assert!(!session.is_over());
        session.begin().unwrap();
        assert!(session.is_over());
        let error = session.begin().unwrap_err();
        assert_eq!(
            error.kind(),
            ErrorKind::BudgetExhausted {
                budget: "messages of a session"
            }
        );
    }

    #[test]
    fn ends_at_a_fork() {
        let mut session = session();
        session.generation -= 1;
        assert!(session.is_over());
        assert!(session.begin().is_err());
    }
}
