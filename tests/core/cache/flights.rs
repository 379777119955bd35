//! One request at a time.

use std::sync::Arc;
use std::task::{Context, Waker};

use waxseal::testing::Fault;
use waxseal::{DekSource, ErrorKind, Sealer, key::Request};

use super::bench::{Bench, SECOND, altered, context, kind};

#[test]
fn a_thousand_opens_of_one_wrap_are_one_unwrap() {
    let bench = Bench::new();
    let sealed = bench.stored("acme");
    bench.takes(SECOND);
    let opened = bench.all((0..1000).map(|_| bench.opens(&sealed, "acme")));
    assert!(opened.iter().all(|opened| *opened.as_ref().unwrap() == *b"hello"));
    assert_eq!(bench.kms.total(), 1);
    let stats = bench.cache.stats();
    assert_eq!((stats.misses, stats.joined, stats.flights), (1000, 999, 1));
    bench.open(&sealed, "acme").unwrap();
    assert_eq!(bench.kms.total(), 1);
    assert_eq!(
        (bench.cache.stats().hits, bench.cache.stats().open_entries),
        (1, 1)
    );
}

#[test]
fn a_thousand_seals_of_one_context_are_one_generate() {
    let bench = Bench::new();
    bench.takes(SECOND);
    let sealed = bench.all((0..1000).map(|_| bench.seals("acme")));
    assert_eq!(bench.kms.total(), 1);
    // All share one session: what opens one opens all, with one unwrap.
    for sealed in &sealed {
        assert_eq!(bench.open(sealed.as_ref().unwrap(), "acme").unwrap(), b"hello");
    }
    assert_eq!((bench.generates(), bench.unwraps()), (1, 1));
}

#[test]
fn who_is_dropped_or_forgotten_holds_up_nobody_and_the_same_request_goes_on() {
    for dropped in [true, false] {
        let bench = Bench::new();
        let sealed = bench.stored("acme");
        bench.takes(SECOND);
        let mut first = bench.opens(&sealed, "acme");
        assert!(
            first
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_pending()
        );
        assert_eq!(bench.unwraps(), 1);
        let mut others: Vec<_> = (0..3).map(|_| bench.opens(&sealed, "acme")).collect();
        for other in &mut others {
            let mut context = Context::from_waker(Waker::noop());
            assert!(other.as_mut().poll(&mut context).is_pending());
        }
        // The first is gone, or is never polled again; so is the second.
        let second = others.remove(0);
        let kept = if dropped {
            drop((first, second));
            None
        } else {
            Some((first, second))
        };
        for opened in bench.all(others) {
            assert_eq!(opened.unwrap(), b"hello");
        }
        assert_eq!(bench.unwraps(), 1, "the others did not carry on the same request");
        drop(kept);
    }
}

#[test]
fn when_all_have_left_the_request_goes_on_and_its_answer_is_kept() {
    let bench = Bench::new();
    let sealed = bench.stored("acme");
    bench.takes(SECOND);
    let mut waiting: Vec<_> = (0..3).map(|_| bench.opens(&sealed, "acme")).collect();
    for opens in &mut waiting {
        let mut context = Context::from_waker(Waker::noop());
        assert!(opens.as_mut().poll(&mut context).is_pending());
    }
    drop(waiting);
    bench.runtime.advance(2 * SECOND);
    assert_eq!(bench.cache.stats().open_entries, 1);
    assert_eq!(bench.open(&sealed, "acme").unwrap(), b"hello");
    assert_eq!(bench.unwraps(), 1);
}

#[test]
fn callers_in_a_hurry_fill_the_entry_for_those_behind_them() {
    let bench = Bench::new();
    let sealed = bench.stored("acme");
    let other_sealed = bench.stored("other");
    let acme = context("acme");
    let envelope = waxseal::Envelope::parse(&sealed).unwrap();
    let (wraps, body) = (
        envelope.header().wrap_section().unwrap(),
        envelope.header().body(),
    );
    bench.takes(3 * SECOND);
    let mut failed = 0;
    for _ in 0..10 {
        let request = Request::new(&acme)
            .with_purpose(waxseal::key::Purpose::Open)
            .with_deadline(bench.runtime_now() + SECOND);
        match bench.run(bench.cache.open_dek(wraps, body, &request)) {
            Ok(_) => break,
            Err(error) => assert_eq!(error.kind(), ErrorKind::TimedOut),
        }
        failed += 1;
    }
    assert_eq!((failed, bench.unwraps()), (2, 1));
    // Nor is one that never answers asked for ever: it ends by the cache's own limit.
    let other = other_sealed;
    bench.takes(100_000 * SECOND);
    let mut hurried = bench.opens(&other, "other");
    assert!(
        hurried
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_pending()
    );
    drop(hurried);
    bench.runtime.advance(60 * SECOND);
    bench.kms.heal();
    assert_eq!(bench.open(&other, "other").unwrap(), b"hello");
}

