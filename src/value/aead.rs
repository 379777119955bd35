//! The AEADs. This is the only file that names their libraries.
//!
//! AWS-LC (feature `aws-lc`, on by default) is two to five times as fast; `aes-gcm` and `chacha20poly1305`
//! are pure Rust and always available. Both write the same bytes, which the tests check.

use crate::value::error::{Error, Result};
use crate::value::suite::Suite;

/// Length of a nonce, in bytes.
pub(crate) const NONCE: usize = 12;
/// Length of a tag, in bytes.
pub(crate) const TAG: usize = 16;

#[cfg(feature = "aws-lc")]
use aws_lc as library;
#[cfg(not(feature = "aws-lc"))]
use pure as library;

/// A key that is ready for use. Wiped when dropped.
pub(crate) struct AeadKey(library::Key);

impl AeadKey {
    pub(crate) fn new(suite: Suite, key: &[u8; 32]) -> Self {
        Self(library::Key::new(suite, key))
    }

    /// Seals `in_out` in place and returns its tag.
    pub(crate) fn seal_in_place(
        &self,
        nonce: &[u8; NONCE],
        aad: &[u8],
        in_out: &mut [u8],
    ) -> Result<[u8; TAG]> {
        self.0
            .seal_in_place(nonce, aad, in_out)
            .ok_or_else(Error::cannot_open)
    }

    /// Seals `plaintext` to `out`, which has its length, and writes the tag.
    pub(crate) fn seal_to(
        &self,
        nonce: &[u8; NONCE],
        aad: &[u8],
        plaintext: &[u8],
        out: &mut [u8],
        tag: &mut [u8],
    ) -> Result<()> {
        self.0
            .seal_to(nonce, aad, plaintext, out, tag)
            .ok_or_else(Error::cannot_open)
    }

    /// Opens `in_out` in place. If the tag does not match, the content of `in_out` is unspecified.
    pub(crate) fn open_in_place(
        &self,
        nonce: &[u8; NONCE],
        aad: &[u8],
        in_out: &mut [u8],
        tag: &[u8],
    ) -> Result<()> {
        self.0
            .open_in_place(nonce, aad, in_out, tag)
            .ok_or_else(Error::cannot_open)
    }

    /// Opens `ciphertext` to `out`, which has its length. If the tag does not match, the content of `out`
    /// is unspecified.
    pub(crate) fn open_to(
        &self,
        nonce: &[u8; NONCE],
        aad: &[u8],
        ciphertext: &[u8],
        tag: &[u8],
        out: &mut [u8],
    ) -> Result<()> {
        self.0
            .open_to(nonce, aad, ciphertext, tag, out)
            .ok_or_else(Error::cannot_open)
    }
}

#[cfg(feature = "aws-lc")]
mod aws_lc {
    use aws_lc_rs::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

    use super::{NONCE, Suite, TAG};

    // AWS-LC wipes a context's key schedule when it frees it.
    pub(super) struct Key(Option<LessSafeKey>);

    impl Key {
        pub(super) fn new(suite: Suite, key: &[u8; 32]) -> Self {
            let algorithm = match suite {
                Suite::Aes256Gcm => &AES_256_GCM,
                Suite::ChaCha20Poly1305 => &CHACHA20_POLY1305,
            };
            // A key of 32 bytes fits both algorithms. If the library refuses it (no memory), nothing
            // seals or opens with it.
            Self(UnboundKey::new(algorithm, key).ok().map(LessSafeKey::new))
        }

        pub(super) fn seal_in_place(
            &self,
            nonce: &[u8; NONCE],
            aad: &[u8],
            in_out: &mut [u8],
        ) -> Option<[u8; TAG]> {
            let nonce = Nonce::assume_unique_for_key(*nonce);
            let tag = self
                .0
                .as_ref()?
                .seal_in_place_separate_tag(nonce, Aad::from(aad), in_out)
                .ok()?;
            tag.as_ref().try_into().ok()
        }

        pub(super) fn seal_to(
            &self,
            nonce: &[u8; NONCE],
            aad: &[u8],
            plaintext: &[u8],
            out: &mut [u8],
            tag: &mut [u8],
        ) -> Option<()> {
            let nonce = Nonce::assume_unique_for_key(*nonce);
            self.0
                .as_ref()?
                .seal_out_of_place_scatter(nonce, Aad::from(aad), plaintext, out, &[], tag)
                .ok()
        }

