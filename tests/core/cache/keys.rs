//! What an entry is for, and what goes by.

use waxseal::source::Caching;
use waxseal::{DekSource, key::Authorization, key::Purpose, key::Request};

use super::bench::{Bench, SECOND, altered, context, kind};

#[test]
fn nothing_that_may_decide_is_shared() {
    let bench = Bench::new();
    let acme = context("acme");
    let base = Request::new(&acme);
    let requests = [
        base.clone(),
        base.clone().with_profile("strict"),
        base.clone().with_actor("alice"),
        base.clone().with_actor("bob"),
        base.clone().with_binding([7; 32]),
        base.clone().with_purpose(Purpose::Rewrap),
    ];
    for _ in 0..2 {
        for request in &requests {
            bench.run(bench.cache.seal_dek(request)).unwrap();
        }
    }
    assert_eq!(bench.generates(), requests.len());
    let calls = bench.kms.calls();
    assert_eq!(calls[1].profile.as_deref(), Some("strict"));
    assert_eq!(calls[3].actor.as_deref(), Some("bob"));
    assert_eq!((calls[4].binding, calls[5].purpose), ([7; 32], Purpose::Rewrap));
}

#[test]
fn actors_share_only_where_that_is_asked_for() {
    for (shares_actors, calls) in [(false, 2), (true, 1)] {
        let bench = Bench::with(Caching {
            shares_actors,
            ..Caching::default()
        });
        let sealed = bench.stored("acme");
        for actor in ["alice", "bob"] {
            let sealer = bench.sealer.acting_as(actor);
            bench.run(sealer.open(&sealed, &context("acme"))).unwrap();
        }
        assert_eq!(bench.unwraps(), calls);
        // On whose behalf it was asked is told in either case.
        assert_eq!(bench.kms.calls()[0].actor.as_deref(), Some("alice"));
    }
}

#[test]
fn probes_and_what_was_authorized_go_by() {
    let bench = Bench::new();
    let acme = context("acme");
    let authorizations = [Authorization::new("INC-7", "carol")];
    for request in [
        Request::new(&acme).with_purpose(Purpose::Probe),
        Request::new(&acme).with_authorizations(&authorizations),
    ] {
        bench.kms.forget_calls();
        for _ in 0..3 {
            bench.run(bench.cache.seal_dek(&request)).unwrap();
        }
        assert_eq!(bench.generates(), 3);
        assert_eq!(
            bench.kms.calls()[0].authorization.is_some(),
            !request.authorizations().is_empty()
        );
    }
    let stats = bench.cache.stats();
    assert_eq!((stats.passed_by, stats.seal_entries, stats.flights), (6, 0, 0));
}

#[test]
fn a_side_without_entries_or_age_keeps_nothing() {
    let zero = std::time::Duration::ZERO;
    let base = Caching::default();
    for caching in [
        Caching {
            open_entries: 0,
            seal_entries: 0,
            ..base
        },
        Caching {
            open_age: zero,
            seal_age: zero,
            ..base
        },
    ] {
        let bench = Bench::with(caching);
        let sealed = bench.seal("acme").unwrap();
        bench.seal("acme").unwrap();
        bench.open(&sealed, "acme").unwrap();
        bench.open(&sealed, "acme").unwrap();
        assert_eq!((bench.generates(), bench.unwraps()), (2, 2));
    }
}

#[test]
fn a_hit_opens_nothing_that_a_miss_would_not() {
    let bench = Bench::new();
    let sealed = bench.seal("acme").unwrap();
    bench.open(&sealed, "acme").unwrap();
    for _ in 0..2 {
        assert_eq!(
            kind(bench.open(&altered(&sealed), "acme")),
            waxseal::ErrorKind::CannotOpen
        );
        assert_eq!(kind(bench.open(&sealed, "other")), waxseal::ErrorKind::CannotOpen);
    }
    // The entry is as it was.
    let before = bench.unwraps();
    bench.open(&sealed, "acme").unwrap();
    assert_eq!(bench.unwraps(), before);
    // Sealing gives nothing to those who may not open.
    let other = bench.seal("acme").unwrap();
    bench.cache.invalidate_all();
    bench.seal("acme").unwrap();
    bench.fails(waxseal::ErrorKind::Denied);
    bench.seal("acme").unwrap();
    assert_eq!(kind(bench.open(&other, "acme")), waxseal::ErrorKind::Denied);
}

