//! What is taken back.

use std::task::{Context, Waker};

use waxseal::source::{Cached, Caching};
use waxseal::testing::{FakeKeyManager, Method};
use waxseal::{
    Aad, DekSource, Envelope, ErrorKind, Sealer, envelope::KekRef, key::Authorization, key::Request,
    source::AnyOf,
};

use super::bench::{Bench, MINUTE, SECOND, context, kind};

#[test]
fn by_kek_reaches_handles_and_streams() {
    let bench = Bench::new();
    let acme = context("acme");
    let key = bench.run(bench.sealer.data_key(&acme)).unwrap();
    let sealed = key.seal(b"hello", Aad::none()).unwrap();
    let lease = bench.lease(&sealed, "acme");
    let mut writer = key.writer(Vec::new(), Aad::none()).unwrap();
    let other = KekRef::new("fake", "another", "1").unwrap();
    assert_eq!(bench.cache.invalidate_kek(&other), 0);
    let elsewhere = KekRef::new("elsewhere", "kek", "1").unwrap();
    assert_eq!(bench.cache.invalidate_kek(&elsewhere), 0);
    bench.open(&sealed, "acme").unwrap();
    assert_eq!(bench.kms.total(), 2);

    // Another version of it is it, too: the stanza's is a claim.
    assert_eq!(
        bench
            .cache
            .invalidate_kek(&KekRef::new("fake", "kek", "99").unwrap()),
        2
    );
    assert!(lease.is_revoked());
    assert_eq!(kind(key.seal(b"x", Aad::none())), ErrorKind::KeyRevoked);
    std::io::Write::write_all(&mut writer, b"x").unwrap_or_default();
    assert_eq!(kind(writer.finish()), ErrorKind::KeyRevoked);
    // The next gets what is new.
    bench.open(&sealed, "acme").unwrap();
    bench.seal("acme").unwrap();
    assert_eq!((bench.generates(), bench.unwraps()), (2, 2));
    assert_eq!(bench.cache.stats().invalidations, 2);
}

#[test]
fn a_kek_whose_id_is_hidden_does_not_escape() {
    let kms = FakeKeyManager::new("kek");
    let cache = Cached::new(AnyOf::new(kms.clone()).hiding_ids());
    let sealer = Sealer::from_source(cache.clone());
    let acme = context("acme");
    let sealed = pollster::block_on(sealer.seal(b"x", &acme)).unwrap();
    pollster::block_on(sealer.open(&sealed, &acme)).unwrap();
    assert_eq!(cache.invalidate_kek(&kms.kek()), 2);
}

/// A multi-region key is one key in all of its regions: whoever takes back one replica takes back what another one opened.
#[test]
fn by_kek_reaches_every_region_of_a_multi_region_key() {
    let arn = |region: &str, account: &str, key: &str| {
        let id = format!("arn:aws:kms:{region}:{account}:key/{key}");
        KekRef::new("aws-kms", &id, "").unwrap()
    };
    let (account, replica, single) = (
        "111122223333",
        "mrk-1234abcd12ab34cd56ef1234567890ab",
        "1234abcd-12ab-34cd-56ef-1234567890ab",
    );
    let acme = context("acme");
    for (key, reaches) in [(replica, 2), (single, 0)] {
        let own = arn("eu-west-1", account, key);
        let kms = FakeKeyManager::new(own.id()).with_provider("aws-kms");
        let cache = Cached::new(AnyOf::new(kms));
        let sealer = Sealer::from_source(cache.clone());
        let sealed = pollster::block_on(sealer.seal(b"x", &acme)).unwrap();
        pollster::block_on(sealer.open(&sealed, &acme)).unwrap();
        for other in [
            arn("us-east-1", "444455556666", key),
            arn("us-east-1", account, "mrk-00000000000000000000000000000000"),
            KekRef::new("fake", arn("us-east-1", account, key).id(), "").unwrap(),
        ] {
            assert_eq!(cache.invalidate_kek(&other), 0, "{other}");
        }
        assert_eq!(
            cache.invalidate_kek(&arn("us-east-1", account, key)),
            reaches,
            "{key}"
        );
        assert_eq!(cache.invalidate_kek(&own), 2 - reaches, "{key}");
    }
}

#[test]
fn by_context_and_all() {
    let bench = Bench::new();
    let leases: Vec<_> = ["a", "b", "c"]
        .into_iter()
        .map(|tenant| bench.lease(&bench.stored(tenant), tenant))
        .collect();
    let revoked = |leases: &[std::sync::Arc<waxseal::source::DekLease>]| {
        leases.iter().map(|lease| lease.is_revoked()).collect::<Vec<_>>()
    };
    assert_eq!(
        bench
            .cache
            .invalidate_contexts(|context| context.get("tenant") == Some("b")),
        1
    );
    assert_eq!(revoked(&leases), [false, true, false]);
    assert_eq!(bench.cache.stats().open_entries, 2);
    assert_eq!(bench.cache.invalidate_all(), 2);
    assert_eq!(revoked(&leases), [true; 3]);
    assert_eq!(bench.cache.stats().open_entries, 0);
    assert_eq!(bench.cache.invalidate_all(), 0);
}

