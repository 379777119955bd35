//! Replicas, alone and in the composition that the documentation recommends.

use std::time::Duration;

use pollster::block_on;
use waxseal::layer::{Failover, Resilience, Resilient};
use waxseal::runtime::Runtime;
use waxseal::testing::{FakeKeyManager, Fault, Method};
use waxseal::{ErrorKind, KeyManager, envelope::KekRef, key::Request, value::Dek};

use super::Bench;

#[test]
fn another_replica_unwraps_and_never_wraps_unless_told() {
    let bench = Bench::new();
    let request = Request::new(&bench.context);
    // Two doors to one KEK, each of which fails on its own.
    let (near, far) = (FakeKeyManager::new("orders"), FakeKeyManager::new("orders"));
    let (dek, wrapped) = block_on(far.generate(&request)).unwrap();
    let layer = Failover::new(near.clone())
        .or(far.clone())
        .with_runtime(bench.runtime.clone());

    near.script(Fault::Fails(ErrorKind::Unavailable));
    let opened = block_on(layer.unwrap(wrapped.as_wrap_ref(), &request)).unwrap();
    assert!(opened.dek.ct_eq(&dek));
    assert_eq!((near.count(Method::Unwrap), far.count(Method::Unwrap)), (1, 1));

    // Until then it is asked after the other one.
    bench.runtime.advance(Duration::from_secs(31));
    near.script(Fault::Fails(ErrorKind::Denied));
    let error = block_on(layer.unwrap(wrapped.as_wrap_ref(), &request)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert_eq!(far.count(Method::Unwrap), 1, "a refusal is an answer");

    near.script(Fault::Fails(ErrorKind::Unavailable));
    assert_eq!(
        block_on(layer.wrap(&dek, &request)).unwrap_err().kind(),
        ErrorKind::Unavailable
    );
    assert_eq!(far.count(Method::Wrap), 0);
    near.script(Fault::Fails(ErrorKind::Unavailable));
    block_on(layer.wrapping_anywhere().wrap(&dek, &request)).unwrap();
    assert_eq!(far.count(Method::Wrap), 1);
}

/// Two doors to one KEK, in the composition that the documentation recommends, with its defaults.
struct Replicas {
    bench: Bench,
    near: FakeKeyManager,
    far: FakeKeyManager,
    layer: Failover,
    wrapped: waxseal::envelope::WrappedDek,
    dek: Dek,
}

impl Replicas {
    fn new() -> Self {
        let bench = Bench::new();
        let (near, far) = (FakeKeyManager::new("orders"), FakeKeyManager::new("orders"));
        let (dek, wrapped) = block_on(far.generate(&Request::new(&bench.context))).unwrap();
        let resilient = |kms: &FakeKeyManager| {
            Resilient::with_policy(kms.clone(), Resilience::default(), bench.runtime.clone())
        };
        let layer = Failover::new(resilient(&near))
            .or(resilient(&far))
            .with_runtime(bench.runtime.clone());
        Self {
            bench,
            near,
            far,
            layer,
            wrapped,
            dek,
        }
    }

    /// Unwraps, and says how long that took.
    fn unwrap(&self, deadline: Option<Duration>) -> (Result<(), ErrorKind>, Duration) {
        let mut request = Request::new(&self.bench.context);
        if let Some(deadline) = deadline {
            request = request.with_deadline(self.bench.runtime.now() + deadline);
        }
        let start = self.bench.runtime.elapsed();
        let unwrap = self.layer.unwrap(self.wrapped.as_wrap_ref(), &request);
        let result = self.bench.runtime.run(unwrap).unwrap();
        let result = result.map(|opened| assert!(opened.dek.ct_eq(&self.dek)));
        (
            result.map_err(|error| error.kind()),
            self.bench.runtime.elapsed() - start,
        )
    }

    fn calls(&self) -> (usize, usize) {
        (self.near.count(Method::Unwrap), self.far.count(Method::Unwrap))
    }
}

#[test]
fn the_far_one_answers_while_the_near_one_is_down_and_nobody_waits_out_a_pause() {
    let replicas = Replicas::new();
    for _ in 0..1000 {
        replicas.near.script(Fault::Fails(ErrorKind::Unavailable));
    }
    let (result, took) = replicas.unwrap(None);
    result.unwrap();
    // Three retries with their delays, and no more.
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_eq!(replicas.calls(), (4, 1));
    // It is known to be down: the far one is asked first.
    for _ in 0..50 {
        let (result, took) = replicas.unwrap(None);
        result.unwrap();
        assert_eq!(took, Duration::ZERO);
    }
    assert_eq!(replicas.calls(), (4, 51));
    // After a while it is asked again. That opens its breaker, which is final: nobody waits for it.
    replicas.bench.runtime.advance(Duration::from_secs(31));
    let (result, took) = replicas.unwrap(None);
    result.unwrap();
    assert_eq!(took, Duration::ZERO);
    assert_eq!(replicas.calls(), (5, 52));
    // Both are down, and the breaker is open: the error comes at once.
    replicas.far.script(Fault::Fails(ErrorKind::Denied));
    assert_eq!(replicas.unwrap(None).0, Err(ErrorKind::Denied));
    assert_eq!(replicas.calls(), (5, 53));
}

#[test]
fn one_that_hangs_leaves_the_next_its_share_of_the_time() {
    for (deadline, most) in [
        (None, Duration::from_secs(5)),
        (Some(Duration::from_secs(4)), Duration::from_secs(2)),
        (Some(Duration::from_millis(300)), Duration::from_millis(150)),
    ] {
        let replicas = Replicas::new();
        for _ in 0..100 {
            replicas.near.script(replicas.bench.hangs(3600));
        }
        let (result, took) = replicas.unwrap(deadline);
        result.unwrap();
        assert!(took <= most, "{deadline:?}: {took:?}");
        assert_eq!(replicas.calls().1, 1);
        let near = replicas.calls().0;
        if most > Duration::from_secs(1) {
            // Whoever hung for long is not waited for again soon.
            let (result, took) = replicas.unwrap(deadline);
            result.unwrap();
            assert_eq!(took, Duration::ZERO);
            assert_eq!(replicas.calls(), (near, 2));
        }
    }
}

#[test]
fn a_manager_that_ignores_deadlines_is_left_for_the_next_all_the_same() {
    let bench = Bench::new();
    let (near, far) = (FakeKeyManager::new("orders"), FakeKeyManager::new("orders"));
    let request = Request::new(&bench.context);
    let (dek, wrapped) = block_on(far.generate(&request)).unwrap();
    // Without a deadline in the request the fake hangs for as long as it is told to.
    let layer = Failover::new(near.clone())
        .or(far.clone())
        .with_runtime(bench.runtime.clone());
    near.script(bench.hangs(3600));
    let opened = bench.runtime.run(layer.unwrap(wrapped.as_wrap_ref(), &request));
    assert!(opened.unwrap().unwrap().dek.ct_eq(&dek));
    assert!(bench.runtime.elapsed() <= Duration::from_secs(5));
    // A batch likewise: what the first does not answer is the next one's, in one call.
    let items: Vec<_> = (0..3).map(|_| (wrapped.as_wrap_ref(), &request)).collect();
    bench.runtime.advance(Duration::from_secs(60));
    near.script(bench.hangs(3600));
    let opened = bench.runtime.run(layer.unwrap_batch(&items)).unwrap();
    assert!(
        opened
            .iter()
            .all(|opened| opened.as_ref().unwrap().dek.ct_eq(&dek))
    );
    assert!(bench.runtime.elapsed() <= Duration::from_secs(70));
    assert_eq!(far.count(Method::UnwrapBatch), 1);
}

#[test]
fn callers_in_a_hurry_open_no_breaker_and_give_no_replica_a_bad_name() {
    let bench = Bench::new();
    let layer = bench.resilient(Resilience::default());
    let hasty = |milliseconds| {
        Request::new(&bench.context).with_deadline(bench.runtime.now() + Duration::from_millis(milliseconds))
    };
    for _ in 0..20 {
        bench.kms.script(bench.hangs(1));
        let request = hasty(100);
        let error = bench.runtime.run(layer.generate(&request)).unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }
    let request = Request::new(&bench.context);
    bench.runtime.run(layer.generate(&request)).unwrap().unwrap();
    assert_eq!(bench.kms.count(Method::Generate), 21);
    // Those who had all the time that the policy gives do open it.
    for _ in 0..20 {
        bench.kms.script(bench.hangs(3600));
    }
    let mut kinds = Vec::new();
    for _ in 0..4 {
        let start = bench.runtime.elapsed();
        let error = bench.runtime.run(layer.generate(&request)).unwrap().unwrap_err();
        kinds.push((error.kind(), bench.runtime.elapsed() - start));
    }
    let count = bench.kms.count(Method::Generate);
    assert!(count <= 21 + 6, "{count} {kinds:?}");
    assert_eq!(kinds.last(), Some(&(ErrorKind::Unavailable, Duration::ZERO)));

    let replicas = Replicas::new();
    for _ in 0..20 {
        replicas.near.script(Fault::Hangs(
            replicas.bench.runtime.clone(),
            Duration::from_millis(200),
        ));
        let _ = replicas.unwrap(Some(Duration::from_millis(100)));
    }
    assert_eq!(replicas.calls(), (20, 20));
    replicas.unwrap(None).0.unwrap();
    assert_eq!(replicas.calls(), (21, 20), "the near one is still the first");
}

#[test]
fn an_open_breaker_fails_at_once_and_tells_when_to_come_again() {
    let bench = Bench::new();
    let layer = bench.resilient(Resilience::default());
    let request = Request::new(&bench.context);
    for _ in 0..100 {
        bench.kms.script(Fault::Fails(ErrorKind::Unavailable));
    }
    for _ in 0..2 {
        assert!(bench.runtime.run(layer.generate(&request)).unwrap().is_err());
    }
    assert_eq!(
        bench.kms.count(Method::Generate),
        5,
        "no retry behind the one that opened it"
    );
    let start = bench.runtime.elapsed();
    for _ in 0..10 {
        let error = bench.runtime.run(layer.generate(&request)).unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.is_retryable());
        let after = error.retry_after().unwrap();
        assert!(
            after > Duration::ZERO && after <= Duration::from_secs(5),
            "{after:?}"
        );
        let batch = bench
            .runtime
            .run(layer.wrap_batch(&[(&Dek::generate().unwrap(), &request)]))
            .unwrap();
        assert_eq!(batch[0].as_ref().unwrap_err().kind(), ErrorKind::Unavailable);
    }
    assert_eq!(bench.runtime.elapsed(), start);
    assert_eq!(bench.kms.calls().len(), 5);
}

