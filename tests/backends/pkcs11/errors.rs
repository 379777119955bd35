//! What is refused, and by which kind.

use std::error::Error;
use std::time::Duration;

use super::support::{PIN, Token, connect, is_kryoptic};
use waxseal::backend::pkcs11::{Config, Mechanism, TokenKey, TokenMatch, Uri};
use waxseal::runtime::{Monotonic, Runtime, TokioRuntime};
use waxseal::testing::FakeEnvironment;
use waxseal::{EncryptionContext, ErrorKind, KeyManager, key::Request};

async fn check(config: Config) -> waxseal::Error {
    let keys = connect(config).key("kek").unwrap();
    keys.check().await.unwrap_err()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_pin_is_refused_and_not_tried_again() {
    // Nobody in this process has logged in to this token.
    let Some(token) = Token::fresh("wrong-pin") else {
        return;
    };
    let config = token.config().with_pin("CANARY-wrong".to_owned().into());
    let keys = connect(config).key("kek").unwrap();
    for attempt in 0..5 {
        let error = keys.check().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
        assert!(!error.is_retryable());
        assert!(
            !format!("{error} {error:?} {keys:?}").contains("CANARY"),
            "{error}"
        );
        // The token was asked the first time only, so that it does not lock.
        assert_eq!(error.source().is_some(), attempt == 0, "{attempt}");
    }
    // The right PIN is still good.
    token.make_key("kek", &[1]);
    token.keys("kek", Mechanism::AesGcm).check().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_pin_no_module_no_token() {
    let Some(token) = Token::fresh("nothing") else {
        return;
    };
    let by_label = TokenMatch::labeled(&token.label);
    let error = check(Config::new(&token.module, by_label.clone())).await;
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("pin-source"), "{error}");

    for path in [
        "/nonexistent/module.so",
        "waxseal-nonexistent-module.so",
        "/etc/hostname",
    ] {
        let error = check(Config::new(path, by_label.clone())).await;
        assert_eq!(error.kind(), ErrorKind::Configuration, "{path}");
        assert!(error.to_string().contains("module-path"), "{error}");
    }

    let error = check(Config::new(&token.module, TokenMatch::labeled("nobody's"))).await;
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("no token"), "{error}");
    // Every part is compared.
    for part in ["serial", "model", "manufacturer", "slot"] {
        let mut wanted = by_label.clone();
        match part {
            "serial" => wanted.serial = Some("0".into()),
            "model" => wanted.model = Some("other".into()),
            "manufacturer" => wanted.manufacturer = Some("other".into()),
            _ => wanted.slot = Some(token.slot.id() ^ 1),
        }
        let error = check(token.config_of(wanted)).await;
        assert!(error.to_string().contains("no token"), "{part}: {error}");
    }
    let mut maker = TokenMatch::default();
    let info = token.raw.get_token_info(token.slot).unwrap();
    maker.model = Some(info.model().to_owned());
    let _second = Token::fresh("nothing-2").unwrap();
    let error = check(token.config_of(maker)).await;
    assert!(error.to_string().contains("more than one token"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_uri_is_all_that_is_needed() {
    let Some(token) = Token::fresh("by uri") else {
        return;
    };
    token.make_key("k/ek", &[1]);
    token.make_key("k/ek", &[2]);
    let label = token.label.replace(' ', "%20");
    let module = token.module.display();
    let environment = FakeEnvironment::new().with("PIN", PIN);
    let open = |query: &str| {
        let uri = Uri::parse(&format!("pkcs11:token={label};object=k%2fek{query}")).unwrap();
        TokenKey::from_uri_in(&uri, &environment)
    };
    let source = format!("?module-path={module}&pin-source=env:PIN");
    assert_eq!(open(&source).unwrap().check().await.unwrap().version(), "02");
    let pinned = open(&format!(";id=%01{source}")).unwrap();
    assert_eq!(pinned.check().await.unwrap().version(), "01");
    let error = open(&format!("?module-path={module}&pin-source=env:NOBODY")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("NOBODY"), "{error}");
    let kwp = open(&format!("{source}&algorithm=AES-KEY-WRAP-PAD")).unwrap();
    assert_eq!(
        kwp.capabilities().algorithm,
        waxseal::envelope::WrapAlgorithm::PKCS11_AES_KWP
    );
}

/// SoftHSM does OAEP with SHA-1 only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_token_cannot_do_is_unsupported_by_name() {
    let Some(token) = Token::fresh("unsupported") else {
        return;
    };
    let (mechanism, name) = if is_kryoptic() {
        token.make_key("kek", &[1]);
        (Mechanism::AesKeyWrapPad, "AES key wrap with padding")
    } else {
        token.make_pair("kek", &[1], 2048);
        (Mechanism::RsaOaep256, "OAEP")
    };
    let context = EncryptionContext::empty();
    let keys = token.keys("kek", mechanism);
    assert_eq!(keys.check().await.unwrap().version(), "01");
    let error = keys.generate(&Request::new(&context)).await.unwrap_err();
    let ErrorKind::Unsupported { feature } = error.kind() else {
        panic!("{error}")
    };
    assert!(feature.contains(name), "{feature}");
}

// spec: ALG-11
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_rsa_key_is_refused() {
    let Some(token) = Token::fresh("short") else {
        return;
    };
    token.make_pair("short", &[1], 1024);
    let keys = token.keys("short", Mechanism::RsaOaep256);
    let error = keys.check().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("2048"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_that_is_over_ends_a_call_before_it_begins() {
    let Some(token) = Token::fresh("deadline") else {
        return;
    };
    token.make_key("kek", &[1]);
    let keys = token.keys("kek", Mechanism::AesGcm);
    let context = EncryptionContext::empty();
    let now = TokioRuntime::current().now();
    let late = Request::new(&context).with_deadline(Monotonic(now.0.saturating_sub(Duration::from_secs(1))));
    assert_eq!(
        keys.generate(&late).await.unwrap_err().kind(),
        ErrorKind::TimedOut
    );
    let in_time = Request::new(&context).with_deadline(now + Duration::from_secs(60));
    keys.generate(&in_time).await.unwrap();
}
