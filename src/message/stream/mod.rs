//! Seals and opens streams in constant memory: one chunk and a little more, or a bounded number of chunks.

mod ahead;
#[cfg(any(feature = "futures-io", feature = "tokio"))]
mod async_io;
mod reader;
mod source;
mod writer;

#[cfg(any(feature = "futures-io", feature = "tokio"))]
pub use async_io::{AsyncOpenReader, AsyncSealWriter};
pub use reader::OpenReader;
pub use writer::SealWriter;
