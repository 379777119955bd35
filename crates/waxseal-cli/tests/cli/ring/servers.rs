//! Rings with keys in a server, and in a database.

use super::*;

/// In an OpenBao server: versions are proven there, so a successor is a version of the same key.
#[cfg(feature = "vault-transit")]
#[test]
fn a_key_of_a_server_is_rotated_by_versions() {
    use crate::servers::{address, unique, variable};
    let Some(address) = address("openbao") else { return };
    let token = variable("WAXSEAL_TEST_OPENBAO_TOKEN").unwrap();
    let host = address.strip_prefix("http://").unwrap();
    let post = |path: &str, body: &str| {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(host).unwrap();
        write!(
            stream,
            "POST /v1/{path} HTTP/1.1\r\nHost: {host}\r\nX-Vault-Token: {token}\r\nConnection: close\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
    };
    // Refused where the server has it already.
    post("sys/mounts/transit", r#"{"type":"transit"}"#);
    let name = unique("ring");
    post(&format!("transit/keys/{name}"), "{}");
    let uri = format!("vault-transit:{name}");
    let ring = Ring::none();
    let variables = [("VAULT_ADDR", address.as_str()), ("VAULT_TOKEN", &token)];
    let json = |arguments: &[&str]| {
        let run = ring
            .0
            .run_with(&variables, &[arguments, &["--json"]].concat(), b"");
        assert_eq!(run.code, 0, "{arguments:?}: {}", run.stderr);
        of_json(&run.stdout)
    };
    json(&["ring", "init", "--overlap", "PT0S", "--allow", &uri]);
    let made = json(&["keys", "create", "--scope", "/", "--kek", &uri]);
    let first = text(&made["moves"][0]["key"]);
    fs::create_dir(ring.0.path("data")).unwrap();
    ring.0.write("plain", "alice");
    let seal = [
        &["seal", "--ring", "ring.toml"],
        &CONTEXT[..],
        &["-o", "data/a.wax", "plain"],
    ]
    .concat();
    assert_eq!(ring.0.run_with(&variables, &seal, b"").code, 0);
    let rotated = json(&["keys", "rotate", &first, "--reason", "test"]);
    assert_eq!(rotated["rotated"][0]["state"], "active", "{rotated}");
    let list = json(&["keys", "list"]);
    let versions: Vec<String> = list["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| text(&key["kek"]["version"]))
        .collect();
    assert_eq!(versions, ["1", "2"]);
    // Each version is listed once: in the row of its key, or below the first row if the ring does not have it.
    post(&format!("transit/keys/{name}/rotate"), "{}");
    let doctor = json(&["doctor", "--ring", "ring.toml"]);
    let mut listed: Vec<String> = Vec::new();
    for key in doctor["keys"].as_array().unwrap() {
        assert_eq!(key["state"], "enabled", "{doctor}");
        listed.push(text(&key["kek"]["version"]));
        let more = key["versions"].as_array().unwrap().iter();
        listed.extend(more.map(|version| text(&version["kek"]["version"])));
    }
    listed.sort();
    assert_eq!(listed, ["1", "2", "3"], "{doctor}");
    let rewrap = [
        &["rewrap", "--ring", "ring.toml", "--in-place"],
        &CONTEXT[..],
        &["data/a.wax"],
    ]
    .concat();
    assert_eq!(ring.0.run_with(&variables, &rewrap, b"").code, 0);
    let census = json(&["census", "data", "--receipt", "receipt.json"]);
    let counts: Vec<u64> = census["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|count| count["items"].as_u64().unwrap())
        .collect();
    assert_eq!(counts, [0, 1]);
    let open = [&["open", "--ring", "ring.toml"], &CONTEXT[..], &["data/a.wax"]].concat();
    assert_eq!(ring.0.run_with(&variables, &open, b"").stdout, b"alice");
    assert_eq!(json(&["ring", "check"])["good"], true);
}

/// In PostgreSQL, with two rings in one database.
#[cfg(feature = "postgres")]
#[test]
fn a_ring_in_postgresql() {
    use crate::servers::{address, unique};
    let Some(url) = address("postgres") else { return };
    let ring = Ring::none();
    let variables = [("DATABASE_URL", url.as_str())];
    let run = |arguments: &[&str]| ring.0.run_with(&variables, arguments, b"");
    for name in ["one.toml", "two.toml"] {
        let store = format!("postgres-env:DATABASE_URL/{}", unique("cli"));
        let init = run(&["ring", "init", "--ring", name, "--store", &store]);
        assert_eq!(init.code, 0, "{}", init.stderr);
        let create = run(&["keys", "create", "--ring", name, "--scope", "/", "--kek", "local"]);
        assert_eq!(create.code, 0, "{}", create.stderr);
        ring.0.write("plain", "alice");
        let seal = [&["seal", "--ring", name], &CONTEXT[..], &["-o", "a.wax", "plain"]].concat();
        assert_eq!(run(&seal).code, 0);
        let open = [&["open", "--ring", name], &CONTEXT[..], &["a.wax"]].concat();
        assert_eq!(run(&open).stdout, b"alice");
        assert_eq!(run(&["ring", "check", "--ring", name]).code, 0);
        assert!(
            !fs::read_to_string(ring.0.path(name))
                .unwrap()
                .contains("postgres://")
        );
    }
    // The variable is not set.
    let said = ring.fails(4, &["ring", "status", "--ring", "one.toml"]);
    assert!(said.contains("DATABASE_URL"), "{said}");
}
