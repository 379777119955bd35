//! Sinks that fail, stand still, or come back.

use std::sync::Arc;
use std::task::{Context, Waker};
use std::thread;
use std::time::Duration;

use pollster::block_on;
use waxseal::ErrorKind;
use waxseal::audit::{Action, Event, Outcome};
use waxseal::runtime::Runtime;
use waxseal::testing::{Fault, Method, SimulatedRuntime};

use super::{Memory, context, logged, required, sealer_with};

#[test]
fn a_required_sink_that_fails_lets_nothing_out_and_comes_back() {
    let sink = Memory::default();
    let (sealer, kms, auditor) = required(&sink);
    let sealed = block_on(sealer.seal(b"hello", &context())).unwrap();
    sink.fail(true);
    let error = block_on(sealer.seal(b"hello", &context())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Audit);
    assert!(
        error.is_retryable() && error.to_string().contains("the disk is full"),
        "{error}"
    );
    let error = block_on(sealer.open(&sealed, &context())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Audit);
    // Its own failure is not told either.
    kms.script_for(Method::Unwrap, Fault::Fails(ErrorKind::Denied));
    let error = block_on(sealer.open(&sealed, &context())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Audit);
    assert_eq!(auditor.lost(), 3);
    sink.fail(false);
    assert_eq!(block_on(sealer.open(&sealed, &context())).unwrap(), b"hello");
    let events = sink.events();
    let told: Vec<_> = events
        .iter()
        .map(|event| (event.action(), event.sequence(), event.lost()))
        .collect();
    assert_eq!(
        told,
        [
            (Action::Generate, 0, 0),
            (Action::Gap, 3, 3),
            (Action::Unwrap, 5, 0)
        ]
    );
    assert_eq!(auditor.lost(), 0);
}

#[test]
fn a_best_effort_sink_loses_events_and_is_told_of_the_gap() {
    let sink = Memory::default();
    let (sealer, _, auditor) = sealer_with(|auditor| auditor.best_effort(sink.clone()), |builder| builder);
    sink.fail(true);
    for lost in 1..=5 {
        block_on(sealer.seal(b"hello", &context())).unwrap();
        // One after the other, so that the batches are known.
        while auditor.lost() < lost {
            thread::yield_now();
        }
    }
    sink.fail(false);
    block_on(sealer.seal(b"hello", &context())).unwrap();
    block_on(auditor.close()).unwrap();
    let gap: &Event = &sink.events()[0];
    assert_eq!((gap.action(), gap.lost()), (Action::Gap, 5));
    assert!(gap.to_json().contains(r#""waxseal.lost":5"#), "{}", gap.to_json());
    assert_eq!(sink.events().len(), 2);
    assert_eq!(auditor.lost(), 0);
}

/// The number of a gap is taken by the thread of the sink while others number their events.
#[test]
fn gaps_and_events_are_numbered_at_once() {
    let sink = Memory::default();
    let (sealer, _, auditor) = sealer_with(|auditor| auditor.best_effort(sink.clone()), |builder| builder);
    let (done, ended) = std::sync::mpsc::channel();
    let worker = thread::spawn(move || {
        for round in 0..200 {
            sink.fail(round % 2 == 0);
            thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| {
                        for _ in 0..10 {
                            block_on(sealer.seal(b"hello", &context())).unwrap();
                        }
                    });
                }
            });
        }
        sink.fail(false);
        block_on(auditor.close()).unwrap();
        let lost: u64 = sink.events().iter().map(|event| event.lost()).sum();
        let kept = sink
            .events()
            .iter()
            .filter(|event| event.action() != Action::Gap)
            .count();
        assert_eq!(kept as u64 + lost, 6_000);
        done.send(()).unwrap();
    });
    ended
        .recv_timeout(Duration::from_secs(120))
        .expect("nobody waits for anybody for ever");
    worker.join().unwrap();
}

#[test]
fn losses_are_said_once() {
    let sink = Memory::default();
    let (sealer, _, auditor) = sealer_with(|auditor| auditor.best_effort(sink), |builder| builder);
    block_on(auditor.close()).unwrap();
    let ((), lines) = logged(|| {
        for _ in 0..5 {
            block_on(sealer.seal(b"hello", &context())).unwrap();
        }
    });
    assert_eq!(auditor.lost(), 5);
    assert_eq!(lines.matches("audit events are being lost").count(), 1, "{lines}");
}

#[test]
fn a_sink_that_stands_still_is_waited_for_within_a_bound() {
    let sink = Memory::default();
    let runtime = SimulatedRuntime::new();
    let (sealer, _, _) = sealer_with(
        |auditor| {
            auditor
                .required(sink.clone())
                .wait(Duration::from_secs(7))
                .runtime(Arc::new(runtime.clone()))
        },
        |builder| builder.runtime(Arc::new(runtime.clone())),
    );
    sink.stand_still(true);
    let before = runtime.now();
    let result = runtime.run(sealer.seal(b"hello", &context())).unwrap();
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Audit);
    assert!(error.to_string().contains("7s"), "{error}");
    assert_eq!(runtime.now().0 - before.0, Duration::from_secs(7));
    sink.stand_still(false);
}

#[test]
fn whoever_waits_together_shares_one_batch() {
    const CALLERS: usize = 64;
    let sink = Memory::default();
    let (sealer, kms, auditor) = required(&sink);
    sink.stand_still(true);
    thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| block_on(sealer.seal(b"hello", &context())).unwrap());
        }
        while kms.count(Method::Generate) < CALLERS {
            thread::yield_now();
        }
        // All of them wait, or are about to.
        assert!(sink.events().is_empty());
        sink.stand_still(false);
    });
    block_on(auditor.close()).unwrap();
    assert_eq!(sink.events().len(), CALLERS);
    assert!(sink.batches() < CALLERS, "{}", sink.batches());
    let numbers: Vec<u64> = sink.events().iter().map(|event| event.sequence()).collect();
    assert_eq!(numbers, (0..CALLERS as u64).collect::<Vec<_>>());
}

#[test]
fn what_its_caller_gave_up_is_an_event() {
    let sink = Memory::default();
    let runtime = SimulatedRuntime::new();
    let (sealer, kms, auditor) = sealer_with(
        |auditor| auditor.required(sink.clone()).runtime(Arc::new(runtime.clone())),
        |builder| builder.runtime(Arc::new(runtime.clone())),
    );
    let hangs = Fault::Hangs(Arc::new(runtime.clone()), Duration::from_secs(60));
    kms.script_for(Method::Generate, hangs);
    let (plain, context) = (b"hello", context());
    let mut sealing = Box::pin(sealer.seal(plain, &context));
    let mut task = Context::from_waker(Waker::noop());
    assert!(sealing.as_mut().poll(&mut task).is_pending());
    runtime.advance(Duration::from_secs(3));
    drop(sealing);
    assert_eq!(kms.count(Method::Generate), 1);
    block_on(auditor.close()).unwrap();
    let events = sink.events();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].outcome(), Outcome::Abandoned);
    assert_eq!(events[0].latency(), Some(Duration::from_secs(3)));
}

#[test]
fn after_its_end_an_auditor_refuses() {
    let sink = Memory::default();
    let (sealer, _, auditor) = required(&sink);
    block_on(sealer.seal(b"hello", &context())).unwrap();
    block_on(auditor.close()).unwrap();
    block_on(auditor.close()).unwrap();
    let error = block_on(sealer.seal(b"hello", &context())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Audit);
}