#[test]
fn an_error_is_told_to_all_who_wait_and_not_kept() {
    let bench = Bench::new();
    let sealed = bench.stored("acme");
    bench
        .kms
        .script(Fault::Hangs(Arc::new(bench.runtime.clone()), SECOND));
    let key = bench.kms.kek();
    bench.kms.set_state(1, waxseal::key::KekState::Disabled);
    let opened = bench.all((0..100).map(|_| bench.opens(&sealed, "acme")));
    for error in opened.into_iter().map(Result::unwrap_err) {
        assert_eq!(error.kind(), ErrorKind::KeyDisabled);
        // Whole, for each: who and what.
        assert_eq!(error.provider(), Some("fake"));
        assert_eq!(error.attempts()[0].kek_id, key.id());
    }
    assert_eq!(bench.unwraps(), 1);
    bench.kms.set_state(1, waxseal::key::KekState::Enabled);
    bench.open(&sealed, "acme").unwrap();
    assert_eq!(bench.unwraps(), 2);
}

#[test]
fn everyone_keeps_their_own_deadline() {
    let bench = Bench::new();
    let acme = context("acme");
    bench.takes(5 * SECOND);
    let hurried = |seconds| {
        let (cache, acme) = (bench.cache.clone(), acme.clone());
        let deadline = bench.runtime_now() + seconds * SECOND;
        let runtime = bench.runtime.clone();
        Box::pin(async move {
            let given = cache.seal_dek(&Request::new(&acme).with_deadline(deadline)).await;
            (given.map(|_| ()), runtime.elapsed().as_secs())
        }) as waxseal::runtime::BoxFuture<'static, (waxseal::Result<()>, u64)>
    };
    // The first who asks is in the greatest hurry.
    let results = bench.all([hurried(1), hurried(9), hurried(2), hurried(7)]);
    let kinds: Vec<_> = results
        .into_iter()
        .map(|(given, at)| (given.err().map(|error| error.kind()), at))
        .collect();
    let late = Some(ErrorKind::TimedOut);
    assert_eq!(kinds, [(late, 1), (None, 5), (late, 2), (None, 5)]);
    assert_eq!(bench.generates(), 1);
    // Nothing is asked for whose deadline is over.
    let other = context("other");
    let request = Request::new(&other).with_deadline(bench.runtime_now());
    assert_eq!(
        kind(bench.run(bench.cache.seal_dek(&request))),
        ErrorKind::TimedOut
    );
    assert_eq!(bench.generates(), 1);
}

#[test]
fn a_body_that_was_altered_spoils_nothing_for_the_others() {
    let bench = Bench::new();
    let sealed = bench.stored("acme");
    let bad = altered(&sealed);
    bench.takes(SECOND);
    let mut tasks = vec![bench.opens(&bad, "acme"), bench.opens(&bad, "acme")];
    tasks.extend((0..100).map(|_| bench.opens(&sealed, "acme")));
    let opened = bench.all(tasks);
    for (at, opened) in opened.into_iter().enumerate() {
        match at {
            0 | 1 => assert_eq!(kind(opened), ErrorKind::CannotOpen),
            _ => assert_eq!(opened.unwrap(), b"hello"),
        }
    }
    // One for those two, one for all others.
    assert_eq!(bench.unwraps(), 2);
}

#[test]
fn a_source_that_panics_takes_one_along_and_leaves_nothing_stuck() {
    let bench = Bench::new();
    let sealed = bench.stored("acme");
    bench.kms.script(Fault::Panics);
    let mut first = bench.opens(&sealed, "acme");
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        first
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_ready()
    }));
    assert!(panicked.is_err());
    assert_eq!(bench.open(&sealed, "acme").unwrap(), b"hello");
    drop(first);

    // With others that wait.
    let other = bench.stored("other");
    bench
        .kms
        .script(Fault::Hangs(Arc::new(bench.runtime.clone()), SECOND));
    let mut waiting: Vec<_> = (0..2).map(|_| bench.opens(&other, "other")).collect();
    for opens in &mut waiting {
        let mut context = Context::from_waker(Waker::noop());
        assert!(opens.as_mut().poll(&mut context).is_pending());
    }
    for opened in bench.all(waiting) {
        assert_eq!(opened.unwrap(), b"hello");
    }
}

#[test]
fn a_sealer_without_a_cache_asks_each_time() {
    let bench = Bench::new();
    let sealer = Sealer::new(bench.kms.clone());
    let sealed = bench.run(sealer.seal(b"x", &context("acme"))).unwrap();
    for _ in 0..3 {
        bench.run(sealer.open(&sealed, &context("acme"))).unwrap();
    }
    assert_eq!(bench.unwraps(), 3);
}
