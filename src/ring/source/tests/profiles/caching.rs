//! How old a DEK gets, and whether a cache may keep it.

use std::num::NonZeroUsize;

use super::*;
use crate::DekSource;
use crate::envelope::{BodyHead, WrapSection, WrapSet};
use crate::key::Request;
use crate::source::{Cached, DekLease, Rewrapped};
use crate::testing::Method;

const MINUTE: Duration = Duration::from_secs(60);

fn cached(bench: &Bench, demands: &Requirements) -> Sealer {
    let profiles = Profiles::new().define("strict", demands.clone()).unwrap();
    let ring = block_on(bench.builder().profiles(profiles).open()).unwrap();
    ring.sealer().profile("strict").build().unwrap()
}

fn aged() -> Requirements {
    Requirements::new().with_dek_age(MINUTE)
}

/// What was sealed under a key that another has followed, so that a re-wrap has something to do.
fn sealed_before(bench: &Bench) -> (Vec<u8>, FakeKeyManager, FakeKeyManager) {
    let (mut old, before) = bench.made("old", GOOD, &[State::Active]);
    let sealed = seal(&bench.plain(), "a");
    let after = bench.fake_of("new", GOOD);
    let mut new = bench.record_of(&after, GOOD);
    bench.promote(&mut old, &mut new);
    before.forget_calls();
    after.forget_calls();
    (sealed, before, after)
}

#[test]
fn a_dek_gets_as_old_as_the_profile_lets_it() {
    let bench = Bench::new();
    let (sealed, old, new) = sealed_before(&bench);
    let sealer = cached(&bench, &aged());
    let key = block_on(sealer.data_key(&context("a"))).unwrap();
    let opener = opener(&sealer, &sealed);
    let mut rewrapper = sealer.rewrapper().remembering(NonZeroUsize::MIN);
    let rewrap = |rewrapper: &mut crate::sealer::Rewrapper| {
        assert!(
            block_on(rewrapper.rewrap(&sealed, &context("a")))
                .unwrap()
                .is_some()
        );
    };
    rewrap(&mut rewrapper);
    assert_eq!((old.count(Method::Unwrap), new.count(Method::Generate)), (2, 1));
    // Long before its end nothing is asked, though it ends before the cache would end it.
    bench.runtime.advance(Duration::from_secs(20));
    bench.runtime.run_until_idle();
    assert!(key.seal(b"", Aad::none()).is_ok() && opener.open(&sealed, Aad::none()).is_ok());
    assert!(try_seal(&sealer).is_ok() && open(&sealer, &sealed, "a").is_ok());
    rewrap(&mut rewrapper);
    assert_eq!((old.count(Method::Unwrap), new.count(Method::Generate)), (2, 1));
    // Sealing, opening and re-wrapping each need another.
    bench.runtime.advance(Duration::from_secs(40));
    assert_eq!(kind(key.seal(b"", Aad::none())), ErrorKind::LeaseExpired);
    assert_eq!(kind(opener.open(&sealed, Aad::none())), ErrorKind::LeaseExpired);
    assert!(try_seal(&sealer).is_ok());
    assert_eq!(new.count(Method::Generate), 2);
    assert_eq!(open(&sealer, &sealed, "a").unwrap(), b"hello");
    assert_eq!(old.count(Method::Unwrap), 3);
    rewrap(&mut rewrapper);
    assert_eq!(old.count(Method::Unwrap), 4);
}

#[test]
fn the_ring_s_own_age_is_the_limit_if_the_profile_demands_less() {
    let bench = Bench::new();
    bench.made("kek", GOOD, &[State::Active]);
    for demands in [
        Requirements::new(),
        Requirements::new().with_dek_age(100 * MINUTE),
    ] {
        let key = block_on(cached(&bench, &demands).data_key(&context("a"))).unwrap();
        let lease = key.lease().expires_at().unwrap();
        assert_eq!(lease.0 - bench.runtime.now().0, 5 * MINUTE);
    }
}

