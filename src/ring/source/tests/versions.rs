//! Versions of one KEK that are keys of their own.

use State::{Active, Deprecated, Pending, Retired};
use pollster::block_on;

use super::*;
use crate::testing::Method;

/// The versions that the KMS was asked to wrap with or to generate for.
fn wrapped_with(fake: &FakeKeyManager) -> Vec<String> {
    let calls = fake.calls();
    let wraps = calls
        .iter()
        .filter(|call| matches!(call.method, Method::Wrap | Method::Generate));
    wraps.map(|call| call.kek.version().to_owned()).collect()
}

fn versions(sealed: &[u8]) -> Vec<String> {
    let envelope = Envelope::parse(sealed).unwrap();
    let section = envelope.header().wrap_section().unwrap();
    section
        .stanzas()
        .map(|stanza| stanza.kek_version.to_owned())
        .collect()
}

#[test]
fn the_rings_state_decides_which_version_wraps_and_never_the_primary() {
    let bench = Bench::new();
    let (mut one, fake) = bench.active("tenant/a", "a");
    fake.rotate_now();
    let ring = bench.open();
    let sealer = uncached(&ring);
    let sealed = seal(&sealer, "a");
    assert_eq!(versions(&sealed), ["1"]);
    assert_eq!(wrapped_with(&fake), ["1"]);
    assert!(open(&sealer, &sealed, "a").is_ok());
    // Version 2 is nobody's yet: somebody who follows the primary has wrapped with it.
    let primary = seal(&Sealer::new(fake.clone()), "a");
    assert_eq!(versions(&primary), ["2"]);
    fake.forget_calls();
    assert_eq!(kind(open(&sealer, &primary, "a")), ErrorKind::NoUsableKey);
    assert_eq!(fake.total(), 0);
    // It becomes a key, and takes over.
    let mut two = bench.went(bench.key("tenant/a", &fake), &[Pending]);
    assert_eq!(two.provenance.version, "2");
    bench.put(&[&two]);
    block_on(ring.refresh()).unwrap();
    assert_eq!(versions(&seal(&sealer, "a")), ["1"]);
    assert!(open(&sealer, &primary, "a").is_ok());
    bench.promote(&mut one, &mut two);
    block_on(ring.refresh()).unwrap();
    fake.forget_calls();
    let second = seal(&sealer, "a");
    assert_eq!(
        (versions(&second), wrapped_with(&fake)),
        (vec!["2".to_owned()], vec!["2".to_owned()])
    );
    let rewrapped = block_on(sealer.rewrap(&sealed, &context("a"))).unwrap();
    assert_eq!(versions(&rewrapped.splice(&sealed).unwrap()), ["2"]);
    // Reinstated: version 1 wraps again, whatever the backend thinks.
    bench.promote(&mut two, &mut one);
    block_on(ring.refresh()).unwrap();
    assert_eq!(versions(&seal(&sealer, "a")), ["1"]);
    assert!(open(&sealer, &second, "a").is_ok());
}

#[test]
fn a_retired_version_opens_nothing_whatever_a_stanza_claims() {
    let bench = Bench::new();
    let (mut one, fake) = bench.active("tenant/a", "a");
    let ring = bench.open();
    let sealer = uncached(&ring);
    let sealed = seal(&sealer, "a");
    fake.rotate_now();
    let mut two = bench.went(bench.key("tenant/a", &fake), &[Pending]);
    bench.promote(&mut one, &mut two);
    bench.go(&mut one, Retired);
    bench.put(&[&one]);
    block_on(ring.refresh()).unwrap();
    fake.forget_calls();
    assert_eq!(kind(open(&sealer, &sealed, "a")), ErrorKind::KeyRetired);
    assert_eq!(fake.total(), 0);
    // It claims to be under version 2, or hides what it is under: the KMS proves otherwise, and nothing is released.
    for claim in ["2", ""] {
        let claimed = claiming(&sealed, claim);
        let error = open(&sealer, &claimed, "a").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::KeyRetired, "{claim}");
        assert_eq!(fake.count(Method::Unwrap), 1, "{claim}");
        let rewrapped = block_on(sealer.rewrap(&claimed, &context("a")));
        assert_eq!(kind(rewrapped), ErrorKind::KeyRetired);
        fake.forget_calls();
    }
    // A version that never was a key of the ring.
    assert_eq!(
        kind(open(&sealer, &claiming(&sealed, "7"), "a")),
        ErrorKind::NoUsableKey
    );
    assert_eq!(fake.total(), 0);
}

