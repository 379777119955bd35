//! As much of HTTP/1.1 as a client of the REST interface needs: one request a connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::{Fault, Shared, rest};

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) authorization: Option<String>,
    pub(crate) body: Value,
}

pub(super) fn listen(listener: &TcpListener, shared: &Arc<Mutex<Shared>>) {
    for stream in listener.incoming() {
        if shared.lock().unwrap().is_over {
            return;
        }
        if let Ok(stream) = stream {
            let shared = Arc::clone(shared);
            std::thread::spawn(move || {
                // A client that goes away is none of the fake's business.
                let _ = serve(&stream, &shared);
                let _ = stream.shutdown(Shutdown::Both);
            });
        }
    }
}

fn serve(mut stream: &TcpStream, shared: &Mutex<Shared>) -> std::io::Result<()> {
    let Some(mut seen) = read(stream)? else {
        return Ok(());
    };
    let fault = {
        let mut shared = shared.lock().unwrap();
        shared.seen.push(seen.clone());
        (shared.rule)(&seen)
    };
    if let Fault::ChangeRequest(change) = &fault {
        change(&mut seen.body);
    }
    let (status, mut body) = authorize(shared, &seen).unwrap_or_else(|| {
        rest::answer(
            &mut shared.lock().unwrap().state,
            &seen.method,
            &seen.target,
            &seen.body,
        )
    });
    if let Fault::Change(change) = fault {
        change(&mut body);
    }
    stream.write_all(&format(status, &body.to_string()))
}

fn authorize(shared: &Mutex<Shared>, seen: &Seen) -> Option<(u16, Value)> {
    let token = shared.lock().unwrap().token.clone()?;
    let shown = seen
        .authorization
        .as_deref()
        .and_then(|shown| shown.strip_prefix("Bearer "));
    match shown {
        Some(shown) if shown == token => None,
        Some(shown) if shown.starts_with("denied") => Some(rest::error("PERMISSION_DENIED", json!([]))),
        _ => Some(rest::error("UNAUTHENTICATED", json!([]))),
    }
}

fn format(status: u16, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json; charset=UTF-8\r\ncontent-length: {}\r\nconnection: \
         close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn read(stream: &TcpStream) -> std::io::Result<Option<Seen>> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut parts = line.split(' ');
    let (Some(method), Some(target)) = (parts.next(), parts.next()) else {
        return Ok(None);
    };
    let (method, target) = (method.to_owned(), target.to_owned());
    let (mut length, mut authorization) = (0, None);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap_or(0),
            "authorization" => authorization = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some(Seen {
        method,
        target,
        authorization,
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    }))
}
