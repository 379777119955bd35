//! What a sealer refuses, before it asks a key manager and after, and what does not stop it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs
)]

use waxseal::backend::local::{LocalKey, PassphraseKey};
use waxseal::blocking::Sealer;
use waxseal::envelope::{DekId, Wraps};
use waxseal::testing::{FakeKeyManager, Fault, Method};
use waxseal::{
    Aad, Builder, EncryptionContext, Envelope, Error, ErrorKind, Kek, KeyManager, envelope::KekRef,
    envelope::WrapAlgorithm, envelope::WrapSet, envelope::WrappedDek, value::Operation,
};

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

/// The wraps of an envelope.
fn wraps(envelope: &[u8]) -> Vec<WrappedDek> {
    let envelope = Envelope::parse(envelope).unwrap();
    let section = envelope.header().wrap_section().unwrap();
    let own = |stanza: waxseal::envelope::WrapRef<'_>| {
        let kek = KekRef::new(stanza.provider, stanza.kek_id, stanza.kek_version).unwrap();
        WrappedDek::new(stanza.algorithm, kek, stanza.wrapped.to_vec()).unwrap()
    };
    section.stanzas().map(own).collect()
}

/// The same body behind other wraps.
fn with_wraps(envelope: &[u8], wraps: Vec<WrappedDek>) -> Vec<u8> {
    let body = Envelope::parse(envelope).unwrap().header().body_offset();
    let front = Wraps::Attached(WrapSet::any_of(wraps).unwrap())
        .prefix(0)
        .unwrap();
    [&front, &envelope[body..]].concat()
}

// spec: ANY-3, ANY-4
#[test]
fn a_planted_stanza_in_front_does_not_stop_a_good_one() {
    let [kms] = fakes();
    let sealer = Sealer::new(kms.clone());
    let sealed = sealer.seal(b"x", &context()).unwrap();
    // A valid wrap, under the configured KEK and in this context, of another DEK.
    let planted = wraps(&sealer.seal(b"y", &context()).unwrap());
    let both = [planted.clone(), wraps(&sealed)].concat();
    let envelope = with_wraps(&sealed, both);
    kms.forget_calls();
    assert_eq!(sealer.open(&envelope, &context()).unwrap(), b"x");
    assert_eq!(kms.count(Method::Unwrap), 2);
    // A re-wrap takes the DEK of the body, and the plant is gone.
    let moved = sealer
        .rewrap(&envelope, &context())
        .unwrap()
        .splice(&envelope)
        .unwrap();
    assert_eq!(ids(&moved).len(), 1);
    assert_eq!(sealer.open(&moved, &context()).unwrap(), b"x");
    // Alone it opens nothing.
    let alone = with_wraps(&sealed, planted);
    assert_eq!(kind(sealer.open(&alone, &context())), ErrorKind::CannotOpen);
    assert_eq!(kind(sealer.rewrap(&alone, &context())), ErrorKind::CannotOpen);
}

/// One stanza as it stands in an envelope, whatever it says.
fn raw_stanza(algorithm: u8, provider: &str, id: &str, wrapped: &[u8]) -> Vec<u8> {
    let mut stanza = vec![algorithm, 0, provider.len() as u8];
    stanza.extend_from_slice(provider.as_bytes());
    stanza.extend_from_slice(&(id.len() as u16).to_be_bytes());
    stanza.extend_from_slice(id.as_bytes());
    stanza.push(0);
    stanza.extend_from_slice(&(wrapped.len() as u16).to_be_bytes());
    stanza.extend_from_slice(wrapped);
    stanza
}

/// The same envelope with stanzas in front of its own.
fn with_raw_stanzas(envelope: &[u8], threshold: u8, front: &[Vec<u8>]) -> Vec<u8> {
    let body = Envelope::parse(envelope).unwrap().header().body_offset();
    let count = envelope[9] + front.len() as u8;
    let section = [
        &[threshold, count],
        front.concat().as_slice(),
        &envelope[10..body],
    ]
    .concat();
    let len = (section.len() as u32).to_be_bytes();
    [&envelope[..5], &len[1..], &section, &envelope[body..]].concat()
}

