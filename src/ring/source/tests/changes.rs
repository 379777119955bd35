//! What becomes of what was handed out when the ring changes.

use pollster::block_on;

use super::*;
use crate::testing::Method;

/// A key that waits to take over.
fn successor(bench: &Bench, name: &str) -> (KeyRecord, FakeKeyManager) {
    let fake = bench.fake(name);
    (bench.went(bench.key("tenant/a", &fake), &[State::Pending]), fake)
}

#[test]
fn a_promotion_turns_over_what_is_kept_and_what_is_out_goes_on() {
    let bench = Bench::new();
    let (mut old, first) = bench.active("tenant/a", "old");
    let (_, other) = bench.active("tenant/b", "other");
    let ring = bench.open();
    let sealer = ring.sealer().build().unwrap();
    let sealed = seal(&sealer, "a");
    seal(&sealer, "b");
    let handle = block_on(sealer.data_key(&context("a"))).unwrap();
    assert!(open(&sealer, &sealed, "a").is_ok());
    let unwraps = first.count(Method::Unwrap);
    let (mut new, second) = successor(&bench, "new");
    bench.promote(&mut old, &mut new);
    assert_eq!(keks(&seal(&sealer, "a")), ["old"], "nobody has looked yet");
    block_on(ring.refresh()).unwrap();
    assert_eq!(keks(&seal(&sealer, "a")), ["new"]);
    // Another scope goes on with what it has, the handle too, and what was opened is not asked for again.
    seal(&sealer, "b");
    assert_eq!(other.count(Method::Generate), 1);
    let by_handle = handle.seal(b"hello", Aad::none()).unwrap();
    assert_eq!(keks(&by_handle), ["old"]);
    assert!(open(&sealer, &sealed, "a").is_ok());
    assert_eq!(first.count(Method::Unwrap), unwraps);
    assert_eq!(second.count(Method::Generate), 1);
    // But not for longer than a lease lives.
    bench.runtime.advance(Duration::from_secs(299));
    block_on(ring.refresh()).unwrap();
    assert!(handle.seal(b"", Aad::none()).is_ok());
    bench.runtime.advance(Duration::from_secs(1));
    block_on(ring.refresh()).unwrap();
    assert_eq!(kind(handle.seal(b"", Aad::none())), ErrorKind::LeaseExpired);
}

#[test]
fn retirement_and_compromise_end_what_is_out() {
    for (states, error) in [
        (&[State::Deprecated, State::Retired][..], ErrorKind::KeyRetired),
        (&[State::Compromised][..], ErrorKind::KeyRevoked),
    ] {
        let bench = Bench::new();
        let (mut old, fake) = bench.active("tenant/a", "old");
        let ring = bench.open();
        let sealer = ring.sealer().build().unwrap();
        let sealed = seal(&sealer, "a");
        let opener = opener(&sealer, &sealed);
        assert!(open(&sealer, &sealed, "a").is_ok());
        let (mut new, _) = successor(&bench, "new");
        if states.len() == 2 {
            bench.promote(&mut old, &mut new);
        }
        block_on(ring.refresh()).unwrap();
        assert!(opener.open(&sealed, Aad::none()).is_ok());
        let last = *states.last().unwrap();
        bench.go(&mut old, last);
        bench.put(&[&old]);
        fake.forget_calls();
        block_on(ring.refresh()).unwrap();
        assert_eq!(kind(opener.open(&sealed, Aad::none())), ErrorKind::KeyRevoked);
        assert_eq!(kind(open(&sealer, &sealed, "a")), error);
        assert_eq!(fake.total(), 0);
    }
}

#[test]
fn a_key_that_is_deleted_opens_no_more() {
    let bench = Bench::new();
    let (key, _) = bench.active("tenant/a", "old");
    let ring = bench.open();
    let sealer = ring.sealer().build().unwrap();
    let sealed = seal(&sealer, "a");
    let trust = bench.trust();
    block_on(
        bench
            .pen(&trust)
            .change(&[scope("tenant/a")], |_, draft| draft.delete(&key)),
    )
    .unwrap();
    block_on(ring.refresh()).unwrap();
    assert_eq!(kind(open(&sealer, &sealed, "a")), ErrorKind::NoKeyForScope);
    assert_eq!(
        kind(block_on(sealer.seal(b"", &context("a")))),
        ErrorKind::NoKeyForScope
    );
    assert_eq!(ring.status().unwrap().scopes, 0);
}

