//! A small TCP proxy that sees every request, and can be told to fail in the ways a network does.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// What to do with the next requests.
#[derive(Clone, Debug)]
pub(crate) enum Mode {
    /// Ask the server behind, and give its answer.
    Forward,
    /// Take the request and never answer.
    Hang,
    /// Close the connection without an answer.
    Close,
    /// Give the server's answer up to this many bytes before its end, and close.
    Cut(usize),
    /// Give the answer but for its last bytes, and then nothing more.
    Stall(usize),
    /// Give this status, and this body.
    Answer(u16, String),
    /// The same to this operation only.
    AnswerTo(&'static str, u16, String),
}

#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    upstream: String,
    mode: Mutex<Mode>,
    seen: Mutex<Vec<(String, serde_json::Value)>>,
    hung: Mutex<Vec<TcpStream>>,
    is_down: Mutex<bool>,
}

impl Proxy {
    /// In front of a server; of none where every answer is given by [`Mode::Answer`].
    pub(crate) fn new(upstream: &str) -> Self {
        let shared = Arc::new(Shared {
            upstream: upstream.trim_start_matches("http://").to_owned(),
            mode: Mutex::new(Mode::Forward),
            seen: Mutex::default(),
            hung: Mutex::default(),
            is_down: Mutex::new(false),
        });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let accepting = Some(accept(listener, Arc::clone(&shared)));
        Self {
            address,
            shared,
            accepting,
        }
    }

    pub(crate) fn answering(status: u16, body: &str) -> Self {
        let proxy = Self::new("");
        proxy.set(Mode::Answer(status, body.to_owned()));
        proxy
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn set(&self, mode: Mode) {
        *self.shared.mode.lock().unwrap() = mode;
    }

    /// Every request so far: the operation and its parameters.
    pub(crate) fn seen(&self) -> Vec<(String, serde_json::Value)> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// Refuses connections from now on.
    pub(crate) fn take_down(&mut self) {
        *self.shared.is_down.lock().unwrap() = true;
        // Wakes whoever accepts.
        drop(TcpStream::connect(self.address));
        if let Some(accepting) = self.accepting.take() {
            accepting.join().unwrap();
        }
    }

    /// Listens again, where it did before.
    pub(crate) fn bring_up(&mut self) {
        *self.shared.is_down.lock().unwrap() = false;
        let listener = TcpListener::bind(self.address).unwrap();
        self.accepting = Some(accept(listener, Arc::clone(&self.shared)));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.take_down();
    }
}

fn accept(listener: TcpListener, shared: Arc<Shared>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            if *shared.is_down.lock().unwrap() {
                return;
            }
            let (stream, shared) = (stream.unwrap(), Arc::clone(&shared));
            std::thread::spawn(move || serve(stream, &shared));
        }
    })
}

/// One request of one connection. A client that goes away half-way is none of the test's business.
fn serve(mut stream: TcpStream, shared: &Shared) {
    let Some((head, body)) = read_request(&mut stream) else {
        return;
    };
    let target = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("x-amz-target").then_some(value)
    });
    let operation = target.unwrap_or_default().trim_start_matches("TrentService.");
    let mode = match shared.mode.lock().unwrap().clone() {
        Mode::AnswerTo(only, status, body) if only == operation => Mode::Answer(status, body),
        Mode::AnswerTo(..) => Mode::Forward,
        mode => mode,
    };
    let parameters = serde_json::from_slice(&body).unwrap_or_default();
    shared
        .seen
        .lock()
        .unwrap()
        .push((operation.to_owned(), parameters));
    let keep = match mode {
        Mode::Hang => Some(Vec::new()),
        Mode::Close => None,
        Mode::Answer(status, body) => {
            let answer = format!(
                "HTTP/1.1 {status} Test\r\ncontent-type: application/x-amz-json-1.1\r\n\
                 x-amzn-requestid: test-request\r\nretry-after: 7\r\nconnection: close\r\n\
                 content-length: {}\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(answer.as_bytes());
            None
        }
        Mode::Forward | Mode::AnswerTo(..) => {
            let _ = stream.write_all(&ask(&shared.upstream, &head, &body));
            None
        }
        Mode::Cut(bytes) => {
            let answer = ask(&shared.upstream, &head, &body);
            let _ = stream.write_all(&answer[..answer.len() - bytes]);
            None
        }
        Mode::Stall(bytes) => {
            let answer = ask(&shared.upstream, &head, &body);
            Some(answer[..answer.len() - bytes].to_vec())
        }
    };
    if let Some(front) = keep {
        let _ = stream.write_all(&front);
        shared.hung.lock().unwrap().push(stream);
    }
}

fn read_request(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4_096];
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("content-length")
                    .then(|| value.parse().unwrap())
            });
            let length: usize = length.unwrap_or(0);
            let mut body = bytes[end + 4..].to_vec();
            while body.len() < length {
                let read = stream.read(&mut buffer).ok().filter(|read| *read > 0)?;
                body.extend_from_slice(&buffer[..read]);
            }
            return Some((head, body));
        }
        let read = stream.read(&mut buffer).ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&buffer[..read]);
    }
}

/// The server's whole answer.
fn ask(upstream: &str, head: &str, body: &[u8]) -> Vec<u8> {
    let mut server = TcpStream::connect(upstream).unwrap();
    server
        .write_all(format!("{head}\r\nconnection: close\r\n\r\n").as_bytes())
        .unwrap();
    server.write_all(body).unwrap();
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).unwrap();
    answer
}
