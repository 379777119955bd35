//! Keys of a vault, by URI and by environment variables alone. The vault is a fake of our own; see its head.

use serde_json::json;

use crate::fake_azure_key_vault::{
    ASSERTION, CLIENT_SECRET, FakeKeyVault, Fault, IDENTITY_HEADER, Seen, TENANT,
};
use crate::tool::{PAIR, Run, Tool, bytes, end};

fn run(tool: &Tool, variables: &[(&str, &str)], arguments: &[&str], stdin: &[u8]) -> Run {
    let mut command = tool.command(arguments);
    command.envs(variables.iter().copied());
    let run = end(command.spawn().unwrap(), stdin);
    assert!(!run.stderr.contains("CANARY"), "{}", run.stderr);
    run
}

/// A fake with the key `k`, and a tool whose directory has its CA and a projected token.
fn start(fake: FakeKeyVault) -> (FakeKeyVault, Tool) {
    fake.key("k");
    let tool = Tool::new();
    tool.write("ca.pem", fake.ca());
    tool.write("token", ASSERTION);
    (fake, tool)
}

fn secret(fake: &FakeKeyVault) -> Vec<(&'static str, String)> {
    vec![
        ("AZURE_TENANT_ID", TENANT.to_owned()),
        ("AZURE_CLIENT_ID", "app".to_owned()),
        ("AZURE_CLIENT_SECRET", CLIENT_SECRET.to_owned()),
        ("AZURE_AUTHORITY_HOST", fake.url()),
    ]
}

