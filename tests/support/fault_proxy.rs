//! A TCP proxy that remembers every request and fails as networks and servers do: refused, closed, hanging, cut, stalled
//! or dripping connections, answers of its own, and certificates that are not to be trusted.
#![allow(dead_code, reason = "no test program uses all of it")]

use std::io::{ErrorKind, Read, Result, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What becomes of a request.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Nothing: to the server and back.
    Forward,
    /// To the server with these header lines more (each with its line end), and back.
    Adding(&'static str),
    /// To the server without this header, and back: a server that does not know it.
    Without(&'static str),
    /// The connection is closed without an answer.
    Close,
    /// No answer ever comes.
    Hang,
    /// The server's answer, less this many bytes of its end.
    Cut(usize),
    /// The same, and then nothing more, while the connection stays.
    Stall(usize),
    /// The server's answer, one byte at a time, with a pause before each.
    Drip(Duration),
    /// This status, these header lines (each with its line end) and this body; the server is not asked.
    Answer(u16, &'static str, String),
}

/// A request as it came: its first line and headers, and its body.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Seen {
    pub(crate) fn path(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

type Rule = Box<dyn Fn(&Seen) -> Fault + Send>;

struct Shared {
    upstream: String,
    tls: Option<Arc<ServerConfig>>,
    rule: Mutex<Rule>,
    seen: Mutex<Vec<Seen>>,
    is_down: AtomicBool,
}

/// The proxy, listening on a free port until it is dropped.
pub(crate) struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Mutex<Option<JoinHandle<()>>>,
}

impl FaultProxy {
    /// In front of `http://HOST:PORT`; of nobody (an empty text) where it gives every answer itself.
    pub(crate) fn new(upstream: &str) -> Self {
        Self::start(upstream, None)
    }

    /// In front of nobody, with one answer to everything.
    pub(crate) fn answering(fault: Fault) -> Self {
        let proxy = Self::new("");
        proxy.set(fault);
        proxy
    }

    fn start(upstream: &str, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let shared = Arc::new(Shared {
            upstream: upstream.trim_start_matches("http://").to_owned(),
            tls,
            rule: Mutex::new(Box::new(|_| Fault::Forward)),
            seen: Mutex::default(),
            is_down: AtomicBool::new(false),
        });
        Self {
            address: listener.local_addr().unwrap(),
            accepting: Mutex::new(Some(accept(listener, &shared))),
            shared,
        }
    }

    /// Its address, as a URL.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.shared.tls.is_some() {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{}", self.address)
    }

    pub(crate) fn set(&self, fault: Fault) {
        self.set_rule(move |_| fault.clone());
    }

    pub(crate) fn set_rule(&self, rule: impl Fn(&Seen) -> Fault + Send + 'static) {
        *self.shared.rule.lock().unwrap() = Box::new(rule);
    }

    /// What came since the last time.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.shared.seen.lock().unwrap())
    }

    /// Refuses connections from now on.
    pub(crate) fn take_down(&self) {
        self.shared.is_down.store(true, Ordering::SeqCst);
        // Wakes whoever accepts, who then closes the listener.
        drop(TcpStream::connect(self.address));
        if let Some(accepting) = self.accepting.lock().unwrap().take() {
            accepting.join().unwrap();
        }
    }

    /// Listens again, where it did before.
    pub(crate) fn bring_up(&self) {
        self.shared.is_down.store(false, Ordering::SeqCst);
        let listener = TcpListener::bind(self.address).unwrap();
        *self.accepting.lock().unwrap() = Some(accept(listener, &self.shared));
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.take_down();
    }
}

fn accept(listener: TcpListener, shared: &Arc<Shared>) -> JoinHandle<()> {
    let shared = Arc::clone(shared);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            if shared.is_down.load(Ordering::SeqCst) {
                return;
            }
            let (Ok(stream), shared) = (stream, Arc::clone(&shared)) else {
                continue;
            };
            std::thread::spawn(move || {
                // A client that goes away, and one that does not like the certificate, are none of the proxy's business.
                let _ = match &shared.tls {
                    None => serve(stream, &shared),
                    Some(config) => {
                        let tls = ServerConnection::new(Arc::clone(config)).unwrap();
                        serve(StreamOwned::new(tls, stream), &shared)
                    }
                };
            });
        }
    })
}

