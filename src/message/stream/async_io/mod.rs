//! The same streams over the asynchronous traits of `futures-io` and of tokio. What they have in common is here;
//! `futures` and `tokio` tell it how to poll what is under it.

#[cfg(feature = "futures-io")]
mod futures;
mod reader;
#[cfg(feature = "tokio")]
mod tokio;
mod writer;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

pub use reader::AsyncOpenReader;
pub use writer::AsyncSealWriter;

use crate::value::error::Error;

type PollWrite<W> = fn(Pin<&mut W>, &mut Context<'_>, &[u8]) -> Poll<io::Result<usize>>;
type PollDone<W> = fn(Pin<&mut W>, &mut Context<'_>) -> Poll<io::Result<()>>;

/// The error for a reader or writer that says it moved more bytes than it was given.
fn too_many() -> Error {
    Error::io(io::Error::other(
        "the reader or writer reports more bytes than it was given",
    ))
}
