//! Entries that are fetched again before they end.

use std::task::{Context, Waker};
use std::time::Duration;

use waxseal::ErrorKind;
use waxseal::source::{Caching, OnDenial};

use super::bench::{Bench, MINUTE, SECOND, altered, kind};

/// With an entry that is due to be fetched again, and the envelope it opens.
fn due(caching: Caching) -> (Bench, Vec<u8>) {
    let bench = Bench::with(caching);
    let sealed = bench.stored("acme");
    bench.open(&sealed, "acme").unwrap();
    bench.runtime.advance(4 * MINUTE + 30 * SECOND);
    bench.kms.forget_calls();
    (bench, sealed)
}

#[test]
fn what_is_in_use_is_fetched_again_and_nobody_waits() {
    let (bench, sealed) = due(Caching::default());
    bench.takes(10 * SECOND);
    for _ in 0..5 {
        let before = bench.runtime.elapsed();
        bench.open(&sealed, "acme").unwrap();
        assert_eq!(bench.runtime.elapsed(), before, "it waited");
    }
    bench.runtime.advance(20 * SECOND);
    assert_eq!((bench.unwraps(), bench.cache.stats().refreshes), (1, 1));
    // Past the end of the first: the second is there, for its own five minutes.
    bench.runtime.advance(2 * MINUTE);
    bench.open(&sealed, "acme").unwrap();
    assert_eq!(bench.unwraps(), 1);
    let end = bench.lease(&sealed, "acme").expires_at().unwrap().0;
    assert_eq!(end, 9 * MINUTE + 30 * SECOND);

    // What nobody uses is not fetched again.
    bench.runtime.advance(60 * MINUTE);
    assert_eq!((bench.unwraps(), bench.cache.stats().open_entries), (1, 0));
}

#[test]
fn the_sealing_side_is_fetched_ahead_too() {
    let bench = Bench::new();
    bench.seal("acme").unwrap();
    bench.runtime.advance(4 * MINUTE + 30 * SECOND);
    bench.takes(10 * SECOND);
    let before = bench.runtime.elapsed();
    bench.seal("acme").unwrap();
    assert_eq!(bench.runtime.elapsed(), before);
    bench.runtime.advance(MINUTE);
    let before = bench.runtime.elapsed();
    bench.seal("acme").unwrap();
    assert_eq!(bench.runtime.elapsed(), before);
    assert_eq!(bench.generates(), 2);
}

#[test]
fn entries_of_one_age_do_not_all_ask_at_once() {
    let bench = Bench::new();
    for i in 0..100 {
        bench.seal(&i.to_string()).unwrap();
    }
    // Within the quarter of a minute before the last minute, and the margin of a second.
    let mut asked = Vec::new();
    bench.runtime.advance(4 * MINUTE - 17 * SECOND);
    for _ in 0..18 {
        bench.kms.forget_calls();
        for i in 0..100 {
            bench.seal(&i.to_string()).unwrap();
        }
        bench.runtime.run_until_idle();
        asked.push(bench.generates());
        bench.runtime.advance(SECOND);
    }
    assert_eq!(asked.iter().sum::<usize>(), 100, "{asked:?}");
    assert!(asked.iter().all(|asked| *asked < 50), "{asked:?}");
}

#[test]
fn access_that_was_taken_away_is_noticed() {
    for denied in [
        ErrorKind::Denied,
        ErrorKind::Unauthenticated,
        ErrorKind::KeyDisabled,
        ErrorKind::KeyNotFound,
        ErrorKind::CannotOpen,
    ] {
        let (bench, sealed) = due(Caching::default());
        let lease = bench.lease(&sealed, "acme");
        bench.runtime.run_until_idle();
        bench.kms.forget_calls();
        let (bench, sealed) = {
            bench.runtime.advance(4 * MINUTE + 30 * SECOND);
            (bench, sealed)
        };
        drop(lease);
        let lease = bench.lease(&sealed, "acme");
        bench.fails(denied);
        // The refresh that was begun with this.
        bench.runtime.run_until_idle();
        assert_eq!(
            kind(lease.check(bench.runtime_now())),
            ErrorKind::KeyRevoked,
            "{denied}"
        );
        assert_eq!(
            (bench.cache.stats().denials, bench.cache.stats().open_entries),
            (1, 0)
        );
        assert_eq!(kind(bench.open(&sealed, "acme")), denied);
    }
}

