//! Asynchronous streams, through a sealer, an opener or a data key.

use super::{DataKey, Opener, Sealer, during};
use crate::envelope::{Header, HeaderBuf};
use crate::message::{AsyncOpenReader, AsyncSealWriter};
use crate::value::aad::Aad;
use crate::value::context::Binding;
use crate::value::error::{Operation, Result};

impl Opener {
    /// [`reader`](Self::reader) over an asynchronous reader.
    ///
    /// # Errors
    /// The errors of [`reader`](Self::reader).
    pub fn async_reader<R>(
        &self,
        header: &Header<'_>,
        reader: R,
        aad: Aad<'_>,
    ) -> Result<AsyncOpenReader<R>> {
        let chunks = during(Operation::Open, || self.chunks(header, aad))?;
        Ok(AsyncOpenReader::new(reader, chunks))
    }
}

impl DataKey {
    /// [`writer`](Self::writer) over an asynchronous writer. The stream must be closed, see [`AsyncSealWriter`].
    ///
    /// # Errors
    /// The errors of [`writer`](Self::writer).
    pub fn async_writer<W>(&self, writer: W, aad: Aad<'_>) -> Result<AsyncSealWriter<W>> {
        Ok(AsyncSealWriter::new(writer, self.begin_stream(aad)?))
    }

    /// [`reader`](Self::reader) over an asynchronous reader.
    ///
    /// # Errors
    /// The errors of [`reader`](Self::reader).
    pub fn async_reader<R>(
        &self,
        header: &Header<'_>,
        reader: R,
        aad: Aad<'_>,
    ) -> Result<AsyncOpenReader<R>> {
        Ok(AsyncOpenReader::new(reader, self.chunks(header, aad)?))
    }
}

impl Sealer {
    /// Returns a writer that seals what is written to it to an envelope in `writer`, in constant memory, under a DEK of
    /// its own. The stream must be closed, see [`AsyncSealWriter`].
    ///
    /// # Errors
    /// The errors of [`seal`](Self::seal). `writer` is dropped with an error.
    ///
    /// # Cancel safety
    /// Dropping the future drops `writer`, to which nothing was written.
    pub async fn async_writer<'a, W>(
        &self,
        writer: W,
        binding: impl Into<Binding<'a>>,
    ) -> Result<AsyncSealWriter<W>> {
        let binding = binding.into();
        self.data_key(binding.context())
            .await?
            .async_writer(writer, binding.aad())
    }

    /// Returns a reader that opens the envelope in a `futures-io` reader, in constant memory. This call reads the header;
    /// the chunks are read when they are asked for. [`AsyncOpenReader`] says when what is released.
    ///
    /// # Errors
    /// The errors of [`open`](Self::open); `Io` if `reader` fails.
    ///
    /// # Cancel safety
    /// Dropping the future drops `reader`, of which the header may have been read.
    #[cfg(feature = "futures-io")]
    pub async fn futures_reader<'a, R: futures_io::AsyncRead + Unpin>(
        &self,
        mut reader: R,
        binding: impl Into<Binding<'a>>,
    ) -> Result<AsyncOpenReader<R>> {
        let binding = binding.into();
        let header = HeaderBuf::read_from_futures(&mut reader).await;
        self.reader_behind(header, reader, binding).await
    }

    /// Returns a reader that opens the envelope in a tokio reader, in constant memory. This call reads the header; the
    /// chunks are read when they are asked for. [`AsyncOpenReader`] says when what is released.
    ///
    /// # Errors
    /// The errors of [`open`](Self::open); `Io` if `reader` fails.
    ///
    /// # Cancel safety
    /// Dropping the future drops `reader`, of which the header may have been read.
    #[cfg(feature = "tokio")]
    pub async fn tokio_reader<'a, R: tokio::io::AsyncRead + Unpin>(
        &self,
        mut reader: R,
        binding: impl Into<Binding<'a>>,
    ) -> Result<AsyncOpenReader<R>> {
        let binding = binding.into();
        let header = HeaderBuf::read_from_tokio(&mut reader).await;
        self.reader_behind(header, reader, binding).await
    }

    async fn reader_behind<R>(
        &self,
        header: Result<HeaderBuf>,
        reader: R,
        binding: Binding<'_>,
    ) -> Result<AsyncOpenReader<R>> {
        let header = header.map_err(|error| error.with_operation(Operation::Open))?;
        let header = header.header()?;
        let opener = self.opener(&header, binding.context()).await?;
        opener.async_reader(&header, reader, binding.aad())
    }
}
