//! An inventory that is away, hangs, lies, or was tampered with.

use std::sync::atomic::AtomicBool;

use pollster::block_on;

use super::*;
use crate::testing::Fault;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

struct Setting {
    bench: Bench,
    moody: Moody,
    ring: KeyRing,
    key: KeyRecord,
    fake: FakeKeyManager,
}

/// A ring with one key of tenant a, which it has read.
fn setting() -> Setting {
    let bench = Bench::new();
    let (key, fake) = bench.active("tenant/a", "a");
    let moody = Moody::new(&bench);
    let ring = block_on(bench.builder_on(Arc::new(moody.clone())).open()).unwrap();
    seal(&uncached(&ring), "a");
    Setting {
        bench,
        moody,
        ring,
        key,
        fake,
    }
}

/// What it reads may be behind.
#[derive(Debug)]
struct Behind(Moody, Duration);

#[async_trait]
impl InventoryLayer for Behind {
    fn inner(&self) -> &dyn Inventory {
        &self.0
    }

    fn behind(&self) -> Duration {
        self.1
    }
}

#[test]
fn what_may_be_behind_goes_stale_that_much_earlier() {
    let bench = Bench::new();
    let _ = bench.active("tenant/a", "a");
    let moody = Moody::new(&bench);
    let behind = |by| {
        let inventory = Arc::new(Behind(moody.clone(), by));
        block_on(bench.builder_on(inventory).open())
    };
    for by in [seconds(60), Duration::MAX] {
        assert_eq!(kind(behind(by)), ErrorKind::Configuration);
    }
    let ring = behind(seconds(40)).unwrap();
    let (plain, cached) = (uncached(&ring), ring.sealer().build().unwrap());
    for sealer in [&plain, &cached] {
        seal(sealer, "a");
    }
    moody.be(Mood::Away);
    bench.runtime.advance(seconds(19));
    for sealer in [&plain, &cached] {
        seal(sealer, "a");
    }
    assert!(!ring.status().unwrap().is_stale_for_sealing);
    bench.runtime.advance(seconds(1));
    assert!(ring.status().unwrap().is_stale_for_sealing);
    for sealer in [&plain, &cached] {
        let error = block_on(sealer.seal(b"", &context("a"))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InventoryStale);
    }
}

#[test]
fn no_inventory_at_the_start_is_an_error() {
    let bench = Bench::new();
    let moody = Moody::new(&bench);
    moody.be(Mood::Away);
    let opened = block_on(bench.builder_on(Arc::new(moody.clone())).open());
    assert_eq!(kind(opened), ErrorKind::Unavailable);
    moody.be(Mood::Hangs(seconds(3600)));
    let opening = bench.builder_on(Arc::new(moody)).open();
    assert_eq!(kind(bench.runtime.run(opening).unwrap()), ErrorKind::TimedOut);
    assert!(bench.runtime.elapsed() < seconds(10));
    let empty: Arc<dyn Inventory> = Arc::new(MemoryInventory::new());
    assert_eq!(
        kind(block_on(bench.builder_on(empty).open())),
        ErrorKind::Configuration
    );
    let other = Trust::new(bench.ring, Authority::generate().unwrap().public());
    let backends = Arc::clone(&bench.fakes) as Arc<dyn Backends>;
    let foreign = KeyRing::builder(other, Arc::new(bench.inventory.clone()), backends);
    assert_eq!(kind(block_on(foreign.open())), ErrorKind::InventoryInvalid);
}

