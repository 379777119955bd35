//! Streams on several threads: the same bytes, the same order and the same errors as on one, with a bounded part of
//! them in memory.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use crate::{pools, support};

use std::io::{self, ErrorKind as IoKind, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

use pools::{Manner, on};
use support::{AAD, CHUNK, SEALED_CHUNK, context, ours, plaintext, sealer, stream};
use waxseal::{Aad, DataKey, Error, ErrorKind, Suite, envelope::Header};

/// Chunks of a unit, which is what goes to another thread.
const UNIT: usize = 256;
const LENS: [usize; 9] = [
    0,
    1,
    CHUNK,
    CHUNK + 1,
    UNIT * CHUNK - 1,
    UNIT * CHUNK,
    UNIT * CHUNK + 1,
    5 * UNIT * CHUNK,
    7 * UNIT * CHUNK + 3 * CHUNK + 5,
];
const POOLS: [(usize, Manner); 5] = [
    (1, Manner::Threads),
    (2, Manner::Shuffled),
    (9, Manner::Shuffled),
    (2, Manner::Idle),
    (0, Manner::Threads),
];

fn key() -> DataKey {
    sealer(Suite::Aes256Gcm).data_key(&context()).unwrap()
}

fn seal(key: &DataKey, payload: &[u8], piece: usize) -> Vec<u8> {
    let mut writer = key.writer(Vec::new(), Aad::new(AAD)).unwrap();
    for piece in payload.chunks(piece) {
        writer.write_all(piece).unwrap();
    }
    writer.finish().unwrap()
}

/// Opens in reads of `piece` bytes: what was released, and the error it ended with.
fn open(key: &DataKey, envelope: impl Read, header: &[u8], piece: usize) -> (Vec<u8>, Option<Error>) {
    let mut reader = key
        .reader(&Header::parse(header).unwrap(), envelope, Aad::new(AAD))
        .unwrap();
    let (mut released, mut out) = (Vec::new(), vec![0; piece]);
    loop {
        match reader.read(&mut out) {
            Ok(0) => {
                assert_eq!(reader.read(&mut out).unwrap(), 0);
                return (released, None);
            }
            Ok(taken) => released.extend_from_slice(&out[..taken]),
            Err(error) => {
                let error = ours(error);
                for _ in 0..2 {
                    assert_eq!(ours(reader.read(&mut out).unwrap_err()).kind(), error.kind());
                }
                return (released, Some(error));
            }
        }
    }
}

/// What is behind the header.
fn body(envelope: &[u8]) -> &[u8] {
    &envelope[Header::parse(envelope).unwrap().len()..]
}

#[test]
fn what_one_thread_seals_several_open_and_the_other_way_round() {
    let serial = key();
    for (threads, manner) in POOLS {
        let parallel = key().with_parallel(on(threads, manner).in_flight(300_000));
        for len in LENS {
            let payload = plaintext(len);
            for piece in [100, 5 * CHUNK, usize::MAX] {
                let sealed = seal(&parallel, &payload, piece);
                let (opened, error) = stream(&sealer(Suite::Aes256Gcm), &sealed, &context(), AAD);
                assert!(error.is_none() && opened == payload, "{manner:?} {len} {piece}");
                assert!(
                    sealer(Suite::Aes256Gcm)
                        .open(&sealed, context().with_aad(AAD))
                        .unwrap()
                        == payload
                );
                let sealed = seal(&serial, &payload, piece);
                let on_threads = serial_opener(&serial, threads, manner);
                let mut released = Vec::new();
                let header = Header::parse(&sealed).unwrap();
                let mut reader = on_threads.reader(&header, body(&sealed), Aad::new(AAD)).unwrap();
                let mut out = vec![0; piece.min(100_000)];
                while let taken @ 1.. = reader.read(&mut out).unwrap() {
                    released.extend_from_slice(&out[..taken]);
                }
                assert!(released == payload, "{manner:?} {len} {piece}");
                let (opened, error) = open(&serial, body(&sealed), &sealed, piece.min(100_000));
                assert!(error.is_none() && opened == payload, "{len} {piece}");
            }
        }
    }
}

fn serial_opener(key: &DataKey, threads: usize, manner: Manner) -> waxseal::Opener {
    let runtime = std::sync::Arc::new(waxseal::runtime::ThreadRuntime);
    waxseal::Opener::from_lease(key.lease().clone(), &context(), runtime)
        .with_parallel(on(threads, manner).in_flight(300_000))
}

#[test]
fn a_chunk_that_is_not_authentic_ends_the_stream_before_it() {
    let parallel = key().with_parallel(on(3, Manner::Shuffled).in_flight(0));
    let payload = plaintext(3 * UNIT * CHUNK + 700);
    let sealed = seal(&parallel, &payload, usize::MAX);
    let front = sealed.len() - body(&sealed).len();
    let chunks = body(&sealed).len().div_ceil(SEALED_CHUNK);
    for chunk in (0..chunks).step_by(17).chain([255, 256, 257, chunks - 1]) {
        for (at, bit) in [(0, 1), (600, 0x80), (CHUNK + 15, 4)] {
            let mut bad = sealed.clone();
            let at = (front + chunk * SEALED_CHUNK + at).min(sealed.len() - 1);
            bad[at] ^= bit;
            let (released, error) = open(&parallel, body(&bad), &bad, 50_000);
            assert_eq!(error.unwrap().kind(), ErrorKind::CannotOpen);
            assert!(released == payload[..chunk * CHUNK], "{chunk}");
        }
    }
    // Units that changed places, one that is missing, one that is there twice.
    let pieces: Vec<_> = body(&sealed).chunks(UNIT * SEALED_CHUNK).collect();
    for (order, good) in [
        (&[1, 0, 2, 3][..], 0),
        (&[0, 2, 3], 1),
        (&[0, 1, 1, 2, 3], 2),
        (&[0, 1, 2], 3),
    ] {
        let moved: Vec<u8> = order.iter().flat_map(|at| pieces[*at]).copied().collect();
        let (released, error) = open(&parallel, moved.as_slice(), &sealed, 50_000);
        assert_eq!(error.unwrap().kind(), ErrorKind::CannotOpen);
        let good = good * UNIT * CHUNK;
        // The last chunk before the end is no final chunk.
        let good = if order.len() == 3 && order[2] == 2 {
            good - CHUNK
        } else {
            good
        };
        assert!(released == payload[..good], "{order:?}");
    }
}

/// Gives `len` bytes, then fails once.
struct Fails<'a> {
    bytes: &'a [u8],
    fault: Option<IoKind>,
}