/// The same envelope, whose stanza names another version.
fn claiming(sealed: &[u8], version: &str) -> Vec<u8> {
    use crate::envelope::{WrapSet, WrappedDek};
    let envelope = Envelope::parse(sealed).unwrap();
    let section = envelope.header().wrap_section().unwrap();
    let stanza = section.stanzas().next().unwrap();
    let kek = KekRef::new(stanza.provider, stanza.kek_id, version).unwrap();
    let wrapped = WrappedDek::new(stanza.algorithm, kek, stanza.wrapped.to_vec()).unwrap();
    let wraps = WrapSet::of_one(wrapped).unwrap();
    let mut made = wraps.prefix(0, 0).unwrap().into_owned();
    made.extend_from_slice(&sealed[envelope.header().body_offset()..]);
    made
}

#[test]
fn retirement_of_one_version_ends_no_lease_of_another() {
    let bench = Bench::new();
    let (mut one, fake) = bench.active("tenant/a", "a");
    let ring = bench.open();
    let sealer = ring.sealer().build().unwrap();
    let old = seal(&sealer, "a");
    let old_opener = opener(&sealer, &old);
    fake.rotate_now();
    let mut two = bench.went(bench.key("tenant/a", &fake), &[Pending]);
    bench.promote(&mut one, &mut two);
    block_on(ring.refresh()).unwrap();
    let new = seal(&sealer, "a");
    let new_opener = opener(&sealer, &new);
    let handle = block_on(sealer.data_key(&context("a"))).unwrap();
    bench.go(&mut one, Retired);
    bench.put(&[&one]);
    block_on(ring.refresh()).unwrap();
    assert_eq!(kind(old_opener.open(&old, Aad::none())), ErrorKind::KeyRevoked);
    assert!(new_opener.open(&new, Aad::none()).is_ok());
    assert!(handle.seal(b"", Aad::none()).is_ok());
    // A compromise asks nobody what they claim to be.
    bench.go(&mut one, State::Compromised);
    let mut other = two.clone();
    bench.go(&mut other, Deprecated);
    bench.go(&mut other, State::Compromised);
    bench.put(&[&other]);
    block_on(ring.refresh()).unwrap();
    assert_eq!(kind(new_opener.open(&new, Aad::none())), ErrorKind::KeyRevoked);
    assert_eq!(kind(handle.seal(b"", Aad::none())), ErrorKind::KeyRevoked);
}

/// What a stanza names is a claim: what says that it is under another version may be under this one.
#[test]
fn a_retired_version_that_is_revoked_ends_what_names_any_version() {
    let bench = Bench::new();
    let (mut one, fake) = bench.active("tenant/a", "a");
    let ring = bench.open();
    let sealer = ring.sealer().build().unwrap();
    fake.rotate_now();
    let mut two = bench.went(bench.key("tenant/a", &fake), &[Pending]);
    bench.promote(&mut one, &mut two);
    bench.go(&mut one, Retired);
    bench.put(&[&one]);
    block_on(ring.refresh()).unwrap();
    let new = seal(&sealer, "a");
    let new_opener = opener(&sealer, &new);
    bench.go(&mut one, State::Compromised);
    // By the time that it is read, it is being destroyed.
    bench.go(&mut one, State::Destroying);
    bench.put(&[&one]);
    block_on(ring.refresh()).unwrap();
    assert_eq!(kind(new_opener.open(&new, Aad::none())), ErrorKind::KeyRevoked);
    // What is under the other version opens anew.
    assert!(open(&sealer, &new, "a").is_ok());
    let again = opener(&sealer, &new);
    block_on(ring.refresh()).unwrap();
    assert!(again.open(&new, Aad::none()).is_ok(), "it has ended once");
}

#[test]
fn where_versions_are_not_proven_a_key_is_all_of_them() {
    let bench = Bench::new();
    let fake = FakeKeyManager::new("a")
        .hiding_versions()
        .with_runtime(Arc::new(bench.runtime.clone()));
    bench.reach("a", &fake);
    let mut key = bench.key("tenant/a", &fake);
    key.provenance.version = String::new();
    let mut key = bench.went(key, &[Active]);
    bench.put(&[&key]);
    let ring = bench.open();
    let sealer = uncached(&ring);
    let sealed = seal(&sealer, "a");
    fake.rotate_now();
    let later = seal(&sealer, "a");
    for sealed in [&sealed, &later, &claiming(&sealed, "1")] {
        assert!(open(&sealer, sealed, "a").is_ok());
    }
    let new = bench.fake("new");
    let mut next = bench.went(bench.key("tenant/a", &new), &[Pending]);
    bench.promote(&mut key, &mut next);
    bench.go(&mut key, Retired);
    bench.put(&[&key]);
    block_on(ring.refresh()).unwrap();
    fake.forget_calls();
    for sealed in [&sealed, &later, &claiming(&sealed, "1")] {
        assert_eq!(kind(open(&sealer, sealed, "a")), ErrorKind::KeyRetired);
    }
    assert_eq!(fake.total(), 0);
}
