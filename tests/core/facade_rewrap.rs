//! Re-wrap replaces wraps, reads no payload, and takes access from nobody it was not told of.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use waxseal::blocking::Sealer;
use waxseal::key::RewrapRules;
use waxseal::testing::{FakeKeyManager, Fault, Method};
use waxseal::{Builder, EncryptionContext, Envelope, Error, ErrorKind, envelope::Header};

fn context() -> EncryptionContext {
    EncryptionContext::new([("tenant", "acme")]).unwrap()
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

/// The stanzas of an envelope, as id and version.
fn keks(envelope: &[u8]) -> Vec<String> {
    let envelope = Envelope::parse(envelope).unwrap();
    let section = envelope.header().wrap_section().unwrap();
    let names = section.stanzas();
    names
        .map(|stanza| format!("{} {}", stanza.kek_id, stanza.kek_version))
        .collect()
}

#[test]
fn the_header_is_enough_and_no_body_byte_changes() {
    let [old, new] = fakes();
    let sealed = Sealer::new(old.clone()).seal(&[7; 200_000], &context()).unwrap();
    let header = *Envelope::parse(&sealed).unwrap().header();
    let mover = build(builder().wrap_with(new.clone()).open_with(old.clone()));
    let moved = mover.rewrap(&sealed[..header.len()], &context()).unwrap();
    // One byte less is not a header.
    assert!(matches!(
        kind(mover.rewrap(&sealed[..header.len() - 1], &context())),
        ErrorKind::Malformed { .. }
    ));
    assert_eq!(moved.replaces(), header.body_offset());
    let after = moved.splice(&sealed).unwrap();
    assert_eq!(after[moved.prefix().len()..], sealed[moved.replaces()..]);
    assert_eq!(keks(&after), ["kek-1 1"]);
    assert_eq!(Sealer::new(new).open(&after, &context()).unwrap(), [7; 200_000]);
    assert_eq!(
        kind(Sealer::new(old).open(&after, &context())),
        ErrorKind::NoUsableKey
    );
}

#[test]
fn every_prefix_of_any_length_gives_the_same_wraps_length() {
    let [kms] = fakes();
    let sealer = build(builder().wrap_with(kms).store_context());
    let sealed = sealer.seal(&[7; 100], &context()).unwrap();
    let len = Header::parse(&sealed).unwrap().len();
    for prefix in [len, len + 1, sealed.len()] {
        let moved = sealer.rewrap(&sealed[..prefix], &context()).unwrap();
        let after = moved.splice(&sealed).unwrap();
        assert_eq!(sealer.open(&after, &context()).unwrap(), [7; 100]);
        let stored = Envelope::parse(&after).unwrap();
        assert_eq!(stored.header().stored_context(), Some(context().canonical()));
    }
}

#[test]
fn a_version_is_left_by_a_rewrap() {
    let [kms] = fakes();
    let sealer = Sealer::new(kms.clone());
    let sealed = sealer.seal(b"x", &context()).unwrap();
    kms.rotate_now();
    let moved = sealer
        .rewrap(&sealed, &context())
        .unwrap()
        .splice(&sealed)
        .unwrap();
    assert_eq!(
        (keks(&sealed), keks(&moved)),
        (vec!["kek-0 1".into()], vec!["kek-0 2".into()])
    );
    kms.set_state(1, waxseal::key::KekState::Destroyed);
    assert_eq!(kind(sealer.open(&sealed, &context())), ErrorKind::KeyDestroyed);
    assert_eq!(sealer.open(&moved, &context()).unwrap(), b"x");
}

#[test]
fn unknown_recipients_are_kept_unless_told_otherwise() {
    let [own, auditor, new] = fakes();
    let wide = build(builder().wrap_with(own.clone()).wrap_with(auditor.clone()));
    let sealed = wide.seal(b"x", &context()).unwrap();
    let mover = || builder().wrap_with(new.clone()).open_with(own.clone());

    let kept = build(mover())
        .rewrap(&sealed, &context())
        .unwrap()
        .splice(&sealed)
        .unwrap();
    assert_eq!(keks(&kept), ["kek-2 1", "kek-1 1"]);
    assert_eq!(
        Sealer::new(auditor.clone()).open(&kept, &context()).unwrap(),
        b"x"
    );
    assert_eq!(Sealer::new(new.clone()).open(&kept, &context()).unwrap(), b"x");
    assert_eq!(
        kind(Sealer::new(own.clone()).open(&kept, &context())),
        ErrorKind::NoUsableKey
    );

    let alone = build(mover().rewrap_rules(RewrapRules::new().dropping_unknown()));
    let dropped = alone
        .rewrap(&sealed, &context())
        .unwrap()
        .splice(&sealed)
        .unwrap();
    assert_eq!(keks(&dropped), ["kek-2 1"]);
    assert_eq!(
        kind(Sealer::new(auditor).open(&dropped, &context())),
        ErrorKind::NoUsableKey
    );
}

#[test]
fn a_sealer_with_nothing_to_wrap_under_does_not_rewrap() {
    let [own, auditor] = fakes();
    let wide = build(builder().wrap_with(own.clone()).wrap_with(auditor));
    let reader = build(builder().open_with(own.clone()));
    let sealed = wide.seal(b"x", &context()).unwrap();
    // It must not take its own wrap out and leave the other's.
    own.forget_calls();
    assert_eq!(kind(reader.rewrap(&sealed, &context())), ErrorKind::Configuration);
    assert_eq!(own.total(), 0);
}

#[test]
fn a_kms_that_can_rewraps_on_its_own_side() {
    let old = FakeKeyManager::new("old");
    let new = old.sibling("new").rewrapping_from(&old);
    let sealed = Sealer::new(old.clone()).seal(b"x", &context()).unwrap();
    let mover = build(builder().wrap_with(new.clone()).open_with(old.clone()));
    old.forget_calls();
    let moved = mover
        .rewrap(&sealed, &context())
        .unwrap()
        .splice(&sealed)
        .unwrap();
    // One call, and the DEK did not come here.
    assert_eq!((old.total(), old.count(Method::Rewrap)), (1, 1));
    assert_eq!(keks(&moved), ["new 1"]);
    assert_eq!(mover.open(&moved, &context()).unwrap(), b"x");

    // Nor in another context, as the KMS sees to.
    let other = EncryptionContext::empty();
    assert_eq!(kind(mover.rewrap(&sealed, &other)), ErrorKind::CannotOpen);

    // What it cannot do on its own side is done here.
    let abroad = FakeKeyManager::new("abroad");
    let foreign = Sealer::new(abroad.clone()).seal(b"y", &context()).unwrap();
    let mover = build(builder().wrap_with(new.clone()).open_with(abroad.clone()));
    new.forget_calls();
    let moved = mover
        .rewrap(&foreign, &context())
        .unwrap()
        .splice(&foreign)
        .unwrap();
    assert_eq!(abroad.count(Method::Unwrap), 1);
    assert_eq!(new.count(Method::Wrap), 1);
    assert_eq!(mover.open(&moved, &context()).unwrap(), b"y");

    // A stanza that no configured KEK knows is not handed to the KMS at all.
    let stranger = Sealer::new(FakeKeyManager::new("stranger"))
        .seal(b"z", &context())
        .unwrap();
    new.forget_calls();
    assert_eq!(kind(mover.rewrap(&stranger, &context())), ErrorKind::NoUsableKey);
    assert_eq!(new.total(), 0);
}

// spec: REWRAP-3
#[test]
fn with_several_stanzas_the_dek_comes_out_and_the_commitment_decides() {
    let a = FakeKeyManager::new("a").rewrapping();
    let b = a.sibling("b");
    let both = build(builder().wrap_with(a.clone()).wrap_with(b.clone()));
    let sealed = both.seal(b"x", &context()).unwrap();
    a.forget_calls();
    let rules = RewrapRules::new().leaving_fewer_wraps();
    let alone = builder().wrap_with(a.clone()).open_with(b.clone());
    let alone = build(alone.rewrap_rules(rules));
    alone.rewrap(&sealed, &context()).unwrap();
    assert_eq!(
        (
            a.count(Method::Rewrap),
            a.count(Method::Unwrap),
            a.count(Method::Wrap)
        ),
        (0, 1, 1)
    );
    // Nor where several are to wrap.
    let single = Sealer::new(a.clone()).seal(b"x", &context()).unwrap();
    a.forget_calls();
    let moved = both.rewrap(&single, &context()).unwrap().splice(&single).unwrap();
    assert_eq!(
        (
            a.count(Method::Rewrap),
            a.count(Method::Unwrap),
            a.count(Method::Wrap)
        ),
        (0, 1, 2)
    );
    assert_eq!(keks(&moved), ["a 1", "b 1"]);
}

// spec: REWRAP-5
#[test]
fn a_key_manager_that_lies_fails_the_rewrap() {
    let [kms, new] = fakes();
    let sealer = Sealer::new(kms.clone());
    let sealed = sealer.seal(b"x", &context()).unwrap();
    let mover = build(builder().wrap_with(new.clone()).open_with(kms.clone()));
    kms.script_for(Method::Unwrap, Fault::WrongDek);
    assert_eq!(kind(mover.rewrap(&sealed, &context())), ErrorKind::CannotOpen);
    // The new KEK was never asked to wrap a DEK that is not the envelope's.
    assert_eq!(new.total(), 0);
    // One that fails to wrap fails it too: no envelope loses a wrap to that.
    new.script(Fault::Fails(ErrorKind::Unavailable));
    let error = mover.rewrap(&sealed, &context()).unwrap_err();
    assert_eq!(
        (error.kind(), error.is_retryable()),
        (ErrorKind::Unavailable, true)
    );
    assert!(mover.rewrap(&sealed, &context()).is_ok());
}

#[test]
fn what_fits_is_written_in_place() {
    let [kms, long] = [
        FakeKeyManager::new("kek"),
        FakeKeyManager::new(&"long".repeat(50)),
    ];
    let padded = build(builder().wrap_with(kms.clone()).padding(300));
    let sealed = padded.seal(b"x", &context()).unwrap();
    let section = *Envelope::parse(&sealed).unwrap().header();
    assert_eq!(section.wrap_section().unwrap().padding(), 300);

    let mover = build(builder().wrap_with(long.clone()).open_with(kms.clone()));
    let moved = mover.rewrap(&sealed, &context()).unwrap();
    let front = moved.in_place().unwrap();
    assert_eq!(front.len(), moved.replaces());
    let mut store = sealed.clone();
    store[..front.len()].copy_from_slice(&front);
    assert_eq!(store.len(), sealed.len());
    assert_eq!(Sealer::new(long.clone()).open(&store, &context()).unwrap(), b"x");
    // What is spliced has the sealer's own padding: none here.
    let spliced = moved.splice(&sealed).unwrap();
    let spliced = *Envelope::parse(&spliced).unwrap().header();
    assert_eq!(spliced.wrap_section().unwrap().padding(), 0);

    let tight = Sealer::new(kms.clone()).seal(b"x", &context()).unwrap();
    assert_eq!(mover.rewrap(&tight, &context()).unwrap().in_place(), None);
    // Exactly as long is long enough.
    let same = Sealer::new(kms).rewrap(&tight, &context()).unwrap();
    assert_eq!(same.in_place().as_deref(), Some(same.prefix()));
}

#[test]
fn new_wraps_are_for_one_envelope() {
    let [kms] = fakes();
    let sealer = Sealer::new(kms);
    let (one, two) = (
        sealer.seal(b"x", &context()).unwrap(),
        sealer.seal(b"x", &context()).unwrap(),
    );
    let moved = sealer.rewrap(&one, &context()).unwrap();
    assert!(moved.splice(&one).is_ok());
    assert_eq!(kind(moved.splice(&two)), ErrorKind::InvalidArgument);
    assert_eq!(kind(moved.splice(b"")), ErrorKind::InvalidArgument);
    // Not even for the same envelope with another nonce: it has changed meanwhile.
    let header = Envelope::parse(&one).unwrap().header().len();
    let mut changed = one.clone();
    changed[header - 1] ^= 1;
    assert_eq!(kind(moved.splice(&changed)), ErrorKind::InvalidArgument);
}
