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

/// The service is reported to wrap under a version that is out of use, and to refuse to unwrap.
#[tokio::test]
async fn a_version_that_is_out_of_use_does_not_wrap_even_if_the_service_lets_it() {
    for fake in [FakeKeyVault::start(), FakeKeyVault::start_hsm()] {
        fake.shared().state.wraps_out_of_use = true;
        fake.key("k");
        let version = fake.version("k");
        let pinned = format!("k/{version}");
        let set = |attributes: Value| {
            let body = json!({"attributes": attributes});
            fake.call("PATCH", &format!("/keys/k/{version}"), &body);
        };
        for (attributes, why) in [
            (json!({"enabled": false}), "is disabled"),
            (json!({"enabled": true, "exp": 1}), "has expired"),
            (json!({"exp": null, "nbf": 4_000_000_000_u64}), "is not valid yet"),
        ] {
            set(attributes);
            for key in ["k", &pinned] {
                let keys = keys(&fake, key);
                fake.seen();
                // Twice: what was found out is not forgotten.
                for _ in 0..2 {
                    let error = wrapped(&keys).await.unwrap_err();
                    check(&error, ErrorKind::KeyDisabled, false);
                    let said = error.to_string();
                    assert!(said.contains(why) && said.contains(&version), "{said}");
                }
                let seen = fake.seen();
                assert!(
                    seen.iter().all(|seen| !seen.path().ends_with("/wrapkey")),
                    "{key}: nothing was wrapped"
                );
            }
        }
        // In use again, and found to be at once; or with a successor.
        let current = keys(&fake, "k");
        wrapped(&current).await.unwrap_err();
        set(json!({"nbf": null}));
        wrapped(&current).await.unwrap();
        wrapped(&keys(&fake, &pinned)).await.unwrap();
        let config = super::config(&fake).with_refresh(std::time::Duration::ZERO);
        let often = super::connect(config).unwrap().key("k").unwrap();
        let often = often.with_algorithm(algorithm(&fake));
        wrapped(&often).await.unwrap();
        set(json!({"enabled": false}));
        check(&wrapped(&often).await.unwrap_err(), ErrorKind::KeyDisabled, false);
        fake.call("POST", "/keys/k/rotate", &Value::Null);
        let (_, wrap) = wrapped(&often).await.unwrap();
        assert_eq!(wrap.kek().version(), fake.version("k"));
    }
}

/// A key whose operations leave out unwrapping wraps what nobody can open.
#[tokio::test]
async fn a_key_that_only_wraps_is_refused() {
    let fake = FakeKeyVault::start();
    fake.key("k");
    let version = fake.version("k");
    let body = json!({"key_ops": ["wrapKey"]});
    fake.call("PATCH", &format!("/keys/k/{version}"), &body);
    let error = wrapped(&keys(&fake, "k")).await.unwrap_err();
    check(&error, ErrorKind::Configuration, false);
    assert!(error.to_string().contains("unwrapKey"), "{error}");
}

fn algorithm(fake: &FakeKeyVault) -> Algorithm {
    match fake.shared().state.is_hsm() {
        true => Algorithm::A256Kw,
        false => Algorithm::RsaOaep256,
    }
}

fn calls(fake: &FakeKeyVault, end: &str) -> usize {
    let seen = fake.seen();
    seen.iter().filter(|seen| seen.path().ends_with(end)).count()
}

/// Sixteen stanzas that hide their version, of a key with forty versions.
#[tokio::test]
async fn an_altered_envelope_has_a_budget_of_calls() {
    let fake = FakeKeyVault::start_hsm();
    let name = fake.key("k");
    let oldest = fake.version("k");
    let mut sealing = waxseal::Sealer::builder()
        .hide_kek_ids()
        .wrap_with(keys(&fake, &format!("k/{oldest}")));
    for other in 1..16 {
        sealing = sealing.wrap_with(keys(&fake, &fake.key(&format!("other-{other}"))));
    }
    let sealed = sealing.build().unwrap().seal(b"hello", &acme()).await.unwrap();
    for _ in 0..39 {
        fake.call("POST", "/keys/k/rotate", &Value::Null);
    }
    let elsewhere = EncryptionContext::new([("tenant", "umbrella")]).unwrap();
    let sealer = waxseal::Sealer::new(keys(&fake, &name));
    // The challenge and the current version.
    wrapped(&keys(&fake, &name)).await.unwrap();
    fake.seen();
    let error = sealer.open(&sealed, &elsewhere).await.unwrap_err();
    assert!(!error.is_retryable(), "{error}");
    assert!(
        matches!(error.kind(), ErrorKind::BudgetExhausted { .. }),
        "{error}: it was not tried to the end"
    );
    let seen = fake.seen();
    let count = |end: &str| seen.iter().filter(|seen| seen.path().ends_with(end)).count();
    let most = usize::try_from(waxseal::value::limits::BACKEND_CALLS.max).unwrap();
    assert!(
        (17..=most + 1).contains(&count("/unwrapkey")),
        "{}",
        count("/unwrapkey")
    );
    // Twenty pages of two, once.
    assert_eq!(count("/versions"), 20);

    // In its own context it opens if the version is among the first that are tried, and else says what helps, which does.
    match sealer.open(&sealed, &acme()).await {
        Ok(opened) => assert_eq!(opened, b"hello"),
        Err(error) => assert!(error.to_string().contains("NAME/VERSION"), "{error}"),
    }
    let pinned = waxseal::Sealer::new(keys(&fake, &format!("k/{oldest}")));
    fake.seen();
    assert_eq!(pinned.open(&sealed, &acme()).await.unwrap(), b"hello");
    assert_eq!(calls(&fake, "/versions"), 0);
}

/// No writer leaves out the version and names the key: such a stanza starts no search.
#[tokio::test]
async fn a_version_alone_is_not_hidden() {
    let fake = FakeKeyVault::start_hsm();
    let keys = keys(&fake, &fake.key("k"));
    let (_, wrap) = wrapped(&keys).await.unwrap();
    let context = acme();
    fake.seen();
    let mut stanza = wrap.as_wrap_ref();
    stanza.kek_version = "";
    let error = keys.unwrap(stanza, &Request::new(&context)).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Malformed { .. }), "{error}");
    assert!(fake.seen().is_empty());
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
