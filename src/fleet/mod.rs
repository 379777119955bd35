//! Re-wraps everything that is stored: finds each value, moves it to the keys that wrap now, and changes no byte of any body.
//!
//! A [`Store`] is where sealed values are: rows of a table, files below a directory, objects of a bucket. A [`RewrapJob`] goes through one in
//! the order of its ids, reads the front of each value alone, and puts new wraps in the place of the old ones on one condition: that the value
//! is still the one that it read.
//!
//! ```
//! # use std::sync::Arc;
//! # use waxseal::{EncryptionContext, Kek, Sealer, backend::local::LocalKey};
//! # use waxseal::fleet::{MemoryStore, RewrapJob};
//! # fn main() -> waxseal::Result<()> { pollster::block_on(async {
//! # let (old, new) = (LocalKey::new(&Kek::generate()?), LocalKey::new(&Kek::generate()?));
//! # let context = EncryptionContext::new([("table", "users")])?;
//! # let store = Arc::new(MemoryStore::new("users", context.clone()));
//! # let sealed = Sealer::new(old.clone()).seal(b"alice@example.com", &context).await?;
//! store.put("7", sealed);
//!
//! let sealer = Sealer::builder().wrap_with(new.clone()).open_with(old).build()?;
//! let report = RewrapJob::new(sealer, store.clone()).run().await?;
//! assert_eq!((report.counts.examined, report.counts.moved(), report.counts.faults()), (1, 1, 0));
//!
//! let sealed = store.get("7").unwrap_or_default();
//! assert_eq!(Sealer::new(new).open(&sealed, &context).await?, b"alice@example.com");
//! # Ok(()) }) }
//! ```
//!
//! # What is certain
//! *Nothing is lost.* A value that was changed after it was read is not written over: it is read again and decided anew. A process that ends at
//! any point leaves each value as it was, or with all of its new wraps. Whoever runs the job again goes on where its [`Ledger`] says, and
//! examines at most the last batch of each range twice.
//!
//! *No body changes.* New wraps are made of the header, verified against the body's commitment if the data key came by here, and only the front
//! is replaced. [`Verify`] says how many are read back.
//!
//! *Siblings stay siblings.* Values that share a data key share their new wraps, and cost one re-wrap in each process.
//!
//! *One value stops no other.* What does not open, or is refused, is put on a list with its [`FaultClass`], and the job goes on, until there are
//! more of them than [`RewrapJob::most_faults`] allows.

pub(crate) mod brake;
mod job;
mod ledger;
mod limit;
mod report;
mod store;

pub use job::{Halt, Progress, RewrapJob, Verify};
pub use ledger::{Claim, Claimed, FileLedger, Held, Ledger, MemoryLedger, Part, Plan, Step};
pub use limit::Limits;
pub use report::{Counts, Fault, FaultClass, Report};
pub use store::{Change, DirectoryStore, Item, MAX_ID, MemoryStore, Page, Range, Replaced, Scanned, Store};
