//! Sealing and opening streams in constant memory: one chunk and a little more, or a bounded number of them.

mod ahead;
mod reader;
mod writer;

pub(crate) use reader::Keys as OpenKeys;
pub use reader::OpenReader;
pub(crate) use writer::SealStart;
pub use writer::SealWriter;
