//! Ten thousand tasks over a cache over AWS KMS, counted by what moto wrote down of its requests.
//!
//! What moto writes down is the server's, so this is a program of its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::server::{Server, moto};
use base64ct::{Base64, Encoding};
use tokio::task::JoinSet;
use waxseal::runtime::{BoxFuture, Monotonic, Runtime, TokioRuntime};
use waxseal::source::{Cached, Caching};
use waxseal::{EncryptionContext, Sealer, source::AnyOf};

const TASKS: usize = 10_000;
const WRAPS: usize = 100;

/// What moto writes down, from here on.
struct Requests<'s>(&'s Server);

impl<'s> Requests<'s> {
    fn from_now_on(server: &'s Server) -> Self {
        let requests = Self(server);
        requests.ask("POST", "reset-recording");
        requests.ask("POST", "start-recording");
        requests
    }

    fn ask(&self, method: &str, what: &str) -> String {
        let address = self.0.url.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        write!(
            stream,
            "{method} /moto-api/recorder/{what} HTTP/1.0\r\nHost: {address}\r\nContent-Length: 0\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.lines().next().unwrap().contains(" 200 "), "{answer}");
        answer
    }

    /// How many requests of each kind named this key: decrypt, and any.
    fn of(&self, key: &str) -> (usize, usize) {
        let (mut decrypts, mut all) = (0, 0);
        let recording = self.ask("GET", "download-recording");
        let (_, recording) = recording.split_once("\r\n\r\n").unwrap();
        for line in recording.lines().filter(|line| !line.is_empty()) {
            // Requests are recorded as they come, from many threads: a line that is torn would be one that is not counted.
            let request: serde_json::Value = serde_json::from_str(line)
                .unwrap_or_else(|error| panic!("moto has recorded {line:?}: {error}"));
            let body = Base64::decode_vec(request["body"].as_str().unwrap_or_default()).unwrap_or_default();
            if !String::from_utf8_lossy(&body).contains(key) {
                continue;
            }
            all += 1;
            let headers = request["headers"].as_object().unwrap();
            let target = headers
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case("x-amz-target"));
            if target.is_some_and(|(_, value)| value == "TrentService.Decrypt") {
                decrypts += 1;
            }
        }
        (decrypts, all)
    }
}

impl Drop for Requests<'_> {
    fn drop(&mut self) {
        self.ask("POST", "stop-recording");
    }
}

fn context(wrap: usize) -> EncryptionContext {
    EncryptionContext::new([("table", wrap.to_string())]).unwrap()
}

/// The runtime of the test, with a clock that can be put forward. Deadlines and tasks are the real ones.
#[derive(Clone, Debug)]
struct Forward {
    inner: TokioRuntime,
    by: Arc<AtomicU64>,
}

impl Forward {
    fn new() -> Self {
        Self {
            inner: TokioRuntime::current(),
            by: Arc::default(),
        }
    }

    fn advance(&self, millis: u64) {
        self.by.fetch_add(millis, Ordering::SeqCst);
    }
}

impl Runtime for Forward {
    fn now(&self) -> Monotonic {
        self.inner.now() + Duration::from_millis(self.by.load(Ordering::SeqCst))
    }

    fn wall_clock(&self) -> SystemTime {
        self.inner.wall_clock()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.inner.sleep(duration)
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.inner.spawn(task);
    }

    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        self.inner.spawn_blocking(work);
    }
}

/// A sealer over a cache over a new key, and a value under each of a hundred DEKs.
async fn subject(moto: &Server, caching: Caching, clock: &Forward) -> (Sealer, Arc<Vec<Vec<u8>>>, String) {
    let (keys, arn) = moto.keys().await;
    let plain = Sealer::new(keys);
    let mut sealed = Vec::new();
    for wrap in 0..WRAPS {
        sealed.push(plain.seal(b"hello", &context(wrap)).await.unwrap());
    }
    let keys = moto.client().await.key(&arn).unwrap();
    let runtime: Arc<dyn Runtime> = Arc::new(clock.clone());
    let cache = Cached::with_policy(AnyOf::new(keys), caching, Arc::clone(&runtime));
    let sealer = Sealer::builder().source(cache).runtime(runtime).build().unwrap();
    (sealer, Arc::new(sealed), arn)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_tasks_on_a_hundred_wraps_are_a_hundred_requests_and_entries_that_end_cause_no_storm() {
    let Some(moto) = moto() else { return };
    let clock = Forward::new();
    let (sealer, sealed, arn) = subject(&moto, Caching::default(), &clock).await;
    let requests = Requests::from_now_on(&moto);
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let (sealer, sealed) = (sealer.clone(), Arc::clone(&sealed));
        tasks.spawn(async move { sealer.open(&sealed[task % WRAPS], &context(task % WRAPS)).await });
    }
    while let Some(opened) = tasks.join_next().await {
        assert_eq!(opened.unwrap().unwrap(), b"hello");
    }
    assert_eq!(requests.of(&arn), (WRAPS, WRAPS));

    // With entries that end many times while everybody goes on.
    let caching = Caching {
        open_age: Duration::from_millis(2000),
        refresh_ahead: Duration::from_millis(500),
        ..Caching::default()
    };
    let (sealer, sealed, arn) = subject(&moto, caching, &clock).await;
    let before = clock.now();
    for _ in 0..16 {
        for task in 0..TASKS {
            let (sealer, sealed) = (sealer.clone(), Arc::clone(&sealed));
            tasks.spawn(async move { sealer.open(&sealed[task % WRAPS], &context(task % WRAPS)).await });
        }
        while let Some(opened) = tasks.join_next().await {
            assert_eq!(opened.unwrap().unwrap(), b"hello");
        }
        clock.advance(400);
    }
    // The age without its eighth, without the refresh and a quarter of that.
    let period = 2000 - 250 - 500 - 125;
    let elapsed = clock.now().0.saturating_sub(before.0).as_millis();
    let periods = usize::try_from(elapsed / period).unwrap() + 1;
    let (decrypts, all) = requests.of(&arn);
    println!(
        "{decrypts} requests in {periods} periods for {} opens",
        TASKS * 16
    );
    // The others wrapped those hundred.
    assert_eq!(all, decrypts + WRAPS);
    assert!(decrypts > 2 * WRAPS, "nothing has ended: {decrypts}");
    assert!(
        decrypts <= periods * WRAPS,
        "{decrypts} requests in {periods} periods"
    );
}