fn borrowed<'v>(variables: &'v [(&'static str, String)]) -> Vec<(&'v str, &'v str)> {
    variables
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect()
}

fn uri(fake: &FakeKeyVault) -> String {
    format!(
        "azure-key-vault:{}/keys/k?ca=ca.pem&verify-challenge=off",
        fake.url()
    )
}

#[test]
fn each_credential_works_by_uri_and_by_variables() {
    for fake in [FakeKeyVault::start(), FakeKeyVault::start_hsm()] {
        let algorithm = match fake.shared().state.is_hsm() {
            true => "A256KW",
            false => "RSA-OAEP-256",
        };
        let (fake, tool) = start(fake);
        let mut workload = secret(&fake);
        workload[2] = ("AZURE_FEDERATED_TOKEN_FILE", "token".to_owned());
        let managed = vec![
            ("IDENTITY_ENDPOINT", fake.identity_endpoint()),
            ("IDENTITY_HEADER", IDENTITY_HEADER.to_owned()),
        ];
        let asked = |seen: &[Seen], what: &str| {
            assert!(!seen.is_empty(), "{what}");
            for seen in seen {
                assert!(
                    seen.text.contains(what) || seen.target.contains(what),
                    "{what}: {seen:?}"
                );
            }
        };
        for (credential, variables, shown) in [
            ("secret", secret(&fake), "client_secret="),
            ("workload", workload, "client_assertion="),
            ("managed", managed, "/msi/token"),
        ] {
            // By URI, with the CA by option.
            let uri = format!(
                "{}&algorithm={algorithm}&credential={credential}&refresh=60",
                uri(&fake)
            );
            let seal = ["seal", "--kek", &uri, "--context", PAIR];
            let sealed = run(&tool, &borrowed(&variables), &seal, &bytes(70_000));
            assert_eq!(sealed.code, 0, "{credential}: {}", sealed.stderr);
            let warning =
                "waxseal: warning: what the vault asks a token for is not checked against its address";
            assert!(sealed.stderr.starts_with(warning), "{}", sealed.stderr);
            asked(&fake.asked_for_tokens(), shown);

            // By one variable, with the CA by the usual one; the credential is the one whose variables are there.
            let key = format!("{}/keys/k?verify-challenge=off&algorithm={algorithm}", fake.url());
            let mut by_variable = borrowed(&variables);
            by_variable.extend([
                ("WAXSEAL_KMS_BACKEND", "azure-key-vault"),
                ("WAXSEAL_KMS_KEY_ID", &key),
                ("SSL_CERT_FILE", "ca.pem"),
            ]);
            let opened = run(&tool, &by_variable, &["open", "--context", PAIR], &sealed.stdout);
            assert!(opened.stdout == bytes(70_000), "{credential}: {}", opened.stderr);
            asked(&fake.asked_for_tokens(), shown);

            let wrong = run(
                &tool,
                &by_variable,
                &["open", "--context", "tenant=other"],
                &sealed.stdout,
            );
            assert_eq!((wrong.code, wrong.stdout.len()), (3, 0));
            assert!(wrong.stderr.contains("does not open"), "{}", wrong.stderr);
            fake.asked_for_tokens();
        }
        // The endpoint apart from the key.
        let mut variables = secret(&fake);
        variables.extend([
            ("WAXSEAL_KMS_BACKEND", "azure-key-vault".to_owned()),
            (
                "WAXSEAL_KMS_KEY_ID",
                format!("k?verify-challenge=off&algorithm={algorithm}"),
            ),
            ("WAXSEAL_KMS_ENDPOINT", fake.url()),
            ("SSL_CERT_FILE", "ca.pem".to_owned()),
        ]);
        let sealed = run(&tool, &borrowed(&variables), &["seal"], b"x");
        assert_eq!(sealed.code, 0, "{}", sealed.stderr);
    }
}

#[test]
fn a_file_moves_from_a_local_key_to_a_vault_and_back() {
    let (fake, tool) = start(FakeKeyVault::start());
    let (uri, variables) = (uri(&fake), secret(&fake));
    let variables = borrowed(&variables);
    let local = tool.done(&["seal", "--kek", "env:K", "--context", PAIR], &bytes(70_000));
    let to = ["rewrap", "--kek", "env:K", "--to", &uri, "--context", PAIR];
    // RSA in the place of a symmetric key: only if that is asked for.
    let refused = run(&tool, &variables, &to, &local);
    assert!(
        refused.code != 0 && refused.stderr.contains("weaker class"),
        "{}",
        refused.stderr
    );
    let there = run(
        &tool,
        &variables,
        &[&to[..], &["--allow-weaker"]].concat(),
        &local,
    );
    assert_eq!(there.code, 0, "{}", there.stderr);
    let body = |envelope: &[u8]| {
        envelope[waxseal::Envelope::parse(envelope).unwrap().header().body_offset()..].to_vec()
    };
    assert!(body(&there.stdout) == body(&local));
    // An old row, after a rotation.
    fake.call("POST", "/keys/k/rotate", &json!(null));
    let from = ["rewrap", "--kek", &uri, "--to", "env:NEW", "--context", PAIR];
    let back = run(&tool, &variables, &from, &there.stdout);
    assert_eq!(back.code, 0, "{}", back.stderr);
    assert!(tool.done(&["open", "--kek", "env:NEW", "--context", PAIR], &back.stdout) == bytes(70_000));
}

#[test]
fn what_is_wrong_is_said_with_what_to_set() {
    let (fake, tool) = start(FakeKeyVault::start());
    let (uri, good) = (uri(&fake), secret(&fake));
    let without = |name: &str| {
        let mut variables = good.clone();
        variables.retain(|(of, _)| *of != name);
        variables
    };
    let with = |name: &'static str, value: &str| {
        let mut variables = without(name);
        variables.push((name, value.to_owned()));
        variables
    };
    let by_secret = format!("{uri}&credential=secret");
    for (code, uri, variables, what) in [
        (
            4,
            &uri.replace("&verify-challenge=off", ""),
            good.clone(),
            "verify-challenge=off",
        ),
        (6, &uri.replace("ca=ca.pem&", ""), good.clone(), "SSL_CERT_FILE"),
        (4, &uri.replace("ca.pem", "none.pem"), good.clone(), "none.pem"),
        (
            14,
            &uri.replace("keys/k", "keys/none"),
            good.clone(),
            "no such key",
        ),
        (
            4,
            &format!("{uri}&algorithm=A256KW"),
            good.clone(),
            "algorithm=RSA-OAEP-256",
        ),
        (
            4,
            &by_secret,
            without("AZURE_TENANT_ID"),
            "AZURE_TENANT_ID is not set",
        ),
        (
            4,
            &by_secret,
            without("AZURE_CLIENT_SECRET"),
            "AZURE_CLIENT_SECRET is not set",
        ),
        (
            4,
            &format!("{uri}&credential=workload"),
            good.clone(),
            "AZURE_FEDERATED_TOKEN_FILE is not set",
        ),
        (
            5,
            &uri,
            with("AZURE_CLIENT_SECRET", "CANARY-wrong"),
            "AADSTS7000215",
        ),
        (5, &uri, with("AZURE_CLIENT_ID", "denied"), "access was denied"),
        (
            4,
            &uri,
            with("AZURE_AUTHORITY_HOST", "http://127.0.0.1:1"),
            "AZURE_AUTHORITY_HOST",
        ),
    ] {
        let run = run(&tool, &borrowed(&variables), &["seal", "--kek", uri], b"hello");
        assert_eq!((run.code, run.stdout.len()), (code, 0), "{what}: {}", run.stderr);
        assert!(run.stderr.contains(what), "{what}: {}", run.stderr);
    }
    // For the vault, the option's CA alone is trusted: not the system's, which SSL_CERT_FILE makes up.
    let other = FakeKeyVault::start();
    tool.write("other.pem", other.ca());
    let mut variables = good.clone();
    variables.push(("SSL_CERT_FILE", "ca.pem".to_owned()));
    let only = uri.replace("ca.pem", "other.pem");
    let refused = run(&tool, &borrowed(&variables), &["seal", "--kek", &only], b"hello");
    assert!(
        refused.code == 6 && refused.stderr.contains("certificate"),
        "{}",
        refused.stderr
    );

    let nothing = [("WAXSEAL_KMS_BACKEND", "azure-key-vault")];
    let run = run(&tool, &nothing, &["seal"], b"hello");
    assert!(
        run.code != 0 && run.stderr.contains("WAXSEAL_KMS_KEY_ID"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_vault_that_is_down_is_said_and_found_again() {
    let (fake, tool) = start(FakeKeyVault::start());
    let (uri, variables) = (uri(&fake), secret(&fake));
    let sealed = run(&tool, &borrowed(&variables), &["seal", "--kek", &uri], b"hello");
    let open = ["open", "--kek", &uri];
    fake.set(Fault::Close);
    let down = run(&tool, &borrowed(&variables), &open, &sealed.stdout);
    assert_eq!((down.code, down.stdout.len()), (6, 0));
    assert!(down.stderr.contains("unavailable"), "{}", down.stderr);
    fake.set(Fault::None);
    assert_eq!(
        run(&tool, &borrowed(&variables), &open, &sealed.stdout).stdout,
        b"hello"
    );
}

#[test]
fn doctor_waits_for_the_versions_of_a_key_as_long_as_it_is_told() {
    let (fake, tool) = start(FakeKeyVault::start());
    fake.set_rule(|seen| match seen.path().ends_with("/versions") {
        true => Fault::Hang,
        false => Fault::None,
    });
    let found = run(
        &tool,
        &borrowed(&secret(&fake)),
        &["doctor", "--timeout", "5", "--kek", &uri(&fake)],
        b"",
    );
    let table = String::from_utf8(found.stdout).unwrap();
    assert_eq!(found.code, 10, "{table}{}", found.stderr);
    assert_eq!(table.matches("works").count(), 2, "{table}");
    assert!(
        table.contains("its state cannot be told: no answer within --timeout"),
        "{table}"
    );
}

#[test]
fn doctor_says_whether_keys_and_versions_work() {
    let (fake, tool) = start(FakeKeyVault::start());
    let (good, variables) = (uri(&fake), secret(&fake));
    let found = run(&tool, &borrowed(&variables), &["doctor", "--kek", &good], b"");
    let table = String::from_utf8(found.stdout).unwrap();
    assert_eq!(found.code, 0, "{table}{}", found.stderr);
    let line = table.lines().nth(1).unwrap();
    assert!(
        line.matches("works").count() == 2 && line.contains("enabled"),
        "{table}"
    );
    assert!(line.contains("https://fake.vault.azure.net/keys/k"), "{table}");

    let old = fake.version("k");
    fake.call("POST", "/keys/k/rotate", &json!(null));
    fake.set_enabled("k", &old, false);
    let bad = good.replace("keys/k", "keys/none");
    let found = run(
        &tool,
        &borrowed(&variables),
        &["doctor", "--kek", &good, "--kek", &bad],
        b"",
    );
    let table = String::from_utf8(found.stdout).unwrap();
    assert_eq!(found.code, 10, "{table}");
    let old = table.lines().find(|line| line.contains(&old)).unwrap();
    assert!(old.contains("disabled"), "{table}");
    assert!(
        table.contains("/keys/none: the key manager has no such key"),
        "{table}"
    );
}
