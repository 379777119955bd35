//! The paths that promise to allocate nothing, or once, do.
#![allow(clippy::unwrap_used, missing_docs)]

use allocation_counter::measure;
use waxseal::backend::local::LocalKey;
use waxseal::{
    Aad, DataKey, EncryptionContext, Envelope, Kek, blocking::Sealer, sealer::OpenedBatch,
    sealer::SealedBatch,
};

fn data_key() -> DataKey {
    let sealer = Sealer::new(LocalKey::new(&Kek::generate().unwrap()));
    sealer
        .data_key(&EncryptionContext::new([("tenant", "acme")]).unwrap())
        .unwrap()
}

/// What happens once in a thread: its buffer of randomness.
fn warm_up(key: &DataKey) {
    key.open(&key.seal(b"warm", Aad::none()).unwrap(), Aad::none())
        .unwrap();
}

const LENS: [usize; 4] = [0, 100, 65_536, 65_537];

#[test]
fn sealing_into_a_buffer_with_room_allocates_nothing() {
    let key = data_key();
    warm_up(&key);
    for len in LENS {
        let plaintext = vec![7; len];
        let mut out = Vec::with_capacity(key.layout(len).unwrap().envelope_len());
        let counted = measure(|| key.seal_into(&plaintext, Aad::new("row 7"), &mut out).unwrap());
        // A message of several chunks has a key of its own, which the AEAD library allocates.
        let own_keys = u64::from(len > 65_536);
        assert!(
            counted.count_total <= own_keys * 2,
            "{len}: {}",
            counted.count_total
        );
    }
}

#[test]
fn sealing_to_a_new_vector_allocates_once() {
    let key = data_key();
    warm_up(&key);
    let counted = measure(|| drop(key.seal(&[7; 100], Aad::new("row 7")).unwrap()));
    assert_eq!(counted.count_total, 1);
}

#[test]
fn opening_into_a_buffer_with_room_allocates_nothing() {
    let key = data_key();
    warm_up(&key);
    let sealed = key.seal(&[7; 100], Aad::new("row 7")).unwrap();
    let mut out = Vec::with_capacity(100);
    let counted = measure(|| key.open_into(&sealed, Aad::new("row 7"), &mut out).unwrap());
    assert_eq!(counted.count_total, 0);
}

#[test]
fn in_place_allocates_nothing() {
    let key = data_key();
    warm_up(&key);
    let layout = key.layout(60_000).unwrap();
    let mut buffer = vec![7; layout.envelope_len()];
    let counted = measure(|| key.seal_in_place(&mut buffer, layout, Aad::new("row 7")).unwrap());
    assert_eq!(counted.count_total, 0);
    // Opening derives the session's key the first time, and keeps it.
    let mut again = buffer.clone();
    key.open_in_place(&mut buffer, Aad::new("row 7")).unwrap();
    let counted = measure(|| {
        assert_eq!(
            key.open_in_place(&mut again, Aad::new("row 7")).unwrap().len(),
            60_000
        );
    });
    assert_eq!(counted.count_total, 0);
}

/// Nothing grows with the payload but the one buffer of the result.
#[test]
fn one_off_paths_allocate_a_few_times_whatever_the_payload() {
    let sealer = Sealer::new(LocalKey::new(&Kek::generate().unwrap()));
    let context = EncryptionContext::new([("tenant", "acme")]).unwrap();
    let warm = sealer.seal(b"warm", &context).unwrap();
    sealer.rewrap(&warm, &context).unwrap();
    for len in [0, 100, 60_000] {
        let plaintext = vec![7; len];
        let mut sealed = Vec::new();
        let seal = measure(|| sealed = sealer.seal(&plaintext, context.with_aad(b"row 7")).unwrap());
        // DEK, wrap, lease, wraps, session, envelope; a large envelope is apart from its front.
        let most = if len > 16_384 { 7 } else { 6 };
        assert!(seal.count_total <= most, "seal {len}: {}", seal.count_total);
        let open = measure(|| drop(sealer.open(&sealed, context.with_aad(b"row 7")).unwrap()));
        // Two of them are the list of who may open which wrap, and the lease's list of all KEKs that the envelope names.
        assert!(open.count_total <= 14, "open {len}: {}", open.count_total);
        let rewrap = measure(|| drop(sealer.rewrap(&sealed, &context).unwrap()));
        // Most of them are names of KEKs: which wrapped, which is kept, which is said to have been replaced.
        assert!(rewrap.count_total <= 32, "rewrap {len}: {}", rewrap.count_total);
        assert!(
            rewrap.bytes_max < 4096,
            "rewrap {len}: {} bytes",
            rewrap.bytes_max
        );
    }
}

#[test]
fn a_batch_allocates_for_all_of_its_rows_at_once() {
    let key = data_key();
    warm_up(&key);
    let values = [[7; 100]; 1000];
    let (mut sealed, mut opened) = (SealedBatch::new(), OpenedBatch::new());
    let aad = |row: usize| row.to_be_bytes();
    // Bytes and ends.
    let counted = measure(|| key.seal_batch(values, aad, &mut sealed).unwrap());
    assert_eq!(counted.count_total, 2);
    let counted = measure(|| key.open_batch(sealed.iter(), aad, &mut opened).unwrap());
    assert_eq!(counted.count_total, 2);
    opened.clear();
    let counted = measure(|| key.open_batch(sealed.iter(), aad, &mut opened).unwrap());
    assert_eq!(counted.count_total, 0);
    sealed.clear();
    let counted = measure(|| key.seal_batch(values, aad, &mut sealed).unwrap());
    assert_eq!(counted.count_total, 0);
}

#[test]
fn slices_allocate_nothing() {
    let key = data_key();
    warm_up(&key);
    let plaintext = [7; 60_000];
    let mut sealed = vec![0; key.layout(plaintext.len()).unwrap().envelope_len()];
    let counted = measure(|| {
        key.seal_to_slice(&plaintext, Aad::new("row 7"), &mut sealed)
            .unwrap();
    });
    assert_eq!(counted.count_total, 0);
    let mut opened = vec![0; plaintext.len()];
    key.open_to_slice(&sealed, Aad::new("row 7"), &mut opened)
        .unwrap();
    let counted = measure(|| {
        assert_eq!(
            key.open_to_slice(&sealed, Aad::new("row 7"), &mut opened)
                .unwrap(),
            60_000
        );
    });
    assert_eq!(counted.count_total, 0);
    assert_eq!(opened, plaintext);
}

#[test]
fn parsing_allocates_nothing() {
    let sealed = data_key().seal(&[7; 100], Aad::none()).unwrap();
    let counted = measure(|| {
        let envelope = Envelope::parse(&sealed).unwrap();
        let section = envelope.header().wrap_section().unwrap();
        assert_eq!(section.stanzas().count(), 1);
        assert_eq!(envelope.plaintext_len(), 100);
    });
    assert_eq!(counted.count_total, 0);
}
