//! What a sealer asks of key managers, and what it does with their answers.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use waxseal::blocking::Sealer;
use waxseal::testing::{FakeKeyManager, Fault, Method};
use waxseal::{Aad, Builder, EncryptionContext, Envelope, Error, ErrorKind, key::Purpose, value::Operation};

fn context() -> EncryptionContext {
    EncryptionContext::new([("tenant", "CANARY")]).unwrap()
}

fn build(builder: Builder) -> Sealer {
    builder.build().unwrap().into()
}

fn builder() -> Builder {
    waxseal::Sealer::builder()
}

fn fakes<const N: usize>() -> [FakeKeyManager; N] {
    std::array::from_fn(|i| FakeKeyManager::new(&format!("kek-{i}")))
}

fn kind<T>(result: Result<T, Error>) -> ErrorKind {
    result.err().unwrap().kind()
}

/// The ids of the stanzas of an envelope.
fn ids(envelope: &[u8]) -> Vec<String> {
    let envelope = Envelope::parse(envelope).unwrap();
    let section = envelope.header().wrap_section().unwrap();
    section.stanzas().map(|stanza| stanza.kek_id.to_owned()).collect()
}

#[test]
fn any_of_several_recipients_opens() {
    let [a, b, c, stranger] = fakes();
    let all = build(
        builder()
            .wrap_with(a.clone())
            .wrap_with(b.clone())
            .wrap_with(c.clone()),
    );
    let sealed = all.seal(b"x", &context()).unwrap();
    assert_eq!(ids(&sealed), ["kek-0", "kek-1", "kek-2"]);
    // One generates, the others wrap.
    assert_eq!((a.count(Method::Generate), a.count(Method::Wrap)), (1, 0));
    assert_eq!((b.count(Method::Generate), b.count(Method::Wrap)), (0, 1));
    for alone in [&a, &b, &c] {
        alone.forget_calls();
        assert_eq!(
            Sealer::new(alone.clone()).open(&sealed, &context()).unwrap(),
            b"x"
        );
        assert_eq!(alone.total(), 1);
    }
    let error = Sealer::new(stranger.clone())
        .open(&sealed, &context())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoUsableKey);
    assert_eq!(error.operation(), Some(Operation::Open));
    assert_eq!(error.attempts().len(), 3);
    assert!(error.attempts().iter().all(|attempt| attempt.kind.is_none()));
    assert_eq!(stranger.total(), 0);
}

#[test]
fn a_key_that_only_opens_never_wraps() {
    let [new, old] = fakes();
    let before = Sealer::new(old.clone()).seal(b"x", &context()).unwrap();
    let both = build(builder().wrap_with(new.clone()).open_with(old.clone()));
    old.forget_calls();
    let after = both.seal(b"y", &context()).unwrap();
    assert_eq!(ids(&after), ["kek-0"]);
    assert_eq!(old.total(), 0);
    assert_eq!(both.open(&before, &context()).unwrap(), b"x");
    assert_eq!((old.total(), old.count(Method::Unwrap)), (1, 1));
    assert_eq!(both.open(&after, &context()).unwrap(), b"y");

    let reader = build(builder().open_with(old));
    assert_eq!(kind(reader.seal(b"x", &context())), ErrorKind::Configuration);
}

#[test]
fn a_key_manager_is_told_what_it_is_asked_for() {
    let [kms] = fakes();
    let sealer: waxseal::Sealer = builder()
        .wrap_with(kms.clone())
        .profile("strict")
        .build()
        .unwrap();
    let sealer: Sealer = sealer.acting_as("alice").into();
    let sealed = sealer.seal(b"x", context().with_aad(b"row 7")).unwrap();
    sealer.open(&sealed, context().with_aad(b"row 7")).unwrap();
    sealer.rewrap(&sealed, &context()).unwrap();
    let calls = kms.calls();
    let told: Vec<_> = calls.iter().map(|call| (call.method, call.purpose)).collect();
    assert_eq!(
        told,
        [
            (Method::Generate, Purpose::Seal),
            (Method::Unwrap, Purpose::Open),
            (Method::Unwrap, Purpose::Rewrap),
            (Method::Wrap, Purpose::Rewrap),
        ]
    );
    for call in calls {
        assert_eq!(call.context, context());
        assert_eq!(call.binding, *context().digest());
        assert_eq!(call.profile.as_deref(), Some("strict"));
        assert_eq!(call.actor.as_deref(), Some("alice"));
        assert_eq!((call.deadline, call.authorization), (None, None));
    }
}

