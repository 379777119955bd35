//! A service that is slow, overloaded, broken or gone, and tokens that are over.

use std::net::TcpListener;
use std::time::Duration;

use serde_json::json;
use waxseal::backend::azure_key_vault::Config;
use waxseal::runtime::{Monotonic, Runtime, TokioRuntime};
use waxseal::{ErrorKind, KeyManager, key::Request};

use super::{acme, auth, config, keys, opens, wrapped};
use crate::fake_azure_key_vault::{FakeKeyVault, Fault, Setup, Validity};

fn answer(status: u16, headers: &str, body: &str) -> Fault {
    Fault::Answer(status, headers.to_owned(), body.to_owned())
}

fn azure(code: &str) -> String {
    json!({"error": {"code": code, "message": "CANARY"}}).to_string()
}

#[tokio::test]
async fn each_fault_has_its_kind_and_the_next_call_works() {
    use ErrorKind::{CannotOpen, InvalidAnswer, KeyNotFound, Throttled, TimedOut, Unavailable};
    let fake = FakeKeyVault::start();
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    let redirect = format!("location: https://{}/\r\n", elsewhere.local_addr().unwrap());
    fake.key("k");
    let client = super::connect(config(&fake).with_timeout(Duration::from_secs(2))).unwrap();
    let pinned = format!("k/{}", fake.version("k"));
    let keys = client.key(&pinned).unwrap();
    let (dek, wrap) = wrapped(&keys).await.unwrap();
    let seven = Some(Duration::from_secs(7));
    let long = format!("\"{}\"", "x".repeat(2 << 20));
    for (what, fault, kind, retryable, after) in [
        ("closed", Fault::Close, Unavailable, true, None),
        ("cut in the body", Fault::Cut(20), Unavailable, true, None),
        ("cut to nothing", Fault::Cut(100_000), Unavailable, true, None),
        ("hanging", Fault::Hang, TimedOut, true, None),
        (
            "429",
            answer(429, "retry-after: 7\r\n", &azure("Throttled")),
            Throttled,
            true,
            seven,
        ),
        (
            "429 in ms",
            answer(429, "retry-after-ms: 7000\r\n", ""),
            Throttled,
            true,
            seven,
        ),
        (
            "429 of a proxy",
            answer(429, "", "slow down"),
            Throttled,
            true,
            None,
        ),
        (
            "503",
            answer(503, "retry-after: 7\r\n", &azure("ServiceUnavailable")),
            Unavailable,
            true,
            seven,
        ),
        (
            "500 of a proxy",
            answer(500, "", "<html>CANARY"),
            Unavailable,
            true,
            None,
        ),
        ("504", answer(504, "", ""), TimedOut, true, None),
        (
            "404",
            answer(404, "", &azure("KeyNotFound")),
            KeyNotFound,
            false,
            None,
        ),
        (
            "no JSON",
            answer(200, "", "<html>CANARY"),
            InvalidAnswer,
            true,
            None,
        ),
        ("nothing", answer(200, "", ""), InvalidAnswer, true, None),
        ("empty", answer(200, "", "{}"), InvalidAnswer, false, None),
        ("too long", answer(200, "", &long), InvalidAnswer, false, None),
        ("a redirect", answer(307, &redirect, ""), Unavailable, true, None),
    ] {
        fake.set(fault);
        fake.seen();
        for error in [
            wrapped(&keys).await.unwrap_err(),
            opens(&keys, &dek, &wrap).await.unwrap_err(),
        ] {
            assert_eq!(
                (error.kind(), error.is_retryable()),
                (kind, retryable),
                "{what}: {error}"
            );
            assert_eq!(error.retry_after(), after, "{what}");
            assert!(!format!("{error} {error:?}").contains("CANARY"), "{what}");
        }
        assert_eq!(fake.seen().len(), 2, "{what}: nothing is tried twice");
        fake.set(Fault::None);
        opens(&keys, &dek, &wrap).await.unwrap();
    }
    fake.set(answer(400, "", &azure("BadParameter")));
    assert_eq!(opens(&keys, &dek, &wrap).await.unwrap_err().kind(), CannotOpen);
    // Whoever is redirected to would have been called by now.
    elsewhere.set_nonblocking(true).unwrap();
    assert!(elsewhere.accept().is_err(), "a redirect was followed");
}

