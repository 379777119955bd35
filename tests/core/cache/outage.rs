//! Opening past the end while the KMS cannot be reached.

use waxseal::ErrorKind;
use waxseal::source::{Cached, Caching};
use waxseal::{DekSource, Envelope, Sealer, key::Purpose, key::Request};

use super::bench::{Bench, MINUTE, SECOND, altered, context, kind};
use crate::log::Log;

fn tolerant() -> (Bench, Vec<u8>) {
    let bench = Bench::with(Caching {
        outage: 10 * MINUTE,
        ..Caching::default()
    });
    let sealed = bench.stored("acme");
    bench.open(&sealed, "acme").unwrap();
    (bench, sealed)
}

#[test]
fn by_default_nothing_opens_past_its_end() {
    let bench = Bench::new();
    let sealed = bench.stored("acme");
    bench.open(&sealed, "acme").unwrap();
    bench.runtime.advance(5 * MINUTE);
    bench.fails(ErrorKind::Unavailable);
    assert_eq!(kind(bench.open(&sealed, "acme")), ErrorKind::Unavailable);
    assert_eq!(bench.cache.stats().outage_uses, 0);
}

#[test]
fn where_the_policy_says_so_it_opens_for_a_while_and_each_use_is_counted() {
    let (bench, sealed) = tolerant();
    let ended = bench.lease(&sealed, "acme");
    bench.kms.forget_calls();
    bench.fails(ErrorKind::Unavailable);
    bench.runtime.advance(6 * MINUTE);
    for _ in 0..5 {
        assert_eq!(bench.open(&sealed, "acme").unwrap(), b"hello");
    }
    assert_eq!(bench.cache.stats().outage_uses, 5);
    assert_eq!(bench.unwraps(), 1, "it is asked each time although it is down");
    // What was handed out before ends when it was to end.
    assert_eq!(kind(ended.check(bench.runtime_now())), ErrorKind::LeaseExpired);
    // A body that is not of this DEK gets the error of the KMS.
    assert_eq!(
        kind(bench.open(&altered(&sealed), "acme")),
        ErrorKind::Unavailable
    );
    // It is asked again once in a while, and used again once it is back.
    bench.runtime.advance(10 * SECOND);
    bench.open(&sealed, "acme").unwrap();
    assert_eq!(bench.unwraps(), 2);
    bench.kms.heal();
    bench.runtime.advance(10 * SECOND);
    bench.open(&sealed, "acme").unwrap();
    bench.open(&sealed, "acme").unwrap();
    assert_eq!((bench.unwraps(), bench.cache.stats().outage_uses), (3, 6));

    // Nothing past that, however long the outage.
    bench.fails(ErrorKind::Unavailable);
    bench.runtime.advance(16 * MINUTE);
    assert_eq!(kind(bench.open(&sealed, "acme")), ErrorKind::Unavailable);
}

#[test]
fn only_an_outage_does_and_only_for_opening() {
    for refused in [ErrorKind::Throttled, ErrorKind::Denied, ErrorKind::InvalidAnswer] {
        let (bench, sealed) = tolerant();
        bench.runtime.advance(6 * MINUTE);
        bench.fails(refused);
        assert_eq!(kind(bench.open(&sealed, "acme")), refused);
        assert_eq!(bench.cache.stats().outage_uses, 0);
    }
    let (bench, _) = tolerant();
    bench.seal("acme").unwrap();
    bench.runtime.advance(6 * MINUTE);
    bench.fails(ErrorKind::Unavailable);
    assert_eq!(kind(bench.seal("acme")), ErrorKind::Unavailable);
}

#[test]
fn a_denial_ends_what_opens_past_its_end() {
    let (bench, sealed) = tolerant();
    bench.fails(ErrorKind::Unavailable);
    bench.runtime.advance(6 * MINUTE);
    let lease = bench.lease(&sealed, "acme");
    assert_eq!(lease.expires_at().unwrap().0, 15 * MINUTE);
    assert!(lease.check(bench.runtime_now()).is_ok());
    bench.runtime.advance(10 * SECOND);
    bench.fails(ErrorKind::Denied);
    assert_eq!(kind(bench.open(&sealed, "acme")), ErrorKind::Denied);
    assert!(lease.is_revoked());
    bench.fails(ErrorKind::Unavailable);
    assert_eq!(kind(bench.open(&sealed, "acme")), ErrorKind::Unavailable);
}

#[test]
fn an_altered_body_does_not_end_it() {
    let (bench, sealed) = tolerant();
    bench.runtime.advance(6 * MINUTE);
    assert_eq!(kind(bench.open(&altered(&sealed), "acme")), ErrorKind::CannotOpen);
    bench.fails(ErrorKind::Unavailable);
    bench.runtime.advance(10 * SECOND);
    bench.open(&sealed, "acme").unwrap();
}

#[test]
fn an_invalidation_ends_it() {
    let (bench, sealed) = tolerant();
    bench.fails(ErrorKind::Unavailable);
    bench.runtime.advance(6 * MINUTE);
    let lease = bench.lease(&sealed, "acme");
    assert_eq!(bench.cache.invalidate_kek(&bench.kms.kek()), 2);
    assert!(lease.is_revoked());
    assert_eq!(kind(bench.open(&sealed, "acme")), ErrorKind::Unavailable);
}

