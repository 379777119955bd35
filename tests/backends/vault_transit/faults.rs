//! A server that is away, hangs, or answers with half of it or with nonsense.

use std::time::Duration;

use waxseal::backend::vault_transit::{Auth, Config, Mode, TransitKey};
use waxseal::runtime::{Runtime, TokioRuntime};
use waxseal::{ErrorKind, KeyManager, key::KekAdmin, key::Request, value::Dek};

use super::server::{Server, acme, kek, round_trip, server, unwrap_kind};
use crate::fault_proxy::{Certified, Fault, FaultProxy, Seen};

/// Generous: what is asserted is that an answer comes at all.
const BOUND: Duration = Duration::from_secs(60);

async fn behind(server: &Server, mode: Mode, timeout: Duration) -> (FaultProxy, TransitKey) {
    let proxy = FaultProxy::new(&server.address);
    let name = server.key("faults", mode).await;
    let keys = through(&proxy, server, &name, mode, timeout);
    (proxy, keys)
}

fn through(proxy: &FaultProxy, server: &Server, name: &str, mode: Mode, timeout: Duration) -> TransitKey {
    let config = Config::new(proxy.url(), Auth::token(server.root.clone()));
    let client = super::connect(config.with_timeout(timeout)).unwrap();
    client.key(name).unwrap().with_mode(mode)
}

/// One round trip of a client whose timeout may be too short for a busy machine.
async fn is_well_again(keys: &TransitKey) {
    let mut tries = 0;
    loop {
        tries += 1;
        match round_trip(keys).await {
            Err(error) if error.kind() == ErrorKind::TimedOut && tries < 50 => {}
            well => return drop(well.unwrap()),
        }
    }
}

#[tokio::test]
async fn each_fault_is_typed_and_passes() {
    let Some(server) = server().await else { return };
    for mode in [Mode::Encrypt, Mode::DataKey] {
        let proxy = FaultProxy::new(&server.address);
        let name = server.key("faults", mode).await;
        let patient = through(&proxy, &server, &name, mode, BOUND / 2);
        let impatient = through(&proxy, &server, &name, mode, Duration::from_millis(600));
        let wrapped = round_trip(&patient).await.unwrap();
        let answer = |status, headers| Fault::Answer(status, headers, r#"{"errors":["CANARY"]}"#.to_owned());
        for (fault, kind, retryable) in [
            (Fault::Close, ErrorKind::Unavailable, true),
            (Fault::Hang, ErrorKind::TimedOut, true),
            (Fault::Cut(1), ErrorKind::Unavailable, true),
            (Fault::Cut(150), ErrorKind::Unavailable, true),
            (Fault::Cut(usize::MAX), ErrorKind::Unavailable, true),
            (Fault::Stall(1), ErrorKind::TimedOut, true),
            // Never still for long, and never at an end.
            (Fault::Drip(Duration::from_millis(100)), ErrorKind::TimedOut, true),
            (answer(429, "Retry-After: 7\r\n"), ErrorKind::Throttled, true),
            (answer(429, ""), ErrorKind::Throttled, true),
            (answer(412, ""), ErrorKind::Unavailable, true),
            (answer(500, ""), ErrorKind::Unavailable, true),
            (answer(502, ""), ErrorKind::Unavailable, true),
            (answer(503, ""), ErrorKind::Unavailable, true),
            (answer(418, ""), ErrorKind::InvalidAnswer, false),
            (answer(200, ""), ErrorKind::InvalidAnswer, false),
            (
                Fault::Answer(200, "", "<CANARY>".to_owned()),
                ErrorKind::InvalidAnswer,
                false,
            ),
            (
                Fault::Answer(200, "", "A".repeat(2 << 20)),
                ErrorKind::InvalidAnswer,
                false,
            ),
        ] {
            let keys = match kind {
                ErrorKind::TimedOut => &impatient,
                _ => &patient,
            };
            proxy.set(fault.clone());
            let context = acme();
            let request = Request::new(&context);
            let opened = tokio::time::timeout(BOUND, keys.unwrap(wrapped.as_wrap_ref(), &request)).await;
            let made = tokio::time::timeout(BOUND, keys.generate(&request))
                .await
                .unwrap()
                .map(drop);
            let batch = keys.unwrap_batch(&[(wrapped.as_wrap_ref(), &request)]).await;
            for result in [
                opened.unwrap().map(drop),
                made,
                batch.into_iter().next().unwrap().map(drop),
            ] {
                let error = result.unwrap_err();
                assert_eq!((error.kind(), error.is_retryable()), (kind, retryable), "{error}");
                assert!(!format!("{error} {error:?}").contains("CANARY"), "{error:?}");
                let after = matches!(&fault, Fault::Answer(_, headers, _) if headers.starts_with("Retry"));
                assert_eq!(error.retry_after(), after.then_some(Duration::from_secs(7)));
            }
            proxy.set(Fault::Forward);
            is_well_again(keys).await;
        }
    }
}

#[tokio::test]
async fn nobody_listens_and_then_somebody_does() {
    let Some(server) = server().await else { return };
    let (proxy, keys) = behind(&server, Mode::Encrypt, Duration::from_secs(10)).await;
    proxy.take_down();
    let error = round_trip(&keys).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.is_retryable()),
        (ErrorKind::Unavailable, true)
    );
    // At the same place, and with the same key manager.
    proxy.bring_up();
    round_trip(&keys).await.unwrap();
}

