//! Seals and opens payloads under a DEK. Synchronous; knows no key manager and no wraps.

mod chunk;
mod header;
mod keys;
mod layout;
mod machine;
mod messages;
mod nonces;
mod opened;
pub(crate) mod parallel;
mod range;
mod sealing;
mod session;
mod stop;
mod stream;
mod whole;

pub(crate) use header::{InContext, VerifiedHeader};
pub use layout::Layout;
pub(crate) use machine::{ChunkMachine, SealStart};
pub(crate) use nonces::Nonces;
pub use opened::OpenedInPlace;
pub use parallel::{Parallel, Pool};
pub use range::{RangePlan, RangeReader};
pub(crate) use sealing::Sealing;
pub(crate) use session::{Front, Held, Session};
pub use stop::Pulse;
pub(crate) use stop::{Stop, StopFlag, WeakStopFlag};
#[cfg(any(feature = "futures-io", feature = "tokio"))]
pub use stream::{AsyncOpenReader, AsyncSealWriter};
pub use stream::{OpenReader, SealWriter};
pub(crate) use whole::{Message, room};
