//! What wraps: RSA-OAEP with SHA-256 and MGF1-SHA-256, and AES key wrap of RFC 3394.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrap};
use aws_lc_rs::rsa::{
    KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, OaepPublicEncryptingKey, PrivateDecryptingKey,
};

#[derive(Clone, Debug)]
pub(crate) enum Material {
    /// PKCS#8, DER.
    Rsa(Vec<u8>),
    Aes([u8; 32]),
}

impl Material {
    pub(super) fn rsa(bits: u64) -> Option<Self> {
        let size = match bits {
            2048 => KeySize::Rsa2048,
            3072 => KeySize::Rsa3072,
            4096 => KeySize::Rsa4096,
            _ => return None,
        };
        let key = PrivateDecryptingKey::generate(size).unwrap();
        let der: Pkcs8V1Der<'static> = key.as_der().unwrap();
        Some(Self::Rsa(der.as_ref().to_vec()))
    }

    pub(super) fn aes() -> Self {
        let mut key = [0; 32];
        aws_lc_rs::rand::fill(&mut key).unwrap();
        Self::Aes(key)
    }

    /// `None` where algorithm and key, or algorithm and length, do not go together.
    pub(super) fn wrap(&self, algorithm: &str, value: &[u8]) -> Option<Vec<u8>> {
        match (self, algorithm) {
            (Self::Rsa(der), "RSA-OAEP-256") => {
                let key = PrivateDecryptingKey::from_pkcs8(der).unwrap();
                let key = OaepPublicEncryptingKey::new(key.public_key()).unwrap();
                let mut out = vec![0; key.ciphertext_size()];
                let len = key
                    .encrypt(&OAEP_SHA256_MGF1SHA256, value, &mut out, None)
                    .ok()?
                    .len();
                out.truncate(len);
                Some(out)
            }
            (Self::Aes(key), "A256KW") => {
                let mut out = vec![0; value.len() + 8];
                let len = AesKek::new(&AES_256, key)
                    .unwrap()
                    .wrap(value, &mut out)
                    .ok()?
                    .len();
                out.truncate(len);
                Some(out)
            }
            _ => None,
        }
    }

    /// `None`, too, where it was wrapped by another key or altered.
    pub(super) fn unwrap(&self, algorithm: &str, value: &[u8]) -> Option<Vec<u8>> {
        match (self, algorithm) {
            (Self::Rsa(der), "RSA-OAEP-256") => {
                let key = PrivateDecryptingKey::from_pkcs8(der).unwrap();
                let key = OaepPrivateDecryptingKey::new(key).unwrap();
                let mut out = vec![0; key.min_output_size()];
                let len = key
                    .decrypt(&OAEP_SHA256_MGF1SHA256, value, &mut out, None)
                    .ok()?
                    .len();
                out.truncate(len);
                Some(out)
            }
            (Self::Aes(key), "A256KW") => {
                let mut out = vec![0; value.len()];
                let len = AesKek::new(&AES_256, key)
                    .unwrap()
                    .unwrap(value, &mut out)
                    .ok()?
                    .len();
                out.truncate(len);
                Some(out)
            }
            _ => None,
        }
    }

    /// Modulus and exponent, where there are any.
    pub(super) fn public(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        let Self::Rsa(der) = self else { return None };
        let key = PrivateDecryptingKey::from_pkcs8(der).unwrap();
        let spki: PublicKeyX509Der<'static> = key.public_key().as_der().unwrap();
        // SEQUENCE { SEQUENCE { … }, BIT STRING { SEQUENCE { n, e } } }
        let (outer, _) = element(spki.as_ref());
        let (_, bits) = element(outer);
        let (bits, _) = element(bits);
        let (numbers, _) = element(&bits[1..]);
        let (n, rest) = element(numbers);
        let (e, _) = element(rest);
        let bare = |number: &[u8]| number.iter().copied().skip_while(|byte| *byte == 0).collect();
        Some((bare(n), bare(e)))
    }
}

/// The content of the first DER element, and what follows it.
fn element(der: &[u8]) -> (&[u8], &[u8]) {
    let (len, header) = match usize::from(der[1]) {
        short if short < 0x80 => (short, 2),
        long => {
            let count = long & 0x7f;
            let len = der[2..2 + count]
                .iter()
                .fold(0, |len, byte| len << 8 | usize::from(*byte));
            (len, 2 + count)
        }
    };
    (&der[header..header + len], &der[header + len..])
}
