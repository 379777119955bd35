//! The first key of a scope.

use super::*;
use crate::ring::inventory::check_provisioned;

#[test]
fn the_first_seal_makes_a_key_by_one_call_and_two_of_the_inventory() {
    let shop = Shop::new();
    let moody = Moody::new(&shop.bench);
    let builder = shop.bench.builder_on(Arc::new(moody.clone()));
    let sealer = uncached(&block_on(builder.provisioner(shop.private()).open()).unwrap());
    let before = moody.reads.load(Ordering::SeqCst);
    let sealed = seal(&sealer, "a");
    assert_eq!((shop.kms.count(Method::Wrap), shop.kms.total()), (1, 1));
    // One read, and the row.
    assert_eq!(moody.reads.load(Ordering::SeqCst) - before, 1);
    let rows = shop.rows("a");
    assert_eq!(rows.len(), 1);
    check_provisioned(&rows[0]).unwrap();
    assert_eq!(
        (providers(&sealed), keks(&sealed)),
        (vec!["branch".to_owned()], vec![rows[0].id.to_string()])
    );
    // What the KMS was asked names the key, and no value of the context.
    let call = &shop.kms.calls()[0];
    let pairs: BTreeMap<_, _> = call.context.pairs().collect();
    assert_eq!(pairs.len(), 3);
    assert_eq!(pairs["waxseal-scope"], "tenant/a");
    assert_eq!(pairs["waxseal-key"], rows[0].id.to_string());
    assert_eq!(pairs["waxseal-ring"], shop.bench.ring.to_string());
    // From then on nobody is asked.
    assert_eq!(open(&sealer, &sealed, "a").unwrap(), b"hello");
    seal(&sealer, "a");
    assert_eq!((shop.kms.total(), shop.rows("a").len()), (1, 1));
    // Each tenant has its own.
    let other = seal(&sealer, "b");
    assert_ne!(keks(&sealed), keks(&other));
    assert_eq!(kind(open(&sealer, &sealed, "b")), ErrorKind::NoUsableKey);
    assert_eq!(block_on(shop.bench.inventory.revision()).unwrap(), 3);
}

#[test]
fn another_process_uses_the_key_by_one_call() {
    let shop = Shop::new();
    let plain = uncached(&shop.plain());
    // It was asked before the key was there, and asks again.
    assert_eq!(refused(&plain, "a"), ErrorKind::NoKeyForScope);
    shop.bench.runtime.advance(Duration::from_millis(1));
    let sealed = seal(&uncached(&shop.ring()), "a");
    shop.kms.forget_calls();
    assert_eq!(open(&plain, &sealed, "a").unwrap(), b"hello");
    assert_eq!(keks(&seal(&plain, "a")), keks(&sealed));
    assert_eq!((shop.kms.count(Method::Unwrap), shop.kms.total()), (1, 1));
    assert_eq!(refused(&plain, "b"), ErrorKind::NoKeyForScope);
}

#[test]
fn nothing_is_made_to_open_or_to_rewrap() {
    let shop = Shop::new();
    let sealer = uncached(&shop.ring());
    let sealed = seal(&sealer, "a");
    assert_eq!(kind(open(&sealer, &sealed, "b")), ErrorKind::NoKeyForScope);
    assert_eq!(
        kind(block_on(sealer.rewrap(&sealed, &context("b")))),
        ErrorKind::NoKeyForScope
    );
    assert_eq!((shop.kms.total(), shop.rows("b").len()), (1, 0));
}

#[test]
fn only_a_listed_provisioner_makes_keys_and_only_while_it_may() {
    let shop = Shop::new();
    let stranger = shop.bench.builder().provisioner(Authority::generate().unwrap());
    let stranger = uncached(&block_on(stranger.open()).unwrap());
    assert_eq!(refused(&stranger, "a"), ErrorKind::NoKeyForScope);
    let ring = shop.ring();
    let sealer = uncached(&ring);
    let sealed = seal(&sealer, "a");
    shop.kms.forget_calls();
    let close = |closed| shop.settings(move |settings| settings.provision.as_mut().unwrap().closed = closed);
    close(true);
    block_on(ring.refresh()).unwrap();
    assert_eq!(refused(&sealer, "b"), ErrorKind::NoKeyForScope);
    // What was made is used on, here and by others.
    assert_eq!(open(&sealer, &sealed, "a").unwrap(), b"hello");
    assert_eq!(open(&uncached(&shop.plain()), &sealed, "a").unwrap(), b"hello");
    assert_eq!(shop.kms.count(Method::Wrap), 0);
    close(false);
    block_on(ring.refresh()).unwrap();
    seal(&sealer, "b");
    // In a ring that lets nobody, the private half is good for nothing.
    let bench = Bench::new();
    let (_, kms) = bench.active("/", "root");
    let sealer = uncached(&block_on(bench.builder().provisioner(shop.private()).open()).unwrap());
    assert_eq!(
        (refused(&sealer, "a"), kms.total()),
        (ErrorKind::NoKeyForScope, 0)
    );
}

