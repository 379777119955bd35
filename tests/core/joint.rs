//! The joint carries what stands on it: a cache, an audit layer, scopes, a policy of two wraps.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use pollster::block_on;
use waxseal::blocking::Sealer;
use waxseal::source::{Cached, Caching};
use waxseal::testing::{FakeKeyManager, Fault, Method, SimulatedRuntime};
use waxseal::{
    Aad, DekSource, EncryptionContext, Envelope, Error, ErrorKind, envelope::ChunkSize, envelope::KekRef,
    envelope::WrapAlgorithm, key::Purpose, source::AnyOf, value::Operation,
};

use crate::audit::{AuditMode, AuditedKeys, AuditedSource, MemorySink};
use crate::tenants::ScopeRouter;
use crate::two_wraps::TwoWraps;

const HOUR: Duration = Duration::from_secs(3600);

fn context(tenant: &str) -> EncryptionContext {
    EncryptionContext::new([("tenant", tenant)]).unwrap()
}

fn sealer(source: impl DekSource + 'static, runtime: &SimulatedRuntime) -> Sealer {
    waxseal::Sealer::builder()
        .source(source)
        .runtime(Arc::new(runtime.clone()))
        .chunk_size(ChunkSize::MIN)
        .data_key_age(24 * HOUR)
        .build()
        .unwrap()
        .into()
}

/// A sealer over a cache over a fake KMS, for an hour.
fn cached() -> (Sealer, Cached, FakeKeyManager, SimulatedRuntime) {
    let (kms, runtime) = (FakeKeyManager::new("kek"), SimulatedRuntime::new());
    let source = AnyOf::new(kms.clone());
    let caching = Caching {
        open_age: HOUR,
        seal_age: HOUR,
        ..Caching::default()
    };
    let cache = Cached::with_policy(source, caching, Arc::new(runtime.clone()));
    (sealer(cache.clone(), &runtime), cache, kms, runtime)
}

fn session_id(envelope: &[u8]) -> [u8; 16] {
    *Envelope::parse(envelope).unwrap().header().body().session_id()
}

fn kind<T>(result: Result<T, Error>) -> ErrorKind {
    result.err().unwrap().kind()
}

#[test]
fn one_off_seals_over_a_cache_share_dek_wraps_and_session() {
    let (sealer, _, kms, _) = cached();
    let (acme, other) = (context("acme"), context("other"));
    let first = sealer.seal(b"one", &acme).unwrap();
    let second = sealer.seal(b"two", acme.with_aad(b"row 2")).unwrap();
    assert_eq!(session_id(&first), session_id(&second));
    let (a, b) = (
        Envelope::parse(&first).unwrap(),
        Envelope::parse(&second).unwrap(),
    );
    assert_eq!(a.header().wraps(), b.header().wraps());
    assert_ne!(a.header().nonce(), b.header().nonce());
    assert_eq!(kms.count(Method::Generate), 1);

    // Another context is another DEK.
    let elsewhere = sealer.seal(b"three", &other).unwrap();
    assert_ne!(session_id(&first), session_id(&elsewhere));
    assert_eq!(kms.count(Method::Generate), 2);

    // Opening asks once for both, and a hit opens nothing that a miss would not.
    assert_eq!(sealer.open(&first, &acme).unwrap(), b"one");
    assert_eq!(sealer.open(&second, acme.with_aad(b"row 2")).unwrap(), b"two");
    assert_eq!(kms.count(Method::Unwrap), 1);
    assert_eq!(
        kind(sealer.open(&second, acme.with_aad(b"row 3"))),
        ErrorKind::CannotOpen
    );
    assert_eq!(kms.count(Method::Unwrap), 1);
    let mut altered = second.clone();
    let body = Envelope::parse(&second).unwrap().header().body_offset();
    altered[body + 20] ^= 1;
    assert_eq!(kind(sealer.open(&altered, &acme)), ErrorKind::CannotOpen);
    assert_eq!(kind(sealer.open(&first, &other)), ErrorKind::CannotOpen);
    // What is kept is held against each body before it is handed out, as a miss would be.
    let foreign = Envelope::parse(&altered).unwrap();
    assert_eq!(
        kind(sealer.opener(foreign.header(), &acme)),
        ErrorKind::CannotOpen
    );
}

