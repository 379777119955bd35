//! How long the page works for each view of a ring with 100,000 keys and a log with 20,000 events.
//!
//! ```text
//! cargo bench -p waxseal-benches --bench page
//! ```
//!
//! Server time alone: from the request to the last byte of the answer, without a network. The greatest of 20 requests.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::time::{Duration, Instant};

use axum::body::{Body, to_bytes};
use axum::http::Request;
use tower::ServiceExt as _;
use waxseal::audit::{Auditor, Log};
use waxseal::testing::{FakeKeyManager, large_ring};
use waxseal::{EncryptionContext, Sealer};
use waxseal_page::Page;

const KEYS: u32 = 100_000;
/// More than a view looks at.
const EVENTS: u32 = 20_000;
const REQUESTS: u32 = 20;

/// A log of so many events.
async fn events(folder: &std::path::Path) {
    let log = Log::open(folder).unwrap();
    let auditor = Auditor::builder().required(log).build().unwrap();
    let sealer = Sealer::builder()
        .wrap_with(FakeKeyManager::new("bench"))
        .audit(auditor.clone())
        .build()
        .unwrap();
    let context = EncryptionContext::new([("tenant", "acme")]).unwrap();
    for _ in 0..EVENTS {
        sealer.seal(b"", &context).await.unwrap();
    }
    auditor.close().await.unwrap();
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    runtime.block_on(async {
        events(&log).await;
        let begun = Instant::now();
        let reader = large_ring(KEYS).await.unwrap();
        println!("{KEYS} keys made in {:?}", begun.elapsed());
        let scopes = reader.scopes_after(None, 1).await.unwrap().unwrap();
        let key = scopes.all_keys().next().unwrap().id;
        let router = Page::builder(reader).log(&log).build().unwrap().router();
        let ask = async |path: &str| {
            let begun = Instant::now();
            let request = Request::get(path).body(Body::empty()).unwrap();
            let answer = router.clone().oneshot(request).await.unwrap();
            let status = answer.status();
            let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
            (status.as_u16(), body.len(), begun.elapsed())
        };
        let begun = Instant::now();
        while ask("/").await.0 == 503 {}
        println!("read for the first time in {:?}", begun.elapsed());
        let key = format!("/keys/{key}");
        let paths = [
            "/",
            "/keys",
            "/keys?sort=next&order=reversed&page=900",
            "/keys?scope=tenant/00999&state=active",
            &key,
            "/due",
            "/left",
            "/events",
            "/events?key=nobody",
            "/health",
        ];
        for path in paths {
            let mut greatest = Duration::ZERO;
            let mut bytes = 0;
            for _ in 0..REQUESTS {
                let (status, len, took) = ask(path).await;
                assert_eq!(status, 200, "{path}");
                (greatest, bytes) = (greatest.max(took), len);
            }
            println!(
                "{path:45} {:7.1} ms {bytes:8} bytes",
                greatest.as_secs_f64() * 1e3
            );
        }
    });
}
