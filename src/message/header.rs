//! Headers that were checked. What a caller must check before it opens a chunk is a type that only the check makes.

use std::sync::Arc;

use super::machine::{ChunkMachine, MessageKeys};
use super::session::{Held, Session};
use super::whole::Message;
use crate::envelope::{BodyHead, Cut, Header};
use crate::message::StopFlag;
use crate::value::aad::Aad;
use crate::value::context::EncryptionContext;
use crate::value::error::{Operation, Result};

/// A header whose stored context, if there is one, is the caller's. No DEK was compared with its commitment yet.
#[derive(Clone, Copy)]
pub(crate) struct InContext<'h> {
    body: BodyHead<'h>,
    nonce: &'h [u8; 12],
    digest: &'h [u8; 32],
}

impl<'h> InContext<'h> {
    /// Refuses a header in which another context is stored.
    pub(crate) fn check(header: &Header<'h>, context: &'h EncryptionContext) -> Result<Self> {
        header.check_stored_context(context.digest())?;
        Ok(Self {
            body: header.body(),
            nonce: header.nonce(),
            digest: context.digest(),
        })
    }

    pub(crate) fn body(&self) -> BodyHead<'h> {
        self.body
    }

    /// The digest of the caller's context.
    pub(crate) fn digest(&self) -> &'h [u8; 32] {
        self.digest
    }
}

/// A header of the caller's context whose commitment a DEK reproduces. Its message may be opened.
pub(crate) struct VerifiedHeader<'h> {
    session: Held<'h>,
    nonce: &'h [u8; 12],
}

impl<'h> VerifiedHeader<'h> {
    /// Compares a header with a session: head, context and commitment must be the session's. Compares the commitment in
    /// constant time.
    pub(crate) fn check(header: InContext<'h>, session: Held<'h>) -> Result<Self> {
        session.check_of(header.body, header.digest)?;
        Ok(Self::known(session, header.nonce))
    }

    /// For a header that was compared with a verified header.
    pub(super) fn known(session: Held<'h>, nonce: &'h [u8; 12]) -> Self {
        Self { session, nonce }
    }

    /// Returns the message behind the header, to be opened as a whole.
    pub(crate) fn message<'m>(&'m self, aad: Aad<'m>) -> Result<Message<'m>> {
        aad.check()?;
        Ok(Message::new(&self.session, self.nonce, aad))
    }

    /// Returns the message behind the header, to be opened chunk by chunk for as long as `stop` is not set.
    pub(crate) fn chunks(self, aad: Aad<'_>, stop: StopFlag) -> Result<ChunkMachine> {
        aad.check()?;
        let keys = MessageKeys::new(self.session.to_arc(), *self.nonce, aad)?;
        Ok(ChunkMachine::opening(Arc::new(keys), stop))
    }

    /// Returns the cut of the chunks, which are the rest of `envelope`.
    pub(crate) fn cut(&self, chunks: &[u8], envelope: &[u8]) -> Result<Cut> {
        Cut::of_sealed(
            self.session.chunk_size(),
            chunks.len(),
            envelope.len() - chunks.len(),
        )
        .map_err(|error| error.with_operation(Operation::Parse))
    }

    /// Returns the session, to recognize other envelopes of it.
    pub(crate) fn session(&self) -> Arc<Session> {
        self.session.to_arc()
    }
}
