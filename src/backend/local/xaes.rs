//! XAES-256-GCM (C2SP): AES-256-GCM with a 192-bit nonce, so that a KEK never runs out of random nonces.

use aes::Aes256;
use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};
use zeroize::Zeroizing;

use super::PROVIDER;
use crate::envelope::{KekRef, WrapAlgorithm, WrappedDek};
use crate::key::Request;
use crate::value::aead::{AeadKey, TAG};
use crate::value::entropy;
use crate::value::error::{Error, Result};
use crate::value::secret::{Dek, KEY_LEN, Kek, Wiped};
use crate::value::suite::Suite;

const NONCE: usize = 24;
/// Length of a wrapped DEK: nonce, ciphertext and tag.
pub(super) const WRAPPED: usize = NONCE + KEY_LEN + TAG;

/// A KEK that is ready for use.
pub(super) struct Xaes {
    // Boxed, so that moving it leaves no key schedule behind. Wiped on drop by `aes`.
    aes: Box<Aes256>,
    k1: Zeroizing<[u8; 16]>,
}

impl Xaes {
    pub(super) fn new(kek: &Kek) -> Self {
        let aes = Box::new(Aes256::new(kek.expose_bytes().into()));
        let mut k1 = Zeroizing::new([0; 16]);
        aes.encrypt_block((&mut *k1).into());
        // Doubling in GF(2^128), as in CMAC (NIST SP 800-38B), without a branch on the secret.
        let value = u128::from_be_bytes(*k1);
        *k1 = (value << 1 ^ ((value >> 127) * 0x87)).to_be_bytes();
        Self { aes, k1 }
    }

    /// Derives the AES-256-GCM key for a nonce.
    fn key(&self, nonce: &[u8; NONCE]) -> AeadKey {
        let mut key = Wiped::new([0; 32]);
        let (halves, _) = key.as_chunks_mut::<16>();
        for (half, counter) in halves.iter_mut().zip([1, 2]) {
            half[..4].copy_from_slice(&[0, counter, b'X', 0]);
            half[4..].copy_from_slice(&nonce[..12]);
            for (byte, k1) in half.iter_mut().zip(self.k1.iter()) {
                *byte ^= k1;
            }
        }
        // Both in one call, because they do not depend on each other.
        self.aes.encrypt_blocks(Array::cast_slice_from_core_mut(halves));
        AeadKey::new(Suite::Aes256Gcm, &key)
    }

    #[cfg(test)]
    fn seal(&self, nonce: &[u8; NONCE], aad: &[u8], in_out: &mut [u8]) -> Result<[u8; TAG]> {
        let inner = nonce.last_chunk().ok_or_else(Error::cannot_open)?;
        self.key(nonce).seal_in_place(inner, aad, in_out)
    }

    fn open(&self, nonce: &[u8; NONCE], aad: &[u8], in_out: &mut [u8], tag: &[u8]) -> Result<()> {
        let inner = nonce.last_chunk().ok_or_else(Error::cannot_open)?;
        self.key(nonce).open_in_place(inner, aad, in_out, tag)
    }

    /// Wraps a DEK and appends nonce, ciphertext and tag.
    pub(super) fn wrap_to(&self, dek: &Dek, request: &Request<'_>, out: &mut Vec<u8>) -> Result<()> {
        let nonce: [u8; NONCE] = entropy::array()?;
        let inner = nonce.last_chunk().ok_or_else(Error::cannot_open)?;
        let mut sealed = [0; KEY_LEN + TAG];
        let (body, tag) = sealed.split_at_mut(KEY_LEN);
        self.key(&nonce)
            .seal_to(inner, &request.wrap_aad(), dek.expose_bytes(), body, tag)?;
        out.extend_from_slice(&nonce);
        out.extend_from_slice(&sealed);
        Ok(())
    }

    /// Unwraps what [`wrap_to`](Self::wrap_to) appended.
    pub(super) fn unwrap(&self, wrapped: &[u8], request: &Request<'_>) -> Result<Dek> {
        let wrapped: &[u8; WRAPPED] = wrapped
            .try_into()
            .map_err(|_| Error::malformed("wrapped DEK", 0))?;
        let (nonce, rest) = wrapped.split_first_chunk().ok_or_else(Error::cannot_open)?;
        let (secret, tag) = rest
            .split_first_chunk::<KEY_LEN>()
            .ok_or_else(Error::cannot_open)?;
        let mut secret = Wiped::new(*secret);
        self.open(nonce, &request.wrap_aad(), secret.as_mut_slice(), tag)?;
        Ok(Dek::from_bytes(&secret))
    }

