//! An error says where, at which step and why a connection failed.

use std::io::{Read, Write};
use std::net::TcpListener;

use waxseal::ErrorKind;

use super::{BACKENDS, at, connect, refused};
use crate::fault_proxy::Certified;
use crate::own_server::free_port;

/// What answers each connection with these bytes, for as long as the process lives.
fn answering(bytes: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut first = [0; 1024];
            let _ = stream.read(&mut first);
            let _ = stream.write_all(bytes);
        }
    });
    port
}

#[test]
fn each_failure_is_named_by_address_step_and_cause() {
    let certified = Certified::new("http://127.0.0.1:1");
    let another = certified
        .bad
        .iter()
        .find(|(what, _)| *what == "another CA's")
        .map(|(_, proxy)| proxy.url())
        .unwrap();
    let closed = free_port();
    let plain = answering(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    let nonsense = answering(b"\x15\x03\x01\x00\x02\x02\x16");
    for (url, words, kind, retryable) in [
        (
            format!("https://127.0.0.1:{closed}"),
            [
                format!("127.0.0.1:{closed}"),
                "connecting".into(),
                "refused".into(),
            ],
            ErrorKind::Unavailable,
            true,
        ),
        (
            "https://kms.waxseal.invalid".to_owned(),
            [
                "kms.waxseal.invalid:443".into(),
                "resolving".into(),
                "unknown".into(),
            ],
            ErrorKind::Unavailable,
            true,
        ),
        (
            format!("https://127.0.0.1:{plain}"),
            [
                format!("127.0.0.1:{plain}"),
                "TLS with".into(),
                "does not speak TLS".into(),
            ],
            ErrorKind::Unavailable,
            false,
        ),
        (
            another,
            ["127.0.0.1:".into(), "TLS with".into(), "unknown issuer".into()],
            ErrorKind::Unavailable,
            false,
        ),
        (
            format!("http://127.0.0.1:{nonsense}"),
            [
                format!("127.0.0.1:{nonsense}"),
                "HTTP with".into(),
                "does not speak HTTP".into(),
            ],
            ErrorKind::Unavailable,
            true,
        ),
    ] {
        for backend in BACKENDS {
            if backend == "azure" && url.starts_with("http://") {
                // Refused before any call.
                assert_eq!(at(backend, &url).unwrap_err().kind(), ErrorKind::Configuration);
                continue;
            }
            let error = refused(&at(backend, &url).unwrap());
            let shown = error.to_string();
            assert!(
                words.iter().all(|word| shown.contains(word)),
                "{backend} {url}: {shown}"
            );
            assert_eq!(
                (error.kind(), error.is_retryable()),
                (kind, retryable),
                "{backend} {url}: {shown}"
            );
        }
    }
}

#[test]
fn who_did_not_answer_in_time_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    for backend in BACKENDS {
        let short = std::time::Duration::from_millis(300);
        let error = refused(&connect(backend, &format!("https://{address}"), short).unwrap());
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{backend}: {error}");
        assert!(error.to_string().contains(&address), "{backend}: {error}");
    }
}