#[test]
fn a_body_that_another_stanza_opens_is_opened_beside_the_entry() {
    // Two DEKs in one wrap section: the second envelope's stanza stands in front of the first one's.
    let bench = Bench::new();
    let (a, b) = (bench.stored("acme"), bench.stored("acme"));
    let both = |body: &[u8]| {
        let stanza = |sealed: &[u8]| {
            let end = waxseal::Envelope::parse(sealed).unwrap().header().body_offset();
            sealed[10..end].to_vec()
        };
        let section = [&[1, 2][..], &stanza(&a), &stanza(&b)].concat();
        let offset = waxseal::Envelope::parse(body).unwrap().header().body_offset();
        let len = u32::try_from(section.len()).unwrap().to_be_bytes();
        [&body[..5], &len[1..], &section, &body[offset..]].concat()
    };
    for _ in 0..2 {
        assert_eq!(bench.open(&both(&a), "acme").unwrap(), b"hello");
        assert_eq!(bench.open(&both(&b), "acme").unwrap(), b"hello");
    }
    // One for the entry; the other asks each time, two stanzas.
    assert_eq!(bench.unwraps(), 1 + 2 * 2);
    assert_eq!(bench.cache.stats().passed_by, 2);
}

#[test]
fn warming_fetches_and_takes_nothing_out_of_a_budget() {
    let bench = Bench::with(Caching {
        seal_messages: 2,
        ..Caching::default()
    });
    let acme = context("acme");
    let sealed = bench.stored("acme");
    bench.run(bench.cache.warm_sealing(&Request::new(&acme))).unwrap();
    let envelope = waxseal::Envelope::parse(&sealed).unwrap();
    let header = envelope.header();
    let request = Request::new(&acme).with_purpose(Purpose::Open);
    let warmed = bench
        .cache
        .warm_opening(header.wrap_section().unwrap(), header.body(), &request);
    bench.run(warmed).unwrap();
    assert_eq!(bench.kms.total(), 2);
    bench.open(&sealed, "acme").unwrap();
    bench.seal("acme").unwrap();
    bench.seal("acme").unwrap();
    assert_eq!(bench.kms.total(), 2);
    bench.seal("acme").unwrap();
    assert_eq!(bench.kms.total(), 3);
}

#[test]
fn debug_and_statistics_show_no_context() {
    let bench = Bench::new();
    bench.seal("CANARY").unwrap();
    let shown = format!("{:?}", bench.cache);
    assert!(shown.contains("seal_entries: 1"), "{shown}");
    assert!(!shown.contains("CANARY"), "{shown}");
}

#[test]
fn a_layer_around_the_cache_sees_every_request() {
    use crate::audit::{AuditMode, AuditedSource, MemorySink};
    let bench = Bench::new();
    let sink = MemorySink::default();
    let audited = AuditedSource::new(
        bench.cache.clone(),
        std::sync::Arc::new(sink.clone()),
        AuditMode::Required,
    );
    let runtime = std::sync::Arc::new(bench.runtime.clone());
    let builder = waxseal::Sealer::builder().source(audited).runtime(runtime);
    let sealer = builder.build().unwrap();
    let acme = context("acme");
    for _ in 0..3 {
        let sealed = pollster::block_on(sealer.seal(b"x", &acme)).unwrap();
        pollster::block_on(sealer.open(&sealed, &acme)).unwrap();
    }
    assert_eq!((sink.records().len(), bench.kms.total()), (6, 2));
}

#[test]
fn what_is_kept_is_given_at_the_first_poll_and_only_then() {
    let bench = Bench::new();
    let sealed = bench.stored("acme");
    bench.takes(SECOND);
    let at_once = |task: &mut std::pin::Pin<Box<dyn Future<Output = bool> + '_>>| {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        task.as_mut().poll(&mut context).is_ready()
    };
    let acme = context("acme");
    for (is_warm, bytes) in [
        (false, sealed.clone()),
        (true, sealed.clone()),
        (false, altered(&sealed)),
    ] {
        let mut opens: std::pin::Pin<Box<dyn Future<Output = bool>>> =
            Box::pin(async { bench.sealer.open(&bytes, &acme).await.is_ok() });
        assert_eq!(at_once(&mut opens), is_warm);
        drop(opens);
        bench.runtime.advance(2 * SECOND);
    }
}
