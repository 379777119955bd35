//! Columns: sealed whole or not at all, opened row by row, each row as a single call would have it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use crate::support;

use support::{AAD, CHUNK, context, kek, plaintext, sealer};
use waxseal::backend::local::LocalKey;
use waxseal::{
    Aad, DataKey, EncryptionContext, Envelope, Error, ErrorKind, Kek, Sealer, Suite, blocking,
    envelope::Header, sealer::OpenedBatch, sealer::SealedBatch,
};

/// Empty, small, on the border of a chunk, and of many chunks.
fn values() -> Vec<Vec<u8>> {
    let lens = [
        0,
        1,
        100,
        5,
        CHUNK - 1,
        CHUNK,
        CHUNK + 1,
        0,
        3 * CHUNK,
        70 * CHUNK + 9,
        64,
    ];
    lens.map(plaintext)
        .into_iter()
        .chain((0..200).map(plaintext))
        .collect()
}

fn aad(row: usize) -> [u8; 8] {
    row.to_be_bytes()
}

fn seal(key: &DataKey, values: &[Vec<u8>]) -> SealedBatch {
    let mut sealed = SealedBatch::new();
    key.seal_batch(values, aad, &mut sealed).unwrap();
    sealed
}

fn kinds(opened: &OpenedBatch) -> Vec<(usize, ErrorKind)> {
    opened
        .errors()
        .iter()
        .map(|(row, error)| (*row, error.kind()))
        .collect()
}

#[test]
fn each_row_is_as_a_single_call_has_it() {
    for suite in [Suite::Aes256Gcm, Suite::ChaCha20Poly1305] {
        for stores in [false, true] {
            let mut builder = Sealer::builder().wrap_with(LocalKey::new(&kek(1))).suite(suite);
            builder = builder.chunk_size(waxseal::envelope::ChunkSize::MIN);
            builder = if stores { builder.store_context() } else { builder };
            let sealer = blocking::Sealer::from(builder.build().unwrap());
            let key = sealer.data_key(&context()).unwrap();
            let (values, sealed) = (values(), seal(&key, &values()));
            assert_eq!(sealed.len(), values.len());
            let opener = sealer
                .opener(&Header::parse(sealed.get(0).unwrap()).unwrap(), &context())
                .unwrap();
            for (row, (value, envelope)) in values.iter().zip(sealed.iter()).enumerate() {
                assert_eq!(envelope.len(), key.layout(value.len()).unwrap().envelope_len());
                assert!(sealer.open(envelope, context().with_aad(&aad(row))).unwrap() == value);
                assert!(key.open(envelope, Aad::new(&aad(row))).unwrap() == value);
                assert!(key.open(envelope, Aad::new(&aad(row + 1))).is_err());
            }
            // Singly sealed rows open in a batch, by the key and by an opener, into what is there already.
            let singly: Vec<_> = (0..values.len())
                .map(|row| key.seal(&values[row], Aad::new(&aad(row))).unwrap())
                .collect();
            let mut opened = OpenedBatch::new();
            key.open_batch(&singly, aad, &mut opened).unwrap();
            opener.open_batch(sealed.iter(), aad, &mut opened).unwrap();
            assert!(opened.errors().is_empty());
            assert_eq!(opened.len(), 2 * values.len());
            assert!(
                opened
                    .iter()
                    .map(Result::unwrap)
                    .eq(values.iter().chain(&values).map(Vec::as_slice))
            );
            assert_eq!(opened.as_bytes(), [values.concat(), values.concat()].concat());
            assert!(opened.get(2 * values.len()).is_none());
        }
    }
}