// spec: WRAP-9, ANY-4
#[test]
fn broken_stanzas_in_front_do_not_stop_a_good_one() {
    let local = LocalKey::new(&Kek::from_bytes(&[7; 32]));
    let passphrase = PassphraseKey::new("correct horse".to_owned().into()).unwrap();
    let [kms] = fakes();
    let id = local.kek_id().to_owned();
    let sealer = build(
        builder()
            .wrap_with(local)
            .open_with(passphrase)
            .open_with(kms.clone()),
    );
    let sealed = sealer.seal(b"x", &context()).unwrap();
    let mut too_costly = 10_000_001_u32.to_be_bytes().to_vec();
    too_costly.resize(92, 0);
    let front = [
        raw_stanza(1, "local", &id, &[0; 71]),
        raw_stanza(1, "local", &id, &[0; 16_384]),
        raw_stanza(1, "local", &id, &[0; 72]),
        raw_stanza(2, "local", "passphrase", &too_costly),
        raw_stanza(2, "local", "passphrase", &[0; 92]),
        raw_stanza(224, "fake", "kek-0", b"garbage"),
        raw_stanza(16, "aws-kms", "arn", b"not configured"),
        raw_stanza(255, "nobody", "", b"unknown algorithm"),
    ];
    let envelope = with_raw_stanzas(&sealed, 1, &front);
    let read = Envelope::parse(&envelope).unwrap();
    assert_eq!(read.header().wrap_section().unwrap().count(), 9);
    assert_eq!(sealer.open(&envelope, &context()).unwrap(), b"x");
    // What is local is tried first, so the good wrap opens before anybody is called.
    assert_eq!(kms.count(Method::Unwrap), 0);
    // Alone each is refused for what it is.
    for (stanza, expected) in front.iter().zip([
        "malformed wrapped DEK",
        "malformed wrapped DEK",
        "does not open",
        "PBKDF2 iterations",
        "PBKDF2 iterations",
        "does not open",
        "no configured key",
        "no configured key",
    ]) {
        let mut alone = with_raw_stanzas(&sealed, 1, std::slice::from_ref(stanza));
        // Its own good stanza gets another algorithm, so that nobody knows it.
        alone[10 + stanza.len()] = 200;
        let error = sealer.open(&alone, &context()).unwrap_err();
        assert!(error.to_string().contains(expected), "{expected}: {error}");
        assert!(!error.is_retryable());
    }
}

// spec: LIM-9, LIM-19, BODY-3, BODY-11, OPEN-1
#[test]
fn limits_are_refused_before_any_call() {
    let [kms] = fakes();
    let sealer = Sealer::new(kms.clone());
    let (context, long) = (context(), vec![0; 65_537]);
    let sealed = sealer.seal(b"x", context.with_aad(&long[1..])).unwrap();
    assert_eq!(sealer.open(&sealed, context.with_aad(&long[1..])).unwrap(), b"x");
    let key = sealer.data_key(&context).unwrap();
    kms.forget_calls();
    let over = |result: Result<(), Error>, limit: &str| match kind(result) {
        ErrorKind::OverLimit { limit: crossed, .. } => assert_eq!(crossed, limit),
        other => assert!(matches!(other, ErrorKind::OverLimit { .. }), "{other:?}"),
    };
    let aad = || context.with_aad(&long);
    over(sealer.seal(b"x", aad()).map(drop), "AAD length");
    over(sealer.open(&sealed, aad()).map(drop), "AAD length");
    over(key.seal(b"x", Aad::new(&long)).map(drop), "AAD length");
    let own = key.seal(b"x", Aad::none()).unwrap();
    over(key.open(&own, Aad::new(&long)).map(drop), "AAD length");
    over(
        key.open_in_place(&mut own.clone(), Aad::new(&long)).map(drop),
        "AAD length",
    );
    over(key.writer(Vec::new(), Aad::new(&long)).map(drop), "AAD length");
    let stanzas: Vec<_> = (0..16).map(|_| raw_stanza(224, "fake", "kek-0", b"x")).collect();
    let crowded = with_raw_stanzas(&sealed, 1, &stanzas);
    over(sealer.open(&crowded, &context).map(drop), "stanza count");
    over(sealer.rewrap(&crowded, &context).map(drop), "stanza count");
    let slow: Vec<_> = (0..3)
        .map(|_| raw_stanza(2, "local", "passphrase", &[0; 92]))
        .collect();
    let costly = with_raw_stanzas(&sealed, 1, &slow);
    over(
        sealer.open(&costly, &context).map(drop),
        "passphrase stanza count",
    );
    let wrapping = |count: usize| {
        let numbers = 1..=count;
        numbers.fold(builder(), |builder, number| {
            builder.wrap_with(FakeKeyManager::new(&format!("recipient-{number}")))
        })
    };
    let many = wrapping(17);
    over(many.build().map(drop), "stanza count");
    over(
        builder().wrap_with(kms.clone()).padding(65_537).build().map(drop),
        "wrap section length",
    );
    assert_eq!(kms.total(), 0);

    let sealed = build(wrapping(16)).seal(b"x", &context).unwrap();
    assert_eq!(ids(&sealed).len(), 16);
}

