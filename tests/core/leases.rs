//! Who holds a DEK of which KEK: what is ended and what is turned over, in handles, streams and caches.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use waxseal::envelope::{BodyHead, KekRef, WrapSection, WrapSet};
use waxseal::key::Request;
use waxseal::runtime::Runtime;
use waxseal::source::{Caching, DekLease, Leases, Pulse, Rewrapped};
use waxseal::testing::{FakeKeyManager, Method, SimulatedRuntime};
use waxseal::value::Aad;
use waxseal::{DekSource, EncryptionContext, Envelope, ErrorKind, Sealer};

const MINUTE: Duration = Duration::from_secs(60);

fn context(tenant: &str) -> EncryptionContext {
    EncryptionContext::new([("tenant", tenant)]).unwrap()
}

struct Bench {
    runtime: Arc<SimulatedRuntime>,
    kms: FakeKeyManager,
    recovery: FakeKeyManager,
}

impl Bench {
    fn new() -> Self {
        let kms = FakeKeyManager::new("orders");
        Self {
            runtime: Arc::new(SimulatedRuntime::new()),
            recovery: kms.sibling("recovery"),
            kms,
        }
    }

    /// A sealer that opens with `orders` alone, with a cache or without.
    fn sealer(&self, cached: bool) -> Sealer {
        let builder = Sealer::builder()
            .wrap_with(self.kms.clone())
            .runtime(self.runtime.clone());
        let builder = if cached {
            builder.cache(Caching::default())
        } else {
            builder
        };
        builder.build().unwrap()
    }

    /// An envelope under `orders` and `recovery`.
    fn sealed(&self, context: &EncryptionContext) -> Vec<u8> {
        let sealer = Sealer::builder()
            .wrap_with(self.kms.clone())
            .wrap_with(self.recovery.clone())
            .build()
            .unwrap();
        self.run(sealer.seal(b"hello", context)).unwrap()
    }

    fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.run(future).unwrap()
    }
}

fn kind<T>(result: waxseal::Result<T>) -> ErrorKind {
    result.map(drop).unwrap_err().kind()
}

#[test]
fn a_data_key_ends_with_any_kek_that_its_envelope_names() {
    for cached in [true, false] {
        for named in ["orders", "recovery", "other"] {
            let bench = Bench::new();
            let (sealer, acme) = (bench.sealer(cached), context("acme"));
            let sealed = bench.sealed(&acme);
            let envelope = Envelope::parse(&sealed).unwrap();
            let opener = bench.run(sealer.opener(envelope.header(), &acme)).unwrap();
            let mut reader = opener
                .reader(envelope.header(), envelope.chunks(), Aad::none())
                .unwrap();
            bench.run(sealer.open(&sealed, &acme)).unwrap();
            assert_eq!(sealer.leases().in_use(), 1);
            let before = bench.kms.count(Method::Unwrap);

            let kek = KekRef::new("fake", named, "").unwrap();
            let ended = sealer.leases().end_kek(&kek);
            let meant = named != "other";
            assert_eq!(ended, usize::from(meant), "{named}");
            if meant {
                assert_eq!(kind(opener.open(&sealed, Aad::none())), ErrorKind::KeyRevoked);
                assert!(reader.read(&mut [0; 9]).is_err());
            } else {
                opener.open(&sealed, Aad::none()).unwrap();
                assert_eq!(reader.read(&mut [0; 9]).unwrap(), 5);
            }
            // Whoever comes next asks the key manager.
            bench.run(sealer.open(&sealed, &acme)).unwrap();
            let asked = bench.kms.count(Method::Unwrap) - before;
            assert_eq!(asked, usize::from(meant || !cached), "{named} {cached}");
        }
    }
}

#[test]
fn what_is_turned_over_goes_on_and_is_handed_out_no_more() {
    let bench = Bench::new();
    let (sealer, acme, other) = (bench.sealer(true), context("acme"), context("other"));
    let key = bench.run(sealer.data_key(&acme)).unwrap();
    bench.run(sealer.seal(b"x", &acme)).unwrap();
    bench.run(sealer.seal(b"x", &other)).unwrap();
    assert_eq!(bench.kms.count(Method::Generate), 2);
    sealer.leases().turn_over_contexts(|context| *context == acme);
    // It goes on where it is, and the next one gets another.
    let sealed = key.seal(b"x", Aad::none()).unwrap();
    key.open(&sealed, Aad::none()).unwrap();
    bench.run(sealer.seal(b"x", &other)).unwrap();
    assert_eq!(bench.kms.count(Method::Generate), 2);
    bench.run(sealer.seal(b"x", &acme)).unwrap();
    assert_eq!(bench.kms.count(Method::Generate), 3);
    sealer.leases().turn_over_kek(&bench.kms.kek());
    bench.run(sealer.seal(b"x", &other)).unwrap();
    assert_eq!(bench.kms.count(Method::Generate), 4);
    // Then it is ended after all.
    assert!(sealer.leases().end_contexts(|context| *context == acme) >= 1);
    assert_eq!(kind(key.seal(b"x", Aad::none())), ErrorKind::KeyRevoked);
}