#[test]
fn one_bad_row_does_not_lose_the_others() {
    let key = sealer(Suite::Aes256Gcm).data_key(&context()).unwrap();
    let other = sealer(Suite::Aes256Gcm).data_key(&context()).unwrap();
    let (values, sealed) = (values(), seal(&key, &values()));
    let mut rows: Vec<Vec<u8>> = sealed.iter().map(<[u8]>::to_vec).collect();
    rows.push(sealed.get(2).unwrap().to_vec());
    let body = Header::parse(&rows[0]).unwrap().body_offset();
    // A bit of the text, of the tag, of the commitment, of the session id; an end; nothing; another DEK.
    let len = rows[9].len();
    rows[0][body + 70] ^= 1;
    rows[9][len - 1] ^= 1;
    rows[12][body + 30] ^= 1;
    rows[13][body + 10] ^= 1;
    rows[14].truncate(body + 70);
    rows[15] = Vec::new();
    rows[20] = other.seal(&values[20], Aad::new(&aad(20))).unwrap();
    let expected = [0, 9, 12, 13, 14, 15, 20, values.len()];
    let header = Header::parse(sealed.get(0).unwrap()).unwrap();
    let opener = sealer(Suite::Aes256Gcm).opener(&header, &context()).unwrap();
    for by_opener in [false, true] {
        let mut opened = OpenedBatch::new();
        if by_opener {
            opener.open_batch(&rows, aad, &mut opened).unwrap();
        } else {
            key.open_batch(&rows, aad, &mut opened).unwrap();
        }
        for (row, value) in values.iter().enumerate() {
            match opened.get(row).unwrap() {
                Ok(plaintext) => assert!(plaintext == value && !expected.contains(&row), "{row}"),
                Err(error) => {
                    let single = if by_opener {
                        opener.open(&rows[row], Aad::new(&aad(row)))
                    } else {
                        key.open(&rows[row], Aad::new(&aad(row)))
                    };
                    let single = single.unwrap_err();
                    assert_eq!(
                        (error.kind(), error.operation()),
                        (single.kind(), single.operation()),
                        "{row}"
                    );
                }
            }
        }
        let failed: Vec<_> = kinds(&opened).into_iter().map(|(row, _)| row).collect();
        assert_eq!(failed, expected);
        // Not a byte of a row that did not open.
        let good = |row: &usize| !expected.contains(row);
        let all: Vec<u8> = (0..values.len())
            .filter(good)
            .flat_map(|row| values[row].clone())
            .collect();
        assert!(opened.as_bytes() == all);
        assert_eq!(*opened.ends().last().unwrap(), all.len());
        assert_eq!(
            format!("{opened:?}"),
            format!("OpenedBatch {{ rows: 212, bytes: {}, errors: 8 }}", all.len())
        );
        opened.clear();
        assert!(opened.is_empty() && opened.errors().is_empty() && opened.as_bytes().is_empty());
    }
}

#[test]
fn rows_of_sessions_and_suites_in_any_order_open() {
    // One DEK, sealed with in two contexts' worth of settings and sessions: what is remembered of one row must never
    // be taken for the next.
    let values = values();
    let keys: Vec<_> = (0..3)
        .map(|_| sealer(Suite::Aes256Gcm).data_key(&context()).unwrap())
        .collect();
    let mut opened = OpenedBatch::new();
    let rows: Vec<_> = (0..60)
        .map(|row| keys[row % 3].seal(&values[row], Aad::new(&aad(row))).unwrap())
        .collect();
    for (index, key) in keys.iter().enumerate() {
        opened.clear();
        key.open_batch(&rows, aad, &mut opened).unwrap();
        for (row, result) in opened.iter().enumerate() {
            assert_eq!(result.is_ok(), row % 3 == index, "{row}");
        }
    }
    // The same wraps and head, another commitment: refused before anything is opened, and the next row opens.
    let good = keys[0].seal(b"value", Aad::new(AAD)).unwrap();
    let mut bad = good.clone();
    let commitment = Header::parse(&good).unwrap().body_offset() + 20;
    bad[commitment] ^= 1;
    let opener = sealer(Suite::Aes256Gcm)
        .opener(&Header::parse(&good).unwrap(), &context())
        .unwrap();
    opened.clear();
    opener
        .open_batch([&good, &bad, &good, &bad], |_| AAD, &mut opened)
        .unwrap();
    assert_eq!(
        kinds(&opened),
        [(1, ErrorKind::CannotOpen), (3, ErrorKind::CannotOpen)]
    );
}

