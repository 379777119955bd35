//! The page in an application, above an inventory that fails. What it shows, and what a browser makes of it, is tested with the command.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use axum::routing::get;
use tower::ServiceExt as _;
use waxseal::ring::inventory::{NodePath, Snapshot};
use waxseal::ring::{Inventory, Reader, Scope, Trust};
use waxseal::testing::{InventoryLayer, large_ring};
use waxseal::{Error, ErrorKind, Result};
use waxseal_page::Page;

/// An inventory that is away when it is told.
#[derive(Debug)]
struct Fragile {
    inner: Arc<dyn Inventory>,
    is_away: Arc<AtomicBool>,
    reads: Arc<AtomicUsize>,
}

#[async_trait]
impl InventoryLayer for Fragile {
    fn inner(&self) -> &dyn Inventory {
        &*self.inner
    }

    async fn read(&self, scopes: &[Scope], nodes: &[NodePath]) -> Result<Snapshot> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        if self.is_away.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Unavailable).with_detail("the database is <away>"));
        }
        self.inner.read(scopes, nodes).await
    }
}

struct Bench {
    page: Page,
    is_away: Arc<AtomicBool>,
    reads: Arc<AtomicUsize>,
}

impl Bench {
    async fn new(keys: u32, is_away: bool) -> Self {
        let reader = large_ring(keys).await.unwrap();
        let (is_away, reads) = (Arc::new(AtomicBool::new(is_away)), Arc::default());
        let inventory = Fragile {
            inner: Arc::clone(reader.inventory()),
            is_away: Arc::clone(&is_away),
            reads: Arc::clone(&reads),
        };
        let trust = Trust::new(reader.trust().ring(), reader.trust().authority());
        let page = Page::builder(Reader::new(trust, Arc::new(inventory)))
            .build()
            .unwrap();
        Self { page, is_away, reads }
    }

    async fn ask(&self, path: &str) -> (StatusCode, String) {
        ask(&self.page.router(), path).await
    }
}

async fn ask(router: &Router, path: &str) -> (StatusCode, String) {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let answer = router.clone().oneshot(request).await.unwrap();
    let status = answer.status();
    let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

/// What every link and form of a view leads to.
fn targets(page: &str) -> Vec<&str> {
    let parts = [" href=\"", " action=\""].map(|name| page.split(name).skip(1));
    let all = parts.into_iter().flatten();
    all.map(|rest| rest.split('"').next().unwrap())
        .filter(|target| !target.starts_with('#'))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_mounts_it_where_it_likes() {
    let bench = Bench::new(250, false).await;
    let app = Router::new()
        .route("/", get(|| async { "the application" }))
        .nest("/admin/key-ring", bench.page.router());
    assert_eq!(ask(&app, "/").await.1, "the application");
    for path in [
        "/admin/key-ring",
        "/admin/key-ring/keys?page=2",
        "/admin/key-ring/due",
    ] {
        let (status, page) = ask(&app, path).await;
        assert_eq!(status, StatusCode::OK, "{path}");
        let targets = targets(&page);
        assert!(targets.len() > 8, "{page}");
        for target in targets {
            assert!(target.starts_with("/admin/key-ring"), "{path}: {target}");
            assert_eq!(ask(&app, target).await.0, StatusCode::OK, "{path}: {target}");
        }
    }
    let (status, style) = ask(&app, "/admin/key-ring/style.css").await;
    assert!(status == StatusCode::OK && style.contains("--ground"));
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_hold_every_key_once() {
    let bench = Bench::new(250, false).await;
    for sort in ["scope", "state", "algorithm", "since", "next", "objects"] {
        for order in ["", "&order=reversed"] {
            let mut seen = Vec::new();
            for page in 1..=3 {
                let (_, text) = bench.ask(&format!("/keys?sort={sort}{order}&page={page}")).await;
                let keys = text.split("href=\"/keys/").skip(1);
                seen.extend(keys.map(|rest| rest.split('"').next().unwrap().to_owned()));
            }
            assert_eq!(seen.len(), 250, "{sort}{order}");
            seen.sort();
            seen.dedup();
            assert_eq!(seen.len(), 250, "{sort}{order}");
        }
    }
    // Of a scope, whole parts count.
    for (asked, said) in [
        ("begins=tenant/000012", "<p>10 keys</p>"),
        ("scope=tenant", "<p>250 keys, page 1 of 3</p>"),
        ("scope=/", "<p>250 keys, page 1 of 3</p>"),
        ("scope=tenant/000012", "No key is like that"),
        ("scope=ten", "No key is like that"),
        ("state=not-destroyed", "<p>250 keys, page 1 of 3</p>"),
    ] {
        let (_, text) = bench.ask(&format!("/keys?{asked}")).await;
        assert!(text.contains(said), "{asked}: {text}");
    }
    let long = format!("/keys?scope={}", "a".repeat(9000));
    let (status, text) = bench.ask(&long).await;
    assert!(
        status == StatusCode::URI_TOO_LONG && !text.contains("/keys/"),
        "{text}"
    );
    let (_, text) = bench.ask("/keys?scope=tenant/0000123&exact=yes").await;
    assert!(text.contains("<p>1 key</p>"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ring_that_cannot_be_read_is_said_and_not_waited_for() {
    let bench = Bench::new(3, true).await;
    let (status, page) = bench.ask("/").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(page.contains("the database is &lt;away&gt;"), "{page}");
    bench.is_away.store(false, Ordering::SeqCst);
    let end = Instant::now() + Duration::from_secs(30);
    while bench.ask("/").await.0 != StatusCode::OK {
        assert!(Instant::now() < end, "it does not come back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (_, keys) = bench.ask("/keys").await;
    let key = keys
        .split("href=\"/keys/")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    let key = format!("/keys/{key}");
    assert_eq!(bench.ask(&key).await.0, StatusCode::OK);
    assert!(bench.ask("/health").await.1.contains("Every record verifies."));
    // What was read is shown, and that it is old.
    bench.is_away.store(true, Ordering::SeqCst);
    let (mut page, end) = (String::new(), Instant::now() + Duration::from_secs(30));
    while !page.contains("could not be read at") {
        assert!(Instant::now() < end, "{page}");
        let (status, now) = bench.ask("/").await;
        assert_eq!(status, StatusCode::OK);
        page = now;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(page.contains("3 keys in 3 scopes"), "{page}");
    // A key is read anew.
    let (status, page) = bench.ask(&key).await;
    assert!(
        status == StatusCode::SERVICE_UNAVAILABLE && page.contains("cannot be shown"),
        "{page}"
    );
    let (_, health) = bench.ask("/health").await;
    assert!(!health.contains("Every record verifies."), "{health}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_look_cost_one_reading() {
    let bench = Bench::new(3, false).await;
    bench.ask("/").await;
    let before = bench.reads.load(Ordering::SeqCst);
    for _ in 0..200 {
        assert_eq!(bench.ask("/keys").await.0, StatusCode::OK);
    }
    // The first reading counts for two seconds; a slow machine may begin another.
    let reads = bench.reads.load(Ordering::SeqCst) - before;
    assert!(reads < 50, "{reads}");
}
