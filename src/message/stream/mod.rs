//! Sealing and opening streams in constant memory: one chunk and a little more.

mod chunks;
mod reader;
mod writer;

pub(crate) use chunks::{ChunkOpener, ChunkSealer};
pub use reader::OpenReader;
pub use writer::SealWriter;
