//! A service that is slow, overloaded, broken or gone.

use std::time::Duration;

use waxseal::backend::gcp_kms::{Auth, Config, GcpKey};
use waxseal::runtime::{Monotonic, Runtime, TokioRuntime};
use waxseal::{ErrorKind, KeyManager, key::Request};

use super::{TOKEN, acme, config, opens, wrapped};
use crate::fake_gcp_kms::FakeGcpKms;
use crate::fault_proxy::{Certified, Fault, FaultProxy};

/// Generous: what is asserted is that an answer comes at all.
const BOUND: Duration = Duration::from_secs(60);

/// A fake behind a proxy, and a key manager that asks it through the proxy, with this timeout.
fn behind(timeout: Duration) -> (FakeGcpKms, FaultProxy, GcpKey) {
    let fake = FakeGcpKms::start();
    let proxy = FaultProxy::new(&fake.endpoint());
    let config = config(&fake).with_endpoint(proxy.url()).with_timeout(timeout);
    let keys = super::connect(config).unwrap().key(&fake.key("k")).unwrap();
    (fake, proxy, keys)
}

fn answer(status: u16, headers: &'static str, body: &str) -> Fault {
    Fault::Answer(status, headers, body.to_owned())
}

fn google(code: u16, status: &str) -> String {
    format!(r#"{{"error":{{"code":{code},"message":"CANARY","status":"{status}"}}}}"#)
}

#[tokio::test]
async fn each_fault_has_its_kind_and_the_next_call_works() {
    let (_fake, proxy, keys) = behind(Duration::from_secs(2));
    let (dek, wrap) = wrapped(&keys).await.unwrap();
    let retry_info = r#"{"error":{"code":429,"message":"CANARY","status":"RESOURCE_EXHAUSTED","details":[
        {"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"9s"}]}}"#;
    let seven = Some(Duration::from_secs(7));
    for (what, fault, kind, retryable, after) in [
        ("closed", Fault::Close, ErrorKind::Unavailable, true, None),
        (
            "cut in the body",
            Fault::Cut(20),
            ErrorKind::Unavailable,
            true,
            None,
        ),
        (
            "cut to nothing",
            Fault::Cut(usize::MAX),
            ErrorKind::Unavailable,
            true,
            None,
        ),
        ("stalling", Fault::Stall(1), ErrorKind::TimedOut, true, None),
        // Never still for long, and never at an end.
        (
            "dripping",
            Fault::Drip(Duration::from_millis(100)),
            ErrorKind::TimedOut,
            true,
            None,
        ),
        ("hanging", Fault::Hang, ErrorKind::TimedOut, true, None),
        (
            "429",
            answer(429, "retry-after: 7\r\n", &google(429, "RESOURCE_EXHAUSTED")),
            ErrorKind::Throttled,
            true,
            seven,
        ),
        (
            "429 in details",
            answer(429, "", retry_info),
            ErrorKind::Throttled,
            true,
            Some(Duration::from_secs(9)),
        ),
        (
            "429 of a proxy",
            answer(429, "retry-after: 7\r\n", "slow down"),
            ErrorKind::Throttled,
            true,
            seven,
        ),
        (
            "503",
            answer(503, "", &google(503, "UNAVAILABLE")),
            ErrorKind::Unavailable,
            true,
            None,
        ),
        (
            "503 of a proxy",
            answer(503, "", "<html>"),
            ErrorKind::Unavailable,
            true,
            None,
        ),
        (
            "500",
            answer(500, "", &google(500, "INTERNAL")),
            ErrorKind::Unavailable,
            true,
            None,
        ),
        (
            "504",
            answer(504, "", &google(504, "DEADLINE_EXCEEDED")),
            ErrorKind::TimedOut,
            true,
            None,
        ),
        (
            "404 of another server",
            answer(404, "", "not here"),
            ErrorKind::InvalidAnswer,
            false,
            None,
        ),
        (
            "404 without a code",
            answer(404, "", r#"{"error":{"code":404,"message":"x"}}"#),
            ErrorKind::InvalidAnswer,
            false,
            None,
        ),
        (
            "no JSON",
            answer(200, "", "<html>CANARY"),
            ErrorKind::InvalidAnswer,
            true,
            None,
        ),
        (
            "nothing",
            answer(200, "", ""),
            ErrorKind::InvalidAnswer,
            true,
            None,
        ),
        (
            "a redirect",
            answer(307, "location: http://127.0.0.1:9/\r\n", ""),
            ErrorKind::Unavailable,
            true,
            None,
        ),
    ] {
        proxy.set(fault);
        proxy.seen();
        let made = tokio::time::timeout(BOUND, wrapped(&keys)).await.unwrap();
        let opened = tokio::time::timeout(BOUND, opens(&keys, &dek, &wrap))
            .await
            .unwrap();
        for error in [made.unwrap_err(), opened.unwrap_err()] {
            assert_eq!(
                (error.kind(), error.is_retryable()),
                (kind, retryable),
                "{what}: {error}"
            );
            assert_eq!(error.retry_after(), after, "{what}");
            assert!(!format!("{error} {error:?}").contains("CANARY"), "{what}");
        }
        assert_eq!(proxy.seen().len(), 2, "{what}: nothing is tried twice");
        proxy.set(Fault::Forward);
        opens(&keys, &dek, &wrap).await.unwrap();
    }
}

/// Where a service answers nothing at all, an answer of empty fields is not taken for one.
#[tokio::test]
async fn an_empty_answer_is_none_even_from_an_emulator() {
    let fake = FakeGcpKms::start();
    let proxy = FaultProxy::answering(answer(200, "", "{}"));
    let config = config(&fake)
        .with_endpoint(proxy.url())
        .with_auth(Auth::Anonymous);
    let keys = super::connect(config).unwrap().key(&fake.key("k")).unwrap();
    let error = wrapped(&keys).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidAnswer, "{error}");
}

#[tokio::test]
async fn a_server_that_is_gone_is_unavailable_and_found_again() {
    let (_fake, proxy, keys) = behind(Duration::from_secs(10));
    // Down from the first call on: the client is made while nobody listens.
    proxy.take_down();
    let error = wrapped(&keys).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.is_retryable()),
        (ErrorKind::Unavailable, true)
    );
    proxy.bring_up();
    wrapped(&keys).await.unwrap();
}