/// One request of one connection.
fn serve(mut client: impl Read + Write, shared: &Shared) -> Result<()> {
    let seen = read(&mut client)?;
    let fault = shared.rule.lock().unwrap()(&seen);
    shared.seen.lock().unwrap().push(seen.clone());
    let mut answer = match &fault {
        Fault::Close => return Ok(()),
        Fault::Hang => Vec::new(),
        Fault::Answer(status, headers, body) => format!(
            "HTTP/1.1 {status} X\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
        .into_bytes(),
        Fault::Adding(lines) => ask(&shared.upstream, &seen, lines)?,
        Fault::Without(header) => {
            let name = format!("{header}:");
            let is_other = |line: &&str| !line.to_ascii_lowercase().starts_with(&name);
            let lines: Vec<&str> = seen.head.split("\r\n").filter(is_other).collect();
            let without = Seen {
                head: lines.join("\r\n"),
                body: seen.body.clone(),
            };
            ask(&shared.upstream, &without, "")?
        }
        Fault::Forward | Fault::Cut(_) | Fault::Stall(_) | Fault::Drip(_) => {
            ask(&shared.upstream, &seen, "")?
        }
    };
    if let Fault::Cut(less) | Fault::Stall(less) = fault {
        answer.truncate(answer.len().saturating_sub(less));
    }
    if let Fault::Drip(pause) = fault {
        for byte in answer.drain(..) {
            std::thread::sleep(pause);
            client.write_all(&[byte])?;
            client.flush()?;
        }
    }
    client.write_all(&answer)?;
    client.flush()?;
    if matches!(fault, Fault::Hang | Fault::Stall(_)) {
        // Until the client gives up.
        let _ = client.read(&mut [0])?;
    }
    Ok(())
}

fn read(client: &mut impl Read) -> Result<Seen> {
    let mut bytes = Vec::new();
    let mut more = |bytes: &mut Vec<u8>| {
        let mut buffer = [0; 4_096];
        match client.read(&mut buffer)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            len => {
                bytes.extend_from_slice(&buffer[..len]);
                Result::Ok(())
            }
        }
    };
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        more(&mut bytes)?;
    };
    let mut seen = Seen {
        head: String::from_utf8(bytes[..end].to_vec()).unwrap(),
        body: String::new(),
    };
    let length = seen
        .header("content-length")
        .map_or(0, |value| value.parse().unwrap());
    while bytes.len() < end + 4 + length {
        more(&mut bytes)?;
    }
    seen.body = String::from_utf8(bytes[end + 4..].to_vec()).unwrap();
    Ok(seen)
}

/// The server's whole answer.
fn ask(upstream: &str, seen: &Seen, lines: &str) -> Result<Vec<u8>> {
    let mut server = TcpStream::connect(upstream)?;
    server.write_all(format!("{}\r\n{lines}Connection: close\r\n\r\n{}", seen.head, seen.body).as_bytes())?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    Ok(answer)
}

/// Proxies with certificates: one that is good for whoever trusts the CA, and others that are good for nobody.
pub(crate) struct Certified {
    /// What to trust, in PEM.
    pub(crate) ca: String,
    pub(crate) good: FaultProxy,
    pub(crate) bad: [(&'static str, FaultProxy); 3],
}

impl Certified {
    /// In front of `http://HOST:PORT`.
    pub(crate) fn new(upstream: &str) -> Self {
        let (ours, other) = (authority("ours"), authority("another"));
        let proxy = |authority, host, year| {
            FaultProxy::start(upstream, Some(Arc::new(certified(authority, host, year))))
        };
        Self {
            ca: ours.pem(),
            good: proxy(&ours, "127.0.0.1", 4000),
            bad: [
                ("another host's", proxy(&ours, "kms.example", 4000)),
                ("expired", proxy(&ours, "127.0.0.1", 2001)),
                ("another CA's", proxy(&other, "127.0.0.1", 4000)),
            ],
        }
    }

    /// Runs a test of this very program once more, in a process that trusts the CA: for clients that trust what the
    /// machine does. `variable` tells that process where the proxies are, the good one first, separated by spaces.
    pub(crate) fn run_trusting(&self, test: &str, variable: &str) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.pem");
        std::fs::write(&file, &self.ca).unwrap();
        let bad = self.bad.iter().map(|(_, proxy)| proxy.url());
        let urls: Vec<_> = std::iter::once(self.good.url()).chain(bad).collect();
        let done = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env("SSL_CERT_FILE", &file)
            .env_remove("SSL_CERT_DIR")
            .env_remove("AWS_CA_BUNDLE")
            .env(variable, urls.join(" "))
            .output()
            .unwrap();
        let out = String::from_utf8_lossy(&done.stdout);
        assert!(
            done.status.success() && out.contains("1 passed"),
            "{out}{}",
            String::from_utf8_lossy(&done.stderr)
        );
        assert!(!self.good.seen().is_empty(), "the good one was not asked");
        self.nobody_spoke_to_the_bad_ones();
    }

    pub(crate) fn nobody_spoke_to_the_bad_ones(&self) {
        for (what, proxy) in &self.bad {
            assert!(proxy.seen().is_empty(), "a request went to {what}");
        }
    }
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A server for this host, until the end of this year.
fn certified(authority: &CertifiedIssuer<'static, KeyPair>, host: &str, year: i32) -> ServerConfig {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = date_time_ymd(year, 12, 31);
    let certificate = params.signed_by(&key, authority).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap()
}
