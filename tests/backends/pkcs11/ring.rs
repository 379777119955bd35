//! A token's keys in a key ring.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cryptoki::object::Attribute;
use waxseal::envelope::KekRef;
use waxseal::key::{KekAdmin, KeyManager};
use waxseal::ring::inventory::MemoryInventory;
use waxseal::ring::{
    Authority, Backends, Evidence, Grounds, Inventory, KeySource, NewKey, Provenance, Reader, RingAdmin,
    Rollout, State, Target,
};
use waxseal::testing::SimulatedRuntime;
use waxseal::{ErrorKind, Result};

use super::support::Token;
use waxseal::backend::pkcs11::Mechanism;

const URI: &str = "pkcs11:token=t;object=old?module-path=/m.so&pin-source=env:PIN";

struct OnToken(Token);

#[async_trait]
impl Backends for OnToken {
    async fn key(&self, provenance: &Provenance) -> Result<Arc<dyn KeyManager>> {
        self.0
            .keys("old", Mechanism::AesGcm)
            .pinned_to(&provenance.kek()?)
    }

    async fn admin(&self, _: &str) -> Result<Arc<dyn KekAdmin>> {
        Ok(Arc::new(
            self.0.client().admin().with_mechanism(Mechanism::AesGcm),
        ))
    }

    async fn open(&self, _: &str) -> Result<Arc<dyn KeyManager>> {
        Ok(Arc::new(self.0.keys("old", Mechanism::AesGcm)))
    }

    fn sibling(&self, uri: &str, _: &str, _: &KekRef) -> Result<String> {
        Ok(uri.to_owned())
    }
}

impl std::fmt::Debug for OnToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OnToken")
    }
}

/// A key of the time before versions has no `CKA_ID`. It comes to its end like the others, and takes none of them along.
#[test]
fn a_key_without_an_id_is_one_version_and_can_be_destroyed() {
    let Some(token) = Token::fresh("nameless") else {
        return;
    };
    token.make_key("old", &[]);
    let token = Arc::new(OnToken(token));
    // The days that evidence waits for pass in an instant.
    let clock = SimulatedRuntime::new();
    let inventory = MemoryInventory::with_runtime(Arc::new(clock.clone()));
    let authority = Arc::new(Authority::generate().unwrap());
    let init = RingAdmin::init_with_runtime(&inventory, &clock, &authority, "test", |settings| {
        settings.cooling_off = "PT0S".parse().unwrap();
        settings.overlap = "PT0S".parse().unwrap();
    });
    let trust = pollster::block_on(init).unwrap();
    let inventory: Arc<dyn Inventory> = Arc::new(inventory);
    let reader = Reader::new(trust, Arc::clone(&inventory)).with_runtime(Arc::new(clock.clone()));
    let backends: Arc<dyn Backends> = Arc::clone(&token) as _;
    let admin = RingAdmin::new(reader, authority, backends, "test");
    pollster::block_on(async {
        let new = NewKey::new("/".parse().unwrap(), KeySource::Existing(URI.to_owned()));
        let first = admin.create(&new).await.unwrap().key;
        let kek = admin.key(first).await.unwrap().provenance.clone();
        assert!(kek.nameless && kek.version.is_empty(), "{kek:?}");
        let rotated = admin
            .rotate(&Target::Key(first), Rollout::AtOnce, "x")
            .await
            .unwrap();
        assert!(rotated[0].hindered.is_none(), "{rotated:?}");
        let second = rotated[0].key;
        assert!(!admin.key(second).await.unwrap().provenance.version.is_empty());
        admin.retire(first, Grounds::Force, "x").await.unwrap();
        clock.advance(Duration::from_secs(86_400));
        let began = (
            inventory.revision().await.unwrap(),
            inventory.now().await.unwrap(),
        );
        let evidence = Evidence::nothing_under(first, began, 1, "00".repeat(32));
        admin.destroy(first, &evidence, "x").await.unwrap();
        // The token is not told, and the advice is about this object alone.
        let tick = admin.tick(None).await.unwrap();
        assert!(tick.refused[0].reason.contains("that has no CKA_ID"), "{tick:?}");
        let error = admin.attest_destroyed(first, "x").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LifecycleRefused, "{error}");
        // The other one is there, and has another id.
        let session = token.0.session();
        let own = token.0.find(&session, "old").into_iter().find(|handle| {
            let id = session.get_attributes(*handle, &[cryptoki::object::AttributeType::Id]);
            matches!(id.unwrap().as_slice(), [Attribute::Id(id)] if id.is_empty())
        });
        session.destroy_object(own.unwrap()).unwrap();
        let moved = admin.attest_destroyed(first, "removed").await.unwrap();
        assert_eq!(
            (moved.to, moved.warnings.len()),
            (State::Destroyed, 0),
            "{moved:?}"
        );
        let again = admin
            .rotate(&Target::Key(second), Rollout::AtOnce, "x")
            .await
            .unwrap();
        assert!(again[0].hindered.is_none(), "{again:?}");
    });
}
