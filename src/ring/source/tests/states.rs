//! What each state permits, slots, canaries and scopes.

use State::{Active, Compromised, Deprecated, Destroyed, Destroying, Pending, Retired};
use pollster::block_on;

use super::*;
use crate::testing::Method;

const PATHS: [(&[State], Option<ErrorKind>); 7] = [
    (&[Pending], None),
    (&[Active], None),
    (&[Active, Deprecated], None),
    (&[Active, Deprecated, Retired], Some(ErrorKind::KeyRetired)),
    (&[Active, Deprecated, Compromised], Some(ErrorKind::KeyRevoked)),
    (
        &[Active, Deprecated, Retired, Destroying],
        Some(ErrorKind::KeyDestroyed),
    ),
    (
        &[Active, Deprecated, Retired, Destroying, Destroyed],
        Some(ErrorKind::KeyDestroyed),
    ),
];

#[test]
fn each_state_opens_and_is_rewrapped_from_as_the_table_says() {
    for (path, refused) in PATHS {
        let bench = Bench::new();
        let fake = bench.fake("old");
        let old = bench.went(bench.key("tenant/a", &fake), path);
        bench.put(&[&old]);
        let is_active = path == [Active];
        if !is_active {
            bench.active("tenant/a", "new");
        }
        let sealed = block_on(Sealer::new(fake.clone()).seal(b"hello", &context("a"))).unwrap();
        fake.forget_calls();
        let sealer = uncached(&bench.open());
        let opened = open(&sealer, &sealed, "a");
        let rewrapped = block_on(sealer.rewrap(&sealed, &context("a")));
        match refused {
            None => {
                assert_eq!(opened.unwrap(), b"hello", "{path:?}");
                let rewrapped = rewrapped.unwrap().splice(&sealed).unwrap();
                assert_eq!(keks(&rewrapped), [if is_active { "old" } else { "new" }]);
                assert_eq!(open(&sealer, &rewrapped, "a").unwrap(), b"hello");
            }
            Some(kind) => {
                for error in [opened.unwrap_err(), rewrapped.unwrap_err()] {
                    assert_eq!(error.kind(), kind, "{path:?}");
                    assert!(!error.is_retryable());
                    assert_eq!(error.attempts()[0].kind, Some(kind));
                    assert_eq!(error.attempts()[0].kek_id, "old");
                    assert!(error.detail().unwrap().contains(&old.id.to_string()), "{error:?}");
                }
                assert_eq!(fake.total(), 0, "{path:?}");
            }
        }
        // What is sealed is under the active key and no other.
        assert_eq!(keks(&seal(&sealer, "a")), [if is_active { "old" } else { "new" }]);
    }
}

#[test]
fn another_good_wrap_opens_and_a_rewrap_replaces_what_is_retired() {
    let bench = Bench::new();
    let fake = bench.fake("old");
    let old = bench.went(bench.key("tenant/a", &fake), &[Active, Deprecated, Retired]);
    bench.put(&[&old]);
    let (_, new) = bench.active("tenant/a", "new");
    let both = Sealer::builder()
        .wrap_with(fake.clone())
        .wrap_with(new.clone())
        .build()
        .unwrap();
    let sealed = seal(&both, "a");
    fake.forget_calls();
    let sealer = uncached(&bench.open());
    assert_eq!(open(&sealer, &sealed, "a").unwrap(), b"hello");
    let rewrapped = block_on(sealer.rewrap(&sealed, &context("a")));
    // One KEK less than it named: that has to be allowed.
    assert_eq!(
        rewrapped.unwrap_err().kind(),
        ErrorKind::WouldWeaken {
            what: "fewer wraps than it found"
        }
    );
    assert_eq!(fake.total(), 0);
    // An outage of the good one is what is told, since it passes.
    new.script_always(crate::testing::Fault::Fails(ErrorKind::Unavailable));
    let error = open(&sealer, &sealed, "a").unwrap_err();
    assert!(
        error.is_retryable() && error.kind() == ErrorKind::Unavailable,
        "{error:?}"
    );
}