/// The vault takes a token for one that is over, though the token does not say so: a clock that is wrong, or keys of
/// Entra ID that were exchanged.
#[tokio::test]
async fn a_token_that_is_refused_is_asked_for_anew_once() {
    let fake = FakeKeyVault::start();
    let keys = keys(&fake, &fake.key("k"));
    let (dek, wrap) = wrapped(&keys).await.unwrap();
    assert_eq!(fake.tokens_given(), 1);
    fake.end_tokens();
    opens(&keys, &dek, &wrap).await.unwrap();
    assert_eq!(fake.tokens_given(), 2);
    opens(&keys, &dek, &wrap).await.unwrap();
    assert_eq!(fake.tokens_given(), 2, "and kept");

    // Many at once: not one token for each.
    fake.end_tokens();
    let all: Vec<_> = (0..8)
        .map(|_| {
            let (keys, wrap) = (keys.clone(), wrap.clone());
            tokio::spawn(async move {
                keys.unwrap(wrap.as_wrap_ref(), &Request::new(&acme()))
                    .await
                    .map(|_| ())
            })
        })
        .collect();
    for one in all {
        one.await.unwrap().unwrap();
    }
    assert!(fake.tokens_given() <= 4, "{}", fake.tokens_given());

    fake.set_token_life(0);
    fake.end_tokens();
    let error = opens(&keys, &dek, &wrap).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
    assert!(!error.is_retryable());
}

#[tokio::test]
async fn a_token_that_is_about_to_end_is_renewed() {
    let fake = FakeKeyVault::start();
    fake.set_token_life(60);
    let keys = keys(&fake, &fake.key("k"));
    let (dek, wrap) = wrapped(&keys).await.unwrap();
    let before = fake.tokens_given();
    opens(&keys, &dek, &wrap).await.unwrap();
    assert!(fake.tokens_given() > before, "five minutes before its end");
}

#[tokio::test]
async fn what_gives_tokens_may_be_down_or_refuse() {
    let fake = FakeKeyVault::start();
    let key = fake.key("k");
    let no_vault = |fault: Fault| {
        move |seen: &crate::fake_azure_key_vault::Seen| match seen.is_vault {
            true => Fault::None,
            false => fault.clone(),
        }
    };
    let entra = r#"{"error":"x","error_description":"CANARY","error_codes":[700016]}"#;
    for (what, fault, kind, retryable) in [
        ("closed", Fault::Close, ErrorKind::Unavailable, true),
        (
            "429",
            answer(429, "retry-after: 7\r\n", entra),
            ErrorKind::Throttled,
            true,
        ),
        ("503", answer(503, "", entra), ErrorKind::Unavailable, true),
        ("400", answer(400, "", entra), ErrorKind::Unauthenticated, false),
    ] {
        fake.set_rule(no_vault(fault));
        let error = wrapped(&keys(&fake, &key)).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.is_retryable()),
            (kind, retryable),
            "{what}: {error}"
        );
        assert!(!format!("{error} {error:?}").contains("CANARY"), "{error}");
        if what == "400" {
            assert!(error.to_string().contains("AADSTS700016"), "{error}");
        }
        fake.set_rule(no_vault(Fault::None));
    }
    let nobody = Config::new(
        fake.url(),
        waxseal::backend::azure_key_vault::Auth::ClientSecret {
            tenant_id: crate::fake_azure_key_vault::TENANT.into(),
            client_id: "app".into(),
            secret: "CANARY-wrong".into(),
        },
    );
    let nobody = nobody
        .with_authority_host(fake.url())
        .with_ca_pem(fake.ca())
        .without_challenge_check();
    let nobody = super::connect(nobody).unwrap().key(&key).unwrap();
    let error = wrapped(&nobody).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
    assert!(!format!("{error} {error:?}").contains("CANARY"), "{error}");
}

