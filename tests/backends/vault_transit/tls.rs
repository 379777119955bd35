//! Certificates, against a server of its own with `-dev-tls`.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use waxseal::ErrorKind;
use waxseal::backend::vault_transit::{Auth, Client, Config, TransitKey};
use waxseal::testing::conformance::{Subject, run};

use super::server::{BINARY, round_trip, server};
use crate::own_server::{free_port, installed};

struct Tls {
    child: Child,
    port: u16,
    dir: tempfile::TempDir,
}

impl Drop for Tls {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn start() -> Option<Tls> {
    // It says why it skips, and does not where it must not.
    server().await?;
    let binary = installed("openbao", BINARY)?;
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let child = Command::new(binary)
        .args([
            "server",
            "-dev",
            "-dev-tls",
            "-dev-root-token-id=root",
            "-dev-no-store-token",
        ])
        .arg(format!("-dev-tls-cert-dir={}", dir.path().display()))
        .arg(format!("-dev-listen-address=127.0.0.1:{port}"))
        .env("HOME", dir.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Some(Tls { child, port, dir })
}

impl Tls {
    fn ca(&self) -> PathBuf {
        let files = std::fs::read_dir(self.dir.path()).into_iter().flatten();
        let mut names = files.filter_map(|file| Some(file.ok()?.path()));
        names
            .find(|path| {
                path.file_name()
                    .is_some_and(|name| name.to_string_lossy().ends_with("-ca.pem"))
            })
            .unwrap_or_default()
    }

    async fn mount(&self) {
        for _ in 0..200 {
            if let Ok(pem) = std::fs::read(self.ca())
                && let Ok(ca) = reqwest::Certificate::from_pem(&pem)
            {
                let http = reqwest::Client::builder()
                    .no_proxy()
                    .tls_certs_only([ca])
                    .build()
                    .unwrap();
                let post = |path: &str, body: &'static str| {
                    http.post(format!("https://127.0.0.1:{}/v1/{path}", self.port))
                        .bearer_auth("root")
                        .body(body)
                        .send()
                };
                if let Ok(answer) = post("sys/mounts/transit", r#"{"type":"transit"}"#).await
                    && answer.status().is_success()
                {
                    for key in ["transit/keys/orders", "transit/keys/others"] {
                        let made = post(key, r#"{"type":"aes256-gcm96"}"#).await.unwrap();
                        assert!(made.status().is_success());
                    }
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the server with TLS did not become ready");
    }

    fn client(&self) -> Client {
        let config = Config::new(format!("https://127.0.0.1:{}", self.port), Auth::token("root"));
        super::connect(config.with_ca_file(self.ca())).unwrap()
    }

    fn keys(&self, host: &str, change: impl FnOnce(Config) -> Config) -> TransitKey {
        let config = Config::new(format!("https://{host}:{}", self.port), Auth::token("root"));
        let client = super::connect(change(config)).unwrap();
        client.key("orders").unwrap()
    }
}

#[tokio::test]
async fn conforms_over_tls() {
    let Some(tls) = start().await else { return };
    tls.mount().await;
    let client = tls.client();
    let keys = |name| client.key(name).unwrap();
    let subject = Subject::new(keys("orders")).against(keys("others"));
    println!(
        "OpenBao with TLS at port {}:\n{}",
        tls.port,
        run(&subject).await.unwrap()
    );
}

#[tokio::test]
async fn only_the_configured_ca_is_trusted() {
    let Some(tls) = start().await else { return };
    tls.mount().await;
    round_trip(&tls.keys("127.0.0.1", |config| config.with_ca_file(tls.ca())))
        .await
        .unwrap();
    let pem = std::fs::read(tls.ca()).unwrap();
    round_trip(&tls.keys("localhost", |config| config.with_ca_pem(pem.clone())))
        .await
        .unwrap();

    // Another CA, of another server, and none of our own.
    let other = start().await.unwrap();
    other.mount().await;
    for (what, keys) in [
        (
            "another CA",
            tls.keys("127.0.0.1", |config| config.with_ca_file(other.ca())),
        ),
        ("the system's CAs", tls.keys("127.0.0.1", |config| config)),
    ] {
        let error = round_trip(&keys).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.is_retryable()),
            (ErrorKind::Unavailable, false),
            "{what}: {error}"
        );
        assert!(error.to_string().contains("certificate"), "{error}");
    }
}
