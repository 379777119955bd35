//! A ring in memory, over fakes, on a clock that the tests move.

mod approvals;
#[cfg(feature = "audit")]
mod audited;
mod branch;
mod buried_branches;
mod changes;
mod exposed;
mod many;
mod otherwise;
mod outage;
mod profiles;
mod shredded;
mod states;
mod versions;
mod watching;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use pollster::block_on;

use super::{Builder, KeyRing};
use crate::envelope::{Envelope, KekRef};
use crate::key::{KekAdmin, KeyManager};
use crate::ring::draft::{self, Pen};
use crate::ring::inventory::{Change, Heartbeat, Inventory, MemoryInventory, NodePath, Row, Snapshot};
use crate::ring::{
    Authority, Backends, Canary, KeyRecord, Move, Protection, Provenance, RecordId, Scope, Settings, Slot,
    State, Time, Trust,
};
use crate::runtime::Runtime;
use crate::source::Caching;
use crate::testing::{FakeKeyManager, InventoryLayer, SimulatedRuntime};
use crate::value::context::EncryptionContext;
use crate::value::error::{Error, ErrorKind, Result};
use crate::{Aad, Opener, Plaintext, Sealer};

/// The KEKs that a ring may name, by URI.
#[derive(Debug, Default)]
pub(super) struct Fakes {
    by_uri: Mutex<BTreeMap<String, FakeKeyManager>>,
    /// Whoever is asked to open a KEK.
    asked: Mutex<Vec<Provenance>>,
    /// Opening these takes for ever, by the clock of the test.
    hangs: Mutex<Option<(String, SimulatedRuntime)>>,
}

#[async_trait]
impl Backends for Fakes {
    async fn key(&self, provenance: &Provenance) -> Result<Arc<dyn KeyManager>> {
        self.asked.lock().unwrap().push(provenance.clone());
        let hangs = self.hangs.lock().unwrap().clone();
        if let Some((_, runtime)) = hangs.filter(|(uri, _)| *uri == provenance.uri) {
            runtime.sleep(Duration::from_secs(1_000_000)).await;
        }
        let fake = self.by_uri.lock().unwrap().get(&provenance.uri).cloned();
        let fake = fake.ok_or_else(|| Error::new(ErrorKind::Unavailable).with_detail("this KMS is away"))?;
        fake.pinned_to(&provenance.kek()?)
    }

    async fn admin(&self, _: &str) -> Result<Arc<dyn KekAdmin>> {
        Err(Error::unsupported("administration"))
    }

    async fn open(&self, _: &str) -> Result<Arc<dyn KeyManager>> {
        Err(Error::unsupported("an unpinned key"))
    }

    fn sibling(&self, _: &str, _: &str, _: &KekRef) -> Result<String> {
        Err(Error::unsupported("a sibling"))
    }
}

/// A ring that a test changes as it likes.
pub(super) struct Bench {
    pub(super) runtime: SimulatedRuntime,
    pub(super) inventory: MemoryInventory,
    pub(super) authority: Authority,
    pub(super) ring: RecordId,
    pub(super) fakes: Arc<Fakes>,
}

pub(super) fn scope(text: &str) -> Scope {
    text.parse().unwrap()
}

pub(super) fn context(tenant: &str) -> EncryptionContext {
    EncryptionContext::new([("tenant", tenant)]).unwrap()
}

pub(super) fn kind<T: std::fmt::Debug>(result: Result<T>) -> ErrorKind {
    result.unwrap_err().kind()
}

impl Bench {
    /// A ring whose scopes are `tenant/{tenant}`.
    pub(super) fn new() -> Self {
        let runtime = SimulatedRuntime::new();
        let bench = Self {
            inventory: MemoryInventory::with_runtime(Arc::new(runtime.clone())),
            ring: RecordId::new(Time::try_from(runtime.wall_clock()).unwrap()).unwrap(),
            authority: Authority::generate().unwrap(),
            fakes: Arc::default(),
            runtime,
        };
        let mut settings = Settings::new(bench.ring, bench.authority.public()).unwrap();
        settings.scope_template = "tenant/{tenant}".parse().unwrap();
        settings.max_stale_open = "PT10M".parse().unwrap();
        let change = draft::first(&settings, &bench.authority, bench.now(), "test").unwrap();
        block_on(bench.inventory.commit(&change)).unwrap();
        bench
    }

