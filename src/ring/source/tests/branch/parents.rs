//! What happens to a parent happens to its branch keys.

use super::*;
use crate::ring::profile::{Profiles, Requirements};
use crate::{envelope::WrapAlgorithm, testing::Fault};

#[test]
fn branch_keys_go_on_when_their_parent_is_followed() {
    let shop = Shop::new();
    let ring = shop.ring();
    let sealer = uncached(&ring);
    let sealed = seal(&sealer, "a");
    let (next, kms) = shop.rotate_parent("next");
    block_on(ring.refresh()).unwrap();
    assert_eq!(keks(&seal(&sealer, "a")), keks(&sealed));
    assert_eq!(open(&uncached(&shop.plain()), &sealed, "a").unwrap(), b"hello");
    // New ones are under the successor.
    seal(&sealer, "b");
    assert_eq!(shop.keys("tenant/b")[0].branch.as_ref().unwrap().parent, next.id);
    assert_eq!((kms.count(Method::Wrap), kms.total()), (1, 1));
}

/// The parent's path, and what then becomes of what was sealed, of a seal, and of a re-wrap.
#[test]
fn the_worse_state_counts() {
    use State::{Active, Compromised, Deprecated, Destroyed, Destroying, Retired};
    let paths: [(&[State], ErrorKind); 6] = [
        (&[Deprecated, Retired], ErrorKind::KeyRetired),
        (&[Compromised], ErrorKind::KeyRevoked),
        (&[Deprecated, Compromised], ErrorKind::KeyRevoked),
        (&[Deprecated, Retired, Destroying], ErrorKind::KeyDestroyed),
        (
            &[Deprecated, Retired, Destroying, Destroyed],
            ErrorKind::KeyDestroyed,
        ),
        (&[Compromised, Destroying], ErrorKind::KeyDestroyed),
    ];
    for (path, expected) in paths {
        for warm in [true, false] {
            let shop = Shop::new();
            let ring = shop.ring();
            let (sealer, cached) = (uncached(&ring), ring.sealer().build().unwrap());
            let sealed = seal(&cached, "a");
            open(&cached, &sealed, "a").unwrap();
            let handle = block_on(cached.data_key(&context("a"))).unwrap();
            let opener = opener(&cached, &sealed);
            let mut parent = shop.parent.clone();
            for state in path {
                shop.turn(&mut parent, *state);
            }
            shop.kms.forget_calls();
            let ring = if warm { ring } else { shop.plain() };
            block_on(ring.refresh()).unwrap();
            let (sealer, cached) = match warm {
                true => (sealer, cached),
                false => (uncached(&ring), ring.sealer().build().unwrap()),
            };
            for sealer in [&sealer, &cached] {
                assert_eq!(kind(open(sealer, &sealed, "a")), expected, "{path:?}");
                assert_eq!(refused(sealer, "a"), ErrorKind::NoKeyForScope, "{path:?}");
                assert!(
                    block_on(sealer.rewrap(&sealed, &context("a"))).is_err(),
                    "{path:?}"
                );
            }
            let error = open(&sealer, &sealed, "a").unwrap_err();
            let told = format!("{error} {error:?}");
            assert!(told.contains(&parent.id.to_string()), "{told}");
            // No key is asked, and none is open any more.
            assert_eq!(
                (shop.kms.total(), ring.status().unwrap().branch_keys),
                (0, 0),
                "{path:?}"
            );
            if warm {
                assert!(handle.seal(b"", Aad::none()).is_err(), "{path:?}");
                assert!(opener.open(&sealed, Aad::none()).is_err(), "{path:?}");
            }
        }
    }
    // And the own state counts, whatever the parent's.
    let shop = Shop::new();
    let sealer = uncached(&shop.ring());
    let sealed = seal(&sealer, "a");
    let mut own = shop.keys("tenant/a")[0].clone();
    shop.turn(&mut own, Deprecated);
    shop.turn(&mut own, Active);
    shop.turn(&mut own, Compromised);
    let mut parent = shop.parent.clone();
    shop.turn(&mut parent, Deprecated);
    shop.turn(&mut parent, Retired);
    assert_eq!(
        kind(open(&uncached(&shop.plain()), &sealed, "a")),
        ErrorKind::KeyRevoked
    );
}