#[test]
fn several_sealers_take_part_in_one_registry() {
    let bench = Bench::new();
    let (leases, acme) = (Leases::new(), context("acme"));
    let keys: Vec<_> = [true, false, true]
        .into_iter()
        .map(|cached| {
            let builder = Sealer::builder()
                .wrap_with(bench.kms.clone())
                .runtime(bench.runtime.clone())
                .leases(leases.clone());
            let builder = if cached {
                builder.cache(Caching::default())
            } else {
                builder
            };
            let sealer = builder.build().unwrap();
            let key = bench.run(sealer.data_key(&acme)).unwrap();
            (sealer, key)
        })
        .collect();
    assert_eq!(leases.end_all(), 3);
    for (_, key) in &keys {
        assert_eq!(kind(key.seal(b"x", Aad::none())), ErrorKind::KeyRevoked);
    }
    assert_eq!(leases.end_all(), 0);
    drop(keys);
    assert_eq!(leases.in_use(), 0);
}

#[test]
fn streams_end_a_while_after_their_lease() {
    let bench = Bench::new();
    let (acme, policy) = (context("acme"), Caching::default());
    let sealer = bench.sealer(true);
    let key = bench.run(sealer.data_key(&acme)).unwrap();
    let mut writer = key.writer(Vec::new(), Aad::none()).unwrap();
    writer.write_all(&[7; 200_000]).unwrap();
    // The handle ends with the lease, and the stream goes on.
    bench.runtime.advance(policy.seal_age);
    assert_eq!(kind(key.seal(b"x", Aad::none())), ErrorKind::LeaseExpired);
    writer.write_all(&[7; 200_000]).unwrap();
    bench.runtime.advance(policy.stream_age);
    let error = writer.write_all(&[7; 200_000]).unwrap_err();
    assert!(
        error.to_string().contains("expired") || error.to_string().contains("ended"),
        "{error}"
    );
}

/// Lets every lease stand on one pulse, as a key ring does, and counts what it was asked for.
#[derive(Debug)]
struct Around {
    inner: Arc<dyn DekSource>,
    pulse: Option<Pulse>,
    asked: Arc<AtomicUsize>,
}

#[async_trait]
impl DekSource for Around {
    async fn seal_dek(&self, request: &Request<'_>) -> waxseal::Result<(Arc<DekLease>, WrapSet)> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let (lease, wraps) = self.inner.seal_dek(request).await?;
        self.pulse.iter().for_each(|pulse| assert!(lease.stand_on(pulse)));
        Ok((lease, wraps))
    }

    async fn open_dek(
        &self,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> waxseal::Result<Arc<DekLease>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.inner.open_dek(wraps, body, request).await
    }