impl Read for Fails<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.bytes.is_empty() {
            return self.fault.take().map_or(Ok(0), |fault| Err(fault.into()));
        }
        let most = out.len().min(40_000);
        self.bytes.read(&mut out[..most])
    }
}

#[test]
fn a_stream_that_is_cut_off_or_fails_ends_as_on_one_thread() {
    let (serial, parallel) = (key(), key());
    let parallel = parallel.with_parallel(on(2, Manner::Shuffled).in_flight(0));
    let payload = plaintext(2 * UNIT * CHUNK + 3 * CHUNK);
    let (a, b) = (
        seal(&serial, &payload, usize::MAX),
        seal(&parallel, &payload, usize::MAX),
    );
    let len = body(&a).len();
    let border = UNIT * SEALED_CHUNK;
    let cuts = [
        0,
        1,
        15,
        16,
        17,
        SEALED_CHUNK,
        SEALED_CHUNK + 1,
        SEALED_CHUNK + 16,
        SEALED_CHUNK + 17,
        100_000,
    ];
    let cuts = cuts.into_iter().chain([
        border - 1,
        border,
        border + 1,
        border + 16,
        border + 17,
        2 * border,
        len - 1,
    ]);
    for cut in cuts {
        for fault in [None, Some(IoKind::ConnectionReset)] {
            let source = |bytes| Fails { bytes, fault };
            let (expected, error) = open(&serial, source(&body(&a)[..cut]), &a, 9_999);
            let kind = error.unwrap().kind();
            let (released, error) = open(&parallel, source(&body(&b)[..cut]), &b, 9_999);
            assert_eq!(error.unwrap().kind(), kind, "{cut} {fault:?}");
            assert!(
                released == expected,
                "{cut} {fault:?}: {} {}",
                released.len(),
                expected.len()
            );
        }
    }
    // And bytes that follow the end.
    for more in [1, 16, 17, SEALED_CHUNK] {
        let long = [body(&b), &vec![0; more]].concat();
        let (released, error) = open(&parallel, long.as_slice(), &b, 9_999);
        assert!(error.is_some() && released.len() < payload.len() && payload.starts_with(&released));
    }
}

