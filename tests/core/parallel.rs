//! Large payloads on several threads: what one thread seals several open, and the other way round; one bad bit
//! fails the whole; a pool that misbehaves neither hangs nor releases anything.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use crate::{pools, support};

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use pools::{Manner, TestPool, on};
use support::{AAD, CHUNK, SEALED_CHUNK, context, kek, plaintext, sealer, stream};
use waxseal::backend::local::LocalKey;
use waxseal::{
    Aad, DataKey, Envelope, ErrorKind, Opener, Sealer, Suite, blocking, envelope::ChunkSize,
    envelope::Header, message::Parallel,
};

/// More than a piece, which is 64 KiB, in chunks of 1 KiB; and on every border.
const LENS: [usize; 11] = [
    0,
    1,
    CHUNK,
    CHUNK + 1,
    64 * CHUNK,
    64 * CHUNK + 1,
    65 * CHUNK,
    128 * CHUNK,
    200 * CHUNK - 1,
    200 * CHUNK,
    517 * CHUNK + 9,
];

fn key(suite: Suite) -> DataKey {
    sealer(suite).data_key(&context()).unwrap()
}

fn opener(key: &DataKey, envelope: &[u8]) -> Opener {
    let header = Header::parse(envelope).unwrap();
    let sealer = sealer(Suite::Aes256Gcm);
    assert!(key.lease().may_seal());
    sealer.opener(&header, &context()).unwrap()
}

/// Each way to seal.
fn seal_all_ways(key: &DataKey, payload: &[u8]) -> [Vec<u8>; 4] {
    let mut into = b"before".to_vec();
    key.seal_into(payload, Aad::new(AAD), &mut into).unwrap();
    assert!(into.starts_with(b"before"));
    let layout = key.layout(payload.len()).unwrap();
    let mut in_place = vec![0xee; layout.envelope_len()];
    for (range, chunk) in layout.plaintext_ranges().zip(payload.chunks(CHUNK)) {
        in_place[range].copy_from_slice(chunk);
    }
    key.seal_in_place(&mut in_place, layout, Aad::new(AAD)).unwrap();
    let mut slice = vec![0xee; layout.envelope_len()];
    key.seal_to_slice(payload, Aad::new(AAD), &mut slice).unwrap();
    [
        key.seal(payload, Aad::new(AAD)).unwrap(),
        into.split_off(6),
        in_place,
        slice,
    ]
}

fn assert_opens_all_ways(key: &DataKey, opener: &Opener, envelope: &[u8], payload: &[u8]) {
    let mut into = b"before".to_vec();
    key.open_into(envelope, Aad::new(AAD), &mut into).unwrap();
    assert!(into.strip_prefix(b"before").unwrap() == payload);
    assert!(key.open(envelope, Aad::new(AAD)).unwrap() == payload);
    assert!(opener.open(envelope, Aad::new(AAD)).unwrap() == payload);
    let mut slice = vec![0xee; payload.len() + 3];
    assert_eq!(
        key.open_to_slice(envelope, Aad::new(AAD), &mut slice).unwrap(),
        payload.len()
    );
    assert!(slice.strip_prefix(payload).unwrap() == [0xee; 3]);
    for in_place in [
        key.open_in_place(&mut envelope.to_vec(), Aad::new(AAD)).unwrap(),
        opener
            .open_in_place(&mut envelope.to_vec(), Aad::new(AAD))
            .unwrap(),
    ] {
        assert!(in_place.into_contiguous() == payload);
    }
}

#[test]
fn what_one_thread_seals_several_open_and_the_other_way_round() {
    for suite in [Suite::Aes256Gcm, Suite::ChaCha20Poly1305] {
        let serial = key(suite);
        for (threads, manner) in [
            (1, Manner::Threads),
            (3, Manner::Shuffled),
            (16, Manner::Shuffled),
            (2, Manner::Idle),
        ] {
            let parallel = key(suite).with_parallel(on(threads, manner));
            for len in LENS {
                let payload = plaintext(len);
                for envelope in seal_all_ways(&parallel, &payload) {
                    let parsed = Envelope::parse(&envelope).unwrap();
                    assert_eq!(parsed.chunk_count(), len.div_ceil(CHUNK).max(1));
                    let alone = opener(&parallel, &envelope);
                    assert!(
                        alone.open(&envelope, Aad::new(AAD)).unwrap() == payload,
                        "{threads} {len}"
                    );
                    let (streamed, error) = stream(&sealer(suite), &envelope, &context(), AAD);
                    assert!(error.is_none() && streamed == payload);
                    let shared = alone.with_parallel(on(threads, manner));
                    assert_opens_all_ways(&parallel, &shared, &envelope, &payload);
                }
                for envelope in seal_all_ways(&serial, &payload) {
                    let shared = opener(&serial, &envelope).with_parallel(on(threads, manner));
                    assert_opens_all_ways(&serial, &shared, &envelope, &payload);
                }
            }
        }
    }
}

