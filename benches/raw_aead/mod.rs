//! AES-256-GCM of AWS-LC without this crate: what is measured against.

use std::hint::black_box;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

/// AES-256-GCM of AWS-LC with a held key.
pub(crate) struct RawAead(pub(crate) LessSafeKey);

impl RawAead {
    pub(crate) fn new() -> Self {
        Self::with_key(&[7; 32])
    }

    pub(crate) fn with_key(key: &[u8; 32]) -> Self {
        Self(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).unwrap()))
    }

    pub(crate) fn seal(&self, nonce: &[u8; 12], aad: &[u8], plaintext: &[u8]) -> (Vec<u8>, [u8; 16]) {
        let mut out = vec![0; plaintext.len()];
        let mut tag = [0; 16];
        let nonce = Nonce::assume_unique_for_key(*nonce);
        self.0
            .seal_out_of_place_scatter(nonce, Aad::from(aad), plaintext, &mut out, &[], &mut tag)
            .unwrap();
        (out, tag)
    }

    pub(crate) fn seal_to(&self, nonce: &[u8; 12], plaintext: &[u8], out: &mut [u8]) {
        let mut tag = [0; 16];
        let nonce = Nonce::assume_unique_for_key(*nonce);
        self.0
            .seal_out_of_place_scatter(
                nonce,
                Aad::from(b"row 7"),
                black_box(plaintext),
                out,
                &[],
                &mut tag,
            )
            .unwrap();
        black_box(tag);
    }

    pub(crate) fn open_to(&self, nonce: &[u8; 12], ciphertext: &[u8], tag: &[u8; 16], out: &mut [u8]) {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        self.0
            .open_separate_gather(nonce, Aad::from(b"row 7"), black_box(ciphertext), tag, out)
            .unwrap();
    }
}