/// Of so many scopes the ring finds by the tree which have changed.
#[test]
fn a_revoked_parent_ends_what_is_under_it_and_nothing_else() {
    let shop = Shop::new();
    let ring = shop.ring();
    let cached = ring.sealer().build().unwrap();
    let sealed: Vec<_> = (0..50)
        .map(|number| seal(&cached, &format!("t{number}")))
        .collect();
    let (_, own) = shop.bench.active("tenant/own", "own");
    let of_own = seal(&cached, "own");
    open(&cached, &of_own, "own").unwrap();
    let handles: Vec<_> = (0..50)
        .map(|number| block_on(cached.data_key(&context(&format!("t{number}")))).unwrap())
        .collect();
    block_on(ring.refresh()).unwrap();
    let mut parent = shop.parent.clone();
    shop.turn(&mut parent, State::Compromised);
    block_on(ring.refresh()).unwrap();
    for (number, sealed) in sealed.iter().enumerate() {
        let tenant = format!("t{number}");
        assert_eq!(
            kind(open(&cached, sealed, &tenant)),
            ErrorKind::KeyRevoked,
            "{tenant}"
        );
        assert_eq!(
            kind(handles[number].seal(b"", Aad::none())),
            ErrorKind::KeyRevoked
        );
    }
    assert_eq!(ring.status().unwrap().branch_keys, 0);
    let asked = own.total();
    open(&cached, &of_own, "own").unwrap();
    assert_eq!(own.total(), asked);
}

