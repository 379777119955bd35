//! One rule says what goes by a proxy. The variables are those of a process, so each line of the table has one of its own.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::Command;
use std::sync::{Arc, Mutex};

use super::{BACKENDS, at, refused};
use crate::own_server::free_port;

/// Names the URL to ask, in a process of its own.
const URL: &str = "WAXSEAL_TEST_BY_PROXY";

/// A proxy that remembers whom it was asked for, and refuses.
fn proxy() -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, seen) = (
        listener.local_addr().unwrap().port(),
        Arc::new(Mutex::new(Vec::new())),
    );
    let kept = Arc::clone(&seen);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut first = String::new();
            let _ = BufReader::new(&stream).read_line(&mut first);
            kept.lock().unwrap().push(first.trim().to_owned());
            let _ = stream.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
        }
    });
    (port, seen)
}

/// What each backend says in a process with these variables, a line for each.
fn said(url: &str, variables: &[(&str, String)]) -> Vec<String> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([
        "--exact",
        "network::proxies::asks_in_a_process_of_its_own",
        "--nocapture",
    ]);
    for name in [
        "HTTPS_PROXY",
        "https_proxy",
        "HTTP_PROXY",
        "http_proxy",
        "ALL_PROXY",
        "all_proxy",
        "NO_PROXY",
        "no_proxy",
    ] {
        command.env_remove(name);
    }
    let done = command
        .env(URL, url)
        .envs(variables.iter().cloned())
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&done.stdout);
    assert!(
        done.status.success(),
        "{out}{}",
        String::from_utf8_lossy(&done.stderr)
    );
    let lines: Vec<_> = out
        .lines()
        .filter(|line| line.starts_with("said "))
        .map(str::to_owned)
        .collect();
    assert_eq!(lines.len(), BACKENDS.len(), "{out}");
    lines
}

#[test]
fn asks_in_a_process_of_its_own() {
    let Ok(url) = std::env::var(URL) else { return };
    for backend in BACKENDS {
        match at(backend, &url) {
            Ok(manager) => println!("said {backend}: {}", refused(&manager)),
            Err(error) => println!("said {backend}: {error}"),
        }
    }
}

#[test]
fn https_goes_by_the_proxy_unless_it_is_excepted() {
    let host = "kms.waxseal.invalid";
    for (name, except, expected) in [
        ("HTTPS_PROXY", None, true),
        ("https_proxy", None, true),
        ("HTTPS_PROXY", Some(("NO_PROXY", "*")), false),
        ("https_proxy", Some(("no_proxy", "waxseal.invalid")), false),
        ("HTTPS_PROXY", Some(("NO_PROXY", ".example.com,10.0.0.0/8")), true),
        ("HTTP_PROXY", None, false),
    ] {
        let (port, seen) = proxy();
        let mut variables = vec![(name, format!("http://user:CANARY@127.0.0.1:{port}"))];
        variables.extend(except.map(|(name, hosts)| (name, hosts.to_owned())));
        let lines = said(&format!("https://{host}"), &variables);
        let seen = std::mem::take(&mut *seen.lock().unwrap());
        for line in &lines {
            assert!(!line.contains("CANARY"), "{line}");
            assert_eq!(
                line.contains(&format!("127.0.0.1:{port}")),
                expected,
                "{variables:?}: {line}"
            );
            assert_eq!(
                line.contains("the host is unknown"),
                !expected,
                "{variables:?}: {line}"
            );
        }
        let asked = format!("CONNECT {host}:443 HTTP/1.1");
        assert_eq!(
            seen.iter().filter(|line| **line == asked).count(),
            if expected { 4 } else { 0 },
            "{seen:?}"
        );
        assert!(seen.iter().all(|line| *line == asked), "{seen:?}");
    }
}

#[test]
fn neither_plain_http_nor_what_is_near_goes_by_a_proxy() {
    let near = free_port();
    for url in [
        format!("https://127.0.0.1:{near}"),
        format!("https://localhost:{near}"),
        format!("http://127.0.0.1:{near}"),
    ] {
        let (port, seen) = proxy();
        let all = ["HTTPS_PROXY", "HTTP_PROXY"].map(|name| (name, format!("http://127.0.0.1:{port}")));
        let lines = said(&url, &all);
        let seen = seen.lock().unwrap().clone();
        println!("{url}: {seen:?} {lines:?}");
        assert!(seen.is_empty(), "{url}: {seen:?} {lines:?}");
    }
}

#[test]
fn a_proxy_that_is_not_there_is_named() {
    let port = free_port();
    for line in said(
        "https://kms.waxseal.invalid",
        &[("HTTPS_PROXY", format!("http://u:CANARY@127.0.0.1:{port}"))],
    ) {
        assert!(
            line.contains(&format!("the proxy 127.0.0.1:{port} (from HTTPS_PROXY)")),
            "{line}"
        );
        assert!(line.contains("refused") && !line.contains("CANARY"), "{line}");
    }
}