#[tokio::test]
async fn a_certificate_that_is_not_to_be_trusted_is_not_tried_again() {
    let Some(server) = server().await else { return };
    let certified = Certified::new(&server.address);
    let name = server.key("certified", Mode::Encrypt).await;
    let keys = |proxy: &FaultProxy| {
        let config = Config::new(proxy.url(), Auth::token(server.root.clone()));
        let client = super::connect(config.with_ca_pem(certified.ca.clone())).unwrap();
        client.key(&name).unwrap()
    };
    round_trip(&keys(&certified.good)).await.unwrap();
    for (what, proxy) in &certified.bad {
        let answer = tokio::time::timeout(BOUND, round_trip(&keys(proxy))).await;
        let error = answer.unwrap().unwrap_err();
        assert_eq!(
            (error.kind(), error.is_retryable()),
            (ErrorKind::Unavailable, false),
            "{what}: {error}"
        );
        assert!(error.to_string().contains("certificate"), "{error}");
    }
    certified.nobody_spoke_to_the_bad_ones();
}

#[tokio::test]
async fn the_deadline_of_a_request_holds() {
    let Some(server) = server().await else { return };
    let (proxy, keys) = behind(&server, Mode::Encrypt, Duration::from_secs(3600)).await;
    round_trip(&keys).await.unwrap();
    proxy.set(Fault::Hang);
    let context = acme();
    let now = TokioRuntime::current().now();
    let dek = Dek::generate().unwrap();
    let soon = Request::new(&context).with_deadline(now + Duration::from_millis(200));
    let result = tokio::time::timeout(BOUND, keys.wrap(&dek, &soon)).await.unwrap();
    assert_eq!(result.unwrap_err().kind(), ErrorKind::TimedOut);
    // Over already: nobody is asked.
    proxy.seen();
    let over = Request::new(&context).with_deadline(now);
    assert_eq!(
        keys.wrap(&dek, &over).await.unwrap_err().kind(),
        ErrorKind::TimedOut
    );
    assert!(proxy.seen().is_empty());
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let Some(server) = server().await else { return };
    let (proxy, keys) = behind(&server, Mode::Encrypt, Duration::from_secs(10)).await;
    let other = FaultProxy::new(&server.address);
    for status in [301, 302, 303, 307, 308] {
        let location: &'static str = format!("Location: {}/v1/x\r\n", other.url()).leak();
        proxy.set(Fault::Answer(status, location, String::new()));
        let error = round_trip(&keys).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.is_retryable()),
            (ErrorKind::Unavailable, true),
            "{status}"
        );
    }
    // Neither header with the token travels on.
    assert!(other.seen().is_empty());
    // The server reads either, and an agent before it only the second.
    let seen = proxy.seen();
    assert!(!seen.is_empty());
    for seen in seen {
        assert_eq!(seen.header("authorization"), Some("Bearer root"));
        assert_eq!(seen.header("x-vault-token"), Some("root"));
    }
}

