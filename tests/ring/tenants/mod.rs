//! Many tenants under one parent: the first key of each is made when it is first met.

mod cold;
mod kills;
mod many;
mod moves;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use pollster::block_on;
use waxseal::envelope::KekRef;
use waxseal::key::{KekAdmin, KeyManager};
use waxseal::ring::{
    Authority, AuthorityKey, Backends, Inventory, KeyRing, KeyRingBuilder, KeySource, NewKey, Provenance,
    Provisioning, Reader, RecordId, RingAdmin, Rollout, Scope, State, Target, Trust,
};
use waxseal::{EncryptionContext, Result};

pub(crate) use kills::{is_worker, work};

use crate::counted::Counted;
use crate::places::{self, Store, backends};

pub(crate) fn cold_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    cold::looks_up(&Bench::new(Store::sqlite(folder.path()), folder.path()), None);
}

pub(crate) fn cold_on_postgres() {
    let folder = tempfile::tempdir().unwrap();
    let Some(store) = Store::postgres() else { return };
    let (line, behind) = store.in_the_clear().behind_a_line();
    cold::looks_up(&Bench::new(behind, folder.path()), Some(&line));
}

pub(crate) fn many_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    many::tenants(&Bench::new(Store::sqlite(folder.path()), folder.path()));
}

pub(crate) fn many_on_postgres() {
    let folder = tempfile::tempdir().unwrap();
    let Some(store) = Store::postgres() else { return };
    many::tenants(&Bench::new(store, folder.path()));
}

pub(crate) fn one_moves() {
    let folder = tempfile::tempdir().unwrap();
    let Some(vault) = places::vault() else { return };
    moves::one_tenant(&Bench::new(Store::sqlite(folder.path()), folder.path()), &vault);
}

pub(crate) fn killed_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    kills::lose_nothing(&Bench::new(Store::sqlite(folder.path()), folder.path()));
}

pub(crate) fn killed_on_postgres() {
    let folder = tempfile::tempdir().unwrap();
    let Some(store) = Store::postgres() else { return };
    kills::lose_nothing(&Bench::new(store, folder.path()));
}

/// A ring whose tenants get their first key on first use, with a parent in a file.
struct Bench {
    store: Store,
    folder: PathBuf,
    trust: (RecordId, AuthorityKey),
    provisioner: Arc<Authority>,
    admin: RingAdmin,
}

impl Bench {
    fn new(store: Store, folder: &Path) -> Self {
        let inventory = store.create();
        let authority = Authority::generate().unwrap();
        let provisioner = Arc::new(Authority::generate().unwrap());
        let trust = block_on(RingAdmin::init(&*inventory, &authority, "alice", |settings| {
            settings.scope_template = "tenant/{tenant}".parse().unwrap();
            let provisioning = Provisioning::on_first_use(Scope::root(), vec![provisioner.public()]);
            settings.provision = Some(provisioning);
        }))
        .unwrap();
        let known = (trust.ring(), authority.public());
        let admin = RingAdmin::new(
            Reader::new(trust, inventory),
            Arc::new(authority),
            backends(),
            "alice",
        );
        let parent = KeySource::MadeBeside(format!("file:{}/x", folder.display()));
        let created = block_on(admin.create(&NewKey::new(Scope::root(), parent))).unwrap();
        assert_eq!(created.to, State::Active);
        Self {
            store,
            folder: folder.to_owned(),
            trust: known,
            provisioner,
            admin,
        }
    }

    fn trust(&self) -> Trust {
        Trust::new(self.trust.0, self.trust.1)
    }

    /// As an application opens it, which can make first keys.
    fn builder(&self, inventory: Arc<dyn Inventory>, backends: Arc<dyn Backends>) -> KeyRingBuilder {
        KeyRing::builder(self.trust(), inventory, backends).provisioner(Arc::clone(&self.provisioner))
    }

    fn rotate_parent(&self) -> RecordId {
        let root = Target::Scope(Scope::root());
        let rotated = block_on(self.admin.rotate(&root, Rollout::AtOnce, "a drill")).unwrap();
        assert_eq!(
            (rotated.len(), rotated[0].state),
            (1, State::Active),
            "{rotated:?}"
        );
        rotated[0].key
    }
}

fn scope(tenant: usize) -> Scope {
    format!("tenant/{tenant}").parse().unwrap()
}

fn context(tenant: usize, table: &str) -> EncryptionContext {
    let tenant = tenant.to_string();
    EncryptionContext::new([("tenant", tenant.as_str()), ("table", table)]).unwrap()
}

/// Backends that count what the KMS is asked.
#[derive(Clone, Debug, Default)]
struct CountedBackends(Arc<Mutex<Vec<Opened>>>);

type Opened = Counted<Arc<dyn KeyManager>>;

impl CountedBackends {
    /// Wraps, unwraps and re-wraps since the last time.
    fn take(&self) -> [usize; 3] {
        let opened = self.0.lock().unwrap();
        let each = opened.iter().map(Counted::take);
        each.fold([0; 3], |all, one| {
            std::array::from_fn(|index| all[index] + one[index])
        })
    }
}

#[async_trait]
impl Backends for CountedBackends {
    async fn key(&self, provenance: &Provenance) -> Result<Arc<dyn KeyManager>> {
        let counted = Counted::new(backends().key(provenance).await?);
        self.0.lock().unwrap().push(counted.clone());
        Ok(Arc::new(counted))
    }

    async fn admin(&self, uri: &str) -> Result<Arc<dyn KekAdmin>> {
        backends().admin(uri).await
    }

    async fn open(&self, uri: &str) -> Result<Arc<dyn KeyManager>> {
        backends().open(uri).await
    }

    fn sibling(&self, uri: &str, name: &str, kek: &KekRef) -> Result<String> {
        backends().sibling(uri, name, kek)
    }
}