#[test]
fn a_branch_key_without_a_parent_hinders_no_other_key() {
    let shop = Shop::new();
    let (_, own) = shop.bench.active("tenant/a", "own");
    let sealed = seal(&uncached(&shop.plain()), "a");
    // A branch key of the same scope, under a key that the ring does not have.
    let stranger = shop
        .bench
        .went(shop.bench.key("elsewhere", &shop.kms), &[State::Active]);
    let orphan = shop.branch("tenant/a", &stranger, &shop.kms, &[State::Pending]);
    shop.bench.put(&[&orphan]);
    let plain = uncached(&shop.plain());
    assert_eq!(open(&plain, &sealed, "a").unwrap(), b"hello");
    seal(&plain, "a");
    assert!(own.total() > 0);
    let check = block_on(shop.reader().check()).unwrap();
    let named = check
        .findings
        .iter()
        .find(|finding| finding.record == Some(orphan.id))
        .unwrap();
    assert!(
        named.is_error && named.what.contains(&stranger.id.to_string()),
        "{}",
        named.what
    );
    // As the only key it is named, too.
    let orphan = shop.branch("tenant/b", &stranger, &shop.kms, &[State::Active]);
    shop.bench.put(&[&orphan]);
    let error = block_on(plain.seal(b"", &context("b"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InventoryInvalid);
    assert!(error.to_string().contains(&stranger.id.to_string()), "{error}");
    // One level only.
    let branch = shop.branch("tenant/c", &shop.parent, &shop.kms, &[State::Active]);
    shop.bench.put(&[&branch]);
    let mut second = shop.branch("tenant/d", &shop.parent, &shop.kms, &[State::Active]);
    let under = second.branch.as_mut().unwrap();
    (under.parent, under.parent_scope) = (branch.id, branch.scope.clone());
    shop.bench.put(&[&second]);
    assert_eq!(refused(&plain, "d"), ErrorKind::InventoryInvalid);
    seal(&plain, "c");
}

#[test]
fn an_administrators_branch_keys_have_all_states() {
    let shop = Shop::new();
    let old = shop.branch("tenant/a", &shop.parent, &shop.kms, &[State::Active]);
    shop.bench.put(&[&old]);
    let ring = block_on(shop.bench.builder().reader("app").open()).unwrap();
    let sealer = uncached(&ring);
    let sealed = seal(&sealer, "a");
    let (mut old, mut next) = (
        old,
        shop.branch("tenant/a", &shop.parent, &shop.kms, &[State::Pending]),
    );
    shop.bench.put(&[&next]);
    block_on(ring.refresh()).unwrap();
    // A probe wraps and unwraps under it.
    block_on(ring.beat()).unwrap();
    let beats = block_on(
        shop.bench
            .inventory
            .heartbeats(Time::from_microseconds(0).unwrap()),
    )
    .unwrap();
    assert_eq!((&beats[0].probed, &beats[0].failed), (&vec![next.id], &vec![]));
    shop.bench.promote(&mut old, &mut next);
    block_on(ring.refresh()).unwrap();
    assert_eq!(keks(&seal(&sealer, "a")), [next.id.to_string()]);
    assert_eq!(open(&sealer, &sealed, "a").unwrap(), b"hello");
    let moved = block_on(sealer.rewrap(&sealed, &context("a")))
        .unwrap()
        .splice(&sealed)
        .unwrap();
    assert_eq!(keks(&moved), [next.id.to_string()]);
    let mut rewrapper = sealer.rewrapper();
    assert!(
        block_on(rewrapper.rewrap(&moved, &context("a")))
            .unwrap()
            .is_none()
    );
    shop.turn(&mut old, State::Compromised);
    block_on(ring.refresh()).unwrap();
    let asked = shop.kms.total();
    assert_eq!(kind(open(&sealer, &sealed, "a")), ErrorKind::KeyRevoked);
    assert_eq!(open(&sealer, &moved, "a").unwrap(), b"hello");
    assert_eq!(shop.kms.total(), asked);
    // One that cannot be opened fails its probe.
    let third = shop.branch("tenant/a", &shop.parent, &shop.kms, &[State::Pending]);
    shop.bench.put(&[&third]);
    block_on(ring.refresh()).unwrap();
    shop.kms.script_always(Fault::Fails(ErrorKind::Denied));
    block_on(ring.beat()).unwrap();
    let beats = block_on(
        shop.bench
            .inventory
            .heartbeats(Time::from_microseconds(0).unwrap()),
    )
    .unwrap();
    assert_eq!(beats[0].failed, [third.id]);
}

#[test]
fn class_and_protection_are_the_parents() {
    let hardware = Profiles::new()
        .define("strict", Requirements::new().in_hardware())
        .unwrap()
        .everywhere("strict")
        .unwrap();
    let of = |protection| {
        Shop::of(move |_, mut key| {
            key.protection = protection;
            key
        })
    };
    for (protection, is_good) in [(Protection::Hardware, true), (Protection::Software, false)] {
        let shop = of(protection);
        let sealer = uncached(&block_on(shop.builder().profiles(hardware.clone()).open()).unwrap());
        let sealed = block_on(sealer.seal(b"hello", &context("a")));
        assert_eq!(sealed.is_ok(), is_good);
        assert_eq!(shop.keys("tenant/a")[0].protection, protection);
    }
    // Under RSA a branch key is no better than RSA.
    let shop = Shop::of(|_, mut key| {
        key.algorithm = WrapAlgorithm::RSA_OAEP_256.to_string();
        key
    });
    let kms = shop.kms.clone().with_algorithm(WrapAlgorithm::RSA_OAEP_256);
    shop.bench.reach("root", &kms);
    let ring = shop.ring();
    let sealed = seal(&uncached(&ring), "a");
    let told = block_on(ring.explain(&sealed, &context("a"), None)).unwrap();
    assert_eq!(told.wraps[0].class, WrapAlgorithm::RSA_OAEP_256.class());
    assert_eq!(told.wraps[0].state, Some(State::Active));
    let mut parent = shop.parent.clone();
    shop.turn(&mut parent, State::Compromised);
    block_on(ring.refresh()).unwrap();
    let told = block_on(ring.explain(&sealed, &context("a"), None)).unwrap();
    assert_eq!(told.wraps[0].state, Some(State::Compromised));
}