#[test]
fn a_batch_is_sealed_whole_or_not_at_all() {
    let key = sealer(Suite::Aes256Gcm).data_key(&context()).unwrap();
    let mut sealed = seal(&key, &[b"before".to_vec()]);
    let before = sealed.clone();
    let (long, short) = (vec![0; 65_537], vec![0; 8]);
    let error = key
        .seal_batch(
            values(),
            |row| if row == 100 { &long } else { &short },
            &mut sealed,
        )
        .unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::OverLimit { .. }));
    assert_eq!(error.operation(), Some(waxseal::value::Operation::Seal));
    assert_eq!(sealed, before);
    // Values that are longer, shorter, more or fewer when they are looked at again.
    for (first, second) in [(10, 11), (11, 10)] {
        for rows in [&[second][..], &[first, first], &[]] {
            let twice = Twice {
                first: &[first],
                left: rows,
            };
            let error = key.seal_batch(twice, aad, &mut sealed).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{first} {rows:?}");
            assert_eq!(sealed, before);
        }
    }
    key.seal_batch([[0; 3]; 0], aad, &mut sealed).unwrap();
    assert_eq!(sealed, before);
}

/// Values of some lengths, and of others when they are gone through again: what is cloned is gone through first.
struct Twice<'a> {
    first: &'a [usize],
    left: &'a [usize],
}

impl Clone for Twice<'_> {
    fn clone(&self) -> Self {
        Self {
            first: self.first,
            left: self.first,
        }
    }
}

impl Iterator for Twice<'_> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let (len, left) = self.left.split_first()?;
        self.left = left;
        Some(vec![7; *len])
    }
}

#[test]
fn a_lease_that_is_revoked_ends_a_batch_and_leaves_what_was_there() {
    let key = sealer(Suite::Aes256Gcm).data_key(&context()).unwrap();
    let (values, sealed) = (values(), seal(&key, &values()));
    let mut opened = OpenedBatch::new();
    key.open_batch(sealed.iter().take(3), aad, &mut opened).unwrap();
    let revoking = |row| {
        if row == 50 {
            key.lease().revoke();
        }
        aad(row)
    };
    let error = key.open_batch(sealed.iter(), revoking, &mut opened).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyRevoked);
    assert!(
        opened
            .iter()
            .map(Result::unwrap)
            .eq(values[..3].iter().map(Vec::as_slice))
    );
    let mut more = SealedBatch::new();
    assert_eq!(
        key.seal_batch(&values, aad, &mut more).unwrap_err().kind(),
        ErrorKind::KeyRevoked
    );
    assert!(more.is_empty());
}

#[test]
fn a_stored_context_is_compared_in_every_row() {
    let seal = |context: &EncryptionContext, kek: &Kek| {
        let sealer = Sealer::builder()
            .wrap_with(LocalKey::new(kek))
            .store_context()
            .build()
            .unwrap();
        blocking::Sealer::from(sealer).data_key(context).unwrap()
    };
    let other = EncryptionContext::new([("tenant", "evil"), ("table", "users")]).unwrap();
    let (a, b) = (seal(&context(), &kek(1)), seal(&other, &kek(1)));
    let rows = [
        a.seal(b"a", Aad::new(AAD)).unwrap(),
        b.seal(b"b", Aad::new(AAD)).unwrap(),
        a.seal(b"c", Aad::new(AAD)).unwrap(),
    ];
    // The right row with the other's context put into it.
    let mut forged = rows[2].clone();
    let at = forged.windows(4).position(|window| window == b"acme").unwrap();
    forged[at..at + 4].copy_from_slice(b"evil");
    let mut opened = OpenedBatch::new();
    let rows = [rows.to_vec(), vec![forged]].concat();
    let expected = [(1, ErrorKind::ContextMismatch), (3, ErrorKind::ContextMismatch)];
    a.open_batch(&rows, |_| AAD, &mut opened).unwrap();
    assert_eq!(kinds(&opened), expected);
    // Without a session of its own, by what it remembers of the rows before.
    let runtime = std::sync::Arc::new(waxseal::runtime::ThreadRuntime);
    let opener = waxseal::Opener::from_lease(a.lease().clone(), &context(), runtime);
    opened.clear();
    opener.open_batch(&rows, |_| AAD, &mut opened).unwrap();
    assert_eq!(kinds(&opened), expected);
    assert_eq!(opened.get(2).unwrap().unwrap(), b"c");
    assert!(Envelope::parse(&rows[3]).is_ok());
}

