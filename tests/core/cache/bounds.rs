//! Entries, age, messages, bytes.

use std::sync::Arc;
use std::time::Duration;

use waxseal::runtime::Monotonic;
use waxseal::source::{Cached, Caching};
use waxseal::{
    Aad, DekSource, EncryptionContext, ErrorKind, envelope::BodyHead, envelope::WrapSection,
    envelope::WrapSet, key::Request, source::DekLease,
};

use super::bench::{Bench, MINUTE, SECOND, context, kind};

fn budget(seal_messages: u64, seal_bytes: u64) -> Bench {
    Bench::with(Caching {
        seal_messages,
        seal_bytes,
        ..Caching::default()
    })
}

#[test]
fn seals_of_one_context_under_a_budget_ask_no_more_often_than_they_must() {
    for (seals, messages) in [(1, 1), (10, 1), (10, 3), (100, 7), (49, 7), (50, 7)] {
        let bench = budget(messages, u64::MAX);
        for _ in 0..seals {
            bench.seal("acme").unwrap();
        }
        assert_eq!(
            bench.generates() as u64,
            u64::div_ceil(seals, messages),
            "{seals} {messages}"
        );
        // And at once.
        let bench = budget(messages, u64::MAX);
        bench.takes(SECOND);
        let sealed = bench.all((0..seals).map(|_| bench.seals("acme")));
        assert!(sealed.iter().all(Result::is_ok));
        assert_eq!(
            bench.generates() as u64,
            u64::div_ceil(seals, messages),
            "{seals} {messages}"
        );
    }
}

#[test]
fn bytes_end_a_dek_too_and_one_message_may_be_longer() {
    // Five bytes each.
    for (bytes, generates) in [(4, 6), (5, 6), (9, 6), (10, 3), (14, 3), (15, 2), (30, 1)] {
        let bench = budget(u64::MAX, bytes);
        for _ in 0..6 {
            bench.seal("acme").unwrap();
        }
        assert_eq!(bench.generates(), generates, "{bytes}");
    }
}

#[test]
fn the_number_of_entries_is_bounded_and_what_is_used_stays() {
    for most in [1, 2, 100, 300] {
        let bench = Bench::with(Caching {
            seal_entries: most,
            ..Caching::default()
        });
        bench.seal("used").unwrap();
        for i in 0..3 * most {
            bench.seal(&i.to_string()).unwrap();
            assert!(bench.cache.stats().seal_entries <= most);
            if most > 1 {
                bench.seal("used").unwrap();
            }
        }
        let stats = bench.cache.stats();
        assert_eq!(stats.seal_entries, most);
        let evictions = usize::try_from(stats.evictions).unwrap();
        assert_eq!(evictions + most, bench.generates());
        if (2..=256).contains(&most) {
            assert_eq!(bench.generates(), 3 * most + 1, "one that is used made room");
        }
    }
}

#[test]
fn what_made_room_is_wiped() {
    let bench = Bench::with(Caching {
        open_entries: 1,
        ..Caching::default()
    });
    let (a, b) = (bench.stored("a"), bench.stored("b"));
    let weak = Arc::downgrade(&bench.lease(&a, "a"));
    assert!(weak.upgrade().is_some());
    bench.open(&b, "b").unwrap();
    assert!(weak.upgrade().is_none());
}

