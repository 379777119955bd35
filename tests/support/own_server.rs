//! A server of a test's own, which the test may kill and start again. The program is the one that `scripts/services` has
//! installed.
#![allow(dead_code, reason = "no test program uses all of it")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take to become ready. Generous: a machine may have much to do.
const READY: Duration = Duration::from_secs(60);

/// The program of a service, below its Python environment; `None` (with the reason printed) where it is not installed
/// and is not demanded.
pub(crate) fn installed(service: &str, program: &str) -> Option<PathBuf> {
    let venv = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../target/services")
        .join(service)
        .join("venv");
    let pythons = std::fs::read_dir(venv.join("lib")).into_iter().flatten();
    let packages = pythons.filter_map(|python| Some(python.ok()?.path().join("site-packages")));
    let found = packages
        .chain([venv.join("bin")])
        .map(|folder| folder.join(program))
        .find(|path| path.is_file());
    if found.is_none() {
        let why = format!("{program} is not installed; run scripts/services up {service}");
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{why}");
        println!("skipped: {why}");
    }
    found
}

/// What comes, however long the machine takes; not for ever.
pub(crate) async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(READY, work)
        .await
        .expect("the call does not end")
}

/// A port at 127.0.0.1 that nobody has.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// The server, and a folder for its state. Both are gone when this is dropped.
pub(crate) struct OwnServer {
    program: PathBuf,
    arguments: Vec<String>,
    pub(crate) port: u16,
    pub(crate) dir: tempfile::TempDir,
    child: Option<Child>,
}

impl OwnServer {
    /// Not running yet. The arguments are made of the port and the folder.
    pub(crate) fn new(program: PathBuf, arguments: impl FnOnce(u16, &Path) -> Vec<String>) -> Self {
        let (port, dir) = (free_port(), tempfile::tempdir().unwrap());
        Self {
            program,
            arguments: arguments(port, dir.path()),
            port,
            dir,
            child: None,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Starts it, at the same port each time.
    pub(crate) fn start(&mut self) {
        let log = || {
            let path = self.dir.path().join("log");
            let mut options = std::fs::OpenOptions::new();
            Stdio::from(options.create(true).append(true).open(path).unwrap())
        };
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .env("HOME", self.dir.path())
            .stdin(Stdio::null())
            .stdout(log())
            .stderr(log())
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    /// Ends it as a crash does: it gets no time for anything.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it, and waits until it answers there with 200.
    pub(crate) fn start_until(&mut self, path: &str) {
        self.start();
        self.wait(path, |status| status == 200);
    }

    /// Waits for such a status.
    pub(crate) fn wait(&mut self, path: &str, is_good: impl Fn(u16) -> bool) {
        let start = Instant::now();
        while !self.status(path).is_some_and(&is_good) {
            let is_over = self
                .child
                .as_mut()
                .is_none_or(|child| child.try_wait().unwrap().is_some());
            assert!(!is_over && start.elapsed() < READY, "not ready: {}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn status(&self, path: &str) -> Option<u16> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        let answer = String::from_utf8_lossy(&answer);
        answer.split(' ').nth(1)?.parse().ok()
    }

    fn log(&self) -> String {
        let log = std::fs::read(self.dir.path().join("log")).unwrap_or_default();
        let tail = log.len().saturating_sub(4_000);
        String::from_utf8_lossy(&log[tail..]).into_owned()
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        self.kill();
    }
}