#[test]
fn what_must_not_be_kept_is_asked_for_each_time() {
    let bench = Bench::new();
    let (_, fake) = bench.made("kek", GOOD, &[State::Active]);
    let sealer = cached(&bench, &Requirements::new().without_cache());
    let sealed = try_seal(&sealer).unwrap();
    try_seal(&sealer).unwrap();
    assert_eq!(fake.count(Method::Generate), 2);
    for _ in 0..3 {
        assert_eq!(open(&sealer, &sealed, "a").unwrap(), b"hello");
    }
    assert_eq!(fake.count(Method::Unwrap), 3);
    let stats = sealer.cache().unwrap().stats();
    assert_eq!((stats.seal_entries, stats.open_entries, stats.hits), (0, 0, 0));
    // A `Rewrapper` keeps none either.
    let other = Bench::new();
    let (sealed, old, _) = sealed_before(&other);
    let sealer = cached(&other, &Requirements::new().without_cache());
    let mut rewrapper = sealer.rewrapper();
    for _ in 0..2 {
        block_on(rewrapper.rewrap(&sealed, &context("a"))).unwrap();
    }
    assert_eq!(old.count(Method::Unwrap), 2);
    // And with a profile that allows it, all of them are kept.
    let (bench, kept) = (Bench::new(), Requirements::new());
    let (_, fake) = bench.made("kek", GOOD, &[State::Active]);
    let sealer = cached(&bench, &kept);
    let sealed = try_seal(&sealer).unwrap();
    try_seal(&sealer).unwrap();
    for _ in 0..3 {
        open(&sealer, &sealed, "a").unwrap();
    }
    assert_eq!((fake.count(Method::Generate), fake.count(Method::Unwrap)), (1, 1));
}

/// A source around another one that forwards no more than it must.
#[derive(Debug)]
struct Careless(KeyRing);

#[async_trait]
impl DekSource for Careless {
    async fn seal_dek(&self, request: &Request<'_>) -> Result<(Arc<DekLease>, WrapSet)> {
        self.0.seal_dek(request).await
    }
    async fn open_dek(
        &self,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> Result<Arc<DekLease>> {
        self.0.open_dek(wraps, body, request).await
    }
    async fn rewrap(
        &self,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> Result<Rewrapped> {
        self.0.rewrap(wraps, body, request).await
    }
}

#[test]
fn a_cache_that_was_not_told_gets_nothing_to_keep() {
    let bench = Bench::new();
    let (_, fake) = bench.made("kek", GOOD, &[State::Active]);
    let demands = Requirements::new().without_cache();
    let profiles = Profiles::new().define("strict", demands.clone()).unwrap();
    let ring = block_on(bench.builder().profiles(profiles).open()).unwrap();
    let sealed = seal(&bench.plain(), "a");
    fake.forget_calls();
    let cache = Cached::with_policy(
        Careless(ring),
        Caching::default(),
        Arc::new(bench.runtime.clone()),
    );
    let builder = Sealer::builder().source(cache).profile("strict");
    let sealer = builder.runtime(Arc::new(bench.runtime.clone())).build().unwrap();
    assert_eq!(refused(try_seal(&sealer)).0, "cache");
    assert_eq!(refused(open(&sealer, &sealed, "a")).0, "cache");
    assert_eq!(fake.total(), 0);
}

#[test]
fn what_one_profile_has_opened_another_does_not_find_in_the_cache() {
    let bench = Bench::new();
    bench.made("rsa", CLASSICAL, &[State::Active]);
    let profiles = Profiles::new()
        .define("strict", quantum_safe())
        .and_then(|profiles| profiles.define("lax", Requirements::new()))
        .unwrap();
    let ring = block_on(bench.builder().profiles(profiles).open()).unwrap();
    let cache = Cached::with_leases(
        ring.clone(),
        ring.caching(),
        Arc::new(bench.runtime.clone()),
        ring.leases().clone(),
    );
    let sealer = |profile| {
        let builder = Sealer::builder().source(cache.clone()).profile(profile);
        builder.runtime(Arc::new(bench.runtime.clone())).build().unwrap()
    };
    let (lax, strict) = (sealer("lax"), sealer("strict"));
    let sealed = try_seal(&lax).unwrap();
    assert_eq!(open(&lax, &sealed, "a").unwrap(), b"hello");
    assert_eq!(refused(open(&strict, &sealed, "a")).0, "classes");
    assert_eq!(refused(try_seal(&strict)).0, "classes");
}
