//! Reading a header from an asynchronous stream.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::{Header, HeaderBuf};
use crate::value::error::{Error, Operation, Result};

/// Polls a reader. Returns how many bytes the reader has put into the buffer.
pub(crate) type PollRead<R> = fn(Pin<&mut R>, &mut Context<'_>, &mut [u8]) -> Poll<io::Result<usize>>;

/// Polls a reader of tokio.
#[cfg(feature = "tokio")]
pub(crate) fn poll_tokio<R: tokio::io::AsyncRead>(
    reader: Pin<&mut R>,
    cx: &mut Context<'_>,
    out: &mut [u8],
) -> Poll<io::Result<usize>> {
    let mut out = tokio::io::ReadBuf::new(out);
    reader.poll_read(cx, &mut out).map_ok(|()| out.filled().len())
}

impl HeaderBuf {
    /// Reads a header like [`read_from`](Self::read_from), from a reader of `futures-io` (feature `futures-io`).
    ///
    /// # Errors
    /// The same kinds as [`read_from`](Self::read_from), under the same conditions.
    ///
    /// # Cancel safety
    /// Not cancel safe: if the future is dropped, the bytes that it has read from the reader are lost.
    #[cfg(feature = "futures-io")]
    pub async fn read_from_futures<R: futures_io::AsyncRead + Unpin>(reader: &mut R) -> Result<Self> {
        Self::read_with(reader, R::poll_read).await
    }

    /// Reads a header like [`read_from`](Self::read_from), from a reader of tokio (feature `tokio`).
    ///
    /// # Errors
    /// The same kinds as [`read_from`](Self::read_from), under the same conditions.
    ///
    /// # Cancel safety
    /// Not cancel safe: if the future is dropped, the bytes that it has read from the reader are lost.
    #[cfg(feature = "tokio")]
    pub async fn read_from_tokio<R: tokio::io::AsyncRead + Unpin>(reader: &mut R) -> Result<Self> {
        Self::read_with(reader, poll_tokio).await
    }

    async fn read_with<R: Unpin>(reader: &mut R, read: PollRead<R>) -> Result<Self> {
        let mut bytes = Vec::with_capacity(256);
        while let Some(needed) = Header::missing(&bytes)? {
            let mut have = bytes.len();
            bytes.resize(needed, 0);
            while have < needed {
                let room = bytes.get_mut(have..).unwrap_or_default();
                let got = poll_fn(|cx| read(Pin::new(reader), cx, room)).await;
                let got = got.map_err(Error::io)?;
                if got > needed - have {
                    return Err(Error::io(io::Error::other(
                        "the reader counts more bytes than it was given",
                    )));
                }
                if got == 0 {
                    // The input ended early: parsing finds in which field.
                    bytes.truncate(have);
                    Header::parse(&bytes)?;
                    return Err(Error::malformed("header", have).with_operation(Operation::Parse));
                }
                have += got;
            }
        }
        Header::parse(&bytes)?;
        Ok(Self(bytes))
    }
}
