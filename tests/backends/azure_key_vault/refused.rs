//! What the service refuses, and what is refused of its answers.

use serde_json::{Value, json};
use waxseal::backend::azure_key_vault::Algorithm;
use waxseal::{EncryptionContext, Error, ErrorKind, KeyManager, key::Request};

use super::{acme, auth, client, keys, opens, wrapped};
use crate::fake_azure_key_vault::{FakeKeyVault, Fault};

fn check(error: &Error, kind: ErrorKind, retryable: bool) {
    assert_eq!((error.kind(), error.is_retryable()), (kind, retryable), "{error}");
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains("CANARY"), "{shown}");
    assert_eq!(error.provider(), Some("azure-key-vault"));
    assert!(error.operation().is_some());
}

#[tokio::test]
async fn another_context_key_version_or_byte_does_not_open() {
    for fake in [FakeKeyVault::start(), FakeKeyVault::start_hsm()] {
        let (mine, other) = (keys(&fake, &fake.key("mine")), keys(&fake, &fake.key("other")));
        let (_, wrap) = wrapped(&mine).await.unwrap();
        wrapped(&other).await.unwrap();

        let elsewhere = EncryptionContext::new([("tenant", "umbrella")]).unwrap();
        let error = mine
            .unwrap(wrap.as_wrap_ref(), &Request::new(&elsewhere))
            .await
            .unwrap_err();
        check(&error, ErrorKind::CannotOpen, false);

        let context = acme();
        let request = Request::new(&context);
        fake.seen();
        let error = other.unwrap(wrap.as_wrap_ref(), &request).await.unwrap_err();
        check(&error, ErrorKind::NoUsableKey, false);
        assert!(fake.seen().is_empty(), "no call for what is another's");

        let mut altered = wrap.wrapped().to_vec();
        *altered.last_mut().unwrap() ^= 1;
        let mut stanza = wrap.as_wrap_ref();
        stanza.wrapped = &altered;
        check(
            &mine.unwrap(stanza, &request).await.unwrap_err(),
            ErrorKind::CannotOpen,
            false,
        );

        fake.call("POST", "/keys/mine/rotate", &Value::Null);
        let newer = fake.version("mine");
        let mut stanza = wrap.as_wrap_ref();
        stanza.kek_version = &newer;
        check(
            &mine.unwrap(stanza, &request).await.unwrap_err(),
            ErrorKind::CannotOpen,
            false,
        );
        stanza.kek_version = "00000000000000000000000000000000";
        check(
            &mine.unwrap(stanza, &request).await.unwrap_err(),
            ErrorKind::KeyNotFound,
            false,
        );
    }
}

/// Before any call.
#[tokio::test]
async fn what_a_stanza_claims_chooses_no_path() {
    let fake = FakeKeyVault::start();
    let keys = keys(&fake, &fake.key("k"));
    let (_, wrap) = wrapped(&keys).await.unwrap();
    let context = acme();
    let request = Request::new(&context);
    fake.seen();
    for claimed in ["../other", "v/../..", "v?x=y", "v%2f", "https://evil.example/"] {
        let mut stanza = wrap.as_wrap_ref();
        stanza.kek_version = claimed;
        let error = keys.unwrap(stanza, &request).await.unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::Malformed { .. }),
            "{claimed}: {error}"
        );
    }
    for len in [0, 1, 72, 255, 1025, 16_384] {
        let bytes = vec![0; len];
        let mut stanza = wrap.as_wrap_ref();
        stanza.wrapped = &bytes;
        let error = keys.unwrap(stanza, &request).await.unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::Malformed { .. }),
            "{len}: {error}"
        );
    }
    for id in [
        "https://other.vault.azure.net/keys/k",
        "https://fake.vault.azure.net/keys/k/v",
        "k",
    ] {
        let mut stanza = wrap.as_wrap_ref();
        stanza.kek_id = id;
        check(
            &keys.unwrap(stanza, &request).await.unwrap_err(),
            ErrorKind::NoUsableKey,
            false,
        );
    }
    assert!(fake.seen().is_empty(), "no call was made");
}