#[test]
fn a_kms_that_is_away_keeps_nothing_else_from_opening() {
    let bench = Bench::new();
    let fake = bench.fake("away");
    let away = bench.went(bench.key("tenant/a", &fake), &[Active, Deprecated]);
    bench.put(&[&away]);
    let (_, new) = bench.active("tenant/a", "new");
    let both = Sealer::builder()
        .wrap_with(fake.clone())
        .wrap_with(new.clone())
        .build()
        .unwrap();
    let sealed = seal(&both, "a");
    bench.unreachable("away");
    let sealer = uncached(&bench.open());
    assert_eq!(open(&sealer, &sealed, "a").unwrap(), b"hello");
    let alone = seal(&Sealer::new(fake), "a");
    let error = open(&sealer, &alone, "a").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.is_retryable());
}

#[test]
fn keys_of_another_scope_never_open() {
    let bench = Bench::new();
    let (_, a) = bench.active("tenant/a", "a");
    bench.active("tenant/b", "b");
    let sealer = uncached(&bench.open());
    let sealed = seal(&sealer, "a");
    a.forget_calls();
    assert_eq!(kind(open(&sealer, &sealed, "b")), ErrorKind::NoUsableKey);
    // Also if whoever may use the KEK of A wraps in the context of B.
    let planted = seal(&Sealer::new(a.clone()), "b");
    a.forget_calls();
    assert_eq!(kind(open(&sealer, &planted, "b")), ErrorKind::NoUsableKey);
    assert_eq!(a.total(), 0);
    // No scope, no key: never a wider one.
    assert_eq!(
        kind(block_on(sealer.seal(b"", &context("c")))),
        ErrorKind::NoKeyForScope
    );
    assert_eq!(kind(open(&sealer, &sealed, "c")), ErrorKind::NoKeyForScope);
    let other = EncryptionContext::new([("table", "a")]).unwrap();
    assert_eq!(kind(block_on(sealer.seal(b"", &other))), ErrorKind::NoKeyForScope);
}

