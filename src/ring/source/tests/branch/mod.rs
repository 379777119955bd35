//! Branch keys: made on first use or by an administrator, and what becomes of them.

mod caching;
mod first_use;
mod parents;
mod races;
mod taken;
mod wiped;

use pollster::block_on;

use super::*;
use crate::ring::branch::{self, Asking, Place};
use crate::ring::{Provisioning, Reader};
use crate::testing::Method;

/// A ring whose scope `/` has the parent of branch keys, with a provisioner.
pub(super) struct Shop {
    pub(super) bench: Bench,
    pub(super) parent: KeyRecord,
    /// The parent's KMS.
    pub(super) kms: FakeKeyManager,
    pub(super) provisioner: Authority,
}

impl Shop {
    pub(super) fn new() -> Self {
        Self::of(|_, key| key)
    }

    /// The same with another parent.
    pub(super) fn of(edit: impl FnOnce(&FakeKeyManager, KeyRecord) -> KeyRecord) -> Self {
        let bench = Bench::new();
        let kms = bench.fake("root");
        let parent = edit(&kms, bench.key("/", &kms));
        let parent = bench.went(parent, &[State::Active]);
        bench.put(&[&parent]);
        let shop = Self {
            bench,
            parent,
            kms,
            provisioner: Authority::generate().unwrap(),
        };
        let key = shop.provisioner.public();
        shop.settings(|settings| {
            settings.provision = Some(Provisioning::on_first_use(Scope::root(), vec![key]));
        });
        shop
    }

    pub(super) fn settings(&self, edit: impl Fn(&mut Settings) + Send + Sync) {
        let trust = self.bench.trust();
        block_on(self.bench.pen(&trust).change(&[], |view, draft| {
            let mut settings = view.settings().as_ref().clone();
            edit(&mut settings);
            draft.set_settings(settings)
        }))
        .unwrap();
    }

    /// The private half, for a process of its own.
    pub(super) fn private(&self) -> Authority {
        Authority::from_seed(&self.provisioner.expose_seed())
    }

    pub(super) fn builder(&self) -> Builder {
        self.bench.builder().provisioner(self.private())
    }

    /// A process that makes first keys.
    pub(super) fn ring(&self) -> KeyRing {
        block_on(self.builder().open()).unwrap()
    }

    /// One that makes none.
    pub(super) fn plain(&self) -> KeyRing {
        self.bench.open()
    }

    pub(super) fn reader(&self) -> Reader {
        let runtime = Arc::new(self.bench.runtime.clone());
        Reader::new(self.bench.trust(), Arc::new(self.bench.inventory.clone())).with_runtime(runtime)
    }

    /// The provisioned rows of a tenant.
    pub(super) fn rows(&self, tenant: &str) -> Vec<Row> {
        let scope = scope(&format!("tenant/{tenant}"));
        block_on(self.bench.inventory.read(&[scope], &[]))
            .unwrap()
            .provisioned
    }

    /// The keys of a scope, as a reader believes them.
    pub(super) fn keys(&self, of: &str) -> Vec<KeyRecord> {
        let view = block_on(self.bench.trust().read(&self.bench.inventory, &[scope(of)])).unwrap();
        view.keys(&scope(of))
            .iter()
            .map(|key| key.as_ref().clone())
            .collect()
    }

    /// Lets the ring move a key, as of the revision that it makes.
    pub(super) fn turn(&self, key: &mut KeyRecord, to: State) {
        self.edit(key, to);
        self.bench.put(&[key]);
    }

    pub(super) fn edit(&self, key: &mut KeyRecord, to: State) {
        self.bench.go(key, to);
        if to == State::Destroyed {
            // What a destroyed branch key was wrapped as does not stay.
            if let Some(branch) = &mut key.branch {
                branch.wrapped.bytes.clear();
            }
        }
        let next = block_on(self.bench.inventory.revision()).unwrap() + 1;
        if let Some(made) = key.history.last_mut() {
            made.revision = next;
        }
    }

    /// A successor of the parent takes over.
    pub(super) fn rotate_parent(&self, name: &str) -> (KeyRecord, FakeKeyManager) {
        let kms = self.bench.fake(name);
        let mut next = self.bench.key("/", &kms);
        let mut old = self.parent.clone();
        self.edit(&mut old, State::Deprecated);
        self.edit(&mut next, State::Active);
        self.bench.put(&[&old, &next]);
        (next, kms)
    }

    /// A branch key that an administrator makes, in these states.
    pub(super) fn branch(
        &self,
        of: &str,
        parent: &KeyRecord,
        kms: &FakeKeyManager,
        states: &[State],
    ) -> KeyRecord {
        let key = RecordId::new(self.bench.now()).unwrap();
        let of = scope(of);
        let place = Place {
            ring: self.bench.ring,
            scope: &of,
            key,
        };
        let asking = Asking {
            parent,
            manager: kms,
            purpose: crate::key::Purpose::Seal,
            deadline: None,
        };
        let (_, branch) = block_on(asking.make(place)).unwrap();
        let periods = ("P90D".parse().unwrap(), "PT24H".parse().unwrap());
        let record = branch::record(place, Slot::default(), parent, branch, periods, self.bench.now());
        self.bench.went(record, states)
    }
}

/// The providers that an envelope names.
pub(super) fn providers(sealed: &[u8]) -> Vec<String> {
    let envelope = Envelope::parse(sealed).unwrap();
    let section = envelope.header().wrap_section().unwrap();
    section
        .stanzas()
        .map(|stanza| stanza.provider.to_owned())
        .collect()
}

pub(super) fn refused(sealer: &Sealer, tenant: &str) -> ErrorKind {
    kind(block_on(sealer.seal(b"", &context(tenant))))
}
