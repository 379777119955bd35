//! Open branch keys: how long, how many, and by how many calls.

use std::num::NonZeroUsize;

use super::*;

#[test]
fn a_branch_key_is_opened_once_for_the_age_of_a_lease() {
    let shop = Shop::new();
    let sealed = seal(&uncached(&shop.ring()), "a");
    shop.kms.forget_calls();
    let ring = shop.plain();
    let sealer = uncached(&ring);
    for _ in 0..20 {
        open(&sealer, &sealed, "a").unwrap();
        seal(&sealer, "a");
    }
    assert_eq!(shop.kms.total(), 1);
    // Five minutes of the settings. Nothing else has changed.
    shop.bench.runtime.advance(Duration::from_secs(299));
    block_on(ring.refresh()).unwrap();
    open(&sealer, &sealed, "a").unwrap();
    assert_eq!((shop.kms.total(), ring.status().unwrap().branch_keys), (1, 1));
    shop.bench.runtime.advance(Duration::from_secs(1));
    block_on(ring.refresh()).unwrap();
    // It is wiped, though nobody has asked for it.
    assert_eq!(ring.status().unwrap().branch_keys, 0);
    open(&sealer, &sealed, "a").unwrap();
    assert_eq!((shop.kms.total(), shop.kms.count(Method::Unwrap)), (2, 2));
    // Whoever asks late has it opened anew.
    shop.bench.runtime.advance(Duration::from_secs(300));
    open(&sealer, &sealed, "a").unwrap();
    assert_eq!(shop.kms.total(), 3);
}

#[test]
fn those_that_were_not_used_for_longest_go_first() {
    let shop = Shop::new();
    let two = NonZeroUsize::new(2).unwrap();
    let ring = block_on(shop.builder().branch_keys(two).open()).unwrap();
    let sealer = uncached(&ring);
    for tenant in ["a", "b", "c", "d"] {
        seal(&sealer, tenant);
        assert!(ring.status().unwrap().branch_keys <= 2);
    }
    shop.kms.forget_calls();
    seal(&sealer, "d");
    seal(&sealer, "c");
    assert_eq!(shop.kms.total(), 0);
    seal(&sealer, "a");
    assert_eq!(shop.kms.count(Method::Unwrap), 1);
    seal(&sealer, "c");
    assert_eq!(shop.kms.total(), 1);
    seal(&sealer, "d");
    assert_eq!(shop.kms.total(), 2);
    assert_eq!(ring.status().unwrap().branch_keys, 2);
}

#[test]
fn a_kms_that_is_away_is_asked_again_and_what_is_open_goes_on() {
    use crate::testing::Fault;
    let shop = Shop::new();
    let sealer = uncached(&shop.ring());
    let sealed = seal(&sealer, "a");
    let other = uncached(&shop.plain());
    shop.kms.script_always(Fault::Fails(ErrorKind::Unavailable));
    assert_eq!(open(&sealer, &sealed, "a").unwrap(), b"hello");
    assert_eq!(kind(open(&other, &sealed, "a")), ErrorKind::Unavailable);
    shop.kms.heal();
    assert_eq!(open(&other, &sealed, "a").unwrap(), b"hello");
}

#[test]
fn a_wrap_of_another_key_does_not_open() {
    let shop = Shop::new();
    let sealer = uncached(&shop.ring());
    let (a, b) = (seal(&sealer, "a"), seal(&sealer, "b"));
    // The authority itself has exchanged what the two are wrapped as.
    let (mut one, mut other) = (shop.keys("tenant/a")[0].clone(), shop.keys("tenant/b")[0].clone());
    std::mem::swap(&mut one.branch, &mut other.branch);
    shop.bench.put(&[&one, &other]);
    let plain = uncached(&shop.plain());
    for (sealed, tenant) in [(&a, "a"), (&b, "b")] {
        assert_eq!(kind(open(&plain, sealed, tenant)), ErrorKind::CannotOpen);
        assert_eq!(refused(&plain, tenant), ErrorKind::CannotOpen);
    }
}
