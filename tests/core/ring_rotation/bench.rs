//! A ring, two backends, and a clock.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use pollster::block_on;
use waxseal::envelope::KekRef;
use waxseal::key::{KekAdmin, KekDescription, KekTemplate};
use waxseal::ring::inventory::{Change, Heartbeat, MemoryInventory, NodePath, Snapshot};
use waxseal::ring::{
    Authority, Backends, Inventory, KeyRecord, KeySource, NewKey, Provenance, Reader, RecordId, RingAdmin,
    Rollout, Scope, Settings, Slot, State, Target, Time, Trust, View,
};
use waxseal::runtime::Runtime;
use waxseal::testing::{FakeKeyManager, InventoryLayer, SimulatedRuntime};
use waxseal::{KeyManager, Result};

pub(super) const DAY: Duration = Duration::from_secs(86_400);
pub(super) const MINUTE: Duration = Duration::from_secs(60);
/// The KEK of a backend that proves versions.
pub(super) const VERSIONED: &str = "vault-transit:orders";
/// The KEK of one that does not.
pub(super) const PLAIN: &str = "vault-transit:plain-orders";

/// Lets whoever polls it stop here.
struct Once(bool);

impl Future for Once {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) {
            return Poll::Ready(());
        }
        task.waker().wake_by_ref();
        Poll::Pending
    }
}

async fn stop_here(stops: bool) {
    if stops {
        Once(false).await;
    }
}

/// An inventory in memory whose calls can be interrupted before and after.
#[derive(Clone, Debug)]
pub(super) struct Stopping {
    inner: MemoryInventory,
    stops: bool,
    /// Says that no scope has any KEK.
    lies: bool,
    late: Option<Late>,
}

/// How long changes take.
#[derive(Clone, Debug)]
struct Late {
    runtime: SimulatedRuntime,
    by: Duration,
    /// Whether they have arrived by then, and only the answer is late.
    arrives: bool,
    /// For how many changes yet.
    times: Arc<Mutex<usize>>,
}

impl Late {
    async fn wait(this: Option<&Self>, arrives: bool) {
        let Some(late) = this.filter(|late| late.arrives == arrives) else {
            return;
        };
        let is_late = {
            let mut times = late.times.lock().unwrap();
            *times = times.saturating_sub(1);
            *times > 0
        };
        if is_late {
            late.runtime.sleep(late.by).await;
        }
    }
}

macro_rules! stopping {
    ($self:ident, $call:expr) => {{
        stop_here($self.stops).await;
        let answer = $call.await;
        stop_here($self.stops).await;
        answer
    }};
}

#[async_trait]
impl InventoryLayer for Stopping {
    fn inner(&self) -> &dyn Inventory {
        &self.inner
    }

    async fn revision(&self) -> Result<u64> {
        stopping!(self, self.inner.revision())
    }
    async fn read(&self, scopes: &[Scope], nodes: &[NodePath]) -> Result<Snapshot> {
        stopping!(self, self.inner.read(scopes, nodes))
    }
    async fn commit(&self, change: &Change) -> Result<()> {
        Late::wait(self.late.as_ref(), false).await;
        let answer = stopping!(self, self.inner.commit(change));
        Late::wait(self.late.as_ref(), true).await;
        answer
    }
    async fn scope_of(&self, id: RecordId) -> Result<Option<Scope>> {
        stopping!(self, self.inner.scope_of(id))
    }
    async fn scopes_of_kek(&self, provider: &str, kek_id: &str, limit: u32) -> Result<Vec<Scope>> {
        if self.lies {
            return Ok(Vec::new());
        }
        stopping!(self, self.inner.scopes_of_kek(provider, kek_id, limit))
    }
    async fn scopes_due(&self, by: Time, limit: u32) -> Result<Vec<Scope>> {
        stopping!(self, self.inner.scopes_due(by, limit))
    }
    async fn scopes_after(&self, after: Option<&Scope>, limit: u32) -> Result<Vec<Scope>> {
        stopping!(self, self.inner.scopes_after(after, limit))
    }
    async fn heartbeats(&self, since: Time) -> Result<Vec<Heartbeat>> {
        stopping!(self, self.inner.heartbeats(since))
    }
}

/// Two KMS: names that begin with `plain-` or `waxseal-` are at the one that proves no versions.
#[derive(Clone, Debug)]
pub(super) struct Fakes {
    pub(super) versioned: FakeKeyManager,
    pub(super) plain: FakeKeyManager,
    pub(super) made: Arc<Mutex<BTreeSet<String>>>,
    stops: bool,
}