/// Counts what is read.
struct Counting<'a, 'c>(&'a [u8], &'c std::cell::Cell<usize>);

impl Read for Counting<'_, '_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let taken = self.0.read(out)?;
        self.1.set(self.1.get() + taken);
        Ok(taken)
    }
}

#[test]
fn what_is_read_ahead_and_held_back_is_bounded() {
    let payload = plaintext(20 * UNIT * CHUNK);
    for (threads, in_flight, units) in [(1, 0, 2), (1, 800_000, 3), (3, 0, 4)] {
        let key = key().with_parallel(on(threads, Manner::Idle).in_flight(in_flight));
        let sealed = seal(&key, &payload, usize::MAX);
        let read = std::cell::Cell::new(0);
        let header = Header::parse(&sealed).unwrap();
        let mut reader = key
            .reader(&header, Counting(body(&sealed), &read), Aad::new(AAD))
            .unwrap();
        let (mut released, mut furthest) = (0, 0);
        let mut out = vec![0; CHUNK];
        loop {
            let taken = reader.read(&mut out).unwrap();
            if taken == 0 {
                break;
            }
            furthest = furthest.max(read.get().saturating_sub(released));
            released += taken;
        }
        assert_eq!(released, payload.len());
        let unit = UNIT * SEALED_CHUNK;
        assert!(furthest > unit, "{furthest}: nothing was read ahead");
        assert!(furthest <= (units + 1) * unit, "{furthest} of {}", units * unit);

        let written = std::cell::Cell::new(0);
        let mut writer = key.writer(Sink(Vec::new(), &written), Aad::new(AAD)).unwrap();
        for (at, chunk) in payload.chunks(CHUNK).enumerate() {
            writer.write_all(chunk).unwrap();
            let held = ((at + 1) * CHUNK).saturating_sub(written.get());
            assert!(held <= (units + 2) * unit, "{held}");
        }
        assert!(written.get() > 10 * unit);
        writer.flush().unwrap();
        assert!(
            written.get() > 18 * unit,
            "what was under way is written by a flush"
        );
        assert!(key.open(&writer.finish().unwrap().0, Aad::new(AAD)).unwrap() == payload);
    }
}

/// Counts what is written.
struct Sink<'c>(Vec<u8>, &'c std::cell::Cell<usize>);

impl Write for Sink<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.1.set(self.1.get() + data.len());
        self.0.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Takes so many bytes, then fails once or panics, and would go on.
struct Breaks {
    taken: Vec<u8>,
    room: usize,
    panics: bool,
}

