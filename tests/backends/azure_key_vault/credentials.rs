//! Each way to get a token, from end to end; whom it is shown to; and the way there.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;

use waxseal::ErrorKind;
use waxseal::backend::azure_key_vault::{Auth, AzureKey, Config};
use waxseal::runtime::ProcessEnvironment;
use waxseal::testing::FakeEnvironment;

use super::{auth, config, opens, wrapped};
use crate::fake_azure_key_vault::{ASSERTION, CLIENT_SECRET, FakeKeyVault, Fault, IDENTITY_HEADER, TENANT};

async fn works(config: Config) {
    let keys = super::connect(config).unwrap().key("k").unwrap();
    let (dek, wrap) = wrapped(&keys).await.unwrap();
    opens(&keys, &dek, &wrap).await.unwrap();
}

fn environment(fake: &FakeKeyVault, ca: &std::path::Path) -> FakeEnvironment {
    FakeEnvironment::new()
        .with("AZURE_TENANT_ID", TENANT)
        .with("AZURE_CLIENT_ID", "app")
        .with("AZURE_AUTHORITY_HOST", &fake.url())
        .with("SSL_CERT_FILE", ca.to_str().unwrap())
}

#[tokio::test]
async fn a_client_secret_and_workload_identity_by_environment() {
    let fake = FakeKeyVault::start();
    fake.key("k");
    let dir = tempfile::tempdir().unwrap();
    let (ca, file) = (dir.path().join("ca.pem"), dir.path().join("token"));
    std::fs::write(&ca, fake.ca()).unwrap();
    std::fs::write(&file, ASSERTION).unwrap();
    for (variable, value, shown) in [
        (
            "AZURE_CLIENT_SECRET",
            CLIENT_SECRET,
            "client_secret=CANARY-client-secret",
        ),
        (
            "AZURE_FEDERATED_TOKEN_FILE",
            file.to_str().unwrap(),
            "client_assertion=CANARY-assertion",
        ),
    ] {
        let environment = environment(&fake, &ca).with(variable, value);
        let auth = Auth::from_environment(&environment).unwrap();
        let config = Config::from_environment(fake.url(), auth, &environment).unwrap();
        works(config.without_challenge_check()).await;
        let asked = fake.asked_for_tokens();
        assert_eq!(asked.len(), 1, "{variable}: one token for all calls");
        assert_eq!(asked[0].path(), format!("/{TENANT}/oauth2/v2.0/token"));
        assert!(
            asked[0].text.contains(shown) && asked[0].text.contains("client_id=app"),
            "{variable}"
        );
        assert!(
            asked[0]
                .text
                .contains("scope=https%3A%2F%2Fvault.azure.net%2F.default")
        );
    }
}

#[tokio::test]
async fn a_token_that_kubernetes_exchanged_is_read_anew() {
    let fake = FakeKeyVault::start();
    fake.key("k");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "an assertion that is over").unwrap();
    let auth = Auth::WorkloadIdentity {
        tenant_id: TENANT.into(),
        client_id: "app".into(),
        token_file: file.clone(),
    };
    let config = Config::new(fake.url(), auth)
        .with_authority_host(fake.url())
        .with_ca_pem(fake.ca())
        .without_challenge_check();
    let keys = super::connect(config.clone()).unwrap().key("k").unwrap();
    let error = wrapped(&keys).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
    std::fs::write(&file, ASSERTION).unwrap();
    works(config.clone()).await;
    std::fs::remove_file(&file).unwrap();
    let error = super::connect(config).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(
        error.to_string().contains("AZURE_FEDERATED_TOKEN_FILE"),
        "{error}"
    );
}

