//! A key ring as an application uses it.

use std::time::Duration;

use allocation_counter::measure;
use pollster::block_on;
use waxseal::backend::local::LocalKey;
use waxseal::source::Caching;
use waxseal::{EncryptionContext, ErrorKind, Kek, Sealer, blocking};

use crate::ring_support::Ring;

fn context() -> EncryptionContext {
    EncryptionContext::new([("tenant", "acme"), ("table", "users")]).unwrap()
}

#[test]
fn what_is_sealed_through_a_ring_opens_through_it_and_with_the_key_alone() {
    let ring = Ring::new(|settings| settings.scope_template = "tenant/{tenant}".parse().unwrap());
    ring.key("tenant/acme", "ACME");
    let opened = block_on(ring.builder().open()).unwrap();
    let sealer = opened.sealer().build().unwrap();
    let sealed = block_on(sealer.seal(b"hello", &context())).unwrap();
    assert_eq!(block_on(sealer.open(&sealed, &context())).unwrap(), b"hello");
    // Whoever goes back to one key takes everything along, and whoever comes from one.
    let uri: waxseal::backend::kek_uri::KekUri = "env:ACME".parse().unwrap();
    let alone = Sealer::new(block_on(uri.open(&ring.environment)).unwrap().active);
    assert_eq!(block_on(alone.open(&sealed, &context())).unwrap(), b"hello");
    let before = block_on(alone.seal(b"before", &context())).unwrap();
    assert_eq!(block_on(sealer.open(&before, &context())).unwrap(), b"before");
    let other = EncryptionContext::new([("tenant", "umbrella")]).unwrap();
    let error = block_on(sealer.seal(b"", &other)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoKeyForScope);
}

#[test]
fn leases_are_as_old_as_the_settings_say() {
    let ring = Ring::new(|settings| settings.lease_age = "PT90S".parse().unwrap());
    ring.key("/", "ROOT");
    let opened = block_on(ring.builder().open()).unwrap();
    let caching = opened.caching();
    let age = Duration::from_secs(90);
    assert_eq!((caching.seal_age, caching.open_age), (age, age));
    assert!(caching.refresh_ahead <= age / 2);
}

#[cfg(feature = "tokio")]
#[test]
fn a_runtime_that_stands_still_holds_up_no_ring() {
    use std::sync::Arc;
    use waxseal::runtime::TokioRuntime;
    // Nobody drives it, and it has no timer.
    let tokio = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let runtime = Arc::new(TokioRuntime::new(tokio.handle().clone()));
    let ring = Ring::new(|_| {});
    ring.key("/", "ROOT");
    let builder = ring
        .builder()
        .runtime(runtime)
        .reader("orders")
        .every(Duration::from_millis(5));
    let opened = block_on(builder.open()).unwrap();
    let sealer = opened.sealer().build().unwrap();
    let sealed = block_on(sealer.seal(b"hello", &context())).unwrap();
    assert_eq!(block_on(sealer.open(&sealed, &context())).unwrap(), b"hello");
    block_on(opened.refresh()).unwrap();
    block_on(opened.beat()).unwrap();
}

/// What happens once in a thread, and the fetching of what is then kept.
fn warm(sealer: &blocking::Sealer) -> Vec<u8> {
    let sealed = sealer.seal(&[7; 100], &context()).unwrap();
    for _ in 0..50 {
        sealer.open(&sealed, &context()).unwrap();
        sealer.seal(&[7; 100], &context()).unwrap();
    }
    sealed
}

#[test]
fn a_warm_ring_and_cache_allocate_what_a_cache_does_and_ask_nobody() {
    let ring = Ring::new(|_| {});
    ring.key("/", "ROOT");
    let opened = block_on(ring.builder().without_watching().open()).unwrap();
    let with = blocking::Sealer::from(opened.sealer().build().unwrap());
    let without = Sealer::builder()
        .wrap_with(LocalKey::new(&Kek::generate().unwrap()))
        .cache(Caching::default());
    let without = blocking::Sealer::from(without.build().unwrap());
    let counts = |sealer: &blocking::Sealer| {
        let sealed = warm(sealer);
        let context = context();
        let seal = measure(|| drop(sealer.seal(&[7; 100], &context).unwrap()));
        let open = measure(|| drop(sealer.open(&sealed, &context).unwrap()));
        (seal.count_total, open.count_total)
    };
    assert_eq!(counts(&with), counts(&without));
}
