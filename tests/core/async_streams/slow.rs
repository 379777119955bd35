//! A source and sink under bad conditions.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A source or sink that moves up to `step` bytes at a time, is pending before each, and fails or lies when told.
#[derive(Default)]
pub(crate) struct Slow {
    pub(crate) bytes: Vec<u8>,
    pub(crate) at: usize,
    pub(crate) step: usize,
    /// Never pending.
    pub(crate) eager: bool,
    pub(crate) was_pending: bool,
    /// Bytes after which it fails, once.
    pub(crate) fails_at: Option<usize>,
    pub(crate) lies: bool,
    pub(crate) flushes: usize,
    pub(crate) closes: usize,
}

impl Slow {
    pub(crate) fn new(step: usize) -> Self {
        let step = step.max(1);
        Self {
            step,
            ..Self::default()
        }
    }

    pub(crate) fn source(bytes: &[u8], step: usize) -> Self {
        Self {
            bytes: bytes.to_vec(),
            ..Self::new(step)
        }
    }

    pub(crate) fn failing(self, at: usize) -> Self {
        Self {
            fails_at: Some(at),
            ..self
        }
    }

    /// Pending every second time.
    pub(crate) fn turn(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.eager {
            self.was_pending = !self.was_pending;
            if self.was_pending {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        if self.fails_at.is_some_and(|at| self.at >= at) {
            self.fails_at = Some(usize::MAX);
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Poll::Ready(Ok(()))
    }

    pub(crate) fn give(&mut self, cx: &mut Context<'_>, out: &mut [u8]) -> Poll<io::Result<usize>> {
        std::task::ready!(self.turn(cx))?;
        if self.lies {
            return Poll::Ready(Ok(out.len() + 1));
        }
        let end = self.fails_at.unwrap_or(usize::MAX).min(self.bytes.len());
        let len = out.len().min(self.step).min(end - self.at);
        out[..len].copy_from_slice(&self.bytes[self.at..self.at + len]);
        self.at += len;
        Poll::Ready(Ok(len))
    }

    pub(crate) fn take(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        std::task::ready!(self.turn(cx))?;
        if self.lies {
            return Poll::Ready(Ok(data.len() + 1));
        }
        let end = self.fails_at.unwrap_or(usize::MAX);
        let len = data.len().min(self.step).min(end - self.at);
        self.bytes.extend_from_slice(&data[..len]);
        self.at += len;
        Poll::Ready(Ok(len))
    }

    pub(crate) fn flushed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.turn(cx))?;
        self.flushes += 1;
        Poll::Ready(Ok(()))
    }

    pub(crate) fn closed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.turn(cx))?;
        self.closes += 1;
        Poll::Ready(Ok(()))
    }
}

#[cfg(feature = "futures-io")]
impl futures_io::AsyncRead for Slow {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut [u8]) -> Poll<io::Result<usize>> {
        self.get_mut().give(cx, out)
    }
}

#[cfg(feature = "tokio")]
impl ::tokio::io::AsyncRead for Slow {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ::tokio::io::ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let got = std::task::ready!(self.get_mut().give(cx, out.initialize_unfilled()))?;
        out.set_filled((out.filled().len() + got).min(out.capacity()));
        Poll::Ready(Ok(()))
    }
}