impl Fakes {
    fn kms(&self, name: &str) -> &FakeKeyManager {
        match name.starts_with("plain-") || name.starts_with("waxseal-") {
            true => &self.plain,
            false => &self.versioned,
        }
    }

    pub(super) fn manager(&self, uri: &str) -> FakeKeyManager {
        let name = uri.strip_prefix("vault-transit:").unwrap();
        self.kms(name).sibling(name)
    }
}

#[async_trait]
impl Backends for Fakes {
    async fn key(&self, provenance: &Provenance) -> Result<Arc<dyn KeyManager>> {
        stop_here(self.stops).await;
        self.manager(&provenance.uri).pinned_to(&provenance.kek()?)
    }

    async fn admin(&self, uri: &str) -> Result<Arc<dyn KekAdmin>> {
        stop_here(self.stops).await;
        Ok(Arc::new(Administered {
            inner: self.manager(uri),
            made: Arc::clone(&self.made),
            stops: self.stops,
        }))
    }

    async fn open(&self, uri: &str) -> Result<Arc<dyn KeyManager>> {
        stop_here(self.stops).await;
        Ok(Arc::new(self.manager(uri)))
    }

    fn sibling(&self, _: &str, name: &str, _: &KekRef) -> Result<String> {
        Ok(format!("vault-transit:{name}"))
    }
}

/// An administration whose calls can be interrupted before and after, and that counts what was made.
#[derive(Debug)]
struct Administered {
    inner: FakeKeyManager,
    made: Arc<Mutex<BTreeSet<String>>>,
    stops: bool,
}

#[async_trait]
impl KekAdmin for Administered {
    fn provider(&self) -> &str {
        KekAdmin::provider(&self.inner)
    }

    async fn create(&self, template: &KekTemplate, key: &str) -> Result<KekDescription> {
        stop_here(self.stops).await;
        let made = self.inner.create(template, key).await;
        if let Ok(made) = &made {
            self.made.lock().unwrap().insert(made.kek.id().to_owned());
        }
        stop_here(self.stops).await;
        made
    }

    async fn describe(&self, kek: &KekRef) -> Result<KekDescription> {
        stopping!(self, self.inner.describe(kek))
    }

    async fn describe_versions(&self, kek: &KekRef) -> Result<Vec<KekDescription>> {
        stopping!(self, self.inner.describe_versions(kek))
    }

    async fn rotate(&self, kek: &KekRef, key: &str) -> Result<KekDescription> {
        stopping!(self, self.inner.rotate(kek, key))
    }

    async fn disable(&self, kek: &KekRef) -> Result<()> {
        self.inner.disable(kek).await
    }

    async fn enable(&self, kek: &KekRef) -> Result<()> {
        stopping!(self, self.inner.enable(kek))
    }

    async fn cancel_destroy(&self, kek: &KekRef) -> Result<()> {
        stopping!(self, self.inner.cancel_destroy(kek))
    }

    async fn schedule_destroy(&self, kek: &KekRef, delay: Duration) -> Result<std::time::SystemTime> {
        stopping!(self, self.inner.schedule_destroy(kek, delay))
    }
}

pub(super) struct Bench {
    pub(super) runtime: SimulatedRuntime,
    pub(super) inventory: MemoryInventory,
    pub(super) authority: Arc<Authority>,
    pub(super) ring: RecordId,
    pub(super) fakes: Fakes,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(super) fn with(edit: impl FnOnce(&mut Settings) + Send) -> Self {
        Self::on(edit, |kms| kms)
    }

    /// With such a KMS behind versioned keys.
    pub(super) fn on(
        edit: impl FnOnce(&mut Settings) + Send,
        kms: impl FnOnce(FakeKeyManager) -> FakeKeyManager,
    ) -> Self {
        let runtime = SimulatedRuntime::new();
        let clock: Arc<dyn Runtime> = Arc::new(runtime.clone());
        let inventory = MemoryInventory::with_runtime(Arc::clone(&clock));
        let authority = Arc::new(Authority::generate().unwrap());
        let trust = block_on(RingAdmin::init_with_runtime(
            &inventory, &runtime, &authority, "alice", edit,
        ))
        .unwrap();
        let fake = |name: &str| {
            FakeKeyManager::new(name)
                .with_provider("vault-transit")
                .with_runtime(Arc::clone(&clock))
        };
        Self {
            ring: trust.ring(),
            fakes: Fakes {
                versioned: kms(fake("orders")),
                plain: fake("plain-orders").hiding_versions(),
                made: Arc::default(),
                stops: false,
            },
            runtime,
            inventory,
            authority,
        }
    }

    pub(super) fn reader(&self, stops: bool) -> Reader {
        self.reader_that(stops, false)
    }