#[test]
fn a_sealer_hands_its_setting_on() {
    let pool = TestPool::new(2, Manner::Threads);
    let parallel = Parallel::new(pool.clone()).above(2 * CHUNK);
    let sealer = Sealer::builder()
        .wrap_with(LocalKey::new(&kek(1)))
        .chunk_size(ChunkSize::MIN)
        .parallel(parallel)
        .build()
        .unwrap();
    let sealer = blocking::Sealer::from(sealer);
    let calls = || pool.calls.swap(0, Ordering::SeqCst);
    let payload = plaintext(500 * CHUNK);
    let sealed = sealer.seal(&payload, context().with_aad(AAD)).unwrap();
    assert_eq!(calls(), 2);
    assert!(sealer.open(&sealed, context().with_aad(AAD)).unwrap() == payload);
    assert_eq!(calls(), 2);
    let key = sealer.data_key(&context()).unwrap();
    let sealed = key.seal(&payload, Aad::new(AAD)).unwrap();
    assert_eq!(calls(), 2);
    let opener = sealer
        .opener(&Header::parse(&sealed).unwrap(), &context())
        .unwrap();
    assert!(opener.open(&sealed, Aad::new(AAD)).unwrap() == payload);
    assert_eq!(calls(), 2);
    // Up to the threshold, within one piece, and where it was taken back, nobody helps.
    key.seal(&payload[..2 * CHUNK], Aad::new(AAD)).unwrap();
    key.seal(&payload[..64 * CHUNK], Aad::new(AAD)).unwrap();
    key.with_parallel(None).seal(&payload, Aad::new(AAD)).unwrap();
    opener.with_parallel(None).open(&sealed, Aad::new(AAD)).unwrap();
    assert_eq!(calls(), 0);
}

// spec: BODY-9
#[test]
fn one_bad_bit_anywhere_fails_the_whole_and_releases_nothing() {
    let serial = key(Suite::Aes256Gcm);
    let payload = vec![0x5a; 130 * CHUNK + 7];
    let sealed = serial.seal(&payload, Aad::new(AAD)).unwrap();
    let header = Header::parse(&sealed).unwrap().len();
    let chunks = (sealed.len() - header).div_ceil(SEALED_CHUNK);
    let parallel = opener(&serial, &sealed).with_parallel(on(3, Manner::Threads));
    // Body or tag of every chunk.
    for chunk in 0..chunks {
        let at = if chunk % 2 == 0 {
            CHUNK + chunk % 16
        } else {
            chunk * 31 % CHUNK
        };
        let mut bad = sealed.clone();
        let at = (header + chunk * SEALED_CHUNK + at).min(sealed.len() - 1 - chunk % 16);
        bad[at] ^= 1 << (chunk % 8);
        let mut out = b"before".to_vec();
        let error = parallel.open_into(&bad, Aad::new(AAD), &mut out).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CannotOpen, "{chunk}");
        assert_eq!(out, b"before");
        let mut slice = vec![0x5a; payload.len() + 1];
        let error = parallel
            .open_to_slice(&bad, Aad::new(AAD), &mut slice)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CannotOpen, "{chunk}");
        assert!(slice[..payload.len()].iter().all(|byte| *byte == 0), "{chunk}");
        let error = parallel.open_in_place(&mut bad, Aad::new(AAD)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CannotOpen, "{chunk}");
        assert!(bad[header..].iter().all(|byte| *byte == 0), "{chunk}");
    }
    // Two chunks that have changed places, a chunk that is missing, and one that is there twice.
    let (front, body) = sealed.split_at(header);
    let pieces: Vec<_> = body.chunks(SEALED_CHUNK).collect();
    for order in [
        [&[1, 0][..], &(2..chunks).collect::<Vec<_>>()].concat(),
        (1..chunks).collect(),
        (0..chunks - 1).collect(),
        [&[0][..], &(0..chunks).collect::<Vec<_>>()].concat(),
    ] {
        let mut moved = front.to_vec();
        moved.extend(order.iter().flat_map(|at| pieces[*at]));
        assert_eq!(
            parallel.open(&moved, Aad::new(AAD)).unwrap_err().kind(),
            ErrorKind::CannotOpen
        );
    }
    assert_eq!(
        parallel.open(&sealed, Aad::new("row 8")).unwrap_err().kind(),
        ErrorKind::CannotOpen
    );
    assert!(parallel.open(&sealed, Aad::new(AAD)).unwrap() == payload);
}

