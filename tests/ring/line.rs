//! A line to a server, which can be cut, and which counts what is executed at its end.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Passes on what comes until it is cut.
pub(crate) struct Line {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    is_cut: AtomicBool,
    statements: AtomicUsize,
    open: Mutex<Vec<TcpStream>>,
}

impl Line {
    pub(crate) fn to(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, shared) = (listener.local_addr().unwrap(), Arc::new(Shared::default()));
        let (server, of_thread) = (server.to_owned(), Arc::clone(&shared));
        std::thread::spawn(move || {
            for one in listener.incoming() {
                let (Ok(one), Ok(other)) = (one, TcpStream::connect(&server)) else {
                    continue;
                };
                of_thread.join(&one, &other);
            }
        });
        Self { address, shared }
    }

    /// How many statements PostgreSQL was told to execute since the last time, without TLS.
    pub(crate) fn statements(&self) -> usize {
        self.shared.statements.swap(0, Ordering::SeqCst)
    }

    /// Ends every connection, and lets none begin.
    pub(crate) fn cut(&self) {
        let open = self.shared.open.lock().unwrap();
        self.shared.is_cut.store(true, Ordering::SeqCst);
        for stream in open.iter() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn join(self: &Arc<Self>, one: &TcpStream, other: &TcpStream) {
        let mut open = self.open.lock().unwrap();
        if self.is_cut.load(Ordering::SeqCst) {
            return;
        }
        let copy = |stream: &TcpStream| stream.try_clone().unwrap();
        open.extend([copy(one), copy(other)]);
        let (mut from, mut to) = (copy(other), copy(one));
        std::thread::spawn(move || {
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        });
        let (from, to, shared) = (copy(one), copy(other), Arc::clone(self));
        std::thread::spawn(move || {
            let _ = shared.pass_on(from, &to);
            let _ = to.shutdown(Shutdown::Write);
        });
    }

    /// Passes on what a client says, and counts its statements before the server can answer them.
    fn pass_on(&self, mut from: TcpStream, mut to: &TcpStream) -> io::Result<()> {
        let (mut messages, mut bytes) = (Messages::default(), [0; 8192]);
        loop {
            let read = from.read(&mut bytes)?;
            if read == 0 {
                return Ok(());
            }
            let statements = messages.statements_in(&bytes[..read]);
            self.statements.fetch_add(statements, Ordering::SeqCst);
            to.write_all(&bytes[..read])?;
        }
    }
}

/// What a client of PostgreSQL says (<https://www.postgresql.org/docs/current/protocol-message-formats.html>).
#[derive(Default)]
struct Messages {
    has_started: bool,
    /// The beginning of a message whose end has not come yet.
    begun: Vec<u8>,
}

impl Messages {
    /// How many messages end here that execute something.
    fn statements_in(&mut self, bytes: &[u8]) -> usize {
        self.begun.extend_from_slice(bytes);
        let mut count = 0;
        loop {
            // Only the first message has no type.
            let typed = usize::from(self.has_started);
            let Some(length) = self.begun[typed.min(self.begun.len())..].first_chunk() else {
                return count;
            };
            let whole = typed + u32::from_be_bytes(*length) as usize;
            if self.begun.len() < whole {
                return count;
            }
            // Execute, and a simple query.
            count += usize::from(self.has_started && matches!(self.begun[0], b'E' | b'Q'));
            self.has_started = true;
            self.begun.drain(..whole);
        }
    }
}
