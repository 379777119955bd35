//! No branch key stays in memory that nobody may use any more.

use std::future::Future;
use std::num::NonZeroUsize;
use std::task::{Context, Poll, Waker};

use super::*;
use crate::testing::Fault;

fn kept(ring: &KeyRing) -> usize {
    ring.status().unwrap().branch_keys
}

/// Which key is revoked.
const WHICH: [&str; 2] = ["its own", "the parent"];

fn revoke(shop: &Shop, which: &str) {
    let mut key = match which {
        "the parent" => shop.parent.clone(),
        _ => shop.keys("tenant/a").remove(0),
    };
    shop.turn(&mut key, State::Compromised);
}

#[test]
fn one_that_is_open_goes_when_it_or_its_parent_is_revoked() {
    for which in WHICH {
        let shop = Shop::new();
        let ring = shop.ring();
        seal(&uncached(&ring), "a");
        assert_eq!(kept(&ring), 1);
        revoke(&shop, which);
        block_on(ring.refresh()).unwrap();
        assert_eq!(kept(&ring), 0, "{which}");
    }
}

#[test]
fn one_that_was_being_opened_when_it_was_revoked_is_not_kept() {
    for which in WHICH {
        let shop = Shop::new();
        let sealed = seal(&uncached(&shop.ring()), "a");
        let ring = shop.plain();
        let sealer = uncached(&ring);
        let late = Fault::Hangs(Arc::new(shop.bench.runtime.clone()), Duration::from_secs(1));
        shop.kms.script_always(late);
        let of = context("a");
        let mut opening = std::pin::pin!(sealer.open(&sealed, &of));
        let mut poll = || opening.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(poll().is_pending());
        assert_eq!(shop.kms.count(Method::Unwrap), 1);
        revoke(&shop, which);
        block_on(ring.refresh()).unwrap();
        shop.bench.runtime.advance(Duration::from_secs(1));
        let Poll::Ready(opened) = poll() else {
            panic!("it hangs")
        };
        assert_eq!(kind(opened), ErrorKind::KeyRevoked, "{which}");
        assert_eq!(kept(&ring), 0, "{which}");
    }
}

#[test]
fn none_is_kept_of_a_scope_that_made_room_for_another() {
    let shop = Shop::new();
    let two = NonZeroUsize::new(2).unwrap();
    let ring = block_on(shop.builder().scopes(two).open()).unwrap();
    let sealer = uncached(&ring);
    for tenant in ["a", "b", "c", "d"] {
        seal(&sealer, tenant);
        assert!(kept(&ring) <= ring.status().unwrap().scopes, "{tenant}");
    }
    assert_eq!(kept(&ring), 2);
}

#[test]
fn none_is_kept_when_what_is_known_of_scopes_counts_no_more() {
    let shop = Shop::new();
    let key = shop.branch("tenant/a", &shop.parent, &shop.kms, &[State::Active]);
    shop.bench.put(&[&key]);
    shop.settings(|settings| {
        settings.provision = None;
        settings.otherwise = vec![scope("spare")];
    });
    let builder = shop.bench.builder().otherwise(scope("spare"));
    let ring = block_on(builder.open()).unwrap();
    seal(&uncached(&ring), "a");
    assert_eq!(kept(&ring), 1);
    shop.settings(|settings| settings.otherwise.clear());
    block_on(ring.refresh()).unwrap();
    assert_eq!(kept(&ring), 0);
}

#[test]
fn those_that_are_too_old_go_when_others_are_used_though_nobody_looks() {
    let shop = Shop::new();
    let ring = shop.ring();
    let sealer = uncached(&ring);
    seal(&sealer, "a");
    shop.bench.runtime.advance(Duration::from_secs(4 * 60));
    seal(&sealer, "b");
    assert_eq!(kept(&ring), 2);
    shop.bench.runtime.advance(Duration::from_secs(60));
    seal(&sealer, "b");
    assert_eq!(kept(&ring), 1);
}

#[test]
fn one_that_an_old_view_lacks_is_not_forgotten() {
    let shop = Shop::new();
    let ring = shop.ring();
    let sealer = uncached(&ring);
    // Another process has read the scope, and comes later.
    let begun = shop.bench.runtime.now();
    let slow = block_on(
        shop.bench
            .trust()
            .read(&shop.bench.inventory, &[scope("tenant/a")]),
    )
    .unwrap();
    let sealed = seal(&sealer, "a");
    ring.0.publish(&slow, &[scope("tenant/a")], begun);
    shop.kms.forget_calls();
    assert_eq!(open(&sealer, &sealed, "a").unwrap(), b"hello");
    assert_eq!((kept(&ring), shop.kms.total()), (1, 0));
}
