//! A key ring over OpenBao, live.

use std::sync::Arc;

use crate::live::{address, unique, variable};
use waxseal::envelope::{Envelope, KekRef};
use waxseal::key::{KekTemplate, KeyManager};
use waxseal::ring::inventory::MemoryInventory;
use waxseal::ring::{
    Authority, Backends, KeyRing, KeySource, NewKey, Reader, RingAdmin, Rollout, Target, Trust, UriBackends,
};
use waxseal::runtime::Environment;
use waxseal::source::Caching;
use waxseal::testing::FakeEnvironment;
use waxseal::{EncryptionContext, ErrorKind, Sealer};

/// The version that an envelope's one wrap names, and the one that is in the bytes that the server has made.
fn versions(sealed: &[u8]) -> (String, String) {
    let envelope = Envelope::parse(sealed).unwrap();
    let section = envelope.header().wrap_section().unwrap();
    let stanza = section.stanzas().next().unwrap();
    let wrapped = String::from_utf8_lossy(stanza.wrapped).into_owned();
    let inside = wrapped.split(':').nth(1).unwrap_or_default().to_owned();
    (stanza.kek_version.to_owned(), inside)
}

#[tokio::test]
async fn the_version_that_the_ring_names_wraps_while_the_server_has_a_newer_one() {
    let Some(server) = address("openbao") else { return };
    let environment: Arc<dyn Environment> = Arc::new(
        FakeEnvironment::new()
            .with("VAULT_ADDR", &server)
            .with("VAULT_TOKEN", &variable("WAXSEAL_TEST_OPENBAO_TOKEN").unwrap()),
    );
    let backends = || -> Arc<dyn Backends> {
        let backends = UriBackends::new().with_environment(Arc::clone(&environment));
        Arc::new(backends.allow("vault-transit").unwrap())
    };
    let name = unique("ring-source");
    let uri = format!("vault-transit:{name}");
    let keks = backends().admin(&uri).await.unwrap();
    let made = keks.create(&KekTemplate::new(&name), &name).await.unwrap();
    let kek = KekRef::new(made.kek.provider(), made.kek.id(), "").unwrap();

    let (inventory, authority) = (MemoryInventory::new(), Arc::new(Authority::generate().unwrap()));
    let trust = RingAdmin::init(&inventory, &authority, "test", |_| {})
        .await
        .unwrap();
    let id = trust.ring();
    let admin = RingAdmin::new(
        Reader::new(trust, Arc::new(inventory.clone())),
        Arc::clone(&authority),
        backends(),
        "test",
    );
    let source = KeySource::Existing(uri.clone());
    admin
        .create(&NewKey::new("/".parse().unwrap(), source))
        .await
        .unwrap();
    let trust = Trust::new(id, authority.public());
    let ring = KeyRing::builder(trust, Arc::new(inventory), backends())
        .open()
        .await
        .unwrap();
    let none = Caching {
        seal_entries: 0,
        open_entries: 0,
        ..ring.caching()
    };
    let sealer = ring.sealer().cache(none).build().unwrap();
    let context = EncryptionContext::new([("tenant", "acme")]).unwrap();
    let first = sealer.seal(b"hello", &context).await.unwrap();
    assert_eq!(versions(&first), ("1".to_owned(), "v1".to_owned()));

    // Somebody rotates at the server: its primary is version 2, and the ring knows nothing of it.
    keks.rotate(&kek, &unique("rotation")).await.unwrap();
    let pinned = sealer.seal(b"hello", &context).await.unwrap();
    assert_eq!(versions(&pinned), ("1".to_owned(), "v1".to_owned()));
    let primary: Arc<dyn KeyManager> = backends().open(&uri).await.unwrap();
    let stray = Sealer::new(primary).seal(b"hello", &context).await.unwrap();
    assert_eq!(versions(&stray).1, "v2");
    let refused = sealer.open(&stray, &context).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NoUsableKey);

    // The ring rotates.
    let target = Target::Scope("/".parse().unwrap());
    let rotated = admin.rotate(&target, Rollout::AtOnce, "test").await.unwrap();
    assert_eq!(rotated.len(), 1);
    ring.refresh().await.unwrap();
    let next = sealer.seal(b"hello", &context).await.unwrap();
    let version = versions(&next).0;
    assert_ne!(version, "1");
    assert_eq!(versions(&next).1, format!("v{version}"));
    for sealed in [&first, &pinned, &next] {
        assert_eq!(sealer.open(sealed, &context).await.unwrap(), b"hello");
    }
    let rewrapped = sealer.rewrap(&first, &context).await.unwrap();
    let rewrapped = rewrapped.splice(&first).unwrap();
    assert_eq!(versions(&rewrapped).0, version);
    assert_eq!(sealer.open(&rewrapped, &context).await.unwrap(), b"hello");
}