#[test]
fn what_is_missing_is_named() {
    let all = [
        ("AZURE_TENANT_ID", TENANT),
        ("AZURE_CLIENT_ID", "app"),
        ("AZURE_CLIENT_SECRET", "CANARY"),
        ("AZURE_FEDERATED_TOKEN_FILE", "/CANARY"),
    ];
    type Of = fn(&dyn waxseal::runtime::Environment) -> waxseal::Result<Auth>;
    for (of, needed) in [
        (Auth::client_secret as Of, &all[..3]),
        (Auth::workload_identity, &[all[0], all[1], all[3]]),
    ] {
        for (missing, _) in needed {
            let environment = FakeEnvironment::new();
            for (name, value) in needed.iter().filter(|(name, _)| name != missing) {
                environment.set(name, value);
            }
            let error = of(&environment).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration);
            assert!(
                error.to_string().contains(missing) && !error.to_string().contains("CANARY"),
                "{error}"
            );
        }
    }
    let nothing = Auth::from_environment(&FakeEnvironment::new()).unwrap();
    assert_eq!(
        format!("{nothing:?}"),
        "FirstOf([ManagedIdentity { client_id: None }, DeveloperTools])"
    );
    let offered = FakeEnvironment::new()
        .with("IDENTITY_ENDPOINT", "http://x")
        .with("AZURE_CLIENT_ID", "i");
    let offered = Auth::from_environment(&offered).unwrap();
    assert_eq!(
        format!("{offered:?}"),
        "ManagedIdentity { client_id: Some(\"i\") }"
    );
}

/// Microsoft's client reads these variables from the process: a process of its own.
fn in_a_process(test: &str, fake: &FakeKeyVault, variables: &[(&str, &str)]) {
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca.pem");
    std::fs::write(&ca, fake.ca()).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            &format!("azure_key_vault::{test}"),
            "--ignored",
            "--nocapture",
        ])
        .env("IDENTITY_ENDPOINT", fake.identity_endpoint())
        .env("IDENTITY_HEADER", IDENTITY_HEADER)
        .env("SSL_CERT_FILE", &ca)
        .env("WAXSEAL_TEST_FAKE", fake.url())
        // Nobody listens there: what is near by is asked without.
        .env("HTTP_PROXY", "http://127.0.0.1:9")
        .env("HTTPS_PROXY", "http://127.0.0.1:9")
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    assert!(!text.contains("CANARY"), "{text}");
}

#[tokio::test]
async fn managed_identity_by_environment() {
    let fake = FakeKeyVault::start();
    fake.key("k");
    in_a_process("credentials::child_works", &fake, &[]);
    let asked = fake.asked_for_tokens();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].path(), "/msi/token");
    assert!(
        asked[0].target.contains("resource=https%3A%2F%2Fvault.azure.net"),
        "{}",
        asked[0].target
    );
    assert_eq!(asked[0].headers["x-identity-header"], IDENTITY_HEADER);

    // Some that stand in for it write the time as a number.
    fake.shared().tokens.ends_as_number = true;
    in_a_process("credentials::child_works", &fake, &[]);
    assert_eq!(fake.asked_for_tokens().len(), 1);

    in_a_process(
        "credentials::child_is_unauthenticated",
        &fake,
        &[("IDENTITY_HEADER", "another")],
    );
    fake.set_rule(|seen| match seen.is_vault {
        true => Fault::None,
        false => Fault::Answer(503, String::new(), "CANARY".to_owned()),
    });
    in_a_process("credentials::child_is_unavailable", &fake, &[]);
    assert!(
        fake.seen()
            .iter()
            .all(|seen| !seen.headers.contains_key("authorization"))
    );
}