// spec: ERR-4
#[test]
fn errors_of_rows_show_no_plaintext() {
    let key = sealer(Suite::Aes256Gcm).data_key(&context()).unwrap();
    let mut sealed = SealedBatch::new();
    key.seal_batch(["CANARY"], |_| b"CANARY", &mut sealed).unwrap();
    let mut opened = OpenedBatch::new();
    key.open_batch(sealed.iter(), |_| b"another", &mut opened)
        .unwrap();
    key.open_batch(sealed.iter(), |_| b"CANARY", &mut opened).unwrap();
    let error: &Error = opened.get(0).unwrap().unwrap_err();
    assert!(!format!("{sealed:?} {opened:?} {error:?} {error}").contains("CANARY"));
    assert_eq!(opened.get(1).unwrap().unwrap(), b"CANARY");
}

#[test]
fn a_batch_stops_at_the_row_at_which_its_lease_was_revoked() {
    let key = sealer(Suite::Aes256Gcm).data_key(&context()).unwrap();
    let mut sealed = SealedBatch::new();
    key.seal_batch(["one"], |_| b"", &mut sealed).unwrap();
    let before = sealed.clone();
    // Between two draws of nonces, with no draw after it.
    let revoking = |row| {
        if row == 40 {
            key.lease().revoke();
        }
        b""
    };
    let error = key.seal_batch(vec!["x"; 45], revoking, &mut sealed).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyRevoked);
    assert_eq!(sealed, before);
}

#[test]
fn a_batch_looks_at_the_clock_on_its_way() {
    use std::time::Duration;

    let runtime = waxseal::testing::SimulatedRuntime::new();
    let builder = Sealer::builder().wrap_with(LocalKey::new(&kek(1)));
    let builder = builder.data_key_age(Duration::from_secs(10));
    let sealer = builder
        .runtime(std::sync::Arc::new(runtime.clone()))
        .build()
        .unwrap();
    let sealer = blocking::Sealer::from(sealer);
    let key = sealer.data_key(&context()).unwrap();
    let mut sealed = SealedBatch::new();
    key.seal_batch(vec!["x"; 100], |_| b"", &mut sealed).unwrap();
    let header = Header::parse(sealed.get(0).unwrap()).unwrap();
    let opener = sealer.opener(&header, &context()).unwrap();
    let late = |row| {
        if row == 40 {
            runtime.advance(Duration::from_secs(10));
        }
        b""
    };
    let mut opened = OpenedBatch::new();
    let error = opener.open_batch(sealed.iter(), late, &mut opened).unwrap_err();
    assert_eq!((error.kind(), opened.len()), (ErrorKind::LeaseExpired, 0));
    let key = sealer.data_key(&context()).unwrap();
    let mut sealed = SealedBatch::new();
    let error = key.seal_batch(vec!["x"; 100], late, &mut sealed).unwrap_err();
    assert_eq!((error.kind(), sealed.len()), (ErrorKind::LeaseExpired, 0));
}
