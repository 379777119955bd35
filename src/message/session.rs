//! A session: one DEK, one session id, one context.

use std::ops::Deref;
use std::sync::Arc;

use super::header::VerifiedHeader;
use super::keys;
use super::messages::Messages;
use crate::envelope::{BODY_HEAD, BodyHead, ChunkSize, HEAD};
use crate::value::aead::AeadKey;
use crate::value::entropy;
use crate::value::error::{Error, Result};
use crate::value::secret::{self, Dek};
use crate::value::suite::Suite;

/// A DEK together with the key that was derived from it for one session id in one context. A session opens its messages.
/// It also seals if it was started here, with a random id and a budget of messages. A session from an envelope never
/// seals.
pub(crate) struct Session {
    dek: Dek,
    /// Head and commitment, as they stand in each envelope of the session.
    body_head: [u8; BODY_HEAD],
    /// The digest of the context.
    digest: [u8; 32],
    suite: Suite,
    chunk_size: ChunkSize,
    /// The key of messages of one chunk.
    pub(super) aead: AeadKey,
    /// The field of the stored context, if the session seals; empty without one.
    pub(super) stored_context: Vec<u8>,
    /// How many messages were sealed. A session from an envelope has no budget and counts as used up.
    pub(super) messages: Messages,
    /// The generation of the process that started it.
    pub(super) generation: u64,
}

impl Session {
    /// Makes the session of a head. It opens and does not seal.
    pub(super) fn derive(
        dek: Dek,
        suite: Suite,
        chunk_size: ChunkSize,
        head: &[u8; HEAD],
        digest: &[u8; 32],
    ) -> Result<Self> {
        let (aead, commitment) = keys::of_session(&dek, suite, head, digest)?;
        let mut body_head = [0; BODY_HEAD];
        body_head[..HEAD].copy_from_slice(head);
        body_head[HEAD..].copy_from_slice(&commitment);
        Ok(Self {
            dek,
            body_head,
            digest: *digest,
            suite,
            chunk_size,
            aead,
            stored_context: Vec::new(),
            messages: Messages::none(),
            generation: entropy::generation(),
        })
    }

    /// Makes the session of a body that is to be opened, if the DEK reproduces the body's commitment.
    pub(crate) fn verified(dek: &Dek, body: BodyHead<'_>, digest: &[u8; 32]) -> Result<Self> {
        let session = Self::derive(dek.share(), body.suite(), body.chunk_size(), body.head(), digest)?;
        session.check(body.commitment())?;
        Ok(session)
    }

    /// Whether this is the session that a body claims. This says nothing about the body's commitment.
    pub(crate) fn is_of(&self, body: BodyHead<'_>, digest: &[u8; 32]) -> bool {
        self.head() == body.head() && self.digest == *digest
    }

    /// Refuses a body that is not of this session, including its commitment.
    pub(super) fn check_of(&self, body: BodyHead<'_>, digest: &[u8; 32]) -> Result<()> {
        if self.is_of(body, digest) {
            self.check(body.commitment())
        } else {
            Err(Error::cannot_open())
        }
    }

    /// Compares the commitment in constant time.
    pub(crate) fn check(&self, commitment: &[u8; 32]) -> Result<()> {
        if secret::ct_eq_32(self.commitment(), commitment) {
            Ok(())
        } else {
            Err(Error::cannot_open())
        }
    }

    pub(super) fn head(&self) -> &[u8; HEAD] {
        self.body_head.first_chunk().unwrap_or(&[0; HEAD])
    }

    fn commitment(&self) -> &[u8; 32] {
        self.body_head.last_chunk().unwrap_or(&[0; 32])
    }

    /// Head and commitment.
    pub(crate) fn body_head(&self) -> &[u8; BODY_HEAD] {
        &self.body_head
    }

    pub(super) fn suite(&self) -> Suite {
        self.suite
    }

    /// The digest of the context.
    pub(super) fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    pub(crate) fn chunk_size(&self) -> ChunkSize {
        self.chunk_size
    }

    /// The key of a message of several chunks.
    pub(super) fn message_key(&self, nonce: &[u8; 12]) -> Result<AeadKey> {
        keys::of_message(&self.dek, self.suite, self.head(), nonce, &self.digest)
    }
}

/// A session that somebody keeps: lent, or shared if it may be dropped meanwhile.
pub(crate) enum Held<'s> {
    /// Valid for as long as its keeper lives.
    Lent(&'s Arc<Session>),
    /// Valid for as long as it is needed.
    Shared(Arc<Session>),
}

impl Held<'_> {
    pub(super) fn to_arc(&self) -> Arc<Session> {
        match self {
            Self::Lent(session) => Arc::clone(session),
            Self::Shared(session) => Arc::clone(session),
        }
    }
}

impl Deref for Held<'_> {
    type Target = Session;

    fn deref(&self) -> &Session {
        match self {
            Self::Lent(session) => session,
            Self::Shared(session) => session,
        }
    }
}

/// What the envelopes of a session have in common besides the head, so that they are recognized without parsing.
#[derive(Clone, Copy)]
pub(crate) struct Front<'f> {
    /// Everything before the body.
    pub(crate) prefix: &'f [u8],
    /// The field of the stored context; empty without one.
    pub(crate) stored_context: &'f [u8],
}

impl<'f> Front<'f> {
    /// Returns the message of an envelope of this session with this front, and its chunks. Everything before the chunks
    /// is compared with what was verified before, the commitment in constant time.
    pub(crate) fn verify<'e>(
        self,
        session: &'e Arc<Session>,
        envelope: &'e [u8],
    ) -> Option<(VerifiedHeader<'e>, &'e [u8])> {
        let rest = envelope.strip_prefix(self.prefix)?;
        let (head, rest) = rest.split_first_chunk::<HEAD>()?;
        let (commitment, rest) = rest.split_first_chunk()?;
        if head != session.head() || session.check(commitment).is_err() {
            return None;
        }
        let (nonce, rest) = rest.split_first_chunk()?;
        let chunks = match self.stored_context {
            // An empty field is not compared: the C library's masked loads from the address of an empty vector cost more
            // than opening a small value.
            [] => rest,
            stored => rest.strip_prefix(stored)?,
        };
        Some((VerifiedHeader::known(Held::Lent(session), nonce), chunks))
    }
}