impl Write for Breaks {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let len = data.len().min(self.room - self.taken.len());
        if len == 0 {
            self.room = usize::MAX;
            assert!(!self.panics, "broken");
            return Err(IoKind::BrokenPipe.into());
        }
        self.taken.extend_from_slice(&data[..len]);
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_write_that_fails_or_panics_ends_the_stream_for_good() {
    let payload = plaintext(12 * UNIT * CHUNK);
    for (threads, manner) in POOLS {
        let key = key().with_parallel(on(threads, manner).in_flight(0));
        for (room, panics) in [(0, false), (1000, false), (600_000, false), (600_000, true)] {
            let mut pipe = Breaks {
                taken: Vec::new(),
                room,
                panics,
            };
            let mut writer = key.writer(&mut pipe, Aad::new(AAD)).unwrap();
            let write = || writer.write_all(&payload).and_then(|()| writer.flush());
            match catch_unwind(AssertUnwindSafe(write)) {
                Ok(written) => assert_eq!(ours(written.unwrap_err()).kind(), ErrorKind::Io),
                Err(_) => assert!(panics),
            }
            let error = ours(writer.write(b"more").unwrap_err());
            assert_eq!(error.kind(), ErrorKind::Io);
            assert!(writer.flush().is_err());
            assert_eq!(writer.finish().err().unwrap().kind(), ErrorKind::Io);
            assert_eq!(pipe.taken.len(), room);
        }
    }
}

#[test]
fn a_stream_that_is_not_finished_does_not_open() {
    for (threads, manner) in POOLS {
        let key = key().with_parallel(on(threads, manner).in_flight(0));
        for len in [1, CHUNK, UNIT * CHUNK, UNIT * CHUNK + 1, 9 * UNIT * CHUNK] {
            for flushes in [false, true] {
                let mut sealed = Vec::new();
                let mut writer = key.writer(&mut sealed, Aad::new(AAD)).unwrap();
                writer.write_all(&plaintext(len)).unwrap();
                if flushes {
                    writer.flush().unwrap();
                }
                drop(writer);
                assert!(key.open(&sealed, Aad::new(AAD)).is_err(), "{manner:?} {len}");
                let (released, error) = stream(&sealer(Suite::Aes256Gcm), &sealed, &context(), AAD);
                assert!(error.is_some() && plaintext(len).starts_with(&released));
            }
        }
    }
}

#[test]
fn a_lease_that_is_revoked_stops_what_is_under_way() {
    let key = key().with_parallel(on(2, Manner::Idle).in_flight(0));
    let payload = plaintext(9 * UNIT * CHUNK);
    let sealed = seal(&key, &payload, usize::MAX);
    let header = Header::parse(&sealed).unwrap();
    let mut reader = key.reader(&header, body(&sealed), Aad::new(AAD)).unwrap();
    let mut writer = key.writer(Vec::new(), Aad::new(AAD)).unwrap();
    let mut out = vec![0; UNIT * CHUNK];
    reader.read_exact(&mut out).unwrap();
    writer.write_all(&payload[..2 * UNIT * CHUNK]).unwrap();
    key.lease().revoke();
    // Units that were read, and even opened, before that stay inside.
    assert_eq!(
        ours(reader.read_exact(&mut out).unwrap_err()).kind(),
        ErrorKind::KeyRevoked
    );
    assert_eq!(writer.finish().err().unwrap().kind(), ErrorKind::KeyRevoked);
}

#[test]
fn a_pool_that_panics_ends_the_stream_and_hangs_nobody() {
    let payload = plaintext(9 * UNIT * CHUNK);
    let sealed = seal(&key(), &payload, usize::MAX);
    let header = Header::parse(&sealed).unwrap();
    let opener = sealer(Suite::Aes256Gcm).opener(&header, &context()).unwrap();
    let opener = opener.with_parallel(on(2, Manner::Panics).in_flight(0));
    let mut reader = opener.reader(&header, body(&sealed), Aad::new(AAD)).unwrap();
    let mut out = vec![0; 1000];
    assert!(catch_unwind(AssertUnwindSafe(|| reader.read(&mut out))).is_err());
    assert_eq!(ours(reader.read(&mut out).unwrap_err()).kind(), ErrorKind::Io);
    assert!(out.iter().all(|byte| *byte == 0));
    let key = key().with_parallel(on(2, Manner::Panics).in_flight(0));
    let mut writer = key.writer(Vec::new(), Aad::new(AAD)).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| writer.write_all(&payload))).is_err());
    assert_eq!(writer.finish().err().unwrap().kind(), ErrorKind::Io);
}

#[test]
fn a_bad_chunk_read_straight_into_the_callers_buffer_leaves_nothing_there() {
    let key = key();
    let payload = vec![0x5a; 3 * CHUNK];
    let mut sealed = seal(&key, &payload, usize::MAX);
    let at = sealed.len() - body(&sealed).len() + SEALED_CHUNK + 900;
    sealed[at] ^= 1;
    let mut reader = key
        .reader(&Header::parse(&sealed).unwrap(), body(&sealed), Aad::new(AAD))
        .unwrap();
    let mut out = vec![0; 2 * CHUNK];
    assert_eq!(reader.read(&mut out).unwrap(), CHUNK);
    assert!(out[..CHUNK].iter().all(|byte| *byte == 0x5a) && out[CHUNK..].iter().all(|byte| *byte == 0));
    assert_eq!(
        ours(reader.read(&mut out).unwrap_err()).kind(),
        ErrorKind::CannotOpen
    );
    assert!(!out.contains(&0x5b) && out[..CHUNK].iter().all(|byte| *byte == 0));
}

#[cfg(feature = "rayon")]
#[test]
fn streams_inside_of_a_pool_that_they_fill_do_not_stop_one_another() {
    let pool = std::sync::Arc::new(rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap());
    let key = key().with_parallel(waxseal::message::Parallel::new(pool.clone()).in_flight(0));
    let payload = plaintext(6 * UNIT * CHUNK + 1);
    pool.scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|_| {
                let sealed = seal(&key, &payload, 100_000);
                let (opened, error) = open(&key, body(&sealed), &sealed, 100_000);
                assert!(error.is_none() && opened == payload);
            });
        }
    });
}
