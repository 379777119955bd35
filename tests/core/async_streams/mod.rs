//! Asynchronous streams against the synchronous ones, under bad conditions: one byte at a time, pending in between,
//! given up at every place, cut off at every byte, and a side that fails. Once for each family of traits.
#![cfg(any(feature = "futures-io", feature = "tokio"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod slow;
use crate::support;

use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use slow::Slow;
use support::{AAD, CHUNK, SEALED_CHUNK, context, ours, plaintext, sealer};
use waxseal::{Aad, Envelope, ErrorKind, Suite, blocking, envelope::Header};

const LENGTHS: [usize; 8] = [
    0,
    1,
    CHUNK - 1,
    CHUNK,
    CHUNK + 1,
    2 * CHUNK,
    2 * CHUNK + 1,
    3 * CHUNK + 5,
];

fn sync_opens(sealer: &blocking::Sealer, sealed: &[u8], expected: &[u8]) {
    let opened = sealer.open(sealed, context().with_aad(AAD)).unwrap();
    assert!(opened == expected, "{}", expected.len());
}

macro_rules! family {
    ($family:ident, $feature:literal, $write:path, $read:path, $close:ident, $reader:ident, $header:ident,
     $can_lie:literal, $poll_read:expr) => {
        #[cfg(feature = $feature)]
        mod $family {
            use std::future::poll_fn;
            use std::sync::Arc;

            use pollster::block_on;
            use waxseal::envelope::HeaderBuf;
            use waxseal::{message::AsyncOpenReader, message::AsyncSealWriter, source::DekLease};
            use $read as AsyncRead;
            use $write as AsyncWrite;

            use super::*;

            impl AsyncWrite for Slow {
                fn poll_write(
                    self: Pin<&mut Self>,
                    cx: &mut Context<'_>,
                    data: &[u8],
                ) -> Poll<io::Result<usize>> {
                    self.get_mut().take(cx, data)
                }

                fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                    self.get_mut().flushed(cx)
                }

                fn $close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                    self.get_mut().closed(cx)
                }
            }

            /// Reads through the trait, into bytes.
            fn poll_read<R: AsyncRead + Unpin>(
                reader: &mut R,
                cx: &mut Context<'_>,
                out: &mut [u8],
            ) -> Poll<io::Result<usize>> {
                $poll_read(Pin::new(reader), cx, out)
            }

            type Writer = AsyncSealWriter<Slow>;

            /// Whether a reader can count more bytes than it was given room for. One of tokio cannot.
            const CAN_LIE: bool = $can_lie;

            async fn write_all(writer: &mut Writer, mut data: &[u8]) -> io::Result<()> {
                while !data.is_empty() {
                    let taken =
                        poll_fn(|cx| AsyncWrite::poll_write(Pin::new(&mut *writer), cx, data)).await?;
                    assert!(taken > 0 && taken <= data.len());
                    data = &data[taken..];
                }
                Ok(())
            }

            async fn flush(writer: &mut Writer) -> io::Result<()> {
                poll_fn(|cx| AsyncWrite::poll_flush(Pin::new(&mut *writer), cx)).await
            }

            async fn close(writer: &mut Writer) -> io::Result<()> {
                poll_fn(|cx| AsyncWrite::$close(Pin::new(&mut *writer), cx)).await
            }

            fn read_all(reader: &mut AsyncOpenReader<Slow>) -> (Vec<u8>, io::Result<()>) {
                let mut all = Vec::new();
                let mut out = [0; 333];
                let result = block_on(async {
                    loop {
                        let got = poll_fn(|cx| poll_read(reader, cx, &mut out)).await?;
                        all.extend_from_slice(&out[..got]);
                        if got == 0 {
                            return Ok(());
                        }
                    }
                });
                (all, result)
            }

            fn writer(sealer: &blocking::Sealer, sink: Slow) -> (Writer, Arc<DekLease>) {
                let key = sealer.data_key(&context()).unwrap();
                (
                    key.async_writer(sink, Aad::new(AAD)).unwrap(),
                    Arc::clone(key.lease()),
                )
            }

            fn reader(sealer: &blocking::Sealer, sealed: &[u8], source: Slow) -> AsyncOpenReader<Slow> {
                let header = Header::parse(sealed).unwrap();
                let opener = sealer.opener(&header, &context()).unwrap();
                opener.async_reader(&header, source, Aad::new(AAD)).unwrap()
            }

            /// A source of the chunks of an envelope.
            fn chunks(sealed: &[u8], step: usize) -> Slow {
                Slow::source(&sealed[Header::parse(sealed).unwrap().len()..], step)
            }

            #[test]
            fn both_ways_against_the_synchronous_streams() {
                for suite in [Suite::Aes256Gcm, Suite::ChaCha20Poly1305] {
                    let sealer = sealer(suite);
                    for len in LENGTHS {
                        let payload = plaintext(len);
                        for step in [1, 700, usize::MAX] {
                            for piece in [1, 100, usize::MAX] {
                                let (mut writer, _) = writer(&sealer, Slow::new(step));
                                block_on(async {
                                    for piece in payload.chunks(piece) {
                                        write_all(&mut writer, piece).await.unwrap();
                                    }
                                    close(&mut writer).await.unwrap();
                                });
                                let sink = writer.into_inner().unwrap();
                                assert_eq!((sink.flushes, sink.closes), (0, 1));
                                sync_opens(&sealer, &sink.bytes, &payload);
                            }
                            let mut sync = sealer.writer(Vec::new(), context().with_aad(AAD)).unwrap();
                            sync.write_all(&payload).unwrap();
                            let sealed = sync.finish().unwrap();
                            let mut reader = reader(&sealer, &sealed, chunks(&sealed, step));
                            let (opened, result) = read_all(&mut reader);
                            result.unwrap();
                            assert!(opened == payload, "{len}");
                            // The end stays the end.
                            let (more, result) = read_all(&mut reader);
                            assert!(more.is_empty() && result.is_ok());
                        }
                    }
                }
            }

            #[test]
            fn through_a_sealer() {
                let blocking = sealer(Suite::Aes256Gcm);
                let builder = waxseal::Sealer::builder()
                    .wrap_with(waxseal::backend::local::LocalKey::new(&support::kek(1)))
                    .chunk_size(waxseal::envelope::ChunkSize::MIN);
                let sealer = builder.build().unwrap();
                let payload = plaintext(3 * CHUNK);
                let sealed = block_on(async {
                    let binding = context();
                    let binding = binding.with_aad(AAD);
                    let mut writer = sealer.async_writer(Slow::new(5), binding).await.unwrap();
                    write_all(&mut writer, &payload).await.unwrap();
                    close(&mut writer).await.unwrap();
                    writer.into_inner().unwrap().bytes
                });
                sync_opens(&blocking, &sealed, &payload);
                let open = |source| block_on(sealer.$reader(source, context().with_aad(AAD)));
                let (opened, result) = read_all(&mut open(Slow::source(&sealed, 3)).unwrap());
                result.unwrap();
                assert!(opened == payload);
                let header = Header::parse(&sealed).unwrap().len();
                for end in 0..header {
                    let error = open(Slow::source(&sealed[..end], 3)).err().unwrap();
                    assert!(
                        matches!(error.kind(), ErrorKind::Malformed { .. }),
                        "{end}: {error}"
                    );
                    let error = open(Slow::source(&sealed, 3).failing(end)).err().unwrap();
                    assert_eq!(error.kind(), ErrorKind::Io);
                }
                let lying = Slow {
                    lies: true,
                    ..Slow::source(&sealed, 3)
                };
                let kind = open(lying).err().unwrap().kind();
                assert!(kind == ErrorKind::Io || !CAN_LIE, "{kind:?}");
                // Not a byte of the chunks is read with the header.
                let mut source = Slow::source(&sealed, usize::MAX);
                let read = block_on(HeaderBuf::$header(&mut source)).unwrap();
                assert_eq!((read.as_bytes().len(), source.at), (header, header));
            }

            /// Every way to give up a write: after each number of polls, whatever was taken is closed, and opens.
            #[test]
            fn what_was_taken_before_a_write_was_given_up_opens() {
                let sealer = sealer(Suite::Aes256Gcm);
                let payload = plaintext(2 * CHUNK + 40);
                let cx = &mut Context::from_waker(Waker::noop());
                let mut borders = 0;
                for polls in 0.. {
                    let (mut writer, _) = writer(&sealer, Slow::new(300));
                    let mut taken = 0;
                    for _ in 0..polls {
                        // Not more than a chunk at once, so that there are full chunks to give up at.
                        let end = (taken + CHUNK).min(taken / CHUNK * CHUNK + CHUNK);
                        let data = &payload[taken..end.min(payload.len())];
                        if let Poll::Ready(got) = AsyncWrite::poll_write(Pin::new(&mut writer), cx, data) {
                            taken += got.unwrap();
                        }
                    }
                    borders += usize::from(taken > 0 && taken.is_multiple_of(CHUNK));
                    block_on(close(&mut writer)).unwrap();
                    let sealed = writer.into_inner().unwrap().bytes;
                    sync_opens(&sealer, &sealed, &payload[..taken]);
                    if taken == payload.len() {
                        assert!(polls > 10 && borders > 1, "{polls} {borders}");
                        break;
                    }
                }
            }

            /// Closing is given up after each number of polls, and either taken up again or not.
            #[test]
            fn closing_goes_on_where_it_was_given_up() {
                let sealer = sealer(Suite::Aes256Gcm);
                let payload = plaintext(CHUNK + 9);
                let cx = &mut Context::from_waker(Waker::noop());
                let mut given_up = 0;
                loop {
                    let (mut writer, _) = writer(&sealer, Slow::new(3));
                    block_on(write_all(&mut writer, &payload)).unwrap();
                    let mut is_closed = false;
                    for _ in 0..given_up {
                        let poll = AsyncWrite::$close(Pin::new(&mut writer), cx);
                        is_closed = poll.is_ready();
                        let late = block_on(write_all(&mut writer, b"late")).unwrap_err();
                        assert_eq!(ours(late).kind(), ErrorKind::InvalidArgument);
                    }
                    if is_closed {
                        assert!(given_up > 5);
                        break;
                    }
                    block_on(flush(&mut writer)).unwrap();
                    block_on(close(&mut writer)).unwrap();
                    block_on(close(&mut writer)).unwrap();
                    block_on(flush(&mut writer)).unwrap();
                    let sink = writer.into_inner().unwrap();
                    assert_eq!(sink.closes, 1);
                    sync_opens(&sealer, &sink.bytes, &payload);
                    given_up += 1;
                }
            }

            #[test]
            fn what_is_not_closed_does_not_open() {
                let sealer = sealer(Suite::Aes256Gcm);
                for len in LENGTHS {
                    let (mut writer, _) = writer(&sealer, Slow::new(100));
                    block_on(write_all(&mut writer, &plaintext(len))).unwrap();
                    block_on(flush(&mut writer)).unwrap();
                    let shown = format!("{writer:?}");
                    assert!(shown.starts_with("AsyncSealWriter { chunks: "), "{shown}");
                    let refused = writer.into_inner().err().unwrap();
                    assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
                }
                // What reached the other side, seen from there.
                let seen = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
                struct Shared(std::rc::Rc<std::cell::RefCell<Vec<u8>>>);
                impl AsyncWrite for Shared {
                    fn poll_write(
                        self: Pin<&mut Self>,
                        _: &mut Context<'_>,
                        data: &[u8],
                    ) -> Poll<io::Result<usize>> {
                        self.0.borrow_mut().extend_from_slice(data);
                        Poll::Ready(Ok(data.len()))
                    }
                    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                        Poll::Ready(Ok(()))
                    }
                    fn $close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                        Poll::Ready(Ok(()))
                    }
                }
                for len in LENGTHS {
                    seen.borrow_mut().clear();
                    let key = sealer.data_key(&context()).unwrap();
                    let mut writer = key
                        .async_writer(Shared(seen.clone()), Aad::new(AAD))
                        .unwrap();
                    let data = plaintext(len);
                    let mut data = data.as_slice();
                    let cx = &mut Context::from_waker(Waker::noop());
                    while !data.is_empty() {
                        let Poll::Ready(taken) = AsyncWrite::poll_write(Pin::new(&mut writer), cx, data)
                        else {
                            panic!("nothing here is pending")
                        };
                        data = &data[taken.unwrap()..];
                    }
                    assert!(AsyncWrite::poll_flush(Pin::new(&mut writer), cx).is_ready());
                    drop(writer);
                    let sealed = seen.borrow();
                    assert_eq!(sealed.len() > CHUNK, len > CHUNK);
                    assert!(sealer.open(&sealed, context().with_aad(AAD)).is_err());
                    let (released, error) = support::stream(&sealer, &sealed, &context(), AAD);
                    assert!(error.is_some(), "{len}");
                    assert!(plaintext(len).starts_with(&released));
                }
            }

            #[test]
            fn a_sink_that_fails_ends_the_stream_for_good() {
                let sealer = sealer(Suite::Aes256Gcm);
                let payload = plaintext(2 * CHUNK + 5);
                let whole = sealer
                    .seal(&payload, context().with_aad(AAD))
                    .unwrap()
                    .len();
                for at in (0..whole).step_by(13).chain([whole - 1, whole]) {
                    let (mut writer, _) = writer(&sealer, Slow::new(100).failing(at));
                    let result = block_on(async {
                        write_all(&mut writer, &payload).await?;
                        close(&mut writer).await
                    });
                    let error = ours(result.unwrap_err());
                    assert_eq!(error.kind(), ErrorKind::Io, "{at}");
                    for _ in 0..2 {
                        for error in [
                            block_on(write_all(&mut writer, b"more")).unwrap_err(),
                            block_on(flush(&mut writer)).unwrap_err(),
                            block_on(close(&mut writer)).unwrap_err(),
                        ] {
                            assert_eq!(error.kind(), io::ErrorKind::Other);
                            assert_eq!(ours(error).kind(), ErrorKind::Io);
                        }
                    }
                    assert!(writer.into_inner().is_err());
                }
                let lying = Slow {
                    lies: true,
                    ..Slow::new(1)
                };
                let (mut writer, _) = writer(&sealer, lying);
                assert_eq!(
                    ours(block_on(close(&mut writer)).unwrap_err()).kind(),
                    ErrorKind::Io
                );
            }

            #[test]
            fn a_stream_that_is_cut_off_anywhere_ends_in_an_error() {
                let sealer = sealer(Suite::Aes256Gcm);
                let payload = plaintext(2 * CHUNK + 9);
                let sealed = sealer.seal(&payload, context().with_aad(AAD)).unwrap();
                let header = Envelope::parse(&sealed).unwrap().header().len();
                for end in header..sealed.len() {
                    let cut = Slow::source(&sealed[header..end], 50);
                    let mut async_reader = reader(&sealer, &sealed, cut);
                    let (released, result) = read_all(&mut async_reader);
                    // As the synchronous reader has it, byte for byte and kind for kind.
                    let (expected, error) = support::stream(&sealer, &sealed[..end], &context(), AAD);
                    assert_eq!(released, expected, "{end}");
                    let kind = error.unwrap().kind();
                    assert_eq!(ours(result.unwrap_err()).kind(), kind, "{end}");
                    let (more, again) = read_all(&mut async_reader);
                    assert!(more.is_empty());
                    assert_eq!(ours(again.unwrap_err()).kind(), kind);

                    let failing = chunks(&sealed, 50).failing(end - header);
                    let mut reader = reader(&sealer, &sealed, failing);
                    for _ in 0..2 {
                        assert_eq!(
                            ours(read_all(&mut reader).1.unwrap_err()).kind(),
                            ErrorKind::Io
                        );
                    }
                }
                let mut longer = sealed.clone();
                longer.push(0);
                let (released, result) = read_all(&mut reader(&sealer, &longer, chunks(&longer, 50)));
                assert_eq!(ours(result.unwrap_err()).kind(), ErrorKind::CannotOpen);
                assert_eq!(released, payload[..2 * CHUNK]);
                let lying = Slow {
                    lies: true,
                    ..chunks(&sealed, 50)
                };
                let (_, result) = read_all(&mut reader(&sealer, &sealed, lying));
                let kind = ours(result.unwrap_err()).kind();
                assert!(kind == ErrorKind::Io || !CAN_LIE, "{kind:?}");
            }

            /// Reads are given up after every poll, with another buffer each time.
            #[test]
            fn a_read_that_is_given_up_loses_nothing() {
                let sealer = sealer(Suite::Aes256Gcm);
                let payload = plaintext(3 * CHUNK + 1);
                let sealed = sealer.seal(&payload, context().with_aad(AAD)).unwrap();
                let mut reader = reader(&sealer, &sealed, chunks(&sealed, 1));
                let cx = &mut Context::from_waker(Waker::noop());
                let (mut opened, mut pending) = (Vec::new(), 0);
                for round in 1.. {
                    let mut out = vec![0; round % 50];
                    match poll_read(&mut reader, cx, &mut out) {
                        Poll::Pending => pending += 1,
                        Poll::Ready(Ok(0)) if !out.is_empty() => break,
                        Poll::Ready(got) => opened.extend_from_slice(&out[..got.unwrap()]),
                    }
                }
                assert!(opened == payload);
                assert!(pending > 3 * SEALED_CHUNK, "{pending}");
            }

            #[test]
            fn an_altered_chunk_ends_the_stream() {
                let sealer = sealer(Suite::Aes256Gcm);
                let payload = plaintext(3 * CHUNK);
                let mut sealed = sealer.seal(&payload, context().with_aad(AAD)).unwrap();
                let header = Envelope::parse(&sealed).unwrap().header().len();
                sealed[header + SEALED_CHUNK + 5] ^= 1;
                let mut reader = reader(&sealer, &sealed, chunks(&sealed, 999));
                let (released, result) = read_all(&mut reader);
                assert_eq!(released, payload[..CHUNK]);
                assert_eq!(ours(result.unwrap_err()).kind(), ErrorKind::CannotOpen);
            }

            #[test]
            fn revocation_reaches_open_streams_at_the_next_chunk() {
                let sealer = sealer(Suite::Aes256Gcm);
                let payload = plaintext(3 * CHUNK);
                let (mut writer, lease) = writer(&sealer, Slow::new(1));
                block_on(write_all(&mut writer, &payload[..CHUNK + 1])).unwrap();
                lease.revoke();
                let error = ours(block_on(write_all(&mut writer, &payload)).unwrap_err());
                assert_eq!(error.kind(), ErrorKind::KeyRevoked);
                assert_eq!(
                    ours(block_on(close(&mut writer)).unwrap_err()).kind(),
                    ErrorKind::KeyRevoked
                );

                let sealed = sealer.seal(&payload, context().with_aad(AAD)).unwrap();
                let header = Header::parse(&sealed).unwrap();
                let opener = sealer.opener(&header, &context()).unwrap();
                let mut reader = opener
                    .async_reader(&header, chunks(&sealed, 999), Aad::new(AAD))
                    .unwrap();
                let mut out = [0; CHUNK];
                let got = block_on(poll_fn(|cx| poll_read(&mut reader, cx, &mut out))).unwrap();
                assert_eq!(got, CHUNK);
                opener.lease().revoke();
                let (released, result) = read_all(&mut reader);
                assert!(released.is_empty());
                assert_eq!(ours(result.unwrap_err()).kind(), ErrorKind::KeyRevoked);
            }

            #[test]
            fn the_other_writer_is_left_open_where_told() {
                let sealer = sealer(Suite::Aes256Gcm);
                let (writer, _) = writer(&sealer, Slow::new(100));
                let mut writer = writer.leave_open();
                block_on(write_all(&mut writer, b"hello")).unwrap();
                block_on(close(&mut writer)).unwrap();
                let sink = writer.into_inner().unwrap();
                assert_eq!((sink.flushes, sink.closes), (1, 0));
                sync_opens(&sealer, &sink.bytes, b"hello");
            }

            #[test]
            fn a_sink_that_is_never_pending_is_served_too() {
                let sealer = sealer(Suite::Aes256Gcm);
                let eager = Slow {
                    eager: true,
                    ..Slow::new(usize::MAX)
                };
                let (mut writer, _) = writer(&sealer, eager);
                let payload = plaintext(5 * CHUNK);
                block_on(write_all(&mut writer, &payload)).unwrap();
                block_on(close(&mut writer)).unwrap();
                sync_opens(&sealer, &writer.into_inner().unwrap().bytes, &payload);
            }
        }
    };
}

family!(
    futures,
    "futures-io",
    futures_io::AsyncWrite,
    futures_io::AsyncRead,
    poll_close,
    futures_reader,
    read_from_futures,
    true,
    AsyncRead::poll_read
);

family!(
    tokio,
    "tokio",
    ::tokio::io::AsyncWrite,
    ::tokio::io::AsyncRead,
    poll_shutdown,
    tokio_reader,
    read_from_tokio,
    false,
    |reader: Pin<&mut R>, cx: &mut Context<'_>, out: &mut [u8]| {
        let mut out = ::tokio::io::ReadBuf::new(out);
        std::task::ready!(AsyncRead::poll_read(reader, cx, &mut out))?;
        Poll::Ready(Ok(out.filled().len()))
    }
);
