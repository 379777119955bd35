//! Branch keys are made and moved, and their parents too.

mod exposed;
mod lifecycle;
mod parents;
mod rewrap;
mod taken_over;

use std::sync::Arc;

use waxseal::ring::evidence::Covered;
use waxseal::ring::inventory::MemoryInventory;
use waxseal::ring::{
    Authority, Backends, BranchRewrap, BranchesRewrapped, Evidence, Grounds, Inventory, KeyRecord, KeyRing,
    KeyRingBuilder, KeySource, NewKey, Provisioning, RecordId, Rollout, Scope, Settings, State, Target,
    Trust,
};
use waxseal::source::Caching;
use waxseal::testing::{FakeKeyManager, Method};
use waxseal::{EncryptionContext, Result, Sealer};

use super::bench::{Bench, DAY, MINUTE, PLAIN, VERSIONED};
use super::retire::{nothing, refused};

/// A ring of tenants whose branch keys are under the scope `/`, with the parent and the key of the provisioner.
struct Branches {
    bench: Bench,
    parent: RecordId,
    provisioner: Arc<Authority>,
}

fn scope(text: &str) -> Scope {
    text.parse().unwrap()
}

fn context(tenant: &str) -> EncryptionContext {
    EncryptionContext::new([("tenant", tenant)]).unwrap()
}

impl Branches {
    fn new(uri: &str) -> Self {
        Self::with(uri, |_| {})
    }

    fn with(uri: &str, edit: impl FnOnce(&mut Settings) + Send) -> Self {
        Self::on(uri, edit, |kms| kms)
    }

    /// Whose first parent is of such a KMS.
    fn under_kms(kms: impl FnOnce(FakeKeyManager) -> FakeKeyManager) -> Self {
        Self::on(VERSIONED, |_| {}, kms)
    }

    fn on(
        uri: &str,
        edit: impl FnOnce(&mut Settings) + Send,
        kms: impl FnOnce(FakeKeyManager) -> FakeKeyManager,
    ) -> Self {
        let provisioner = Arc::new(Authority::generate().unwrap());
        let public = provisioner.public();
        let edit = |settings: &mut Settings| {
            settings.scope_template = "tenant/{tenant}".parse().unwrap();
            settings.provision = Some(Provisioning::on_first_use(Scope::root(), vec![public]));
            edit(settings);
        };
        let bench = Bench::on(edit, kms);
        let parent = bench.key("/", uri);
        Self {
            bench,
            parent,
            provisioner,
        }
    }

    fn try_branch(&self, of: &str, parent: Option<&str>) -> Result<RecordId> {
        let parent = parent.map(scope);
        let new = NewKey::new(scope(of), KeySource::Branch { parent });
        let made = self.bench.run(self.bench.admin().create(&new));
        made.map(|made| made.key)
    }

    fn branch(&self, of: &str) -> RecordId {
        self.try_branch(of, None).unwrap()
    }

    /// Rotates the parent, and returns its successor.
    fn rotate_parent(&self) -> RecordId {
        self.bench.rotate(&Target::Scope(Scope::root()), Rollout::AtOnce)
    }

    /// Another key becomes the parent of new branch keys.
    fn move_parent(&self, uri: &str) -> RecordId {
        let new = NewKey::new(Scope::root(), KeySource::Existing(uri.to_owned()));
        let key = self.bench.run(self.bench.admin().create(&new)).unwrap().key;
        self.bench.run(self.bench.admin().promote(key, "moved")).unwrap();
        key
    }

    fn rewrap(&self) -> BranchesRewrapped {
        let admin = self.bench.admin();
        let what = BranchRewrap::default();
        self.bench.run(admin.rewrap_branches(&what, |_| {})).unwrap()
    }

    fn record(&self, id: RecordId) -> Arc<KeyRecord> {
        self.bench.record(id)
    }

    fn parent_of(&self, id: RecordId) -> RecordId {
        self.record(id).branch.as_ref().unwrap().parent
    }

    fn under(&self, parent: RecordId) -> u64 {
        self.bench.view("/").branches_under(parent)
    }

    /// An application that uses the ring, and makes keys on first use if it is let.
    fn ring(&self, provisions: bool) -> KeyRing {
        self.ring_on(Arc::new(self.bench.inventory.clone()), provisions)
    }

    fn builder(&self) -> KeyRingBuilder {
        self.builder_on(Arc::new(self.bench.inventory.clone()))
    }

    fn builder_on(&self, inventory: Arc<dyn Inventory>) -> KeyRingBuilder {
        let trust = Trust::new(self.bench.ring, self.bench.authority.public());
        let backends: Arc<dyn Backends> = Arc::new(self.bench.fakes.clone());
        KeyRing::builder(trust, inventory, backends)
            .runtime(Arc::new(self.bench.runtime.clone()))
            .without_watching()
    }

    fn ring_on(&self, inventory: Arc<dyn Inventory>, provisions: bool) -> KeyRing {
        let mut builder = self.builder_on(inventory);
        if provisions {
            builder = builder.provisioner(Arc::clone(&self.provisioner));
        }
        self.bench.run(builder.open()).unwrap()
    }

    fn sealer(&self, provisions: bool) -> Sealer {
        sealer(&self.ring(provisions))
    }

    fn seal(&self, sealer: &Sealer, tenant: &str) -> Vec<u8> {
        self.bench.run(sealer.seal(b"hello", &context(tenant))).unwrap()
    }

    /// What a new process opens, which has nothing in memory.
    fn opens(&self, sealed: &[u8], tenant: &str) -> Result<()> {
        let opened = self
            .bench
            .run(self.sealer(false).open(sealed, &context(tenant)))?;
        assert_eq!(opened, b"hello");
        Ok(())
    }

    fn nothing(&self, key: RecordId) -> Evidence {
        nothing(&self.bench, key, self.bench.now())
    }

    fn retire(&self, key: RecordId) -> Result<State> {
        let evidence = self.nothing(key);
        let admin = self.bench.admin();
        let retired = self
            .bench
            .run(admin.retire(key, Grounds::Evidence(&evidence), "x"));
        retired.map(|retired| retired.to)
    }

    fn destroy(&self, key: RecordId) -> Result<State> {
        let evidence = self.nothing(key);
        let destroyed = self.bench.run(self.bench.admin().destroy(key, &evidence, "x"));
        destroyed.map(|destroyed| destroyed.to)
    }

    /// How often the KMS of the parents was asked to wrap and to unwrap.
    fn calls(&self) -> (usize, usize) {
        let fake = &self.bench.fakes.versioned;
        (fake.count(Method::Wrap), fake.count(Method::Unwrap))
    }

    /// Every record verifies, and the head counts what there is.
    fn check(&self) {
        let check = self.bench.run(self.bench.reader(false).check()).unwrap();
        assert!(check.is_good(), "{:?}", check.findings);
    }
}

/// A sealer that asks the ring each time.
fn sealer(ring: &KeyRing) -> Sealer {
    let none = Caching {
        seal_entries: 0,
        open_entries: 0,
        ..ring.caching()
    };
    ring.sealer().cache(none).build().unwrap()
}
