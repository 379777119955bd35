//! As much of HTTP/1.1 as clients of the REST interface need, over TLS or not.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

use super::{Fault, Shared, rest};

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// To the vault, not to what gives tokens.
    pub(crate) is_vault: bool,
    pub(crate) method: String,
    pub(crate) target: String,
    /// By name in lower case.
    pub(crate) headers: HashMap<String, String>,
    pub(crate) text: String,
    pub(crate) body: Value,
}

impl Seen {
    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap()
    }
}

pub(super) fn listen(listener: &TcpListener, tls: Option<&Arc<ServerConfig>>, shared: &Arc<Mutex<Shared>>) {
    for stream in listener.incoming() {
        if shared.lock().unwrap().is_over {
            return;
        }
        let (Ok(stream), false) = (stream, shared.lock().unwrap().is_down) else {
            continue;
        };
        let (shared, tls) = (Arc::clone(shared), tls.cloned());
        std::thread::spawn(move || {
            // Nobody waits for the fake for longer than this.
            let _ = stream.set_read_timeout(Some(Duration::from_secs(60)));
            let _ = stream.set_nodelay(true);
            let plain = stream.try_clone();
            // A client that goes away is none of the fake's business.
            let _ = match tls {
                Some(config) => {
                    let connection = ServerConnection::new(config).unwrap();
                    serve(StreamOwned::new(connection, stream), &shared, false)
                }
                None => serve(stream, &shared, true),
            };
            if let Ok(plain) = plain {
                let _ = TcpStream::shutdown(&plain, Shutdown::Both);
            }
        });
    }
}

fn serve(stream: impl Read + Write, shared: &Mutex<Shared>, is_machine: bool) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(mut seen) = read(&mut stream)? {
        let path = seen.path().to_owned();
        seen.is_vault = !is_machine && ["/keys", "/deletedkeys"].iter().any(|of| path.starts_with(of));
        let fault = {
            let mut shared = shared.lock().unwrap();
            if shared.is_down {
                return Ok(());
            }
            shared.seen.push(seen.clone());
            (shared.rule)(&seen)
        };
        match &fault {
            Fault::Close => return Ok(()),
            Fault::Hang => {
                // Until the client gives up.
                let _ = stream.read(&mut [0])?;
                return Ok(());
            }
            Fault::Answer(status, headers, body) => {
                stream.get_mut().write_all(&format(*status, headers, body))?;
                stream.get_mut().flush()?;
                continue;
            }
            Fault::None | Fault::Cut(_) | Fault::Change(_) => {}
        }
        let (status, headers, mut body) = answer(&mut shared.lock().unwrap(), &seen, is_machine);
        if let Fault::Change(change) = fault {
            change(&mut body);
        }
        let mut bytes = format(status, &headers, &body.to_string());
        let whole = bytes.len();
        if let Fault::Cut(less) = fault {
            bytes.truncate(whole.saturating_sub(less));
        }
        stream.get_mut().write_all(&bytes)?;
        stream.get_mut().flush()?;
        if bytes.len() < whole {
            return Ok(());
        }
    }
    Ok(())
}

fn answer(shared: &mut Shared, seen: &Seen, is_machine: bool) -> (u16, String, Value) {
    if is_machine {
        let (status, body) = shared.tokens.machine(seen);
        return (status, String::new(), body);
    }
    if seen.path() == "/healthz" {
        return (200, String::new(), Value::from("well"));
    }
    if !seen.is_vault {
        let (status, body) = shared.tokens.entra(seen);
        return (status, String::new(), body);
    }
    match shared.tokens.refusal(seen) {
        Some((401, body)) => (401, shared.tokens.challenge(), body),
        Some((status, body)) => (status, String::new(), body),
        None => {
            let (status, body) = rest::answer(&mut shared.state, &seen.method, &seen.target, &seen.body);
            (status, String::new(), body)
        }
    }
}

fn format(status: u16, headers: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json; charset=utf-8\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn read(reader: &mut impl BufRead) -> std::io::Result<Option<Seen>> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut parts = line.split(' ');
    let (Some(method), Some(target)) = (parts.next(), parts.next()) else {
        return Ok(None);
    };
    let (method, target) = (method.to_owned(), target.to_owned());
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers
        .get("content-length")
        .and_then(|length| length.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body)?;
    Ok(Some(Seen {
        is_vault: false,
        method,
        target,
        headers,
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
        text: String::from_utf8(body).unwrap_or_default(),
    }))
}