    fn reader_that(&self, stops: bool, lies: bool) -> Reader {
        let inner = self.inventory.clone();
        let trust = Trust::new(self.ring, self.authority.public());
        Reader::new(
            trust,
            Arc::new(Stopping {
                inner,
                stops,
                lies,
                late: None,
            }),
        )
        .with_runtime(Arc::new(self.runtime.clone()))
    }

    fn admin_that(&self, stops: bool, lies: bool) -> RingAdmin {
        let fakes = Fakes {
            stops,
            ..self.fakes.clone()
        };
        RingAdmin::new(
            self.reader_that(stops, lies),
            Arc::clone(&self.authority),
            Arc::new(fakes),
            "alice",
        )
        .with_runtime(Arc::new(self.runtime.clone()))
    }

    /// One whose changes take so long to arrive.
    pub(super) fn late(&self, by: Duration) -> RingAdmin {
        self.late_for(by, false, usize::MAX - 1)
    }

    /// One of whose changes the first ones take so long, to arrive or to be answered.
    pub(super) fn late_for(&self, by: Duration, arrives: bool, times: usize) -> RingAdmin {
        let inventory = Stopping {
            inner: self.inventory.clone(),
            stops: false,
            lies: false,
            late: Some(Late {
                runtime: self.runtime.clone(),
                by,
                arrives,
                times: Arc::new(Mutex::new(times + 1)),
            }),
        };
        let reader = Reader::new(
            Trust::new(self.ring, self.authority.public()),
            Arc::new(inventory),
        );
        let fakes = Arc::new(self.fakes.clone());
        RingAdmin::new(reader, Arc::clone(&self.authority), fakes, "alice")
            .with_runtime(Arc::new(self.runtime.clone()))
    }

    pub(super) fn admin(&self) -> RingAdmin {
        self.admin_that(false, false)
    }

    /// One whose future returns to whoever polls it before and after each call.
    pub(super) fn stopping(&self) -> RingAdmin {
        self.admin_that(true, false)
    }

    /// One whose inventory does not say which scopes have a KEK.
    pub(super) fn with_lying_index(&self) -> RingAdmin {
        self.admin_that(false, true)
    }

    /// Runs to the end, and moves the clock where something sleeps.
    pub(super) fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.run(work).expect("it waits for nobody")
    }

    /// Creates the first key of a scope.
    pub(super) fn key(&self, scope: &str, uri: &str) -> RecordId {
        let new = NewKey::new(scope.parse().unwrap(), KeySource::Existing(uri.to_owned()));
        self.run(self.admin().create(&new)).unwrap().key
    }

    /// Rotates one key, and returns its successor.
    pub(super) fn rotate(&self, target: &Target, rollout: Rollout) -> RecordId {
        let rotated = self.run(self.admin().rotate(target, rollout, "x")).unwrap();
        rotated[0].key
    }

    pub(super) fn view(&self, scope: &str) -> View {
        let scope: Scope = scope.parse().unwrap();
        self.run(self.reader(false).scopes(&[scope])).unwrap()
    }

    pub(super) fn record(&self, id: RecordId) -> Arc<KeyRecord> {
        self.run(self.admin().key(id)).unwrap()
    }

    pub(super) fn state(&self, id: RecordId) -> State {
        self.record(id).state
    }

    pub(super) fn active(&self, scope: &str) -> Arc<KeyRecord> {
        let view = self.view(scope);
        let active = view.active(&scope.parse().unwrap(), &Slot::default());
        Arc::clone(active.expect("a key is active"))
    }

    /// The states of a scope, in the order in which its keys were made.
    pub(super) fn states(&self, scope: &str) -> Vec<State> {
        let view = self.view(scope);
        let mut keys = view.keys(&scope.parse().unwrap()).to_vec();
        keys.sort_by_key(|key| (key.in_ring_since, key.id));
        keys.iter().map(|key| key.state).collect()
    }

    pub(super) fn now(&self) -> Time {
        self.run(self.inventory.now()).unwrap()
    }

    /// How many versions a KEK has at its backend.
    pub(super) fn versions(&self, uri: &str) -> usize {
        let manager = self.fakes.manager(uri);
        let kek = KekRef::new("vault-transit", manager.kek().id(), "").unwrap();
        let versions = self.run(manager.describe_versions(&kek)).unwrap();
        self.fakes.versioned.forget_calls();
        versions.len()
    }
}

/// Every history is a legal path, and each state is what it ends in: what is read was verified, and this is checked there.
pub(super) fn path(key: &KeyRecord) -> Vec<State> {
    key.history.iter().map(|made| made.to).collect()
}