// spec: OPEN-3
#[test]
fn what_waits_for_later_versions_is_unsupported_before_any_call() {
    let [kms] = fakes();
    let sealer = Sealer::new(kms.clone());
    let sealed = sealer.seal(b"x", &context()).unwrap();
    let body = Envelope::parse(&sealed).unwrap().header().body_offset();
    let front = Wraps::Detached(DekId([7; 16])).prefix(0).unwrap();
    let detached = [&front, &sealed[body..]].concat();
    let mut shared = with_raw_stanzas(&sealed, 2, &[raw_stanza(224, "fake", "kek-0", b"x")]);
    // Share indices 1 and 2.
    let second = raw_stanza(224, "fake", "kek-0", b"x").len() + 11;
    (shared[11], shared[second]) = (1, 2);
    kms.forget_calls();
    for envelope in [&detached, &shared] {
        assert!(sealer.inspect(envelope).is_ok());
        assert!(matches!(
            kind(sealer.open(envelope, &context())),
            ErrorKind::Unsupported { .. }
        ));
        assert!(matches!(
            kind(sealer.rewrap(envelope, &context())),
            ErrorKind::Unsupported { .. }
        ));
        assert!(matches!(
            kind(sealer.reader(&**envelope, &context())),
            ErrorKind::Unsupported { .. }
        ));
    }
    assert_eq!(kms.total(), 0);
}

#[test]
fn everything_that_is_wrong_is_one_and_the_same_error() {
    let [kms] = fakes();
    let sealer = Sealer::new(kms.clone());
    let (here, elsewhere) = (context(), EncryptionContext::empty());
    let sealed = sealer.seal(b"x", here.with_aad(b"row 7")).unwrap();
    let header = *Envelope::parse(&sealed).unwrap().header();
    let flipped = |at: usize| {
        let mut altered = sealed.clone();
        altered[at] ^= 1;
        altered
    };
    let body = header.body_offset();
    let other_dek = with_wraps(&sealed, wraps(&sealer.seal(b"x", &here).unwrap()));
    let cases = [
        ("another AAD", sealed.clone(), &here, &b"row 8"[..]),
        ("no AAD", sealed.clone(), &here, b""),
        ("another context", sealed.clone(), &elsewhere, b"row 7"),
        ("an altered wrap", flipped(body - 1), &here, b"row 7"),
        (
            "another suite",
            {
                let mut other = sealed.clone();
                other[body] = 2;
                other
            },
            &here,
            b"row 7",
        ),
        ("an altered chunk size", flipped(body + 1), &here, b"row 7"),
        ("an altered session id", flipped(body + 4), &here, b"row 7"),
        ("an altered commitment", flipped(body + 20), &here, b"row 7"),
        ("an altered nonce", flipped(body + 52), &here, b"row 7"),
        ("an altered payload", flipped(header.len()), &here, b"row 7"),
        ("an altered tag", flipped(sealed.len() - 1), &here, b"row 7"),
        ("a wrap of another DEK", other_dek, &here, b"row 7"),
    ];
    for (what, envelope, context, aad) in cases {
        let error = sealer.open(&envelope, context.with_aad(aad)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CannotOpen, "{what}");
        assert!(!error.is_retryable(), "{what}");
        assert_eq!(error.operation(), Some(Operation::Open), "{what}");
        assert_eq!(error.provider(), None, "{what}");
        assert!(!format!("{error} {error:?}").contains("CANARY"), "{what}");
    }
    assert_eq!(sealer.open(&sealed, here.with_aad(b"row 7")).unwrap(), b"x");
}

