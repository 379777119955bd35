//! Streams under bad conditions: short reads and writes, a side that fails, a writer that is never finished.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use crate::support;

use std::io::{self, ErrorKind as IoKind, Read, Write};

use support::{AAD, CHUNK, context, ours, plaintext, sealer, stream};
use waxseal::{Aad, Envelope, ErrorKind, Suite, message::SealWriter};

/// A writer that takes `room` bytes, a few at a time, and then fails in its own way.
struct Pipe {
    taken: Vec<u8>,
    room: usize,
    fault: Fault,
    calls_after_fault: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Fault {
    Broken,
    /// Takes nothing, which is how a full disk looks to some.
    Full,
    /// Fails once and would then go on.
    Once,
    Flush,
}

impl Pipe {
    fn new(room: usize, fault: Fault) -> Self {
        Self {
            taken: Vec::new(),
            room,
            fault,
            calls_after_fault: 0,
        }
    }
}

impl Write for Pipe {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let len = data.len().min(7).min(self.room - self.taken.len());
        if len == 0 && !data.is_empty() && self.fault != Fault::Flush {
            self.calls_after_fault += 1;
            if self.fault == Fault::Once {
                self.room = usize::MAX;
            }
            return match self.fault {
                Fault::Full => Ok(0),
                _ => Err(IoKind::BrokenPipe.into()),
            };
        }
        self.taken.extend_from_slice(&data[..len]);
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.fault {
            Fault::Flush => Err(IoKind::BrokenPipe.into()),
            _ => Ok(()),
        }
    }
}

/// Gives a byte or a few at a time, is interrupted in between, and fails once at `fails_at`.
struct Source<'a> {
    bytes: &'a [u8],
    at: usize,
    fails_at: usize,
    calls: usize,
}

impl Read for Source<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.calls += 1;
        if self.calls.is_multiple_of(3) {
            return Err(IoKind::Interrupted.into());
        }
        if self.at == self.fails_at {
            self.fails_at = usize::MAX;
            return Err(IoKind::ConnectionReset.into());
        }
        let end = self
            .fails_at
            .min(self.bytes.len())
            .min(self.at + 5 + self.calls % 90);
        let len = out.len().min(end - self.at);
        out[..len].copy_from_slice(&self.bytes[self.at..self.at + len]);
        self.at += len;
        Ok(len)
    }
}

#[test]
fn a_stream_that_is_not_finished_does_not_open() {
    let sealer = sealer(Suite::Aes256Gcm);
    for len in [0, 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 5] {
        let mut sealed = Vec::new();
        let mut writer = sealer.writer(&mut sealed, context().with_aad(AAD)).unwrap();
        writer.write_all(&plaintext(len)).unwrap();
        writer.flush().unwrap();
        drop(writer);
        assert!(sealer.open(&sealed, context().with_aad(AAD)).is_err(), "{len}");
        let (released, error) = stream(&sealer, &sealed, &context(), AAD);
        assert!(error.is_some(), "{len}");
        assert!(plaintext(len).starts_with(&released));
    }
}

#[test]
fn a_finished_stream_opens_and_gives_its_writer_back_flushed() {
    let sealer = sealer(Suite::ChaCha20Poly1305);
    for len in [0, 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 5] {
        let pipe = Pipe::new(usize::MAX, Fault::Broken);
        let mut writer = sealer.writer(pipe, context().with_aad(AAD)).unwrap();
        for piece in plaintext(len).chunks(100) {
            writer.write_all(piece).unwrap();
        }
        let sealed = writer.finish().unwrap().taken;
        let parsed = Envelope::parse(&sealed).unwrap();
        assert_eq!(parsed.chunk_count(), len.div_ceil(CHUNK).max(1));
        let opened = sealer.open(&sealed, context().with_aad(AAD)).unwrap();
        assert_eq!(opened, plaintext(len));
    }
    let pipe = Pipe::new(usize::MAX, Fault::Flush);
    let error = sealer.writer(pipe, &context()).unwrap().finish().err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Io);
}

fn assert_ended(mut writer: SealWriter<&mut Pipe>, len: usize) {
    let error = ours(writer.write(b"more").unwrap_err());
    assert_eq!(error.kind(), ErrorKind::Io, "{len}");
    assert_eq!(writer.finish().err().unwrap().kind(), ErrorKind::Io, "{len}");
}

