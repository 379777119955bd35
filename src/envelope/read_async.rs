//! Reading a header from an asynchronous stream.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::{Header, HeaderBuf};
use crate::value::error::{Error, Operation, Result};

/// How a reader is polled: it says how many bytes it has put into those that it was given.
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
    /// [`read_from`](Self::read_from) over a reader of `futures-io` (feature `futures-io`).
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancel safety
    /// None: what was read is lost with the future, and the reader stands behind it.
    #[cfg(feature = "futures-io")]
    pub async fn read_from_futures<R: futures_io::AsyncRead + Unpin>(reader: &mut R) -> Result<Self> {
        Self::read_with(reader, R::poll_read).await
    }

    /// [`read_from`](Self::read_from) over a reader of tokio (feature `tokio`).
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancel safety
    /// None: what was read is lost with the future, and the reader stands behind it.
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
                    // It ended early: parsing says in which field.
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
