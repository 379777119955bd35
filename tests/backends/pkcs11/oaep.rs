//! RSA-OAEP with SHA-256, which SoftHSM does not do: with kryoptic only.

use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsOaepParams, PkcsOaepSource};
use cryptoki::mechanism::{Mechanism as Call, MechanismType};
use cryptoki::object::{Attribute, AttributeType, ObjectClass};
use waxseal::backend::pkcs11::Mechanism;
use waxseal::testing::conformance::{self, Subject};
use waxseal::{
    EncryptionContext, ErrorKind, KeyManager, envelope::KekRef, envelope::WrapAlgorithm, key::KekAdmin,
    key::KekTemplate, key::Request, value::Dek,
};

use super::support::{PIN, Token, is_kryoptic};

fn fresh(label: &str) -> Option<Token> {
    if !is_kryoptic() {
        println!("skipped: SoftHSM has no OAEP with SHA-256; run .ci/nightly, which has kryoptic");
        return None;
    }
    Token::fresh(label)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rsa_oaep_conforms() {
    let Some(token) = fresh("conform-oaep") else {
        return;
    };
    token.make_pair("a", &[1], 2048);
    token.make_pair("a", &[2], 2048);
    token.make_pair("b", &[1], 2048);
    let subject = Subject::new(token.keys("a", Mechanism::RsaOaep256))
        .against(token.keys("b", Mechanism::RsaOaep256))
        .with_older_version(KekRef::new("pkcs11", "a", "01").unwrap())
        .with_canary(PIN);
    let report = conformance::run(&subject)
        .await
        .unwrap_or_else(|failure| panic!("{failure}"));
    println!("{report}");
    assert_eq!(report.skipped().len(), 2, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_token_itself_decrypts_a_wrap_to_dek_and_digest() {
    let Some(token) = fresh("raw-oaep") else { return };
    token.make_pair("kek", &[1], 2048);
    let keys = token.keys("kek", Mechanism::RsaOaep256);
    let context = EncryptionContext::new([("tenant", "acme")]).unwrap();
    let dek = Dek::generate().unwrap();
    let wrapped = keys.wrap(&dek, &Request::new(&context)).await.unwrap();
    assert_eq!(
        (wrapped.algorithm(), wrapped.wrapped().len()),
        (WrapAlgorithm::PKCS11_RSA_OAEP_256, 256)
    );
    let session = token.session();
    let key = token.find_of(&session, "kek", ObjectClass::PRIVATE_KEY)[0];
    let oaep = |hash, mask| Call::RsaPkcsOaep(PkcsOaepParams::new(hash, mask, PkcsOaepSource::empty()));
    let opened = session
        .decrypt(
            &oaep(MechanismType::SHA256, PkcsMgfType::MGF1_SHA256),
            key,
            wrapped.wrapped(),
        )
        .unwrap();
    assert_eq!(opened, [dek.expose_bytes().as_slice(), context.digest()].concat());
    // Without the public half there is nothing to try the private one with: it may be the token, and may pass.
    let mut altered = wrapped.as_wrap_ref();
    let mut bytes = wrapped.wrapped().to_vec();
    bytes[100] ^= 1;
    altered.wrapped = &bytes;
    let request = Request::new(&context);
    let error = keys.unwrap(altered, &request).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.is_retryable()),
        (ErrorKind::CannotOpen, false)
    );
    let public = token.find_of(&session, "kek", ObjectClass::PUBLIC_KEY)[0];
    session.destroy_object(public).unwrap();
    keys.refresh();
    let error = keys.unwrap(altered, &request).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.is_retryable()),
        (ErrorKind::Unavailable, true)
    );
    let opened = keys.unwrap(wrapped.as_wrap_ref(), &request).await.unwrap();
    assert!(opened.dek.ct_eq(&dek));

    let sha1 = oaep(MechanismType::SHA1, PkcsMgfType::MGF1_SHA1);
    assert!(session.decrypt(&sha1, key, wrapped.wrapped()).is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_of_other_lengths_do_not_hide_that_nothing_opens() {
    let Some(token) = fresh("lengths") else { return };
    token.make_pair("kek", &[1], 2048);
    token.make_pair("kek", &[2], 3072);
    token.make_pair("other", &[1], 2048);
    let keys = token.keys("kek", Mechanism::RsaOaep256);
    let context = EncryptionContext::empty();
    let request = Request::new(&context);
    let foreign = token.keys("other", Mechanism::RsaOaep256);
    let foreign = foreign.wrap(&Dek::generate().unwrap(), &request).await.unwrap();
    let mut claimed = foreign.as_wrap_ref();
    claimed.kek_id = "kek";
    for version in ["01", "02"] {
        claimed.kek_version = version;
        let error = keys.unwrap(claimed, &request).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CannotOpen, "{version}: {error}");
    }
    claimed.wrapped = &[7; 100];
    let error = keys.unwrap(claimed, &request).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Malformed { .. }), "{error}");
    // And what is its own opens, of either length.
    let (dek, wrapped) = keys.generate(&request).await.unwrap();
    assert_eq!(wrapped.wrapped().len(), 384);
    let opened = keys.unwrap(wrapped.as_wrap_ref(), &request).await.unwrap();
    assert!(opened.dek.ct_eq(&dek));
    let (dek, wrapped) = keys.pinned(&[1]).generate(&request).await.unwrap();
    assert_eq!(wrapped.wrapped().len(), 256);
    let keys = token.keys("kek", Mechanism::RsaOaep256);
    let opened = keys.unwrap(wrapped.as_wrap_ref(), &request).await.unwrap();
    assert!(opened.dek.ct_eq(&dek));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pair_that_is_made_stays_on_the_token_and_is_rotated_and_disabled() {
    let Some(token) = fresh("made-oaep") else { return };
    let admin = token.client().admin().with_mechanism(Mechanism::RsaOaep256);
    let first = admin.create(&KekTemplate::new("kek"), "create").await.unwrap();
    let session = token.session();
    let private = token.find_of(&session, "kek", ObjectClass::PRIVATE_KEY);
    assert_eq!(private.len(), 1);
    let asked = [
        AttributeType::Sensitive,
        AttributeType::Extractable,
        AttributeType::AlwaysSensitive,
        AttributeType::NeverExtractable,
        AttributeType::Local,
    ];
    let expected = [
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::AlwaysSensitive(true),
        Attribute::NeverExtractable(true),
        Attribute::Local(true),
    ];
    assert_eq!(session.get_attributes(private[0], &asked).unwrap(), expected);
    let secret = session.get_attributes(private[0], &[AttributeType::PrivateExponent]);
    assert!(secret.unwrap_or_default().is_empty());

    let keys = token.keys("kek", Mechanism::RsaOaep256);
    let context = EncryptionContext::empty();
    let request = Request::new(&context);
    let (dek, old) = keys.generate(&request).await.unwrap();
    let second = admin.rotate(&first.kek, "rotate").await.unwrap();
    assert_eq!(admin.rotate(&first.kek, "rotate").await.unwrap(), second);
    keys.refresh();
    let (_, new) = keys.generate(&request).await.unwrap();
    assert_eq!(new.kek(), &second.kek);
    let opened = keys.unwrap(old.as_wrap_ref(), &request).await.unwrap();
    assert!(opened.dek.ct_eq(&dek));
    assert_eq!(opened.kek, first.kek);
    admin.disable(&first.kek).await.unwrap();
    let error = keys.unwrap(old.as_wrap_ref(), &request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyDisabled);
    keys.unwrap(new.as_wrap_ref(), &request).await.unwrap();
}
