//! One tenant moves to a KMS of its own, and back, while the others stay where they are.

use std::collections::BTreeMap;

use pollster::block_on;
use waxseal::ring::{KeyRing, KeySource, NewKey, RecordId, Slot, State};
use waxseal::{Envelope, Sealer};

use super::{Bench, context, scope};
use crate::places::backends;

const TENANTS: usize = 5;
const MOVER: usize = 2;

struct Moving<'b> {
    bench: &'b Bench,
    ring: KeyRing,
    sealer: Sealer,
    values: Vec<Vec<u8>>,
}

pub(super) fn one_tenant(bench: &Bench, vault: &str) {
    let ring = bench.builder(bench.store.open(), backends()).without_watching();
    let ring = block_on(ring.open()).unwrap();
    let sealer = ring.sealer().build().unwrap();
    let values = (0..TENANTS).map(|tenant| block_on(sealer.seal(b"old", &context(tenant, "t"))).unwrap());
    let values = values.collect();
    let mut moving = Moving {
        bench,
        ring,
        sealer,
        values,
    };
    let before = moving.active();
    moving.to(KeySource::MadeBeside(vault.to_owned()), "vault-transit");
    moving.to(KeySource::Branch { parent: None }, "branch");
    let mut after = moving.active();
    // It is another key than the first.
    assert_ne!(after[&MOVER], before[&MOVER]);
    after.insert(MOVER, before[&MOVER]);
    assert_eq!(after, before);
}

impl Moving<'_> {
    /// The key that wraps for each tenant.
    fn active(&self) -> BTreeMap<usize, RecordId> {
        let scopes: Vec<_> = (0..TENANTS).map(scope).collect();
        let view = block_on(self.bench.admin.reader().scopes(&scopes)).unwrap();
        let active = |tenant| view.active(&scope(tenant), &Slot::default()).unwrap().id;
        (0..TENANTS).map(|tenant| (tenant, active(tenant))).collect()
    }

    /// Makes a key elsewhere, promotes it, and moves what is stored.
    fn to(&mut self, place: KeySource, provider: &str) {
        let made = block_on(self.bench.admin.create(&NewKey::new(scope(MOVER), place))).unwrap();
        assert_eq!(made.to, State::Pending, "its scope has an active key");
        let from = provider_of(&self.values[MOVER]);
        self.is_sealed_by(&from);
        block_on(self.bench.admin.promote(made.key, "a contract")).unwrap();
        self.is_sealed_by(provider);
        let mut rewrapper = self.sealer.rewrapper();
        for (tenant, value) in self.values.iter_mut().enumerate() {
            let new = block_on(rewrapper.rewrap(value, &context(tenant, "t"))).unwrap();
            assert_eq!(new.is_some(), tenant == MOVER, "{tenant}");
            if let Some(new) = new {
                *value = new.splice(value).unwrap();
            }
        }
        assert_eq!(provider_of(&self.values[MOVER]), provider);
        self.is_sealed_by(provider);
    }

    /// What the mover seals now is under this KMS, what others seal is under branch keys, and everything opens.
    fn is_sealed_by(&self, provider: &str) {
        block_on(self.ring.refresh()).unwrap();
        for (tenant, old) in self.values.iter().enumerate() {
            let context = context(tenant, "t");
            let new = block_on(self.sealer.seal(b"new", &context)).unwrap();
            let expected = if tenant == MOVER { provider } else { "branch" };
            assert_eq!(provider_of(&new), expected, "{tenant}");
            for (value, text) in [(old, b"old"), (&new, b"new")] {
                assert_eq!(block_on(self.sealer.open(value, &context)).unwrap(), *text);
            }
        }
    }
}

fn provider_of(sealed: &[u8]) -> String {
    let envelope = Envelope::parse(sealed).unwrap();
    let wraps = envelope.header().wrap_section().unwrap();
    let providers: Vec<_> = wraps.stanzas().map(|wrap| wrap.provider.to_owned()).collect();
    let [provider] = providers.as_slice() else {
        panic!("{providers:?}")
    };
    provider.clone()
}