#[test]
fn without_a_cache_every_seal_has_its_own_dek() {
    let kms = FakeKeyManager::new("kek");
    let sealer = Sealer::new(kms.clone());
    let acme = context("acme");
    let [a, b] = [(), ()].map(|()| sealer.seal(b"x", &acme).unwrap());
    assert_ne!(session_id(&a), session_id(&b));
    assert_eq!(kms.count(Method::Generate), 2);
}

#[test]
fn expiry_reaches_what_is_handed_out_and_the_cache_asks_again() {
    let (sealer, _, kms, runtime) = cached();
    let acme = context("acme");
    let key = sealer.data_key(&acme).unwrap();
    let sealed = key.seal(b"x", Aad::none()).unwrap();
    let envelope = Envelope::parse(&sealed).unwrap();
    let opener = sealer.opener(envelope.header(), &acme).unwrap();
    runtime.advance(HOUR - Duration::from_nanos(1));
    key.seal(b"x", Aad::none()).unwrap();
    opener.open(&sealed, Aad::none()).unwrap();
    assert_eq!(kms.total(), 2);

    runtime.advance(Duration::from_nanos(1));
    assert_eq!(kind(key.seal(b"x", Aad::none())), ErrorKind::LeaseExpired);
    assert_eq!(kind(key.open(&sealed, Aad::none())), ErrorKind::LeaseExpired);
    assert_eq!(kind(opener.open(&sealed, Aad::none())), ErrorKind::LeaseExpired);

    let fresh = sealer.data_key(&acme).unwrap().seal(b"y", Aad::none()).unwrap();
    assert_ne!(session_id(&fresh), session_id(&sealed));
    assert_eq!(sealer.open(&sealed, &acme).unwrap(), b"x");
    assert_eq!((kms.count(Method::Generate), kms.count(Method::Unwrap)), (2, 2));
}

#[test]
fn a_data_key_ends_by_its_age_too() {
    let runtime = SimulatedRuntime::new();
    let sealer: Sealer = waxseal::Sealer::builder()
        .wrap_with(FakeKeyManager::new("kek"))
        .runtime(Arc::new(runtime.clone()))
        .data_key_age(HOUR)
        .build()
        .unwrap()
        .into();
    let key = sealer.data_key(&context("acme")).unwrap();
    runtime.advance(HOUR - Duration::from_nanos(1));
    let sealed = key.seal(b"x", Aad::none()).unwrap();
    runtime.advance(Duration::from_nanos(1));
    assert_eq!(kind(key.seal(b"x", Aad::none())), ErrorKind::LeaseExpired);
    assert_eq!(kind(key.writer(Vec::new(), Aad::none())), ErrorKind::LeaseExpired);
    assert_eq!(kind(key.open(&sealed, Aad::none())), ErrorKind::LeaseExpired);
    assert_eq!(
        kind(key.open_in_place(&mut sealed.clone(), Aad::none())),
        ErrorKind::LeaseExpired
    );
}

#[test]
fn revocation_reaches_handles_and_streams_in_the_middle() {
    let (sealer, cache, kms, _) = cached();
    let acme = context("acme");
    let key = sealer.data_key(&acme).unwrap();
    let sealed = key.seal(&[7; 5000], Aad::none()).unwrap();
    let header = *Envelope::parse(&sealed).unwrap().header();
    let opener = sealer.opener(&header, &acme).unwrap();
    let mut reader = opener
        .reader(&header, &sealed[header.len()..], Aad::none())
        .unwrap();
    let mut chunk = [0; 1024];
    reader.read_exact(&mut chunk).unwrap();
    let mut writer = key.writer(Vec::new(), Aad::none()).unwrap();
    std::io::Write::write_all(&mut writer, &[7; 3000]).unwrap();

    let another = KekRef::new("fake", "another", "1").unwrap();
    assert_eq!(cache.invalidate_kek(&another), 0);
    opener.open(&sealed, Aad::none()).unwrap();
    assert_eq!(cache.invalidate_kek(&kms.kek()), 2);

    assert_eq!(kind(key.seal(b"x", Aad::none())), ErrorKind::KeyRevoked);
    assert_eq!(kind(key.open(&sealed, Aad::none())), ErrorKind::KeyRevoked);
    assert_eq!(kind(opener.open(&sealed, Aad::none())), ErrorKind::KeyRevoked);
    assert_eq!(
        kind(opener.reader(&header, &sealed[header.len()..], Aad::none())),
        ErrorKind::KeyRevoked
    );
    let stopped = reader.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(stopped.downcast::<Error>().unwrap().kind(), ErrorKind::KeyRevoked);
    assert_eq!(kind(writer.finish()), ErrorKind::KeyRevoked);

    // Nothing revoked is handed out again.
    assert_eq!(kms.count(Method::Generate), 1);
    let fresh = sealer.seal(b"y", &acme).unwrap();
    assert_eq!(kms.count(Method::Generate), 2);
    assert_eq!(sealer.open(&fresh, &acme).unwrap(), b"y");
}

