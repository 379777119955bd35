//! How a fake KEK wraps: HKDF's bytes over the DEK, and an HMAC over everything. Sound, and of no interest to
//! anybody but tests.

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::value::error::{Error, Result};

/// Length of version, nonce and tag.
const OVERHEAD: usize = 4 + NONCE + TAG;
const NONCE: usize = 16;
const TAG: usize = 32;

/// One version of one fake KEK.
pub(super) struct FakeKey(Zeroizing<[u8; 32]>);

impl FakeKey {
    /// The key of a name: the same in every run.
    pub(super) fn of(id: &str, version: u32) -> Self {
        let seed = Sha256::new()
            .chain_update(b"fake KEK")
            .chain_update(version.to_be_bytes())
            .chain_update(id.as_bytes())
            .finalize();
        Self(Zeroizing::new(seed.into()))
    }

    /// The bytes of a name, as many as are asked for.
    pub(super) fn derive(&self, label: &[u8], nonce: &[u8], out: &mut [u8]) -> Result<()> {
        Hkdf::<Sha256>::from_prk(self.0.as_slice())
            .ok()
            .and_then(|hkdf| hkdf.expand_multi_info(&[label, nonce], out).ok())
            .ok_or_else(|| Error::argument("the fake key manager wraps no more than 8,160 bytes"))
    }

    fn tag(&self, parts: [&[u8]; 4]) -> Result<[u8; TAG]> {
        let mut key = Zeroizing::new([0; 32]);
        self.derive(b"tag", &[], key.as_mut_slice())?;
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key.as_slice())
            .map_err(|_| Error::argument("the fake key manager has a key of 32 bytes"))?;
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        Ok(mac.finalize().into_bytes().into())
    }

    /// Wraps: version, nonce, ciphertext, tag.
    pub(super) fn wrap(&self, version: u32, nonce: u128, aad: &[u8], secret: &[u8]) -> Result<Vec<u8>> {
        let (version, nonce) = (version.to_be_bytes(), nonce.to_be_bytes());
        let mut wrapped = Zeroizing::new(vec![0; secret.len()]);
        self.derive(b"stream", &nonce, &mut wrapped)?;
        for (byte, secret) in wrapped.iter_mut().zip(secret) {
            *byte ^= secret;
        }
        let tag = self.tag([&version, &nonce, aad, &wrapped])?;
        Ok([version.as_slice(), &nonce, &wrapped, &tag].concat())
    }

    /// Unwraps what [`wrap`](Self::wrap) gave, under the same AAD.
    pub(super) fn unwrap(&self, aad: &[u8], wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let parts = || {
            let (version, rest) = wrapped.split_first_chunk::<4>()?;
            let (nonce, rest) = rest.split_first_chunk::<NONCE>()?;
            let (sealed, tag) = rest.split_last_chunk::<TAG>()?;
            Some((version, nonce, sealed, tag))
        };
        let (version, nonce, sealed, tag) = parts().ok_or_else(Error::cannot_open)?;
        let expected = self.tag([version, nonce, aad, sealed])?;
        if !bool::from(expected.as_slice().ct_eq(tag.as_slice())) {
            return Err(Error::cannot_open());
        }
        let mut secret = Zeroizing::new(vec![0; sealed.len()]);
        self.derive(b"stream", nonce, &mut secret)?;
        for (byte, sealed) in secret.iter_mut().zip(sealed) {
            *byte ^= sealed;
        }
        Ok(secret)
    }
}

/// The version that a wrap names: a backend's own bytes, not the stanza's claim.
pub(super) fn version_of(wrapped: &[u8]) -> Option<u32> {
    let version = wrapped.first_chunk().filter(|_| wrapped.len() > OVERHEAD)?;
    Some(u32::from_be_bytes(*version))
}
