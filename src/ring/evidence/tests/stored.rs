//! Censuses of stores.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;

use super::*;
use crate::fleet::{Change, Item, MemoryStore, Page, Range, Replaced, Scanned, Store};
use crate::value::error::Error;

/// A store in front of another one that does not answer well.
#[derive(Debug)]
struct Bad {
    store: MemoryStore,
    calls: AtomicUsize,
    how: How,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// The second page, and those behind it.
    Denied,
    /// Each page, the first two times.
    Away,
    /// For ever.
    Silent,
    /// The same page again.
    Repeats,
    /// One item, once.
    Replacing,
    /// A place behind the first page.
    Hides,
}

impl Bad {
    fn new(store: MemoryStore, how: How) -> Self {
        let calls = AtomicUsize::new(0);
        Self { store, calls, how }
    }
}

#[async_trait]
impl Store for Bad {
    fn name(&self) -> &str {
        self.store.name()
    }

    async fn scan(&self, range: &Range, limit: usize) -> Result<Page> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        let of = |kind: ErrorKind, is_retryable| Err(Error::new(kind).with_retryable(is_retryable));
        match self.how {
            How::Denied if call > 0 => of(ErrorKind::Denied, false),
            How::Away if call % 3 < 2 => of(ErrorKind::Unavailable, true),
            How::Silent => std::future::pending().await,
            How::Repeats => {
                let mut page = self.store.scan(&Range::all(), limit).await?;
                if call > 0 {
                    page.found.drain(..limit - 1);
                }
                Ok(page)
            }
            how => {
                let mut page = self.store.scan(range, limit).await?;
                if how == How::Replacing {
                    let error = Error::new(ErrorKind::Conflict).with_retryable(true);
                    page.found[0].item = Err(error);
                }
                if how == How::Hides && call == 0 {
                    let error = Error::new(ErrorKind::Denied);
                    let last = page.found.pop().unwrap().id;
                    page.found.push(Scanned::unlisted(last, error));
                }
                Ok(page)
            }
        }
    }

    async fn front(&self, id: &str) -> Result<Option<Item>> {
        self.store.front(id).await
    }

    async fn replace(&self, _: &[Change]) -> Vec<Result<Replaced>> {
        unreachable!("a census changes nothing")
    }
}

/// Values enough for several pages: every tenth is no envelope.
fn store() -> MemoryStore {
    let store = MemoryStore::with_stored_contexts("users");
    let sealed = envelope(1, &[OLD]);
    for number in 0..1200 {
        let value = match number % 10 {
            0 => b"plain text".to_vec(),
            _ => sealed.clone(),
        };
        store.put(&format!("{number:04}"), value);
    }
    store
}

fn begun(ring: &Ring) -> Census<'_> {
    let covers = vec![Covered::Files("/data".into()), Covered::Store("users".into())];
    let census = Census::begin(&ring.reader, &ring.census_key, "test", covers);
    let mut census = pollster::block_on(census).unwrap();
    census.scanning(&Covered::Store("users".into())).unwrap();
    census
}

fn items(receipt: &CensusReceipt) -> (u64, u64, bool) {
    (receipt.items(), receipt.foreign(), receipt.is_whole())
}

#[test]
fn each_item_is_counted_once_in_its_place() {
    let ring = Ring::new();
    let old = ring.key("/", OLD, DEPRECATED);
    ring.key("/", NEW, ACTIVE);
    let store = store();
    let mut census = begun(&ring);
    pollster::block_on(census.add_store(&store)).unwrap();
    let receipt = census.finish().unwrap();
    assert_eq!(items(&receipt), (1080, 120, true));
    assert_eq!(counts(&receipt, old), (1080, 1080));
    let places: Vec<_> = receipt.covers().iter().map(|place| place.items).collect();
    assert_eq!(places, [0, 1080]);
    let bytes = 1080 * envelope(1, &[OLD]).len() as u64;
    assert_eq!(receipt.bytes(), bytes);
    let seen = &receipt.keys().iter().find(|count| count.key == old).unwrap().seen;
    assert_eq!(seen[0], "store:users: 0001");
    assert_eq!(store.written(), 0);
}

#[test]
fn what_passes_is_waited_for() {
    let ring = Ring::new();
    ring.key("/", OLD, ACTIVE);
    for how in [How::Away, How::Replacing] {
        let mut census = begun(&ring);
        pollster::block_on(census.add_store(&Bad::new(store(), how))).unwrap();
        assert_eq!(items(&census.finish().unwrap()), (1080, 120, true), "{how:?}");
    }
}

#[test]
fn a_store_that_is_not_read_to_its_end_makes_no_whole_receipt() {
    let ring = Ring::new();
    ring.key("/", OLD, ACTIVE);
    for (how, kind) in [(How::Denied, ErrorKind::Denied), (How::Repeats, ErrorKind::Store)] {
        let mut census = begun(&ring);
        let failed = pollster::block_on(census.add_store(&Bad::new(store(), how))).unwrap_err();
        assert_eq!(failed.kind(), kind);
        let receipt = census.finish().unwrap();
        assert_eq!(items(&receipt), (450, 50, false), "{how:?}");
        assert_eq!(receipt.failed()[0].item, "store:users");
    }

    let mut census = begun(&ring);
    {
        let silent = Bad::new(store(), How::Silent);
        let mut dropped = pin!(census.add_store(&silent));
        let mut context = Context::from_waker(Waker::noop());
        assert!(matches!(dropped.as_mut().poll(&mut context), Poll::Pending));
    }
    assert_eq!(items(&census.finish().unwrap()), (0, 0, false));

    let mut census = begun(&ring);
    pollster::block_on(census.add_store(&Bad::new(store(), How::Hides))).unwrap();
    let receipt = census.finish().unwrap();
    assert!(!receipt.is_whole());
    assert_eq!(receipt.failed()[0].item, "store:users: 0499");
}