#[test]
fn a_source_and_key_managers_are_not_configured_together() {
    let builder = || waxseal::Sealer::builder().source(AnyOf::new(FakeKeyManager::new("a")));
    let kms = FakeKeyManager::new("b");
    for both in [
        builder().wrap_with(kms.clone()),
        builder().open_with(kms),
        builder().hide_kek_ids(),
        waxseal::Sealer::builder(),
    ] {
        assert_eq!(kind(both.build()), ErrorKind::Configuration);
    }
    assert!(builder().build().is_ok());
}

#[test]
fn the_audit_sees_who_did_what_and_what_failed() {
    let (sink, kms) = (MemorySink::default(), FakeKeyManager::new("kek"));
    let source = AuditedSource::new(
        AnyOf::new(kms.clone()),
        Arc::new(sink.clone()),
        AuditMode::Required,
    );
    let sealer = waxseal::Sealer::from_source(source);
    let acme = context("CANARY");
    let sealed = block_on(sealer.acting_as("alice").seal(b"x", &acme)).unwrap();
    block_on(sealer.acting_as("bob").open(&sealed, &acme)).unwrap();
    block_on(sealer.rewrap(&sealed, &acme)).unwrap();
    kms.script(Fault::Fails(ErrorKind::Denied));
    assert!(block_on(sealer.acting_as("mallory").open(&sealed, &acme)).is_err());

    let records = sink.records();
    let told: Vec<_> = records
        .iter()
        .map(|record| {
            (
                record.operation,
                record.purpose,
                record.actor.as_deref(),
                record.failure,
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (Operation::Generate, Purpose::Seal, Some("alice"), None),
            (Operation::Unwrap, Purpose::Open, Some("bob"), None),
            (Operation::Rewrap, Purpose::Rewrap, None, None),
            (
                Operation::Unwrap,
                Purpose::Open,
                Some("mallory"),
                Some(ErrorKind::Denied)
            ),
        ]
    );
    for record in &records {
        assert_eq!(record.keks, [kms.kek()]);
        assert_eq!(record.context_digest, *acme.digest());
    }
    assert!(!format!("{records:?} {sealer:?}").contains("CANARY"));
    // The KMS is told who asks as part of the request, so that a policy could look at it.
    assert_eq!(kms.calls()[1].actor.as_deref(), Some("bob"));
}

#[test]
fn what_cannot_be_recorded_is_refused_where_that_is_required() {
    for (mode, refused) in [(AuditMode::Required, true), (AuditMode::BestEffort, false)] {
        let (sink, kms) = (MemorySink::default(), FakeKeyManager::new("kek"));
        let around_keys = AuditedKeys::new(kms.clone(), Arc::new(sink.clone()), mode);
        let around_source = AuditedSource::new(AnyOf::new(kms), Arc::new(sink.clone()), mode);
        for sealer in [Sealer::new(around_keys), Sealer::from_source(around_source)] {
            sink.set_failing(false);
            let acme = context("acme");
            let sealed = sealer.seal(b"x", &acme).unwrap();
            sink.set_failing(true);
            let results = [
                sealer.seal(b"x", &acme).map(|_| ()),
                sealer.open(&sealed, &acme).map(|_| ()),
                sealer.rewrap(&sealed, &acme).map(|_| ()),
            ];
            for result in results {
                assert_eq!(
                    result.err().map(|error| error.kind()),
                    refused.then_some(ErrorKind::Audit)
                );
            }
        }
    }
}

#[test]
fn an_audit_around_a_cache_sees_what_the_cache_answers() {
    let (_, cache, kms, runtime) = cached();
    let sink = MemorySink::default();
    let source = AuditedSource::new(cache, Arc::new(sink.clone()), AuditMode::Required);
    let sealer = sealer(source, &runtime);
    for _ in 0..3 {
        sealer.seal(b"x", &context("acme")).unwrap();
    }
    assert_eq!((sink.records().len(), kms.count(Method::Generate)), (3, 1));
}

#[test]
fn scopes_put_tenants_under_keks_of_their_own() {
    let kms = FakeKeyManager::new("acme");
    let (europe, other) = (kms.sibling("acme-eu"), kms.sibling("other"));
    let router = ScopeRouter::by("tenant")
        .route("acme", AnyOf::new(kms.clone()))
        .route("acme/eu", AnyOf::new(europe.clone()))
        .route("other", AnyOf::new(other.clone()));
    let sealer = Sealer::from_source(router.clone());
    let kek_of = |tenant: &str| {
        let sealed = sealer.seal(b"x", &context(tenant)).unwrap();
        assert_eq!(sealer.open(&sealed, &context(tenant)).unwrap(), b"x");
        let envelope = Envelope::parse(&sealed).unwrap();
        let section = envelope.header().wrap_section().unwrap();
        section.stanzas().next().unwrap().kek_id.to_owned()
    };
    for (tenant, kek) in [
        ("acme", "acme"),
        ("acme/us", "acme"),
        ("acme/eu", "acme-eu"),
        ("acme/eu/berlin", "acme-eu"),
        ("acme/europe", "acme"),
        ("other", "other"),
    ] {
        assert_eq!(kek_of(tenant), kek, "{tenant}");
    }
    for unknown in ["acmex", "", "nobody"] {
        assert_eq!(
            kind(sealer.seal(b"x", &context(unknown))),
            ErrorKind::PolicyRefused
        );
    }
    let untold = EncryptionContext::new([("table", "users")]).unwrap();
    assert_eq!(kind(sealer.seal(b"x", &untold)), ErrorKind::PolicyRefused);
    let lenient = Sealer::from_source(router.otherwise(AnyOf::new(kms.sibling("default"))));
    assert!(lenient.seal(b"x", &untold).is_ok());

    // What one tenant's KEK wrapped, no other's opens, even if all ask for the right context.
    kms.forget_calls();
    let sealed = sealer.seal(b"x", &context("acme/eu")).unwrap();
    let one_kek = |kek: &FakeKeyManager| Sealer::new(kek.clone()).open(&sealed, &context("acme/eu"));
    assert!(one_kek(&europe).is_ok());
    assert_eq!(kind(one_kek(&other)), ErrorKind::NoUsableKey);
    assert_eq!(kind(one_kek(&kms)), ErrorKind::NoUsableKey);
    // And in another tenant's context the choice falls on another KEK, which does not know it.
    assert_eq!(
        kind(sealer.open(&sealed, &context("other"))),
        ErrorKind::NoUsableKey
    );
    assert_eq!(kms.count(Method::Unwrap), 1);
}

const SECOND: WrapAlgorithm = WrapAlgorithm::from_id(225);

#[test]
fn two_wraps_are_made_and_both_must_open() {
    let one = FakeKeyManager::new("one");
    let two = FakeKeyManager::new("two").with_algorithm(SECOND);
    let strict = Sealer::from_source(TwoWraps::new(one.clone(), two.clone()));
    let acme = context("acme");
    let sealed = strict.seal(b"x", &acme).unwrap();
    assert_eq!(strict.open(&sealed, &acme).unwrap(), b"x");
    assert_eq!((one.count(Method::Unwrap), two.count(Method::Unwrap)), (1, 1));
    let header = *Envelope::parse(&sealed).unwrap().header();
    let opener = strict.opener(&header, &acme).unwrap();
    assert_eq!(opener.lease().keks(), [one.kek(), two.kek()]);

    // Sealed under one alone: refused, whoever that one is.
    for lone in [&one, &two] {
        let weak = Sealer::new(lone.clone()).seal(b"x", &acme).unwrap();
        assert_eq!(kind(strict.open(&weak, &acme)), ErrorKind::PolicyRefused);
        assert_eq!(kind(strict.rewrap(&weak, &acme)), ErrorKind::PolicyRefused);
    }
    let nobody = Sealer::new(FakeKeyManager::new("three"))
        .seal(b"x", &acme)
        .unwrap();
    assert_eq!(kind(strict.open(&nobody, &acme)), ErrorKind::NoUsableKey);

    // One that cannot be reached is worth another try; one that fails to wrap fails the seal.
    two.script(Fault::Fails(ErrorKind::Unavailable));
    let error = strict.open(&sealed, &acme).unwrap_err();
    assert!(error.is_retryable());
    assert_eq!(error.attempts().len(), 1);
    two.script(Fault::Fails(ErrorKind::Denied));
    assert_eq!(kind(strict.seal(b"x", &acme)), ErrorKind::Denied);
    assert_eq!(strict.open(&sealed, &acme).unwrap(), b"x");
}

#[test]
fn a_stanza_that_only_claims_to_be_the_second_wrap_counts_for_nothing() {
    let one = FakeKeyManager::new("one");
    let two = FakeKeyManager::new("two").with_algorithm(SECOND);
    let strict = Sealer::from_source(TwoWraps::new(one.clone(), two.clone()));
    let acme = context("acme");
    let any = |second: &FakeKeyManager| -> Sealer {
        let builder = waxseal::Sealer::builder().wrap_with(one.clone());
        builder.wrap_with(second.clone()).build().unwrap().into()
    };
    // Garbage under the second's name.
    two.script(Fault::GarbageWrap);
    let garbage = any(&two).seal(b"x", &acme).unwrap();
    // A wrap of another DEK, which the second really opens.
    two.script(Fault::WrongDek);
    let another = any(&two).seal(b"x", &acme).unwrap();
    for claimed in [&garbage, &another] {
        let error = strict.open(claimed, &acme).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PolicyRefused);
        assert!(!error.is_retryable());
        assert_eq!(error.attempts().len(), 1);
        assert_eq!(error.attempts()[0].kind, Some(ErrorKind::CannotOpen));
    }
    // One good stanza never counts for two.
    let twice = Sealer::from_source(TwoWraps::new(one.clone(), one.clone()));
    let lone = Sealer::new(one.clone()).seal(b"x", &acme).unwrap();
    assert_eq!(kind(twice.open(&lone, &acme)), ErrorKind::PolicyRefused);
}