// spec: OPEN-2, ERR-2
#[test]
fn a_failed_unwrap_and_a_failed_commitment_cannot_be_told_apart() {
    let [kms] = fakes();
    let sealer = Sealer::new(kms.clone());
    let sealed = sealer.seal(b"x", &context()).unwrap();
    let body = Envelope::parse(&sealed).unwrap().header().body_offset();
    let told = |envelope: &[u8]| {
        let error = sealer.open(envelope, &context()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CannotOpen);
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        (format!("{error} {error:?}"), cause)
    };
    // The unwrap fails.
    let mut altered = sealed.clone();
    altered[body - 1] ^= 1;
    let unwrap = told(&altered);
    // The commitment fails: of the body, and of the DEK that a wrap or a key manager gives.
    let mut altered = sealed.clone();
    altered[body + 20] ^= 1;
    assert_eq!(told(&altered), unwrap);
    let other_dek = with_wraps(&sealed, wraps(&sealer.seal(b"x", &context()).unwrap()));
    assert_eq!(told(&other_dek), unwrap);
    kms.script_for(Method::Unwrap, Fault::WrongDek);
    assert_eq!(told(&sealed), unwrap);
    // Another KEK under the name of this one.
    let impostor = FakeKeyManager::new("somebody else's");
    let here = context();
    let (_, foreign) = pollster::block_on(impostor.generate(&waxseal::key::Request::new(&here))).unwrap();
    let claimed = WrappedDek::new(foreign.algorithm(), kms.kek(), foreign.wrapped().to_vec()).unwrap();
    assert_eq!(told(&with_wraps(&sealed, vec![claimed])), unwrap);
    assert_eq!(sealer.open(&sealed, &context()).unwrap(), b"x");
}

// spec: WRAP-11, ANY-1, ALG-1
#[test]
fn an_algorithm_in_a_stanza_chooses_nothing() {
    let [kms] = fakes();
    let sealer = Sealer::new(kms.clone());
    let sealed = sealer.seal(b"x", &context()).unwrap();
    let [good] = wraps(&sealed).try_into().unwrap();
    kms.forget_calls();
    for id in [1, 16, 225, 255] {
        let claimed = WrapAlgorithm::from_id(id);
        let Ok(wrapped) = WrappedDek::new(claimed, good.kek().clone(), good.wrapped().to_vec()) else {
            continue;
        };
        let error = sealer
            .open(&with_wraps(&sealed, vec![wrapped]), &context())
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoUsableKey);
    }
    assert_eq!(kms.total(), 0);
}

#[test]
fn a_wrapped_dek_of_the_wrong_length_is_refused_before_any_call() {
    let kem = FakeKeyManager::new("kek-0").with_algorithm(WrapAlgorithm::X_WING);
    let sealed = Sealer::new(FakeKeyManager::new("elsewhere"))
        .seal(b"x", &context())
        .unwrap();
    let reader = Sealer::new(kem.clone());
    for len in [1, 1167, 1169] {
        let short = with_raw_stanzas(&sealed, 1, &[raw_stanza(48, "fake", "kek-0", &vec![0; len])]);
        let error = reader.open(&short, &context()).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Malformed { .. }), "{error}");
        assert!(matches!(
            error.attempts()[0].kind,
            Some(ErrorKind::Malformed { .. })
        ));
        assert_eq!(error.attempts()[1].kind, None);
    }
    assert_eq!(kem.total(), 0);
    // The right length is the key manager's to judge.
    let whole = with_raw_stanzas(&sealed, 1, &[raw_stanza(48, "fake", "kek-0", &[0; 1168])]);
    assert_eq!(kind(reader.open(&whole, &context())), ErrorKind::CannotOpen);
    assert_eq!(kem.total(), 1);
}
