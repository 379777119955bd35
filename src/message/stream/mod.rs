//! Sealing and opening streams in constant memory: one chunk and a little more.

mod reader;
mod writer;

pub use reader::OpenReader;
pub(crate) use writer::SealStart;
pub use writer::SealWriter;
