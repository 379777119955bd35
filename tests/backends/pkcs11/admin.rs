//! Making, rotating and disabling keys.

use std::time::Duration;

use cryptoki::object::{Attribute, AttributeType};

use super::support::{Token, has_key_wrap_pad};
use waxseal::backend::pkcs11::{Mechanism, TokenAdmin};
use waxseal::{
    EncryptionContext, ErrorKind, KeyManager, envelope::KekRef, key::KekAdmin, key::KekState,
    key::KekTemplate, key::Request, value::Dek,
};

fn admin(token: &Token, mechanism: Mechanism) -> TokenAdmin {
    token.client().admin().with_mechanism(mechanism)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_made_never_leaves_the_token() {
    for (name, mechanism, can, cannot) in [
        (
            "gcm",
            Mechanism::AesGcm,
            AttributeType::Encrypt,
            AttributeType::Wrap,
        ),
        (
            "kwp",
            Mechanism::AesKeyWrapPad,
            AttributeType::Wrap,
            AttributeType::Encrypt,
        ),
    ] {
        if mechanism == Mechanism::AesKeyWrapPad && !has_key_wrap_pad("a key for it") {
            continue;
        }
        let Some(token) = Token::fresh(&format!("made-{name}")) else {
            return;
        };
        let made = admin(&token, mechanism)
            .create(&KekTemplate::new("kek"), "1")
            .await
            .unwrap();
        assert_eq!(made.kek, KekRef::new("pkcs11", "kek", "00000001").unwrap());
        assert_eq!(
            (made.state, made.algorithm),
            (KekState::Enabled, mechanism.algorithm())
        );

        let session = token.session();
        let found = token.find(&session, "kek");
        assert_eq!(found.len(), 1);
        let asked = [
            AttributeType::Token,
            AttributeType::Sensitive,
            AttributeType::Extractable,
            AttributeType::AlwaysSensitive,
            AttributeType::NeverExtractable,
            AttributeType::Local,
        ];
        let answers = session.get_attributes(found[0], &asked).unwrap();
        let expected = [
            Attribute::Token(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::AlwaysSensitive(true),
            Attribute::NeverExtractable(true),
            Attribute::Local(true),
        ];
        assert_eq!(answers, expected);
        // It is good for one thing only, and its value is not given.
        assert!(format!("{:?}", session.get_attributes(found[0], &[can]).unwrap()).contains("true"));
        assert!(format!("{:?}", session.get_attributes(found[0], &[cannot]).unwrap()).contains("false"));
        assert!(
            session
                .get_attributes(found[0], &[AttributeType::Value])
                .unwrap_or_default()
                .is_empty()
        );

        let context = EncryptionContext::empty();
        let request = Request::new(&context);
        let keys = token.keys("kek", mechanism);
        let (dek, wrapped) = keys.generate(&request).await.unwrap();
        assert!(
            keys.unwrap(wrapped.as_wrap_ref(), &request)
                .await
                .unwrap()
                .dek
                .ct_eq(&dek)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotating_makes_the_next_version_once_for_each_key() {
    let Some(token) = Token::fresh("rotate") else {
        return;
    };
    let admin = admin(&token, Mechanism::AesGcm);
    let first = admin.create(&KekTemplate::new("kek"), "create").await.unwrap();
    assert_eq!(
        admin.create(&KekTemplate::new("kek"), "create").await.unwrap(),
        first
    );
    let error = admin
        .create(&KekTemplate::new("kek"), "another")
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);

    let keys = token.keys("kek", Mechanism::AesGcm);
    let context = EncryptionContext::empty();
    let request = Request::new(&context);
    let dek = Dek::generate().unwrap();
    let old = keys.wrap(&dek, &request).await.unwrap();

    let second = admin.rotate(&first.kek, "rotate-1").await.unwrap();
    assert_eq!(second.kek.version(), "00000002");
    assert_eq!(admin.rotate(&first.kek, "rotate-1").await.unwrap(), second);
    // What the first key has made stays what it has made, whatever came after it.
    assert_eq!(
        admin.rotate(&first.kek, "rotate-2").await.unwrap().kek.version(),
        "00000003"
    );
    assert_eq!(admin.rotate(&first.kek, "rotate-1").await.unwrap(), second);
    assert_eq!(token.find(&token.session(), "kek").len(), 3);

    let active = KekRef::new("pkcs11", "kek", "").unwrap();
    assert_eq!(admin.describe(&active).await.unwrap().kek.version(), "00000003");
    assert_eq!(admin.describe(&first.kek).await.unwrap(), first);

    // Another process that wraps under the new one already: it is looked for.
    let new = token
        .keys("kek", Mechanism::AesGcm)
        .wrap(&dek, &request)
        .await
        .unwrap();
    assert_eq!(new.kek().version(), "00000003");
    for wrapped in [&old, &new] {
        let opened = token
            .keys("kek", Mechanism::AesGcm)
            .unwrap(wrapped.as_wrap_ref(), &request)
            .await;
        assert!(opened.unwrap().dek.ct_eq(&dek));
    }
    let unknown = KekRef::new("pkcs11", "nobody", "").unwrap();
    assert_eq!(
        admin.rotate(&unknown, "x").await.unwrap_err().kind(),
        ErrorKind::KeyNotFound
    );
    assert_eq!(
        admin.describe(&unknown).await.unwrap_err().kind(),
        ErrorKind::KeyNotFound
    );
    let foreign = KekRef::new("aws-kms", "kek", "").unwrap();
    assert_eq!(
        admin.describe(&foreign).await.unwrap_err().kind(),
        ErrorKind::InvalidArgument
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_that_was_cut_off_goes_on_where_it_was() {
    let Some(token) = Token::fresh("cut-off") else {
        return;
    };
    let admin = admin(&token, Mechanism::AesGcm);
    let first = admin.create(&KekTemplate::new("kek"), "create").await.unwrap();
    let second = admin.rotate(&first.kek, "rotate").await.unwrap();
    // As if it had ended between the note and the key.
    let session = token.session();
    let id = [Attribute::Label(b"kek".to_vec()), Attribute::Id(vec![0, 0, 0, 2])];
    let made = session.find_objects(&id).unwrap();
    session.destroy_object(made[0]).unwrap();
    assert_eq!(admin.rotate(&first.kek, "rotate").await.unwrap(), second);
    assert_eq!(token.find(&session, "kek").len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disabled_version_does_nothing_and_the_others_go_on() {
    let Some(token) = Token::fresh("disable") else {
        return;
    };
    let admin = admin(&token, Mechanism::AesGcm);
    let first = admin.create(&KekTemplate::new("kek"), "create").await.unwrap();
    let keys = token.keys("kek", Mechanism::AesGcm);
    let context = EncryptionContext::empty();
    let request = Request::new(&context);
    let (_, old) = keys.generate(&request).await.unwrap();
    admin.rotate(&first.kek, "rotate").await.unwrap();
    for _ in 0..2 {
        admin.disable(&first.kek).await.unwrap();
        assert_eq!(
            admin.describe(&first.kek).await.unwrap().state,
            KekState::Disabled
        );
    }
    keys.refresh();
    let (_, new) = keys.generate(&request).await.unwrap();
    keys.unwrap(new.as_wrap_ref(), &request).await.unwrap();
    let error = keys.unwrap(old.as_wrap_ref(), &request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyDisabled);
    let whole = KekRef::new("pkcs11", "kek", "").unwrap();
    let versions = admin.describe_versions(&whole).await.unwrap();
    let states: Vec<_> = versions.iter().map(|one| one.state).collect();
    assert_eq!(states, [KekState::Enabled, KekState::Disabled]);
    assert_eq!(versions[1].kek, first.kek);
    // The whole KEK.
    admin.disable(&whole).await.unwrap();
    assert_eq!(
        keys.generate(&request).await.unwrap_err().kind(),
        ErrorKind::KeyDisabled
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_token_does_not_do_is_unsupported() {
    let Some(token) = Token::fresh("cannot") else {
        return;
    };
    let admin = admin(&token, Mechanism::AesGcm);
    let kek = KekRef::new("pkcs11", "kek", "").unwrap();
    let mut labeled = KekTemplate::new("kek");
    labeled.labels.push(("a".into(), "b".into()));
    let mut hardware = KekTemplate::new("kek");
    hardware.hardware = true;
    for error in [
        admin
            .schedule_destroy(&kek, Duration::from_secs(1))
            .await
            .unwrap_err(),
        admin.create(&labeled, "1").await.unwrap_err(),
        admin.create(&hardware, "2").await.unwrap_err(),
    ] {
        assert!(matches!(error.kind(), ErrorKind::Unsupported { .. }), "{error}");
    }
    assert!(token.find(&token.session(), "kek").is_empty());

    // A key that the token does not change cannot be disabled, and says so.
    let fixed = [
        Attribute::Label(b"fixed".to_vec()),
        Attribute::Token(true),
        Attribute::Modifiable(false),
        Attribute::ValueLen(32.into()),
        Attribute::Encrypt(true),
        Attribute::Decrypt(true),
    ];
    token
        .session()
        .generate_key(&cryptoki::mechanism::Mechanism::AesKeyGen, &fixed)
        .unwrap();
    let error = admin
        .disable(&KekRef::new("pkcs11", "fixed", "").unwrap())
        .await
        .unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unsupported { .. }), "{error}");

    // A key pair is made, too.
    let pair = token.client().admin().with_mechanism(Mechanism::RsaOaep256);
    let made = pair.create(&KekTemplate::new("rsa"), "rsa").await.unwrap();
    assert_eq!(made.state, KekState::Enabled);
    assert_eq!(
        token.keys("rsa", Mechanism::RsaOaep256).check().await.unwrap(),
        made.kek
    );
}
