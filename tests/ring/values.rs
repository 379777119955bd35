//! Values that were sealed, and what has to become of them.

use waxseal::envelope::WrapsRef;
use waxseal::ring::evidence::{Census, CensusReceipt, Covered};
use waxseal::ring::{Authority, KeyRecord, Reader, RecordId, Scope, State, View};
use waxseal::{Aad, EncryptionContext, Envelope, ErrorKind, Sealer};

pub(crate) const DEKS: usize = 20;
const VALUES: usize = 1000;

/// One value, somewhere in a store.
pub(crate) struct Value {
    pub(crate) text: String,
    pub(crate) context: EncryptionContext,
    pub(crate) sealed: Vec<u8>,
    /// A copy that nobody re-wraps and no census sees.
    pub(crate) is_forgotten: bool,
}

/// All values of one scope.
pub(crate) struct Values {
    pub(crate) scope: Scope,
    pub(crate) all: Vec<Value>,
}

pub(crate) fn context(scope: &Scope, table: usize) -> EncryptionContext {
    let table = format!("t{table}");
    EncryptionContext::new([("tenant", scope.as_str()), ("table", table.as_str())]).unwrap()
}

impl Values {
    /// Seals 1,000 values with 20 data keys.
    pub(crate) async fn seal(scope: &Scope, sealer: &Sealer) -> Self {
        let mut all = Vec::new();
        for table in 0..DEKS {
            let context = context(scope, table);
            let key = sealer.data_key(&context).await.unwrap();
            for number in 0..VALUES / DEKS {
                let text = format!("{scope} {table} {number}");
                all.push(Value {
                    sealed: key.seal(text.as_bytes(), Aad::none()).unwrap(),
                    context: context.clone(),
                    text,
                    is_forgotten: false,
                });
            }
        }
        Self {
            scope: scope.clone(),
            all,
        }
    }

    /// Adds a few more, under whatever wraps now, of which nobody knows afterwards.
    pub(crate) async fn forget_some(&mut self, sealer: &Sealer) {
        for table in 0..3 {
            let context = context(&self.scope, table);
            let text = format!("{} forgotten {}", self.scope, self.all.len());
            self.all.push(Value {
                sealed: sealer.seal(text.as_bytes(), &context).await.unwrap(),
                context,
                text,
                is_forgotten: true,
            });
        }
    }

    /// Moves everything that is known to the keys that wrap now.
    pub(crate) async fn rewrap(&mut self, sealer: &Sealer) {
        let mut rewrapper = sealer.rewrapper();
        for value in self.all.iter_mut().filter(|value| !value.is_forgotten) {
            if let Some(new) = rewrapper.rewrap(&value.sealed, &value.context).await.unwrap() {
                value.sealed = new.splice(&value.sealed).unwrap();
            }
        }
    }

    /// Opens one, or is refused as the inventory says.
    pub(crate) async fn check_one(&self, index: usize, sealer: &Sealer, view: &View) {
        let value = &self.all[index];
        let key = key_of(value, view, &self.scope);
        let opened = sealer.open(&value.sealed, &value.context).await;
        let state = key.state;
        match (opened, state) {
            (Ok(opened), State::Pending | State::Active | State::Deprecated) => {
                assert_eq!(opened, *value.text.as_bytes());
            }
            (Err(error), State::Retired) => assert_eq!(error.kind(), ErrorKind::KeyRetired, "{error}"),
            (Err(error), State::Destroying | State::Destroyed) => {
                assert_eq!(error.kind(), ErrorKind::KeyDestroyed, "{error}");
            }
            (opened, state) => panic!(
                "{} is under the key {}, which is {state}: {:?}",
                value.text,
                key.id,
                opened.map(|_| "it opened")
            ),
        }
    }

    pub(crate) async fn check_all(&self, sealer: &Sealer, view: &View) {
        for index in 0..self.all.len() {
            self.check_one(index, sealer, view).await;
        }
    }

    /// How many values are under a key.
    pub(crate) fn under(&self, key: RecordId, view: &View) -> usize {
        let is_under = |value: &&Value| key_of(value, view, &self.scope).id == key;
        self.all.iter().filter(is_under).count()
    }
}

/// The key whose KEK the value's wrap names.
fn key_of<'v>(value: &Value, view: &'v View, scope: &Scope) -> &'v KeyRecord {
    let envelope = Envelope::parse(&value.sealed).unwrap();
    let WrapsRef::Attached(section) = envelope.header().wraps() else {
        panic!("its wraps are attached")
    };
    let wraps: Vec<_> = section.stanzas().collect();
    let [wrap] = wraps.as_slice() else {
        panic!("it has one wrap")
    };
    let keys = view.keys(scope).iter();
    let mut same = keys.filter(|key| {
        let kek = &key.provenance;
        let is_version = kek.version.is_empty() || kek.version == wrap.kek_version;
        kek.provider == wrap.provider && kek.id == wrap.kek_id && is_version
    });
    same.next().expect("the ring has the key of each value")
}

/// Counts everything that is not forgotten.
pub(crate) async fn census(reader: &Reader, authority: &Authority, values: &[Values]) -> CensusReceipt {
    let covers = vec![Covered::Store("values".to_owned())];
    let mut census = Census::begin(reader, authority, "census", covers).await.unwrap();
    for of in values {
        for value in of.all.iter().filter(|value| !value.is_forgotten) {
            census.add(&value.text, value.sealed.as_slice(), value.sealed.len() as u64);
        }
    }
    census.finish().unwrap()
}