    async fn rewrap(
        &self,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> waxseal::Result<Rewrapped> {
        self.inner.rewrap(wraps, body, request).await
    }
}

#[test]
fn handles_caches_and_streams_stop_with_their_pulse() {
    for cached in [true, false] {
        let bench = Bench::new();
        let acme = context("acme");
        let pulse = Pulse::until(bench.runtime.now() + MINUTE);
        let around = Around {
            inner: Arc::new(waxseal::source::AnyOf::new(bench.kms.clone())),
            pulse: Some(pulse.clone()),
            asked: Arc::default(),
        };
        let builder = Sealer::builder().source(around).runtime(bench.runtime.clone());
        let builder = if cached {
            builder.cache(Caching::default())
        } else {
            builder
        };
        let sealer = builder.build().unwrap();
        let key = bench.run(sealer.data_key(&acme)).unwrap();
        let mut writer = key.writer(Vec::new(), Aad::none()).unwrap();
        for _ in 0..3 {
            bench.runtime.advance(MINUTE / 2);
            pulse.prolong(bench.runtime.now() + MINUTE);
            key.seal(b"x", Aad::none()).unwrap();
            writer.write_all(&[7; 200_000]).unwrap();
        }
        // Nobody prolongs it any more.
        bench.runtime.advance(MINUTE);
        assert_eq!(kind(key.seal(b"x", Aad::none())), ErrorKind::LeaseExpired);
        assert!(writer.write_all(&[7; 200_000]).is_err());
        // What a cache has kept is given to nobody either.
        assert_eq!(kind(bench.run(sealer.seal(b"x", &acme))), ErrorKind::LeaseExpired);
        pulse.prolong(bench.runtime.now() + MINUTE);
        bench.run(sealer.seal(b"x", &acme)).unwrap();
    }
}

#[test]
fn the_sealer_keeps_data_keys_and_a_layer_is_asked_at_each_release_all_the_same() {
    let bench = Bench::new();
    let acme = context("acme");
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let sealer = Sealer::builder()
        .wrap_with(bench.kms.clone())
        .runtime(bench.runtime.clone())
        .cache(Caching::default())
        .layer(move |inner| Around {
            inner,
            pulse: None,
            asked: Arc::clone(&counted),
        })
        .build()
        .unwrap();
    let sealed = bench.run(sealer.seal(b"x", &acme)).unwrap();
    for _ in 0..4 {
        bench.run(sealer.seal(b"x", &acme)).unwrap();
        bench.run(sealer.open(&sealed, &acme)).unwrap();
    }
    assert_eq!(bench.kms.total(), 2);
    assert_eq!(asked.load(Ordering::SeqCst), 9);
    assert_eq!(sealer.cache().unwrap().stats().hits, 7);
    // A cache around a cache is a mistake.
    let twice = Sealer::builder()
        .source(sealer.cache().unwrap().clone())
        .cache(Caching::default())
        .build();
    assert_eq!(kind(twice), ErrorKind::Configuration);
}

#[test]
fn actor_and_request_id_of_a_sealer_reach_the_key_manager() {
    let bench = Bench::new();
    let acme = context("acme");
    for cached in [true, false] {
        let sealer = bench.sealer(cached).acting_as("alice").with_request_id("7f3a");
        let sealed = bench.run(sealer.seal(b"x", &acme)).unwrap();
        bench.run(sealer.open(&sealed, &acme)).unwrap();
    }
    for call in bench.kms.calls() {
        assert_eq!(
            (call.actor.as_deref(), call.request_id.as_deref()),
            (Some("alice"), Some("7f3a"))
        );
    }
    assert_eq!(bench.kms.calls().len(), 4);
}

/// Ends or turns over data keys each time that it is asked for one.
#[derive(Debug)]
struct Restless {
    inner: waxseal::source::AnyOf,
    leases: Leases,
    left: AtomicUsize,
    asked: Arc<AtomicUsize>,
}

impl Restless {
    fn stir(&self) {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let left = self
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if left.is_ok() {
            self.leases.end_all();
        }
    }
}

#[async_trait]
impl DekSource for Restless {
    async fn seal_dek(&self, request: &Request<'_>) -> waxseal::Result<(Arc<DekLease>, WrapSet)> {
        let given = self.inner.seal_dek(request).await?;
        self.stir();
        Ok(given)
    }