#[test]
fn nothing_is_used_past_its_age_and_what_has_ended_is_wiped_unasked() {
    let bench = Bench::with(Caching {
        refresh_ahead: Duration::ZERO,
        ..Caching::default()
    });
    let sealed = bench.stored("acme");
    let lease = bench.lease(&sealed, "acme");
    assert_eq!(lease.expires_at().unwrap().0, 5 * MINUTE);
    bench.runtime.advance(5 * MINUTE - 2 * SECOND);
    bench.open(&sealed, "acme").unwrap();
    assert_eq!(bench.unwraps(), 1);
    // What is handed out shortly before the end is new.
    bench.runtime.advance(SECOND + Duration::from_millis(500));
    let fresh = bench.lease(&sealed, "acme");
    assert!(!Arc::ptr_eq(&lease, &fresh));
    assert_eq!(bench.unwraps(), 2);
    bench.runtime.advance(SECOND);
    assert_eq!(kind(lease.check(bench.runtime_now())), ErrorKind::LeaseExpired);

    let weak = Arc::downgrade(&fresh);
    drop((fresh, lease));
    bench.seal("acme").unwrap();
    bench.runtime.advance(7 * MINUTE);
    assert!(weak.upgrade().is_none(), "it is still in memory");
    let stats = bench.cache.stats();
    assert_eq!(
        (stats.open_entries, stats.seal_entries, stats.expirations),
        (0, 0, 2)
    );
    assert_eq!(bench.runtime.tasks(), 0, "it sweeps although there is nothing");
    // And it begins again.
    bench.seal("acme").unwrap();
    bench.runtime.advance(7 * MINUTE);
    assert_eq!(bench.cache.stats().seal_entries, 0);
}

#[test]
fn a_dropped_cache_leaves_no_task_behind() {
    let bench = Bench::new();
    bench.seal("acme").unwrap();
    let runtime = bench.runtime.clone();
    assert_eq!(runtime.tasks(), 1);
    drop(bench);
    runtime.advance(2 * MINUTE);
    assert_eq!(runtime.tasks(), 0);
}

#[test]
fn a_data_key_counts_as_one_message() {
    let bench = budget(2, u64::MAX);
    let acme: EncryptionContext = context("acme");
    let key = bench.run(bench.sealer.data_key(&acme)).unwrap();
    for _ in 0..9 {
        key.seal(b"x", Aad::none()).unwrap();
    }
    bench.seal("acme").unwrap();
    assert_eq!(bench.generates(), 1);
    bench.seal("acme").unwrap();
    assert_eq!(bench.generates(), 2);
}

#[test]
fn an_answer_that_took_longer_than_its_age_is_used_by_those_who_waited() {
    let bench = Bench::with(Caching {
        fetch: 20 * MINUTE,
        ..Caching::default()
    });
    let sealed = bench.stored("acme");
    bench.takes(10 * MINUTE);
    let opened = bench.all((0..10).map(|_| bench.opens(&sealed, "acme")));
    assert!(opened.iter().all(Result::is_ok));
    assert_eq!(bench.unwraps(), 1);
    let end = bench.lease(&sealed, "acme").expires_at().unwrap().0;
    assert_eq!(end, 10 * MINUTE + 5 * MINUTE / 4);
}

/// Gives a lease that has ended so many times, then one that lasts.
#[derive(Debug)]
struct EndsAtOnce(waxseal::source::AnyOf, std::sync::atomic::AtomicUsize);

impl EndsAtOnce {
    fn ended(&self, lease: Arc<DekLease>) -> Arc<DekLease> {
        use std::sync::atomic::Ordering;
        let left = self
            .1
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if left.is_ok() {
            lease.end_by(Monotonic(Duration::ZERO));
        }
        lease
    }
}

#[async_trait::async_trait]
impl DekSource for EndsAtOnce {
    async fn seal_dek(&self, request: &Request<'_>) -> waxseal::Result<(Arc<DekLease>, WrapSet)> {
        let (lease, wraps) = self.0.seal_dek(request).await?;
        Ok((self.ended(lease), wraps))
    }

