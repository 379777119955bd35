//! Several who meet a scope at once, and some who give up.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::task::{Context, Poll};

use super::*;
use crate::runtime::join::join;

/// Does something once, before a row is added.
type Before = Box<dyn FnOnce() + Send>;

/// An inventory before which somebody else is faster, and which lets others run in each call.
#[derive(Clone)]
struct Slow {
    inner: MemoryInventory,
    before: Arc<Mutex<Option<Before>>>,
    provisions: Arc<AtomicUsize>,
    /// The answer to adding a row is lost.
    loses: Arc<AtomicBool>,
}

impl std::fmt::Debug for Slow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Slow")
    }
}

/// Pending once.
struct Later(bool);

impl Future for Later {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Slow {
    fn new(shop: &Shop) -> Self {
        Self {
            inner: shop.bench.inventory.clone(),
            before: Arc::default(),
            provisions: Arc::default(),
            loses: Arc::default(),
        }
    }

    fn ring(&self, shop: &Shop) -> KeyRing {
        let builder = shop.bench.builder_on(Arc::new(self.clone()));
        block_on(builder.provisioner(shop.private()).open()).unwrap()
    }

    fn before(&self, act: impl FnOnce() + Send + 'static) {
        *self.before.lock().unwrap() = Some(Box::new(act));
    }
}

#[async_trait]
impl InventoryLayer for Slow {
    fn inner(&self) -> &dyn Inventory {
        &self.inner
    }

    async fn read(&self, scopes: &[Scope], nodes: &[NodePath]) -> Result<Snapshot> {
        Later(false).await;
        let snapshot = self.inner.read(scopes, nodes).await;
        Later(false).await;
        snapshot
    }

    async fn provision(&self, follows: u64, row: &Row) -> Result<Row> {
        self.provisions.fetch_add(1, Ordering::SeqCst);
        let before = self.before.lock().unwrap().take();
        if let Some(act) = before {
            act();
        }
        Later(false).await;
        let there = self.inner.provision(follows, row).await;
        Later(false).await;
        match self.loses.swap(false, Ordering::SeqCst) {
            true => Err(Error::new(ErrorKind::Unavailable)),
            false => there,
        }
    }
}

#[test]
fn two_processes_that_meet_a_scope_at_once_make_one_key() {
    let shop = Shop::new();
    let slow = Slow::new(&shop);
    let sealer = uncached(&slow.ring(&shop));
    let faster = Arc::new(Mutex::new(None));
    let (other, won) = (uncached(&shop.ring()), Arc::clone(&faster));
    slow.before(move || *won.lock().unwrap() = Some(seal(&other, "a")));
    let lost = seal(&sealer, "a");
    let won = faster.lock().unwrap().take().unwrap();
    assert_eq!(keks(&won), keks(&lost));
    assert_eq!(shop.rows("a").len(), 1);
    assert_eq!(keks(&won), [shop.rows("a")[0].id.to_string()]);
    // Each has made a key, and the loser has opened the winner's.
    assert_eq!(
        (shop.kms.count(Method::Wrap), shop.kms.count(Method::Unwrap)),
        (2, 1)
    );
    for sealed in [&won, &lost] {
        assert_eq!(open(&uncached(&shop.plain()), sealed, "a").unwrap(), b"hello");
    }
}

#[test]
fn many_calls_of_one_process_make_one_call_of_the_kms() {
    let shop = Shop::new();
    let slow = Slow::new(&shop);
    let sealer = uncached(&slow.ring(&shop));
    let (sealer, of) = (&sealer, context("a"));
    let of = &of;
    let calls = (0..30).map(|_| -> crate::runtime::BoxFuture<'_, _> { Box::pin(sealer.seal(b"", of)) });
    let sealed = block_on(join(calls));
    let ids: std::collections::BTreeSet<_> = sealed
        .into_iter()
        .flat_map(|sealed| keks(&sealed.unwrap()))
        .collect();
    assert_eq!((ids.len(), shop.kms.total()), (1, 1));
    assert_eq!(slow.provisions.load(Ordering::SeqCst), 1);
}

#[test]
fn a_change_in_between_lets_the_same_key_be_signed_anew() {
    let shop = Arc::new(Shop::new());
    let slow = Slow::new(&shop);
    let sealer = uncached(&slow.ring(&shop));
    let other = Arc::clone(&shop);
    slow.before(move || drop(other.bench.active("tenant/z", "z")));
    let sealed = seal(&sealer, "a");
    assert_eq!((shop.kms.total(), slow.provisions.load(Ordering::SeqCst)), (1, 2));
    assert_eq!(open(&uncached(&shop.plain()), &sealed, "a").unwrap(), b"hello");
    // Its parent was rotated meanwhile: another wrap.
    let other = Arc::clone(&shop);
    slow.before(move || drop(other.rotate_parent("next")));
    let sealed = seal(&sealer, "b");
    let key = &shop.keys("tenant/b")[0];
    assert_ne!(key.branch.as_ref().unwrap().parent, shop.parent.id);
    assert_eq!(open(&uncached(&shop.plain()), &sealed, "b").unwrap(), b"hello");
    // An administrator was faster: nothing is made.
    let other = Arc::clone(&shop);
    slow.before(move || drop(other.bench.active("tenant/c", "c")));
    assert_eq!(keks(&seal(&sealer, "c")), ["c"]);
    assert_eq!(shop.rows("c").len(), 0);
}

#[test]
fn a_lost_answer_of_the_inventory_loses_nothing() {
    let shop = Shop::new();
    let slow = Slow::new(&shop);
    let sealer = uncached(&slow.ring(&shop));
    slow.loses.store(true, Ordering::SeqCst);
    assert_eq!(refused(&sealer, "a"), ErrorKind::Unavailable);
    assert_eq!(shop.rows("a").len(), 1);
    let sealed = seal(&sealer, "a");
    assert_eq!(keks(&sealed), [shop.rows("a")[0].id.to_string()]);
    assert_eq!(open(&uncached(&shop.plain()), &sealed, "a").unwrap(), b"hello");
}

/// Polls a future so often, and drops it. Returns what it was ready with.
fn poll_times<T>(future: impl Future<Output = T>, times: usize) -> Option<T> {
    let mut future = std::pin::pin!(future);
    let mut context = Context::from_waker(std::task::Waker::noop());
    for _ in 0..times {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return Some(value);
        }
    }
    None
}

#[test]
fn a_seal_that_is_dropped_anywhere_leaves_one_key_or_none() {
    let mut whole = None;
    for polls in 0..200 {
        let shop = Shop::new();
        let slow = Slow::new(&shop);
        let sealer = uncached(&slow.ring(&shop));
        let of = context("a");
        let first = poll_times(sealer.seal(b"hello", &of), polls);
        let is_whole = first.is_some();
        let mut envelopes: Vec<Vec<u8>> = first.into_iter().map(|sealed| sealed.unwrap().to_vec()).collect();
        // The same process, and another.
        envelopes.push(seal(&sealer, "a"));
        envelopes.push(seal(&uncached(&shop.ring()), "a"));
        assert_eq!(shop.rows("a").len(), 1, "{polls}");
        for sealed in &envelopes {
            assert_eq!(keks(sealed), [shop.rows("a")[0].id.to_string()], "{polls}");
            assert_eq!(
                open(&uncached(&shop.plain()), sealed, "a").unwrap(),
                b"hello",
                "{polls}"
            );
        }
        if is_whole {
            whole = Some(polls);
            break;
        }
    }
    // It was dropped in each of its steps, and ended by itself.
    assert!(whole.is_some_and(|polls| polls > 4), "{whole:?}");
}