#[test]
fn who_is_in_a_hurry_is_answered_in_time() {
    let (bench, sealed) = tolerant();
    bench.runtime.advance(6 * MINUTE);
    bench.takes(60 * MINUTE);
    let acme = context("acme");
    let envelope = Envelope::parse(&sealed).unwrap();
    let before = bench.runtime.elapsed();
    let request = Request::new(&acme)
        .with_purpose(Purpose::Open)
        .with_deadline(bench.runtime_now() + 2 * SECOND);
    let section = envelope.header().wrap_section().unwrap();
    bench
        .run(bench.cache.open_dek(section, envelope.header().body(), &request))
        .unwrap();
    assert_eq!(bench.runtime.elapsed() - before, SECOND);
}

#[test]
fn each_use_is_logged_and_no_context_is() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(log.clone())
        .with_ansi(false)
        .finish();
    // With a single subscriber, `tracing` asks that of whichever thread comes to an event first, and other tests have none.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    tracing::subscriber::with_default(subscriber, || {
        let bench = Bench::with(Caching {
            outage: 10 * MINUTE,
            ..Caching::default()
        });
        let sealed = bench.stored("CANARY");
        bench.open(&sealed, "CANARY").unwrap();
        bench.fails(ErrorKind::Unavailable);
        bench.runtime.advance(6 * MINUTE);
        bench.open(&sealed, "CANARY").unwrap();
        bench.open(&sealed, "CANARY").unwrap();
        bench.fails(ErrorKind::Denied);
        bench.runtime.advance(10 * SECOND);
        bench.open(&sealed, "CANARY").unwrap_err();
    });
    let text = log.text();
    let warnings: Vec<_> = text.lines().filter(|line| line.contains("WARN")).collect();
    assert_eq!(warnings.len(), 3, "{text}");
    assert!(
        warnings[0].contains("past its end") && warnings[1].contains("past its end"),
        "{text}"
    );
    assert!(
        warnings[2].contains("taken away") && warnings[2].contains("kek"),
        "{text}"
    );
    assert!(!text.contains("CANARY"));
}

#[test]
fn in_steady_use_the_kms_is_still_asked_whether_it_is_back() {
    for refresh_ahead in [Caching::default().refresh_ahead, std::time::Duration::ZERO] {
        let bench = Bench::with(Caching {
            outage: 10 * MINUTE,
            refresh_ahead,
            ..Caching::default()
        });
        let sealed = bench.stored("acme");
        bench.open(&sealed, "acme").unwrap();
        bench.runtime.advance(6 * MINUTE);
        bench.kms.forget_calls();
        bench.fails(ErrorKind::Unavailable);
        for _ in 0..600 {
            bench.open(&sealed, "acme").unwrap();
            bench.runtime.advance(SECOND / 10);
        }
        // A minute, once every one to five seconds.
        assert!((10..=60).contains(&bench.unwraps()), "{}", bench.unwraps());
        assert_eq!(bench.cache.stats().outage_uses, 600);
    }
}

#[test]
fn an_end_that_the_source_has_set_is_not_put_off() {
    let (bench, end) = (Bench::new(), 7 * MINUTE);
    let sealed = bench.stored("acme");
    for outage in [MINUTE, 10 * MINUTE] {
        let start = bench.runtime_now();
        let source = super::bounds::EndsBy(waxseal::source::AnyOf::new(bench.kms.clone()), start + end);
        let caching = Caching {
            outage,
            refresh_ahead: std::time::Duration::ZERO,
            ..Caching::default()
        };
        let runtime = std::sync::Arc::new(bench.runtime.clone());
        let cache = Cached::with_policy(source, caching, runtime.clone());
        let sealer = Sealer::builder().source(cache).runtime(runtime).build().unwrap();
        let acme = context("acme");
        let open = || bench.run(sealer.open(&sealed, &acme));
        open().unwrap();
        bench.fails(ErrorKind::Unavailable);
        bench.runtime.advance(5 * MINUTE + SECOND);
        open().unwrap();
        bench.runtime.advance(MINUTE - 2 * SECOND);
        open().unwrap();
        // Five minutes and the outage, or the seven minutes of the source.
        bench.runtime.advance(2 * SECOND);
        assert_eq!(open().is_ok(), outage > MINUTE);
        bench.runtime.advance(MINUTE);
        assert_eq!(kind(open()), ErrorKind::Unavailable);
        bench.kms.heal();
    }
}

#[test]
fn a_pulse_that_has_stopped_ends_it_too() {
    let (bench, sealed) = tolerant();
    let pulse = waxseal::source::Pulse::until(bench.runtime_now() + 7 * MINUTE);
    assert!(bench.lease(&sealed, "acme").stand_on(&pulse));
    bench.fails(ErrorKind::Unavailable);
    bench.runtime.advance(6 * MINUTE);
    bench.open(&sealed, "acme").unwrap();
    bench.runtime.advance(MINUTE);
    assert_eq!(kind(bench.open(&sealed, "acme")), ErrorKind::Unavailable);
}