#[test]
fn each_slot_wraps_once_and_one_that_is_lost_is_no_fallback() {
    let bench = Bench::new();
    bench.active("tenant/a", "first");
    let fake = bench.fake("second");
    let mut second = bench.key("tenant/a", &fake);
    second.slot = "hsm".parse().unwrap();
    // Staged: the slot demands nothing yet.
    bench.go(&mut second, Pending);
    bench.put(&[&second]);
    let ring = bench.open();
    let sealer = uncached(&ring);
    assert_eq!(keks(&seal(&sealer, "a")), ["first"]);
    bench.go(&mut second, Active);
    bench.put(&[&second]);
    block_on(ring.refresh()).unwrap();
    let sealed = seal(&sealer, "a");
    assert_eq!(keks(&sealed), ["first", "second"]);
    assert_eq!(open(&sealer, &sealed, "a").unwrap(), b"hello");
    bench.runtime.advance(Duration::from_secs(1));
    // Lost: no envelope with one wrap less than demanded.
    let mut lost = second.clone();
    bench.go(&mut lost, Compromised);
    bench.put(&[&lost]);
    block_on(ring.refresh()).unwrap();
    let error = block_on(sealer.seal(b"", &context("a"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoKeyForScope);
    assert!(error.detail().unwrap().contains("hsm"), "{error:?}");
    // The other wrap opens what there is.
    assert_eq!(open(&sealer, &sealed, "a").unwrap(), b"hello");
    // Another key of the slot, and the slot closed after it: then it demands nothing.
    let fake = bench.fake("third");
    let mut third = bench.key("tenant/a", &fake);
    third.slot = "hsm".parse().unwrap();
    bench.go(&mut third, Active);
    bench.put(&[&third]);
    block_on(ring.refresh()).unwrap();
    assert_eq!(keks(&seal(&sealer, "a")), ["first", "third"]);
    bench.go(&mut third, Retired);
    bench.put(&[&third]);
    block_on(ring.refresh()).unwrap();
    assert_eq!(keks(&seal(&sealer, "a")), ["first"]);
}

#[test]
fn a_canary_wraps_for_its_share_of_the_contexts_in_every_process() {
    let bench = Bench::new();
    bench.active("tenant/a", "active");
    let fake = bench.fake("canary");
    let mut pending = bench.went(bench.key("tenant/a", &fake), &[Pending]);
    pending.canary = canary(&bench, 30);
    bench.put(&[&pending]);
    let contexts = |number: usize| {
        EncryptionContext::new([("tenant", "a".to_owned()), ("table", number.to_string())]).unwrap()
    };
    let chosen = |sealer: &Sealer| -> Vec<bool> {
        let sealed = (0..500).map(|number| block_on(sealer.seal(b"", &contexts(number))).unwrap());
        sealed.map(|sealed| keks(&sealed) == ["canary"]).collect()
    };
    let (one, other) = (bench.open(), bench.open());
    let first = chosen(&uncached(&one));
    assert_eq!(first, chosen(&uncached(&other)));
    let share = first.iter().filter(|canary| **canary).count();
    assert!((100..200).contains(&share), "{share} of 500");
    // A greater share has the smaller one in it; the whole is everything; another key has another share.
    for (percent, least) in [(60, 250), (100, 500)] {
        pending.canary = canary(&bench, percent);
        pending.revision += 1;
        bench.put(&[&pending]);
        block_on(one.refresh()).unwrap();
        let more = chosen(&uncached(&one));
        assert!(first.iter().zip(&more).all(|(less, more)| more | !less));
        assert!(
            more.iter().filter(|canary| **canary).count() >= least,
            "{percent}"
        );
    }
    // All of it opens.
    let sealed = block_on(uncached(&one).seal(b"x", &contexts(1))).unwrap();
    assert!(block_on(uncached(&other).open(&sealed, &contexts(1))).is_ok());
    // Rolled back: it wraps no more, and opens.
    bench.go(&mut pending, Deprecated);
    pending.canary = None;
    bench.put(&[&pending]);
    block_on(one.refresh()).unwrap();
    assert!(chosen(&uncached(&one)).iter().all(|canary| !canary));
    assert!(block_on(uncached(&one).open(&sealed, &contexts(1))).is_ok());
}

#[test]
fn a_kms_that_wraps_under_another_key_than_the_rings_seals_nothing() {
    let bench = Bench::new();
    let (_, fake) = bench.active("tenant/a", "a");
    let sealer = uncached(&bench.open());
    fake.script(crate::testing::Fault::OtherKek("b".to_owned()));
    assert_eq!(
        kind(block_on(sealer.seal(b"", &context("a")))),
        ErrorKind::InvalidAnswer
    );
    assert_eq!(fake.count(Method::Generate), 1);
}

#[test]
fn a_rewrapper_leaves_alone_what_is_under_the_active_key_and_asks_nobody() {
    let bench = Bench::new();
    let (mut old, fake) = bench.active("tenant/a", "old");
    let ring = bench.open();
    let sealer = uncached(&ring);
    let sealed = seal(&sealer, "a");
    let mut rewrapper = sealer.rewrapper();
    fake.forget_calls();
    assert!(
        block_on(rewrapper.rewrap(&sealed, &context("a")))
            .unwrap()
            .is_none()
    );
    assert_eq!(fake.total(), 0);
    let new = bench.fake("new");
    let mut key = bench.went(bench.key("tenant/a", &new), &[Pending]);
    bench.promote(&mut old, &mut key);
    block_on(ring.refresh()).unwrap();
    let rewrapped = block_on(rewrapper.rewrap(&sealed, &context("a")))
        .unwrap()
        .unwrap();
    let rewrapped = rewrapped.splice(&sealed).unwrap();
    assert_eq!(keks(&rewrapped), ["new"]);
    assert!(
        block_on(rewrapper.rewrap(&rewrapped, &context("a")))
            .unwrap()
            .is_none()
    );
}

/// An envelope under an old key and under that of the slot `hsm`, after the old key was retired.
fn half_retired(old: &FakeKeyManager, successor: impl Fn(&Bench) -> KeyRecord) -> (Bench, Vec<u8>) {
    let bench = Bench::new();
    bench.reach("old", old);
    let mut key = bench.went(bench.key("tenant/a", old), &[Active]);
    bench.put(&[&key]);
    let fake = bench.fake("second");
    let mut second = bench.key("tenant/a", &fake);
    second.slot = "hsm".parse().unwrap();
    let second = bench.went(second, &[Active]);
    bench.put(&[&second]);
    let sealed = seal(&uncached(&bench.open()), "a");
    assert_eq!(keks(&sealed), ["old", "second"]);
    let mut next = successor(&bench);
    bench.promote(&mut key, &mut next);
    bench.go(&mut key, Retired);
    bench.put(&[&key]);
    old.forget_calls();
    (bench, sealed)
}

#[test]
fn a_rewrap_replaces_the_wrap_of_a_retired_key_whose_id_is_its_own() {
    let old = FakeKeyManager::new("old");
    let (bench, sealed) = half_retired(&old, |bench| {
        let fake = bench.fake("new");
        bench.went(bench.key("tenant/a", &fake), &[Pending])
    });
    let sealer = uncached(&bench.open());
    let rewrapped = block_on(sealer.rewrap(&sealed, &context("a"))).unwrap();
    let rewrapped = rewrapped.splice(&sealed).unwrap();
    assert_eq!(keks(&rewrapped), ["new", "second"]);
    assert_eq!(open(&sealer, &rewrapped, "a").unwrap(), b"hello");
    assert_eq!(old.total(), 0);
    // Its backend is gone: then nobody knows whether the id is its own, and the wrap stays.
    bench.unreachable("old");
    let sealer = uncached(&bench.open());
    let rewrapped = block_on(sealer.rewrap(&sealed, &context("a"))).unwrap();
    assert_eq!(
        keks(&rewrapped.splice(&sealed).unwrap()),
        ["new", "second", "old"]
    );
}

#[test]
fn a_rewrap_keeps_the_wrap_of_a_retired_version_that_nobody_can_prove() {
    let old = FakeKeyManager::new("old").with_ambiguous_id();
    let (bench, sealed) = half_retired(&old, |bench| {
        old.rotate_now();
        bench.went(bench.key("tenant/a", &old), &[Pending])
    });
    let sealer = uncached(&bench.open());
    let mut wrapped = sealed;
    for _ in 0..3 {
        let rewrapped = block_on(sealer.rewrap(&wrapped, &context("a"))).unwrap();
        wrapped = rewrapped.splice(&wrapped).unwrap();
        // It does not grow with each.
        assert_eq!(keks(&wrapped), ["old", "second", "old"]);
        assert_eq!(open(&sealer, &wrapped, "a").unwrap(), b"hello");
    }
}

#[test]
fn an_envelope_of_before_that_hides_its_key_opens_and_is_rewrapped() {
    let bench = Bench::new();
    let (_, fake) = bench.active("tenant/a", "a");
    let hiding = Sealer::builder().wrap_with(fake).hide_kek_ids().build().unwrap();
    let sealed = seal(&hiding, "a");
    assert_eq!(keks(&sealed), [""]);
    let sealer = uncached(&bench.open());
    assert_eq!(open(&sealer, &sealed, "a").unwrap(), b"hello");
    let rewrapped = block_on(sealer.rewrap(&sealed, &context("a"))).unwrap();
    // A ring hides no ids.
    assert_eq!(keks(&rewrapped.splice(&sealed).unwrap()), ["a"]);
}

/// The record of a staged key that was taken back is history; its KEK came into the ring again.
#[test]
fn a_key_that_was_taken_back_stands_in_nobodys_way() {
    let bench = Bench::new();
    let fake = bench.fake("again");
    let mut back = bench.went(bench.key("tenant/a", &fake), &[Destroyed]);
    back.taken_back = true;
    let again = bench.went(bench.key("tenant/a", &fake), &[Active]);
    bench.put(&[&back, &again]);
    let sealer = uncached(&bench.open());
    let sealed = seal(&sealer, "a");
    assert_eq!(open(&sealer, &sealed, "a").unwrap(), b"hello");
}