    async fn open_dek(
        &self,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> waxseal::Result<Arc<DekLease>> {
        let given = self.inner.open_dek(wraps, body, request).await?;
        self.stir();
        Ok(given)
    }

    async fn rewrap(
        &self,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> waxseal::Result<Rewrapped> {
        self.inner.rewrap(wraps, body, request).await
    }
}

#[test]
fn who_ends_data_keys_all_the_time_holds_up_nobody_for_ever() {
    type Ask = fn(&Bench, &Sealer, &[u8]) -> waxseal::Result<()>;
    let asks: [Ask; 4] = [
        |bench, sealer, _| bench.run(sealer.data_key(&context("acme"))).map(drop),
        |bench, sealer, sealed| {
            let envelope = Envelope::parse(sealed).unwrap();
            bench
                .run(sealer.opener(envelope.header(), &context("acme")))
                .map(drop)
        },
        |bench, sealer, _| bench.run(sealer.seal(b"x", &context("acme"))).map(drop),
        |bench, sealer, sealed| bench.run(sealer.open(sealed, &context("acme"))).map(drop),
    ];
    let bench = Bench::new();
    let sealed = bench.sealed(&context("acme"));
    // With a cache of small tables, one that keeps nothing, and none.
    let policies = [
        Some(Caching::default()),
        Some(Caching {
            open_entries: 0,
            seal_entries: 0,
            ..Caching::default()
        }),
        None,
    ];
    for ask in asks {
        for policy in policies {
            for (times, works) in [(0, true), (1, true), (7, true), (usize::MAX, false)] {
                let (leases, asked) = (Leases::new(), Arc::new(AtomicUsize::new(0)));
                let builder = Sealer::builder()
                    .source(Restless {
                        inner: waxseal::source::AnyOf::new(bench.kms.clone()),
                        leases: leases.clone(),
                        left: times.into(),
                        asked: Arc::clone(&asked),
                    })
                    .runtime(bench.runtime.clone())
                    .leases(leases);
                let builder = match policy {
                    Some(policy) => builder.cache(policy),
                    None => builder,
                };
                let result = ask(&bench, &builder.build().unwrap(), &sealed);
                assert_eq!(result.is_ok(), works, "{times} {policy:?} {result:?}");
                let rounds = if works { times + 1 } else { 8 };
                assert_eq!(asked.load(Ordering::SeqCst), rounds, "{policy:?}");
                if let Err(error) = result {
                    assert_eq!(error.kind(), ErrorKind::LeaseExpired);
                    assert!(error.is_retryable());
                }
            }
        }
    }
}

#[test]
fn an_opener_without_a_cache_ends_by_age_too() {
    let bench = Bench::new();
    let acme = context("acme");
    let sealer = Sealer::builder()
        .wrap_with(bench.kms.clone())
        .runtime(bench.runtime.clone())
        .data_key_age(MINUTE)
        .build()
        .unwrap();
    let sealed = bench.run(sealer.seal(b"hello", &acme)).unwrap();
    let envelope = Envelope::parse(&sealed).unwrap();
    let header = envelope.header();
    let opener = bench.run(sealer.opener(header, &acme)).unwrap();
    assert_eq!(opener.expires_at(), Some(bench.runtime.now() + MINUTE));
    let mut ranges = opener
        .range_reader(header, std::io::Cursor::new(&sealed), Aad::none())
        .unwrap();
    let mut reader = opener.reader(header, envelope.chunks(), Aad::none()).unwrap();
    bench.runtime.advance(MINUTE - Duration::from_nanos(1));
    opener.open(&sealed, Aad::none()).unwrap();
    assert_eq!(ranges.read(&mut [0; 2]).unwrap(), 2);
    bench.runtime.advance(Duration::from_nanos(1));
    assert_eq!(kind(opener.open(&sealed, Aad::none())), ErrorKind::LeaseExpired);
    assert_eq!(
        kind(opener.reader(header, envelope.chunks(), Aad::none())),
        ErrorKind::LeaseExpired
    );
    assert!(ranges.read(&mut [0; 2]).is_err());
    // A stream that was begun may be finished.
    assert_eq!(reader.read(&mut [0; 9]).unwrap(), 5);
}

#[test]
fn a_handle_of_a_lease_is_ended_by_a_registry_that_was_told_of_it() {
    let bench = Bench::new();
    let acme = context("acme");
    let sealed = bench.sealed(&acme);
    let envelope = Envelope::parse(&sealed).unwrap();
    let request = Request::new(&acme).with_purpose(waxseal::key::Purpose::Open);
    let source = waxseal::source::AnyOf::new(bench.kms.clone());
    let section = || envelope.header().wrap_section().unwrap();
    let lease = bench
        .run(source.open_dek(section(), envelope.header().body(), &request))
        .unwrap();
    let (one, another) = (Leases::new(), Leases::new());
    for leases in [&one, &another, &one] {
        leases.remember(&lease, Some(section()), &acme);
    }
    assert_eq!((one.in_use(), another.in_use()), (1, 1));
    let opener = waxseal::Opener::from_lease(lease, &acme, bench.runtime.clone());
    opener.open(&sealed, Aad::none()).unwrap();
    // By a KEK that the envelope names and that did not open it.
    assert_eq!(another.end_kek(&bench.recovery.kek()), 1);
    assert_eq!(kind(opener.open(&sealed, Aad::none())), ErrorKind::KeyRevoked);
}

#[test]
fn a_registry_that_a_cache_would_not_share_is_refused() {
    let (kms, leases) = (FakeKeyManager::new("orders"), Leases::new());
    let runtime = || Arc::new(SimulatedRuntime::new());
    let cached = |leases: Leases| {
        let source = waxseal::source::AnyOf::new(kms.clone());
        waxseal::source::Cached::with_leases(source, Caching::default(), runtime(), leases)
    };
    let build = |source, leases: &Leases| Sealer::builder().source(source).leases(leases.clone()).build();
    assert!(build(cached(leases.clone()), &leases).is_ok());
    assert_eq!(
        kind(build(cached(Leases::new()), &leases)),
        ErrorKind::Configuration
    );
}
