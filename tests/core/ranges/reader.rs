//! Readers of parts.

use std::cell::Cell;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use waxseal::backend::local::LocalKey;
use waxseal::testing::SimulatedRuntime;
use waxseal::{
    Aad, EncryptionContext, Envelope, ErrorKind, Kek, Sealer, Suite, blocking, envelope::ChunkSize,
    envelope::Header, message::RangePlan,
};

use super::{LENGTHS, fetch, interesting};
use crate::support::{AAD, CHUNK, Parts, SEALED_CHUNK, context, kek, ours, plaintext, sealer};

/// Counts what is read, and gives it in pieces of any size.
struct Counting {
    inner: Cursor<Vec<u8>>,
    read: Rc<Cell<usize>>,
}

impl Counting {
    fn new(bytes: Vec<u8>) -> (Self, Rc<Cell<usize>>) {
        let read = Rc::new(Cell::new(0));
        let inner = Cursor::new(bytes);
        let counting = Self {
            inner,
            read: Rc::clone(&read),
        };
        (counting, read)
    }
}

impl Read for Counting {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let most = out.len().min(10_000);
        let got = self.inner.read(&mut out[..most])?;
        self.read.set(self.read.get() + got);
        Ok(got)
    }
}

impl Seek for Counting {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

#[test]
fn a_reader_gives_what_lies_at_every_place() {
    for suite in [Suite::Aes256Gcm, Suite::ChaCha20Poly1305] {
        let sealer = sealer(suite);
        for len in LENGTHS {
            let payload = plaintext(len);
            let sealed = sealer.seal(&payload, context().with_aad(AAD)).unwrap();
            let source = Cursor::new(sealed);
            let mut reader = sealer.range_reader(source, context().with_aad(AAD)).unwrap();
            assert_eq!((reader.len(), reader.is_empty()), (len as u64, len == 0));
            for start in interesting(len) {
                for end in interesting(len) {
                    let Some(part) = payload.get(start..end) else {
                        continue;
                    };
                    let mut out = vec![0; part.len()];
                    reader.seek(SeekFrom::Start(start as u64)).unwrap();
                    reader.read_exact(&mut out).unwrap();
                    assert!(out == part, "{start}..{end} of {len}");
                    assert_eq!(reader.stream_position().unwrap(), end as u64);
                }
            }
            reader.rewind().unwrap();
            let mut all = Vec::new();
            assert_eq!(reader.read_to_end(&mut all).unwrap(), len);
            assert!(all == payload);
        }
    }
}

#[test]
fn seeking_is_as_in_a_file() {
    let sealer = sealer(Suite::Aes256Gcm);
    let payload = plaintext(2 * CHUNK + 7);
    let sealed = sealer.seal(&payload, &context()).unwrap();
    let mut reader = sealer.range_reader(Cursor::new(sealed), &context()).unwrap();
    assert_eq!(reader.seek(SeekFrom::End(-7)).unwrap(), 2 * CHUNK as u64);
    let mut out = [0; 20];
    assert_eq!(reader.read(&mut out).unwrap(), 7);
    assert_eq!(out[..7], payload[2 * CHUNK..]);
    assert_eq!(reader.seek(SeekFrom::Current(-8)).unwrap(), 2 * CHUNK as u64 - 1);
    assert_eq!(reader.read(&mut out).unwrap(), 1);
    for behind in [
        SeekFrom::End(1),
        SeekFrom::Start(u64::MAX),
        SeekFrom::End(i64::MAX),
    ] {
        reader.seek(behind).unwrap();
        assert_eq!(reader.read(&mut out).unwrap(), 0);
    }
    let at = reader.seek(SeekFrom::Start(5)).unwrap();
    for before in [
        SeekFrom::End(-10_000),
        SeekFrom::Current(-6),
        SeekFrom::Current(i64::MIN),
    ] {
        assert_eq!(
            reader.seek(before).unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
        assert_eq!(reader.stream_position().unwrap(), at);
    }
    assert_eq!(reader.read(&mut []).unwrap(), 0);
}

/// What is read depends on the chunk size and not on the payload: 64 MiB stand for any length here, and the plans
/// below have terabytes.
#[test]
fn a_kibibyte_from_the_middle_reads_less_than_200_kib() {
    let key = Kek::from_bytes(&[1; 32]);
    let sealer = blocking::Sealer::new(LocalKey::new(&key));
    let len = 64 << 20;
    let sealed = sealer.seal(&vec![7; len], &context()).unwrap();
    let (source, read) = Counting::new(sealed);
    let mut reader = sealer.range_reader(source, &context()).unwrap();
    // Over the border of two chunks, which is the most that it takes.
    reader.seek(SeekFrom::Start(len as u64 / 2 - 512)).unwrap();
    let mut out = [0; 1024];
    reader.read_exact(&mut out).unwrap();
    assert_eq!(out, [7; 1024]);
    assert!(read.get() < 200 * 1024, "{}", read.get());
    // And again, byte by byte, nothing at all.
    let before = read.get();
    for at in (0..512).rev() {
        reader.seek(SeekFrom::Start(len as u64 / 2 + at)).unwrap();
        reader.read_exact(&mut out[..1]).unwrap();
    }
    assert_eq!(read.get(), before);
}

#[test]
fn a_reader_is_not_made_for_a_payload_of_another_length() {
    let sealer = sealer(Suite::Aes256Gcm);
    for len in [0, 5, CHUNK, 2 * CHUNK, 2 * CHUNK + 3] {
        let sealed = sealer.seal(&plaintext(len), &context()).unwrap();
        let kind = |bytes: Vec<u8>| {
            let reader = sealer.range_reader(Cursor::new(bytes), &context());
            reader.err().unwrap().kind()
        };
        let header = Envelope::parse(&sealed).unwrap().header().len();
        for end in header..sealed.len() {
            let kind = kind(sealed[..end].to_vec());
            assert!(
                matches!(
                    kind,
                    ErrorKind::CannotOpen | ErrorKind::Malformed { field: "chunks", .. }
                ),
                "{end}: {kind:?}"
            );
        }
        for more in [1, 16, 17, SEALED_CHUNK] {
            let mut longer = sealed.clone();
            longer.resize(sealed.len() + more, 0);
            let kind = kind(longer);
            assert!(
                matches!(kind, ErrorKind::CannotOpen | ErrorKind::Malformed { .. }),
                "{more}"
            );
        }
        // The front of the header, too.
        for end in 0..header {
            assert!(
                sealer
                    .range_reader(Cursor::new(&sealed[..end]), &context())
                    .is_err()
            );
        }
    }
}

#[test]
fn a_chunk_that_is_not_authentic_gives_nothing_and_hides_no_other() {
    let sealer = sealer(Suite::Aes256Gcm);
    let payload = plaintext(4 * CHUNK);
    let sealed = sealer.seal(&payload, &context()).unwrap();
    let mut altered = Parts::of(&sealed);
    altered.chunks[1][3] ^= 1;
    let mut swapped = Parts::of(&sealed);
    swapped.chunks.swap(1, 2);
    for (bytes, bad) in [(altered.join(), vec![1]), (swapped.join(), vec![1, 2])] {
        let mut reader = sealer.range_reader(Cursor::new(bytes), &context()).unwrap();
        for _ in 0..2 {
            for chunk in [0, 1, 2, 3, 1] {
                reader.seek(SeekFrom::Start((chunk * CHUNK) as u64)).unwrap();
                let mut out = vec![0; CHUNK];
                let result = reader.read_exact(&mut out);
                if bad.contains(&chunk) {
                    assert_eq!(ours(result.unwrap_err()).kind(), ErrorKind::CannotOpen);
                    assert_eq!(out, vec![0; CHUNK]);
                    assert_eq!(reader.stream_position().unwrap(), (chunk * CHUNK) as u64);
                } else {
                    result.unwrap();
                    assert!(out == payload[chunk * CHUNK..][..CHUNK]);
                }
            }
        }
    }
}

/// Fails once for each read or seek that is to fail.
struct Faulty {
    inner: Cursor<Vec<u8>>,
    fails: Rc<Cell<bool>>,
}

impl Faulty {
    fn check(&self) -> io::Result<()> {
        match self.fails.take() {
            true => Err(io::ErrorKind::ConnectionReset.into()),
            false => Ok(()),
        }
    }
}

impl Read for Faulty {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let most = out.len().min(100);
        let got = self.inner.read(&mut out[..most])?;
        self.check()?;
        Ok(got)
    }
}

impl Seek for Faulty {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

#[test]
fn a_read_that_failed_may_be_tried_again() {
    let sealer = sealer(Suite::Aes256Gcm);
    let payload = plaintext(3 * CHUNK);
    let inner = Cursor::new(sealer.seal(&payload, &context()).unwrap());
    let fails = Rc::new(Cell::new(false));
    let source = Faulty {
        inner,
        fails: Rc::clone(&fails),
    };
    let mut reader = sealer.range_reader(source, &context()).unwrap();
    let mut out = vec![0; 2 * CHUNK];
    fails.set(true);
    assert_eq!(ours(reader.read(&mut out).unwrap_err()).kind(), ErrorKind::Io);
    reader.read_exact(&mut out).unwrap();
    assert!(out == payload[..2 * CHUNK]);
}

#[test]
fn the_lease_is_asked_at_every_read() {
    let runtime = SimulatedRuntime::new();
    let builder = Sealer::builder().wrap_with(LocalKey::new(&kek(1)));
    let builder = builder
        .chunk_size(ChunkSize::MIN)
        .data_key_age(Duration::from_secs(10));
    let sealer = builder.runtime(Arc::new(runtime.clone())).build().unwrap();
    let sealer = blocking::Sealer::from(sealer);
    let key = sealer.data_key(&context()).unwrap();
    let sealed = key.seal(&plaintext(3 * CHUNK), Aad::none()).unwrap();
    let header = Header::parse(&sealed).unwrap();
    let kind = |result: io::Result<usize>| ours(result.unwrap_err()).kind();

    let mut reader = key
        .range_reader(&header, Cursor::new(&sealed), Aad::none())
        .unwrap();
    assert_eq!(reader.read(&mut [0; 9]).unwrap(), 9);
    runtime.advance(Duration::from_secs(10));
    // In a chunk that is held already, and at the end.
    assert_eq!(kind(reader.read(&mut [0; 9])), ErrorKind::LeaseExpired);
    reader.seek(SeekFrom::End(0)).unwrap();
    assert_eq!(kind(reader.read(&mut [0; 9])), ErrorKind::LeaseExpired);
    let refused = key
        .range_reader(&header, Cursor::new(&sealed), Aad::none())
        .err()
        .unwrap();
    assert_eq!(refused.kind(), ErrorKind::LeaseExpired);

    let opener = sealer.opener(&header, &context()).unwrap();
    let mut reader = opener
        .range_reader(&header, Cursor::new(&sealed), Aad::none())
        .unwrap();
    assert_eq!(reader.read(&mut [0; 9]).unwrap(), 9);
    let plan = RangePlan::new(&header, sealed.len() as u64, 0..5).unwrap();
    opener
        .open_range(&plan, &fetch(&plan, &sealed), Aad::none())
        .unwrap();
    opener.lease().revoke();
    assert_eq!(kind(reader.read(&mut [0; 9])), ErrorKind::KeyRevoked);
    let refused = opener
        .open_range(&plan, &fetch(&plan, &sealed), Aad::none())
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::KeyRevoked);
}

#[test]
fn debug_shows_no_header() {
    let builder = Sealer::builder()
        .wrap_with(LocalKey::new(&kek(1)))
        .store_context();
    let sealer = blocking::Sealer::from(builder.build().unwrap());
    let context = EncryptionContext::new([("tenant", "CANARY")]).unwrap();
    let sealed = sealer.seal(b"x", &context).unwrap();
    let header = Header::parse(&sealed).unwrap();
    let plan = RangePlan::new(&header, sealed.len() as u64, 0..1).unwrap();
    let reader = sealer.range_reader(Cursor::new(&sealed), &context).unwrap();
    let shown = format!("{plan:?} {reader:?}");
    let canary = format!("{:?}", b"CANARY").replace(['[', ']'], "");
    assert!(!shown.contains(&canary) && !shown.contains("CANARY"), "{shown}");
    let other = EncryptionContext::new([("tenant", "other")]).unwrap();
    let refused = sealer.range_reader(Cursor::new(&sealed), &other).err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::ContextMismatch);
}