    async fn open_dek(
        &self,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> waxseal::Result<Arc<DekLease>> {
        Ok(self.ended(self.0.open_dek(wraps, body, request).await?))
    }

    async fn rewrap(
        &self,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> waxseal::Result<waxseal::source::Rewrapped> {
        self.0.rewrap(wraps, body, request).await
    }
}

/// Gives leases that end by themselves.
#[derive(Debug)]
pub(super) struct EndsBy(pub(super) waxseal::source::AnyOf, pub(super) Monotonic);

#[async_trait::async_trait]
impl DekSource for EndsBy {
    async fn seal_dek(&self, request: &Request<'_>) -> waxseal::Result<(Arc<DekLease>, WrapSet)> {
        let (lease, wraps) = self.0.seal_dek(request).await?;
        lease.end_by(self.1);
        Ok((lease, wraps))
    }

    async fn open_dek(
        &self,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> waxseal::Result<Arc<DekLease>> {
        let lease = self.0.open_dek(wraps, body, request).await?;
        lease.end_by(self.1);
        Ok(lease)
    }

    async fn rewrap(
        &self,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> waxseal::Result<waxseal::source::Rewrapped> {
        self.0.rewrap(wraps, body, request).await
    }
}

#[test]
fn a_lease_that_ended_on_its_way_is_asked_for_once_more_and_no_oftener() {
    let acme = context("acme");
    for (cached, ends, works) in [
        (false, 1, true),
        (false, 2, false),
        (true, 1, true),
        (true, 1000, false),
    ] {
        let bench = Bench::new();
        let sealed = bench.stored("acme");
        let source = || EndsAtOnce(waxseal::source::AnyOf::new(bench.kms.clone()), ends.into());
        let sealer = |source: EndsAtOnce| {
            let builder = waxseal::Sealer::builder().runtime(Arc::new(bench.runtime.clone()));
            let runtime = Arc::new(bench.runtime.clone());
            if cached {
                builder
                    .source(Cached::with_policy(source, Caching::default(), runtime))
                    .build()
                    .unwrap()
            } else {
                builder.source(source).build().unwrap()
            }
        };
        let opened = bench.run(sealer(source()).open(&sealed, &acme));
        let sealed = bench.run(sealer(source()).seal(b"x", &acme));
        assert_eq!(
            (opened.is_ok(), sealed.is_ok()),
            (works, works),
            "{cached} {ends}"
        );
        if !works {
            assert_eq!(kind(opened), ErrorKind::LeaseExpired);
            assert_eq!(kind(sealed), ErrorKind::LeaseExpired);
            assert!(bench.kms.total() <= 12, "{}", bench.kms.total());
        }
    }
}

#[test]
fn a_lease_that_was_ended_early_is_fetched_anew() {
    let bench = Bench::new();
    let sealed = bench.stored("acme");
    // Often enough for it to be at hand for this thread too.
    for _ in 0..4 {
        bench.seal("acme").unwrap();
        bench.open(&sealed, "acme").unwrap();
    }
    let key = bench.run(bench.sealer.data_key(&context("acme"))).unwrap();
    for lease in [key.lease(), &bench.lease(&sealed, "acme")] {
        lease.end_by(bench.runtime_now() + SECOND);
    }
    bench.runtime.advance(2 * SECOND);
    for _ in 0..4 {
        bench.seal("acme").unwrap();
        bench.open(&sealed, "acme").unwrap();
    }
    assert_eq!((bench.generates(), bench.unwraps()), (2, 2));
}

#[test]
fn a_lease_whose_pulse_stopped_is_fetched_anew() {
    let bench = Bench::new();
    let sealed = bench.stored("acme");
    let pulse = waxseal::source::Pulse::until(bench.runtime_now() + SECOND);
    let key = bench.run(bench.sealer.data_key(&context("acme"))).unwrap();
    for lease in [key.lease(), &bench.lease(&sealed, "acme")] {
        assert!(lease.stand_on(&pulse));
    }
    for _ in 0..4 {
        bench.seal("acme").unwrap();
        bench.open(&sealed, "acme").unwrap();
    }
    bench.runtime.advance(2 * SECOND);
    for _ in 0..4 {
        bench.seal("acme").unwrap();
        bench.open(&sealed, "acme").unwrap();
    }
    assert_eq!((bench.generates(), bench.unwraps()), (2, 2));
}