#[tokio::test]
async fn a_deadline_of_the_request_holds() {
    let (_fake, proxy, keys) = behind(Duration::from_secs(3_600));
    let context = acme();
    proxy.set(Fault::Hang);
    let soon = TokioRuntime::current().now() + Duration::from_millis(50);
    let error = keys
        .generate(&Request::new(&context).with_deadline(soon))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert_eq!(proxy.seen().len(), 1);
    let past = Request::new(&context).with_deadline(Monotonic(Duration::ZERO));
    assert_eq!(
        keys.generate(&past).await.unwrap_err().kind(),
        ErrorKind::TimedOut
    );
    assert!(proxy.seen().is_empty(), "no call once the time is over");
}

#[tokio::test]
async fn a_call_that_is_dropped_leaves_the_client_as_it_was() {
    let (_fake, proxy, keys) = behind(Duration::from_secs(3_600));
    proxy.set(Fault::Hang);
    let dropped = tokio::time::timeout(Duration::from_millis(50), wrapped(&keys)).await;
    assert!(dropped.is_err());
    proxy.set(Fault::Forward);
    wrapped(&keys).await.unwrap();
}

/// Where the test runs as one that trusts a CA of its own: what to ask.
const TLS: &str = "WAXSEAL_TEST_GCP_KMS_TLS";

#[tokio::test]
async fn a_certificate_that_is_not_to_be_trusted_is_not_tried_again() {
    let key = "projects/p/locations/global/keyRings/r/cryptoKeys/k";
    if let Ok(urls) = std::env::var(TLS) {
        for (number, url) in urls.split(' ').enumerate() {
            let config = Config::new()
                .with_endpoint(url)
                .with_auth(Auth::AccessToken(TOKEN.into()));
            let keys = super::connect(config).unwrap().key(key).unwrap();
            let answer = tokio::time::timeout(BOUND, wrapped(&keys)).await.unwrap();
            if number == 0 {
                answer.unwrap();
                continue;
            }
            let error = answer.unwrap_err();
            assert_eq!(
                (error.kind(), error.is_retryable()),
                (ErrorKind::Unavailable, false),
                "{number}: {error}"
            );
            assert!(error.to_string().contains("certificate"), "{error}");
        }
        return;
    }
    let fake = FakeGcpKms::start();
    assert_eq!(fake.key("k"), key);
    Certified::new(&fake.endpoint()).run_trusting(
        "gcp_kms::faults::a_certificate_that_is_not_to_be_trusted_is_not_tried_again",
        TLS,
    );
}