#[test]
fn a_timeout_becomes_the_deadline_of_each_request() {
    use std::{sync::Arc, time::Duration};
    use waxseal::{runtime::Monotonic, testing::SimulatedRuntime};
    let runtime = SimulatedRuntime::new();
    let shared: Arc<dyn waxseal::runtime::Runtime> = Arc::new(runtime.clone());
    let kms = FakeKeyManager::new("kek");
    let sealer = builder().wrap_with(kms.clone()).runtime(Arc::clone(&shared));
    let sealer = sealer.timeout(Duration::from_secs(2)).build().unwrap();
    runtime.advance(Duration::from_secs(10));
    kms.script(Fault::Hangs(Arc::clone(&shared), Duration::from_secs(60)));
    let context = context();
    let error = runtime.run(sealer.seal(b"x", &context)).unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(error.is_retryable());
    assert_eq!(kms.calls()[0].deadline, Some(Monotonic(Duration::from_secs(12))));
    assert_eq!(runtime.elapsed(), Duration::from_secs(12));
}

// spec: WRAP-5
#[test]
fn if_any_wrap_fails_sealing_fails() {
    let [a, b, c] = fakes();
    let all = build(
        builder()
            .wrap_with(a.clone())
            .wrap_with(b.clone())
            .wrap_with(c.clone()),
    );
    for failing in [&a, &b, &c] {
        for fault in [ErrorKind::Denied, ErrorKind::Throttled] {
            failing.script(Fault::Fails(fault));
            let error = all.seal(b"x", &context()).unwrap_err();
            assert_eq!(
                (error.kind(), error.operation()),
                (
                    fault,
                    Some(match failing.kek().id() {
                        "kek-0" => Operation::Generate,
                        _ => Operation::Wrap,
                    })
                )
            );
            assert_eq!(error.is_retryable(), fault == ErrorKind::Throttled);
            assert_eq!(error.provider(), Some("fake"));
            failing.script(Fault::Fails(fault));
            assert_eq!(kind(all.data_key(&context())), fault);
        }
    }
    assert!(all.seal(b"x", &context()).is_ok());
}

// spec: ENV-5, ENV-11, ENV-12
#[test]
fn a_stored_context_is_there_and_another_is_refused_before_any_call() {
    let [kms] = fakes();
    let storing = build(builder().wrap_with(kms.clone()).store_context());
    let plain = Sealer::new(kms.clone());
    let sealed = storing.seal(b"x", &context()).unwrap();
    let stored = Envelope::parse(&sealed)
        .unwrap()
        .header()
        .stored_context()
        .unwrap()
        .to_vec();
    assert_eq!(EncryptionContext::from_canonical(&stored).unwrap(), context());
    let bare = plain.seal(b"x", &context()).unwrap();
    assert!(
        Envelope::parse(&bare)
            .unwrap()
            .header()
            .stored_context()
            .is_none()
    );

    // Whether it is stored is the envelope's affair, not the reader's.
    assert_eq!(plain.open(&sealed, &context()).unwrap(), b"x");
    assert_eq!(storing.open(&bare, &context()).unwrap(), b"x");
    kms.forget_calls();
    let other = EncryptionContext::new([("tenant", "other")]).unwrap();
    let header = *Envelope::parse(&sealed).unwrap().header();
    assert_eq!(kind(plain.open(&sealed, &other)), ErrorKind::ContextMismatch);
    assert_eq!(kind(plain.rewrap(&sealed, &other)), ErrorKind::ContextMismatch);
    assert_eq!(kind(plain.opener(&header, &other)), ErrorKind::ContextMismatch);
    assert_eq!(kind(plain.reader(&*sealed, &other)), ErrorKind::ContextMismatch);
    assert_eq!(kms.total(), 0);

    // Data keys and openers look too.
    let opener = plain
        .opener(Envelope::parse(&bare).unwrap().header(), &context())
        .unwrap();
    let foreign = storing.seal(b"x", &other).unwrap();
    assert_eq!(
        kind(opener.open(&foreign, Aad::none())),
        ErrorKind::ContextMismatch
    );
    assert_eq!(
        kind(opener.open_in_place(&mut foreign.clone(), Aad::none())),
        ErrorKind::ContextMismatch
    );
    let key = plain.data_key(&context()).unwrap();
    assert_eq!(kind(key.open(&foreign, Aad::none())), ErrorKind::ContextMismatch);
}