        pub(super) fn open_in_place(
            &self,
            nonce: &[u8; NONCE],
            aad: &[u8],
            in_out: &mut [u8],
            tag: &[u8],
        ) -> Option<()> {
            let nonce = Nonce::assume_unique_for_key(*nonce);
            self.0
                .as_ref()?
                .open_in_place_separate_tag(nonce, Aad::from(aad), tag, in_out)
                .ok()?;
            Some(())
        }

        pub(super) fn open_to(
            &self,
            nonce: &[u8; NONCE],
            aad: &[u8],
            ciphertext: &[u8],
            tag: &[u8],
            out: &mut [u8],
        ) -> Option<()> {
            let nonce = Nonce::assume_unique_for_key(*nonce);
            self.0
                .as_ref()?
                .open_separate_gather(nonce, Aad::from(aad), ciphertext, tag, out)
                .ok()
        }
    }
}

#[cfg(any(not(feature = "aws-lc"), test))]
mod pure {
    use aes_gcm::aead::{AeadInOut, inout::InOutBuf};
    use aes_gcm::{Aes256Gcm, KeyInit};
    use chacha20poly1305::ChaCha20Poly1305;

    use super::{NONCE, Suite, TAG};

    // Boxed: an expanded AES key is a kilobyte, and moving it would leave copies behind.
    pub(super) enum Key {
        Aes(Box<Aes256Gcm>),
        ChaCha(Box<ChaCha20Poly1305>),
    }

    impl Key {
        pub(super) fn new(suite: Suite, key: &[u8; 32]) -> Self {
            match suite {
                Suite::Aes256Gcm => Self::Aes(Box::new(Aes256Gcm::new(key.into()))),
                Suite::ChaCha20Poly1305 => Self::ChaCha(Box::new(ChaCha20Poly1305::new(key.into()))),
            }
        }

        fn seal(&self, nonce: &[u8; NONCE], aad: &[u8], buffer: InOutBuf<'_, '_, u8>) -> Option<[u8; TAG]> {
            let tag = match self {
                Self::Aes(key) => key.encrypt_inout_detached(nonce.into(), aad, buffer),
                Self::ChaCha(key) => key.encrypt_inout_detached(nonce.into(), aad, buffer),
            };
            tag.ok().map(Into::into)
        }

        fn open(
            &self,
            nonce: &[u8; NONCE],
            aad: &[u8],
            buffer: InOutBuf<'_, '_, u8>,
            tag: &[u8],
        ) -> Option<()> {
            let tag: &[u8; TAG] = tag.try_into().ok()?;
            match self {
                Self::Aes(key) => key.decrypt_inout_detached(nonce.into(), aad, buffer, tag.into()),
                Self::ChaCha(key) => key.decrypt_inout_detached(nonce.into(), aad, buffer, tag.into()),
            }
            .ok()
        }

        pub(super) fn seal_in_place(
            &self,
            nonce: &[u8; NONCE],
            aad: &[u8],
            in_out: &mut [u8],
        ) -> Option<[u8; TAG]> {
            self.seal(nonce, aad, in_out.into())
        }

        pub(super) fn seal_to(
            &self,
            nonce: &[u8; NONCE],
            aad: &[u8],
            plaintext: &[u8],
            out: &mut [u8],
            tag: &mut [u8],
        ) -> Option<()> {
            if tag.len() != TAG {
                return None;
            }
            let sealed = self.seal(nonce, aad, InOutBuf::new(plaintext, out).ok()?)?;
            tag.copy_from_slice(&sealed);
            Some(())
        }

        pub(super) fn open_in_place(
            &self,
            nonce: &[u8; NONCE],
            aad: &[u8],
            in_out: &mut [u8],
            tag: &[u8],
        ) -> Option<()> {
            self.open(nonce, aad, in_out.into(), tag)
        }

        pub(super) fn open_to(
            &self,
            nonce: &[u8; NONCE],
            aad: &[u8],
            ciphertext: &[u8],
            tag: &[u8],
            out: &mut [u8],
        ) -> Option<()> {
            self.open(nonce, aad, InOutBuf::new(ciphertext, out).ok()?, tag)
        }
    }
}

#[cfg(test)]
mod tests;
