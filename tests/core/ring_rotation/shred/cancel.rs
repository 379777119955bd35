//! A shredding is called off.

use super::*;

/// Every key is what it was, with its dates.
#[test]
fn a_cancellation_brings_every_key_back() {
    let bench = calm();
    let first = bench.key(SCOPE, PLAIN);
    let second = bench.rotate(&Target::Key(first), Rollout::AtOnce);
    let canary = bench.rotate(&Target::Key(second), Rollout::Canary(5));
    let new =
        NewKey::new(scope(), KeySource::Existing(VERSIONED.to_owned())).in_slot("second".parse().unwrap());
    let other = bench.run(bench.admin().create(&new)).unwrap().key;
    let staged = bench.rotate(&Target::Key(other), Rollout::Staged);
    let before = [first, second, other].map(|key| bench.record(key));
    let shredded = shred(&bench);
    assert_eq!(shredded.moved.len(), 5);
    assert!(bench.record(staged).taken_back && bench.state(staged) == State::Destroyed);
    bench.runtime.advance(3 * DAY);
    let admin = bench.admin();
    assert_eq!(
        bench.run(admin.cancel_shred(&scope(), " ")).unwrap_err().kind(),
        ErrorKind::InvalidArgument
    );
    let moved = bench
        .run(admin.cancel_shred(&scope(), "they have come back"))
        .unwrap();
    assert_eq!(moved.len(), 4, "{moved:?}");
    for before in before {
        let now = bench.record(before.id);
        assert_eq!(
            (
                now.state,
                now.activated,
                now.deprecated,
                now.next_rotation,
                now.retirement_due
            ),
            (
                before.state,
                before.activated,
                before.deprecated,
                before.next_rotation,
                before.retirement_due
            )
        );
        assert!(now.shredded.is_none());
        assert_eq!(now.history.last().unwrap().reason, "they have come back");
    }
    assert_eq!(bench.record(other).successor, None, "it was taken back");
    assert_eq!(bench.state(canary), State::Deprecated);
    assert_eq!(bench.state(staged), State::Destroyed);
    assert!(bench.view(SCOPE).tombstone(&scope()).is_none());
    assert!(bench.run(admin.reader().check()).unwrap().is_good());
    let words = refused(bench.run(admin.cancel_shred(&scope(), "x")));
    assert!(words.contains("was not shredded"), "{words}");
    refused(bench.run(admin.shred_receipt(&scope(), &[])));
    // Its KEK can be registered again, and the scope rotated and shredded.
    let next = bench.rotate(&Target::Key(second), Rollout::AtOnce);
    assert_eq!(bench.active(SCOPE).id, next);
    bench.runtime.advance(30 * DAY);
    assert!(
        bench
            .run(admin.tick(None))
            .unwrap()
            .done
            .iter()
            .all(|done| done.action != Action::Shred)
    );
    shred(&bench);
}

/// The backend was told, calls it off, and the KEK is what it was.
#[test]
fn a_cancellation_after_the_backend_was_told_is_called_off_there() {
    let bench = calm();
    let first = bench.key(SCOPE, PLAIN);
    let second = bench.rotate(&Target::Key(first), Rollout::AtOnce);
    shred(&bench);
    bench.runtime.advance(7 * DAY);
    bench.run(bench.admin().tick(None)).unwrap();
    assert_eq!(at_backend(&bench), KekState::PendingDestruction);
    let words = refused(bench.run(bench.admin().cancel_destroy(first, "x")));
    assert!(words.contains("goes with its scope"), "{words}");
    // The first answer is lost: a tick goes on.
    bench
        .fakes
        .plain
        .script_for(Method::CancelDestroy, Fault::Fails(ErrorKind::Unavailable));
    let error = bench
        .run(bench.admin().cancel_shred(&scope(), "they pay again"))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(bench.view(SCOPE).tombstone(&scope()).unwrap().cancelled.is_some());
    refused(bench.run(bench.admin().shred(&scope(), &erasure())));
    refused(bench.run(bench.admin().shred_receipt(&scope(), &[])));
    bench.runtime.advance(3 * MINUTE);
    let tick = bench.run(bench.admin().tick(None)).unwrap();
    let is_older = |refused: &waxseal::ring::Refused| refused.action == Action::Retire;
    assert!(tick.refused.iter().all(is_older), "{tick:?}");
    assert_eq!(bench.states(SCOPE), [State::Deprecated, State::Active]);
    assert_eq!(bench.active(SCOPE).id, second);
    assert_eq!(at_backend(&bench), KekState::Enabled);
    assert!(bench.view(SCOPE).tombstone(&scope()).is_none());
    assert_eq!(
        bench.record(second).history.last().unwrap().reason,
        "they pay again"
    );
}

/// One KEK is gone before it is cancelled: the scope stays shredded, and the rest goes, too.
#[test]
fn a_cancellation_that_comes_too_late_saves_nothing() {
    let bench = calm();
    let first = bench.key(SCOPE, PLAIN);
    bench.rotate(&Target::Key(first), Rollout::AtOnce);
    shred(&bench);
    bench.runtime.advance(7 * DAY);
    let kek = KekRef::new("vault-transit", "plain-orders", "").unwrap();
    bench.run(bench.admin().tick(None)).unwrap();
    // It is gone there, and the ring does not know it yet.
    bench.runtime.advance(DAY);
    assert_eq!(
        bench.run(bench.fakes.plain.describe(&kek)).unwrap().state,
        KekState::Destroyed
    );
    let words = refused(bench.run(bench.admin().cancel_shred(&scope(), "too late")));
    assert!(words.contains("has destroyed"), "{words}");
    for _ in 0..3 {
        bench.runtime.advance(DAY);
        bench.run(bench.admin().tick(None)).unwrap();
    }
    assert_eq!(bench.states(SCOPE), [State::Destroyed; 2]);
    assert!(bench.view(SCOPE).tombstone(&scope()).unwrap().cancelled.is_none());
}
