//! `page`: what it serves and to whom, and what a browser makes of it.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Stdio};

use super::evidence::python;
use super::*;

const BROWSER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/interop/page_browser.py");
/// A name that is a script wherever it is not escaped.
const SCRIPT: &str = "<script>alert(1)</script>";

/// The command, until it is dropped.
struct Served {
    child: Child,
    url: String,
}

impl Served {
    fn of(ring: &Ring, arguments: &[&str]) -> Self {
        let mut command = ring.0.command(&[&["page", "--json"], arguments].concat());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(said["command"], "page", "{line}");
        Self {
            child,
            url: text(&said["url"]),
        }
    }

    /// Asks for a path with these headers, and returns the status and the answer.
    fn ask(&self, path: &str, headers: &[&str]) -> (u16, String) {
        let address = self.url.trim_start_matches("http://").trim_end_matches('/');
        let mut stream = TcpStream::connect(address).unwrap();
        let has_host = headers.iter().any(|header| header.starts_with("Host:"));
        let host = if has_host {
            String::new()
        } else {
            format!("Host: {address}\r\n")
        };
        let more: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\n{host}{more}Connection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer)
    }

    fn shown(&self, path: &str) -> String {
        let (status, answer) = self.ask(path, &[]);
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// A ring with a history, two logs and a census.
fn with_history() -> (Ring, String) {
    let ring = Ring::none();
    ring.json(&[
        "ring",
        "init",
        "--scope-template",
        "tenant/{tenant}",
        "--log",
        "log",
    ]);
    let scope = format!("tenant/{SCRIPT}");
    for scope in ["tenant/acme", &scope] {
        ring.json(&[
            "keys", "create", "--scope", scope, "--kek", "local", "--log", "log",
        ]);
    }
    ring.0.write("plain", b"a letter");
    let seal = [
        "seal",
        "--ring",
        "ring.toml",
        "--log",
        "log",
        "--actor",
        SCRIPT,
        "--context",
        "tenant=acme",
        "plain",
        "-o",
        "letter.wax",
    ];
    assert_eq!(ring.run(&seal).code, 0);
    let rotated = ring.json(&[
        "keys",
        "rotate",
        "--scope",
        "tenant/acme",
        "--reason",
        SCRIPT,
        "--log",
        "log",
    ]);
    let old = text(
        &ring.json(&["keys", "list", "--scope", "tenant/acme", "--state", "deprecated"])["keys"][0]["id"],
    );
    assert_ne!(rotated, Value::Null);
    let open = [
        "open",
        "--ring",
        "ring.toml",
        "--log",
        "other-log",
        "--context",
        "tenant=acme",
        "letter.wax",
    ];
    assert_eq!(ring.run(&open).code, 0);
    ring.json(&["census", "--receipt", "receipt.json", "letter.wax"]);
    (ring, old)
}

const SHOWN: [&str; 6] = ["--log", "log", "--log", "other-log", "--receipt", "receipt.json"];

#[test]
fn it_shows_the_ring_its_logs_and_what_is_left() {
    let (ring, old) = with_history();
    let page = Served::of(&ring, &SHOWN);
    let overview = page.shown("/");
    assert!(
        overview.contains("3 keys in 2 scopes") && overview.contains("1 envelope, "),
        "{overview}"
    );
    let keys = page.shown("/keys?state=deprecated");
    assert!(keys.contains(&old) && keys.contains("<p>1 key</p>"), "{keys}");
    let key = page.shown(&format!("/keys/{old}"));
    for part in [
        "tenant/acme",
        "active → ",
        "generate",
        "unwrap",
        "which verifies",
        "1 envelope that no other key opens",
    ] {
        assert!(key.contains(part), "{part}: {key}");
    }
    let left = page.shown("/left");
    assert!(left.contains(&old) && left.contains("Would be lost"), "{left}");
    let events = page.shown("/events?log=0&outcome=success");
    assert!(events.contains("generate"), "{events}");
    let refused = page.shown("/events?log=0&outcome=refused");
    assert!(
        refused.contains("No event like that") && !refused.contains("generate"),
        "{refused}"
    );
    let opened = page.shown(&format!("/events?log=1&key={old}"));
    assert!(
        opened.contains("unwrap") && !opened.contains("generate"),
        "{opened}"
    );
    let health = page.shown("/health");
    assert_eq!(
        health.matches("The log is whole and unchanged").count(),
        2,
        "{health}"
    );
    assert!(page.shown("/due").contains("retirement"));
    for (path, status) in [
        ("/nowhere", 404),
        ("/keys/no-id", 404),
        ("/keys/01a21f6b-7ac9-7f31-9c81-00819bf1d99e", 404),
        ("/events?log=7", 404),
    ] {
        assert_eq!(page.ask(path, &[]).0, status, "{path}");
    }
    let wrong = page.shown("/events?from=yesterday");
    assert!(wrong.contains("RFC 3339"), "{wrong}");
}

#[test]
fn the_commands_that_it_tells_are_commands() {
    let empty = Ring::new();
    let page = Served::of(&empty, &[]);
    let mut told = 0;
    for path in ["/", "/keys", "/due", "/left", "/events", "/health"] {
        let shown = page.shown(path);
        let code = shown
            .split("<code>")
            .skip(1)
            .filter_map(|rest| rest.split("</code>").next());
        for line in code
            .flat_map(str::lines)
            .filter(|line| line.starts_with("waxseal "))
        {
            // Options that are not there are refused before help is printed.
            let arguments: Vec<&str> = line.split(' ').skip(1).chain(["--help"]).collect();
            assert_eq!(empty.run(&arguments).code, 0, "{path}: {line}");
            told += 1;
        }
    }
    assert!(told >= 5, "{told}");
    assert_ne!(empty.run(&["census", "--signer", "census.key", "--help"]).code, 0);
}

#[test]
fn counts_lead_to_as_many_keys_and_tables_are_sorted_as_they_say() {
    let (ring, old) = with_history();
    for scope in ["ten", "tenants"] {
        ring.json(&["keys", "create", "--scope", scope, "--kek", "local"]);
    }
    let page = Served::of(&ring, &SHOWN);
    let overview = page.shown("/");
    let mut counts = 0;
    for rest in overview.split("<a href=\"/keys?").skip(1) {
        let (query, rest) = rest.split_once("\">").unwrap();
        let count = rest.split_once("</a>").unwrap().0;
        let list = page.shown(&format!("/keys?{}", query.replace("&amp;", "&")));
        let said = if count == "1" {
            "<p>1 key</p>".to_owned()
        } else {
            format!("<p>{count} keys</p>")
        };
        assert!(list.contains(&said), "{query}: {count}: {list}");
        counts += 1;
    }
    assert!(counts >= 6, "{counts}: {overview}");
    for (path, sorted) in [
        ("/keys?sort=objects", "descending"),
        ("/keys?sort=objects&order=reversed", "ascending"),
        ("/due", "ascending"),
        ("/due?sort=scope&order=reversed", "descending"),
        ("/left?sort=bytes", "descending"),
        ("/events", "descending"),
        ("/events?sort=who", "ascending"),
    ] {
        let shown = page.shown(path);
        assert!(
            shown.contains(&format!("aria-sort=\"{sorted}\"")),
            "{path}: {shown}"
        );
    }
    // What is told of the second log leads to the second log.
    let key = page.shown(&format!("/keys/{old}"));
    let second = key.split_once("other-log").unwrap().1;
    let actors = second.split("/events?actor=").skip(1);
    let logs: Vec<_> = actors
        .map(|rest| rest.split('"').next().unwrap().ends_with("&amp;log=1"))
        .collect();
    assert!(
        !logs.is_empty() && logs.iter().all(|is_second| *is_second),
        "{second}"
    );
}

#[test]
fn nothing_of_a_ring_or_a_log_is_markup() {
    let (ring, old) = with_history();
    let page = Served::of(&ring, &SHOWN);
    let script = "%3Cscript%3Ealert(1)%3C/script%3E";
    let mut escaped = 0;
    for path in [
        "/",
        "/keys",
        "/due",
        "/left",
        "/events",
        "/health",
        &format!("/keys/{old}"),
        &format!("/keys/{script}"),
        &format!("/{script}"),
        &format!("/keys?scope=%22%3E{script}&sort={script}&algorithm={script}"),
        &format!("/events?key={script}&actor={script}&from={script}"),
    ] {
        let (_, answer) = page.ask(path, &[]);
        assert!(!answer.contains("<script"), "{path}: {answer}");
        assert!(answer.contains("default-src 'none'"), "{path}: {answer}");
        escaped += answer.matches("&lt;script&gt;").count();
    }
    assert!(escaped > 5, "{escaped}");
}

#[test]
fn what_does_not_verify_is_said_and_the_rest_is_shown() {
    let (ring, old) = with_history();
    ring.0.shell(
        "for tile in log/tile/entries/000.p/*; do printf x | dd of=$tile bs=1 seek=40 conv=notrunc; done",
    );
    let page = Served::of(&ring, &SHOWN);
    let health = page.shown("/health");
    assert_eq!(
        health.matches("The log is whole and unchanged").count(),
        1,
        "{health}"
    );
    assert!(page.shown("/").contains("1 audit log cannot be believed"));
    assert!(
        page.shown(&format!("/keys/{old}"))
            .contains("which does not verify")
    );
}

#[test]
fn only_whoever_is_on_this_machine_or_has_the_token_sees_it() {
    let (ring, _) = Ring::with_key();
    let page = Served::of(&ring, &[]);
    let port = page
        .url
        .trim_end_matches('/')
        .rsplit(':')
        .next()
        .unwrap()
        .to_owned();
    for (host, status) in [
        (format!("Host: localhost:{port}"), 200),
        ("Host: 127.0.0.1".to_owned(), 200),
        (format!("Host: [::1]:{port}"), 200),
        ("Host: rebound.example".to_owned(), 421),
        (format!("Host: 127.0.0.1.rebound.example:{port}"), 421),
        ("Host: 10.0.0.1".to_owned(), 421),
        ("Host: ".to_owned(), 421),
    ] {
        assert_eq!(page.ask("/", &[&host]).0, status, "{host}");
    }
    drop(page);
    let refused = ring.fails(2, &["page", "--listen", "0.0.0.0:0"]);
    assert!(refused.contains("--token-file"), "{refused}");
    ring.0.write_private("short", "123456");
    let refused = ring.fails(2, &["page", "--token-file", "short"]);
    assert!(refused.contains("22 to 512"), "{refused}");
    ring.0.write("shared", "0123456789abcdef0123456789");
    ring.0.set_mode("shared", 0o644);
    let refused = ring.fails(2, &["page", "--token-file", "shared"]);
    assert!(
        refused.contains("shared") && !refused.contains("0123456789abcdef"),
        "{refused}"
    );
    ring.0.write_private("token", "0123456789abcdef0123456789\n");
    for listen in ["127.0.0.1:0", "0.0.0.0:0"] {
        let mut page = Served::of(&ring, &["--token-file", "token", "--listen", listen]);
        page.url = page.url.replace("0.0.0.0", "127.0.0.1");
        let basic = |text: &str| format!("Authorization: Basic {}", base64(text));
        for (header, status) in [
            ("Authorization: Bearer 0123456789abcdef0123456789".to_owned(), 200),
            (basic("anybody:0123456789abcdef0123456789"), 200),
            ("Authorization: Bearer 0123456789abcdef012345678".to_owned(), 401),
            (
                "Authorization: Bearer 0123456789abcdef01234567890".to_owned(),
                401,
            ),
            ("Authorization: Bearer ".to_owned(), 401),
            ("Authorization: Basic !".to_owned(), 401),
            (basic("0123456789abcdef0123456789"), 401),
            ("Host: rebound.example".to_owned(), 401),
        ] {
            assert_eq!(page.ask("/", &[&header]).0, status, "{header}");
        }
        let (status, answer) = page.ask("/style.css", &[]);
        assert!(
            status == 401 && answer.contains("WWW-Authenticate: Basic")
                || answer.contains("www-authenticate: Basic"),
            "{answer}"
        );
    }
}

fn base64(text: &str) -> String {
    use base64ct::{Base64, Encoding};
    Base64::encode_string(text.as_bytes())
}

#[test]
fn mistakes_are_said_before_it_serves() {
    let (ring, _) = Ring::with_key();
    ring.fails(2, &["page", "--listen", "localhost"]);
    let said = ring.fails(9, &["page", "--log", "no-log"]);
    assert!(said.contains("no-log"), "{said}");
    let said = ring.fails(2, &["page", "--log-key", "x"]);
    assert!(said.contains("--log-key"), "{said}");
    ring.fails(4, &["page", "--ring", "other.toml"]);
}

/// The browser, if there is one.
fn look(page: &Served, paths: &[&str]) {
    let named = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let (Some(driver), Some(axe)) = (named("WAXSEAL_TEST_CHROMEDRIVER"), named("WAXSEAL_TEST_AXE")) else {
        let reason = "WAXSEAL_TEST_CHROMEDRIVER is not set; run scripts/services up chromium";
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{reason}");
        println!("skipped: {reason}");
        return;
    };
    let own = tempfile::tempdir().unwrap();
    let pictures = named("WAXSEAL_WRITE_PICTURES").filter(|_| !paths.is_empty());
    let pictures = pictures.unwrap_or_else(|| own.path().to_str().unwrap().to_owned());
    let arguments = [&[BROWSER, &driver, &axe, &page.url, &pictures][..], paths].concat();
    let Some(python) = python() else { return };
    let run = python(&arguments, b"");
    assert_eq!(run.code, 0, "{}", run.stderr);
    let seen: Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(seen["views"].as_array().unwrap().len(), 6, "{seen}");
}

#[test]
fn a_browser_finds_nothing_wrong_with_it() {
    let (ring, old) = with_history();
    let page = Served::of(&ring, &SHOWN);
    let key = format!("/keys/{old}");
    look(&page, &[&key, "/keys?sort=state", "/events?outcome=refused"]);
}

#[test]
fn a_browser_finds_nothing_wrong_with_a_ring_without_keys() {
    let ring = Ring::new();
    look(&Served::of(&ring, &[]), &[]);
}
