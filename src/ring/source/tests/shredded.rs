//! A scope that was shredded has no keys, in any process.

use pollster::block_on;

use super::*;
use crate::ring::record::{ShreddedBy, Tombstone};
use crate::testing::Method;

fn tombstone(bench: &Bench, of: &str, keys: Vec<RecordId>) -> Tombstone {
    let by = ShreddedBy {
        actor: "test",
        ticket: "GDPR-17",
        approver: None,
        reason: "acme has left",
    };
    let id = RecordId::new(bench.now()).unwrap();
    Tombstone::new(id, scope(of), &by, (bench.now(), bench.now()), 2, keys)
}

fn bury(bench: &Bench, tombstone: &Tombstone) {
    let trust = bench.trust();
    let scopes = [tombstone.scope.clone()];
    let pen = bench.pen(&trust);
    block_on(pen.change(&scopes, |_, draft| draft.put(tombstone))).unwrap();
}

/// The keys are active by their records. The tombstone is what counts.
#[test]
fn nothing_of_the_scope_is_used_in_any_process_and_the_neighbor_goes_on() {
    let bench = Bench::new();
    let (key, fake) = bench.active("tenant/a", "own");
    let (_, other) = bench.active("tenant/b", "other");
    // Two processes.
    let rings = [bench.open(), bench.open()];
    let sealers = rings.each_ref().map(|ring| ring.sealer().build().unwrap());
    let (sealed, beside) = (seal(&sealers[0], "a"), seal(&sealers[0], "b"));
    // Another wrap, which says nothing of its KEK.
    let both = Sealer::builder()
        .wrap_with(fake.clone())
        .wrap_with(other.clone())
        .hide_kek_ids()
        .build()
        .unwrap();
    let shared = seal(&both, "a");
    let handles = sealers.each_ref().map(|sealer| {
        assert!(open(sealer, &sealed, "a").is_ok());
        assert!(open(sealer, &shared, "a").is_ok());
        assert!(open(sealer, &beside, "b").is_ok());
        let data_key = block_on(sealer.data_key(&context("a"))).unwrap();
        let neighbor = block_on(sealer.data_key(&context("b"))).unwrap();
        (
            data_key,
            opener(sealer, &sealed),
            opener(sealer, &shared),
            neighbor,
        )
    });
    bury(&bench, &tombstone(&bench, "tenant/a", vec![key.id]));
    fake.forget_calls();
    other.forget_calls();
    block_on(rings[0].refresh()).unwrap();
    let check = |sealer: &Sealer, at: usize| {
        for refused in [
            open(sealer, &sealed, "a").unwrap_err(),
            open(sealer, &shared, "a").unwrap_err(),
            block_on(sealer.seal(b"", &context("a"))).unwrap_err(),
            block_on(sealer.rewrap(&sealed, &context("a"))).unwrap_err(),
        ] {
            assert_eq!(refused.kind(), ErrorKind::KeyDestroyed, "{refused}");
            let detail = refused.detail().unwrap();
            assert!(
                detail.contains("the scope tenant/a was shredded on") && detail.contains("GDPR-17"),
                "{detail}"
            );
            assert!(!refused.is_retryable());
        }
        let (data_key, opener, of_shared, neighbor) = &handles[at];
        assert_eq!(kind(data_key.seal(b"", Aad::none())), ErrorKind::KeyRevoked);
        assert_eq!(kind(opener.open(&sealed, Aad::none())), ErrorKind::KeyRevoked);
        assert_eq!(kind(of_shared.open(&shared, Aad::none())), ErrorKind::KeyRevoked);
        assert!(open(sealer, &beside, "b").is_ok());
        assert!(neighbor.seal(b"", Aad::none()).is_ok());
        seal(sealer, "b");
    };
    check(&sealers[0], 0);
    assert_eq!((fake.total(), other.total()), (0, 0));
    // One that has not looked goes on, and not for longer than the settings allow.
    assert!(open(&sealers[1], &sealed, "a").is_ok());
    block_on(rings[1].refresh()).unwrap();
    check(&sealers[1], 1);
    // One that comes later.
    let late = uncached(&bench.open());
    assert_eq!(kind(open(&late, &sealed, "a")), ErrorKind::KeyDestroyed);
    assert_eq!(fake.total(), 0);
    assert!(open(&late, &beside, "b").is_ok());
}