#[test]
fn an_outage_is_bridged_for_as_long_as_the_settings_say_and_ends_by_itself() {
    let Setting {
        bench, moody, ring, ..
    } = setting();
    let (plain, cached) = (uncached(&ring), ring.sealer().build().unwrap());
    let sealed = seal(&cached, "a");
    let handle = block_on(cached.data_key(&context("a"))).unwrap();
    let opener = opener(&cached, &sealed);
    moody.be(Mood::Away);
    bench.runtime.advance(seconds(59));
    assert!(block_on(ring.refresh()).is_err());
    for sealer in [&plain, &cached] {
        assert!(open(sealer, &seal(sealer, "a"), "a").is_ok());
    }
    assert!(handle.seal(b"", Aad::none()).is_ok());
    bench.runtime.advance(seconds(1));
    // Sealing is over, also for what is kept and what is out.
    for sealer in [&plain, &cached] {
        let error = block_on(sealer.seal(b"", &context("a"))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InventoryStale);
        assert!(error.is_retryable());
        assert!(open(sealer, &sealed, "a").is_ok());
    }
    assert_eq!(kind(handle.seal(b"", Aad::none())), ErrorKind::LeaseExpired);
    let status = ring.status().unwrap();
    assert!(status.is_stale_for_sealing && !status.is_stale_for_opening);
    assert_eq!(status.problem.unwrap().kind(), ErrorKind::Unavailable);
    let rewrapped = block_on(plain.rewrap(&sealed, &context("a")));
    assert_eq!(kind(rewrapped), ErrorKind::InventoryStale);
    // Opening goes on for longer.
    bench.runtime.advance(seconds(239));
    assert!(opener.open(&sealed, Aad::none()).is_ok());
    bench.runtime.advance(seconds(301));
    for sealer in [&plain, &cached] {
        assert_eq!(kind(open(sealer, &sealed, "a")), ErrorKind::InventoryStale);
    }
    // It is back, and nobody starts anything anew.
    moody.be(Mood::Fine);
    bench.runtime.advance(seconds(1));
    for sealer in [&plain, &cached] {
        assert!(open(sealer, &seal(sealer, "a"), "a").is_ok());
    }
    assert!(ring.status().unwrap().problem.is_none());
}

#[test]
fn streams_end_with_the_pulse() {
    use std::io::Write;
    let Setting {
        bench, moody, ring, ..
    } = setting();
    let sealer = crate::blocking::Sealer::from(ring.sealer().build().unwrap());
    let context = context("a");
    let mut writer = sealer.writer(Vec::new(), &context).unwrap();
    writer.write_all(&[1; 100_000]).unwrap();
    // A stream goes on after the end of its lease.
    for _ in 0..20 {
        bench.runtime.advance(seconds(30));
        block_on(ring.refresh()).unwrap();
    }
    writer.write_all(&[1; 100_000]).unwrap();
    moody.be(Mood::Away);
    bench.runtime.advance(seconds(60));
    let error = writer.write_all(&[1; 200_000]).unwrap_err();
    let error = error.into_inner().unwrap().downcast::<Error>().unwrap();
    assert_eq!(error.kind(), ErrorKind::LeaseExpired, "{error:?}");
}

#[test]
fn streams_end_at_the_signed_age_whatever_a_process_was_told() {
    use std::io::Write;
    let bench = Bench::new();
    bench.active("tenant/a", "a");
    let age = seconds(86_400);
    for told in [None, Some(age)] {
        let mut builder = bench.builder();
        if let Some(age) = told {
            builder = builder.stream_age(age);
        }
        let ring = block_on(builder.open()).unwrap();
        let caching = crate::source::Caching {
            stream_age: age,
            seal_age: age,
            ..ring.caching()
        };
        let sealer = crate::blocking::Sealer::from(ring.sealer().cache(caching).build().unwrap());
        let context = context("a");
        let mut writer = sealer.writer(Vec::new(), &context).unwrap();
        let settings = ring.settings();
        let (lease, stream) = (settings.lease_age.at_most(), settings.stream_age.at_most());
        let steps = (lease + stream).as_secs() / 30 - 1;
        for _ in 0..steps {
            bench.runtime.advance(seconds(30));
            block_on(ring.refresh()).unwrap();
        }
        writer.write_all(&[1; 200_000]).unwrap();
        bench.runtime.advance(seconds(31));
        block_on(ring.refresh()).unwrap();
        let error = writer.write_all(&[1; 200_000]).unwrap_err();
        let error = error.into_inner().unwrap().downcast::<Error>().unwrap();
        assert_eq!(error.kind(), ErrorKind::LeaseExpired, "{error:?}");
    }
}

