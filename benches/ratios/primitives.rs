//! The primitives without this crate.

use std::hint::black_box;

use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aws_lc_rs::aead::{Aad, Nonce};
use waxseal::value::entropy;

use crate::raw_aead::RawAead;

impl RawAead {
    pub(crate) fn seal_in_place(&self, nonce: &[u8; 12], in_out: &mut [u8]) {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        black_box(
            self.0
                .seal_in_place_separate_tag(nonce, Aad::empty(), in_out)
                .unwrap()
                .as_ref(),
        );
    }

    /// As a wrap: with a tag behind it, and bound to a label and 32 bytes.
    fn wrap(&self, nonce: &[u8; 12], binding: &[u8; 47], in_out: &mut [u8]) {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        black_box(
            self.0
                .seal_in_place_separate_tag(nonce, Aad::from(binding), in_out)
                .unwrap()
                .as_ref(),
        );
    }

    pub(crate) fn open_in_place(&self, nonce: &[u8; 12], in_out: &mut [u8], tag: &[u8; 16]) {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        self.0
            .open_in_place_separate_tag(nonce, Aad::empty(), tag, in_out)
            .unwrap();
    }
}

/// Every primitive that a one-off seal of a small value with a fresh DEK under a local KEK cannot do without:
/// 84 random bytes (DEK, wrap nonce, session id, nonce), the two blocks and the key of an XAES-256-GCM wrap
/// that is bound to a context (47 bytes of AAD, as the format has it), an HKDF
/// expansion to 64 bytes, and the sealing under a new key.
pub(crate) fn sum_of_fresh_seal(plaintext: &[u8; 100]) {
    thread_local! {
        static KEK: aes::Aes256 = aes::Aes256::new(&[7; 32].into());
    }
    let dek: [u8; 32] = entropy::array().unwrap();
    let wrap_nonce: [u8; 24] = entropy::array().unwrap();
    let session: [u8; 16] = entropy::array().unwrap();
    let nonce: [u8; 12] = entropy::array().unwrap();
    let mut wrap_key = [0; 32];
    KEK.with(|kek| {
        for half in wrap_key.chunks_exact_mut(16) {
            half.copy_from_slice(&wrap_nonce[..16]);
            kek.encrypt_block(half.try_into().unwrap());
        }
    });
    let mut wrapped = dek;
    RawAead::with_key(&wrap_key).wrap(wrap_nonce[12..].try_into().unwrap(), &[7; 47], &mut wrapped);
    let mut okm = [0; 64];
    let hkdf = hkdf::Hkdf::<sha2::Sha256>::from_prk(&dek).unwrap();
    hkdf.expand_multi_info(&[b"waxseal v1 session", &[0; 4], &session, &[0; 32]], &mut okm)
        .unwrap();
    let mut out = [0; 100];
    RawAead::with_key(okm[..32].try_into().unwrap()).seal_to(&nonce, plaintext, &mut out);
    black_box((out, wrapped));
}
