//! Sealing and opening streams in constant memory: one chunk and a little more, or a bounded number of them.

mod ahead;
#[cfg(any(feature = "futures-io", feature = "tokio"))]
mod async_io;
mod chunks;
mod reader;
mod writer;

#[cfg(any(feature = "futures-io", feature = "tokio"))]
pub use async_io::{AsyncOpenReader, AsyncSealWriter};
pub(crate) use chunks::ChunkOpener;
pub(crate) use reader::Keys as OpenKeys;
pub use reader::OpenReader;
pub(crate) use writer::SealStart;
pub use writer::SealWriter;