#[test]
fn what_is_local_is_asked_before_what_may_hang() {
    let bench = Bench::new();
    let (remote, local) = (
        FakeKeyManager::new("orders"),
        FakeKeyManager::new("orders").local(),
    );
    let request = Request::new(&bench.context);
    let (_, wrapped) = block_on(local.generate(&request)).unwrap();
    let layer = Failover::new(remote.clone())
        .or(local.clone())
        .with_runtime(bench.runtime.clone());
    remote.script(bench.hangs(3600));
    bench
        .runtime
        .run(layer.unwrap(wrapped.as_wrap_ref(), &request))
        .unwrap()
        .unwrap();
    assert_eq!(bench.runtime.elapsed(), Duration::ZERO);
    assert_eq!(
        (remote.count(Method::Unwrap), local.count(Method::Unwrap)),
        (0, 1)
    );
}

#[test]
fn what_replicas_can_do_is_said_for_all_of_them() {
    let plain = || FakeKeyManager::new("orders");
    let said = |layer: &Failover| {
        let said = layer.capabilities();
        (said.rewraps, said.generates, said.unwraps, said.is_local)
    };
    let layer = Failover::new(plain().rewrapping().generating()).or(plain());
    assert_eq!(said(&layer), (true, true, true, false));
    assert_eq!(said(&layer.wrapping_anywhere()), (false, false, true, false));

    // One that is local makes not all of them local.
    let local = || waxseal::backend::local::LocalKey::new(&waxseal::Kek::from_bytes(&[7; 32]));
    assert!(!Failover::new(local()).or(plain()).capabilities().is_local);
    assert!(Failover::new(local()).or(local()).capabilities().is_local);
    // Of two classes the weaker; of one that is not known nothing is promised.
    let class = |layer: Failover| layer.wrapping_anywhere().capabilities().class;
    let known = plain().capabilities().class;
    assert_eq!(
        class(Failover::new(local()).or(local())),
        local().capabilities().class
    );
    assert_eq!(
        class(Failover::new(local()).or(plain())),
        known.and(local().capabilities().class)
    );
}

/// Pinned, a failover never wraps with another manager, whatever it was allowed to do.
#[test]
fn a_pinned_failover_wraps_with_the_first_alone() {
    let bench = Bench::new();
    let request = Request::new(&bench.context);
    let (near, far) = (FakeKeyManager::new("orders"), FakeKeyManager::new("orders"));
    let layer = Failover::new(near.clone()).or(far.clone()).wrapping_anywhere();
    let pinned = layer
        .pinned_to(&KekRef::new("fake", "orders", "1").unwrap())
        .unwrap();
    near.rotate_now();
    assert_eq!(
        block_on(pinned.generate(&request)).unwrap().1.kek().version(),
        "1"
    );
    near.script_always(Fault::Fails(ErrorKind::Unavailable));
    assert_eq!(block_on(layer.generate(&request)).unwrap().1.kek().version(), "1");
    let error = block_on(pinned.generate(&request)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(far.count(Method::Generate) + far.count(Method::Wrap), 1);
}
