//! Streams that are opened from the buffer of what they are read from, and streams as buffers themselves: the same bytes and
//! the same errors as by plain reads, whatever the sizes.

use std::io::{self, BufRead, BufReader, Read};

use waxseal::message::OpenReader;
use waxseal::{Aad, Error, ErrorKind, Suite, envelope::Header};

use crate::support::{AAD, CHUNK, Parts, SEALED_CHUNK, context, ours, plaintext, sealer};

const LENGTHS: [usize; 9] = [
    0,
    1,
    CHUNK - 1,
    CHUNK,
    CHUNK + 1,
    2 * CHUNK,
    3 * CHUNK + 5,
    8 * CHUNK,
    9 * CHUNK - 1,
];

/// What was released, and the error that it ended with.
type Ended = (Vec<u8>, Option<Error>);

fn by_reads<R: Read>(mut reader: OpenReader<R>, size: usize) -> Ended {
    let (mut released, mut buffer) = (Vec::new(), vec![0; size]);
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return (released, None),
            Ok(taken) => released.extend_from_slice(&buffer[..taken]),
            Err(error) => return (released, Some(ours(error))),
        }
    }
}

fn by_buffer<R: Read>(mut reader: OpenReader<R>, most: usize) -> Ended {
    let mut released = Vec::new();
    loop {
        match reader.fill_buf() {
            Ok([]) => return (released, None),
            Ok(ready) => {
                let taken = ready.len().min(most);
                released.extend_from_slice(&ready[..taken]);
                reader.consume(taken);
            }
            Err(error) => return (released, Some(ours(error))),
        }
    }
}

/// Reads and looks into the buffer in turns.
fn by_both<R: Read>(mut reader: OpenReader<R>) -> Ended {
    let mut released = Vec::new();
    for turn in 0.. {
        let mut buffer = vec![0; [1, CHUNK, 3 * CHUNK, 100][turn % 4]];
        let taken = if turn % 3 == 0 {
            reader.fill_buf().map(|ready| {
                let taken = ready.len().min(700);
                buffer.clear();
                buffer.extend_from_slice(&ready[..taken]);
                taken
            })
        } else {
            reader.read(&mut buffer)
        };
        match taken {
            Ok(0) => break,
            Ok(taken) => {
                released.extend_from_slice(&buffer[..taken]);
                if turn % 3 == 0 {
                    reader.consume(taken);
                }
            }
            Err(error) => return (released, Some(ours(error))),
        }
    }
    (released, None)
}

/// All ways to the end of one stream: each must end as the first.
fn every_way(sealed: &[u8], expected: &[u8], fails_with: Option<ErrorKind>, what: &str) {
    let sealer = sealer(Suite::Aes256Gcm);
    let context = context();
    let open = || sealer.reader(sealed, context.with_aad(AAD)).unwrap();
    let buffered = || sealer.buf_reader(sealed, context.with_aad(AAD)).unwrap();
    let over = |capacity| {
        let source = BufReader::with_capacity(capacity, sealed);
        sealer.buf_reader(source, context.with_aad(AAD)).unwrap()
    };
    let mut ways = vec![
        ("reads", by_reads(open(), CHUNK)),
        ("buffer", by_buffer(open(), usize::MAX)),
        ("small parts of the buffer", by_buffer(open(), 333)),
        ("both", by_both(open())),
        ("reads, from a buffer", by_reads(buffered(), CHUNK)),
        ("small reads, from a buffer", by_reads(buffered(), 100)),
        ("large reads, from a buffer", by_reads(buffered(), 10 * CHUNK)),
        ("buffer, from a buffer", by_buffer(buffered(), usize::MAX)),
        ("both, from a buffer", by_both(buffered())),
    ];
    for capacity in [
        1,
        SEALED_CHUNK - 1,
        SEALED_CHUNK,
        SEALED_CHUNK + 1,
        3 * SEALED_CHUNK + 7,
    ] {
        ways.push(("reads, from a small buffer", by_reads(over(capacity), 2 * CHUNK)));
        ways.push(("buffer, from a small buffer", by_buffer(over(capacity), 1000)));
        ways.push(("both, from a small buffer", by_both(over(capacity))));
    }
    for (way, (released, error)) in ways {
        assert!(
            released == expected,
            "{what}, {way}: {} of {}",
            released.len(),
            expected.len()
        );
        assert_eq!(
            error.as_ref().map(Error::kind),
            fails_with,
            "{what}, {way}: {error:?}"
        );
    }
}

