//! A ring in memory whose KEKs are variables of an environment.
#![allow(dead_code, reason = "each test uses its own part of it")]

use std::sync::Arc;

use pollster::block_on;
use waxseal::ring::inventory::MemoryInventory;
use waxseal::ring::{
    Authority, Backends, Inventory, KeyRing, KeyRingBuilder, KeySource, NewKey, Reader, RecordId, RingAdmin,
    Settings, Trust, UriBackends,
};
use waxseal::testing::FakeEnvironment;
use waxseal::value::entropy;

pub(crate) struct Ring {
    pub(crate) inventory: MemoryInventory,
    pub(crate) authority: Arc<Authority>,
    pub(crate) id: RecordId,
    pub(crate) environment: FakeEnvironment,
}

impl Ring {
    pub(crate) fn new(edit: impl FnOnce(&mut Settings) + Send) -> Self {
        let (inventory, authority) = (MemoryInventory::new(), Arc::new(Authority::generate().unwrap()));
        let trust = block_on(RingAdmin::init(&inventory, &authority, "test", edit)).unwrap();
        Self {
            inventory,
            authority,
            id: trust.ring(),
            environment: FakeEnvironment::new(),
        }
    }

    pub(crate) fn trust(&self) -> Trust {
        Trust::new(self.id, self.authority.public())
    }

    pub(crate) fn backends(&self) -> Arc<dyn Backends> {
        let environment = Arc::new(self.environment.clone());
        Arc::new(
            UriBackends::new()
                .with_environment(environment)
                .allow("env")
                .unwrap(),
        )
    }

    /// Makes a KEK and the first key of a scope.
    pub(crate) fn key(&self, scope: &str, name: &str) -> RecordId {
        let kek: [u8; 32] = entropy::array().unwrap();
        self.environment.set(name, &hex::encode(kek));
        let inventory: Arc<dyn Inventory> = Arc::new(self.inventory.clone());
        let reader = Reader::new(self.trust(), inventory);
        let admin = RingAdmin::new(reader, Arc::clone(&self.authority), self.backends(), "test");
        let new = NewKey::new(scope.parse().unwrap(), KeySource::Existing(format!("env:{name}")));
        block_on(admin.create(&new)).unwrap().key
    }

    pub(crate) fn builder(&self) -> KeyRingBuilder {
        KeyRing::builder(self.trust(), Arc::new(self.inventory.clone()), self.backends())
    }
}