    pub(super) fn now(&self) -> Time {
        Time::try_from(self.runtime.wall_clock()).unwrap()
    }

    pub(super) fn trust(&self) -> Trust {
        Trust::new(self.ring, self.authority.public())
    }

    /// A KEK that the ring can reach.
    pub(super) fn fake(&self, name: &str) -> FakeKeyManager {
        let fake = FakeKeyManager::new(name).with_runtime(Arc::new(self.runtime.clone()));
        self.reach(name, &fake);
        fake
    }

    pub(super) fn reach(&self, name: &str, fake: &FakeKeyManager) {
        let mut by_uri = self.fakes.by_uri.lock().unwrap();
        by_uri.insert(format!("env:{name}"), fake.clone());
    }

    /// Lets opening this KEK take for ever.
    pub(super) fn hanging(&self, name: &str) {
        let hangs = (format!("env:{name}"), self.runtime.clone());
        *self.fakes.hangs.lock().unwrap() = Some(hangs);
    }

    pub(super) fn unreachable(&self, name: &str) {
        self.fakes.by_uri.lock().unwrap().remove(&format!("env:{name}"));
    }

    /// A key of this KEK that nobody has used, in the default slot. Its version is a key of its own.
    pub(super) fn key(&self, of: &str, fake: &FakeKeyManager) -> KeyRecord {
        let kek = fake.kek();
        KeyRecord::new(
            RecordId::new(self.now()).unwrap(),
            scope(of),
            Slot::default(),
            Provenance::new(&format!("env:{}", kek.id()), &kek).unwrap(),
            FakeKeyManager::ALGORITHM,
            Protection::Software,
            ("P90D".parse().unwrap(), "PT24H".parse().unwrap()),
            self.now(),
        )
    }

    /// The key, after it has gone through these states.
    pub(super) fn went(&self, mut key: KeyRecord, states: &[State]) -> KeyRecord {
        for state in states {
            self.go(&mut key, *state);
        }
        key
    }

    pub(super) fn go(&self, key: &mut KeyRecord, to: State) {
        let from = (!key.history.is_empty()).then_some(key.state);
        key.state = to;
        key.revision += 1;
        if to == State::Active {
            key.activated = Some(self.now());
            key.has_wrapped = true;
            key.canary = None;
        }
        if to == State::Destroyed {
            key.remove_wrap();
        }
        key.record_move(Move {
            at: self.now(),
            revision: 1,
            from,
            to,
            actor: "test".to_owned(),
            reason: "test".to_owned(),
            evidence: None,
            ticket: None,
            approver: None,
        })
        .unwrap();
    }

    /// Writes these records, in this order.
    pub(super) fn put(&self, records: &[&KeyRecord]) {
        let mut scopes: Vec<_> = records.iter().map(|record| record.scope.clone()).collect();
        scopes.dedup();
        let trust = self.trust();
        block_on(self.pen(&trust).change(&scopes, |_, draft| {
            for record in records {
                draft.put(*record)?;
            }
            Ok(())
        }))
        .unwrap();
    }

    pub(super) fn pen<'p>(&'p self, trust: &'p Trust) -> Pen<'p> {
        Pen {
            trust,
            inventory: &self.inventory,
            authority: &self.authority,
            next: None,
            actor: "test",
            runtime: &self.runtime,
            witness: None,
            tolerance: Duration::ZERO,
        }
    }

    /// An active key of a scope under a KEK of its own.
    pub(super) fn active(&self, of: &str, name: &str) -> (KeyRecord, FakeKeyManager) {
        let fake = self.fake(name);
        let key = self.went(self.key(of, &fake), &[State::Active]);
        self.put(&[&key]);
        (key, fake)
    }

    /// Lets another key take over.
    pub(super) fn promote(&self, old: &mut KeyRecord, new: &mut KeyRecord) {
        self.go(old, State::Deprecated);
        self.go(new, State::Active);
        self.put(&[old, new]);
    }

    pub(super) fn builder(&self) -> Builder {
        self.builder_on(Arc::new(self.inventory.clone()))
    }

    pub(super) fn builder_on(&self, inventory: Arc<dyn Inventory>) -> Builder {
        KeyRing::builder(
            self.trust(),
            inventory,
            Arc::clone(&self.fakes) as Arc<dyn Backends>,
        )
        .runtime(Arc::new(self.runtime.clone()))
        .without_watching()
    }