#[test]
fn what_was_handed_out_may_end_by_itself() {
    let (bench, sealed) = due(Caching {
        on_denial: OnDenial::LetEnd,
        ..Caching::default()
    });
    bench.fails(ErrorKind::Denied);
    let lease = bench.lease(&sealed, "acme");
    bench.runtime.run_until_idle();
    assert_eq!(bench.cache.stats().open_entries, 0);
    assert!(lease.check(bench.runtime_now()).is_ok());
    bench.runtime.advance(30 * SECOND);
    assert_eq!(kind(lease.check(bench.runtime_now())), ErrorKind::LeaseExpired);
    // It is out of the entries and not out of reach.
    let (bench, sealed) = due(Caching {
        on_denial: OnDenial::LetEnd,
        ..Caching::default()
    });
    bench.fails(ErrorKind::Denied);
    let lease = bench.lease(&sealed, "acme");
    bench.runtime.run_until_idle();
    assert_eq!(bench.cache.invalidate_kek(&bench.kms.kek()), 1);
    assert!(lease.is_revoked());
}

#[test]
fn in_an_outage_an_entry_stays_to_its_end_and_the_kms_is_left_alone() {
    for kind_of_outage in [ErrorKind::Unavailable, ErrorKind::TimedOut, ErrorKind::Throttled] {
        let (bench, sealed) = due(Caching::default());
        bench.fails(kind_of_outage);
        // Half a minute to its end, less its margin, asked a hundred times a second.
        for _ in 0..2800 {
            bench.open(&sealed, "acme").unwrap();
            bench.runtime.advance(Duration::from_millis(10));
        }
        assert!((2..=7).contains(&bench.unwraps()), "{}", bench.unwraps());
        bench.runtime.advance(2 * SECOND);
        assert_eq!(kind(bench.open(&sealed, "acme")), kind_of_outage);
        bench.kms.heal();
        bench.open(&sealed, "acme").unwrap();
    }
}

#[test]
fn a_refresh_that_hangs_is_joined_by_those_who_need_it_and_given_up() {
    let (bench, sealed) = due(Caching::default());
    bench.takes(60 * MINUTE);
    bench.runtime.advance(20 * SECOND);
    bench.open(&sealed, "acme").unwrap();
    bench.runtime.run_until_idle();
    assert_eq!(bench.unwraps(), 1);
    // Past the end of the entry.
    bench.runtime.advance(20 * SECOND);
    let mut opens = bench.opens(&sealed, "acme");
    assert!(
        opens
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_pending()
    );
    assert_eq!(bench.unwraps(), 1, "it did not join");
    // After half a minute it is given up.
    bench.runtime.advance(10 * SECOND);
    assert_eq!(kind(bench.run(opens)), ErrorKind::TimedOut);
    bench.kms.heal();
    let before = bench.runtime.elapsed();
    bench.open(&sealed, "acme").unwrap();
    assert_eq!((bench.unwraps(), bench.runtime.elapsed()), (2, before));
}

#[test]
fn an_altered_body_makes_nobody_lose_access() {
    let (bench, sealed) = due(Caching::default());
    let lease = bench.lease(&sealed, "acme");
    bench.runtime.run_until_idle();
    bench.runtime.advance(4 * MINUTE + 30 * SECOND);
    bench.kms.forget_calls();
    // In the time in which a refresh is due.
    assert_eq!(kind(bench.open(&altered(&sealed), "acme")), ErrorKind::CannotOpen);
    bench.runtime.run_until_idle();
    let stats = bench.cache.stats();
    assert_eq!((stats.denials, stats.open_entries, stats.refreshes), (0, 1, 1));
    let other = bench.lease(&sealed, "acme");
    assert!(!other.is_revoked() && !lease.is_revoked());
}