/// By the service's code; and where there is none, by what the key then reads as.
#[tokio::test]
async fn disabled_and_denied_are_told_apart() {
    let fake = FakeKeyVault::start();
    let keys = keys(&fake, &fake.key("k"));
    let (dek, wrap) = wrapped(&keys).await.unwrap();
    let version = fake.version("k");
    fake.set_enabled("k", &version, false);
    check(
        &opens(&keys, &dek, &wrap).await.unwrap_err(),
        ErrorKind::KeyDisabled,
        false,
    );
    check(&wrapped(&keys).await.unwrap_err(), ErrorKind::KeyDisabled, false);

    let bare = |seen: &crate::fake_azure_key_vault::Seen| match seen.path().ends_with("wrapkey") {
        true => Fault::Answer(
            403,
            String::new(),
            r#"{"error":{"code":"Forbidden","message":"CANARY"}}"#.into(),
        ),
        false => Fault::None,
    };
    fake.set_rule(bare);
    check(
        &opens(&keys, &dek, &wrap).await.unwrap_err(),
        ErrorKind::KeyDisabled,
        false,
    );
    fake.set_enabled("k", &version, true);
    for attribute in [json!({"exp": 1}), json!({"nbf": 4_000_000_000_u64})] {
        fake.call(
            "PATCH",
            &format!("/keys/k/{version}"),
            &json!({"attributes": attribute}),
        );
        check(
            &opens(&keys, &dek, &wrap).await.unwrap_err(),
            ErrorKind::KeyDisabled,
            false,
        );
    }
    fake.call(
        "PATCH",
        &format!("/keys/k/{version}"),
        &json!({"attributes": {"exp": null, "nbf": null}}),
    );
    check(
        &opens(&keys, &dek, &wrap).await.unwrap_err(),
        ErrorKind::Denied,
        false,
    );
    fake.set(Fault::None);
    opens(&keys, &dek, &wrap).await.unwrap();

    let denied = super::connect(config_of(&fake, "denied")).unwrap();
    let denied = denied.key("k").unwrap();
    let error = opens(&denied, &dek, &wrap).await.unwrap_err();
    check(&error, ErrorKind::Denied, false);
    assert!(error.to_string().contains("ForbiddenByRbac"), "{error}");
    check(&wrapped(&denied).await.unwrap_err(), ErrorKind::Denied, false);
}

fn config_of(fake: &FakeKeyVault, client_id: &str) -> waxseal::backend::azure_key_vault::Config {
    waxseal::backend::azure_key_vault::Config::new(fake.url(), auth(client_id))
        .with_authority_host(fake.url())
        .with_ca_pem(fake.ca())
        .without_challenge_check()
}

/// With a pinned version, an application may wrap and unwrap and needs no right to read.
#[tokio::test]
async fn the_right_to_read_is_not_needed_with_a_pinned_version() {
    let fake = FakeKeyVault::start();
    fake.key("k");
    let client = super::connect(config_of(&fake, "no-read")).unwrap();
    let pinned = client.key(&format!("k/{}", fake.version("k"))).unwrap();
    let (dek, wrap) = wrapped(&pinned).await.unwrap();
    opens(&pinned, &dek, &wrap).await.unwrap();
    let current = client.key("k").unwrap();
    opens(&current, &dek, &wrap).await.unwrap();
    check(&wrapped(&current).await.unwrap_err(), ErrorKind::Denied, false);
}