#[test]
fn whole_streams_open_by_every_way() {
    let sealer = sealer(Suite::Aes256Gcm);
    for len in LENGTHS {
        let payload = plaintext(len);
        let sealed = sealer.seal(&payload, context().with_aad(AAD)).unwrap();
        every_way(&sealed, &payload, None, &len.to_string());
    }
}

#[test]
fn altered_and_cut_streams_end_in_the_same_error_by_every_way() {
    let sealer = sealer(Suite::Aes256Gcm);
    let payload = plaintext(4 * CHUNK);
    let sealed = sealer.seal(&payload, context().with_aad(AAD)).unwrap();
    for chunk in 0..4 {
        let mut altered = Parts::of(&sealed);
        altered.chunks[chunk][5] ^= 1;
        let expected = &payload[..chunk * CHUNK];
        every_way(
            &altered.join(),
            expected,
            Some(ErrorKind::CannotOpen),
            &format!("chunk {chunk}"),
        );
        let mut cut = Parts::of(&sealed);
        cut.chunks.truncate(chunk);
        let end = cut.join();
        if chunk > 0 {
            let expected = &payload[..(chunk - 1) * CHUNK];
            every_way(
                &end,
                expected,
                Some(ErrorKind::CannotOpen),
                &format!("cut at {chunk}"),
            );
        }
    }
    // Bytes after the final chunk.
    let longer = [&sealed[..], &[0; 16]].concat();
    let all = &payload[..4 * CHUNK];
    let sealer_ends = sealer.buf_reader(longer.as_slice(), context().with_aad(AAD));
    let (released, error) = by_reads(sealer_ends.unwrap(), CHUNK);
    assert!(all.starts_with(&released) && released.len() < all.len());
    assert!(error.is_some());
}

/// A reader with a buffer that fails, is interrupted, and panics at a place of ours.
struct Faulty<'a> {
    rest: &'a [u8],
    interrupted: bool,
    fails_below: usize,
}

impl Read for Faulty<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let ready = self.fill_buf()?;
        let taken = ready.len().min(out.len());
        out[..taken].copy_from_slice(&ready[..taken]);
        self.consume(taken);
        Ok(taken)
    }
}

impl BufRead for Faulty<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.interrupted = !self.interrupted;
        if self.interrupted {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if self.rest.len() < self.fails_below {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(self.rest)
    }

    fn consume(&mut self, amount: usize) {
        self.rest = &self.rest[amount..];
    }
}

#[test]
fn a_buffer_that_is_interrupted_is_asked_again_and_one_that_fails_ends_the_stream() {
    let sealer = sealer(Suite::Aes256Gcm);
    let payload = plaintext(6 * CHUNK);
    let sealed = sealer.seal(&payload, context().with_aad(AAD)).unwrap();
    let key = sealer
        .opener(&Header::parse(&sealed).unwrap(), &context())
        .unwrap();
    let header = Header::parse(&sealed).unwrap();
    for fails_below in [0, SEALED_CHUNK, 3 * SEALED_CHUNK + 1] {
        let source = || Faulty {
            rest: &sealed[header.len()..],
            interrupted: false,
            fails_below,
        };
        let open = || key.buf_reader(&header, source(), Aad::new(AAD)).unwrap();
        for (released, error) in [by_reads(open(), CHUNK), by_buffer(open(), 500)] {
            assert!(payload.starts_with(&released), "{fails_below}");
            match fails_below {
                0 => assert!(error.is_none() && released.len() == payload.len()),
                _ => {
                    assert_eq!(error.unwrap().kind(), ErrorKind::Io, "{fails_below}");
                    assert!(released.len() < payload.len());
                }
            }
        }
    }
}

#[test]
fn revocation_reaches_a_buffered_stream_at_the_next_chunk() {
    let sealer = sealer(Suite::Aes256Gcm);
    let key = sealer.data_key(&context()).unwrap();
    let sealed = key.seal(&plaintext(4 * CHUNK), Aad::none()).unwrap();
    let header = Header::parse(&sealed).unwrap();
    let mut reader = key
        .buf_reader(&header, &sealed[header.len()..], Aad::none())
        .unwrap();
    assert_eq!(reader.fill_buf().unwrap().len(), CHUNK);
    key.lease().revoke();
    reader.consume(CHUNK);
    assert_eq!(ours(reader.fill_buf().unwrap_err()).kind(), ErrorKind::KeyRevoked);
}
