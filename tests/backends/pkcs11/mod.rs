//! Keys on a real token: SoftHSM, by its own module; and where that is chosen (`scripts/services env kryoptic`), kryoptic.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod admin;
mod errors;
mod misbehaving;
mod oaep;
mod others;
mod recovery;
#[cfg(feature = "ring")]
mod ring;
mod support;
mod two_tokens;
mod versions;

use cryptoki::mechanism::Mechanism as Call;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass};
use std::time::Duration;

use support::{PIN, Token, connect, has_key_wrap_pad};
use waxseal::backend::pkcs11::Mechanism;
use waxseal::testing::conformance::{self, Subject};
use waxseal::{EncryptionContext, ErrorKind, KeyManager, Sealer, envelope::KekRef, key::Request, value::Dek};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aes_gcm_conforms() {
    let Some(token) = Token::fresh("conform-gcm") else {
        return;
    };
    token.make_key("a", &[1]);
    token.make_key("a", &[2]);
    token.make_key("b", &[1]);
    let subject = Subject::new(token.keys("a", Mechanism::AesGcm))
        .against(token.keys("b", Mechanism::AesGcm))
        .with_older_version(KekRef::new("pkcs11", "a", "01").unwrap())
        .with_canary(PIN);
    let report = conformance::run(&subject)
        .await
        .unwrap_or_else(|failure| panic!("{failure}"));
    println!("{report}");
    assert_eq!(report.skipped().len(), 2, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aes_key_wrap_pad_conforms() {
    if !has_key_wrap_pad("the suite for key wrap with padding") {
        return;
    }
    let Some(token) = Token::fresh("conform-kwp") else {
        return;
    };
    token.make_key("a", &[1]);
    token.make_key("a", &[2]);
    token.make_key("b", &[1]);
    let subject = Subject::new(token.keys("a", Mechanism::AesKeyWrapPad))
        .against(token.keys("b", Mechanism::AesKeyWrapPad))
        .with_older_version(KekRef::new("pkcs11", "a", "01").unwrap())
        .wrapping_deterministically()
        .with_canary(PIN);
    let report = conformance::run(&subject)
        .await
        .unwrap_or_else(|failure| panic!("{failure}"));
    println!("{report}");
    assert_eq!(report.skipped().len(), 3, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn key_wrapping_leaves_no_secret_on_the_token() {
    if !has_key_wrap_pad("what key wrapping leaves") {
        return;
    }
    let Some(token) = Token::fresh("left") else {
        return;
    };
    token.make_key("kek", &[1]);
    token.make_key("kek", &[2]);
    let keys = token.keys("kek", Mechanism::AesKeyWrapPad);
    let (here, there) = (
        EncryptionContext::empty(),
        EncryptionContext::new([("a", "b")]).unwrap(),
    );
    for _ in 0..8 {
        let (_, wrapped) = keys.generate(&Request::new(&here)).await.unwrap();
        keys.unwrap(wrapped.as_wrap_ref(), &Request::new(&here))
            .await
            .unwrap();
        let moved = keys.unwrap(wrapped.as_wrap_ref(), &Request::new(&there)).await;
        assert_eq!(moved.unwrap_err().kind(), ErrorKind::CannotOpen);
        let mut bytes = wrapped.wrapped().to_vec();
        bytes[40] ^= 1;
        let mut altered = wrapped.as_wrap_ref();
        altered.wrapped = &bytes;
        let altered = keys.unwrap(altered, &Request::new(&here)).await;
        assert_eq!(altered.unwrap_err().kind(), ErrorKind::CannotOpen);
    }
    let session = token.session();
    let left = session
        .find_objects(&[
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::GENERIC_SECRET),
        ])
        .unwrap();
    assert!(left.is_empty(), "{} objects are left", left.len());
    // They would have been seen.
    let template = [
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::GENERIC_SECRET),
        Attribute::Private(true),
        Attribute::Value(vec![7; 64]),
    ];
    let other = token.session();
    other.create_object(&template).unwrap();
    assert_eq!(session.find_objects(&template[..2]).unwrap().len(), 1);
}

// spec: ALG-14
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_token_itself_opens_a_gcm_wrap_and_its_iv_is_the_one_in_front() {
    let Some(token) = Token::fresh("raw-gcm") else {
        return;
    };
    token.make_key("kek", &[1]);
    let keys = token.keys("kek", Mechanism::AesGcm);
    let context = EncryptionContext::new([("tenant", "acme")]).unwrap();
    let request = Request::new(&context);
    let dek = Dek::generate().unwrap();
    let wrapped = keys.wrap(&dek, &request).await.unwrap();
    assert_eq!(wrapped.wrapped().len(), 60);
    assert_eq!((wrapped.kek().id(), wrapped.kek().version()), ("kek", "01"));

    let session = token.session();
    let key = token.find(&session, "kek")[0];
    let mut iv: [u8; 12] = wrapped.wrapped()[..12].try_into().unwrap();
    let aad = [b"waxseal v1 wrap".as_slice(), context.digest()].concat();
    let params = GcmParams::new(&mut iv, &aad, 128.into()).unwrap();
    let opened = session
        .decrypt(&Call::AesGcm(params), key, &wrapped.wrapped()[12..])
        .unwrap();
    assert!(dek.ct_eq(&Dek::from_bytes(opened.as_slice().try_into().unwrap())));
    let params = GcmParams::new(&mut iv, b"another", 128.into()).unwrap();
    assert!(
        session
            .decrypt(&Call::AesGcm(params), key, &wrapped.wrapped()[12..])
            .is_err()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_token_itself_unwraps_what_was_key_wrapped() {
    if !has_key_wrap_pad("unwrapping without the crate") {
        return;
    }
    let Some(token) = Token::fresh("raw-kwp") else {
        return;
    };
    token.make_key("kek", &[1]);
    let keys = token.keys("kek", Mechanism::AesKeyWrapPad);
    let context = EncryptionContext::new([("tenant", "acme")]).unwrap();
    let dek = Dek::generate().unwrap();
    let wrapped = keys.wrap(&dek, &Request::new(&context)).await.unwrap();
    assert_eq!(wrapped.wrapped().len(), 72);

    let session = token.session();
    let key = token.find(&session, "kek")[0];
    let template = [
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::GENERIC_SECRET),
        Attribute::Token(false),
        Attribute::Sensitive(false),
        Attribute::Extractable(true),
    ];
    let object = session
        .unwrap_key(&Call::AesKeyWrapPad, key, wrapped.wrapped(), &template)
        .unwrap();
    let value = session.get_attributes(object, &[AttributeType::Value]).unwrap();
    let [Attribute::Value(value)] = value.as_slice() else {
        panic!("{}", value.len())
    };
    assert_eq!(value[..32], *dek.expose_bytes());
    assert_eq!(value[32..], *context.digest());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_at_once_share_few_sessions() {
    let Some(token) = Token::fresh("many") else { return };
    token.make_key("kek", &[1]);
    let config = token.config().with_sessions(3).unwrap();
    let keys = connect(config).key("kek").unwrap();
    let tasks: Vec<_> = (0..64)
        .map(|i| {
            let keys = keys.clone();
            tokio::spawn(async move {
                let context = EncryptionContext::new([("row", i.to_string())]).unwrap();
                let request = Request::new(&context);
                let (dek, wrapped) = keys.generate(&request).await.unwrap();
                let opened = keys.unwrap(wrapped.as_wrap_ref(), &request).await.unwrap();
                assert!(opened.dek.ct_eq(&dek));
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert!(token.is_in_use());
    drop(keys);
    assert!(!token.stays_in_use(), "a session was left open");
}

/// Turns that are given back at the very moment when somebody gives up waiting for one.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn calls_that_are_given_up_leave_their_turn_to_others() {
    let Some(token) = Token::fresh("given-up") else {
        return;
    };
    token.make_key("kek", &[1]);
    let config = token.config().with_sessions(2).unwrap();
    let keys = connect(config).key("kek").unwrap();
    let context = EncryptionContext::empty();
    let (_, wrapped) = keys.generate(&Request::new(&context)).await.unwrap();
    let tasks: Vec<_> = (0..10_000_u32)
        .map(|i| {
            let (keys, wrapped) = (keys.clone(), wrapped.clone());
            tokio::spawn(async move {
                let context = EncryptionContext::empty();
                let request = Request::new(&context);
                let patience = Duration::from_micros(u64::from(i % 97) * 20);
                let unwrap = keys.unwrap(wrapped.as_wrap_ref(), &request);
                let _ = tokio::time::timeout(patience, unwrap).await;
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let opened = keys.unwrap(wrapped.as_wrap_ref(), &Request::new(&context)).await;
    opened.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payload_is_sealed_and_opened() {
    let Some(token) = Token::fresh("payload") else {
        return;
    };
    token.make_key("kek", &[1]);
    let context = EncryptionContext::new([("tenant", "acme")]).unwrap();
    let sealed = Sealer::new(token.keys("kek", Mechanism::AesGcm))
        .seal(b"alice@example.com", &context)
        .await
        .unwrap();
    let opened = Sealer::new(token.keys("kek", Mechanism::AesGcm))
        .open(&sealed, &context)
        .await
        .unwrap();
    assert_eq!(opened, b"alice@example.com");
}