#[test]
fn an_inventory_that_hangs_holds_up_nobody_for_long() {
    let Setting {
        bench,
        moody,
        ring,
        fake,
        ..
    } = setting();
    let sealer = uncached(&ring);
    moody.be(Mood::Hangs(seconds(100_000)));
    let begun = bench.runtime.elapsed();
    assert_eq!(
        kind(bench.runtime.run(ring.refresh()).unwrap()),
        ErrorKind::TimedOut
    );
    assert!(bench.runtime.elapsed() <= begun + seconds(5));
    bench
        .runtime
        .run(sealer.seal(b"", &context("a")))
        .unwrap()
        .unwrap();
    bench.runtime.advance(seconds(60));
    let begun = bench.runtime.elapsed();
    let a = context("a");
    let sealing = sealer.seal(b"", &a);
    assert_eq!(
        kind(bench.runtime.run(sealing).unwrap()),
        ErrorKind::InventoryStale
    );
    let (one, two) = (context("b"), context("c"));
    for context in [&one, &two] {
        let sealing = sealer.seal(b"", context);
        assert!(bench.runtime.run(sealing).unwrap().unwrap_err().is_retryable());
    }
    assert!(bench.runtime.elapsed() <= begun + seconds(11));
    // A request's own deadline comes first.
    moody.be(Mood::Fine);
    bench.runtime.advance(seconds(1));
    block_on(ring.refresh()).unwrap();
    moody.be(Mood::Hangs(seconds(100_000)));
    let hasty = ring.sealer().timeout(seconds(1)).build().unwrap();
    let begun = bench.runtime.elapsed();
    let sealing = hasty.seal(b"", &one);
    assert_eq!(kind(bench.runtime.run(sealing).unwrap()), ErrorKind::TimedOut);
    assert_eq!(bench.runtime.elapsed(), begun + seconds(1));
    drop(fake);
}

#[test]
fn a_kms_that_hangs_ends_at_the_deadline() {
    let Setting {
        bench, ring, fake, ..
    } = setting();
    fake.script_always(Fault::Hangs(Arc::new(bench.runtime.clone()), seconds(1000)));
    let sealer = ring.sealer().timeout(seconds(2)).build().unwrap();
    let a = context("a");
    let sealing = sealer.seal(b"", &a);
    assert_eq!(kind(bench.runtime.run(sealing).unwrap()), ErrorKind::TimedOut);
}

#[test]
fn a_kek_that_takes_for_ever_to_open_holds_up_nobody_for_long() {
    let bench = Bench::new();
    let fake = bench.fake("away");
    let away = bench.went(bench.key("tenant/a", &fake), &[State::Active, State::Deprecated]);
    bench.put(&[&away]);
    let (_, good) = bench.active("tenant/a", "good");
    let both = Sealer::builder()
        .wrap_with(fake.clone())
        .wrap_with(good)
        .build()
        .unwrap();
    let (sealed, alone) = (seal(&both, "a"), seal(&Sealer::new(fake), "a"));
    bench.hanging("away");
    let ring = bench.open();
    let context = context("a");
    // In its share of the time, and then the other wrap opens.
    // Without a cache, whose requests go on by a limit of their own when a hasty caller gives up.
    let hasty = Sealer::builder()
        .source(ring.clone())
        .leases(ring.leases().clone())
        .runtime(Arc::new(bench.runtime.clone()))
        .timeout(seconds(10))
        .build()
        .unwrap();
    assert_eq!(
        bench.runtime.run(hasty.open(&sealed, &context)).unwrap().unwrap(),
        b"hello"
    );
    let patient = ring.sealer().build().unwrap();
    let begun = bench.runtime.elapsed();
    for (sealed, opens) in [(&sealed, true), (&alone, false)] {
        let opened = bench.runtime.run(patient.open(sealed, &context)).unwrap();
        assert_eq!(opened.is_ok(), opens);
        assert!(opened.is_ok() || opened.unwrap_err().is_retryable());
    }
    assert!(bench.runtime.elapsed() <= begun + seconds(60));
    assert_eq!(keks(&seal(&patient, "a")), ["good"]);
}

#[test]
fn what_does_not_verify_is_not_used_and_is_told() {
    let Setting {
        bench,
        moody,
        ring,
        mut key,
        ..
    } = setting();
    bench.active("tenant/b", "b");
    block_on(ring.refresh()).unwrap();
    let sealer = uncached(&ring);
    seal(&sealer, "b");
    // Somebody makes the key of tenant a look deprecated, and the ring changes.
    *moody.spoil.lock().unwrap() = Some(|row: &mut Row| {
        if row.scope.as_str() == "tenant/a" {
            row.signed.body.push(b' ');
        }
    });
    bench.active("tenant/c", "c");
    block_on(ring.refresh()).unwrap();
    let status = ring.status().unwrap();
    let [(bad, why)] = status.bad_scopes.as_slice() else {
        panic!("{status:?}");
    };
    assert_eq!(bad.as_str(), "tenant/a");
    assert_eq!(why.kind(), ErrorKind::InventoryInvalid);
    assert!(why.detail().unwrap().contains(&key.id.to_string()), "{why}");
    // What was verified stands until it is stale; the others go on.
    let sealed = seal(&sealer, "a");
    for _ in 0..6 {
        bench.runtime.advance(seconds(10));
        block_on(ring.refresh()).unwrap();
    }
    assert_eq!(
        kind(block_on(sealer.seal(b"", &context("a")))),
        ErrorKind::InventoryStale
    );
    assert!(open(&sealer, &sealed, "a").is_ok());
    for tenant in ["b", "c"] {
        assert_eq!(keks(&seal(&sealer, tenant)), [tenant]);
    }
    // Never read before, and bad: nothing of it is used.
    let fresh = block_on(bench.builder_on(Arc::new(moody.clone())).open()).unwrap();
    assert_eq!(
        kind(block_on(uncached(&fresh).seal(b"", &context("a")))),
        ErrorKind::InventoryInvalid
    );
    // Mended.
    *moody.spoil.lock().unwrap() = None;
    block_on(ring.refresh()).unwrap();
    assert!(ring.status().unwrap().bad_scopes.is_empty());
    assert_eq!(keks(&seal(&sealer, "a")), ["a"]);
    bench.go(&mut key, State::Compromised);
}

