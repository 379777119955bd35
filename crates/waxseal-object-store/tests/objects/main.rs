//! Copies of a log as objects: in memory, and on an S3 server. Re-wraps of objects.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

#[cfg(feature = "aws")]
#[path = "../../../../tests/support/s3.rs"]
mod buckets;
#[cfg(feature = "fleet")]
mod fleet;
#[cfg(any(feature = "aws", all(feature = "azure", feature = "fleet")))]
#[path = "../../../../tests/support/live.rs"]
mod servers;

use std::path::Path;
use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt as _};
use pollster::block_on;
use waxseal::audit::{Auditor, Log, LogReader, TileStore, publish};
use waxseal::testing::FakeKeyManager;
use waxseal::{EncryptionContext, ErrorKind, Sealer};
use waxseal_object_store::ObjectTiles;

/// Adds so many events to the log of a directory.
fn grow(log: &Path, events: usize) {
    let auditor = Auditor::builder()
        .required(Log::open(log).unwrap())
        .build()
        .unwrap();
    let sealer = Sealer::builder().wrap_with(FakeKeyManager::new("kek"));
    let sealer = sealer.audit(auditor.clone()).build().unwrap();
    let context = EncryptionContext::new([("tenant", "acme")]).unwrap();
    for _ in 0..events {
        block_on(sealer.seal(b"hello", &context)).unwrap();
    }
    block_on(auditor.close()).unwrap();
}

/// A copy grows, has what the log has, and refuses what does not continue it.
fn keeps_a_copy(tiles: &ObjectTiles) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let mut size = 0;
    for events in [3, 260, 0, 7] {
        grow(&path, events);
        let log = LogReader::open(&path).unwrap();
        let key = log.named_key().unwrap();
        let done = block_on(publish(&log, &key, tiles)).unwrap();
        size += events as u64;
        assert_eq!((done.added, done.size), (events as u64, size));
        let note = block_on(tiles.get("checkpoint")).unwrap().unwrap();
        assert_eq!(note, log.checkpoint().as_note().as_bytes());
    }
    for tile in ["tile/0/000", "tile/entries/000", "tile/entries/001.p/14", "vkey"] {
        let of_log = std::fs::read(path.join(tile)).unwrap();
        assert_eq!(block_on(tiles.get(tile)).unwrap(), Some(of_log), "{tile}");
    }
    let other = folder.path().join("other");
    grow(&other, 1);
    let log = LogReader::open(&other).unwrap();
    let error = block_on(publish(&log, &log.named_key().unwrap(), tiles)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
}

/// What replaces an object takes the place of what was seen, and of nothing else.
fn replaces_what_was_seen(tiles: &ObjectTiles) {
    block_on(async {
        assert_eq!(tiles.get("a").await.unwrap(), None);
        assert!(!tiles.replace("a", Some(b"1"), b"2").await.unwrap());
        assert!(tiles.replace("a", None, b"1").await.unwrap());
        assert!(!tiles.replace("a", None, b"2").await.unwrap());
        assert!(!tiles.replace("a", Some(b"3"), b"2").await.unwrap());
        assert_eq!(tiles.get("a").await.unwrap().as_deref(), Some(&b"1"[..]));
        assert!(tiles.replace("a", Some(b"1"), b"2").await.unwrap());
        assert_eq!(tiles.get("a").await.unwrap().as_deref(), Some(&b"2"[..]));
        tiles.put("a", b"").await.unwrap();
        assert_eq!(tiles.get("a").await.unwrap().as_deref(), Some(&b""[..]));
    });
    // Of several at once, one.
    let won = std::thread::scope(|scope| {
        let race = || block_on(tiles.replace("b/c", None, b"x")).unwrap();
        let racing: Vec<_> = (0..8).map(|_| scope.spawn(race)).collect();
        racing
            .into_iter()
            .filter(|_| true)
            .map(|it| it.join().unwrap())
            .filter(|won| *won)
            .count()
    });
    assert_eq!(won, 1);
}

#[test]
fn in_memory() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let tiles = |prefix| ObjectTiles::new(Arc::clone(&store), prefix).unwrap();
    keeps_a_copy(&tiles("logs/payments"));
    replaces_what_was_seen(&tiles(""));
    // What is under one prefix is under no other.
    assert_eq!(block_on(tiles("logs").get("checkpoint")).unwrap(), None);
    let whole = tiles("");
    assert!(block_on(whole.get("logs/payments/checkpoint")).unwrap().is_some());
}

#[test]
fn an_object_that_is_too_long_is_not_read() {
    let store = Arc::new(InMemory::new());
    let long = vec![0; 256 * 65_537 + 1];
    block_on(store.put(&"vkey".into(), long.into())).unwrap();
    let tiles = ObjectTiles::new(store, "").unwrap();
    let error = block_on(tiles.get("vkey")).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::OverLimit { .. }), "{error}");
}

#[test]
fn a_name_that_is_none_is_refused_and_not_shown() {
    for url in [
        "",
        "s3",
        "s3://",
        "s3:///x",
        "file:///x",
        "memory://x",
        "http://h/b",
        "s3://u:c4n4ry@b/x",
        "s3://b/x?k=c4n4ry",
        "S3://b",
    ] {
        let error = ObjectTiles::from_url(url).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{url}");
        assert!(!format!("{error} {error:?}").contains("c4n4ry"));
    }
    for prefix in ["a//b", "../x", "a/./b"] {
        let error = ObjectTiles::new(Arc::new(InMemory::new()), prefix).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{prefix}");
    }
    #[cfg(not(feature = "gcp"))]
    {
        let error = ObjectTiles::from_url("gs://b/x").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains("feature `gcp`"), "{error}");
    }
}

/// On moto, whose conditions are those of S3.
#[cfg(feature = "aws")]
mod s3 {
    use std::time::Duration;

    use object_store::aws::AmazonS3Builder;

    use super::*;
    use crate::servers::unique;

    const BUCKET: &str = "waxseal-logs";

    /// A store on the server of the tests, in a bucket that is there.
    fn server() -> Option<Arc<dyn ObjectStore>> {
        let url = crate::servers::address("moto")?;
        crate::buckets::create_bucket(&url, BUCKET);
        Some(store(&url))
    }

    fn store(url: &str) -> Arc<dyn ObjectStore> {
        let builder = AmazonS3Builder::new()
            .with_endpoint(url)
            .with_allow_http(true)
            .with_bucket_name(BUCKET)
            .with_region("us-east-1")
            .with_access_key_id("test")
            .with_secret_access_key("test");
        Arc::new(builder.build().unwrap())
    }

    #[test]
    fn on_s3() {
        let Some(store) = server() else { return };
        keeps_a_copy(&ObjectTiles::new(Arc::clone(&store), &unique("log")).unwrap());
        replaces_what_was_seen(&ObjectTiles::new(store, &unique("any")).unwrap());
    }

    #[test]
    fn a_server_that_is_not_there_fails_within_the_bound() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", free.local_addr().unwrap());
        // Accepted by the system, and never answered.
        let tiles = ObjectTiles::new(store(&address), "x").unwrap();
        let tiles = tiles.with_timeout(Duration::from_millis(300)).unwrap();
        let error = block_on(tiles.get("checkpoint")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
        drop(free);
        let tiles = tiles.with_timeout(Duration::from_secs(20)).unwrap();
        let error = block_on(tiles.get("checkpoint")).unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::TimedOut),
            "{error}"
        );
        assert!(error.to_string().contains("x/checkpoint"), "{error}");
    }
}