/// Answers of `action` are these; everything else is the server's.
fn instead(proxy: &FaultProxy, action: &'static str, data: String, warnings: &'static str) {
    proxy.set_rule(move |seen| {
        if seen.head.contains(&format!("/{action}/")) {
            Fault::Answer(200, "", format!(r#"{{"data":{data},"warnings":{warnings}}}"#))
        } else {
            Fault::Forward
        }
    });
}

#[tokio::test]
async fn answers_that_are_not_what_was_asked_for() {
    let Some(server) = server().await else { return };
    let (proxy, keys) = behind(&server, Mode::Encrypt, Duration::from_secs(10)).await;
    let old = round_trip(&keys).await.unwrap();
    let name = keys.kek_id().rsplit('/').next().unwrap().to_owned();
    server
        .post(&format!("transit/keys/{name}/rotate"), serde_json::json!({}))
        .await;
    let new = round_trip(&keys).await.unwrap();
    assert_eq!(new.kek().version(), "2");
    let context = acme();
    let request = Request::new(&context);

    // A standby that has not caught up.
    let lower = format!(
        r#"{{"ciphertext":"{}"}}"#,
        std::str::from_utf8(old.wrapped()).unwrap()
    );
    instead(&proxy, "rewrap", lower.clone(), "null");
    let error = keys.rewrap(new.as_wrap_ref(), &request).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.is_retryable()),
        (ErrorKind::InvalidAnswer, true)
    );
    instead(
        &proxy,
        "rewrap",
        format!(r#"{{"batch_results":[{lower}]}}"#),
        "null",
    );
    let results = keys.rewrap_batch(&[(new.as_wrap_ref(), &request)]).await;
    assert_eq!(results[0].as_ref().unwrap_err().kind(), ErrorKind::InvalidAnswer);

    // Batches with too few and too many.
    for data in [
        r#"{"batch_results":[]}"#,
        r#"{"batch_results":[{},{}]}"#,
        r#"{"batch_results":[{}]}"#,
    ] {
        for action in ["encrypt", "decrypt"] {
            instead(&proxy, action, data.to_owned(), "null");
            let dek = Dek::generate().unwrap();
            let error = if action == "encrypt" {
                keys.wrap_batch(&[(&dek, &request)]).await.remove(0).map(drop)
            } else {
                keys.unwrap_batch(&[(new.as_wrap_ref(), &request)])
                    .await
                    .remove(0)
                    .map(drop)
            };
            assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidAnswer);
        }
    }

    // Another secret in the place of ours: of another length, or bound to nothing.
    for (plaintext, kind) in [
        ("AAAA", ErrorKind::InvalidAnswer),
        (&*"A".repeat(86), ErrorKind::InvalidAnswer),
        (&*format!("{}==", "A".repeat(86)), ErrorKind::CannotOpen),
    ] {
        instead(
            &proxy,
            "decrypt",
            format!(r#"{{"plaintext":"{plaintext}"}}"#),
            "null",
        );
        assert_eq!(unwrap_kind(&keys, new.as_wrap_ref()).await, kind);
    }
    instead(
        &proxy,
        "encrypt",
        r#"{"ciphertext":"vault:v1:AAAA"}"#.to_owned(),
        "null",
    );
    assert_eq!(
        round_trip(&keys).await.unwrap_err().kind(),
        ErrorKind::InvalidAnswer
    );
}

#[tokio::test]
async fn a_warning_where_the_server_binds_is_an_error() {
    let Some(server) = server().await else { return };
    let (proxy, keys) = behind(&server, Mode::DataKey, Duration::from_secs(10)).await;
    let good = round_trip(&keys).await.unwrap();
    let text = std::str::from_utf8(good.wrapped()).unwrap().to_owned();
    let data = format!(r#"{{"plaintext":"{}=","ciphertext":"{text}"}}"#, "A".repeat(43));
    let context = acme();
    let request = Request::new(&context);
    let dek = Dek::generate().unwrap();
    for (warnings, fails) in [
        ("null", false),
        ("[]", false),
        (r#"["ignored these parameters"]"#, true),
    ] {
        instead(&proxy, "datakey/plaintext", data.clone(), warnings);
        let generated = keys.generate(&request).await.map(drop);
        instead(&proxy, "encrypt", data.clone(), warnings);
        let wrapped = keys.wrap(&dek, &request).await.map(drop);
        for result in [generated, wrapped] {
            match result {
                Ok(()) => assert!(!fails),
                Err(error) => assert!(fails && error.kind() == ErrorKind::InvalidAnswer, "{error}"),
            }
        }
    }
}

/// As HashiCorp Vault does, unless `allow_forwarding_via_header` is set.
#[tokio::test]
async fn a_server_that_will_not_be_told_to_forward_is_asked_without() {
    let Some(server) = server().await else { return };
    let proxy = FaultProxy::new(&server.address);
    let name = server.key("told", Mode::Encrypt).await;
    let config = Config::new(proxy.url(), Auth::token(server.root.clone()));
    let client = super::connect(config).unwrap();
    let admin = client.admin();
    proxy.set_rule(|seen| {
        if seen.header("x-vault-inconsistent").is_some() {
            let refused = r#"{"errors":["forwarding via header is disabled in configuration"]}"#;
            Fault::Answer(400, "", refused.to_owned())
        } else if seen.path().ends_with("/rotate") {
            Fault::Answer(204, "X-Vault-Index: djE6MTIzNA==\r\n", String::new())
        } else {
            Fault::Forward
        }
    });
    // The proxy kept the rotation to itself, so there is no new version: that is read from the server.
    let kek = kek(&name, "");
    let error = admin.rotate(&kek, "once").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidAnswer, "{error}");
    let told = |seen: &[Seen]| {
        let told = seen
            .iter()
            .filter(|seen| seen.header("x-vault-inconsistent").is_some());
        told.count()
    };
    let seen = proxy.seen();
    assert_eq!(told(&seen), 1);
    assert!(seen.last().unwrap().header("x-vault-index").is_none());
    // And it is not tried again, whatever the server says of its index.
    admin.rotate(&kek, "twice").await.unwrap_err();
    admin.describe(&kek).await.unwrap();
    assert_eq!(told(&proxy.seen()), 0);
}
