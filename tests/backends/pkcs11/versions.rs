//! Labels, ids and what they mean.

use cryptoki::mechanism::Mechanism as Call;
use cryptoki::object::Attribute;

use super::support::Token;
use waxseal::backend::pkcs11::Mechanism;
use waxseal::{EncryptionContext, ErrorKind, KeyManager, key::Request, value::Dek};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_greatest_id_wraps_older_ones_open_and_a_pinned_one_stays() {
    let Some(token) = Token::fresh("versions") else {
        return;
    };
    token.make_key("kek", &[9]);
    let context = EncryptionContext::empty();
    let request = Request::new(&context);
    let dek = Dek::generate().unwrap();
    let keys = token.keys("kek", Mechanism::AesGcm);
    let old = keys.wrap(&dek, &request).await.unwrap();
    assert_eq!(old.kek().version(), "09");

    // By number and not by text: 0x0100 is greater than 9.
    token.make_key("kek", &[1, 0]);
    assert_eq!(keys.wrap(&dek, &request).await.unwrap().kek().version(), "09");
    keys.refresh();
    let new = keys.wrap(&dek, &request).await.unwrap();
    assert_eq!(new.kek().version(), "0100");
    for wrapped in [&old, &new] {
        let opened = keys.unwrap(wrapped.as_wrap_ref(), &request).await.unwrap();
        assert!(opened.dek.ct_eq(&dek));
        assert_eq!(&opened.kek, wrapped.kek());
        // The version is a claim: with another one, or none, the same key opens and is named.
        for claimed in ["09", "0100", "", "77"] {
            let mut stanza = wrapped.as_wrap_ref();
            stanza.kek_version = claimed;
            let opened = keys.unwrap(stanza, &request).await.unwrap();
            assert!(opened.dek.ct_eq(&dek));
            assert_eq!(&opened.kek, wrapped.kek(), "{claimed}");
        }
    }

    let pinned = token.keys("kek", Mechanism::AesGcm).pinned(&[9]);
    assert_eq!(pinned.wrap(&dek, &request).await.unwrap().kek().version(), "09");
    assert!(
        pinned
            .unwrap(new.as_wrap_ref(), &request)
            .await
            .unwrap()
            .dek
            .ct_eq(&dek)
    );
    let missing = token.keys("kek", Mechanism::AesGcm).pinned(&[8]);
    let error = missing.wrap(&dek, &request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyNotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_keys_of_one_label_and_id_are_refused() {
    let Some(token) = Token::fresh("ambiguous") else {
        return;
    };
    token.make_key("kek", &[1]);
    let keys = token.keys("kek", Mechanism::AesGcm);
    let context = EncryptionContext::empty();
    let request = Request::new(&context);
    let (_, wrapped) = keys.generate(&request).await.unwrap();
    token.make_key("kek", &[1]);
    keys.refresh();
    assert_eq!(keys.check().await.unwrap_err().kind(), ErrorKind::Configuration);
    assert_eq!(
        keys.generate(&request).await.unwrap_err().kind(),
        ErrorKind::Configuration
    );
    let error = keys.unwrap(wrapped.as_wrap_ref(), &request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("label and id"), "{error}");
    // Another version of the KEK is none of that.
    token.make_key("kek", &[2]);
    keys.refresh();
    assert_eq!(keys.check().await.unwrap().version(), "02");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_another_kind_is_refused_and_an_unknown_one_not_found() {
    let Some(token) = Token::fresh("kinds") else {
        return;
    };
    let template = [
        Attribute::Label(b"short".to_vec()),
        Attribute::Token(true),
        Attribute::ValueLen(16.into()),
        Attribute::Encrypt(true),
        Attribute::Decrypt(true),
    ];
    token.session().generate_key(&Call::AesKeyGen, &template).unwrap();
    let error = token.keys("short", Mechanism::AesGcm).check().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("256"), "{error}");
    let error = token.keys("nobody", Mechanism::AesGcm).check().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyNotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_may_not_decrypt_is_disabled() {
    let Some(token) = Token::fresh("disabled") else {
        return;
    };
    token.make_key("kek", &[1]);
    let keys = token.keys("kek", Mechanism::AesGcm);
    let context = EncryptionContext::empty();
    let request = Request::new(&context);
    let (dek, wrapped) = keys.generate(&request).await.unwrap();
    let off = [Attribute::Encrypt(false), Attribute::Decrypt(false)];
    let session = token.session();
    session
        .update_attributes(token.find(&session, "kek")[0], &off)
        .unwrap();
    assert_eq!(
        keys.wrap(&dek, &request).await.unwrap_err().kind(),
        ErrorKind::KeyDisabled
    );
    let error = keys.unwrap(wrapped.as_wrap_ref(), &request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyDisabled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_was_destroyed_is_not_found_and_its_successor_is() {
    let Some(token) = Token::fresh("destroyed") else {
        return;
    };
    token.make_key("kek", &[1]);
    let keys = token.keys("kek", Mechanism::AesGcm);
    let context = EncryptionContext::empty();
    let request = Request::new(&context);
    let (dek, wrapped) = keys.generate(&request).await.unwrap();
    let session = token.session();
    session.destroy_object(token.find(&session, "kek")[0]).unwrap();
    // The handle that was kept is of no more use; it is looked for again.
    let error = keys.unwrap(wrapped.as_wrap_ref(), &request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyNotFound);
    token.make_key("kek", &[2]);
    let again = keys.wrap(&dek, &request).await.unwrap();
    assert_eq!(again.kek().version(), "02");
}