/// A script in the place of `az`, and a place where nobody gives tokens to machines.
#[cfg(unix)]
#[tokio::test]
async fn the_first_credential_that_gives_a_token_is_taken() {
    let fake = FakeKeyVault::start();
    fake.key("k");
    let dir = tempfile::tempdir().unwrap();
    let (az, calls) = (dir.path().join("az"), dir.path().join("calls"));
    let token = fake.shared().tokens.give_away("app");
    let answer =
        serde_json::json!({"accessToken": token, "expires_on": 4_000_000_000_u64, "tokenType": "Bearer"});
    std::fs::write(
        &az,
        format!("#!/bin/sh\necho \"$@\" >> {}\necho '{answer}'\n", calls.display()),
    )
    .unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&az, mode).unwrap();
    let nowhere = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nowhere = format!("http://{nowhere}/msi/token");
    let (there, none) = (dir.path().to_str().unwrap(), "/nowhere");
    let machine = ("IDENTITY_ENDPOINT", nowhere.as_str());

    in_a_process(
        "credentials::child_takes_the_first",
        &fake,
        &[machine, ("PATH", there)],
    );
    let called = std::fs::read_to_string(&calls).unwrap();
    assert_eq!(called.lines().count(), 1, "{called}");
    assert!(
        called.contains("get-access-token") && called.contains("https://vault.azure.net/.default"),
        "{called}"
    );
    // The machine's is the first, where there is one.
    in_a_process("credentials::child_takes_the_first", &fake, &[("PATH", there)]);
    assert_eq!(std::fs::read_to_string(&calls).unwrap(), called);
    in_a_process("credentials::child_finds_none", &fake, &[machine, ("PATH", none)]);
    // A place whose identities Microsoft's client does not support.
    let fabric = ("IDENTITY_SERVER_THUMBPRINT", "0a1b");
    in_a_process(
        "credentials::child_takes_the_first",
        &fake,
        &[fabric, ("PATH", there)],
    );
    assert_eq!(std::fs::read_to_string(&calls).unwrap().lines().count(), 2);
    in_a_process("credentials::child_is_not_supported", &fake, &[fabric]);
    // Trouble of one that is there is not taken for its absence.
    fake.set_rule(|seen| match seen.is_vault {
        true => Fault::None,
        false => Fault::Answer(503, String::new(), "CANARY".to_owned()),
    });
    in_a_process("credentials::child_finds_trouble", &fake, &[("PATH", none)]);
}

fn first_of() -> AzureKey {
    let managed = Auth::managed_identity(&ProcessEnvironment).unwrap();
    let auth = Auth::FirstOf(vec![managed, Auth::DeveloperTools]);
    let vault = std::env::var("WAXSEAL_TEST_FAKE").unwrap();
    let config = Config::from_environment(vault, auth, &ProcessEnvironment).unwrap();
    let client = super::connect(config.without_challenge_check()).unwrap();
    client.key("k").unwrap()
}

#[tokio::test]
#[ignore = "runs in a process of its own"]
async fn child_takes_the_first() {
    let keys = first_of();
    let (dek, wrap) = wrapped(&keys).await.unwrap();
    opens(&keys, &dek, &wrap).await.unwrap();
}

#[tokio::test]
#[ignore = "runs in a process of its own"]
async fn child_finds_none() {
    let error = wrapped(&first_of()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
    assert!(error.to_string().contains("az login"), "{error}");
}

#[tokio::test]
#[ignore = "runs in a process of its own"]
async fn child_finds_trouble() {
    let error = wrapped(&first_of()).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.is_retryable()),
        (ErrorKind::Unavailable, true),
        "{error}"
    );
}

fn by_process() -> Config {
    let vault = std::env::var("WAXSEAL_TEST_FAKE").unwrap();
    let auth = Auth::from_environment(&ProcessEnvironment).unwrap();
    assert!(format!("{auth:?}").starts_with("ManagedIdentity"), "{auth:?}");
    Config::from_env(vault).unwrap().without_challenge_check()
}

#[tokio::test]
#[ignore = "runs in a process of its own"]
async fn child_works() {
    works(by_process()).await;
}

#[tokio::test]
#[ignore = "runs in a process of its own"]
async fn child_is_not_supported() {
    let error = super::connect(by_process()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    assert!(error.to_string().contains("Service Fabric"), "{error}");
}

#[tokio::test]
#[ignore = "runs in a process of its own"]
async fn child_is_unauthenticated() {
    let keys = super::connect(by_process()).unwrap().key("k").unwrap();
    let error = wrapped(&keys).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.is_retryable()),
        (ErrorKind::Unauthenticated, false),
        "{error}"
    );
}

#[tokio::test]
#[ignore = "runs in a process of its own"]
async fn child_is_unavailable() {
    let keys = super::connect(by_process()).unwrap().key("k").unwrap();
    let error = wrapped(&keys).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.is_retryable()),
        (ErrorKind::Unavailable, true),
        "{error}"
    );
}

