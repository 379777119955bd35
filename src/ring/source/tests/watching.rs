//! The thread of a ring, and heartbeats.

use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Instant;

use pollster::block_on;

use super::*;
use crate::testing::Fault;

/// Waits until something is so. Far longer than it takes, so that a test fails in the place of hanging.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn watching(bench: &Bench) -> KeyRing {
    let inventory = Arc::new(bench.inventory.clone());
    let backends = Arc::clone(&bench.fakes) as Arc<dyn Backends>;
    let builder = KeyRing::builder(bench.trust(), inventory, backends).every(Duration::from_millis(5));
    block_on(builder.reader("orders").open()).unwrap()
}

#[test]
fn promotions_fail_no_call_of_many_threads() {
    let bench = Bench::new();
    let (mut active, _) = bench.active("tenant/a", "kek_0");
    let ring = watching(&bench);
    let sealer = ring.sealer().build().unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let sealed: Arc<Mutex<BTreeMap<String, Vec<u8>>>> = Arc::default();
    let threads: Vec<_> = (0..8)
        .map(|number| {
            let (sealer, done, kept) = (sealer.clone(), Arc::clone(&done), Arc::clone(&sealed));
            thread::spawn(move || {
                let table = format!("t{}", number % 3);
                let context = EncryptionContext::new([("tenant", "a"), ("table", &table)]).unwrap();
                let mut calls = 0_u32;
                while !done.load(Ordering::SeqCst) || calls < 100 {
                    let sealed = block_on(sealer.seal(b"hello", &context)).unwrap();
                    assert_eq!(block_on(sealer.open(&sealed, &context)).unwrap(), b"hello");
                    kept.lock().unwrap().insert(keks(&sealed).remove(0), sealed);
                    calls += 1;
                }
            })
        })
        .collect();
    until("the first key is used", || {
        sealed.lock().unwrap().contains_key("kek_0")
    });
    for number in 1..12 {
        let name = format!("kek_{number}");
        let fake = bench.fake(&name);
        let mut next = bench.went(bench.key("tenant/a", &fake), &[State::Pending]);
        bench.promote(&mut active, &mut next);
        active = next;
        until("the promotion is used", || {
            sealed.lock().unwrap().contains_key(&name)
        });
    }
    done.store(true, Ordering::SeqCst);
    for thread in threads {
        thread.join().unwrap();
    }
    let sealed = sealed.lock().unwrap();
    assert_eq!(sealed.len(), 12);
    let fresh = uncached(&bench.open());
    for sealed in sealed.values() {
        let tables = ["t0", "t1", "t2"].into_iter();
        let mut contexts =
            tables.map(|table| EncryptionContext::new([("tenant", "a"), ("table", table)]).unwrap());
        assert!(contexts.any(|context| block_on(fresh.open(sealed, &context)).is_ok()));
    }
}

#[test]
fn a_retirement_reaches_what_is_kept_and_an_inventory_that_comes_back_is_noticed() {
    let bench = Bench::new();
    let (mut key, _) = bench.active("tenant/a", "a");
    let moody = Moody::new(&bench);
    let backends = Arc::clone(&bench.fakes) as Arc<dyn Backends>;
    let builder = KeyRing::builder(bench.trust(), Arc::new(moody.clone()), backends);
    let ring = block_on(builder.every(Duration::from_millis(5)).open()).unwrap();
    let sealer = ring.sealer().build().unwrap();
    let sealed = seal(&sealer, "a");
    moody.be(Mood::Away);
    until("the outage is noticed", || {
        ring.status().unwrap().problem.is_some()
    });
    bench.go(&mut key, State::Compromised);
    bench.put(&[&key]);
    assert!(open(&sealer, &sealed, "a").is_ok());
    moody.be(Mood::Fine);
    until("the compromise is noticed", || {
        open(&sealer, &sealed, "a").is_err()
    });
    assert_eq!(kind(open(&sealer, &sealed, "a")), ErrorKind::KeyRevoked);
    assert!(ring.status().unwrap().problem.is_none());
}

