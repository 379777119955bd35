//! A service that is slow, overloaded, broken or gone.

use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Duration;

use waxseal::gcp_kms::{Client, GcpKeys};
use waxseal::runtime::{Monotonic, Runtime, TokioRuntime};
use waxseal::{ErrorKind, KeyManager, Request};

use crate::fake_gcp_kms::{FakeGcpKms, Fault};
use crate::{acme, config, keys, opens, wrapped};

fn answer(status: u16, headers: &'static str, body: &str) -> Fault {
    Fault::Answer(status, headers, body.to_owned())
}

fn google(code: u16, status: &str) -> String {
    format!(r#"{{"error":{{"code":{code},"message":"CANARY","status":"{status}"}}}}"#)
}

#[tokio::test]
async fn each_fault_has_its_kind_and_the_next_call_works() {
    let fake = FakeGcpKms::start();
    let client = Client::new(config(&fake).with_timeout(Duration::from_secs(2))).unwrap();
    let keys = GcpKeys::new(&client, &fake.key("k")).unwrap();
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
            Fault::Cut(100_000),
            ErrorKind::Unavailable,
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
}

/// Where a service answers nothing at all, an answer of empty fields is not taken for one.
#[tokio::test]
async fn an_empty_answer_is_none_even_from_an_emulator() {
    let fake = FakeGcpKms::start();
    let client = Client::new(config(&fake).with_auth(waxseal::gcp_kms::Auth::Anonymous)).unwrap();
    let keys = GcpKeys::new(&client, &fake.key("k")).unwrap();
    fake.set(answer(200, "", "{}"));
    let error = wrapped(&keys).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidAnswer, "{error}");
}

#[tokio::test]
async fn a_server_that_is_gone_is_unavailable_and_found_again() {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let fake = FakeGcpKms::start();
    let key = fake.key("k");
    let nowhere = Client::new(config(&fake).with_endpoint(format!("http://127.0.0.1:{port}"))).unwrap();
    let error = wrapped(&GcpKeys::new(&nowhere, &key).unwrap()).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.is_retryable()),
        (ErrorKind::Unavailable, true)
    );

    // Down from the first call on: the client is made while nobody answers.
    let keys = keys(&fake, &key);
    fake.set_down(true);
    let error = wrapped(&keys).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.is_retryable()),
        (ErrorKind::Unavailable, true)
    );
    fake.set_down(false);
    wrapped(&keys).await.unwrap();
}

#[tokio::test]
async fn a_deadline_of_the_request_holds() {
    let fake = FakeGcpKms::start();
    let keys = keys(&fake, &fake.key("k"));
    let context = acme();
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
    let fake = FakeGcpKms::start();
    let keys = keys(&fake, &fake.key("k"));
    fake.set(Fault::Hang);
    let dropped = tokio::time::timeout(Duration::from_millis(50), wrapped(&keys)).await;
    assert!(dropped.is_err());
    fake.set(Fault::None);
    wrapped(&keys).await.unwrap();
}

struct Tls(std::process::Child);

impl Drop for Tls {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The program `openssl` as a server, whose certificate nobody has signed.
fn tls(dir: &tempfile::TempDir) -> (Tls, u16) {
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "1",
        ])
        .args([
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost,IP:127.0.0.1",
        ])
        .args([
            std::ffi::OsStr::new("-keyout"),
            key.as_os_str(),
            "-out".as_ref(),
            cert.as_os_str(),
        ])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let child = Command::new("openssl")
        .args([
            "s_server",
            "-quiet",
            "-www",
            "-accept",
            &format!("127.0.0.1:{port}"),
        ])
        .args([
            std::ffi::OsStr::new("-key"),
            key.as_os_str(),
            "-cert".as_ref(),
            cert.as_os_str(),
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let server = Tls(child);
    for _ in 0..200 {
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    (server, port)
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_not_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, port) = tls(&dir);
    let fake = FakeGcpKms::start();
    let client = Client::new(config(&fake).with_endpoint(format!("https://127.0.0.1:{port}"))).unwrap();
    let error = wrapped(&GcpKeys::new(&client, &fake.key("k")).unwrap())
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.is_retryable()),
        (ErrorKind::Unavailable, false),
        "{error}"
    );
    assert!(error.to_string().contains("certificate"), "{error}");
}