#[test]
fn a_scope_that_gets_its_first_key_is_found() {
    let bench = Bench::new();
    let ring = bench.open();
    let sealer = uncached(&ring);
    for _ in 0..2 {
        assert_eq!(
            kind(block_on(sealer.seal(b"", &context("a")))),
            ErrorKind::NoKeyForScope
        );
    }
    bench.active("tenant/a", "new");
    block_on(ring.refresh()).unwrap();
    assert_eq!(keks(&seal(&sealer, "a")), ["new"]);
}

#[test]
fn another_template_lets_contexts_change_their_scope() {
    let bench = Bench::new();
    bench.active("tenant/a", "narrow");
    bench.active("/", "wide");
    let ring = bench.open();
    let sealer = ring.sealer().build().unwrap();
    let sealed = seal(&sealer, "a");
    let trust = bench.trust();
    block_on(bench.pen(&trust).change(&[], |view, draft| {
        let mut settings = view.settings().as_ref().clone();
        settings.scope_template = "/".parse()?;
        draft.set_settings(settings)
    }))
    .unwrap();
    block_on(ring.refresh()).unwrap();
    assert_eq!(keks(&seal(&sealer, "a")), ["wide"]);
    assert_eq!(kind(open(&uncached(&ring), &sealed, "a")), ErrorKind::NoUsableKey);
}

#[test]
fn only_so_many_scopes_are_kept_and_each_is_read_when_it_is_needed() {
    let bench = Bench::new();
    for tenant in ["a", "b", "c", "d"] {
        bench.active(&format!("tenant/{tenant}"), tenant);
    }
    let moody = Moody::new(&bench);
    let builder = bench.builder_on(Arc::new(moody.clone()));
    let ring = block_on(builder.scopes(std::num::NonZeroUsize::new(2).unwrap()).open()).unwrap();
    let sealer = uncached(&ring);
    for tenant in ["a", "b", "c", "d", "d", "d", "a"] {
        assert_eq!(keks(&seal(&sealer, tenant)), [tenant]);
    }
    assert_eq!(ring.status().unwrap().scopes, 2);
    // One read to open, and one for each scope that was not kept.
    assert_eq!(moody.reads.load(Ordering::SeqCst), 6);
}

#[test]
fn those_who_want_one_scope_at_once_read_it_once() {
    let bench = Bench::new();
    bench.active("tenant/a", "a");
    let moody = Moody::new(&bench);
    let ring = block_on(bench.builder_on(Arc::new(moody.clone())).open()).unwrap();
    let sealer = uncached(&ring);
    moody.be(Mood::Hangs(Duration::from_secs(1)));
    let sealed = Arc::new(Mutex::new(Vec::new()));
    for _ in 0..20 {
        let (sealer, sealed) = (sealer.clone(), Arc::clone(&sealed));
        bench.runtime.spawn(Box::pin(async move {
            let made = sealer.seal(b"", &context("a")).await.unwrap();
            sealed.lock().unwrap().push(made);
        }));
    }
    bench.runtime.advance(Duration::from_secs(2));
    assert_eq!(sealed.lock().unwrap().len(), 20);
    assert_eq!(moody.reads.load(Ordering::SeqCst), 2);
}

#[test]
fn a_read_that_was_overtaken_by_a_newer_one_is_no_tampering() {
    let bench = Bench::new();
    bench.active("tenant/a", "a");
    bench.active("tenant/b", "b");
    let moody = Moody::new(&bench);
    let ring = block_on(bench.builder_on(Arc::new(moody.clone())).open()).unwrap();
    let sealer = uncached(&ring);
    seal(&sealer, "a");
    moody.be(Mood::Late(Duration::from_secs(1)));
    let sealed = Arc::new(Mutex::new(None));
    let (slow, kept) = (sealer.clone(), Arc::clone(&sealed));
    bench.runtime.spawn(Box::pin(async move {
        let made = slow.seal(b"", &context("b")).await;
        *kept.lock().unwrap() = Some(made);
    }));
    bench.runtime.run_until_idle();
    moody.be(Mood::Fine);
    bench.active("tenant/c", "c");
    block_on(ring.refresh()).unwrap();
    bench.runtime.advance(Duration::from_secs(1));
    assert_eq!(keks(&sealed.lock().unwrap().take().unwrap().unwrap()), ["b"]);
    assert!(ring.status().unwrap().bad_scopes.is_empty());
}