#[tokio::test]
async fn a_key_that_is_not_there_or_not_for_it_is_told() {
    let fake = FakeKeyVault::start();
    check(
        &wrapped(&keys(&fake, "none")).await.unwrap_err(),
        ErrorKind::KeyNotFound,
        false,
    );
    fake.key("k");
    let symmetric = client(&fake).key("k").unwrap().with_algorithm(Algorithm::A256Kw);
    let error = wrapped(&symmetric).await.unwrap_err();
    check(&error, ErrorKind::Configuration, false);
    assert!(error.to_string().contains("algorithm=RSA-OAEP-256"), "{error}");
    let version = fake.version("k");
    let pinned = client(&fake)
        .key(&format!("k/{version}"))
        .unwrap()
        .with_algorithm(Algorithm::A256Kw);
    check(
        &wrapped(&pinned).await.unwrap_err(),
        ErrorKind::Configuration,
        false,
    );
    // A permitted operation less.
    fake.call(
        "PATCH",
        &format!("/keys/k/{version}"),
        &json!({"key_ops": ["unwrapKey"]}),
    );
    check(
        &wrapped(&keys(&fake, "k")).await.unwrap_err(),
        ErrorKind::Denied,
        false,
    );
}

#[tokio::test]
async fn an_answer_about_another_key_or_without_a_wrap_is_none() {
    let fake = FakeKeyVault::start();
    let keys = keys(&fake, &fake.key("k"));
    let (dek, wrap) = wrapped(&keys).await.unwrap();
    let lies: [fn(&mut Value); 7] = [
        |body| body["kid"] = json!(body["kid"].as_str().unwrap().replace("/k/", "/other/")),
        |body| body["kid"] = json!("https://fake.vault.azure.net/keys/k/0a"),
        |body| body["kid"] = json!(body["kid"].as_str().unwrap().replace("fake", "evil")),
        |body| body["kid"] = json!(body["kid"].as_str().unwrap().rsplit_once('/').unwrap().0),
        |body| body["kid"] = Value::Null,
        |body| body["kid"] = json!("CANARY"),
        |body| body["kid"] = json!(7),
    ];
    for (index, lie) in lies.into_iter().enumerate() {
        fake.set(Fault::Change(lie));
        let is_json_error = index == 6;
        check(
            &wrapped(&keys).await.unwrap_err(),
            ErrorKind::InvalidAnswer,
            is_json_error,
        );
        check(
            &opens(&keys, &dek, &wrap).await.unwrap_err(),
            ErrorKind::InvalidAnswer,
            is_json_error,
        );
    }
    type Lie = fn(&mut Value);
    let values: [(Lie, bool); 4] = [
        (|body| body["value"] = Value::Null, false),
        (|body| body["value"] = json!("AAAA"), false),
        (|body| body["value"] = json!("A".repeat(170)), false),
        (|body| body["value"] = json!("CANARY%"), true),
    ];
    for (lie, retryable) in values {
        fake.set(Fault::Change(lie));
        check(
            &wrapped(&keys).await.unwrap_err(),
            ErrorKind::InvalidAnswer,
            retryable,
        );
    }
    // Somebody's who may wrap under this key, and no DEK.
    for lie in [values[0].0, values[1].0] {
        fake.set(Fault::Change(lie));
        check(
            &opens(&keys, &dek, &wrap).await.unwrap_err(),
            ErrorKind::CannotOpen,
            false,
        );
    }
    fake.set(Fault::None);
    opens(&keys, &dek, &wrap).await.unwrap();
}

/// Whoever answers asks for a token for something else: none is given.
#[tokio::test]
async fn a_challenge_for_another_host_gets_no_token() {
    let fake = FakeKeyVault::start();
    let key = fake.key("k");
    let checked = waxseal::backend::azure_key_vault::Config::new(fake.url(), auth("app"))
        .with_authority_host(fake.url())
        .with_ca_pem(fake.ca());
    let keys = super::connect(checked).unwrap().key(&key).unwrap();
    let error = wrapped(&keys).await.unwrap_err();
    check(&error, ErrorKind::Configuration, false);
    assert!(error.to_string().contains("verify-challenge=off"), "{error}");
    assert_eq!(fake.tokens_given(), 0);
    assert!(
        fake.seen().iter().all(|seen| seen.text.is_empty()),
        "no DEK was sent"
    );
}