#[test]
fn a_predicate_may_ask_the_cache_itself() {
    let bench = Bench::new();
    bench.seal("a").unwrap();
    assert_eq!(
        bench
            .cache
            .invalidate_contexts(|_| bench.cache.stats().seal_entries == 1),
        1
    );
}

#[test]
fn what_made_room_is_within_reach_while_it_is_in_use() {
    let bench = Bench::with(Caching {
        open_entries: 1,
        seal_messages: 1,
        ..Caching::default()
    });
    let (a, b) = (bench.stored("a"), bench.stored("b"));
    let evicted = bench.lease(&a, "a");
    let kept = bench.lease(&b, "b");
    // A data key whose budget is used up.
    let key = bench.run(bench.sealer.data_key(&context("a"))).unwrap();
    bench.seal("a").unwrap();
    // What went by.
    let acme = context("a");
    let authorizations = [Authorization::new("INC-7", "carol")];
    let request = Request::new(&acme).with_authorizations(&authorizations);
    let (by, _) = bench.run(bench.cache.seal_dek(&request)).unwrap();
    let envelope = Envelope::parse(&a).unwrap();
    let section = envelope.header().wrap_section().unwrap();
    let open_by = bench
        .run(bench.cache.open_dek(section, envelope.header().body(), &request))
        .unwrap();

    assert_eq!(
        bench
            .cache
            .invalidate_contexts(|context| context.get("tenant") == Some("b")),
        1
    );
    assert!(kept.is_revoked() && !evicted.is_revoked());
    assert_eq!(bench.cache.invalidate_kek(&bench.kms.kek()), 5);
    assert!(evicted.is_revoked() && by.is_revoked() && open_by.is_revoked());
    assert_eq!(kind(key.seal(b"x", Aad::none())), ErrorKind::KeyRevoked);
}

/// What a request does when an invalidation comes while it is under way.
#[test]
fn beats_what_was_asked_for_before_it() {
    type Invalidate = fn(&Bench) -> usize;
    let all: [Invalidate; 3] = [
        |bench| bench.cache.invalidate_all(),
        |bench| bench.cache.invalidate_kek(&bench.kms.kek()),
        |bench| bench.cache.invalidate_contexts(|_| true),
    ];
    for invalidate in all {
        let bench = Bench::new();
        let sealed = bench.stored("acme");
        bench.takes(SECOND);
        let mut early: Vec<_> = (0..3).map(|_| bench.opens(&sealed, "acme")).collect();
        for opens in &mut early {
            let mut context = Context::from_waker(Waker::noop());
            assert!(opens.as_mut().poll(&mut context).is_pending());
        }
        assert_eq!((bench.unwraps(), invalidate(&bench)), (1, 0));
        // One who comes later does not join what was asked for earlier.
        let mut tasks = early;
        tasks.push(bench.opens(&sealed, "acme"));
        for opened in bench.all(tasks) {
            assert_eq!(opened.unwrap(), b"hello");
        }
        // The first answer was not used, and all four share the second.
        assert_eq!((bench.unwraps(), bench.cache.stats().overtaken), (2, 1));
        assert_eq!(bench.cache.stats().open_entries, 1);
    }
    // One of another tenant's does not.
    let bench = Bench::new();
    bench.takes(SECOND);
    let mut seals = bench.seals("acme");
    assert!(
        seals
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_pending()
    );
    bench
        .cache
        .invalidate_contexts(|context| context.get("tenant") != Some("acme"));
    assert!(bench.all([seals])[0].is_ok());
    assert_eq!(bench.kms.count(Method::Generate), 1);
}

#[test]
fn beats_what_goes_by_too() {
    let bench = Bench::new();
    bench.takes(SECOND);
    let (cache, acme) = (bench.cache.clone(), context("acme"));
    let mut by: waxseal::runtime::BoxFuture<'static, _> = Box::pin(async move {
        let authorizations = [Authorization::new("INC-7", "carol")];
        cache
            .seal_dek(&Request::new(&acme).with_authorizations(&authorizations))
            .await
            .map(|_| ())
    });
    assert!(
        by.as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_pending()
    );
    bench.cache.invalidate_contexts(|_| false);
    bench.all([by]).remove(0).unwrap();
    assert_eq!(bench.generates(), 2);
}

/// A stream holds no lease. Whatever becomes of the entry meanwhile, an invalidation stops it.
#[test]
fn streams_are_within_reach_after_their_entries_went() {
    let bench = Bench::with(Caching {
        seal_entries: 1,
        seal_age: MINUTE,
        ..Caching::default()
    });
    let stream = |name: &str| {
        let key = bench.run(bench.sealer.data_key(&context(name))).unwrap();
        // The key, and its lease, end here.
        key.writer(Vec::new(), Aad::none()).unwrap()
    };
    let mut evicted = stream("evicted");
    let mut swept = stream("swept");
    assert_eq!(bench.cache.stats().evictions, 1);
    bench.runtime.advance(10 * MINUTE);
    assert_eq!(bench.cache.stats().seal_entries, 0);
    let mut kept = stream("kept");
    assert_eq!(bench.cache.invalidate_all(), 3);
    for writer in [&mut evicted, &mut swept, &mut kept] {
        let stopped = std::io::Write::write_all(writer, &[7; 200_000]).unwrap_err();
        assert!(stopped.to_string().contains("revoked"), "{stopped}");
    }
    assert_eq!(bench.cache.invalidate_all(), 0);
}