#[test]
fn a_rewrap_under_two_wraps_keeps_both_and_whoever_else_reads() {
    let one = FakeKeyManager::new("one");
    let two = FakeKeyManager::new("two").with_algorithm(SECOND);
    let auditor = FakeKeyManager::new("auditor");
    let strict = Sealer::from_source(TwoWraps::new(one.clone(), two.clone()));
    let acme = context("acme");
    let wide: Sealer = waxseal::Sealer::builder()
        .wrap_with(auditor.clone())
        .wrap_with(one.clone())
        .wrap_with(two.clone())
        .build()
        .unwrap()
        .into();
    let sealed = wide.seal(b"x", &acme).unwrap();
    one.rotate_now();
    let moved = strict.rewrap(&sealed, &acme).unwrap().splice(&sealed).unwrap();
    let envelope = Envelope::parse(&moved).unwrap();
    let section = envelope.header().wrap_section().unwrap();
    let named: Vec<_> = section
        .stanzas()
        .map(|stanza| (stanza.kek_id, stanza.kek_version))
        .collect();
    assert_eq!(named, [("one", "2"), ("two", "1"), ("auditor", "1")]);
    assert_eq!(strict.open(&moved, &acme).unwrap(), b"x");
    assert_eq!(Sealer::new(auditor).open(&moved, &acme).unwrap(), b"x");
}
