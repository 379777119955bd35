//! Opening parts of a payload.

mod plan;
mod reader;

pub use plan::RangePlan;
pub use reader::RangeReader;