/// An HTTP proxy that takes whoever asks to the fake, and says for whom it was asked.
fn proxy(fake: &FakeKeyVault) -> (u16, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, to) = (listener.local_addr().unwrap().port(), fake.port());
    let (asked, all) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if stream.read(&mut byte).unwrap_or(0) == 0 {
                    return;
                }
                request.push(byte[0]);
            }
            let request = String::from_utf8(request).unwrap();
            if asked.send(request.lines().next().unwrap().to_owned()).is_err() {
                return;
            }
            stream.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").unwrap();
            let mut there = TcpStream::connect(("127.0.0.1", to)).unwrap();
            let (mut back, mut here) = (stream.try_clone().unwrap(), there.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut stream, &mut there));
            std::thread::spawn(move || std::io::copy(&mut here, &mut back));
        }
    });
    (port, all)
}

/// By its own name below Azure's domain, with the challenge checked, and the id known before any answer.
#[tokio::test]
async fn a_vault_below_azures_domain_is_checked_and_a_proxy_leads_there() {
    let fake = FakeKeyVault::start();
    fake.key("k");
    let (port, asked) = proxy(&fake);
    let config = |vault: &str| {
        Config::new(vault, auth("app"))
            .with_authority_host(fake.url())
            .with_ca_pem(fake.ca())
            .with_proxy(format!("http://127.0.0.1:{port}"), "")
    };
    let vault = "https://fake.vault.azure.net";
    let keys = super::connect(config(vault)).unwrap().key("k").unwrap();
    assert_eq!(keys.kek_id(), "https://fake.vault.azure.net/keys/k");
    let (dek, wrap) = wrapped(&keys).await.unwrap();
    opens(&keys, &dek, &wrap).await.unwrap();
    assert_eq!(asked.recv().unwrap(), "CONNECT fake.vault.azure.net:443 HTTP/1.1");

    // Turned off, it stays on there.
    for challenge in [
        "https://management.azure.com",
        "https://vault.azure.net.evil.example",
        "CANARY",
    ] {
        fake.shared().tokens.challenge = Some(challenge.to_owned());
        let given = fake.tokens_given();
        let client = super::connect(config(vault).without_challenge_check()).unwrap();
        let keys = client.key("k").unwrap();
        let error = wrapped(&keys).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{challenge}: {error}");
        assert!(!error.to_string().contains("CANARY"));
        assert_eq!(fake.tokens_given(), given, "{challenge}");
    }
    fake.shared().tokens.challenge = None;

    // Below that domain a vault has one name.
    fake.set(Fault::Change(|body| {
        let kid = body["kid"]
            .as_str()
            .or(body["key"]["kid"].as_str())
            .map(|kid| kid.replace("fake", "evil"));
        body["kid"] = kid.clone().into();
        if body["key"].is_object() {
            body["key"]["kid"] = kid.into();
        }
    }));
    let fresh = super::connect(config(vault)).unwrap().key("k").unwrap();
    assert_eq!(
        wrapped(&fresh).await.unwrap_err().kind(),
        ErrorKind::InvalidAnswer
    );
}

#[tokio::test]
async fn what_is_no_configuration_is_refused_and_not_shown() {
    let fake = FakeKeyVault::start();
    for (bad, what) in [
        (config(&fake).with_ca_file("/nowhere/ca.pem"), "/nowhere/ca.pem"),
        (config(&fake).with_ca_pem("CANARY"), "no certificate"),
        (config(&fake).with_proxy("::CANARY::", ""), "proxy"),
        (
            config(&fake).with_authority_host("http://CANARY"),
            "AZURE_AUTHORITY_HOST",
        ),
        (Config::new("http://127.0.0.1:1", auth("app")), "TLS"),
        (Config::new("https://v/keys/k", auth("app")), "without a path"),
    ] {
        let error = super::connect(bad).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
        assert!(error.to_string().contains(what), "{error}");
        assert!(!format!("{error} {error:?}").contains("CANARY"), "{error}");
    }
    let client = super::connect(config(&fake)).unwrap();
    for key in ["", "k/", "../k", "k/v/wrapkey", "https://h/keys/k"] {
        let error = client.key(key).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{key}");
    }
    assert!(fake.seen().is_empty());
}