#[tokio::test]
async fn a_server_that_is_gone_is_unavailable_and_found_again() {
    let fake = FakeKeyVault::start();
    let key = fake.key("k");
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let nowhere = Config::new(format!("https://127.0.0.1:{port}"), auth("app")).without_challenge_check();
    let nowhere = super::connect(nowhere).unwrap().key(&key).unwrap();
    let error = wrapped(&nowhere).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.is_retryable()),
        (ErrorKind::Unavailable, true),
        "{error}"
    );

    // Down from the first call on, and in the middle of it.
    let keys = keys(&fake, &key);
    for _ in 0..2 {
        fake.set_down(true);
        let error = wrapped(&keys).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.is_retryable()),
            (ErrorKind::Unavailable, true),
            "{error}"
        );
        fake.set_down(false);
        wrapped(&keys).await.unwrap();
    }
}

#[tokio::test]
async fn a_deadline_of_the_request_holds() {
    let fake = FakeKeyVault::start();
    let keys = keys(&fake, &fake.key("k"));
    let context = acme();
    wrapped(&keys).await.unwrap();
    fake.seen();
    fake.set(Fault::Hang);
    let soon = TokioRuntime::current().now() + Duration::from_millis(50);
    let error = keys
        .generate(&Request::new(&context).with_deadline(soon))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert_eq!(fake.seen().len(), 1);
    let past = Request::new(&context).with_deadline(Monotonic(Duration::ZERO));
    assert_eq!(
        keys.generate(&past).await.unwrap_err().kind(),
        ErrorKind::TimedOut
    );
    assert!(fake.seen().is_empty(), "no call once the time is over");
}

#[tokio::test]
async fn a_call_that_is_dropped_leaves_the_client_as_it_was() {
    let fake = FakeKeyVault::start();
    let keys = keys(&fake, &fake.key("k"));
    // While it asks for the token, then while it asks the vault.
    for hangs_at_vault in [false, true] {
        fake.set_rule(move |seen| match seen.is_vault == hangs_at_vault {
            true => Fault::Hang,
            false => Fault::None,
        });
        let dropped = tokio::time::timeout(Duration::from_millis(300), wrapped(&keys)).await;
        assert!(dropped.is_err());
        fake.set(Fault::None);
        wrapped(&keys).await.unwrap();
    }
}

#[tokio::test]
async fn certificates_that_are_not_to_be_trusted_are_not_tried_again() {
    let (good, other) = (FakeKeyVault::start(), FakeKeyVault::start());
    let elsewhere = FakeKeyVault::start_with(Setup {
        names: vec!["elsewhere.example".to_owned()],
        ..Setup::default()
    });
    let over = FakeKeyVault::start_with(Setup {
        validity: Validity::Over,
        ..Setup::default()
    });
    for (what, fake, ca) in [
        ("another CA's", &good, Some(other.ca())),
        ("one that the system does not know", &good, None),
        ("one of another host", &elsewhere, Some(elsewhere.ca())),
        ("one that is over", &over, Some(over.ca())),
    ] {
        let mut config = Config::new(fake.url(), auth("app"))
            .with_authority_host(fake.url())
            .without_challenge_check();
        if let Some(ca) = ca {
            config = config.with_ca_pem(ca);
        }
        let keys = super::connect(config).unwrap().key("k").unwrap();
        let error = wrapped(&keys).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.is_retryable()),
            (ErrorKind::Unavailable, false),
            "{what}: {error}"
        );
        assert!(error.to_string().contains("certificate"), "{what}: {error}");
        assert!(fake.seen().is_empty(), "{what}");
    }
    // And Entra ID's.
    let config = config(&good).with_authority_host(other.url());
    good.key("k");
    let keys = super::connect(config).unwrap().key("k").unwrap();
    let error = wrapped(&keys).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.is_retryable()),
        (ErrorKind::Unavailable, false),
        "{error}"
    );
}