    /// Wraps a DEK under this KEK only.
    pub(super) fn wrap(&self, dek: &Dek, request: &Request<'_>, kek: &KekRef) -> Result<WrappedDek> {
        debug_assert_eq!(kek.provider(), PROVIDER);
        let mut wrapped = Vec::with_capacity(WRAPPED);
        self.wrap_to(dek, request, &mut wrapped)?;
        WrappedDek::new(WrapAlgorithm::XAES_256_GCM, kek.clone(), wrapped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::context::EncryptionContext;

    fn hex(value: &serde_json::Value) -> Vec<u8> {
        hex::decode(value.as_str().unwrap()).unwrap()
    }

    /// The vectors of C2SP, from the folder that `WAXSEAL_VECTORS_DIR` names.
    #[test]
    fn c2sp_vectors() {
        let Some(dir) = std::env::var_os("WAXSEAL_VECTORS_DIR") else {
            println!("skipped: WAXSEAL_VECTORS_DIR is not set, so there are no XAES-256-GCM vectors to read");
            return;
        };
        let path = std::path::Path::new(&dir).join("xaes-256-gcm/xaes-256-gcm.json");
        let Ok(text) = std::fs::read_to_string(&path) else {
            println!("skipped: there are no vectors at {}", path.display());
            return;
        };
        let vectors: serde_json::Value = serde_json::from_str(&text).unwrap();
        let tests = vectors["tests"].as_array().unwrap();
        assert!(tests.len() >= 3);
        for test in tests {
            let xaes = Xaes::new(&Kek::from_bytes(hex(&test["key"]).as_slice().try_into().unwrap()));
            if test.get("K1").is_some() {
                assert_eq!(xaes.k1.as_slice(), hex(&test["K1"]));
            }
            let nonce: [u8; NONCE] = hex(&test["nonce"]).try_into().unwrap();
            let (plaintext, aad) = (hex(&test["plaintext"]), hex(&test["aad"]));
            let mut in_out = plaintext.clone();
            let tag = xaes.seal(&nonce, &aad, &mut in_out).unwrap();
            assert_eq!([in_out.as_slice(), &tag].concat(), hex(&test["ciphertext"]));
            xaes.open(&nonce, &aad, &mut in_out, &tag).unwrap();
            assert_eq!(in_out, plaintext);
        }
    }

    // spec: BIND-2
    #[test]
    fn a_wrap_opens_in_its_context_and_unaltered_only() {
        let xaes = Xaes::new(&Kek::from_bytes(&[1; 32]));
        let (here, there) = (
            EncryptionContext::empty(),
            EncryptionContext::new([("a", "b")]).unwrap(),
        );
        let dek = Dek::generate().unwrap();
        let mut wrapped = Vec::new();
        xaes.wrap_to(&dek, &Request::new(&here), &mut wrapped).unwrap();
        assert_eq!(wrapped.len(), 72);
        assert!(xaes.unwrap(&wrapped, &Request::new(&here)).unwrap().ct_eq(&dek));
        assert!(xaes.unwrap(&wrapped, &Request::new(&there)).is_err());
        for bit in 0..wrapped.len() * 8 {
            wrapped[bit / 8] ^= 1 << (bit % 8);
            assert!(xaes.unwrap(&wrapped, &Request::new(&here)).is_err(), "bit {bit}");
            wrapped[bit / 8] ^= 1 << (bit % 8);
        }
    }

    // spec: ALG-5
    #[test]
    fn no_two_wraps_have_a_nonce_in_common() {
        let xaes = Xaes::new(&Kek::from_bytes(&[1; 32]));
        let (dek, context) = (Dek::generate().unwrap(), EncryptionContext::empty());
        let mut nonces = std::collections::HashSet::new();
        for _ in 0..1000 {
            let mut wrapped = Vec::new();
            xaes.wrap_to(&dek, &Request::new(&context), &mut wrapped).unwrap();
            let nonce: [u8; NONCE] = wrapped[..NONCE].try_into().unwrap();
            // Neither half is a constant or a counter that starts again.
            assert!(nonces.insert(nonce[..12].to_vec()) && nonces.insert(nonce[12..].to_vec()));
        }
    }
}
