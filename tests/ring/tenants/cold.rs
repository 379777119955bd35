//! What it costs to meet a tenant: what the database was told to execute, and what the KMS was asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use pollster::block_on;
use waxseal::ring::inventory::{NodePath, Row, Snapshot};
use waxseal::ring::{Inventory, KeyRing, Scope};
use waxseal::testing::InventoryLayer;
use waxseal::{Result, Sealer};

use super::{Bench, CountedBackends, context, scope};
use crate::line::Line;

const TENANTS: std::ops::Range<usize> = 1..21;

/// Counts the calls of an inventory that a look-up makes.
#[derive(Debug)]
struct Calls {
    inner: Arc<dyn Inventory>,
    reads: AtomicUsize,
    writes: AtomicUsize,
}

#[async_trait]
impl InventoryLayer for Calls {
    fn inner(&self) -> &dyn Inventory {
        &*self.inner
    }

    async fn read(&self, scopes: &[Scope], nodes: &[NodePath]) -> Result<Snapshot> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.inner.read(scopes, nodes).await
    }

    async fn provision(&self, follows: u64, row: &Row) -> Result<Row> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        self.inner.provision(follows, row).await
    }
}

/// One process, and what others have seen of it.
struct Process<'l> {
    calls: Arc<Calls>,
    kms: CountedBackends,
    sealer: Sealer,
    line: Option<&'l Line>,
}

/// Reads and writes of the inventory, statements on the line to it, wraps and unwraps of the KMS.
#[derive(Debug, PartialEq, Eq)]
struct Cost {
    calls: [usize; 2],
    statements: Option<usize>,
    kms: [usize; 2],
}

impl<'l> Process<'l> {
    fn start(bench: &Bench, line: Option<&'l Line>) -> (KeyRing, Self) {
        let calls = Arc::new(Calls {
            inner: bench.store.open(),
            reads: AtomicUsize::new(0),
            writes: AtomicUsize::new(0),
        });
        let kms = CountedBackends::default();
        let inventory: Arc<dyn Inventory> = calls.clone();
        let ring = bench
            .builder(inventory, Arc::new(kms.clone()))
            // Nothing but what is asked for.
            .without_watching();
        let ring = block_on(ring.open()).unwrap();
        let sealer = ring.sealer().build().unwrap();
        let process = Self {
            calls,
            kms,
            sealer,
            line,
        };
        (ring, process)
    }

    fn seal(&self, tenant: usize, table: &str) -> Vec<u8> {
        block_on(self.sealer.seal(b"hello", &context(tenant, table))).unwrap()
    }

    fn open(&self, tenant: usize, table: &str, sealed: &[u8]) {
        let opened = block_on(self.sealer.open(sealed, &context(tenant, table)));
        assert_eq!(opened.unwrap(), *b"hello");
    }

    /// What was seen since the last time.
    fn cost(&self) -> Cost {
        let [wraps, unwraps, rewraps] = self.kms.take();
        assert_eq!(rewraps, 0);
        let take = |count: &AtomicUsize| count.swap(0, Ordering::SeqCst);
        Cost {
            calls: [take(&self.calls.reads), take(&self.calls.writes)],
            statements: self.line.map(Line::statements),
            kms: [wraps, unwraps],
        }
    }
}

/// At most two statements, and one call of the KMS.
pub(super) fn looks_up(bench: &Bench, line: Option<&Line>) {
    let cost = |calls: [usize; 2], kms: [usize; 2]| Cost {
        calls,
        // Each call of the inventory is one statement.
        statements: line.map(|_| calls[0] + calls[1]),
        kms,
    };
    let (ring, first) = Process::start(bench, line);
    // Settings, the parent and prepared statements are at hand then.
    first.seal(0, "a");
    first.cost();
    let mut sealed = Vec::new();
    for tenant in TENANTS {
        sealed.push(first.seal(tenant, "a"));
        assert_eq!(
            first.cost(),
            cost([1, 1], [1, 0]),
            "the first use of tenant {tenant}"
        );
        first.seal(tenant, "b");
        first.seal(tenant, "b");
        first.open(tenant, "a", sealed.last().unwrap());
        assert_eq!(
            first.cost(),
            cost([0, 0], [0, 0]),
            "what is at hand of tenant {tenant}"
        );
    }
    let known = ring.status().unwrap();
    assert_eq!((known.scopes, known.branch_keys), (21, 21));

    let meets = |what: &str| {
        let (_ring, other) = Process::start(bench, line);
        other.seal(0, "a");
        other.cost();
        for (tenant, sealed) in TENANTS.zip(&sealed) {
            match tenant % 2 {
                0 => other.open(tenant, "a", sealed),
                _ => drop(other.seal(tenant, "a")),
            }
            assert_eq!(other.cost(), cost([1, 0], [0, 1]), "{what} {tenant}");
            other.open(tenant, "a", sealed);
            other.seal(tenant, "c");
            assert_eq!(other.cost(), cost([0, 0], [0, 0]), "{what} {tenant}, again");
        }
    };
    meets("another process meets tenant");
    let view = || {
        block_on(
            bench
                .admin
                .reader()
                .scopes(&TENANTS.map(scope).collect::<Vec<_>>()),
        )
        .unwrap()
    };
    assert!(
        view()
            .all_keys()
            .filter(|key| key.branch.is_some())
            .all(|key| view().is_provisioned(key.id))
    );
    block_on(bench.admin.tick(None)).unwrap();
    assert!(view().all_keys().all(|key| !view().is_provisioned(key.id)));
    meets("after the ring has taken it over, another process meets tenant");
}