#[test]
fn a_write_that_fails_ends_the_stream_for_good() {
    let sealer = sealer(Suite::Aes256Gcm);
    let payload = plaintext(4 * CHUNK);
    for fault in [Fault::Broken, Fault::Full, Fault::Once] {
        // In the header, in the first chunk, on the border between chunks, in the third.
        for room in [0, 50, 181, 700, 181 + CHUNK + 16, 181 + 2 * (CHUNK + 16) + 3] {
            let mut pipe = Pipe::new(room, fault);
            let mut writer = sealer.writer(&mut pipe, context().with_aad(AAD)).unwrap();
            let error = ours(writer.write_all(&payload).unwrap_err());
            assert_eq!(error.kind(), ErrorKind::Io, "{room}");
            assert_ended(writer, room);
            // Nothing went out after the failure, not even where the other side had recovered.
            assert_eq!(pipe.calls_after_fault, 1, "{room}");
            assert_eq!(pipe.taken.len(), room);
            assert!(sealer.open(&pipe.taken, context().with_aad(AAD)).is_err());
        }
    }
    // The final chunk, which only finishing writes.
    let mut pipe = Pipe::new(100, Fault::Once);
    let mut writer = sealer.writer(&mut pipe, &context()).unwrap();
    writer.write_all(b"short").unwrap();
    assert_eq!(writer.finish().err().unwrap().kind(), ErrorKind::Io);
    assert_eq!(pipe.taken.len(), 100);
}

#[test]
fn a_read_that_fails_ends_the_stream_for_good() {
    let sealer = sealer(Suite::Aes256Gcm);
    let payload = plaintext(2 * CHUNK + 9);
    let sealed = sealer.seal(&payload, context().with_aad(AAD)).unwrap();
    let header = Envelope::parse(&sealed).unwrap().header().len();
    for fails_at in 0..=sealed.len() {
        let source = |fails_at| Source {
            bytes: &sealed,
            at: 0,
            fails_at,
            calls: 0,
        };
        let reader = sealer.reader(source(fails_at), context().with_aad(AAD));
        if fails_at < header {
            assert_eq!(reader.err().unwrap().kind(), ErrorKind::Io, "{fails_at}");
            continue;
        }
        let (mut reader, mut released) = (reader.unwrap(), Vec::new());
        let error = ours(reader.read_to_end(&mut released).unwrap_err());
        assert_eq!(error.kind(), ErrorKind::Io, "{fails_at}");
        // Only whole chunks that something followed.
        let chunks = (fails_at - header).saturating_sub(1) / (CHUNK + 16);
        assert_eq!(released, payload[..chunks * CHUNK], "{fails_at}");
        // The other side has recovered; the stream has not.
        for _ in 0..2 {
            let error = ours(reader.read(&mut [0; 10]).unwrap_err());
            assert_eq!(error.kind(), ErrorKind::Io, "{fails_at}");
        }
        // Interrupted and slow, but whole.
        if fails_at % 500 == 0 {
            let mut opened = Vec::new();
            let mut reader = sealer
                .reader(source(usize::MAX), context().with_aad(AAD))
                .unwrap();
            reader.read_to_end(&mut opened).unwrap();
            assert_eq!(opened, payload);
        }
    }
}

#[test]
fn a_chunk_that_is_not_authentic_ends_the_stream_for_good() {
    let sealer = sealer(Suite::Aes256Gcm);
    let payload = plaintext(3 * CHUNK);
    let mut sealed = sealer.seal(&payload, context().with_aad(AAD)).unwrap();
    let header = Envelope::parse(&sealed).unwrap().header().len();
    sealed[header + CHUNK + 16 + 5] ^= 1;
    let mut reader = sealer.reader(sealed.as_slice(), context().with_aad(AAD)).unwrap();
    let mut first = vec![0; CHUNK];
    reader.read_exact(&mut first).unwrap();
    assert_eq!(first, payload[..CHUNK]);
    for _ in 0..3 {
        let mut out = [0; 10];
        let error = ours(reader.read(&mut out).unwrap_err());
        assert_eq!(error.kind(), ErrorKind::CannotOpen);
        assert_eq!(out, [0; 10]);
    }
    // Asking for nothing is no question.
    assert_eq!(reader.read(&mut []).unwrap(), 0);
}

#[test]
fn a_lease_that_is_revoked_stops_streams_that_are_open() {
    let sealer = sealer(Suite::Aes256Gcm);
    let key = sealer.data_key(&context()).unwrap();
    let payload = plaintext(3 * CHUNK);
    let mut sealed = Vec::new();
    let mut writer = key.writer(&mut sealed, Aad::new(AAD)).unwrap();
    writer.write_all(&payload[..CHUNK + 1]).unwrap();
    key.lease().revoke();
    let error = ours(writer.write_all(&payload).unwrap_err());
    assert_eq!(error.kind(), ErrorKind::KeyRevoked);
    assert!(writer.finish().is_err());
    assert!(sealer.open(&sealed, context().with_aad(AAD)).is_err());
}