    pub(super) fn open(&self) -> KeyRing {
        block_on(self.builder().open()).unwrap()
    }
}

/// What an inventory does in the place of answering.
#[derive(Clone, Debug, Default)]
pub(super) enum Mood {
    #[default]
    Fine,
    Away,
    /// For this long, by the clock of the test.
    Hangs(Duration),
    /// What it holds, but the answer takes so long.
    Late(Duration),
    /// What it held a while ago.
    Older(Box<Snapshot>),
}

/// Changes a row before it is returned.
type Spoil = fn(&mut Row);

/// An inventory that a test can spoil.
#[derive(Clone, Debug)]
pub(super) struct Moody {
    inner: MemoryInventory,
    runtime: SimulatedRuntime,
    pub(super) mood: Arc<Mutex<Mood>>,
    pub(super) spoil: Arc<Mutex<Option<Spoil>>>,
    pub(super) reads: Arc<AtomicUsize>,
    /// Rows that were returned.
    pub(super) rows: Arc<AtomicUsize>,
}

impl Moody {
    pub(super) fn new(bench: &Bench) -> Self {
        Self {
            inner: bench.inventory.clone(),
            runtime: bench.runtime.clone(),
            mood: Arc::default(),
            spoil: Arc::default(),
            reads: Arc::default(),
            rows: Arc::default(),
        }
    }

    pub(super) fn be(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    async fn answer(&self) -> Result<Option<Snapshot>> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let mood = self.mood.lock().unwrap().clone();
        match mood {
            Mood::Fine | Mood::Late(_) => Ok(None),
            Mood::Away => Err(Error::new(ErrorKind::Unavailable)),
            Mood::Hangs(time) => {
                self.runtime.sleep(time).await;
                Ok(None)
            }
            Mood::Older(snapshot) => Ok(Some(*snapshot)),
        }
    }
}

#[async_trait]
impl InventoryLayer for Moody {
    fn inner(&self) -> &dyn Inventory {
        &self.inner
    }

    async fn revision(&self) -> Result<u64> {
        match self.answer().await? {
            Some(older) => Ok(older.revision),
            None => self.inner.revision().await,
        }
    }
    async fn read(&self, scopes: &[Scope], nodes: &[NodePath]) -> Result<Snapshot> {
        let mut snapshot = match self.answer().await? {
            Some(older) => older,
            None => self.inner.read(scopes, nodes).await?,
        };
        let mood = self.mood.lock().unwrap().clone();
        if let Mood::Late(time) = mood {
            self.runtime.sleep(time).await;
        }
        if let Some(spoil) = *self.spoil.lock().unwrap() {
            snapshot.rows.iter_mut().for_each(spoil);
        }
        self.rows.fetch_add(snapshot.rows.len(), Ordering::SeqCst);
        Ok(snapshot)
    }
    async fn beat(&self, heartbeat: &Heartbeat) -> Result<()> {
        self.answer().await?;
        self.inner.beat(heartbeat).await
    }
}

/// A sealer that asks the ring each time.
pub(super) fn uncached(ring: &KeyRing) -> Sealer {
    let none = Caching {
        seal_entries: 0,
        open_entries: 0,
        ..ring.caching()
    };
    ring.sealer().cache(none).build().unwrap()
}

pub(super) fn seal(sealer: &Sealer, tenant: &str) -> Vec<u8> {
    block_on(sealer.seal(b"hello", &context(tenant))).unwrap()
}

pub(super) fn open(sealer: &Sealer, sealed: &[u8], tenant: &str) -> Result<Plaintext> {
    block_on(sealer.open(sealed, &context(tenant)))
}

pub(super) fn opener(sealer: &Sealer, sealed: &[u8]) -> Opener {
    let envelope = Envelope::parse(sealed).unwrap();
    block_on(sealer.opener(envelope.header(), &context("a"))).unwrap()
}

/// The KEKs that an envelope names.
pub(super) fn keks(sealed: &[u8]) -> Vec<String> {
    let envelope = Envelope::parse(sealed).unwrap();
    let section = envelope.header().wrap_section().unwrap();
    section.stanzas().map(|stanza| stanza.kek_id.to_owned()).collect()
}

pub(super) fn canary(bench: &Bench, percent: u8) -> Option<Canary> {
    serde_json::from_value(serde_json::json!({"percent": percent, "since": bench.now().to_string()})).unwrap()
}