#[test]
fn a_process_without_the_inventory_ends_when_it_is_stale() {
    let bench = Bench::new();
    let (key, _) = bench.active("tenant/a", "own");
    let moody = Moody::new(&bench);
    let ring = block_on(bench.builder_on(Arc::new(moody.clone())).open()).unwrap();
    let sealer = ring.sealer().build().unwrap();
    let sealed = seal(&sealer, "a");
    let opener = opener(&sealer, &sealed);
    moody.be(Mood::Away);
    bury(&bench, &tombstone(&bench, "tenant/a", vec![key.id]));
    assert!(block_on(ring.refresh()).is_err());
    assert!(opener.open(&sealed, Aad::none()).is_ok());
    // max_stale_open is 10 minutes, and a lease is 5 minutes old at most.
    bench.runtime.advance(Duration::from_secs(299));
    assert!(opener.open(&sealed, Aad::none()).is_ok());
    bench.runtime.advance(Duration::from_secs(301));
    assert_eq!(kind(opener.open(&sealed, Aad::none())), ErrorKind::LeaseExpired);
    assert_eq!(kind(open(&sealer, &sealed, "a")), ErrorKind::InventoryStale);
}

#[test]
fn a_scope_opens_again_when_the_tombstone_is_taken_away() {
    let bench = Bench::new();
    let (key, fake) = bench.active("tenant/a", "own");
    let ring = bench.open();
    let sealer = ring.sealer().build().unwrap();
    let sealed = seal(&sealer, "a");
    let tombstone = tombstone(&bench, "tenant/a", vec![key.id]);
    bury(&bench, &tombstone);
    block_on(ring.refresh()).unwrap();
    assert_eq!(kind(open(&sealer, &sealed, "a")), ErrorKind::KeyDestroyed);
    // No key comes into use beside it.
    let trust = bench.trust();
    let scopes = [scope("tenant/a")];
    let next = bench.went(bench.key("tenant/a", &bench.fake("next")), &[State::Pending]);
    let pen = bench.pen(&trust);
    let added = pen.change(&scopes, |_, draft| draft.put(&next));
    assert_eq!(kind(block_on(added)), ErrorKind::LifecycleRefused);
    block_on(pen.change(&scopes, |_, draft| draft.delete(&tombstone))).unwrap();
    block_on(ring.refresh()).unwrap();
    fake.forget_calls();
    assert!(open(&sealer, &sealed, "a").is_ok());
    assert_eq!(fake.count(Method::Unwrap), 1, "what was kept is gone");
    seal(&sealer, "a");
}

/// A wider scope serves nobody that was shredded.
#[test]
fn no_wider_scope_serves_what_was_shredded() {
    let bench = Bench::new();
    let (own, _) = bench.active("tenant/a", "own");
    let (root, fake) = bench.active("/", "root");
    let trust = bench.trust();
    block_on(bench.pen(&trust).change(&[], |view, draft| {
        let mut settings = view.settings().as_ref().clone();
        settings.otherwise = vec![scope("/")];
        draft.set_settings(settings)
    }))
    .unwrap();
    let ring = block_on(bench.builder().otherwise(scope("/")).open()).unwrap();
    let sealer = ring.sealer().build().unwrap();
    // Sealed under the wider scope, before the tenant had a key.
    let before = seal(&Sealer::new(fake.clone()), "a");
    assert!(open(&sealer, &before, "a").is_ok());
    let handle = opener(&sealer, &before);
    let by_root = seal(&sealer, "b");
    let sealed = seal(&sealer, "a");
    bury(&bench, &tombstone(&bench, "tenant/a", vec![own.id]));
    block_on(ring.refresh()).unwrap();
    fake.forget_calls();
    for refused in [
        kind(open(&sealer, &before, "a")),
        kind(open(&sealer, &sealed, "a")),
        kind(block_on(sealer.seal(b"", &context("a")))),
    ] {
        assert_eq!(refused, ErrorKind::KeyDestroyed);
    }
    assert_eq!(kind(handle.open(&before, Aad::none())), ErrorKind::KeyRevoked);
    assert_eq!(fake.total(), 0);
    assert!(open(&sealer, &by_root, "b").is_ok());
    // The wider scope itself is shredded: those that it served have nothing, and others go on with their own.
    let (_, third) = bench.active("tenant/c", "third");
    let of_third = seal(&sealer, "c");
    let both = Sealer::builder()
        .wrap_with(third)
        .wrap_with(fake.clone())
        .build()
        .unwrap();
    let both = seal(&both, "c");
    bury(&bench, &tombstone(&bench, "/", vec![root.id]));
    block_on(ring.refresh()).unwrap();
    fake.forget_calls();
    assert_eq!(kind(open(&sealer, &by_root, "b")), ErrorKind::KeyDestroyed);
    assert_eq!(
        kind(block_on(sealer.seal(b"", &context("b")))),
        ErrorKind::KeyDestroyed
    );
    assert!(open(&sealer, &of_third, "c").is_ok());
    assert!(open(&sealer, &both, "c").is_ok());
    seal(&sealer, "c");
    assert_eq!(fake.total(), 0);
}
