//! Re-wraps of all that a store holds.

mod directory;
mod job;
mod resumed;

use std::sync::Arc;

use pollster::block_on;
use waxseal::fleet::{MemoryStore, RewrapJob};
use waxseal::testing::FakeKeyManager;
use waxseal::{Aad, EncryptionContext, Sealer};

/// A store of values under an old key, and what moves them to a new one.
struct Bench {
    store: Arc<MemoryStore>,
    old: FakeKeyManager,
    new: FakeKeyManager,
}

impl Bench {
    /// So many data keys, each with so many values.
    fn of(keys: usize, values: usize) -> Self {
        let bench = Self {
            store: Arc::new(MemoryStore::new("users", context())),
            old: FakeKeyManager::new("old"),
            new: FakeKeyManager::new("new"),
        };
        let sealer = Sealer::new(bench.old.clone());
        for key in 0..keys {
            let key_of_values = block_on(sealer.data_key(&context())).unwrap();
            for value in 0..values {
                // Values of one data key do not stand beside each other.
                let id = format!("{value:04}-{key:04}");
                let sealed = key_of_values.seal(id.as_bytes(), Aad::none()).unwrap();
                bench.store.put(&id, sealed);
            }
        }
        bench
    }

    fn sealer(&self) -> Sealer {
        let builder = Sealer::builder().wrap_with(self.new.clone());
        builder.open_with(self.old.clone()).build().unwrap()
    }

    fn job(&self) -> RewrapJob {
        RewrapJob::new(self.sealer(), self.store.clone())
    }

    /// Each value opens under the new key alone.
    fn check_moved(&self) {
        let sealer = Sealer::new(self.new.clone());
        for id in self.store.ids() {
            let sealed = self.store.get(&id).unwrap();
            let opened = block_on(sealer.open(&sealed, &context())).unwrap();
            assert_eq!(opened, id.as_bytes());
        }
    }
}

fn context() -> EncryptionContext {
    EncryptionContext::new([("table", "users")]).unwrap()
}