#[test]
fn a_process_that_has_not_heard_that_it_is_closed_makes_nothing() {
    let shop = Shop::new();
    let sealer = uncached(&shop.ring());
    shop.settings(|settings| settings.provision.as_mut().unwrap().closed = true);
    assert_eq!(refused(&sealer, "a"), ErrorKind::NoKeyForScope);
    assert_eq!((shop.kms.total(), shop.rows("a").len()), (0, 0));
}

#[test]
fn a_parent_that_is_not_there_or_does_not_wrap_makes_nothing() {
    for states in [&[State::Deprecated][..], &[State::Compromised]] {
        let shop = Shop::new();
        let mut parent = shop.parent.clone();
        for state in states {
            shop.turn(&mut parent, *state);
        }
        let error = block_on(uncached(&shop.ring()).seal(b"", &context("a"))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoKeyForScope);
        assert!(error.to_string().contains("scope /"), "{error}");
        assert_eq!((shop.kms.total(), shop.rows("a").len()), (0, 0));
    }
}

#[test]
fn a_kms_that_fails_or_answers_wrongly_leaves_nothing_behind() {
    use crate::testing::Fault;
    for fault in [
        Fault::Fails(ErrorKind::Unavailable),
        Fault::LosesAnswer(ErrorKind::TimedOut),
        Fault::OtherKek("another".to_owned()),
    ] {
        let shop = Shop::new();
        let sealer = uncached(&shop.ring());
        shop.kms.script(fault.clone());
        let error = block_on(sealer.seal(b"", &context("a"))).unwrap_err();
        assert_ne!(error.kind(), ErrorKind::NoKeyForScope, "{fault:?}");
        assert_eq!(shop.rows("a").len(), 0, "{fault:?}");
        // The next one does it.
        assert_eq!(open(&sealer, &seal(&sealer, "a"), "a").unwrap(), b"hello");
    }
}

#[test]
fn a_scope_that_has_a_record_gets_no_first_key() {
    use State::{Active, Compromised, Deprecated, Destroyed, Destroying, Pending, Retired};
    for states in [
        &[Pending][..],
        &[Active, Compromised],
        &[Active, Deprecated, Retired],
        &[Active, Deprecated, Retired, Destroying, Destroyed],
    ] {
        let shop = Shop::new();
        let own = shop.bench.fake("own");
        let key = shop.bench.went(shop.bench.key("tenant/a", &own), states);
        shop.bench.put(&[&key]);
        let sealer = uncached(&shop.ring());
        assert_eq!(refused(&sealer, "a"), ErrorKind::NoKeyForScope, "{states:?}");
        assert_eq!((shop.kms.total(), shop.rows("a").len()), (0, 0), "{states:?}");
    }
    // Nor one whose first key is about to be made.
    let shop = Shop::new();
    let trust = shop.bench.trust();
    let now = shop.bench.now();
    let intent = crate::ring::Intent::new(
        (RecordId::new(now).unwrap(), RecordId::new(now).unwrap()),
        (scope("tenant/a"), Slot::default()),
        "env:x".to_owned(),
        crate::ring::IntentStep::NewKek { name: "x".to_owned() },
        ("P90D".parse().unwrap(), "PT24H".parse().unwrap()),
        now,
    );
    let scopes = [scope("tenant/a")];
    block_on(
        shop.bench
            .pen(&trust)
            .change(&scopes, |_, draft| draft.put(&intent)),
    )
    .unwrap();
    assert_eq!(refused(&uncached(&shop.ring()), "a"), ErrorKind::NoKeyForScope);
    assert_eq!(shop.rows("a").len(), 0);
}
