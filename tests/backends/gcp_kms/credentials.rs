//! Application Default Credentials, and Google's own client against the same fake.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;

use waxseal::ErrorKind;
use waxseal::backend::gcp_kms::{Auth, Config, GcpKey};

use super::{TOKEN, opens, wrapped};
use crate::fake_gcp_kms::FakeGcpKms;

/// Runs one of the tests below in a process of its own, with an environment of its own.
fn in_a_process(test: &str, fake: &FakeGcpKms, key: &str, credentials: &std::path::Path) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("gcp_kms::{test}"), "--ignored", "--nocapture"])
        .env("GOOGLE_APPLICATION_CREDENTIALS", credentials)
        .env("WAXSEAL_TEST_FAKE", fake.endpoint())
        .env("WAXSEAL_TEST_FAKE_KEY", key)
        .output()
        .unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    assert!(!text.contains("CANARY"), "{text}");
}

fn keys_by_default() -> GcpKey {
    let config = Config::new().with_endpoint(std::env::var("WAXSEAL_TEST_FAKE").unwrap());
    let client = super::connect(config).unwrap();
    client
        .key(&std::env::var("WAXSEAL_TEST_FAKE_KEY").unwrap())
        .unwrap()
}

/// Answers one form with a token, and gives what was asked.
fn token_endpoint(answer: &'static str) -> (String, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/token", listener.local_addr().unwrap());
    let asked = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        let mut len = 0;
        while !String::from_utf8_lossy(&request[..len]).contains("refresh_token") {
            len += stream.read(&mut request[len..]).unwrap();
        }
        let status = if answer.contains("access_token") {
            "200 OK"
        } else {
            "400 Bad Request"
        };
        write!(
            stream,
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{answer}",
            answer.len()
        )
        .unwrap();
        String::from_utf8_lossy(&request[..len]).into_owned()
    });
    (url, asked)
}

fn authorized_user(dir: &tempfile::TempDir, token_uri: &str) -> std::path::PathBuf {
    let path = dir.path().join("credentials.json");
    let file = serde_json::json!({
        "type": "authorized_user",
        "client_id": "an id",
        "client_secret": "CANARY-secret",
        "refresh_token": "CANARY-refresh",
        "token_uri": token_uri,
    });
    std::fs::write(&path, file.to_string()).unwrap();
    path
}

#[tokio::test]
async fn application_default_credentials_get_a_token_and_show_it() {
    let fake = FakeGcpKms::start();
    fake.demand_token(TOKEN);
    let key = fake.key("k");
    let dir = tempfile::tempdir().unwrap();
    let (url, asked) =
        token_endpoint(r#"{"access_token":"ya29.CANARY-token","expires_in":3600,"token_type":"Bearer"}"#);
    let file = authorized_user(&dir, &url);
    in_a_process("credentials::child_wraps_and_unwraps", &fake, &key, &file);
    assert!(asked.join().unwrap().contains("CANARY-refresh"));
    assert_eq!(fake.seen().len(), 2, "one token for both calls");
}

#[tokio::test]
async fn credentials_that_give_no_token_are_unauthenticated() {
    let fake = FakeGcpKms::start();
    let key = fake.key("k");
    let dir = tempfile::tempdir().unwrap();
    let (url, asked) = token_endpoint(r#"{"error":"invalid_grant"}"#);
    let file = authorized_user(&dir, &url);
    in_a_process("credentials::child_is_unauthenticated", &fake, &key, &file);
    asked.join().unwrap();
    let missing = dir.path().join("missing.json");
    in_a_process("credentials::child_has_no_credentials", &fake, &key, &missing);
    assert!(fake.seen().is_empty(), "the service was not asked");
}

#[tokio::test]
#[ignore = "runs in a process of its own"]
async fn child_wraps_and_unwraps() {
    let keys = keys_by_default();
    let (dek, wrap) = wrapped(&keys).await.unwrap();
    opens(&keys, &dek, &wrap).await.unwrap();
}

#[tokio::test]
#[ignore = "runs in a process of its own"]
async fn child_is_unauthenticated() {
    let error = wrapped(&keys_by_default()).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.is_retryable()),
        (ErrorKind::Unauthenticated, false),
        "{error}"
    );
}

#[tokio::test]
#[ignore = "runs in a process of its own"]
async fn child_has_no_credentials() {
    let error = wrapped(&keys_by_default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    assert!(
        error.to_string().contains("GOOGLE_APPLICATION_CREDENTIALS"),
        "{error}"
    );
}

/// So that the fake does not only agree with ourselves.
#[test]
fn googles_own_client_gets_from_the_fake_what_it_expects() {
    let variable = |name| std::env::var(name).ok();
    let Some(python) = variable("WAXSEAL_TEST_GOOGLE_PYTHON") else {
        assert_ne!(
            variable("CI").as_deref(),
            Some("true"),
            "WAXSEAL_TEST_GOOGLE_PYTHON is not set"
        );
        println!("skipped: WAXSEAL_TEST_GOOGLE_PYTHON is not set; run scripts/services up google-kms-client");
        return;
    };
    println!(
        "google-cloud-kms {}",
        variable("WAXSEAL_TEST_GOOGLE_PYTHON_VERSION").unwrap_or_default()
    );
    let fake = FakeGcpKms::start();
    let output = Command::new(python)
        .arg(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/gcp_fake_check.py"))
        .args([fake.endpoint().as_str(), "projects/p/locations/global/keyRings/r"])
        .output()
        .unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
}

#[tokio::test]
async fn a_token_that_is_none_is_refused_before_any_call() {
    let fake = FakeGcpKms::start();
    let config = Config::new()
        .with_endpoint(fake.endpoint())
        .with_auth(Auth::AccessToken("CANARY\nnewline".into()));
    let keys = super::connect(config).unwrap().key(&fake.key("k")).unwrap();
    let error = wrapped(&keys).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(!format!("{error} {error:?}").contains("CANARY"));
    assert!(fake.seen().is_empty());
}
