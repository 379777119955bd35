//! Retries, deadlines and the breaker.

use std::time::Duration;

use pollster::block_on;
use waxseal::layer::{Resilience, Resilient};
use waxseal::runtime::Runtime;
use waxseal::testing::{Fault, Method};
use waxseal::{ErrorKind, KeyManager, envelope::KekRef, key::Request, value::Dek};

use super::Bench;

#[test]
fn what_passes_is_tried_again_and_what_stays_is_not() {
    let bench = Bench::new();
    let layer = bench.resilient(Resilience::default());
    let request = Request::new(&bench.context);
    for kind in [ErrorKind::Throttled, ErrorKind::Unavailable] {
        bench.kms.script(Fault::Fails(kind));
    }
    bench.runtime.run(layer.generate(&request)).unwrap().unwrap();
    assert_eq!(bench.kms.count(Method::Generate), 3);

    for kind in [ErrorKind::Denied, ErrorKind::KeyDisabled, ErrorKind::CannotOpen] {
        let before = bench.kms.count(Method::Generate);
        bench.kms.script(Fault::Fails(kind));
        let error = bench.runtime.run(layer.generate(&request)).unwrap().unwrap_err();
        assert_eq!(error.kind(), kind);
        assert_eq!(bench.kms.count(Method::Generate), before + 1);
    }
}

#[test]
fn retries_end_with_their_number_and_give_the_last_error() {
    let bench = Bench::new();
    let layer = bench.resilient(Resilience {
        retries: 2,
        breaker: 0,
        ..Resilience::default()
    });
    for _ in 0..9 {
        bench.kms.script(Fault::Fails(ErrorKind::Throttled));
    }
    let request = Request::new(&bench.context);
    let error = bench.runtime.run(layer.generate(&request)).unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Throttled);
    assert_eq!(bench.kms.count(Method::Generate), 3);
}

#[test]
fn a_call_ends_by_its_deadline_whatever_the_backend_does() {
    let bench = Bench::new();
    let policy = Resilience {
        attempt: Duration::from_secs(2),
        deadline: Duration::from_secs(5),
        breaker: 0,
        ..Resilience::default()
    };
    let layer = bench.resilient(policy);
    for _ in 0..9 {
        bench.kms.script(bench.hangs(3600));
    }
    let request = Request::new(&bench.context);
    let error = bench.runtime.run(layer.generate(&request)).unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(error.is_retryable());
    assert!(
        bench.runtime.elapsed() <= Duration::from_secs(5),
        "{:?}",
        bench.runtime.elapsed()
    );
    assert!(
        bench.kms.count(Method::Generate) >= 2,
        "a try that hangs is not the only one"
    );

    // A request's own deadline is kept where it is earlier.
    let start = bench.runtime.elapsed();
    let soon = request.with_deadline(bench.runtime.now() + Duration::from_millis(500));
    assert!(bench.runtime.run(layer.generate(&soon)).unwrap().is_err());
    assert!(bench.runtime.elapsed() - start <= Duration::from_millis(500));
}

#[test]
fn a_backend_that_is_down_is_left_alone_and_found_again() {
    let bench = Bench::new();
    let policy = Resilience {
        retries: 0,
        breaker: 3,
        breaker_open: Duration::from_secs(5),
        ..Resilience::default()
    };
    let layer = bench.resilient(policy);
    let request = Request::new(&bench.context);
    let call = || bench.runtime.run(layer.generate(&request)).unwrap();
    for _ in 0..3 {
        bench.kms.script(Fault::Fails(ErrorKind::Unavailable));
        assert!(call().is_err());
    }
    let error = call().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.retry_after().unwrap() <= Duration::from_secs(5));
    assert_eq!(bench.kms.count(Method::Generate), 3, "it was not called");

    // One call looks whether it is back; it is not.
    bench.runtime.advance(Duration::from_secs(5));
    bench.kms.script(Fault::Fails(ErrorKind::Unavailable));
    assert!(call().is_err());
    assert!(call().is_err());
    assert_eq!(bench.kms.count(Method::Generate), 4);
    // Then it is.
    bench.runtime.advance(Duration::from_secs(5));
    call().unwrap();
    call().unwrap();
    assert_eq!(bench.kms.count(Method::Generate), 6);
}

#[test]
fn refusals_do_not_open_the_breaker() {
    let bench = Bench::new();
    let layer = bench.resilient(Resilience {
        retries: 0,
        breaker: 2,
        ..Resilience::default()
    });
    let request = Request::new(&bench.context);
    for kind in [
        ErrorKind::Denied,
        ErrorKind::CannotOpen,
        ErrorKind::Throttled,
        ErrorKind::Denied,
    ] {
        bench.kms.script(Fault::Fails(kind));
        assert_eq!(
            bench
                .runtime
                .run(layer.generate(&request))
                .unwrap()
                .unwrap_err()
                .kind(),
            kind
        );
    }
    bench.runtime.run(layer.generate(&request)).unwrap().unwrap();
}

#[test]
fn a_dropped_call_gives_back_its_turn() {
    let bench = Bench::new();
    let layer = bench.resilient(Resilience {
        calls: 1,
        ..Resilience::default()
    });
    let request = Request::new(&bench.context);
    bench.kms.script(bench.hangs(1));
    drop(layer.generate(&request));
    let mut begun = Box::pin(layer.generate(&request));
    let waker = std::task::Waker::noop();
    assert!(
        begun
            .as_mut()
            .poll(&mut std::task::Context::from_waker(waker))
            .is_pending()
    );
    drop(begun);
    bench.runtime.run(layer.generate(&request)).unwrap().unwrap();
}

#[test]
fn of_a_batch_only_what_may_pass_is_tried_again() {
    let bench = Bench::new();
    let kms = bench.kms.clone().batching(10);
    let layer = Resilient::with_policy(kms.clone(), Resilience::default(), bench.runtime.clone());
    let request = Request::new(&bench.context);
    let deks: Vec<Dek> = (0..4).map(|_| Dek::generate().unwrap()).collect();
    let items: Vec<_> = deks.iter().map(|dek| (dek, &request)).collect();
    // The first item is refused for good, the second for now.
    kms.script(Fault::Fails(ErrorKind::Denied));
    kms.script(Fault::Fails(ErrorKind::Throttled));
    let wrapped = bench.runtime.run(layer.wrap_batch(&items)).unwrap();
    assert_eq!(wrapped[0].as_ref().unwrap_err().kind(), ErrorKind::Denied);
    assert!(wrapped[1..].iter().all(Result::is_ok));
    assert_eq!(kms.calls().len(), 5, "four items and one of them again");
    for (wrapped, dek) in wrapped[1..].iter().zip(&deks[1..]) {
        let opened = block_on(kms.unwrap(wrapped.as_ref().unwrap().as_wrap_ref(), &request)).unwrap();
        assert!(opened.dek.ct_eq(dek));
    }
}

/// Pinned managers of one KMS know of its outage from each other.
#[test]
fn a_pinned_manager_shares_the_breaker() {
    let bench = Bench::new();
    let layer = bench.resilient(Resilience {
        retries: 0,
        breaker: 1,
        ..Resilience::default()
    });
    let pinned = layer
        .pinned_to(&KekRef::new("fake", "orders", "1").unwrap())
        .unwrap();
    let request = Request::new(&bench.context);
    bench.kms.script(Fault::Fails(ErrorKind::Unavailable));
    let error = bench.runtime.run(layer.generate(&request)).unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let before = bench.kms.total();
    let error = bench.runtime.run(pinned.generate(&request)).unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(bench.kms.total(), before, "the KMS was asked");
}