#[test]
fn an_inventory_that_was_taken_back_or_deleted_is_not_believed() {
    let Setting {
        bench,
        moody,
        ring,
        mut key,
        ..
    } = setting();
    let sealer = uncached(&ring);
    let sealed = seal(&sealer, "a");
    let nodes = crate::ring::tree::all_paths();
    let old = block_on(bench.inventory.read(&[scope("tenant/a")], &nodes)).unwrap();
    bench.go(&mut key, State::Compromised);
    bench.put(&[&key]);
    block_on(ring.refresh()).unwrap();
    assert_eq!(kind(open(&sealer, &sealed, "a")), ErrorKind::KeyRevoked);
    for snapshot in [old, Snapshot::default()] {
        moody.be(Mood::Older(Box::new(snapshot)));
        assert_eq!(kind(block_on(ring.refresh())), ErrorKind::InventoryInvalid);
        let status = ring.status().unwrap();
        assert_eq!(status.problem.unwrap().kind(), ErrorKind::InventoryInvalid);
        assert_eq!(kind(open(&sealer, &sealed, "a")), ErrorKind::KeyRevoked);
    }
    // Not believed for ever either.
    bench.runtime.advance(seconds(600));
    assert_eq!(kind(open(&sealer, &sealed, "a")), ErrorKind::InventoryStale);
}

/// Scope `tenant/b` has more rows than anybody reads.
#[derive(Debug)]
struct Flooded(MemoryInventory, AtomicBool);

#[async_trait]
impl InventoryLayer for Flooded {
    fn inner(&self) -> &dyn Inventory {
        &self.0
    }

    async fn read(&self, scopes: &[Scope], nodes: &[NodePath]) -> Result<Snapshot> {
        let is_asked = scopes.iter().any(|scope| scope.as_str() == "tenant/b");
        if is_asked && self.1.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::OverLimit {
                limit: "rows of one call",
                max: 200_000,
            }));
        }
        self.0.read(scopes, nodes).await
    }
}

#[test]
fn a_scope_that_is_too_large_to_be_read_stops_no_other() {
    let bench = Bench::new();
    let (mut a, _) = bench.active("tenant/a", "a");
    bench.active("tenant/b", "b");
    let flooded = Arc::new(Flooded(bench.inventory.clone(), AtomicBool::new(false)));
    let ring = block_on(
        bench
            .builder_on(Arc::clone(&flooded) as Arc<dyn Inventory>)
            .open(),
    )
    .unwrap();
    let sealer = uncached(&ring);
    let sealed = seal(&sealer, "a");
    seal(&sealer, "b");
    flooded.1.store(true, Ordering::SeqCst);
    bench.go(&mut a, State::Compromised);
    bench.put(&[&a]);
    block_on(ring.refresh()).unwrap();
    assert_eq!(kind(open(&sealer, &sealed, "a")), ErrorKind::KeyRevoked);
    let status = ring.status().unwrap();
    assert!(status.problem.is_none() && !status.is_stale_for_sealing);
    let [(bad, error)] = &status.bad_scopes[..] else {
        panic!("{status:?}")
    };
    assert_eq!(*bad, scope("tenant/b"));
    assert!(matches!(error.kind(), ErrorKind::OverLimit { .. }));
    // What was verified before stands until it is stale.
    seal(&sealer, "b");
    bench.runtime.advance(seconds(61));
    block_on(ring.refresh()).unwrap();
    let sealed = block_on(sealer.seal(b"hello", &context("b")));
    assert_eq!(kind(sealed), ErrorKind::InventoryStale);
}