#[test]
fn a_pool_that_panics_leaves_no_plaintext() {
    let serial = key(Suite::Aes256Gcm);
    let payload = vec![0x5a; 200 * CHUNK];
    let mut sealed = serial.seal(&payload, Aad::new(AAD)).unwrap();
    let header = Header::parse(&sealed).unwrap().len();
    let parallel = opener(&serial, &sealed).with_parallel(on(2, Manner::Panics));
    let mut out = Vec::with_capacity(payload.len());
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        parallel.open_into(&sealed, Aad::new(AAD), &mut out)
    }));
    assert!(panicked.is_err());
    assert!(out.iter().all(|byte| *byte == 0));
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        parallel.open_in_place(&mut sealed, Aad::new(AAD)).map(drop)
    }));
    assert!(panicked.is_err());
    assert!(sealed[header..].iter().all(|byte| *byte == 0));
}

#[test]
fn slices_of_another_length_are_refused_and_left_alone() {
    let key = key(Suite::Aes256Gcm);
    let payload = plaintext(3 * CHUNK);
    let len = key.layout(payload.len()).unwrap().envelope_len();
    for wrong in [0, len - 1, len + 1] {
        let mut out = vec![0xee; wrong];
        let error = key.seal_to_slice(&payload, Aad::new(AAD), &mut out).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert_eq!(out, vec![0xee; wrong]);
    }
    let sealed = key.seal(&payload, Aad::new(AAD)).unwrap();
    let mut out = vec![0xee; payload.len() - 1];
    let error = key.open_to_slice(&sealed, Aad::new(AAD), &mut out).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert_eq!(out, vec![0xee; payload.len() - 1]);
}

#[test]
fn many_callers_share_a_pool() {
    let parallel = Arc::new(key(Suite::Aes256Gcm).with_parallel(on(3, Manner::Shuffled)));
    let callers: Vec<_> = (0..8_usize)
        .map(|caller| {
            let key = Arc::clone(&parallel);
            std::thread::spawn(move || {
                for round in 0..5 {
                    let payload = plaintext(100 * CHUNK + 1000 * caller + round);
                    let sealed = key.seal(&payload, Aad::new(AAD)).unwrap();
                    assert!(key.open(&sealed, Aad::new(AAD)).unwrap() == payload);
                }
            })
        })
        .collect();
    for caller in callers {
        caller.join().unwrap();
    }
}

#[cfg(feature = "rayon")]
#[test]
fn rayon_lends_its_threads_to_those_outside_and_inside_of_it() {
    for bad in [0, 1, 1025] {
        assert_eq!(
            Parallel::rayon(bad).unwrap_err().kind(),
            ErrorKind::InvalidArgument
        );
    }
    let payload = plaintext(700 * CHUNK);
    let own = key(Suite::Aes256Gcm).with_parallel(Parallel::rayon(3).unwrap().above(0));
    let sealed = own.seal(&payload, Aad::new(AAD)).unwrap();
    assert!(own.open(&sealed, Aad::new(AAD)).unwrap() == payload);
    let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap());
    let shared = key(Suite::Aes256Gcm).with_parallel(Parallel::new(pool.clone()).above(0));
    // As many callers as threads, all of them in the pool.
    pool.scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|_| {
                let sealed = shared.seal(&payload, Aad::new(AAD)).unwrap();
                assert!(shared.open(&sealed, Aad::new(AAD)).unwrap() == payload);
            });
        }
    });
}
