//! What several test programs share: fixed keys, recognizable plaintext, and envelopes taken apart.
#![allow(dead_code, reason = "no test program uses all of it")]

use std::io::Read;

use waxseal::backend::local::LocalKey;
use waxseal::{EncryptionContext, Envelope, Error, Kek, Sealer, Suite, blocking, envelope::ChunkSize};

pub(crate) const AAD: &[u8] = b"row 7";
pub(crate) const CHUNK: usize = 1024;
/// A chunk and its tag.
pub(crate) const SEALED_CHUNK: usize = CHUNK + 16;

pub(crate) fn kek(fill: u8) -> Kek {
    Kek::from_bytes(&[fill; 32])
}

pub(crate) fn context() -> EncryptionContext {
    EncryptionContext::new([("tenant", "acme"), ("table", "users")]).unwrap()
}

/// Seals and opens in chunks of 1 KiB under a fixed KEK.
pub(crate) fn sealer(suite: Suite) -> blocking::Sealer {
    Sealer::builder()
        .wrap_with(LocalKey::new(&kek(1)))
        .suite(suite)
        .chunk_size(ChunkSize::MIN)
        .build()
        .unwrap()
        .into()
}

/// Bytes of which no chunk is like another.
pub(crate) fn plaintext(len: usize) -> Vec<u8> {
    (0..len)
        .map(|i| u8::try_from((i * 7 + 3) % 251).unwrap())
        .collect()
}

/// The error that a reader or writer put into one of `std::io`.
pub(crate) fn ours(error: std::io::Error) -> Error {
    error.downcast().unwrap()
}

/// Opens as a stream: what was released, and the error it ended with.
pub(crate) fn stream(
    sealer: &blocking::Sealer,
    envelope: &[u8],
    context: &EncryptionContext,
    aad: &[u8],
) -> (Vec<u8>, Option<Error>) {
    let mut released = Vec::new();
    let result = sealer
        .reader(envelope, context.with_aad(aad))
        .and_then(|mut reader| reader.read_to_end(&mut released).map_err(ours));
    (released, result.err())
}

/// The parts of an envelope, to be put together in another way.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) prefix: Vec<u8>,
    pub(crate) head: Vec<u8>,
    pub(crate) commitment: Vec<u8>,
    pub(crate) nonce: Vec<u8>,
    pub(crate) stored: Vec<u8>,
    pub(crate) chunks: Vec<Vec<u8>>,
}

impl Parts {
    /// Takes an envelope with chunks of 1 KiB apart.
    pub(crate) fn of(envelope: &[u8]) -> Self {
        let parsed = Envelope::parse(envelope).unwrap();
        let (body, len) = (parsed.header().body_offset(), parsed.header().len());
        Self {
            prefix: envelope[..body].to_vec(),
            head: envelope[body..body + 20].to_vec(),
            commitment: envelope[body + 20..body + 52].to_vec(),
            nonce: envelope[body + 52..body + 64].to_vec(),
            stored: envelope[body + 64..len].to_vec(),
            chunks: envelope[len..].chunks(SEALED_CHUNK).map(<[u8]>::to_vec).collect(),
        }
    }

    pub(crate) fn join(&self) -> Vec<u8> {
        let fixed = [
            &self.prefix,
            &self.head,
            &self.commitment,
            &self.nonce,
            &self.stored,
        ];
        let mut envelope = fixed.map(Vec::as_slice).concat();
        envelope.extend(self.chunks.iter().flatten());
        envelope
    }
}