// spec: WRAP-2
#[test]
fn hidden_ids_open_and_do_not_tell() {
    let [a, b] = fakes();
    let hiding = build(builder().wrap_with(a.clone()).wrap_with(b.clone()).hide_kek_ids());
    let sealed = hiding.seal(b"x", &context()).unwrap();
    assert_eq!(ids(&sealed), ["", ""]);
    assert!(
        !sealed
            .windows(5)
            .any(|bytes| bytes == b"kek-0" || bytes == b"kek-1")
    );
    for opener in [&a, &b] {
        opener.forget_calls();
        assert_eq!(
            Sealer::new(opener.clone()).open(&sealed, &context()).unwrap(),
            b"x"
        );
    }
    // Without a name each stanza has to be tried: the second holder fails at the first's stanza once.
    assert_eq!((a.total(), b.total()), (1, 2));
    let moved = hiding
        .rewrap(&sealed, &context())
        .unwrap()
        .splice(&sealed)
        .unwrap();
    assert_eq!(ids(&moved), ["", ""]);
}

// spec: ANY-2, ANY-5, ERR-3
#[test]
fn where_no_stanza_opens_the_error_lists_every_attempt() {
    let [a, b, c, stranger] = fakes();
    let all = builder()
        .wrap_with(a.clone())
        .wrap_with(b.clone())
        .wrap_with(c.clone());
    let sealed = build(all.wrap_with(stranger)).seal(b"x", &context()).unwrap();
    let reader = build(
        builder()
            .open_with(a.clone())
            .open_with(b.clone())
            .open_with(c.clone()),
    );
    let script = [ErrorKind::Denied, ErrorKind::Unavailable, ErrorKind::KeyDisabled];
    for (fake, kind) in [&a, &b, &c].into_iter().zip(script) {
        fake.script(Fault::Fails(kind));
    }
    let error = reader.open(&sealed, &context()).unwrap_err();
    let tried: Vec<_> = error
        .attempts()
        .iter()
        .map(|attempt| (attempt.kek_id.as_str(), attempt.kind))
        .collect();
    assert_eq!(
        tried,
        [
            ("kek-0", Some(ErrorKind::Denied)),
            ("kek-1", Some(ErrorKind::Unavailable)),
            ("kek-2", Some(ErrorKind::KeyDisabled)),
            ("kek-3", None),
        ]
    );
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.is_retryable());
    assert!(!format!("{error} {error:?}").contains("CANARY"));

    // And is final where none of them may pass by itself.
    for fake in [&a, &b, &c] {
        fake.script(Fault::Fails(ErrorKind::Denied));
    }
    let error = reader.open(&sealed, &context()).unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Denied, false));
    // One that is well is enough, wherever it stands.
    a.script(Fault::Fails(ErrorKind::Unavailable));
    b.script(Fault::Fails(ErrorKind::Denied));
    assert_eq!(reader.open(&sealed, &context()).unwrap(), b"x");
}
