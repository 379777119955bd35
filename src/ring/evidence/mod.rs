//! Evidence: what a census of envelopes found under which key, signed, so that a key is retired or destroyed only if nothing is
//! lost.
//!
//! A [`Census`] looks at the front of each item and uses no key. Its [`CensusReceipt`] says how many envelopes are under each
//! key of the ring, how many of them no other key of the ring opens (*sole*), which KEKs it does not know (*unknown*, never zero
//! in silence), and what it could not read (*failed*). A receipt is signed for one ring, and nothing of it is believed before
//! [`CensusReceipt::verify`].

mod census;
mod covered;
mod index;
mod look;
mod receipt;
mod tally;
#[cfg(test)]
mod tests;
mod verified;

pub use census::Census;
pub use covered::{Covered, PlaceCount};
pub use receipt::{CensusReceipt, FailedItem, KeyCount, MAX_RECEIPT, NamedKek, UnknownCount};
pub use verified::{Found, Total, VerifiedReceipt};
