//! Keys in a real server, by URI and by environment variables alone.
#![cfg(feature = "vault-transit")]

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::servers::{address, unique, variable};
use crate::tool::{PAIR, Run, Tool, bytes, end};

struct Vault {
    address: String,
    token: String,
}

impl Vault {
    fn new() -> Option<Self> {
        let address = address("openbao")?;
        let vault = Self {
            address,
            token: variable("WAXSEAL_TEST_OPENBAO_TOKEN").unwrap(),
        };
        // Refused where the server has it already.
        vault.post("sys/mounts/transit", r#"{"type":"transit"}"#);
        Some(vault)
    }

    fn post(&self, path: &str, body: &str) -> String {
        let host = self.address.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(host).unwrap();
        let token = &self.token;
        write!(
            stream,
            "POST /v1/{path} HTTP/1.1\r\nHost: {host}\r\nX-Vault-Token: {token}\r\nConnection: close\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// A key that no other test and no other run has.
    fn key(&self, what: &str) -> String {
        let key = unique(what);
        let answer = self.post(&format!("transit/keys/{key}"), "{}");
        assert!(answer.starts_with("HTTP/1.1 20"), "{answer}");
        key
    }
}

fn run(tool: &Tool, variables: &[(&str, &str)], arguments: &[&str], stdin: &[u8]) -> Run {
    let mut command = tool.command(arguments);
    command.envs(variables.iter().copied());
    let run = end(command.spawn().unwrap(), stdin);
    assert!(
        variables
            .iter()
            .all(|(name, value)| *name != "VAULT_TOKEN" || !run.stderr.contains(value))
    );
    run
}

#[test]
fn a_key_of_a_server_by_uri_and_by_variables_is_the_same_key() {
    let Some(vault) = Vault::new() else { return };
    let tool = Tool::new();
    let key = vault.key("both");
    let uri = format!("vault-transit:{key}?addr={}", vault.address);
    let token = ("VAULT_TOKEN", vault.token.as_str());
    let sealed = run(
        &tool,
        &[token],
        &["seal", "--kek", &uri, "--context", PAIR],
        &bytes(200_000),
    );
    assert_eq!(sealed.code, 0, "{}", sealed.stderr);

    let selected = [
        token,
        ("WAXSEAL_KMS_BACKEND", "vault-transit"),
        ("WAXSEAL_KMS_KEY_ID", key.as_str()),
        ("WAXSEAL_KMS_ENDPOINT", vault.address.as_str()),
    ];
    let opened = run(&tool, &selected, &["open", "--context", PAIR], &sealed.stdout);
    assert!(opened.stdout == bytes(200_000), "{}", opened.stderr);

    let named = [
        ("VAULT_ADDR", vault.address.as_str()),
        token,
        ("WAXSEAL_KMS_URI", &uri),
    ];
    let wrong = run(
        &tool,
        &named,
        &["open", "--context", "tenant=other"],
        &sealed.stdout,
    );
    assert_eq!((wrong.code, wrong.stdout.len()), (3, 0), "{}", wrong.stderr);
    assert!(wrong.stderr.contains("does not open"), "{}", wrong.stderr);

    let denied = [("VAULT_TOKEN", "no-such-token"), ("WAXSEAL_KMS_URI", &uri)];
    let refused = run(&tool, &denied, &["open", "--context", PAIR], &sealed.stdout);
    assert_eq!(refused.code, 5, "{}", refused.stderr);
    assert!(refused.stderr.contains("credentials"), "{}", refused.stderr);
}

#[test]
fn a_file_moves_from_a_local_key_to_a_server_and_back() {
    let Some(vault) = Vault::new() else { return };
    let tool = Tool::new();
    let uri = format!("vault-transit:{}?addr={}", vault.key("moves"), vault.address);
    let variables = [("VAULT_TOKEN", vault.token.as_str())];
    let local = tool.done(&["seal", "--kek", "env:K", "--context", PAIR], &bytes(70_000));
    let there = run(
        &tool,
        &variables,
        &["rewrap", "--kek", "env:K", "--to", &uri, "--context", PAIR],
        &local,
    );
    assert_eq!(there.code, 0, "{}", there.stderr);
    let body = |envelope: &[u8]| {
        envelope[waxseal::Envelope::parse(envelope).unwrap().header().body_offset()..].to_vec()
    };
    assert!(body(&there.stdout) == body(&local));
    let back = run(
        &tool,
        &variables,
        &["rewrap", "--kek", &uri, "--to", "env:NEW", "--context", PAIR],
        &there.stdout,
    );
    assert!(tool.done(&["open", "--kek", "env:NEW", "--context", PAIR], &back.stdout) == bytes(70_000));
}

#[test]
fn doctor_says_whether_a_key_of_a_server_works() {
    let Some(vault) = Vault::new() else { return };
    let tool = Tool::new();
    let good = format!("vault-transit:{}?addr={}", vault.key("doctor"), vault.address);
    let bad = format!("vault-transit:nobody-made-this?addr={}", vault.address);
    let variables = [("VAULT_TOKEN", vault.token.as_str())];
    let found = run(&tool, &variables, &["doctor", "--kek", &good, "--kek", &bad], b"");
    let table = String::from_utf8(found.stdout).unwrap();
    assert_eq!(found.code, 10, "{table}");
    assert_eq!(
        table.lines().nth(1).unwrap().matches("works").count(),
        2,
        "{table}"
    );
    assert!(
        table.contains("vault-transit:nobody-made-this: the key manager has no such key"),
        "{table}"
    );
}

/// The first wrap is read back: who may wrap and not unwrap would seal what nobody may be able to open.
#[test]
fn what_cannot_be_read_back_is_not_sealed_unless_told() {
    let Some(vault) = Vault::new() else { return };
    let tool = Tool::new();
    let key = vault.key("only-wraps");
    let rights = [("encrypt", "update"), ("keys", "read")]
        .map(|(what, right)| format!(r#"path \"transit/{what}/{key}\" {{ capabilities = [\"{right}\"] }} "#))
        .concat();
    let policy = format!(r#"{{"policy":"{rights}"}}"#);
    let answer = vault.post(&format!("sys/policies/acl/{key}"), &policy);
    assert!(answer.starts_with("HTTP/1.1 20"), "{answer}");
    let answer = vault.post(
        "auth/token/create",
        &format!(r#"{{"policies":["{key}"],"no_default_policy":false}}"#),
    );
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    let start = body.find('{').unwrap();
    let end = body.rfind('}').unwrap();
    let made: serde_json::Value = serde_json::from_str(&body[start..=end]).unwrap();
    let token = made["auth"]["client_token"].as_str().unwrap().to_owned();

    let uri = format!("vault-transit:{key}?addr={}", vault.address);
    let seal = ["seal", "--kek", &uri, "-o", "sealed"];
    let variables = [("VAULT_TOKEN", token.as_str())];
    let refused = run(&tool, &variables, &seal, b"hello");
    assert_eq!(refused.code, 5, "{}", refused.stderr);
    assert!(refused.stderr.contains("read back"), "{}", refused.stderr);
    assert!(tool.listing().is_empty());
    let done = run(
        &tool,
        &variables,
        &[&seal[..], &["--no-read-back"]].concat(),
        b"hello",
    );
    assert_eq!(done.code, 0, "{}", done.stderr);
    let opened = run(
        &tool,
        &[("VAULT_TOKEN", vault.token.as_str())],
        &["open", "--kek", &uri, "sealed"],
        b"",
    );
    assert_eq!(opened.stdout, b"hello", "{}", opened.stderr);
}

/// Servers that do not answer, and one that is not there.
#[test]
fn a_server_that_does_not_answer_ends_within_the_timeout() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let tool = Tool::new();
    let uri = format!("vault-transit:k?addr=http://{}", silent.local_addr().unwrap());
    let nobody = "vault-transit:k?addr=http://127.0.0.1:1".to_owned();
    let sealed = tool.done(&["seal", "--kek", "env:K"], b"hello");
    for uri in [&uri, &nobody] {
        for command in [
            &["seal", "--kek", uri, "--timeout", "0.5", "-o", "new"][..],
            &[
                "rewrap",
                "--kek",
                "env:K",
                "--to",
                uri,
                "--timeout",
                "0.5",
                "-o",
                "new",
            ],
            &["doctor", "--kek", uri, "--timeout", "0.5"],
        ] {
            let run = run(&tool, &[("VAULT_TOKEN", "token-CANARY")], command, &sealed);
            let expected = if command[0] == "doctor" { 10 } else { 6 };
            assert_eq!(run.code, expected, "{command:?}: {}", run.stderr);
        }
    }
    assert!(tool.listing().is_empty());
}

#[cfg(feature = "pkcs11")]
mod token {
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use pollster::block_on;
    use waxseal::backend::pkcs11::{Client, Config, Mechanism, TokenMatch};
    use waxseal::{key::KekAdmin, key::KekTemplate};

    use super::*;

    struct Token {
        /// `SOFTHSM2_CONF`, which says where the token is.
        config: String,
        pin: String,
        module: String,
        label: String,
    }

    impl Token {
        fn new() -> Option<Self> {
            let module = address("softhsm")?;
            Some(Self {
                config: variable("SOFTHSM2_CONF").unwrap(),
                pin: variable("WAXSEAL_TEST_SOFTHSM_PIN").unwrap(),
                module,
                label: variable("WAXSEAL_TEST_SOFTHSM_TOKEN").unwrap(),
            })
        }

        fn uri(&self, key: &str, algorithm: &str) -> String {
            let Self { label, module, .. } = self;
            format!(
                "pkcs11:token={label};object={key}?module-path={module}&pin-source=env:PIN&algorithm={algorithm}"
            )
        }

        fn make_key(&self, mechanism: Mechanism) -> String {
            let name = unique("cli");
            let config = Config::new(&self.module, TokenMatch::labeled(&self.label));
            let client = block_on(Client::connect(config.with_pin(self.pin.as_str().into()))).unwrap();
            let admin = client.admin().with_mechanism(mechanism);
            block_on(admin.create(&KekTemplate::new(&name), &name)).unwrap();
            name
        }
    }

    /// SoftHSM can fail to see a token while another process writes to it, so these tests take turns.
    fn turn() -> MutexGuard<'static, ()> {
        static ONE: Mutex<()> = Mutex::new(());
        ONE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[test]
    fn a_key_on_a_token_seals_and_opens() {
        let _turn = turn();
        let Some(token) = Token::new() else { return };
        let tool = Tool::new();
        for (mechanism, algorithm) in [
            (Mechanism::AesGcm, "AES-GCM"),
            (Mechanism::AesKeyWrapPad, "AES-KEY-WRAP-PAD"),
        ] {
            let uri = token.uri(&token.make_key(mechanism), algorithm);
            let variables = [
                ("SOFTHSM2_CONF", token.config.as_str()),
                ("PIN", &token.pin),
                ("WAXSEAL_KMS_URI", &uri),
            ];
            let sealed = run(
                &tool,
                &variables[..2],
                &["seal", "--kek", &uri, "--context", PAIR],
                &bytes(70_000),
            );
            assert_eq!(sealed.code, 0, "{}", sealed.stderr);
            let opened = run(&tool, &variables, &["open", "--context", PAIR], &sealed.stdout);
            assert!(opened.stdout == bytes(70_000), "{algorithm}: {}", opened.stderr);
            let selected = [
                variables[0],
                variables[1],
                ("WAXSEAL_KMS_BACKEND", "pkcs11"),
                ("WAXSEAL_KMS_KEY_ID", uri.strip_prefix("pkcs11:").unwrap()),
            ];
            let opened = run(&tool, &selected, &["open", "--context", PAIR], &sealed.stdout);
            assert!(opened.stdout == bytes(70_000), "{algorithm}: {}", opened.stderr);
            let wrong = run(
                &tool,
                &variables,
                &["open", "--context", "tenant=other"],
                &sealed.stdout,
            );
            assert_eq!((wrong.code, wrong.stdout.len()), (3, 0), "{}", wrong.stderr);
            assert!(wrong.stderr.contains("does not open"), "{}", wrong.stderr);
        }
    }

    #[test]
    fn what_is_wrong_with_a_token_is_said_and_no_pin_is_shown() {
        let _turn = turn();
        let Some(token) = Token::new() else { return };
        let tool = Tool::new();
        let missing = token.uri("nobody-made-this", "AES-GCM");
        let good = token.uri(&token.make_key(Mechanism::AesGcm), "AES-GCM");
        let elsewhere = good.replace(&token.module, "/nowhere.so");
        for (code, uri, pin, what) in [
            (14, &missing, token.pin.as_str(), "no such key"),
            (5, &good, "0000-CANARY", "credentials"),
            (4, &elsewhere, &token.pin, "/nowhere.so"),
        ] {
            let variables = [("SOFTHSM2_CONF", token.config.as_str()), ("PIN", pin)];
            let run = run(&tool, &variables, &["seal", "--kek", uri], b"hello");
            assert_eq!((run.code, run.stdout.len()), (code, 0), "{}", run.stderr);
            assert!(run.stderr.contains(what), "{}", run.stderr);
            assert!(!run.stderr.contains(pin), "{}", run.stderr);
        }
    }
}