#[test]
fn the_thread_ends_with_the_last_of_the_ring() {
    let bench = Bench::new();
    let moody = Moody::new(&bench);
    let reads = Arc::clone(&moody.reads);
    let backends = Arc::clone(&bench.fakes) as Arc<dyn Backends>;
    let builder = KeyRing::builder(bench.trust(), Arc::new(moody), backends);
    let ring = block_on(builder.every(Duration::from_millis(1)).open()).unwrap();
    let other = ring.clone();
    drop(ring);
    let before = reads.load(Ordering::SeqCst);
    until("it goes on for the other", || {
        reads.load(Ordering::SeqCst) > before + 2
    });
    drop(other);
    // The inventory of the ring is gone with it.
    until("the thread lets go of all", || Arc::strong_count(&reads) == 1);
}

#[test]
fn one_that_hangs_in_a_read_is_left_by_its_thread() {
    // The clock of the reads stands still: only that of the machine is left.
    let bench = Bench::new();
    bench.active("tenant/a", "a");
    let moody = Moody::new(&bench);
    let reads = Arc::clone(&moody.reads);
    let builder = bench
        .builder_on(Arc::new(moody.clone()))
        .every(Duration::from_millis(5));
    let ring = block_on(builder.open()).unwrap();
    let sealer = uncached(&ring);
    seal(&sealer, "a");
    moody.be(Mood::Hangs(Duration::from_secs(1000)));
    // Sealing goes on meanwhile, and a drop waits for nobody.
    seal(&sealer, "a");
    drop((sealer, ring));
    drop(moody);
    until("all is let go", || Arc::strong_count(&reads) == 1);
}

#[test]
fn heartbeats_say_which_pending_keys_were_probed_and_which_failed() {
    let bench = Bench::new();
    bench.active("tenant/a", "a");
    let (good, bad) = (bench.fake("good"), bench.fake("bad"));
    let good_key = bench.went(bench.key("tenant/a", &good), &[State::Pending]);
    let mut bad_key = bench.key("tenant/a", &bad);
    bad_key.slot = "hsm".parse().unwrap();
    let bad_key = bench.went(bad_key, &[State::Pending]);
    let other = bench.fake("other");
    let unused = bench.went(bench.key("tenant/b", &other), &[State::Pending]);
    bench.put(&[&good_key, &bad_key, &unused]);
    bad.script_always(Fault::Fails(ErrorKind::Denied));
    let ring = block_on(bench.builder().reader("orders").open()).unwrap();
    // Nothing is loaded yet, so nothing is probed.
    block_on(ring.beat()).unwrap();
    let heard = || block_on(bench.inventory.heartbeats(bench.now())).unwrap();
    assert!(heard()[0].probed.is_empty() && heard()[0].failed.is_empty());
    seal(&uncached(&ring), "a");
    block_on(ring.beat()).unwrap();
    let [beat] = heard().try_into().unwrap();
    assert_eq!(
        (beat.reader.as_str(), beat.revision),
        ("orders", ring.status().unwrap().mark.revision)
    );
    assert_eq!((beat.probed, beat.failed), (vec![good_key.id], vec![bad_key.id]));
    let calls = good.calls();
    assert!(
        calls
            .iter()
            .all(|call| call.purpose == crate::key::Purpose::Probe),
        "{calls:?}"
    );
    assert_eq!(other.total(), 0);
    // Another process of the reader is another line.
    let second = block_on(bench.builder().reader("orders").open()).unwrap();
    block_on(second.beat()).unwrap();
    assert_eq!(heard().len(), 2);
    // Without a name there are none; a store that takes none stops nothing.
    assert_eq!(kind(block_on(bench.open().beat())), ErrorKind::InvalidArgument);
    for name in ["", "a\nb", &"x".repeat(256)] {
        let opened = block_on(bench.builder().reader(name).open());
        assert_eq!(kind(opened), ErrorKind::InvalidArgument);
    }
}

#[test]
fn the_thread_beats_at_each_revision() {
    let bench = Bench::new();
    let (_, _) = bench.active("tenant/a", "a");
    let ring = watching(&bench);
    seal(&uncached(&ring), "a");
    let fake = bench.fake("next");
    let pending = bench.went(bench.key("tenant/a", &fake), &[State::Pending]);
    bench.put(&[&pending]);
    until("the pending key was probed", || {
        let beats = block_on(bench.inventory.heartbeats(bench.now())).unwrap();
        beats.iter().any(|beat| beat.probed == [pending.id])
    });
}