/// An object whose reader panics once, behind half a chunk of somebody's choice.
struct Panicking {
    inner: Cursor<Vec<u8>>,
    reads_until: Rc<Cell<usize>>,
}

impl Read for Panicking {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = self.reads_until.get();
        self.reads_until.set(left.wrapping_sub(1));
        assert!(left != 0, "as told");
        let half = out.len().div_ceil(2);
        self.inner.read(&mut out[..half])
    }
}

impl Seek for Panicking {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

#[test]
fn what_a_reader_left_half_way_is_never_handed_out() {
    let text = plaintext(4 * CHUNK);
    let sealer = sealer(Suite::default());
    let sealed = sealer.seal(&text, context().with_aad(AAD)).unwrap();
    let reads_until = Rc::new(Cell::new(usize::MAX));
    let object = Panicking {
        inner: Cursor::new(sealed),
        reads_until: Rc::clone(&reads_until),
    };
    let mut reader = sealer.range_reader(object, context().with_aad(AAD)).unwrap();
    let mut first = vec![0; 10];
    reader.read_exact(&mut first).unwrap();
    assert_eq!(first, text[..10]);
    // In the middle of the second chunk, with its first half where the first chunk was.
    reads_until.set(1);
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        reader.seek(SeekFrom::Start(CHUNK as u64)).unwrap();
        reader.read(&mut [0; 10])
    }));
    assert!(caught.is_err());
    reads_until.set(usize::MAX);
    reader.seek(SeekFrom::Start(10)).unwrap();
    let mut again = vec![0; 10];
    reader.read_exact(&mut again).unwrap();
    assert_eq!(again, text[10..20]);
}
